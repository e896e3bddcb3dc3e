use std::collections::BTreeMap;

use super::*;
use crate::discovery::{
    model::{Destination, Endpoints, Protocol, Workload},
    resource::{Discovered, Kind, ResourceName},
};

fn parse(text: &str) -> Result<Registry, String> {
    Registry::parse(Path::new("registry.yaml"), text).map_err(|error| error.to_string())
}

fn refused(text: &str) -> String {
    parse(text).expect_err("the text has a mistake")
}

fn example() -> Registry {
    parse(include_str!("../../../manifests/registry.example.yaml")).unwrap()
}

fn get<T: Discovered + Clone>(registry: &Registry, name: &str) -> Option<T> {
    let resources: BTreeMap<_, _> = registry.resources.iter().cloned().collect();
    let resource = resources.get(&ResourceName::new(T::KIND, name))?;
    T::from_resource(resource).map(|value| T::clone(value))
}

#[test]
fn the_example_is_a_registry() {
    let registry = example();
    assert_eq!(registry.trust_domain, "mesh.local");
    for addr in ["198.18.0.10:80", "[fd00:18::10]:80"] {
        assert_eq!(
            get::<Destination>(&registry, addr),
            Some(Destination::Service("shop/cart:80".parse().unwrap()))
        );
    }
    let endpoints = get::<Endpoints>(&registry, "shop/cart:80").unwrap();
    let seen: Vec<_> = endpoints
        .endpoints
        .iter()
        .map(|endpoint| (endpoint.addr.to_string(), endpoint.weight))
        .collect();
    assert_eq!(
        seen,
        [("198.18.1.1:8080".into(), 1), ("198.18.1.2:8080".into(), 2)],
        "without the one that is not ready"
    );
    assert!(matches!(
        get::<Destination>(&registry, "198.18.1.3:8080"),
        Some(Destination::Endpoint { service: Some(key), endpoint })
            if key.to_string() == "shop/cart:80" && endpoint.identity.is_some()
    ));
    let plain = get::<Endpoints>(&registry, "shop/cart-readonly:80").unwrap();
    assert_eq!(plain.endpoints[0].identity, None);
}

#[test]
fn every_resource_of_the_example_passes_the_proxys_own_checks() {
    let registry = example();
    for (name, resource) in &registry.resources {
        assert!(name.is_well_formed(), "{name}");
        assert_eq!(
            crate::discovery::resource::Resource::from_json(name, &resource.to_json()).unwrap(),
            *resource
        );
    }
    let kinds: std::collections::BTreeSet<_> = registry
        .resources
        .iter()
        .map(|(name, _)| name.kind)
        .collect();
    assert_eq!(kinds.len(), Kind::ALL.len() - 1, "all but the trust bundle");
}

#[test]
fn a_workload_knows_the_protocols_that_services_name() {
    let id = "spiffe://mesh.local/ns/shop/sa/cart";
    let workload = get::<Workload>(&example(), id).unwrap();
    let ports: Vec<_> = workload
        .ports
        .iter()
        .map(|port| (port.port, port.protocol))
        .collect();
    assert_eq!(ports, [(9000, Protocol::Tcp), (8080, Protocol::Http)]);
}

#[test]
fn mistakes_are_shown_with_line_field_and_reason() {
    let text = "\
trustDomain: mesh.local
services:
  - namespace: shop
    name: cart
    ports: [{port: 80}]
    policy:
      breaker:
        failureRate: 2
      fallback:
        - service: shop/no:80
    endpoints:
      - {ip: 198.18.0.1, serviceAccount: cart}
      - {}
";
    assert_eq!(
        refused(text),
        "\
registry.yaml:8:22: services[0].policy.breaker.failureRate: 2 is not between 0 and 1
registry.yaml:10:20: services[0].policy.fallback[0].service: there is no service shop/no:80 in this file: check name, namespace and port
registry.yaml:12:42: services[0].endpoints[0].serviceAccount: no workload shop/cart is listed: add it, or leave this out if no sidecar runs there
registry.yaml:13:9: services[0].endpoints[1]: needs either ip or addr"
    );
}

#[test]
fn unknown_fields_and_wrong_types_are_refused_with_their_place() {
    let unknown = refused(
        "trustDomain: mesh.local\nservices:\n  - namespace: shop\n    nane: cart\n    ports: []\n",
    );
    assert!(
        unknown.starts_with("registry.yaml:4:5: services[0].nane: "),
        "{unknown}"
    );
    let wrong = refused(
        "trustDomain: mesh.local\nservices:\n  - namespace: shop\n    name: cart\n    ports: [{port: high}]\n",
    );
    assert!(
        wrong.starts_with("registry.yaml:5:20: services[0].ports[0].port: "),
        "{wrong}"
    );
    let broken = refused("trustDomain: [");
    assert!(broken.starts_with("registry.yaml:1:"), "{broken}");
    assert_eq!(
        refused("\n"),
        "registry.yaml:1:1: trustDomain: is missing: the file is empty"
    );
}

#[test]
fn references_of_routes_and_mirrors_must_exist() {
    let text = "\
trustDomain: mesh.local
services:
  - namespace: shop
    name: cart
    ports: [{port: 80}]
    routes:
      - name: shop/r
        backends: [{service: shop/gone:80}]
        filters:
          - mirror: {service: shop/cart:81}
";
    let refused = refused(text);
    assert!(
        refused.contains("registry.yaml:8:30: services[0].routes[0].backends[0].service: "),
        "{refused}"
    );
    assert!(
        refused.contains("registry.yaml:10:31: services[0].routes[0].filters[0].mirror.service: "),
        "{refused}"
    );
}

#[test]
fn a_service_is_no_fallback_of_its_own() {
    let text = "\
trustDomain: mesh.local
services:
  - namespace: shop
    name: cart
    ports: [{port: 80}, {port: 81}]
    policy: {fallback: [{service: shop/cart:81}]}
    routes:
      - name: shop/own
        policy: {fallback: [{service: shop/cart:80}]}
      - name: shop/other
        backends: [{service: shop/canary:80}]
        policy: {fallback: [{service: shop/canary:80}]}
      - name: shop/good
        backends: [{service: shop/canary:80}]
        policy: {fallback: [{service: shop/cart:80}]}
      - name: shop/split
        backends: [{service: shop/canary:80}, {service: shop/cart:80}]
        policy: {fallback: [{service: shop/cart:80}]}
  - {namespace: shop, name: canary, ports: [{port: 80}]}
";
    assert_eq!(
        refused(text),
        "\
registry.yaml:6:35: services[0].policy.fallback[0].service: shop/cart:81 is the service itself, which could not answer: name another one
registry.yaml:9:39: services[0].routes[0].policy.fallback[0].service: shop/cart:80 is the service itself, which could not answer: name another one
registry.yaml:12:39: services[0].routes[1].policy.fallback[0].service: shop/canary:80 is the service itself, which could not answer: name another one"
    );
}

#[test]
fn what_must_be_one_of_its_kind_is_refused_twice() {
    let text = "\
trustDomain: mesh.local
workloads:
  - {namespace: shop, serviceAccount: a}
  - {namespace: shop, serviceAccount: a}
services:
  - {namespace: shop, name: a, addresses: [198.18.0.1], ports: [{port: 80}]}
  - {namespace: shop, name: b, addresses: [198.18.0.1], ports: [{port: 80}]}
  - {namespace: shop, name: b, ports: [{port: 80}, {port: 80}], endpoints: [{ip: 198.18.0.2}]}
";
    let fields: Vec<_> = Registry::parse(Path::new("r"), text)
        .unwrap_err()
        .mistakes
        .into_iter()
        .map(|mistake| mistake.problem.field)
        .collect();
    assert_eq!(
        fields,
        [
            "workloads[1].serviceAccount",
            "services[1].addresses[0]",
            "services[2].name",
            "services[2].ports[1].port",
            "services[2].endpoints[0]",
        ]
    );
}

#[test]
fn a_trust_domain_is_checked() {
    assert_eq!(
        refused("trustDomain: Mesh Local\n"),
        "registry.yaml:1:14: trustDomain: \"Mesh Local\" is not a trust domain: use lower-case letters, digits, '-', '_' and single dots between them, up to 255 characters"
    );
    assert!(refused("trustDomain: ...\n").contains("is not a trust domain"));
}

#[test]
fn a_value_that_cannot_be_read_is_shown_with_what_it_must_be() {
    let service = "trustDomain: mesh.local\nservices:\n  - namespace: shop\n    name: cart\n";
    for (rest, expected) in [
        (
            "    ports: [{port: 70000}]\n",
            "5:20: services[0].ports[0].port: \"70000\" is not a whole number from 0 to 65535",
        ),
        (
            "    ports: [{port: 80}]\n    addresses: [198.18.0]\n",
            "6:17: services[0].addresses[0]: \"198.18.0\" is not an IP address: write it like 198.18.0.10 or fd00:18::10",
        ),
        (
            "    ports: [{port: 80}]\n    endpoints: [{addr: cart:80}]\n",
            "6:24: services[0].endpoints[0].addr: \"cart:80\" is not an IP address with a port: write it like 198.18.0.10:8080 or [fd00:18::10]:8080",
        ),
        (
            "    ports: [{port: 80}]\n    policy: {breaker: {ramp: 2h}}\n",
            "6:30: services[0].policy.breaker.ramp: 2h is not between 0ms and 1h",
        ),
    ] {
        let refused = refused(&format!("{service}{rest}"));
        let expected = format!("registry.yaml:{expected}");
        assert!(refused.starts_with(&expected), "{refused}");
    }
}

#[test]
fn what_is_wrong_with_the_file_as_a_whole_has_no_field() {
    assert_eq!(
        refused("[]\n"),
        "registry.yaml:1:1: must be a mapping of keys to values"
    );
    assert_eq!(
        refused("trustDomain: mesh.local\n---\ntrustDomain: b\n"),
        "registry.yaml:3:1: a second document begins here (---): the file may hold one only"
    );
    let twice = refused("trustDomain: mesh.local\ntrustDomain: b\n");
    assert!(
        twice.ends_with("trustDomain is written twice: keep one of them"),
        "{twice}"
    );
}

/// It came back whole, in a log line of 5 MB.
#[test]
fn a_long_value_is_not_repeated_whole() {
    let long = "x".repeat(5_000_000);
    let service = "services:\n  - {namespace: shop, name: cart, ports: [{port: 80}]";
    for text in [
        format!("trustDomain: {long}.\n"),
        format!("trustDomain: mesh.local\n{long}: 1\n"),
        format!("trustDomain: mesh.local\n{service}, protocol: {long}}}\n"),
        format!("trustDomain: mesh.local\n{service}, policy: {{{long}: 1}}}}\n"),
        format!("trustDomain: mesh.local\n{service}, policy: {{breaker: {{ramp: {long}}}}}}}\n"),
        format!("trustDomain: mesh.local\n{service}, addresses: [\"{long}\"]}}\n"),
    ] {
        let refused = refused(&text);
        assert!(refused.len() < 3_000, "{} bytes", refused.len());
        assert!(
            refused.contains("bytes left out") || refused.len() < 500,
            "{refused}"
        );
    }
}
