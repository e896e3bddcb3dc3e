use serde_json::json;

use super::world::{bare_pod, cart, pod, ready, service, slice, with, world};

#[test]
fn a_pods_address_on_a_services_port_has_the_services_policies() {
    let world = world(cart());
    assert_eq!(
        world.destination("198.18.64.1:8080"),
        "shop/cart:80 198.18.64.1:8080 cart"
    );
}

#[test]
fn a_meshed_pods_other_ports_are_the_pods() {
    let world = world(cart());
    assert_eq!(world.destination("198.18.64.1:9"), "host cart");
}

#[test]
fn a_bare_pods_other_ports_are_nobodys() {
    let world = world([bare_pod("old", "198.18.64.1")]);
    assert_eq!(world.destination("198.18.64.1:80"), "");
    assert!(world.names().is_empty());
}

#[test]
fn of_two_services_behind_a_port_the_first_by_name() {
    let mut objects = cart();
    objects.push(service("basket", "198.19.0.11", &["http:80"]));
    objects.push(slice(
        "basket-a",
        "basket",
        &["http:8080"],
        vec![ready("198.18.64.1", "cart-1")],
    ));
    let world = world(objects);
    assert_eq!(
        world.destination("198.18.64.1:8080"),
        "shop/basket:80 198.18.64.1:8080 cart"
    );
}

/// Else anybody could put the policies of his own service over another's pods.
#[test]
fn another_namespaces_service_cannot_speak_for_a_pod() {
    let mut objects = cart();
    let elsewhere = json!({ "metadata": { "namespace": "evil" } });
    let own_pod = json!({ "addresses": ["198.18.64.1"] });
    objects.push(with(
        service("trap", "198.19.0.66", &["tcp:80"]),
        elsewhere.clone(),
    ));
    objects.push(with(
        slice("trap-a", "trap", &["tcp:9999"], vec![own_pod.clone()]),
        elsewhere.clone(),
    ));
    objects.push(with(
        slice("trap-b", "trap", &["tcp:8080"], vec![own_pod]),
        elsewhere,
    ));
    let world = world(objects);
    assert_eq!(
        world.destination("198.18.64.1:8080"),
        "shop/cart:80 198.18.64.1:8080 cart"
    );
    assert_eq!(world.destination("198.18.64.1:9999"), "host cart");
    let ports = world.workload("shop/cart").unwrap().ports;
    assert!(ports.iter().all(|port| port.port == 8080), "{ports:?}");
}

#[test]
fn an_address_outside_is_nobodys_to_claim() {
    let outside = json!({ "addresses": ["198.51.100.7"] });
    let world = world([
        service("db", "198.19.0.10", &["tcp:5432"]),
        slice("db-a", "db", &["tcp:5432"], vec![outside]),
    ]);
    assert_eq!(world.endpoints("shop/db:5432"), ["198.51.100.7:5432"]);
    assert_eq!(world.destination("198.51.100.7:5432"), "");
}

#[test]
fn an_address_given_on_is_the_new_pods() {
    let leaving = with(
        pod("a-old", "198.18.64.1", "old"),
        json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } }),
    );
    let new = pod("z-new", "198.18.64.1", "new");
    for objects in [[leaving.clone(), new.clone()], [new, leaving]] {
        let world = world(objects);
        assert_eq!(world.destination("198.18.64.1:80"), "host new");
    }
}
