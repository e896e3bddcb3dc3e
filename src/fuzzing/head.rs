use arbitrary::{Result, Unstructured};
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Uri, Version,
    header::{self, HOST},
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};

use crate::proxy::head::{
    Http1Target, Http2Target, Upgrade, host, strip_hop_by_hop, validate, validate_framing,
};

const METHODS: [&str; 5] = ["GET", "POST", "OPTIONS", "CONNECT", "BREW"];
const TARGETS: [&str; 12] = [
    "/",
    "/a?b=c",
    "//evil/..%2f",
    "*",
    "shop",
    "shop:80",
    "http://shop/a",
    "http://SHOP:80?b",
    "https://shop:443/",
    "http://me@shop/",
    "http://[::1]:8080/a",
    "/\u{e9}",
];
const NAMES: [&str; 18] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "upgrade",
    "keep-alive",
    "proxy-connection",
    "http2-settings",
    "authorization",
    "cookie",
    "cache-control",
    "content-type",
    "x-a",
    "x-b",
    "trailer",
    "expect",
    "via",
];
const WORDS: [&str; 24] = [
    "shop",
    "shop:80",
    "evil",
    "[::1]",
    "close",
    "keep-alive",
    "upgrade",
    "Upgrade",
    "x-a",
    "x-b",
    "host",
    "authorization",
    "content-length",
    "te",
    "trailers",
    "gzip",
    "chunked",
    "websocket",
    "h2c",
    "H2C",
    "5",
    "+5",
    "",
    "\u{e9}",
];
const HOP_BY_HOP: [&str; 5] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "http2-settings",
];
const KEPT: [&str; 6] = [
    "host",
    "content-length",
    "content-type",
    "authorization",
    "cookie",
    "cache-control",
];

/// A head that is accepted has one host and one framing; what is the connection's own is gone and
/// what readers decide by is not; and it says the same in HTTP/1 and in HTTP/2.
pub fn head(data: &[u8]) {
    let Ok(Some(parts)) = make(&mut Unstructured::new(data)) else {
        return;
    };
    if validate(&parts).is_err() || validate_framing(&parts.headers).is_err() {
        return;
    }
    check_accepted(&parts);
    for upgrade in [Upgrade::Strip, Upgrade::Keep] {
        let mut stripped = parts.clone();
        strip_hop_by_hop(&mut stripped.headers, upgrade);
        check_stripped(&parts.headers, &stripped.headers, upgrade);
        let once = stripped.headers.clone();
        strip_hop_by_hop(&mut stripped.headers, upgrade);
        assert_eq!(once, stripped.headers, "a second time changes nothing");
        if upgrade == Upgrade::Strip {
            check_versions(&stripped);
        }
    }
}

fn make(u: &mut Unstructured<'_>) -> Result<Option<Parts>> {
    let versions = [Version::HTTP_11, Version::HTTP_10, Version::HTTP_2];
    let mut request = Request::builder()
        .version(*u.choose(&versions)?)
        .method(*u.choose(&METHODS)?)
        .uri(*u.choose(&TARGETS)?);
    for _ in 0..u.int_in_range(0..=6)? {
        let mut value = Vec::new();
        for n in 0..u.int_in_range(1..=3)? {
            value.extend_from_slice(
                if n == 0 {
                    ""
                } else {
                    u.choose(&[",", ", ", "\t, ,"])?
                }
                .as_bytes(),
            );
            value.extend_from_slice(u.choose(&WORDS)?.as_bytes());
        }
        request = request.header(*u.choose(&NAMES)?, value);
    }
    Ok(request.body(()).ok().map(|request| request.into_parts().0))
}

fn check_accepted(parts: &Parts) {
    let all = |name: HeaderName| parts.headers.get_all(name).iter().count();
    assert!(all(HOST) <= 1 && all(header::CONTENT_LENGTH) <= 1);
    assert!(all(header::TRANSFER_ENCODING) + all(header::CONTENT_LENGTH) <= 1);
    if let Some(host) = host(parts) {
        assert!(
            !host.is_empty() && !host.contains(['@', '/', ' ']),
            "{host:?}"
        );
    } else {
        assert_ne!(parts.version, Version::HTTP_11);
    }
}

fn check_stripped(before: &HeaderMap, after: &HeaderMap, upgrade: Upgrade) {
    let upgrades = after.get(header::UPGRADE);
    match upgrades {
        None => assert!(!after.contains_key(header::CONNECTION)),
        Some(protocol) => {
            assert_eq!(upgrade, Upgrade::Keep);
            assert!(
                !protocol
                    .as_bytes()
                    .to_ascii_lowercase()
                    .windows(3)
                    .any(|w| w == b"h2c")
            );
            assert_eq!(after[header::CONNECTION], "upgrade");
        }
    }
    for name in HOP_BY_HOP.iter().filter(|name| **name != "connection") {
        assert!(!after.contains_key(*name), "{name}");
    }
    let te: Vec<_> = after.get_all(header::TE).iter().collect();
    assert!(te.is_empty() || te == [&HeaderValue::from_static("trailers")]);
    for name in KEPT {
        let values = |map: &HeaderMap| map.get_all(name).iter().cloned().collect::<Vec<_>>();
        assert_eq!(values(before), values(after), "{name}");
    }
    assert!(after.len() <= before.len() + 1, "nothing is invented");
}

/// The request as the next proxy reads it.
fn as_http2(parts: &Parts, default: &Authority) -> Parts {
    let target = Http2Target::of(parts, default);
    let authority = target.authority.parse::<Authority>().expect("an authority");
    let path: PathAndQuery = target.path.parse().expect("a path");
    let mut h2 = parts.clone();
    h2.version = Version::HTTP_2;
    let uri = Uri::builder().scheme(Scheme::HTTP).authority(authority);
    h2.uri = uri
        .path_and_query(path)
        .build()
        .expect("all three parts are present");
    h2.headers.remove(HOST);
    h2
}

/// Both writings have the host, the path and the other headers of the original.
fn check_versions(parts: &Parts) {
    let default = Authority::from_static("default.test");
    let h2 = as_http2(parts, &default);
    if parts.method == http::Method::CONNECT {
        return;
    }
    let named = host(parts).unwrap_or("default.test");
    assert_eq!(h2.uri.authority().map(Authority::as_str), Some(named));
    assert!(!h2.headers.contains_key(HOST));
    let path = parts
        .uri
        .path_and_query()
        .map_or("/".to_owned(), ToString::to_string);
    assert_eq!(
        h2.uri.path_and_query().map(ToString::to_string),
        Some(path.clone())
    );
    let others = |parts: &Parts| {
        let mut headers = parts.headers.clone();
        headers.remove(HOST);
        headers
    };
    assert_eq!(others(&h2), others(parts));
    check_http1(&h2, named, &path);
    // What was HTTP/1.0 goes on as it came.
    if parts.version != Version::HTTP_10 {
        check_http1(parts, host(parts).unwrap_or(""), &path);
    }
}

fn check_http1(parts: &Parts, host: &str, path: &str) {
    let written = Http1Target::of(parts);
    let own = parts.headers.get(HOST).map(HeaderValue::as_bytes);
    assert_eq!(
        written.host.map_or(own, |host| Some(host.as_bytes())),
        Some(host.as_bytes())
    );
    assert_eq!(written.target, path);
}
