use serde_json::{Value, json};

use super::world::{bare_pod, cart, pod, ready, service, slice, with, world};
use crate::{controller::kubernetes::lower::object::Kind, discovery::model::Protocol};

#[test]
fn every_virtual_address_stands_for_its_port() {
    let mut two = service("cart", "198.19.0.10", &["http:80", "admin:9090"]);
    two["spec"]["clusterIPs"] = json!(["198.19.0.10", "fd00::10"]);
    let world = world([two]);
    for (addr, port) in [
        ("198.19.0.10:80", "service shop/cart:80"),
        ("198.19.0.10:9090", "service shop/cart:9090"),
        ("[fd00::10]:80", "service shop/cart:80"),
        ("[fd00::10]:9090", "service shop/cart:9090"),
        ("198.19.0.10:81", ""),
    ] {
        assert_eq!(world.destination(addr), port, "{addr}");
    }
    assert!(world.endpoints("shop/cart:80").is_empty());
}

#[test]
fn only_tcp_ports_count() {
    let mut dns = service("dns", "198.19.0.10", &["dns:53", "dns-tcp:53"]);
    dns["spec"]["ports"][0]["protocol"] = "UDP".into();
    dns["spec"]["ports"][1]["port"] = 5353.into();
    let world = world([dns]);
    assert_eq!(world.destination("198.19.0.10:53"), "");
    assert_eq!(
        world.destination("198.19.0.10:5353"),
        "service shop/dns:5353"
    );
}

#[test]
fn a_deleted_service_leaves_nothing() {
    let mut world = world(cart());
    world.delete(Kind::Service, "shop/cart");
    assert_eq!(
        world.names(),
        ["Workload spiffe://cluster.local/ns/shop/sa/cart"]
    );
    // Its pods can still be dialled, by who they are.
    assert_eq!(world.destination("198.18.64.1:8080"), "host cart");
    world.delete(Kind::EndpointSlice, "shop/cart-a");
    world.delete(Kind::Pod, "shop/cart-1");
    world.delete(Kind::Pod, "shop/cart-2");
    assert!(world.names().is_empty());
    assert_eq!(world.destination("198.18.64.1:8080"), "");
}

#[test]
fn a_port_that_goes_takes_its_resources_along() {
    let mut world = world([service("cart", "198.19.0.10", &["http:80", "admin:9090"])]);
    world.apply([service("cart", "198.19.0.11", &["http:80"])]);
    assert_eq!(
        world.names(),
        [
            "Destination 198.19.0.11:80",
            "Service shop/cart:80",
            "Endpoints shop/cart:80"
        ]
    );
}

#[test]
fn an_address_that_moves_on_is_the_new_services() {
    let mut world = world([service("old", "198.19.0.10", &["http:80"])]);
    world.cluster.remove(
        Kind::Service,
        &crate::controller::kubernetes::lower::object::Name::new("shop", "old"),
    );
    world.apply([service("new", "198.19.0.10", &["http:80"])]);
    assert_eq!(world.destination("198.19.0.10:80"), "service shop/new:80");
}

fn headless() -> Value {
    with(
        service("db", "None", &["tcp:5432"]),
        json!({ "spec": { "clusterIPs": ["None"] } }),
    )
}

#[test]
fn a_headless_service_is_dialled_by_its_pods_addresses() {
    let world = world([
        headless(),
        pod("db-0", "198.18.64.1", "db"),
        slice(
            "db-a",
            "db",
            &["tcp:5432"],
            vec![ready("198.18.64.1", "db-0")],
        ),
    ]);
    assert_eq!(
        world.destination("198.18.64.1:5432"),
        "shop/db:5432 198.18.64.1:5432 db"
    );
    // As a route's backend it has endpoints too.
    assert_eq!(world.endpoints("shop/db:5432"), ["198.18.64.1:5432 db"]);
    assert!(world.names().iter().all(|name| !name.contains("None")));
}

#[test]
fn an_external_name_stands_for_nothing() {
    let external = json!({
        "kind": "Service",
        "metadata": { "namespace": "shop", "name": "bank" },
        "spec": {
            "type": "ExternalName", "externalName": "bank.example.com",
            "ports": [{ "port": 443 }],
        },
    });
    assert!(world([external]).names().is_empty());
}

#[test]
fn app_protocol_and_port_names_say_the_protocol() {
    let mut api = service("api", "198.19.0.10", &["web:80", "grpc-api:81", "raw:82"]);
    api["spec"]["ports"][0]["appProtocol"] = "http".into();
    let world = world([api]);
    assert_eq!(world.protocol("shop/api:80"), Protocol::Http);
    assert_eq!(world.protocol("shop/api:81"), Protocol::Http2);
    assert_eq!(world.protocol("shop/api:82"), Protocol::Detect);
}

#[test]
fn an_opaque_port_is_tcp_whatever_its_name() {
    let opaque = |ports: &str| json!({ "metadata": { "annotations": { "outrigger.dev/opaque-ports": ports } } });
    let plain = || service("cart", "198.19.0.10", &["http:80"]);

    let by_service = world([with(plain(), opaque("80"))]);
    assert_eq!(by_service.protocol("shop/cart:80"), Protocol::Tcp);

    // By a pod: its own port counts.
    let mut objects = cart();
    objects[1] = with(objects[1].clone(), opaque("8080"));
    let by_pod = world(objects);
    assert_eq!(by_pod.protocol("shop/cart:80"), Protocol::Tcp);

    let namespace = json!({ "kind": "Namespace", "metadata": { "name": "shop" } });
    let mut by_namespace = world([plain()]);
    assert_eq!(by_namespace.protocol("shop/cart:80"), Protocol::Http);
    by_namespace.apply([with(namespace, opaque("80"))]);
    assert_eq!(by_namespace.protocol("shop/cart:80"), Protocol::Tcp);
    // The service's own word is the last.
    by_namespace.apply([with(plain(), opaque(""))]);
    assert_eq!(by_namespace.protocol("shop/cart:80"), Protocol::Http);
}

#[test]
fn a_change_lowers_only_what_it_touches() {
    let mut objects = cart();
    for n in 0..50 {
        objects.push(service(
            &format!("other-{n}"),
            &format!("198.19.1.{n}"),
            &["http:80"],
        ));
        objects.push(bare_pod(&format!("other-{n}"), &format!("198.18.65.{n}")));
    }
    let mut world = world(objects.clone());
    assert!(
        world.apply(objects).is_empty(),
        "the same again is no change"
    );

    let mut slice = cart().remove(3);
    slice["endpoints"][1]["conditions"]["ready"] = false.into();
    assert_eq!(
        world.apply([slice]),
        ["Service shop/cart:80", "Endpoints shop/cart:80"]
    );
    let touched = world.apply([pod("cart-2", "198.18.64.2", "other")]);
    assert!(
        touched.iter().all(|name| !name.contains("other-")),
        "{touched:?}"
    );
}
