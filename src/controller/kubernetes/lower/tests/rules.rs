//! What a route's rules become.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::{World, cart, http_route, route, service, to, world};
use crate::{
    controller::kubernetes::findings::ObjectKind,
    discovery::model::{
        Filter, GrpcMethodMatch, HeaderEdit, Mirror, PathMatch, PathRewrite, Redirect, Rewrite,
        Route, RouteMatch, ValueMatch,
    },
};

const CART: &str = "shop/cart:80";

fn with_route(route: Value) -> World {
    let mut objects = cart();
    objects.push(service("canary", "198.19.0.11", &["http:80"]));
    objects.push(route);
    world(objects)
}

/// The only rule of a valid route.
fn lowered(rule: Value) -> Route {
    let world = with_route(http_route("r", json!([rule])));
    assert_eq!(world.verdicts(ObjectKind::HttpRoute, "shop/r"), ("", ""));
    world.service(CART).routes.remove(0)
}

/// Why a rule is refused.
fn refused(rule: Value) -> String {
    let world = with_route(http_route("r", json!([rule])));
    let attached = world.attachments(ObjectKind::HttpRoute, "shop/r");
    assert!(world.routes(CART).is_empty(), "{rule} is in force");
    match &attached[0].accepted {
        crate::controller::kubernetes::findings::Verdict::Bad { reason, message } => {
            assert_eq!(*reason, "UnsupportedValue");
            message.clone()
        }
        good => panic!("{rule}: {good:?}"),
    }
}

#[test]
fn matches() {
    let rule = lowered(json!({ "matches": [
        { "path": { "value": "/a" }, "method": "GET" },
        { "path": { "type": "Exact", "value": "/b" },
          "headers": [{ "name": "x", "value": "1" }, { "type": "RegularExpression", "name": "y", "value": "2.*" }] },
        { "path": { "type": "RegularExpression", "value": "/c.*" },
          "queryParams": [{ "type": "Exact", "name": "q", "value": "v" }] },
        {},
    ] }));
    let value = |name: &str, value: &str, regex| ValueMatch {
        name: name.into(),
        value: value.into(),
        regex,
    };
    let expected = [
        RouteMatch {
            path: Some(PathMatch::Prefix("/a".into())),
            method: Some("GET".into()),
            ..Default::default()
        },
        RouteMatch {
            path: Some(PathMatch::Exact("/b".into())),
            headers: vec![value("x", "1", false), value("y", "2.*", true)],
            ..Default::default()
        },
        RouteMatch {
            path: Some(PathMatch::Regex("/c.*".into())),
            query: vec![value("q", "v", false)],
            ..Default::default()
        },
        RouteMatch::default(),
    ];
    assert_eq!(rule.matches, expected);
}

#[test]
fn filters() {
    let rule = lowered(json!({
        "matches": [{ "path": { "value": "/a" } }],
        "filters": [
            { "type": "RequestHeaderModifier", "requestHeaderModifier": {
                "set": [{ "name": "a", "value": "1" }], "add": [{ "name": "b", "value": "2" }], "remove": ["c"] } },
            { "type": "ResponseHeaderModifier", "responseHeaderModifier": { "remove": ["d"] } },
            { "type": "URLRewrite", "urlRewrite": {
                "hostname": "other.example.com",
                "path": { "type": "ReplacePrefixMatch", "replacePrefixMatch": "" } } },
            { "type": "RequestMirror", "requestMirror": {
                "backendRef": { "name": "canary", "port": 80 }, "fraction": { "numerator": 1, "denominator": 8 } } },
        ],
    }));
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let expected = [
        Filter::RequestHeaders(HeaderEdit {
            set: vec![pair("a", "1")],
            add: vec![pair("b", "2")],
            remove: vec!["c".into()],
        }),
        Filter::ResponseHeaders(HeaderEdit {
            remove: vec!["d".into()],
            ..Default::default()
        }),
        Filter::Rewrite(Rewrite {
            hostname: Some("other.example.com".into()),
            path: Some(PathRewrite::Prefix("/".into())),
        }),
        Filter::Mirror(Mirror {
            service: "shop/canary:80".parse().unwrap(),
            percent: 12.5,
        }),
    ];
    assert_eq!(rule.filters, expected);
}

#[test]
fn a_redirect() {
    let rule = lowered(
        json!({ "filters": [{ "type": "RequestRedirect", "requestRedirect": {
        "scheme": "https", "hostname": "shop.example.com", "port": 8443, "statusCode": 301,
        "path": { "type": "ReplaceFullPath", "replaceFullPath": "/new" },
    } }] }),
    );
    let expected = Filter::Redirect(Redirect {
        scheme: Some("https".into()),
        hostname: Some("shop.example.com".into()),
        port: Some(8443),
        path: Some(PathRewrite::Full("/new".into())),
        status: Some(301),
    });
    assert_eq!(rule.filters, [expected]);
}

#[test]
fn mirrors_by_percent_and_in_full() {
    for (mirror, percent) in [(json!({ "percent": 7 }), 7.0), (json!({}), 100.0)] {
        let mut filter = json!({ "backendRef": { "name": "canary", "port": 80 } });
        filter
            .as_object_mut()
            .unwrap()
            .extend(mirror.as_object().unwrap().clone());
        let rule =
            lowered(json!({ "filters": [{ "type": "RequestMirror", "requestMirror": filter }] }));
        let Filter::Mirror(mirror) = &rule.filters[0] else {
            panic!("{rule:?}");
        };
        assert_eq!(mirror.percent, percent);
    }
}

#[test]
fn backends_by_weight_with_their_filters() {
    let edit =
        json!([{ "type": "RequestHeaderModifier", "requestHeaderModifier": { "remove": ["x"] } }]);
    let rule = lowered(json!({ "backendRefs": [
        { "name": "cart", "port": 80, "weight": 9 },
        { "name": "canary", "port": 80, "filters": edit },
    ] }));
    let short: Vec<_> = rule
        .backends
        .iter()
        .map(|b| (b.service.to_string(), b.weight, b.filters.len()))
        .collect();
    assert_eq!(
        short,
        [
            ("shop/cart:80".to_owned(), 9, 0),
            ("shop/canary:80".into(), 1, 1)
        ]
    );
    assert_eq!(rule.unresolved_weight, 0);
}

#[test]
fn timeouts() {
    let rule = lowered(json!({ "timeouts": { "request": "1m30s", "backendRequest": "250ms" } }));
    assert_eq!(rule.timeouts.request, Some(Duration::from_secs(90)));
    assert_eq!(
        rule.timeouts.backend_request,
        Some(Duration::from_millis(250))
    );
}

#[test]
fn retries_change_the_policy_in_force() {
    let rule = lowered(json!({ "retry": { "attempts": 4, "codes": [500, 503] } }));
    let retry = rule.policy.expect("a policy of its own").retry;
    assert_eq!((retry.attempts, retry.statuses), (4, vec![500, 503]));
}

#[test]
fn rules_are_named_for_metrics_and_spans() {
    let several = with_route(http_route("r", json!([{ "name": "first" }, {}])));
    assert_eq!(several.routes(CART), ["shop/r#first", "shop/r#1"]);
    let one = with_route(http_route("r", json!([{}])));
    assert_eq!(one.routes(CART), ["shop/r"]);
}

/// The Gateway API's mesh part: what is matched is the Service's address, not a name.
#[test]
fn hostnames_do_not_count_in_the_mesh() {
    let mut object = http_route("r", to("canary", 80));
    object["spec"]["hostnames"] = json!(["shop.example.com"]);
    let world = with_route(object);
    assert!(world.service(CART).routes[0].hostnames.is_empty());
}

#[test]
fn what_is_not_supported_is_said_and_not_in_force() {
    let filter = |filter: Value| json!({ "filters": [filter] });
    for (rule, said) in [
        (
            filter(json!({ "type": "CORS" })),
            "rules[0].filters[0]: the filter CORS",
        ),
        (
            filter(json!({ "type": "ExtensionRef" })),
            "ExtensionRef is not supported",
        ),
        (json!({ "sessionPersistence": {} }), "sessionPersistence"),
        (json!({ "retry": { "backoff": "1s" } }), "retry.backoff"),
        (
            json!({ "timeouts": { "request": "1.5s" } }),
            "timeouts.request",
        ),
        (
            json!({ "matches": [{ "headers": [{ "type": "Fuzzy", "name": "a", "value": "b" }] }] }),
            "Fuzzy",
        ),
        (
            json!({ "matches": [{ "path": { "type": "RegularExpression", "value": "(" } }] }),
            "regular expression",
        ),
        (
            json!({ "timeouts": { "request": "1s", "backendRequest": "2s" } }),
            "backendRequest",
        ),
        (
            json!({ "backendRefs": [{ "name": "cart", "port": 80, "filters": [{ "type": "RequestMirror" }] }] }),
            "RequestMirror on a backend",
        ),
    ] {
        let message = refused(rule.clone());
        assert!(message.contains(said), "{rule}: {message}");
    }
}

fn grpc(rule: Value) -> Route {
    let world = with_route(route("GRPCRoute", "g", "cart", json!([rule])));
    assert_eq!(world.verdicts(ObjectKind::GrpcRoute, "shop/g"), ("", ""));
    world.service(CART).routes.remove(0)
}

#[test]
fn grpc_methods_headers_and_filters() {
    let rule = grpc(json!({
        "matches": [
            { "method": { "service": "shop.Cart", "method": "Add" }, "headers": [{ "name": "x", "value": "1" }] },
            { "method": { "type": "RegularExpression", "service": "shop[.].*" } },
            { "method": { "type": "Exact" } },
        ],
        "filters": [{ "type": "RequestHeaderModifier", "requestHeaderModifier": { "remove": ["a"] } },
            { "type": "RequestMirror", "requestMirror": { "backendRef": { "name": "canary", "port": 80 } } }],
        "backendRefs": [{ "name": "canary", "port": 80 }],
    }));
    let method = |service: &str, method: Option<&str>, regex| {
        Some(GrpcMethodMatch {
            service: Some(service.into()),
            method: method.map(Into::into),
            regex,
        })
    };
    assert_eq!(
        rule.matches[0].grpc,
        method("shop.Cart", Some("Add"), false)
    );
    assert_eq!(rule.matches[0].headers.len(), 1);
    assert_eq!(rule.matches[1].grpc, method("shop[.].*", None, true));
    assert_eq!(rule.matches[2], RouteMatch::default());
    assert_eq!(rule.filters.len(), 2);
    assert_eq!(rule.backends[0].service.to_string(), "shop/canary:80");
}
