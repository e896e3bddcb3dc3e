use serde_json::{Value, json};

use super::world::{bare_pod, cart, pod, ready, service, slice, with, world};
use crate::{
    controller::kubernetes::lower::object::Kind,
    discovery::model::{MtlsMode, Protocol, Workload, WorkloadPort},
};

fn annotated(object: Value, name: &str, value: &str) -> Value {
    let name = format!("outrigger.dev/{name}");
    with(
        object,
        json!({ "metadata": { "annotations": { name: value } } }),
    )
}

fn ports(workload: &Workload) -> Vec<(u16, Protocol)> {
    let ports = workload.ports.iter();
    ports
        .map(|WorkloadPort { port, protocol }| (*port, *protocol))
        .collect()
}

#[test]
fn the_ports_that_services_name_with_their_protocols() {
    let mut objects = cart();
    objects[0] = service("cart", "198.19.0.10", &["http:80", "any:81", "grpc:82"]);
    objects[3]["ports"] = json!([
        { "name": "http", "port": 8080 }, { "name": "any", "port": 8081 },
        { "name": "grpc", "port": 8082 },
    ]);
    let workload = world(objects).workload("shop/cart").unwrap();
    let expected = [(8080, Protocol::Http), (8082, Protocol::Http2)];
    assert_eq!(ports(&workload), expected);
    assert_eq!(workload.mtls, MtlsMode::Permissive);
}

#[test]
fn a_pod_without_a_sidecar_has_no_workload() {
    let world = world([bare_pod("old", "198.18.64.1")]);
    assert_eq!(world.workload("shop/bare"), None);
}

#[test]
fn opaque_ports_of_the_pod_count_with_and_without_a_service() {
    let mut objects = cart();
    objects[1] = annotated(objects[1].clone(), "opaque-ports", "8080,3306");
    let workload = world(objects).workload("shop/cart").unwrap();
    let expected = [(3306, Protocol::Tcp), (8080, Protocol::Tcp)];
    assert_eq!(ports(&workload), expected);
}

#[test]
fn mtls_is_the_pods_word_then_the_namespaces() {
    let namespace = |mode| {
        let object = json!({ "kind": "Namespace", "metadata": { "name": "shop" } });
        annotated(object, "mtls", mode)
    };
    let mut world = world(cart());
    let mode = |world: &super::world::World| world.workload("shop/cart").unwrap().mtls;
    world.apply([namespace("strict")]);
    assert_eq!(mode(&world), MtlsMode::Strict);
    // An identity has one mode: the strictest that any of its pods asks for.
    let open = |name, ip| annotated(pod(name, ip, "cart"), "mtls", "permissive");
    world.apply([open("cart-1", "198.18.64.1")]);
    assert_eq!(mode(&world), MtlsMode::Strict);
    world.apply([open("cart-2", "198.18.64.2")]);
    assert_eq!(mode(&world), MtlsMode::Permissive);
    world.apply([namespace("permissive")]);
    world.apply([annotated(
        pod("cart-1", "198.18.64.1", "cart"),
        "mtls",
        "strict",
    )]);
    assert_eq!(mode(&world), MtlsMode::Strict);
}

#[test]
fn a_workload_lasts_as_long_as_its_pods() {
    let mut world = world(cart());
    world.delete(Kind::Pod, "shop/cart-1");
    assert!(world.workload("shop/cart").is_some());
    world.apply([pod("cart-2", "198.18.64.2", "other")]);
    assert_eq!(world.workload("shop/cart"), None);
    assert_eq!(
        ports(&world.workload("shop/other").unwrap()),
        [(8080, Protocol::Http)]
    );
}

#[test]
fn of_two_protocols_for_a_port_the_one_that_reads_less() {
    let mut objects = cart();
    objects.push(service("raw", "198.19.0.11", &["tcp:80"]));
    objects.push(slice(
        "raw-a",
        "raw",
        &["tcp:8080"],
        vec![ready("198.18.64.1", "cart-1")],
    ));
    let mut world = world(objects);
    let both = ports(&world.workload("shop/cart").unwrap());
    assert_eq!(both, [(8080, Protocol::Tcp)]);
    world.delete(Kind::Service, "shop/raw");
    let one = ports(&world.workload("shop/cart").unwrap());
    assert_eq!(one, [(8080, Protocol::Http)]);
}
