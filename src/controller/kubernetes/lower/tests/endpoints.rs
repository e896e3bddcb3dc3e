use serde_json::{Value, json};

use super::world::{bare_pod, cart, conditions, pod, ready, service, slice, with, world};
use crate::controller::kubernetes::lower::object::Kind;

const CART: &str = "shop/cart:80";

/// The endpoints of `cart` when its slices are these.
fn of(slices: impl IntoIterator<Item = Value>) -> Vec<String> {
    let mut objects = cart();
    objects.truncate(3);
    objects.extend(slices);
    world(objects).endpoints(CART)
}

fn one_slice(endpoints: Vec<Value>) -> Value {
    slice("cart-a", "cart", &["http:8080"], endpoints)
}

#[test]
fn ready_endpoints_with_their_identities() {
    assert_eq!(
        world(cart()).endpoints(CART),
        ["198.18.64.1:8080 cart", "198.18.64.2:8080 cart"]
    );
}

#[test]
fn a_port_that_the_sidecar_does_not_see_is_dialled_in_plaintext() {
    let mut objects = cart();
    objects[1] = with(
        objects[1].clone(),
        json!({ "spec": { "initContainers": [{
            "name": "outrigger-init",
            "args": ["init", "--skip-inbound-ports=9090,8000-8099", "--admin-port=14020"],
        }] } }),
    );
    let world = world(objects);
    let expected = ["198.18.64.1:8080", "198.18.64.2:8080 cart"];
    assert_eq!(world.endpoints(CART), expected);
    let host = world.host("198.18.64.1").unwrap();
    let bypassed: Vec<_> = host.bypassed.iter().map(ToString::to_string).collect();
    assert_eq!(bypassed, ["9090", "8000-8099", "14020"]);
}

#[test]
fn what_is_not_ready_takes_no_traffic() {
    let not_ready = with(
        ready("198.18.64.1", "cart-1"),
        conditions(false, false, false),
    );
    let slices = [one_slice(vec![not_ready, ready("198.18.64.2", "cart-2")])];
    assert_eq!(of(slices), ["198.18.64.2:8080 cart"]);
}

#[test]
fn a_missing_condition_means_ready() {
    let said_nothing = with(
        ready("198.18.64.1", "cart-1"),
        json!({ "conditions": null }),
    );
    assert_eq!(
        of([one_slice(vec![said_nothing])]),
        ["198.18.64.1:8080 cart"]
    );
}

#[test]
fn one_on_its_way_out_serves_only_where_none_is_ready() {
    let leaving = with(
        ready("198.18.64.1", "cart-1"),
        conditions(false, true, true),
    );
    let stays = ready("198.18.64.2", "cart-2");
    let broken = with(stays.clone(), conditions(false, false, false));
    let both = of([one_slice(vec![leaving.clone(), stays])]);
    assert_eq!(both, ["198.18.64.2:8080 cart"]);
    let last = of([one_slice(vec![leaving, broken])]);
    assert_eq!(last, ["198.18.64.1:8080 cart"]);
}

/// The EndpointSlice controller says ready of every endpoint then, terminating or not.
#[test]
fn publish_not_ready_addresses_is_followed() {
    let early = with(
        ready("198.18.64.1", "cart-1"),
        conditions(true, false, false),
    );
    let late = with(ready("198.18.64.2", "cart-2"), conditions(true, true, true));
    assert_eq!(
        of([one_slice(vec![early, late])]),
        ["198.18.64.1:8080 cart", "198.18.64.2:8080 cart"]
    );
}

#[test]
fn a_named_target_port_may_differ_by_pod() {
    let slices = [
        slice(
            "cart-a",
            "cart",
            &["http:8080"],
            vec![ready("198.18.64.1", "cart-1")],
        ),
        slice(
            "cart-b",
            "cart",
            &["http:9090"],
            vec![ready("198.18.64.2", "cart-2")],
        ),
    ];
    assert_eq!(
        of(slices),
        ["198.18.64.1:8080 cart", "198.18.64.2:9090 cart"]
    );
}

#[test]
fn each_service_port_has_its_own_target() {
    let mut objects = cart();
    objects[0] = service("cart", "198.19.0.10", &["http:80", "admin:81"]);
    objects[3] = slice(
        "cart-a",
        "cart",
        &["http:8080", "admin:9090"],
        vec![ready("198.18.64.1", "cart-1")],
    );
    let world = world(objects);
    assert_eq!(world.endpoints("shop/cart:80"), ["198.18.64.1:8080 cart"]);
    assert_eq!(world.endpoints("shop/cart:81"), ["198.18.64.1:9090 cart"]);
}

#[test]
fn a_port_without_a_name_is_found() {
    let mut objects = cart();
    objects[0]["spec"]["ports"][0]["name"] = Value::Null;
    objects[3]["ports"][0]["name"] = "".into();
    assert_eq!(world(objects).endpoints(CART).len(), 2);
}

/// One endpoint for a pod of both families: two would count it twice.
#[test]
fn dual_stack_uses_the_services_first_family() {
    let dual = |name: &str, v4: &str, v6: &str| {
        let ips = json!({ "status": { "podIPs": [{ "ip": v4 }, { "ip": v6 }] } });
        with(pod(name, v4, "cart"), ips)
    };
    let mut objects = vec![
        service("cart", "198.19.0.10", &["http:80"]),
        dual("cart-1", "198.18.64.1", "fd00::1"),
        pod("cart-2", "fd00::2", "cart"),
        slice(
            "cart-4",
            "cart",
            &["http:8080"],
            vec![ready("198.18.64.1", "cart-1")],
        ),
        slice(
            "cart-6",
            "cart",
            &["http:8080"],
            vec![ready("fd00::1", "cart-1"), ready("fd00::2", "cart-2")],
        ),
    ];
    let both = world(objects.clone());
    assert_eq!(
        both.endpoints(CART),
        ["198.18.64.1:8080 cart", "[fd00::2]:8080 cart"]
    );
    for addr in ["198.18.64.1:8080", "[fd00::1]:8080"] {
        let direct = format!("{CART} {addr} cart");
        assert_eq!(both.destination(addr), direct);
    }
    objects[0]["spec"]["ipFamilies"] = json!(["IPv6", "IPv4"]);
    assert_eq!(
        world(objects).endpoints(CART),
        ["[fd00::1]:8080 cart", "[fd00::2]:8080 cart"]
    );
}

#[test]
fn endpoints_that_nobody_runs_as_a_pod() {
    let outside = json!({ "addresses": ["198.51.100.7"] });
    let manual = of([one_slice(vec![outside])]);
    assert_eq!(manual, ["198.51.100.7:8080"]);
    // Written by hand, and a pod of the mesh all the same.
    let by_address = json!({ "addresses": ["198.18.64.1"] });
    assert_eq!(of([one_slice(vec![by_address])]), ["198.18.64.1:8080 cart"]);
}

#[test]
fn names_instead_of_addresses_are_passed_over() {
    let mut fqdn = one_slice(vec![json!({ "addresses": ["cart.example.com"] })]);
    fqdn["addressType"] = "FQDN".into();
    assert!(of([fqdn]).is_empty());
}

#[test]
fn a_pod_on_the_hosts_network_is_not_meshed() {
    let mut objects = cart();
    objects[1] = with(
        objects[1].clone(),
        json!({ "spec": { "hostNetwork": true } }),
    );
    let world = world(objects);
    assert_eq!(
        world.endpoints(CART),
        ["198.18.64.1:8080", "198.18.64.2:8080 cart"]
    );
    assert_eq!(world.destination("198.18.64.1:8080"), "");
}

#[test]
fn a_pod_without_a_sidecar_is_dialled_in_plaintext() {
    let mut objects = cart();
    objects[1] = bare_pod("cart-1", "198.18.64.1");
    let world = world(objects);
    assert_eq!(world.endpoints(CART)[0], "198.18.64.1:8080");
    assert_eq!(
        world.destination("198.18.64.1:8080"),
        format!("{CART} 198.18.64.1:8080")
    );
}

/// Who answers there would not be known, and a meshed pod would be dialled in plaintext.
#[test]
fn an_endpoint_waits_for_its_pod() {
    let mut objects = cart();
    let late = objects.remove(1);
    let mut world = world(objects);
    assert_eq!(world.endpoints(CART), ["198.18.64.2:8080 cart"]);
    world.apply([late]);
    assert_eq!(world.endpoints(CART).len(), 2);
    world.delete(Kind::Pod, "shop/cart-1");
    assert_eq!(world.endpoints(CART), ["198.18.64.2:8080 cart"]);
}

/// A stateful pod came back under its name with another address, which the slice does not have yet.
#[test]
fn an_address_that_its_pod_gave_back_takes_no_traffic() {
    let mut world = world(cart());
    world.apply([
        pod("cart-1", "198.18.64.9", "cart"),
        pod("other", "198.18.64.1", "other"),
    ]);
    assert_eq!(world.endpoints(CART), ["198.18.64.2:8080 cart"]);
    assert_eq!(world.destination("198.18.64.1:8080"), "host other");
}

#[test]
fn a_finished_pod_is_none() {
    let mut world = world(cart());
    world.apply([with(
        pod("cart-1", "198.18.64.1", "cart"),
        json!({ "status": { "phase": "Succeeded" } }),
    )]);
    assert_eq!(world.endpoints(CART), ["198.18.64.2:8080 cart"]);
}

#[test]
fn an_endpoint_listed_in_two_slices_is_one() {
    let slices = ["cart-a", "cart-b"].map(|name| {
        slice(
            name,
            "cart",
            &["http:8080"],
            vec![ready("198.18.64.1", "cart-1")],
        )
    });
    assert_eq!(of(slices), ["198.18.64.1:8080 cart"]);
}

#[test]
fn zones_come_from_the_hint_the_slice_or_the_node() {
    let node = json!({
        "kind": "Node",
        "metadata": { "name": "node-a", "labels": { "topology.kubernetes.io/zone": "z-node" } },
    });
    let zoned = |patch: Value| with(ready("198.18.64.1", "cart-1"), patch);
    let hint = |zones: &[&str]| {
        let zones: Vec<_> = zones.iter().map(|zone| json!({ "name": zone })).collect();
        zoned(json!({ "zone": "z1", "hints": { "forZones": zones } }))
    };
    for (endpoint, zone) in [
        (zoned(json!({})), "z-node"),
        (zoned(json!({ "zone": "z1" })), "z1"),
        (hint(&["z2"]), "z2"),
        (hint(&["z2", "z1"]), "z1"),
        (hint(&["z2", "z3"]), "z2"),
    ] {
        let world = world([
            node.clone(),
            service("cart", "198.19.0.10", &["http:80"]),
            pod("cart-1", "198.18.64.1", "cart"),
            one_slice(vec![endpoint]),
        ]);
        assert_eq!(
            world.endpoints(CART),
            [format!("198.18.64.1:8080 cart@{zone}")]
        );
        // A proxy learns from its own address where it is: there no hint counts.
        let own = world.host("198.18.64.1").unwrap().zone.as_deref();
        assert_eq!(own, Some("z-node"));
    }
}

#[test]
fn a_node_that_gets_its_zone_late() {
    let mut world = world(cart());
    world.apply([json!({
        "kind": "Node",
        "metadata": { "name": "node-a", "labels": { "topology.kubernetes.io/zone": "z" } },
    })]);
    assert_eq!(world.endpoints(CART)[0], "198.18.64.1:8080 cart@z");
}

#[test]
fn another_namespaces_pod_is_not_claimed_by_name() {
    let mut endpoint = ready("198.18.64.1", "cart-1");
    endpoint["targetRef"]["namespace"] = "bank".into();
    // By its address it is still known who answers.
    assert_eq!(of([one_slice(vec![endpoint])]), ["198.18.64.1:8080 cart"]);
}
