use http::{HeaderMap, Request, request::Parts};

use super::*;
use crate::discovery::model::{
    Backend, Filter, GrpcMethodMatch, HeaderEdit, Mirror, PathMatch, PathRewrite, Protocol,
    Redirect, Rewrite, Route, RouteMatch, ValueMatch,
};

fn table(routes: Vec<Route>) -> RouteTable {
    try_table(routes).expect("valid routes")
}

fn try_table(routes: Vec<Route>) -> Result<RouteTable, Vec<RouteError>> {
    RouteTable::compile(&Service {
        key: "shop/cart:80".parse().expect("a key"),
        protocol: Protocol::Http,
        routes,
        policy: Default::default(),
    })
}

fn route(name: &str, hostnames: &[&str], matches: Vec<RouteMatch>) -> Route {
    Route {
        name: name.into(),
        hostnames: hostnames.iter().map(|name| name.to_string()).collect(),
        matches,
        ..Route::default()
    }
}

fn exact(path: &str) -> RouteMatch {
    on(PathMatch::Exact(path.into()))
}

fn prefix(path: &str) -> RouteMatch {
    on(PathMatch::Prefix(path.into()))
}

fn regex(path: &str) -> RouteMatch {
    on(PathMatch::Regex(path.into()))
}

fn on(path: PathMatch) -> RouteMatch {
    RouteMatch {
        path: Some(path),
        ..RouteMatch::default()
    }
}

fn value(name: &str, value: &str, regex: bool) -> ValueMatch {
    ValueMatch {
        name: name.into(),
        value: value.into(),
        regex,
    }
}

fn grpc(service: Option<&str>, method: Option<&str>, regex: bool) -> RouteMatch {
    let text = |text: Option<&str>| text.map(str::to_owned);
    let grpc = GrpcMethodMatch {
        service: text(service),
        method: text(method),
        regex,
    };
    RouteMatch {
        grpc: Some(grpc),
        ..RouteMatch::default()
    }
}

fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut builder = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).expect("a request").into_parts().0
}

fn get(uri: &str) -> Parts {
    request("GET", uri, &[("host", "shop")])
}

fn name<'t>(table: &'t RouteTable, request: &Parts) -> Option<&'t str> {
    table.find(request).map(|selected| &*selected.rule.name)
}

/// Each rule on its own, named by its place.
fn rules(matches: Vec<RouteMatch>) -> RouteTable {
    let rule = |(at, a_match): (usize, RouteMatch)| route(&at.to_string(), &[], vec![a_match]);
    table(matches.into_iter().enumerate().map(rule).collect())
}

#[test]
fn hostnames_the_more_specific_first() {
    let table = table(vec![
        route("any", &[], vec![]),
        route("short", &["*.example.com"], vec![]),
        route("long", &["*.test.example.com"], vec![]),
        route("exact", &["a.test.example.com"], vec![]),
    ]);
    for (host, expected) in [
        ("a.test.example.com", "exact"),
        ("A.Test.Example.COM:8080", "exact"),
        ("a.test.example.com.", "exact"),
        ("b.test.example.com", "long"),
        ("c.b.test.example.com", "long"),
        ("test.example.com", "short"),
        ("example.com", "any"),
        (".example.com", "any"),
        ("[::1]:80", "any"),
        (&"a".repeat(300), "any"),
    ] {
        let request = request("GET", "/", &[("host", host)]);
        assert_eq!(name(&table, &request), Some(expected), "{host}");
    }
    let absolute = request("GET", "http://a.test.example.com/", &[]);
    assert_eq!(name(&table, &absolute), Some("exact"));
}

#[test]
fn a_better_hostname_without_a_match_leaves_the_request_to_the_next() {
    let table = table(vec![
        route("any", &[], vec![]),
        route("exact", &["shop"], vec![exact("/a")]),
    ]);
    assert_eq!(name(&table, &get("/a")), Some("exact"));
    assert_eq!(name(&table, &get("/b")), Some("any"));
}

#[test]
fn prefixes_match_by_element() {
    // The examples of HTTPPathMatch in the specification.
    let cases = [
        ("/abc", "/abc", true),
        ("/abc", "/abc/", true),
        ("/abc", "/abc/def", true),
        ("/abc", "/abcd", false),
        ("/abc/", "/abc", true),
        ("/abc/", "/abc/def", true),
        ("/abc/", "/abcd", false),
        ("/", "/", true),
        ("/", "/anything", true),
        ("/abc", "/ABC", false),
        ("/abc", "/%61bc", false),
        ("/abc", "//abc", false),
    ];
    for (pattern, path, expected) in cases {
        let table = rules(vec![prefix(pattern)]);
        assert_eq!(
            table.find(&get(path)).is_some(),
            expected,
            "{pattern} {path}"
        );
    }
}

#[test]
fn paths_in_their_precedence() {
    let table = rules(vec![
        prefix("/"),
        prefix("/a"),
        prefix("/a/b"),
        regex("/a/[a-z]+"),
        regex("/a/[a-z][a-z]*"),
        exact("/a/b"),
        exact("/a/b/"),
    ]);
    for (path, expected) in [
        ("/x", "0"),
        ("/a", "1"),
        ("/a/B", "1"),
        ("/a/b/c", "2"),
        ("/a/c", "4"),
        ("/a/b", "5"),
        ("/a/b/", "6"),
        ("/a/b?q", "5"),
    ] {
        assert_eq!(name(&table, &get(path)), Some(expected), "{path}");
    }
}

#[test]
fn conditions_in_their_precedence() {
    let base = || prefix("/");
    let table = rules(vec![
        base(),
        RouteMatch {
            query: vec![value("q", "1", false)],
            ..base()
        },
        RouteMatch {
            query: vec![value("q", "1", false), value("r", "1", false)],
            ..base()
        },
        RouteMatch {
            headers: vec![value("X-One", "1", false)],
            ..base()
        },
        RouteMatch {
            headers: vec![value("x-one", "1", false), value("x-two", "2", false)],
            ..base()
        },
        RouteMatch {
            method: Some("POST".into()),
            ..base()
        },
        base(),
    ]);
    let one = ("x-one", "1");
    let two = ("X-Two", "2");
    for (method, uri, headers, expected) in [
        ("GET", "/", &[][..], "0"),
        ("GET", "/?q=1", &[], "1"),
        ("GET", "/?q=1&r=1", &[], "2"),
        ("GET", "/?q=1&r=1", &[one], "3"),
        ("GET", "/", &[one, two], "4"),
        ("POST", "/", &[one, two], "5"),
    ] {
        let request = request(method, uri, headers);
        assert_eq!(
            name(&table, &request),
            Some(expected),
            "{method} {uri} {headers:?}"
        );
    }
}

#[test]
fn grpc_methods_in_their_precedence() {
    let table = rules(vec![
        prefix("/"),
        grpc(None, Some("Get"), false),
        grpc(Some("shop.Cart"), None, false),
        grpc(Some("shop.Cart"), Some("Get"), false),
        grpc(Some("shop\\.[A-Z][a-z]+"), Some("P.*"), true),
    ]);
    for (path, expected) in [
        ("/shop.Cart/Get", "3"),
        ("/shop.Cart/Add", "2"),
        ("/shop.Cart/Put", "4"),
        ("/shop.Other/Get", "1"),
        ("/shop.Other/Put", "4"),
        ("/shop.Other/Put/x/Get", "0"),
        ("/shop.Other/Add", "0"),
    ] {
        let path = request("POST", path, &[]);
        assert_eq!(name(&table, &path), Some(expected), "{}", path.uri);
    }
}

#[test]
fn values_match_as_they_are_forwarded() {
    let header = |a_match| {
        rules(vec![RouteMatch {
            headers: vec![a_match],
            ..prefix("/")
        }])
    };
    let exact = header(value("x", "a", false));
    let pattern = header(value("x", "a|ab", true));
    for (values, by_exact, by_pattern) in [
        (&["a"][..], true, true),
        (&["A"], false, false),
        (&["ab"], false, true),
        (&["abc"], false, false),
        // A second line is seen, in either order.
        (&["a", "b"], false, false),
        (&["b", "a"], false, false),
        (&[], false, false),
    ] {
        let lines: Vec<_> = values.iter().map(|value| ("x", *value)).collect();
        let request = request("GET", "/", &lines);
        assert_eq!(exact.find(&request).is_some(), by_exact, "{values:?}");
        assert_eq!(pattern.find(&request).is_some(), by_pattern, "{values:?}");
    }

    let table = rules(vec![RouteMatch {
        query: vec![value("q", "1", false)],
        ..prefix("/")
    }]);
    for (uri, expected) in [
        ("/?q=1", true),
        ("/?p=0&q=1", true),
        ("/?q=1&q=2", true),
        ("/?q=2&q=1", false),
        ("/?Q=1", false),
        ("/?q=%31", false),
        ("/?xq=1", false),
        ("/?q", false),
        ("/", false),
    ] {
        assert_eq!(table.find(&get(uri)).is_some(), expected, "{uri}");
    }
}

#[test]
fn of_several_entries_for_one_name_the_first_counts() {
    let headers = vec![value("X-One", "1", false), value("x-one", "2", false)];
    let query = vec![value("q", "1", false), value("q", "2", false)];
    let table = rules(vec![RouteMatch {
        headers,
        query,
        ..prefix("/")
    }]);
    let request = request("GET", "/?q=1", &[("x-one", "1")]);
    assert!(table.find(&request).is_some());
}

#[test]
fn any_match_of_a_rule_is_enough_and_order_breaks_ties() {
    let table = table(vec![
        route("first", &[], vec![exact("/a"), exact("/b")]),
        route("second", &[], vec![exact("/b"), exact("/c")]),
    ]);
    for (path, expected) in [
        ("/a", Some("first")),
        ("/b", Some("first")),
        ("/c", Some("second")),
        ("/d", None),
    ] {
        assert_eq!(name(&table, &get(path)), expected);
    }
}

#[test]
fn a_thousand_routes_are_looked_up_not_searched() {
    let routes = (0..1000).map(|n| {
        let a_match = if n % 2 == 0 {
            exact(&format!("/e{n}"))
        } else {
            prefix(&format!("/p{n}"))
        };
        route(&n.to_string(), &[&format!("h{n}.shop")], vec![a_match])
    });
    let mut routes: Vec<_> = routes.collect();
    routes.push(route(
        "crowd",
        &["crowd"],
        (0..1000).map(|n| prefix(&format!("/{n}"))).collect(),
    ));
    let table = table(routes);
    for n in [0, 1, 498, 999] {
        let uri = if n % 2 == 0 {
            format!("/e{n}")
        } else {
            format!("/p{n}/x")
        };
        let request = request("GET", &uri, &[("host", &format!("h{n}.shop"))]);
        assert_eq!(name(&table, &request), Some(n.to_string().as_str()));
    }
    // Prefixes of equal length are one lookup, however many they are.
    let probes = std::cell::Cell::new(0);
    let found = table.exact_hosts["crowd"].find("/777/x", |_| {
        probes.set(probes.get() + 1);
        true
    });
    assert_eq!((found.is_some(), probes.get()), (true, 1));
}

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

#[test]
fn every_fault_is_found_and_named() {
    let text = |text: &str| text.to_owned();
    let edit = HeaderEdit {
        set: vec![(text("bad name"), text("v")), (text("x"), text("a\nb"))],
        add: vec![(text("host"), text("evil"))],
        remove: vec![text("Content-Length")],
    };
    let mut bad = route(
        "shop/bad#0",
        &["*", "a b", "http://x", "-a.shop"],
        vec![
            regex("("),
            regex("a)|(b"),
            regex("(?:a{1000}){1000}"),
            exact("no-slash"),
            prefix("/a?b"),
            grpc(None, None, false),
            RouteMatch {
                headers: vec![value("b d", "[", true)],
                ..prefix("/")
            },
            RouteMatch {
                method: Some("G T".into()),
                ..prefix("/")
            },
        ],
    );
    let service: crate::discovery::model::ServiceKey = "shop/x:80".parse().expect("a key");
    let prefix_rewrite = Rewrite {
        path: Some(PathRewrite::Prefix("/x".into())),
        hostname: None,
    };
    bad.filters = vec![
        Filter::RequestHeaders(edit.clone()),
        Filter::RequestHeaders(HeaderEdit::default()),
        Filter::Redirect(Redirect {
            status: Some(200),
            scheme: Some("ftp".into()),
            port: Some(0),
            ..Redirect::default()
        }),
        Filter::Rewrite(prefix_rewrite),
        Filter::Mirror(Mirror {
            service,
            percent: f64::NAN,
        }),
    ];
    bad.timeouts.request = Some(std::time::Duration::from_secs(1));
    bad.timeouts.backend_request = Some(std::time::Duration::from_secs(2));
    let errors = try_table(vec![route("shop/good", &[], vec![]), bad]).expect_err("faults");
    let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "hostnames[0]",
            "hostnames[1]",
            "hostnames[2]",
            "hostnames[3]",
            "matches[0].path.regex",
            "matches[1].path.regex",
            "matches[2].path.regex",
            "matches[3].path.exact",
            "matches[4].path.prefix",
            "matches[5].grpc",
            "matches[6].headers[0].name",
            "matches[6].headers[0].value",
            "matches[7].method",
            "filters",
            "filters[0].set[0]",
            "filters[0].set[1]",
            "filters[0].add[0]",
            "filters[0].remove[0]",
            "filters[1]",
            "filters[2].status",
            "filters[2].port",
            "filters[2].scheme",
            "filters[4].percent",
            "filters",
            "timeouts.backendRequest",
        ]
    );
    assert!(errors.iter().all(|error| &*error.route == "shop/bad#0"));
    assert!(
        errors[0]
            .to_string()
            .starts_with("route shop/bad#0: hostnames[0]: ")
    );
}
