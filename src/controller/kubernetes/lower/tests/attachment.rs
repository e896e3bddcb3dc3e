//! Where routes are in force, for whom, and in which order.

use serde_json::{Value, json};

use super::world::{World, cart, grant, http_route, route, service, to, with, world};
use crate::controller::kubernetes::{
    api::GATEWAY_GROUP,
    findings::{ObjectKind::GrpcRoute, ObjectKind::HttpRoute, Verdict},
    lower::object::Kind,
};

const CART: &str = "shop/cart:80";

fn in_namespace(namespace: &str, object: Value) -> Value {
    with(object, json!({ "metadata": { "namespace": namespace } }))
}

fn world_with(objects: impl IntoIterator<Item = Value>) -> World {
    let mut all = cart();
    all[0] = service("cart", "198.19.0.10", &["http:80", "admin:81", "tcp:82"]);
    all.push(service("canary", "198.19.0.11", &["http:80"]));
    all.extend(objects);
    world(all)
}

#[test]
fn all_http_ports_or_the_one_that_is_named() {
    let parent = |patch: Value| {
        let mut object = http_route("r", to("canary", 80));
        let parent = object["spec"]["parentRefs"][0].take();
        object["spec"]["parentRefs"] = json!([with(parent, patch)]);
        world_with([object])
    };
    for (patch, on_80, on_81) in [
        (json!({}), true, true),
        (json!({ "port": 80 }), true, false),
        (json!({ "sectionName": "admin" }), false, true),
        (json!({ "sectionName": "admin", "port": 81 }), false, true),
    ] {
        let world = parent(patch.clone());
        assert_eq!(!world.routes(CART).is_empty(), on_80, "{patch}");
        assert_eq!(!world.routes("shop/cart:81").is_empty(), on_81, "{patch}");
        assert!(world.routes("shop/cart:82").is_empty(), "{patch}");
        assert_eq!(world.verdicts(HttpRoute, "shop/r"), ("", ""));
        let resources = world.attachments(HttpRoute, "shop/r").remove(0).resources;
        assert_eq!(resources.len(), usize::from(on_80) + usize::from(on_81));
    }
    for (patch, reason) in [
        (json!({ "port": 99 }), "NoMatchingParent"),
        (
            json!({ "sectionName": "admin", "port": 80 }),
            "NoMatchingParent",
        ),
        (json!({ "port": 82 }), "NoMatchingParent"),
        (json!({ "name": "nobody" }), "NoMatchingParent"),
    ] {
        let world = parent(patch.clone());
        assert_eq!(world.verdicts(HttpRoute, "shop/r").0, reason, "{patch}");
        assert!(world.routes(CART).is_empty(), "{patch}");
    }
}

#[test]
fn services_without_an_address_have_no_routes() {
    let headless = with(
        service("db", "None", &["http:80"]),
        json!({ "spec": { "clusterIPs": ["None"] } }),
    );
    let world = world_with([headless, route("HTTPRoute", "r", "db", to("canary", 80))]);
    assert_eq!(world.verdicts(HttpRoute, "shop/r").0, "UnsupportedValue");
    assert!(world.routes("shop/db:80").is_empty());
}

#[test]
fn a_gateways_route_is_not_ours() {
    let mut object = http_route("r", to("canary", 80));
    object["spec"]["parentRefs"] = json!([{ "name": "edge" }]);
    let world = world_with([object]);
    assert!(world.attachments(HttpRoute, "shop/r").is_empty());
    assert!(world.routes(CART).is_empty());
}

#[test]
fn the_oldest_route_comes_first_then_the_name() {
    let at = |name, created: &str| {
        let created = json!({ "metadata": { "creationTimestamp": created } });
        with(http_route(name, to("canary", 80)), created)
    };
    let world = world_with([
        at("a", "2026-01-02T00:00:00Z"),
        at("c", "2026-01-01T00:00:00Z"),
        at("b", "2026-01-02T00:00:00Z"),
    ]);
    assert_eq!(world.routes(CART), ["shop/c", "shop/a", "shop/b"]);
}

/// The Gateway API's mesh part: a route counts for the clients of its own namespace only, unless
/// it is in the namespace of the Service.
#[test]
fn another_namespaces_route_captures_nobody_else() {
    let mut foreign = in_namespace("bank", http_route("r", to("canary", 80)));
    foreign["spec"]["parentRefs"][0]["namespace"] = "shop".into();
    foreign["spec"]["rules"][0]["backendRefs"][0]["namespace"] = "shop".into();
    let world = world_with([foreign, http_route("own", to("cart", 80))]);
    let routes = world.service(CART).routes;
    let whose = |name: &str| {
        let route = routes.iter().find(|route| &*route.name == name).unwrap();
        route.consumers.as_deref().map(str::to_owned)
    };
    assert_eq!(whose("bank/r"), Some("bank".to_owned()));
    assert_eq!(whose("shop/own"), None);
    // Into the Service's own namespace its clients may go anyway.
    assert_eq!(world.verdicts(HttpRoute, "bank/r"), ("", ""));
}

#[test]
fn a_route_without_a_namespace_means_its_own() {
    let world = world_with([in_namespace("bank", http_route("r", to("canary", 80)))]);
    assert_eq!(world.verdicts(HttpRoute, "bank/r").0, "NoMatchingParent");
    assert!(world.routes(CART).is_empty());
}

#[test]
fn grpc_routes_come_before_http_routes() {
    let grpc = || route("GRPCRoute", "g", "cart", to("canary", 80));
    let mut world = world_with([http_route("r", to("canary", 80)), grpc()]);
    assert_eq!(world.verdicts(HttpRoute, "shop/r").0, "Conflicted");
    assert_eq!(world.routes(CART), ["shop/g"]);
    // Only where they meet.
    let mut on_81 = grpc();
    on_81["spec"]["parentRefs"][0]["port"] = 81.into();
    world.apply([on_81]);
    assert_eq!(world.verdicts(HttpRoute, "shop/r"), ("", ""));
    assert_eq!(world.routes(CART), ["shop/r"]);
    assert_eq!(world.routes("shop/cart:81"), ["shop/g"]);
    world.delete(Kind::GrpcRoute, "shop/g");
    assert_eq!(world.routes("shop/cart:81"), ["shop/r"]);
    assert!(world.attachments(GrpcRoute, "shop/g").is_empty());
}

#[test]
fn a_backend_that_cannot_be_used_is_answered_500() {
    for (backend, reason) in [
        (json!({ "name": "nobody", "port": 80 }), "BackendNotFound"),
        (json!({ "name": "canary", "port": 81 }), "BackendNotFound"),
        (json!({ "name": "canary" }), "BackendNotFound"),
        (
            json!({ "name": "x", "kind": "Bucket", "group": "example.com" }),
            "InvalidKind",
        ),
        (
            json!({ "name": "x", "namespace": "bank", "port": 80 }),
            "RefNotPermitted",
        ),
    ] {
        let alone = world_with([http_route("r", json!([{ "backendRefs": [backend] }]))]);
        assert_eq!(alone.verdicts(HttpRoute, "shop/r"), ("", reason));
        let rule = alone.service(CART).routes.remove(0);
        assert!(
            rule.backends.is_empty() && rule.unresolved_weight == 1,
            "{backend}"
        );

        let half =
            json!([{ "backendRefs": [{ "name": "cart", "port": 80, "weight": 3 }, backend] }]);
        let beside = world_with([http_route("r", half)]);
        let rule = beside.service(CART).routes.remove(0);
        assert_eq!((rule.backends.len(), rule.unresolved_weight), (1, 1));
    }
}

/// Not to the parent, which would take what nobody meant for it.
#[test]
fn backends_of_no_weight_that_do_not_exist_are_answered_500_too() {
    let rules = json!([{ "backendRefs": [{ "name": "nobody", "port": 80, "weight": 0 }] }]);
    let world = world_with([http_route("r", rules)]);
    assert_eq!(world.service(CART).routes[0].unresolved_weight, 1);
}

#[test]
fn a_mirror_that_cannot_be_used_is_left_out() {
    let filter = json!([{ "filters": [{ "type": "RequestMirror", "requestMirror": {
        "backendRef": { "name": "nobody", "port": 80 } } }] }]);
    let world = world_with([http_route("r", filter)]);
    assert_eq!(world.verdicts(HttpRoute, "shop/r"), ("", "BackendNotFound"));
    assert!(world.service(CART).routes[0].filters.is_empty());
}

#[test]
fn a_backend_comes_and_goes() {
    let mut world = world_with([http_route("r", to("late", 80))]);
    assert_eq!(world.verdicts(HttpRoute, "shop/r").1, "BackendNotFound");
    world.apply([service("late", "198.19.0.12", &["http:80"])]);
    assert_eq!(world.verdicts(HttpRoute, "shop/r"), ("", ""));
    assert_eq!(world.service(CART).routes[0].backends.len(), 1);
    world.delete(Kind::Service, "shop/late");
    assert_eq!(world.verdicts(HttpRoute, "shop/r").1, "BackendNotFound");
    assert!(world.service(CART).routes[0].backends.is_empty());
}

#[test]
fn a_grant_permits_what_it_names() {
    let mut rules = to("vault", 80);
    rules[0]["backendRefs"][0]["namespace"] = "bank".into();
    let vault = in_namespace("bank", service("vault", "198.19.0.12", &["http:80"]));
    let mut world = world_with([vault, http_route("r", rules)]);
    let resolved = |world: &World| world.verdicts(HttpRoute, "shop/r").1;
    assert_eq!(resolved(&world), "RefNotPermitted");
    for wrong in [
        grant("bank", GATEWAY_GROUP, "GRPCRoute", "shop"),
        grant("bank", GATEWAY_GROUP, "HTTPRoute", "other"),
        grant("shop", GATEWAY_GROUP, "HTTPRoute", "shop"),
        with(
            grant("bank", GATEWAY_GROUP, "HTTPRoute", "shop"),
            json!({ "spec": { "to": [{ "group": "", "kind": "Service", "name": "till" }] } }),
        ),
    ] {
        world.apply([wrong.clone()]);
        assert_eq!(resolved(&world), "RefNotPermitted", "{wrong}");
    }
    world.apply([grant("bank", GATEWAY_GROUP, "HTTPRoute", "shop")]);
    assert_eq!(resolved(&world), "");
    assert_eq!(world.service(CART).routes[0].backends.len(), 1);
    world.delete(Kind::ReferenceGrant, "bank/grant");
    assert_eq!(resolved(&world), "RefNotPermitted");
}

#[test]
fn a_route_waits_for_its_parent() {
    let mut world = world([http_route("r", to("cart", 80))]);
    assert_eq!(world.verdicts(HttpRoute, "shop/r").0, "NoMatchingParent");
    world.apply(cart());
    assert_eq!(world.verdicts(HttpRoute, "shop/r"), ("", ""));
    assert_eq!(world.routes(CART), ["shop/r"]);
    world.delete(Kind::HttpRoute, "shop/r");
    assert!(world.routes(CART).is_empty());
    assert!(world.attachments(HttpRoute, "shop/r").is_empty());
}

#[test]
fn a_route_change_lowers_only_its_parents() {
    let mut objects: Vec<_> = (0..50)
        .map(|n| {
            service(
                &format!("other-{n}"),
                &format!("198.19.1.{n}"),
                &["http:80"],
            )
        })
        .collect();
    objects.push(http_route("r", to("canary", 80)));
    let mut world = world_with(objects);
    let touched = world.apply([http_route("r", to("cart", 80))]);
    assert!(
        touched.iter().all(|name| name.contains("cart")),
        "{touched:?}"
    );
}

/// A route of so many KiB, by a header's value, that is attached to `shop/cart`.
fn large(namespace: &str, name: &str, kib: usize, created: &str) -> Value {
    let header = json!({ "name": "x", "value": "v".repeat(kib << 10) });
    let rules = json!([{
        "matches": [{ "headers": [header] }],
        "backendRefs": [{ "name": "cart", "namespace": "shop", "port": 80 }],
    }]);
    let metadata = json!({ "metadata": { "namespace": namespace, "creationTimestamp": created } });
    let mut route = with(http_route(name, rules), metadata);
    route["spec"]["parentRefs"][0]["namespace"] = "shop".into();
    route
}

#[test]
fn the_routes_of_a_service_are_bounded_in_bytes_for_everyone_and_for_each_namespace() {
    let mut world = world_with([
        large("bank", "a", 30, "2026-01-01T00:00:00Z"),
        large("bank", "b", 1_000, "2026-01-02T00:00:00Z"),
        large("bank", "c", 30, "2026-01-03T00:00:00Z"),
        large("bank", "d", 30, "2026-01-04T00:00:00Z"),
        large("shop", "e", 200, "2026-01-05T00:00:00Z"),
        large("shop", "f", 100, "2026-01-06T00:00:00Z"),
        large("till", "g", 60, "2026-01-07T00:00:00Z"),
    ]);
    assert_eq!(world.routes(CART), ["bank/a", "bank/c", "shop/e", "till/g"]);
    for route in ["bank/b", "bank/d", "shop/f"] {
        assert_eq!(world.verdicts(HttpRoute, route).0, "TooLarge");
    }
    let refused = |world: &World, name| match world.attachments(HttpRoute, name).remove(0).accepted
    {
        Verdict::Bad { message, .. } => message,
        other => panic!("{name}: {other:?}"),
    };
    assert!(refused(&world, "bank/d").contains("has 65536 bytes for"));
    assert!(refused(&world, "shop/f").contains("has 262144 bytes for"));

    // Once there is room the next one comes in, and its status says so.
    world.delete(Kind::HttpRoute, "bank/a");
    assert_eq!(world.verdicts(HttpRoute, "bank/d"), ("", ""));
    assert_eq!(world.routes(CART), ["bank/c", "bank/d", "shop/e", "till/g"]);
}

/// Each rule carries its policy.
#[test]
fn a_routes_policy_counts_once_for_each_rule() {
    let rules = json!(["/a", "/b", "/c"].map(|path| json!({
        "matches": [{ "path": { "type": "PathPrefix", "value": path } }],
    })));
    let policy = |kib: usize| {
        json!({
            "kind": "ResiliencePolicy",
            "metadata": { "namespace": "shop", "name": "p" },
            "spec": {
                "targetRefs": [{
                    "group": GATEWAY_GROUP, "kind": "HTTPRoute", "name": "r",
                }],
                "fallback": [{ "static": { "status": 200, "body": "b".repeat(kib << 10) } }],
            },
        })
    };
    let mut world = world_with([http_route("r", rules), policy(60)]);
    assert_eq!(world.verdicts(HttpRoute, "shop/r"), ("", ""));
    world.apply([policy(100)]);
    assert_eq!(world.verdicts(HttpRoute, "shop/r").0, "TooLarge");
    assert!(world.routes(CART).is_empty());
    world.delete(Kind::ResiliencePolicy, "shop/p");
    assert_eq!(world.verdicts(HttpRoute, "shop/r"), ("", ""));
}

/// The same in all but this: its status is to be written.
#[test]
fn a_route_that_was_made_anew_has_another_finding() {
    let of = |uid: &str| {
        let patch = json!({ "metadata": { "uid": uid } });
        with(http_route("r", to("canary", 80)), patch)
    };
    let mut world = world_with([of("7d")]);
    assert_eq!(&*world.finding(HttpRoute, "shop/r").uid, "7d");
    world.apply([of("8e")]);
    assert_eq!(&*world.finding(HttpRoute, "shop/r").uid, "8e");
}

/// A rule that says something of retries has a whole policy with it, if only the default.
#[test]
fn small_rules_do_not_grow_past_the_bound_when_they_are_lowered() {
    let rules: Vec<_> = (0..16)
        .map(|n| {
            json!({
                "matches": [{ "path": { "type": "Exact", "value": format!("/{n}") } }],
                "backendRefs": [{ "name": "cart", "namespace": "shop", "port": 80 }],
                "retry": { "attempts": 2 },
            })
        })
        .collect();
    let world = world_with((0..30).map(|n| {
        let mut route = http_route(&format!("r{n}"), rules.clone().into());
        route["spec"]["parentRefs"][0]["namespace"] = "shop".into();
        in_namespace("bank", route)
    }));
    let routes = world.service(CART).routes;
    let bytes = serde_json::to_vec(&routes).unwrap().len();
    // What is counted leaves out a comma and the consumers of each rule.
    assert!((40 << 10..72 << 10).contains(&bytes), "{bytes}");
}
