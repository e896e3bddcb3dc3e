use http::Method;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{discovery::validate::Checker, identity::SpiffeId};

fn table(access: serde_json::Value) -> Table {
    let access: Access = serde_json::from_value(access).expect("well-formed");
    let mut c = Checker::new();
    check(&mut c, &access);
    assert_eq!(c.finish(), []);
    Table::compile(&access, "mesh.test")
}

fn id(text: &str) -> SpiffeId {
    format!("spiffe://{text}").parse().expect("an identity")
}

/// A policy for every port, with these rules.
fn rules(rules: serde_json::Value) -> Table {
    table(json!({"policies": [{"name": "shop/p", "rules": rules}]}))
}

fn tcp(table: &Table, caller: Option<&str>, port: u16) -> Verdict {
    let caller = caller.map(id);
    table.decide(&Call {
        caller: caller.as_ref(),
        port,
        http: None,
    })
}

fn http(table: &Table, method: Method, path: &str) -> Verdict {
    table.decide(&Call {
        caller: None,
        port: 80,
        http: Some(Http {
            method: &method,
            path,
        }),
    })
}

#[test]
fn callers_are_told_apart() {
    let web = Some("mesh.test/ns/shop/sa/web");
    let from = |source: serde_json::Value| rules(json!([{"from": [source]}]));
    let account = from(json!({"serviceAccounts": ["shop/web"]}));
    let namespace = from(json!({"namespaces": ["shop"]}));
    let (authenticated, unauthenticated, anyone) = (
        from(json!({"authenticated": true})),
        from(json!({"unauthenticated": true})),
        from(json!({"anyone": true})),
    );
    let callers = [
        web,
        Some("mesh.test/ns/shop/sa/cart"),
        Some("mesh.test/ns/other/sa/web"),
        None,
    ];
    let allowed = |table: &Table| callers.map(|caller| tcp(table, caller, 80) == Verdict::Allowed);
    assert_eq!(allowed(&account), [true, false, false, false]);
    assert_eq!(allowed(&namespace), [true, true, false, false]);
    assert_eq!(allowed(&authenticated), [true, true, true, false]);
    assert_eq!(allowed(&unauthenticated), [false, false, false, true]);
    assert_eq!(allowed(&anyone), [true; 4]);
}

#[test]
fn a_policy_without_rules_allows_nothing_on_its_ports() {
    let table = table(json!({"policies": [{"name": "shop/p", "ports": [80]}]}));
    assert_eq!(tcp(&table, None, 80), Verdict::Denied);
    assert_eq!(tcp(&table, None, 81), Verdict::Allowed);
    assert_eq!(table.policies(80).count(), 1);
    assert_eq!(table.policies(81).count(), 0);
}

#[test]
fn without_policies_the_default_holds() {
    assert_eq!(tcp(&table(json!({})), None, 80), Verdict::Allowed);
    let deny = table(json!({"otherwise": "deny"}));
    assert_eq!(tcp(&deny, None, 80), Verdict::Denied);
}

#[test]
fn enforcing_policies_add_up() {
    let policy = |name: &str, port: u16| {
        json!({"name": name, "rules": [
        {"from": [{"anyone": true}], "to": [{"ports": [port]}]}]})
    };
    let table = table(json!({"policies": [policy("shop/a", 80), policy("shop/b", 81)]}));
    let verdicts = [80, 81, 82].map(|port| tcp(&table, None, port));
    assert_eq!(
        verdicts,
        [Verdict::Allowed, Verdict::Allowed, Verdict::Denied]
    );
}

#[test]
fn an_audit_changes_nothing_but_says_so() {
    let audit = json!({"name": "shop/audit", "mode": "audit", "ports": [80], "rules": [
        {"from": [{"authenticated": true}]}]});
    let alone = table(json!({"policies": [audit]}));
    assert_eq!(tcp(&alone, None, 80), Verdict::Audited);
    assert_eq!(
        tcp(&alone, Some("mesh.test/ns/a/sa/b"), 80),
        Verdict::Allowed
    );
    assert_eq!(tcp(&alone, None, 81), Verdict::Allowed);

    let enforce = json!({"name": "shop/enforce", "rules": [{"from": [{"unauthenticated": true}]}]});
    let both = table(json!({"policies": [audit, enforce]}));
    assert_eq!(tcp(&both, None, 80), Verdict::Allowed);
    // An audit's rules do not allow what an enforcing policy refuses.
    assert_eq!(tcp(&both, Some("mesh.test/ns/a/sa/b"), 80), Verdict::Denied);

    let by_default = table(json!({"otherwise": "deny", "policies": [audit]}));
    assert_eq!(
        tcp(&by_default, Some("mesh.test/ns/a/sa/b"), 80),
        Verdict::Denied
    );
}

#[test]
fn methods_and_paths_are_for_http_alone() {
    let table = rules(json!([{"from": [{"anyone": true}], "to": [
        {"methods": ["GET", "HEAD"], "paths": [{"prefix": "/api/"}, {"exact": "/metrics"}]},
        {"methods": ["POST"]},
    ]}]));
    let get = |path| http(&table, Method::GET, path);
    for path in [
        "/api",
        "/api/",
        "/api/a/b",
        "/metrics",
        "/%61pi/x",
        "/api/a%2Fb",
        "/api//x",
    ] {
        assert_eq!(get(path), Verdict::Allowed, "{path}");
    }
    for path in [
        "/",
        "/ap",
        "/apis",
        "/API",
        "/metrics/",
        "/metrics/x",
        "//api",
        "/x/api",
    ] {
        assert_eq!(get(path), Verdict::Denied, "{path}");
    }
    assert_eq!(http(&table, Method::PUT, "/api"), Verdict::Denied);
    assert_eq!(
        http(&table, Method::POST, "/any/../where"),
        Verdict::Allowed
    );
    assert_eq!(tcp(&table, None, 80), Verdict::Denied);
}

#[test]
fn no_path_leads_elsewhere() {
    let table =
        rules(json!([{"from": [{"anyone": true}], "to": [{"paths": [{"prefix": "/pub"}]}]}]));
    for path in [
        "/pub/../admin",
        "/pub/..",
        "/pub/./x",
        "/pub/%2e%2e/admin",
        "/pub/.%2E/admin",
        "/pub/%252e%252e/admin",
        "/pub/%25zz/%252e%252e/admin",
        "/pub/%25252525252e%25252525252e/admin",
        "/pub%2f..%2fadmin",
        "/pub/..%5cadmin",
        "/pub\\..\\admin",
        "/pub/..;x=1/admin",
        "/pub/..%3bx/admin",
        "/pub/..%00/admin",
        "/pub/..%20/admin",
        "/pub/%e2%80%8a../admin",
        "/pub/..%c2%a0/admin",
        "/pub/%c0%ae%c0%ae/admin",
        "/pub/%zz",
        "/pub/%",
        "/pub;/admin",
        "/admin/../pub",
        "/%2e/pub",
        "pub",
        "*",
        "",
    ] {
        assert_eq!(http(&table, Method::GET, path), Verdict::Denied, "{path}");
    }
}

#[test]
fn the_root_as_a_prefix_is_every_path() {
    let table = rules(json!([{"from": [{"anyone": true}], "to": [{"paths": [{"prefix": "/"}]}]}]));
    for path in ["/", "/a/../b", "*", "/%zz"] {
        assert_eq!(http(&table, Method::GET, path), Verdict::Allowed, "{path}");
    }
}

#[test]
fn decoding_again_and_again_is_bounded() {
    let path = format!("/pub/%{}", "25".repeat(8_000));
    assert_eq!(path::read(&path), None);
    assert!(path::read("/pub/100%25").is_some());
}

/// What an application may do with a path, in an order of its own.
fn read_as(path: &str, steps: &[u8]) -> String {
    steps.iter().fold(path.to_owned(), |path, step| match step {
        0 => path.replace('\\', "/"),
        1 => percent_decoded(&path),
        2 => {
            let elements = path.split('/').map(|e| e.split(';').next().unwrap_or(""));
            elements.collect::<Vec<_>>().join("/")
        }
        3 => {
            let mut joined = path;
            while joined.contains("//") {
                joined = joined.replace("//", "/");
            }
            joined
        }
        _ => {
            let mut resolved: Vec<&str> = Vec::new();
            for element in path.split('/').skip(1) {
                match element {
                    "." => {}
                    ".." => drop(resolved.pop()),
                    element => resolved.push(element),
                }
            }
            format!("/{}", resolved.join("/"))
        }
    })
}

fn percent_decoded(path: &str) -> String {
    let mut decoded = path.to_owned();
    for (code, text) in [
        ("%2e", "."),
        ("%2f", "/"),
        ("%5c", "\\"),
        ("%3b", ";"),
        ("%25", "%"),
    ] {
        // One pass for each text, the percent sign last: no text is decoded twice.
        decoded = decoded.replace(code, text);
    }
    decoded
}

proptest! {
    #[test]
    fn what_is_allowed_stays_below_its_prefix_for_every_reader(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "/", "//", "a", "b", ".", "..", "%2e", "%2f", "%5c", "\\", ";", "%3b", "%25",
                "2e", "2f", "/a", "/a/", "/b",
            ]),
            0..10,
        ),
        steps in prop::collection::vec(0..5u8, 0..8),
    ) {
        let path = format!("/a{}", parts.concat());
        if path::read(&path).is_some_and(|read| path::is_under(&read, b"/a")) {
            // Decoding once is what the rule itself does.
            let seen = read_as(&percent_decoded(&path), &steps);
            prop_assert!(seen == "/a" || seen.starts_with("/a/"), "{path} is read as {seen}");
        }
    }
}

#[test]
fn mistakes_are_named() {
    let access = serde_json::from_value(json!({"policies": [{"name": "", "ports": [0], "rules": [
        {"from": []},
        {"from": [{}, {"serviceAccounts": ["web", "a/b"], "namespaces": ["a/b"]}], "to": [
            {"ports": [0], "methods": ["get"], "paths": [
                {"exact": "a"}, {"prefix": "/a/../b"}, {"prefix": "/a%20"}]},
        ]},
    ]}]}));
    let mut c = Checker::new();
    check(&mut c, &access.expect("well-formed"));
    let fields: Vec<_> = c
        .finish()
        .into_iter()
        .map(|problem| problem.field)
        .collect();
    assert_eq!(
        fields,
        [
            "policies[0].name",
            "policies[0].ports[0]",
            "policies[0].rules[0].from",
            "policies[0].rules[1].from[0]",
            "policies[0].rules[1].from[1].serviceAccounts[0]",
            "policies[0].rules[1].from[1].namespaces[0]",
            "policies[0].rules[1].to[0].ports[0]",
            "policies[0].rules[1].to[0].methods[0]",
            "policies[0].rules[1].to[0].paths[0].exact",
            "policies[0].rules[1].to[0].paths[1].prefix",
            "policies[0].rules[1].to[0].paths[2].prefix",
        ]
    );
}
