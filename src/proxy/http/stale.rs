//! The last good responses of routes whose policy allows a stale answer when nothing else answers.

use std::{
    cell::RefCell,
    collections::HashMap,
    rc::Rc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{AUTHORIZATION, CACHE_CONTROL, COOKIE, HOST, VARY},
    request,
};

use crate::identity::SpiffeId;

/// Larger bodies are not kept, in bytes.
const MAX_BODY: usize = 64 * 1024;
/// Targets whose responses are kept by one worker; the oldest goes first.
const MAX_ENTRIES: usize = 512;
/// Responses to one target that are kept beside each other because they vary by a header.
const MAX_VARIANTS: usize = 8;

/// What a kept response answers: the same method, authority and target, from the same caller with
/// the same credentials.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key {
    method: http::Method,
    authority: String,
    target: String,
    caller: Option<SpiffeId>,
    authorization: Option<Vec<u8>>,
    cookie: Option<Vec<u8>>,
}

impl Key {
    pub fn of(parts: &request::Parts, caller: Option<&SpiffeId>) -> Self {
        let value = |name| {
            let value: Option<&HeaderValue> = parts.headers.get(name);
            value.map(|value| value.as_bytes().to_vec())
        };
        let host = || value(HOST).map(|host| String::from_utf8_lossy(&host).into_owned());
        let authority = parts.uri.authority().map(|a| a.to_string());
        let target = parts.uri.path_and_query().map(|t| t.to_string());
        Self {
            method: parts.method.clone(),
            authority: authority.or_else(host).unwrap_or_default(),
            target: target.unwrap_or_default(),
            caller: caller.cloned(),
            authorization: value(AUTHORIZATION),
            cookie: value(COOKIE),
        }
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
                let values = request.get_all(&name).iter().cloned().collect();
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
}

#[derive(Clone, Default)]
pub struct StaleCache(Rc<RefCell<HashMap<Key, Vec<Kept>>>>);

impl StaleCache {
    /// How old the response is that is kept for a request with these headers.
    pub fn age(&self, key: &Key, request: &HeaderMap, now: Instant) -> Option<Duration> {
        let kept = self.get(key, request)?;
        Some(now.saturating_duration_since(kept.at))
    }

    /// The youngest response that suits a request with these headers.
    pub fn get(&self, key: &Key, request: &HeaderMap) -> Option<Kept> {
        let entries = self.0.borrow();
        let suiting = entries.get(key)?.iter();
        let suiting = suiting.filter(|kept| kept.varies.suits(request));
        suiting.max_by_key(|kept| kept.at).cloned()
    }

    /// Starts to copy a response that may be kept; `Cache-Control: no-store` is obeyed.
    pub fn copy(
        &self,
        key: Key,
        request: &HeaderMap,
        status: StatusCode,
        response: &HeaderMap,
    ) -> Option<StaleCopy> {
        let private = response
            .get_all(CACHE_CONTROL)
            .iter()
            .any(|value| value.to_str().is_ok_and(|value| value.contains("no-store")));
        if status != StatusCode::OK || private {
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
        let mut entries = self.cache.0.borrow_mut();
        if entries.len() >= MAX_ENTRIES && !entries.contains_key(&self.key) {
            let youngest = |variants: &[Kept]| variants.iter().map(|kept| kept.at).max();
            let oldest = entries
                .iter()
                .min_by_key(|(_, variants)| youngest(variants))
                .map(|(key, _)| key.clone());
            oldest.map(|key| entries.remove(&key));
        }
        let kept = Kept {
            status: self.status,
            headers: self.headers,
            body: self.body.freeze(),
            varies: self.varies,
            at: now,
        };
        let variants = entries.entry(self.key).or_default();
        variants.retain(|other| other.varies != kept.varies);
        if variants.len() >= MAX_VARIANTS {
            let oldest = variants.iter().enumerate().min_by_key(|(_, kept)| kept.at);
            let oldest = oldest.map(|(n, _)| n).expect("there are some");
            variants.swap_remove(oldest);
        }
        variants.push(kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(target: &str) -> Key {
        let request = http::Request::get(target).body(()).unwrap();
        Key::of(&request.into_parts().0, None)
    }

    fn keep(cache: &StaleCache, target: &str, body: &[u8], now: Instant) {
        let mut copy = cache
            .copy(
                key(target),
                &HeaderMap::new(),
                StatusCode::OK,
                &HeaderMap::new(),
            )
            .unwrap();
        copy.push(&Bytes::copy_from_slice(body));
        copy.keep(now);
    }

    #[test]
    fn tells_what_it_keeps_and_how_old_it_is() {
        let (cache, start, none) = (StaleCache::default(), Instant::now(), HeaderMap::new());
        keep(&cache, "/a", b"hello", start);
        let later = Duration::from_secs(60);
        assert_eq!(cache.get(&key("/a"), &none).unwrap().body, "hello");
        assert_eq!(cache.age(&key("/a"), &none, start + later), Some(later));
        assert_eq!(cache.age(&key("/b"), &none, start), None);
    }

    #[test]
    fn memory_is_bounded() {
        let (cache, start, none) = (StaleCache::default(), Instant::now(), HeaderMap::new());
        keep(&cache, "/large", &vec![0; MAX_BODY + 1], start);
        assert!(cache.get(&key("/large"), &none).is_none());
        for n in 0..MAX_ENTRIES as u64 + 10 {
            keep(
                &cache,
                &format!("/{n}"),
                b"x",
                start + Duration::from_millis(n),
            );
        }
        assert_eq!(cache.0.borrow().len(), MAX_ENTRIES);
        assert!(cache.get(&key("/0"), &none).is_none(), "the oldest went");
    }

    #[test]
    fn what_says_no_store_is_not_stored() {
        let mut headers = HeaderMap::new();
        headers.insert("cache-control", "private, no-store".parse().unwrap());
        assert!(
            StaleCache::default()
                .copy(key("/"), &HeaderMap::new(), StatusCode::OK, &headers)
                .is_none()
        );
    }

    fn in_language(language: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("accept-language", language.parse().unwrap());
        headers
    }

    fn varying(vary: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(VARY, HeaderValue::from_static(vary));
        headers
    }

    #[test]
    fn what_varies_answers_only_what_it_was_made_for() {
        let (cache, start) = (StaleCache::default(), Instant::now());
        for (n, language) in (0..).zip(["de", "en", "de"]) {
            let request = in_language(language);
            let response = varying("Accept-Language, X-Other");
            let mut copy = cache
                .copy(key("/"), &request, StatusCode::OK, &response)
                .unwrap();
            copy.push(&Bytes::from(format!("{language} {n}")));
            copy.keep(start + Duration::from_secs(n));
        }
        let body = |headers: &HeaderMap| cache.get(&key("/"), headers).map(|kept| kept.body);
        assert_eq!(body(&in_language("de")).unwrap(), "de 2");
        assert_eq!(body(&in_language("en")).unwrap(), "en 1");
        assert_eq!(body(&in_language("fr")), None);
        assert_eq!(body(&HeaderMap::new()), None);
        let mut more = in_language("de");
        more.insert("x-other", HeaderValue::from_static("1"));
        assert_eq!(body(&more), None);
    }

    #[test]
    fn what_varies_by_everything_is_not_kept() {
        let cache = StaleCache::default();
        let copy = cache.copy(
            key("/"),
            &HeaderMap::new(),
            StatusCode::OK,
            &varying("a, *"),
        );
        assert!(copy.is_none());
    }

    #[test]
    fn variants_are_bounded() {
        let (cache, start) = (StaleCache::default(), Instant::now());
        for n in 0..MAX_VARIANTS as u64 + 1 {
            let request = in_language(&n.to_string());
            let response = varying("accept-language");
            let copy = cache.copy(key("/"), &request, StatusCode::OK, &response);
            copy.unwrap().keep(start + Duration::from_secs(n));
        }
        assert_eq!(cache.0.borrow()[&key("/")].len(), MAX_VARIANTS);
        assert!(
            cache.get(&key("/"), &in_language("0")).is_none(),
            "the oldest went"
        );
    }
}
