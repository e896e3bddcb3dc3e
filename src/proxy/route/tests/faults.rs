//! What is refused when it is configured.

use super::*;
use crate::discovery::model::{Filter, HeaderEdit, Mirror, PathRewrite, Redirect, Rewrite};

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

/// What the control plane lets through must compile here, or a service would keep its old routes.
#[test]
fn the_control_plane_refuses_whatever_does_not_compile() {
    use crate::discovery::{
        model::{Backend, RouteTimeouts},
        validate::{Checker, check_route},
    };
    use std::time::Duration;

    let text = |text: &str| text.to_owned();
    let matching = |a_match| route("r", &[], vec![a_match]);
    let filtered = |filters: Vec<Filter>| Route {
        filters,
        ..route("r", &[], vec![prefix("/a")])
    };
    let edited = |edit: HeaderEdit| filtered(vec![Filter::ResponseHeaders(edit)]);
    let set = |name: &str, value: &str| HeaderEdit {
        set: vec![(text(name), text(value))],
        ..Default::default()
    };
    let redirect = |redirect| filtered(vec![Filter::Redirect(redirect)]);
    let rewrite = |host: Option<&str>, path: Option<PathRewrite>| {
        Filter::Rewrite(Rewrite {
            hostname: host.map(text),
            path,
        })
    };
    let replaced = || Some(PathRewrite::Prefix("/x".into()));
    let on_backend = |filter| Route {
        backends: vec![Backend {
            service: "shop/x:80".parse().expect("a key"),
            weight: 1,
            filters: vec![filter],
        }],
        ..matching(exact("/a"))
    };
    let bad = [
        route("r", &["*"], vec![]),
        route("r", &["a b"], vec![]),
        route("r", &["a.*.b"], vec![]),
        matching(regex("(")),
        matching(regex("a)|(b")),
        matching(regex(r"\p{Greek}")),
        matching(regex(&"a".repeat(1025))),
        matching(regex("(?:a{1000}){1000}")),
        matching(exact("a")),
        matching(prefix("/a#b")),
        matching(grpc(None, None, false)),
        matching(grpc(Some("a/b"), None, false)),
        matching(grpc(Some("("), None, true)),
        matching(RouteMatch {
            grpc: grpc(Some("a"), None, false).grpc,
            ..prefix("/")
        }),
        matching(RouteMatch {
            headers: vec![value("b d", "x", false)],
            ..prefix("/")
        }),
        matching(RouteMatch {
            query: vec![value("q", "[", true)],
            ..prefix("/")
        }),
        matching(RouteMatch {
            method: Some("G T".into()),
            ..prefix("/")
        }),
        edited(set("bad name", "v")),
        edited(set("x", "a\nb")),
        edited(set("Host", "evil")),
        edited(HeaderEdit {
            remove: vec![text("te")],
            ..Default::default()
        }),
        filtered(vec![rewrite(Some("a_b"), None), rewrite(None, None)]),
        filtered(vec![rewrite(None, Some(PathRewrite::Full("x".into())))]),
        filtered(vec![
            rewrite(Some("a.b"), None),
            Filter::Redirect(Redirect::default()),
        ]),
        redirect(Redirect {
            status: Some(200),
            ..Default::default()
        }),
        redirect(Redirect {
            scheme: Some("ftp".into()),
            ..Default::default()
        }),
        redirect(Redirect {
            port: Some(0),
            ..Default::default()
        }),
        on_backend(Filter::Redirect(Redirect::default())),
        on_backend(rewrite(None, replaced())),
        filtered(vec![Filter::Mirror(Mirror {
            service: "shop/x:80".parse().expect("a key"),
            percent: 101.0,
        })]),
        Route {
            timeouts: RouteTimeouts {
                request: Some(Duration::from_secs(1)),
                backend_request: Some(Duration::from_secs(2)),
            },
            ..route("r", &[], vec![])
        },
    ];
    let good = [
        route("r", &["*.shop", "a.shop"], vec![]),
        matching(regex(r"/a/\w+")),
        matching(grpc(Some("a.B"), Some("C"), false)),
        edited(set("x", "a b")),
        filtered(vec![rewrite(Some("a.b"), replaced())]),
        filtered(vec![rewrite(None, Some(PathRewrite::Prefix(text(""))))]),
    ];
    let problems = |route: &Route| {
        let mut c = Checker::new();
        check_route(&mut c, route);
        c.finish()
    };
    for route in bad {
        assert!(!problems(&route).is_empty(), "let through: {route:?}");
        assert!(try_table(vec![route.clone()]).is_err(), "{route:?}");
    }
    for route in good {
        assert_eq!(problems(&route), [], "{route:?}");
        assert!(try_table(vec![route.clone()]).is_ok(), "{route:?}");
    }
}
