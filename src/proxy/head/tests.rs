use http::Request;

use super::*;

fn request(version: Version, uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut builder = Request::builder().version(version).uri(uri);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).expect("a request").into_parts().0
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    request(Version::HTTP_11, "/", pairs).headers
}

#[test]
fn refuses_what_two_readers_could_read_differently() {
    use BadRequest::*;
    let host = ("host", "shop");
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Result<(), BadRequest>);
    let cases: &[Case<'_>] = &[
        ("/", &[host], Ok(())),
        ("/", &[("host", "shop:8080")], Ok(())),
        ("/", &[("host", "[::1]:8080")], Ok(())),
        ("//evil/..%2f?a=b", &[host], Ok(())),
        ("/", &[], Err(NoHost)),
        ("/", &[host, host], Err(SeveralHosts)),
        ("/", &[("host", "")], Err(InvalidHost)),
        ("/", &[("host", ":80")], Err(InvalidHost)),
        ("/", &[("host", "a b")], Err(InvalidHost)),
        ("/", &[("host", "a/b")], Err(InvalidHost)),
        ("/", &[("host", "a,b")], Ok(())),
        ("/", &[("host", "shop:99999")], Err(InvalidHost)),
        ("/", &[("host", "shop:")], Err(InvalidHost)),
        ("/", &[("host", "me@shop")], Err(UserInfo)),
        ("http://me:pw@shop/", &[host], Err(UserInfo)),
        ("http://shop/", &[host], Ok(())),
        ("http://SHOP:80/", &[host], Ok(())),
        ("http://shop:81/", &[host], Err(HostMismatch)),
        ("http://evil/", &[host], Err(HostMismatch)),
        ("http://shop/", &[], Err(NoHost)),
        ("shop", &[host], Err(RelativePath)),
        (
            "/",
            &[
                host,
                ("content-length", "1"),
                ("transfer-encoding", "chunked"),
            ],
            Err(TwoLengths),
        ),
        (
            "/",
            &[host, ("content-length", "1"), ("content-length", "1")],
            Err(SeveralLengths),
        ),
        ("/", &[host, ("transfer-encoding", "chunked")], Ok(())),
        (
            "/",
            &[host, ("transfer-encoding", "gzip, chunked")],
            Err(TransferEncoding),
        ),
        (
            "/",
            &[
                host,
                ("transfer-encoding", "chunked"),
                ("transfer-encoding", "chunked"),
            ],
            Err(TransferEncoding),
        ),
    ];
    for (uri, headers, expected) in cases {
        let request = request(Version::HTTP_11, uri, headers);
        let checked = validate(&request).and_then(|()| validate_framing(&request.headers));
        assert_eq!(checked, *expected, "{uri} {headers:?}");
    }
}

#[test]
fn only_http_1_1_requires_a_host() {
    for version in [Version::HTTP_10, Version::HTTP_2] {
        assert_eq!(validate(&request(version, "/", &[])), Ok(()));
    }
}

#[test]
fn asterisk_is_for_options_only() {
    let mut head = request(Version::HTTP_11, "*", &[("host", "shop")]);
    assert_eq!(validate(&head), Err(BadRequest::RelativePath));
    head.method = Method::OPTIONS;
    assert_eq!(validate(&head), Ok(()));
}

#[test]
fn strips_what_belongs_to_the_connection() {
    let mut map = headers(&[
        ("connection", "close, X-One"),
        ("connection", "x-two"),
        ("x-one", "1"),
        ("x-two", "2"),
        ("x-three", "3"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("te", "gzip, Trailers"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABkAAQCAAAAAAIAAAAA"),
    ]);
    strip_hop_by_hop(&mut map, Upgrade::Strip);
    assert_eq!(map, headers(&[("x-three", "3"), ("te", "trailers")]));
}

#[test]
fn a_length_beside_a_transfer_encoding_goes_with_it() {
    let mut map = headers(&[
        ("content-length", "5"),
        ("transfer-encoding", "chunked"),
        ("x-one", "1"),
    ]);
    strip_hop_by_hop(&mut map, Upgrade::Strip);
    assert_eq!(map, headers(&[("x-one", "1")]));
}

#[test]
fn connection_cannot_take_end_to_end_headers() {
    let pairs = [
        ("authorization", "secret"),
        ("host", "shop"),
        ("content-length", "3"),
    ];
    let mut map = headers(&pairs);
    map.insert(
        "connection",
        HeaderValue::from_static("authorization, host, content-length"),
    );
    strip_hop_by_hop(&mut map, Upgrade::Strip);
    assert_eq!(map, headers(&pairs));
}

#[test]
fn an_upgrade_is_kept_where_asked_and_never_h2c() {
    let websocket = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
    ];
    let mut map = headers(&websocket);
    strip_hop_by_hop(&mut map, Upgrade::Keep);
    assert_eq!(
        map,
        headers(&[("connection", "upgrade"), ("upgrade", "websocket")])
    );

    for protocols in ["h2c", "websocket, H2C"] {
        let mut map = headers(&[("connection", "upgrade"), ("upgrade", protocols)]);
        strip_hop_by_hop(&mut map, Upgrade::Keep);
        assert!(map.is_empty(), "{protocols}");
    }
    assert_eq!(wanted_upgrade(&headers(&[("upgrade", "websocket")])), None);
}

#[test]
fn a_length_is_nothing_but_digits_and_not_too_many() {
    for (text, length) in [
        ("0", Some(0)),
        ("0042", Some(42)),
        ("9223372036854775807", Some(u64::MAX / 2)),
        ("9223372036854775808", None),
        ("00000000000000000042", None),
        ("", None),
        ("+5", None),
        ("-5", None),
        ("5 ", None),
        ("5, 5", None),
        ("0x5", None),
    ] {
        assert_eq!(content_length(text.as_bytes()), length, "{text:?}");
    }
}

#[test]
fn every_name_that_is_removed_is_looked_for() {
    for name in HOP_BY_HOP.iter().chain([&header::CONNECTION]) {
        assert!(concerns_connection(name), "{name}");
    }
    assert!(!concerns_connection(&header::CONTENT_TYPE));
}

#[test]
fn a_host_survives_from_http1_to_http2_and_back() {
    let default = Authority::from_static("fallback");
    let mut head = request(Version::HTTP_11, "/a?b", &[("host", "shop:81")]);
    let target = Http2Target::of(&head, &default);
    assert_eq!((target.authority, &*target.path), ("shop:81", "/a?b"));
    head.uri = format!("http://{}{}", target.authority, target.path)
        .parse()
        .unwrap();
    head.headers.remove(HOST);
    let target = Http1Target::of(&head);
    assert_eq!((target.host, &*target.target), (Some("shop:81"), "/a?b"));

    for without in [
        request(Version::HTTP_10, "/", &[]),
        request(Version::HTTP_10, "/", &[("host", "")]),
    ] {
        let target = Http2Target::of(&without, &default);
        assert_eq!((target.authority, &*target.path), ("fallback", "/"));
    }
}

#[test]
fn an_absolute_target_becomes_a_path() {
    let head = request(Version::HTTP_11, "http://shop/a?b", &[("host", "other")]);
    let target = Http1Target::of(&head);
    assert_eq!((target.host, &*target.target), (Some("shop"), "/a?b"));
}

#[test]
fn a_target_with_a_query_and_no_path_gets_its_slash() {
    let head = request(Version::HTTP_11, "http://shop?a", &[("host", "shop")]);
    assert_eq!(Http1Target::of(&head).target, "/?a");
    let default = Authority::from_static("fallback");
    assert_eq!(Http2Target::of(&head, &default).path, "/?a");
}

#[test]
fn the_host_that_the_headers_have_is_not_written_twice() {
    let named = request(Version::HTTP_11, "/", &[("host", "shop")]);
    assert_eq!(Http1Target::of(&named).host, None);
    let of_http2 = request(Version::HTTP_2, "/", &[]);
    assert_eq!(Http1Target::of(&of_http2).host, Some(""));
}

#[test]
fn a_request_of_http_1_0_stays_what_it_is() {
    let old = request(Version::HTTP_10, "http://shop/a?b", &[]);
    let target = Http1Target::of(&old);
    assert_eq!((target.version, target.host), (Version::HTTP_10, None));
    assert_eq!(target.target, "http://shop/a?b");
}

#[test]
fn ports_are_told_from_ipv6() {
    for (authority, host) in [
        ("a:80", "a"),
        ("a", "a"),
        ("[::1]:80", "[::1]"),
        ("[::1]", "[::1]"),
    ] {
        assert_eq!(without_port(authority), host);
    }
}

#[test]
fn a_tunnel_is_refused() {
    let request = http::Request::builder().method("CONNECT").uri("shop:443");
    let request = request.header("host", "shop:443").body(()).unwrap();
    assert_eq!(validate(&request.into_parts().0), Err(BadRequest::Tunnel));
}
