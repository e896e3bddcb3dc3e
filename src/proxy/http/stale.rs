//! The last good responses of routes whose policy allows a stale answer when nothing else answers.

use std::{
    cell::RefCell,
    collections::HashMap,
    rc::Rc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, request};

/// Larger bodies are not kept, in bytes.
const MAX_BODY: usize = 64 * 1024;
/// Responses kept by one worker; the oldest goes first.
const MAX_ENTRIES: usize = 512;

/// What a kept response answers: the same method, authority and target, from the same caller's
/// credentials.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key {
    method: http::Method,
    authority: String,
    target: String,
    authorization: Option<Vec<u8>>,
    cookie: Option<Vec<u8>>,
}

impl Key {
    pub fn of(parts: &request::Parts) -> Self {
        let value = |name| {
            parts
                .headers
                .get(name)
                .map(|value| value.as_bytes().to_vec())
        };
        let host =
            || value(http::header::HOST).map(|host| String::from_utf8_lossy(&host).into_owned());
        Self {
            method: parts.method.clone(),
            authority: parts
                .uri
                .authority()
                .map(|a| a.to_string())
                .or_else(host)
                .unwrap_or_default(),
            target: parts
                .uri
                .path_and_query()
                .map(|t| t.to_string())
                .unwrap_or_default(),
            authorization: value(http::header::AUTHORIZATION),
            cookie: value(http::header::COOKIE),
        }
    }
}

/// A response that went well.
#[derive(Clone)]
pub struct Kept {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    at: Instant,
}

#[derive(Clone, Default)]
pub struct StaleCache(Rc<RefCell<HashMap<Key, Kept>>>);

impl StaleCache {
    /// How old the response is that is kept for a request.
    pub fn age(&self, key: &Key, now: Instant) -> Option<Duration> {
        self.0
            .borrow()
            .get(key)
            .map(|kept| now.saturating_duration_since(kept.at))
    }

    pub fn get(&self, key: &Key) -> Option<Kept> {
        self.0.borrow().get(key).cloned()
    }

    /// Starts to copy a response that may be kept; `Cache-Control: no-store` is obeyed.
    pub fn copy(&self, key: Key, status: StatusCode, headers: &HeaderMap) -> Option<StaleCopy> {
        let private = headers
            .get_all(http::header::CACHE_CONTROL)
            .iter()
            .any(|value| value.to_str().is_ok_and(|value| value.contains("no-store")));
        (status == StatusCode::OK && !private).then(|| StaleCopy {
            cache: self.clone(),
            key,
            status,
            headers: headers.clone(),
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

    /// Keeps it, now that it is whole.
    pub fn keep(self, now: Instant) {
        if self.too_large {
            return;
        }
        let mut entries = self.cache.0.borrow_mut();
        if entries.len() >= MAX_ENTRIES && !entries.contains_key(&self.key) {
            let oldest = entries
                .iter()
                .min_by_key(|(_, kept)| kept.at)
                .map(|(key, _)| key.clone());
            oldest.map(|key| entries.remove(&key));
        }
        let kept = Kept {
            status: self.status,
            headers: self.headers,
            body: self.body.freeze(),
            at: now,
        };
        entries.insert(self.key, kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(target: &str) -> Key {
        Key::of(&http::Request::get(target).body(()).unwrap().into_parts().0)
    }

    fn keep(cache: &StaleCache, target: &str, body: &[u8], now: Instant) {
        let mut copy = cache
            .copy(key(target), StatusCode::OK, &HeaderMap::new())
            .unwrap();
        copy.push(&Bytes::copy_from_slice(body));
        copy.keep(now);
    }

    #[test]
    fn tells_what_it_keeps_and_how_old_it_is() {
        let (cache, start) = (StaleCache::default(), Instant::now());
        keep(&cache, "/a", b"hello", start);
        let later = Duration::from_secs(60);
        assert_eq!(cache.get(&key("/a")).unwrap().body, "hello");
        assert_eq!(cache.age(&key("/a"), start + later), Some(later));
        assert_eq!(cache.age(&key("/b"), start), None);
    }

    #[test]
    fn memory_is_bounded() {
        let (cache, start) = (StaleCache::default(), Instant::now());
        keep(&cache, "/large", &vec![0; MAX_BODY + 1], start);
        assert!(cache.get(&key("/large")).is_none());
        for n in 0..MAX_ENTRIES as u64 + 10 {
            keep(
                &cache,
                &format!("/{n}"),
                b"x",
                start + Duration::from_millis(n),
            );
        }
        assert_eq!(cache.0.borrow().len(), MAX_ENTRIES);
        assert!(cache.get(&key("/0")).is_none(), "the oldest went");
    }

    #[test]
    fn what_says_no_store_is_not_stored() {
        let mut headers = HeaderMap::new();
        headers.insert("cache-control", "private, no-store".parse().unwrap());
        assert!(
            StaleCache::default()
                .copy(key("/"), StatusCode::OK, &headers)
                .is_none()
        );
    }
}
