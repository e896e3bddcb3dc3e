//! What a rule does to requests and responses.

use http::HeaderMap;

use super::*;
use crate::discovery::model::{
    Backend, Filter, HeaderEdit, Mirror, PathRewrite, Redirect, Rewrite,
};

fn with(filter: Filter) -> Route {
    Route {
        filters: vec![filter],
        ..route("r", &[], vec![prefix("/foo")])
    }
}

fn applied(route: Route, mut request: Parts) -> Parts {
    let table = table(vec![route]);
    let selected = table.find(&request).expect("a match");
    selected.apply_request(None, &mut request).expect("short");
    request
}

#[test]
fn prefix_rewrites_follow_the_table_of_the_specification() {
    for (path, matched, replacement, expected) in [
        ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
        ("/foo", "/foo", "/xyz", "/xyz"),
        ("/foo/", "/foo", "/xyz", "/xyz/"),
        ("/foo/bar", "/foo", "", "/bar"),
        ("/foo/", "/foo", "", "/"),
        ("/foo", "/foo", "", "/"),
        ("/foo/", "/foo", "/", "/"),
        ("/foo", "/foo", "/", "/"),
        ("/bar", "/", "/xyz", "/xyz/bar"),
        ("/foo/bar?q=%2f", "/foo", "/xyz", "/xyz/bar?q=%2f"),
    ] {
        let rewrite = Rewrite {
            path: Some(PathRewrite::Prefix(replacement.into())),
            ..Rewrite::default()
        };
        let filters = vec![Filter::Rewrite(rewrite)];
        let route = Route {
            filters,
            ..route("r", &[], vec![prefix(matched)])
        };
        assert_eq!(
            applied(route, get(path)).uri,
            expected,
            "{path} {matched} {replacement:?}"
        );
    }
}

#[test]
fn full_path_and_hostname_rewrites() {
    let rewrite = Filter::Rewrite(Rewrite {
        hostname: Some("Other.shop".into()),
        path: Some(PathRewrite::Full("/new".into())),
    });
    let http1 = applied(
        with(rewrite.clone()),
        request("GET", "/foo/x?q", &[("host", "a:81")]),
    );
    assert_eq!(http1.uri, "/new?q");
    assert_eq!(http1.headers["host"], "other.shop");
    let http2 = applied(with(rewrite), request("GET", "http://a:81/foo", &[]));
    assert_eq!(http2.uri, "http://other.shop/new");
    assert!(!http2.headers.contains_key("host"));
}

#[test]
fn a_rewrite_that_makes_too_long_a_target_is_an_error() {
    let rewrite = Rewrite {
        path: Some(PathRewrite::Prefix("/much-longer".into())),
        ..Rewrite::default()
    };
    let table = table(vec![with(Filter::Rewrite(rewrite))]);
    let mut request = get(&format!("/foo/{}", "x".repeat(65_525)));
    let selected = table.find(&request).expect("a match");
    assert_eq!(
        selected.apply_request(None, &mut request),
        Err(TargetTooLong)
    );
}

#[test]
fn header_edits_set_add_and_remove() {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let edit = HeaderEdit {
        set: vec![pair("my-header", "new")],
        add: vec![pair("My-Header", "more")],
        remove: vec!["X-Gone".into()],
    };
    let headers = [
        ("my-header", "old"),
        ("my-header", "older"),
        ("x-gone", "1"),
        ("x-kept", "2"),
    ];
    let edited = applied(
        with(Filter::RequestHeaders(edit.clone())),
        request("GET", "/foo", &headers),
    );
    let expected = request(
        "GET",
        "/",
        &[("my-header", "new"), ("my-header", "more"), ("x-kept", "2")],
    );
    assert_eq!(edited.headers, expected.headers);

    let table = table(vec![with(Filter::ResponseHeaders(edit))]);
    let mut response: HeaderMap = request("GET", "/", &headers).headers;
    table
        .find(&get("/foo"))
        .expect("a match")
        .apply_response(None, &mut response);
    assert_eq!(response, expected.headers);
}

#[test]
fn redirects_follow_the_rules_for_scheme_and_port() {
    let http = Listener {
        scheme: Scheme::Http,
        port: 80,
    };
    let high = Listener {
        scheme: Scheme::Http,
        port: 8080,
    };
    let https = Listener {
        scheme: Scheme::Https,
        port: 443,
    };
    let scheme = |scheme: &str| Redirect {
        scheme: Some(scheme.into()),
        ..Redirect::default()
    };
    let port = |port| Redirect {
        port: Some(port),
        ..Redirect::default()
    };
    let path = |path| Redirect {
        path: Some(path),
        ..Redirect::default()
    };
    for (redirect, listener, location) in [
        (Redirect::default(), http, "http://shop/foo/a?q"),
        (Redirect::default(), high, "http://shop:8080/foo/a?q"),
        (Redirect::default(), https, "https://shop/foo/a?q"),
        (scheme("https"), high, "https://shop/foo/a?q"),
        (scheme("http"), https, "http://shop/foo/a?q"),
        (
            Redirect {
                port: Some(8443),
                ..scheme("https")
            },
            http,
            "https://shop:8443/foo/a?q",
        ),
        (
            Redirect {
                port: Some(443),
                ..scheme("https")
            },
            high,
            "https://shop/foo/a?q",
        ),
        (port(80), high, "http://shop/foo/a?q"),
        (port(8081), http, "http://shop:8081/foo/a?q"),
        (port(80), https, "https://shop:80/foo/a?q"),
        (
            Redirect {
                hostname: Some("b.shop".into()),
                ..port(80)
            },
            http,
            "http://b.shop/foo/a?q",
        ),
        (
            path(PathRewrite::Full("/new".into())),
            http,
            "http://shop/new?q",
        ),
        (
            path(PathRewrite::Prefix("/new".into())),
            http,
            "http://shop/new/a?q",
        ),
    ] {
        let table = table(vec![with(Filter::Redirect(redirect.clone()))]);
        let request = request("GET", "/foo/a?q", &[("host", "shop:1234")]);
        let selected = table.find(&request).expect("a match");
        let response = selected.redirect(&request, listener).expect("a redirect");
        assert_eq!(response.status(), 302);
        assert_eq!(
            response.headers()["location"],
            location,
            "{redirect:?} {listener:?}"
        );
    }
}

#[test]
fn a_redirect_is_a_uri_of_the_same_host_whatever_the_path() {
    let listener = Listener {
        scheme: Scheme::Http,
        port: 80,
    };
    let mut route = with(Filter::Redirect(Redirect::default()));
    route.matches.clear();
    let table = table(vec![route]);
    let shop = &[("host", "shop")][..];
    for (path, headers, location) in [
        ("/\u{e9}", shop, "http://shop/%C3%A9"),
        ("//evil/x", shop, "http://shop//evil/x"),
        ("//evil/x", &[], "/evil/x"),
    ] {
        // Not by way of the builder, which would take `//evil` for a host.
        let path = http::uri::PathAndQuery::try_from(path).expect("what clients may send");
        let mut request = request("GET", "/", headers);
        request.uri = path.into();
        let selected = table.find(&request).expect("a match");
        let response = selected.redirect(&request, listener).expect("a redirect");
        assert_eq!(response.headers()["location"], location);
    }
}

#[test]
fn backends_get_their_weights() {
    let backend = |name: &str, weight| Backend {
        service: format!("shop/{name}:80").parse().expect("a key"),
        weight,
        filters: vec![],
    };
    let backends = vec![backend("a", 1), backend("none", 0), backend("b", 9)];
    let table = table(vec![
        Route {
            backends,
            ..route("split", &[], vec![exact("/split")])
        },
        Route {
            backends: vec![backend("a", 0)],
            ..route("none", &[], vec![exact("/none")])
        },
        route("own", &[], vec![exact("/own")]),
    ]);
    let mut rng = fastrand::Rng::with_seed(1);
    let mut pick = |path: &str| {
        let selected = table.find(&get(path)).expect("a match");
        selected.rule.pick_backend(&mut rng)
    };
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..10_000 {
        let Choice::Backend(backend) = pick("/split") else {
            panic!("no backend")
        };
        *counts.entry(backend.service.name.to_string()).or_insert(0) += 1;
    }
    assert!((900..1100).contains(&counts["a"]), "{counts:?}");
    assert!(!counts.contains_key("none"));
    assert!(matches!(pick("/none"), Choice::NoBackend));
    assert!(matches!(pick("/own"), Choice::Parent));
}

#[test]
fn mirrors_copy_their_share() {
    for (percent, expected) in [
        (0.0, 0..=0),
        (25.0, 2_300..=2_700),
        (100.0, 10_000..=10_000),
    ] {
        let service = "shop/copy:80".parse().expect("a key");
        let table = table(vec![with(Filter::Mirror(Mirror { service, percent }))]);
        let mirror = &table.rules()[0].filters.mirrors[0];
        let mut rng = fastrand::Rng::with_seed(1);
        let copied = (0..10_000).filter(|_| mirror.wants(&mut rng)).count();
        assert!(expected.contains(&copied), "{percent}: {copied}");
    }
}

#[test]
fn zero_timeouts_are_none() {
    let mut route = route("r", &[], vec![]);
    route.timeouts.request = Some(std::time::Duration::ZERO);
    route.timeouts.backend_request = Some(std::time::Duration::from_secs(5));
    let table = table(vec![route]);
    assert_eq!(table.rules()[0].request_timeout, None);
    assert!(table.rules()[0].backend_timeout.is_some());
}
