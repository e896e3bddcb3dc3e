use std::time::Duration;

use serde_json::{Value, json};

use super::world::{World, cart, grant, http_route, service, to, with, world};
use crate::{
    controller::kubernetes::{
        api::GROUP, findings::ObjectKind::ResiliencePolicy, lower::object::Kind,
    },
    resilience::Fallback,
};

const CART: &str = "shop/cart:80";

fn policy(name: &str, kind: &str, target: &str, spec: Value) -> Value {
    let object = json!({
        "apiVersion": "outrigger.dev/v1alpha1",
        "kind": "ResiliencePolicy",
        "metadata": { "namespace": "shop", "name": name },
        "spec": { "targetRefs": [{ "kind": kind, "name": target }] },
    });
    with(object, json!({ "spec": spec }))
}

fn limit(name: &str, kind: &str, target: &str, max: u32) -> Value {
    policy(
        name,
        kind,
        target,
        json!({ "bulkhead": { "maxInFlight": max } }),
    )
}

fn world_with(objects: impl IntoIterator<Item = Value>) -> World {
    let mut all = cart();
    all.push(service("backup", "198.19.0.11", &["http:80"]));
    all.extend(objects);
    world(all)
}

fn max_in_flight(world: &World) -> u32 {
    world.service(CART).policy.bulkhead.max_in_flight
}

#[test]
fn a_services_policy_holds_on_all_its_ports() {
    let mut world = world_with([limit("p", "Service", "cart", 7)]);
    assert_eq!(max_in_flight(&world), 7);
    assert_eq!(world.verdicts(ResiliencePolicy, "shop/p"), ("", ""));
    let resources = world
        .attachments(ResiliencePolicy, "shop/p")
        .remove(0)
        .resources;
    assert_eq!(resources[0].to_string(), "Service shop/cart:80");
    world.delete(Kind::ResiliencePolicy, "shop/p");
    assert_eq!(max_in_flight(&world), 256);
}

/// Limits hold where requests come in too; what callers do about failures does not.
#[test]
fn the_workload_behind_takes_over_the_limits() {
    let spec = json!({
        "bulkhead": { "maxInFlight": 7 }, "retry": { "attempts": 5 },
        "timeouts": { "request": "1s", "idle": "9s" },
    });
    let mut world = world_with([policy("p", "Service", "cart", spec)]);
    let inbound = world.workload("shop/cart").unwrap().policy;
    assert_eq!(inbound.bulkhead.max_in_flight, 7);
    assert_eq!(inbound.timeouts.idle, Duration::from_secs(9));
    assert_eq!(inbound.timeouts.request, None);
    assert_eq!(inbound.retry, Default::default());
    world.apply([limit("p", "Service", "cart", 8)]);
    let inbound = world.workload("shop/cart").unwrap().policy;
    assert_eq!(inbound.bulkhead.max_in_flight, 8);
}

#[test]
fn a_routes_policy_is_the_routes() {
    let world = world_with([
        http_route("r", to("cart", 80)),
        http_route("other", to("cart", 80)),
        limit("p", "HTTPRoute", "r", 7),
    ]);
    assert_eq!(world.verdicts(ResiliencePolicy, "shop/p"), ("", ""));
    assert_eq!(max_in_flight(&world), 256);
    let routes = world.service(CART).routes;
    let of = |name: &str| {
        let route = routes.iter().find(|route| &*route.name == name).unwrap();
        let policy = route.policy.as_ref();
        policy.map(|policy| policy.bulkhead.max_in_flight)
    };
    assert_eq!(of("shop/r"), Some(7));
    assert_eq!(of("shop/other"), None);
}

#[test]
fn of_two_policies_the_older_counts() {
    let at = |name, max, created: &str| {
        let created = json!({ "metadata": { "creationTimestamp": created } });
        with(limit(name, "Service", "cart", max), created)
    };
    let mut world = world_with([
        at("a", 1, "2026-01-02T00:00:00Z"),
        at("b", 2, "2026-01-01T00:00:00Z"),
    ]);
    assert_eq!(max_in_flight(&world), 2);
    assert_eq!(world.verdicts(ResiliencePolicy, "shop/a").0, "Conflicted");
    assert_eq!(world.verdicts(ResiliencePolicy, "shop/b").0, "");
    world.delete(Kind::ResiliencePolicy, "shop/b");
    assert_eq!(max_in_flight(&world), 1);
    assert_eq!(world.verdicts(ResiliencePolicy, "shop/a").0, "");
}

#[test]
fn a_target_that_is_missing_is_said() {
    let mut world = world_with([
        limit("p", "Service", "nobody", 7),
        limit("q", "HTTPRoute", "late", 7),
    ]);
    for name in ["shop/p", "shop/q"] {
        assert_eq!(world.verdicts(ResiliencePolicy, name).0, "TargetNotFound");
    }
    world.apply([http_route("late", to("cart", 80))]);
    assert_eq!(world.verdicts(ResiliencePolicy, "shop/q").0, "");
}

#[test]
fn an_invalid_policy_has_no_effect() {
    let mut world = world_with([limit("p", "Service", "cart", 7)]);
    let spec = json!({ "breaker": { "failureRate": 2.0 } });
    world.apply([policy("p", "Service", "cart", spec)]);
    assert_eq!(world.verdicts(ResiliencePolicy, "shop/p").0, "Invalid");
    assert_eq!(max_in_flight(&world), 256);
}

#[test]
fn fallbacks_in_order_and_only_to_what_may_be_used() {
    let spec = |service: Value| {
        json!({ "fallback": [
            { "stale": "1m" }, { "service": service }, { "static": { "status": 503, "body": "later" } },
        ] })
    };
    let chain = |world: &World| -> Vec<String> {
        let links = world.service(CART).policy.fallback;
        let short = |link: &Fallback| match link {
            Fallback::Stale(_) => "stale".to_owned(),
            Fallback::Service(key) => key.to_string(),
            Fallback::Static(answer) => answer.status.to_string(),
        };
        links.iter().map(short).collect()
    };
    let own = world_with([policy(
        "p",
        "Service",
        "cart",
        spec(json!({ "name": "backup", "port": 80 })),
    )]);
    assert_eq!(chain(&own), ["stale", "shop/backup:80", "503"]);

    let foreign = json!({ "name": "vault", "namespace": "bank", "port": 80 });
    let vault = with(
        service("vault", "198.19.0.12", &["http:80"]),
        json!({ "metadata": { "namespace": "bank" } }),
    );
    let mut world = world_with([vault, policy("p", "Service", "cart", spec(foreign))]);
    assert_eq!(chain(&world), ["stale", "503"]);
    assert_eq!(
        world.verdicts(ResiliencePolicy, "shop/p"),
        ("", "RefNotPermitted")
    );
    world.apply([grant("bank", GROUP, "ResiliencePolicy", "shop")]);
    assert_eq!(chain(&world), ["stale", "bank/vault:80", "503"]);
    assert_eq!(world.verdicts(ResiliencePolicy, "shop/p"), ("", ""));
}

#[test]
fn a_service_is_no_fallback_of_its_own() {
    let fallback = |to: &str| json!({ "fallback": [{ "service": { "name": to, "port": 81 } }], "bulkhead": { "maxInFlight": 7 } });
    let mut world = world_with([policy("p", "Service", "cart", fallback("cart"))]);
    assert_eq!(world.verdicts(ResiliencePolicy, "shop/p").0, "Invalid");
    assert_eq!(max_in_flight(&world), 256);
    let accepted = &world.attachments(ResiliencePolicy, "shop/p")[0].accepted;
    let accepted = format!("{accepted:?}");
    assert!(
        accepted.contains("fallback[0].service: shop/cart is the one that could not answer"),
        "{accepted}"
    );
    world.apply([policy("p", "Service", "cart", fallback("backup"))]);
    assert_eq!(world.verdicts(ResiliencePolicy, "shop/p").0, "");
    assert_eq!(max_in_flight(&world), 7);
}

#[test]
fn a_routes_only_backend_is_no_fallback_of_its_own() {
    let own = |world: &World| {
        let routes = world.service(CART).routes;
        routes[0].policy.is_some()
    };
    let fallback = json!({ "fallback": [{ "service": { "name": "backup", "port": 80 } }] });
    let mut world = world_with([
        http_route("r", to("backup", 80)),
        policy("p", "HTTPRoute", "r", fallback),
    ]);
    assert_eq!(world.verdicts(ResiliencePolicy, "shop/p").0, "Invalid");
    assert!(!own(&world));
    world.apply([http_route("r", to("cart", 80))]);
    assert_eq!(world.verdicts(ResiliencePolicy, "shop/p"), ("", ""));
    assert!(own(&world));
}

/// A policy is for its own namespace: the type says so, and a name elsewhere is another object.
#[test]
fn a_policy_of_another_namespace_has_no_effect() {
    let foreign = with(
        limit("p", "Service", "cart", 7),
        json!({ "metadata": { "namespace": "evil" } }),
    );
    let world = world_with([foreign]);
    assert_eq!(max_in_flight(&world), 256);
    assert_eq!(
        world.verdicts(ResiliencePolicy, "evil/p").0,
        "TargetNotFound"
    );
}
