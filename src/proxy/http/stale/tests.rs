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

/// The count of the entries was bounded, and they were as large as anybody cared to make them.
#[test]
fn memory_is_bounded_in_bytes() {
    let (cache, start, none) = (StaleCache::default(), Instant::now(), HeaderMap::new());
    keep(&cache, "/large", &vec![0; MAX_BODY + 1], start);
    assert!(cache.get(&key("/large"), &none).is_none());
    let (count, target) = (600, "a".repeat(30_000));
    let at = |n| format!("/{n}/{target}");
    for n in 0..count {
        let now = start + Duration::from_millis(n);
        keep(&cache, &at(n), &vec![0; MAX_BODY], now);
    }
    let entries = cache.0.borrow();
    let held: usize = entries
        .kept
        .iter()
        .map(|(key, variants)| {
            let bodies: usize = variants.iter().map(|kept| kept.body.len()).sum();
            key.target.len() + bodies
        })
        .sum();
    assert!((MAX_BYTES * 3 / 4..=MAX_BYTES).contains(&held), "{held}");
    assert!(cache.get(&key(&at(0)), &none).is_none(), "the oldest went");
    assert!(cache.get(&key(&at(count - 1)), &none).is_some());
}

#[test]
fn a_response_in_the_place_of_another_takes_no_more() {
    let (cache, start) = (StaleCache::default(), Instant::now());
    keep(&cache, "/a", b"hello", start);
    let before = cache.0.borrow().bytes;
    keep(&cache, "/a", b"world", start);
    assert_eq!(cache.0.borrow().bytes, before);
    assert_eq!(cache.0.borrow().order.len(), 1);
}

#[test]
fn what_is_too_old_for_every_policy_is_forgotten() {
    let (cache, start, none) = (StaleCache::default(), Instant::now(), HeaderMap::new());
    keep(&cache, "/a", b"hello", start);
    keep(&cache, "/b", b"hello", start + Duration::from_secs(1));
    cache.sweep(start + MAX_STALE);
    assert!(cache.get(&key("/a"), &none).is_some());
    cache.sweep(start + MAX_STALE + Duration::from_secs(1));
    assert!(cache.get(&key("/a"), &none).is_none());
    assert!(cache.get(&key("/b"), &none).is_some());
    cache.sweep(start + MAX_STALE * 2);
    assert_eq!(cache.0.borrow().bytes, 0);
}

fn with_lines(name: &str, lines: &[&str]) -> request::Parts {
    let mut request = http::Request::get("/");
    for line in lines {
        request = request.header(name, *line);
    }
    request.body(()).unwrap().into_parts().0
}

/// Of two lines only the first was looked at: another user's answer came.
#[test]
fn every_line_of_a_credential_counts() {
    for name in ["cookie", "authorization"] {
        let of = |lines: &[&str]| Key::of(&with_lines(name, lines), None);
        let alice = of(&["theme=dark", "session=alice"]);
        assert!(alice == of(&["theme=dark", "session=alice"]), "{name}");
        for other in [
            &["theme=dark", "session=bob"][..],
            &["session=alice", "theme=dark"],
            &["theme=dark"],
            &[],
        ] {
            assert!(alice != of(other), "{name}: {other:?}");
        }
    }
}

#[test]
fn every_line_of_a_header_that_an_answer_varies_by_counts() {
    let cache = StaleCache::default();
    let of = |lines: &[&str]| with_lines("accept-language", lines).headers;
    let response = varying("accept-language");
    let copy = cache.copy(key("/"), &of(&["en", "de"]), StatusCode::OK, &response);
    copy.unwrap().keep(Instant::now());
    assert!(cache.get(&key("/"), &of(&["en", "de"])).is_some());
    assert!(cache.get(&key("/"), &of(&["en", "fr"])).is_none());
    assert!(cache.get(&key("/"), &of(&["en"])).is_none());
}

#[test]
fn what_says_no_store_is_not_stored() {
    let stored = |control: &[&str]| {
        let mut headers = HeaderMap::new();
        for line in control {
            headers.append(CACHE_CONTROL, line.parse().unwrap());
        }
        let cache = StaleCache::default();
        let copy = cache.copy(key("/"), &HeaderMap::new(), StatusCode::OK, &headers);
        copy.is_some()
    };
    assert!(!stored(&["private, no-store"]));
    assert!(!stored(&["No-Store"]), "case does not count");
    assert!(!stored(&["max-age=5", "NO-STORE"]));
    assert!(!stored(&["no-store=\"x\""]));
    assert!(stored(&["max-age=5, x-no-store"]));
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
    assert_eq!(cache.0.borrow().kept[&key("/")].len(), MAX_VARIANTS);
    assert!(
        cache.get(&key("/"), &in_language("0")).is_none(),
        "the oldest went"
    );
}
