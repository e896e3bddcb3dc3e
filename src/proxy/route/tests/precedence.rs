//! Which rule takes a request.

use super::*;

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

#[test]
fn a_namespaces_own_routes_take_the_place_of_everyones() {
    let of = |name: &str, consumers: Option<&str>| Route {
        consumers: consumers.map(Into::into),
        ..route(name, &[], vec![])
    };
    let routes = || {
        vec![
            of("everyone", None),
            of("bank", Some("bank")),
            of("pay", Some("pay")),
        ]
    };
    for (namespace, expected) in [("shop", "everyone"), ("bank", "bank"), ("pay", "pay")] {
        let table = try_table_for(namespace, routes()).expect("valid routes");
        assert_eq!(table.rules().len(), 1, "never merged");
        assert_eq!(name(&table, &get("/")), Some(expected), "{namespace}");
    }
}

#[test]
fn another_namespaces_mistake_is_its_own() {
    let mut wrong = route("bank", &["not a host"], vec![]);
    wrong.consumers = Some("bank".into());
    let routes = || vec![route("everyone", &[], vec![]), wrong.clone()];
    assert!(try_table_for("shop", routes()).is_ok());
    assert!(try_table_for("bank", routes()).is_err());
}

#[test]
fn the_share_of_backends_that_cannot_be_used_is_refused() {
    let with = |weights: &[u32], unresolved: u32| {
        let backend = |weight: &u32| crate::discovery::model::Backend {
            service: "shop/cart:80".parse().expect("a key"),
            weight: *weight,
            filters: vec![],
        };
        let routes = vec![Route {
            backends: weights.iter().map(backend).collect(),
            unresolved_weight: unresolved,
            ..route("r", &[], vec![])
        }];
        let table = try_table(routes).expect("valid routes");
        let mut rng = fastrand::Rng::with_seed(7);
        let picks = (0..1_000).map(|_| table.rules()[0].pick_backend(&mut rng));
        picks
            .filter(|choice| matches!(choice, Choice::NoBackend))
            .count()
    };
    assert_eq!(with(&[], 0), 0, "the parent");
    assert_eq!(with(&[1], 0), 0);
    assert_eq!(with(&[0], 0), 1_000);
    assert_eq!(with(&[], 1), 1_000);
    assert_eq!(with(&[0, 0], 1), 1_000);
    let half = with(&[1, 1], 2);
    assert!((400..600).contains(&half), "{half}");
}
