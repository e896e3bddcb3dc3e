//! The last good responses of routes whose policy allows a stale answer when nothing else answers.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    rc::Rc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{AUTHORIZATION, CACHE_CONTROL, COOKIE, HOST, VARY},
    request,
};

use crate::{identity::SpiffeId, resilience::fallback::MAX_STALE};

/// Larger bodies are not kept, in bytes.
const MAX_BODY: usize = 64 * 1024;
/// What one worker keeps, in bytes: keys, heads and bodies. The oldest goes first.
const MAX_BYTES: usize = 16 << 20;
/// Responses to one target that are kept beside each other because they vary by a header.
const MAX_VARIANTS: usize = 8;

/// What a response takes beside its strings, and a header field beside its own, in bytes: more
/// rather than less.
const PER_RESPONSE: usize = 768;
const PER_FIELD: usize = 128;

/// What a kept response answers: the same method, authority and target, from the same caller with
/// the same credentials.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key {
    method: http::Method,
    authority: String,
    target: String,
    caller: Option<SpiffeId>,
    /// Every field line: HTTP/2 sends a cookie in as many as it likes (RFC 9113 8.2.3).
    authorization: Vec<Vec<u8>>,
    cookie: Vec<Vec<u8>>,
}

impl Key {
    pub fn of(parts: &request::Parts, caller: Option<&SpiffeId>) -> Self {
        let values = |name| {
            let values = parts.headers.get_all(name).iter();
            values.map(|value| value.as_bytes().to_vec()).collect()
        };
        let host = || {
            let host = parts.headers.get(HOST)?;
            Some(String::from_utf8_lossy(host.as_bytes()).into_owned())
        };
        let authority = parts.uri.authority().map(|a| a.to_string());
        let target = parts.uri.path_and_query().map(|t| t.to_string());
        Self {
            method: parts.method.clone(),
            authority: authority.or_else(host).unwrap_or_default(),
            target: target.unwrap_or_default(),
            caller: caller.cloned(),
            authorization: values(AUTHORIZATION),
            cookie: values(COOKIE),
        }
    }

    fn bytes(&self) -> usize {
        let credentials = self.authorization.iter().chain(&self.cookie);
        let credentials: usize = credentials.map(|value| PER_FIELD + value.len()).sum();
        self.authority.len() + self.target.len() + credentials
    }
}

/// A response that went well.
#[derive(Clone)]
pub struct Kept {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    varies: Varies,
    at: Instant,
    /// Its place in the order of [`Entries`].
    number: u64,
    /// What it takes, its key included.
    bytes: usize,
}

/// What a response depends on beside its [`Key`]: the request headers that its `Vary` names, with
/// the values that it was made for.
#[derive(Clone, PartialEq, Eq)]
struct Varies(Vec<(HeaderName, Vec<HeaderValue>)>);

impl Varies {
    /// `None` for a response that depends on more than headers, or says what nobody understands.
    fn of(request: &HeaderMap, response: &HeaderMap) -> Option<Self> {
        let mut varies = Vec::new();
        for line in response.get_all(VARY) {
            for name in line.as_bytes().split(|byte| *byte == b',') {
                let name = name.trim_ascii();
                if name.is_empty() {
                    continue;
                }
                if name == b"*" {
                    return None;
                }
                let name = HeaderName::from_bytes(name).ok()?;
                let values = request.get_all(&name).iter().map(detached).collect();
                varies.push((name, values));
            }
        }
        Some(Self(varies))
    }

    fn suits(&self, request: &HeaderMap) -> bool {
        let suits = |(name, values): &(HeaderName, Vec<HeaderValue>)| {
            request.get_all(name).iter().eq(values.iter())
        };
        self.0.iter().all(suits)
    }

    fn bytes(&self) -> usize {
        let of = |(name, values): &(HeaderName, Vec<HeaderValue>)| {
            let values: usize = values.iter().map(|value| PER_FIELD + value.len()).sum();
            PER_FIELD + name.as_str().len() + values
        };
        self.0.iter().map(of).sum()
    }
}

/// A value of its own: one that was read shares the buffer of its connection, and would keep it.
fn detached(value: &HeaderValue) -> HeaderValue {
    let mut own = HeaderValue::from_bytes(value.as_bytes()).expect("it was a value before");
    own.set_sensitive(value.is_sensitive());
    own
}

#[derive(Clone, Default)]
pub struct StaleCache(Rc<RefCell<Entries>>);

#[derive(Default)]
struct Entries {
    kept: HashMap<Rc<Key>, Vec<Kept>>,
    /// Where each response is; the oldest has the lowest number.
    order: BTreeMap<u64, Rc<Key>>,
    next: u64,
    /// What all of them take.
    bytes: usize,
}

impl Entries {
    fn insert(&mut self, key: Key, mut kept: Kept) {
        let key = Rc::new(key);
        let variants = self.kept.get(&key).map_or(&[][..], Vec::as_slice);
        let replaced = variants.iter().find(|other| other.varies == kept.varies);
        let one_too_many = || variants.first().filter(|_| variants.len() >= MAX_VARIANTS);
        if let Some(number) = replaced.or_else(one_too_many).map(|other| other.number) {
            self.remove(number);
        }
        kept.number = self.next;
        self.next += 1;
        self.bytes += kept.bytes;
        self.order.insert(kept.number, key.clone());
        self.kept.entry(key).or_default().push(kept);
        while self.bytes > MAX_BYTES
            && let Some((&oldest, _)) = self.order.first_key_value()
        {
            self.remove(oldest);
        }
    }

    fn remove(&mut self, number: u64) {
        let Some(key) = self.order.remove(&number) else {
            return;
        };
        let Some(variants) = self.kept.get_mut(&key) else {
            return;
        };
        if let Some(n) = variants.iter().position(|kept| kept.number == number) {
            // In order: the first of them is the oldest.
            self.bytes -= variants.remove(n).bytes;
        }
        if variants.is_empty() {
            self.kept.remove(&key);
        }
    }

    /// When the oldest response was kept.
    fn oldest(&self) -> Option<(u64, Instant)> {
        let (number, key) = self.order.first_key_value()?;
        let kept = self.kept.get(key)?;
        let oldest = kept.iter().find(|kept| kept.number == *number)?;
        Some((*number, oldest.at))
    }
}

impl StaleCache {
    /// How old the response is that is kept for a request with these headers.
    pub fn age(&self, key: &Key, request: &HeaderMap, now: Instant) -> Option<Duration> {
        let kept = self.get(key, request)?;
        Some(now.saturating_duration_since(kept.at))
    }

    /// The youngest response that suits a request with these headers.
    pub fn get(&self, key: &Key, request: &HeaderMap) -> Option<Kept> {
        let entries = self.0.borrow();
        let suiting = entries.kept.get(key)?.iter();
        let suiting = suiting.filter(|kept| kept.varies.suits(request));
        suiting.max_by_key(|kept| kept.number).cloned()
    }

    /// Forgets what no policy lets answer any more.
    pub fn sweep(&self, now: Instant) {
        let mut entries = self.0.borrow_mut();
        while let Some((number, at)) = entries.oldest()
            && now.saturating_duration_since(at) > MAX_STALE
        {
            entries.remove(number);
        }
    }

    /// Starts to copy a response that may be kept; `Cache-Control: no-store` is obeyed.
    pub fn copy(
        &self,
        key: Key,
        request: &HeaderMap,
        status: StatusCode,
        response: &HeaderMap,
    ) -> Option<StaleCopy> {
        if status != StatusCode::OK || is_not_to_be_stored(response) {
            return None;
        }
        Some(StaleCopy {
            cache: self.clone(),
            key,
            status,
            headers: response.clone(),
            varies: Varies::of(request, response)?,
            body: BytesMut::new(),
            too_large: false,
        })
    }
}

/// Directives are compared without regard to case (RFC 9111 5.2).
fn is_not_to_be_stored(response: &HeaderMap) -> bool {
    let values = response.get_all(CACHE_CONTROL).iter();
    let mut directives = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    directives.any(|directive| {
        let name = directive.split(|byte| *byte == b'=').next();
        name.is_some_and(|name| name.trim_ascii().eq_ignore_ascii_case(b"no-store"))
    })
}

/// A response being copied as it goes by.
pub struct StaleCopy {
    cache: StaleCache,
    key: Key,
    status: StatusCode,
    headers: HeaderMap,
    varies: Varies,
    body: BytesMut,
    too_large: bool,
}

impl StaleCopy {
    pub fn push(&mut self, bytes: &Bytes) {
        self.too_large |= self.body.len() + bytes.len() > MAX_BODY;
        if !self.too_large {
            self.body.extend_from_slice(bytes);
        }
    }

    /// Keeps it, now that it is whole, in the place of the one for the same headers.
    pub fn keep(self, now: Instant) {
        if self.too_large {
            return;
        }
        let fields = self.headers.iter();
        let fields: usize = fields
            .map(|(name, value)| PER_FIELD + name.as_str().len() + value.len())
            .sum();
        let bytes =
            PER_RESPONSE + self.key.bytes() + self.varies.bytes() + fields + self.body.capacity();
        let mut headers = self.headers;
        for value in headers.values_mut() {
            *value = detached(value);
        }
        let kept = Kept {
            status: self.status,
            headers,
            body: self.body.freeze(),
            varies: self.varies,
            at: now,
            number: 0,
            bytes,
        };
        self.cache.0.borrow_mut().insert(self.key, kept);
    }
}

#[cfg(test)]
mod tests;
