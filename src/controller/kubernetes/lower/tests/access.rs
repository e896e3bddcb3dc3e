use serde_json::{Value, json};

use super::world::{
    World, bare_pod, cart, pod, ready, service, slice, with, world, world_with_default,
};
use crate::{
    access::{Mode, Otherwise},
    controller::kubernetes::{
        config::DefaultAccess,
        findings::{ObjectKind::AccessPolicy, Verdict},
        lower::object::Kind,
    },
};

fn policy(name: &str, targets: &[&str], spec: Value) -> Value {
    let targets: Vec<_> = targets
        .iter()
        .map(|name| json!({ "kind": "Service", "name": name }))
        .collect();
    let object = json!({
        "apiVersion": "outrigger.dev/v1alpha1",
        "kind": "AccessPolicy",
        "metadata": { "namespace": "shop", "name": name },
        "spec": {
            "targetRefs": targets,
            "rules": [{ "from": [{ "serviceAccounts": ["web"] }] }],
        },
    });
    with(object, json!({ "spec": spec }))
}

/// The names of a workload's policies, each with its ports.
fn policies(world: &World, account: &str) -> Vec<(String, Vec<u16>)> {
    let access = world.workload(account).unwrap().access;
    let policies = access.into_iter().flat_map(|access| access.policies);
    policies
        .map(|policy| (policy.name.to_string(), policy.ports))
        .collect()
}

/// `cart`, and `till` behind which are pods of another account.
fn shop() -> Vec<Value> {
    let mut objects = cart();
    objects.push(service("till", "198.19.0.11", &["http:80"]));
    objects.push(pod("till-1", "198.18.64.9", "till"));
    objects.push(slice(
        "till-a",
        "till",
        &["http:9090"],
        vec![ready("198.18.64.9", "till-1")],
    ));
    objects
}

#[test]
fn a_policy_for_a_service_is_for_the_ports_behind_it() {
    let mut objects = shop();
    objects.push(policy("p", &["cart"], json!({})));
    let world = world(objects);
    let expected = [("shop/p".to_owned(), vec![8080])];
    assert_eq!(policies(&world, "shop/cart"), expected);
    assert_eq!(world.workload("shop/till").unwrap().access, None);
    assert_eq!(world.verdicts(AccessPolicy, "shop/p"), ("", ""));
    let resources = world
        .attachments(AccessPolicy, "shop/p")
        .remove(0)
        .resources;
    let names: Vec<_> = resources.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["Workload spiffe://cluster.local/ns/shop/sa/cart"]);
}

#[test]
fn a_policy_without_targets_is_for_its_namespace() {
    let mut objects = shop();
    objects.push(policy("p", &[], json!({ "mode": "audit" })));
    objects.push(with(
        pod("other", "198.18.64.8", "other"),
        json!({ "metadata": { "namespace": "bank" } }),
    ));
    let mut world = world(objects);
    for account in ["shop/cart", "shop/till"] {
        let access = world.workload(account).unwrap().access.unwrap();
        assert_eq!(access.policies[0].mode, Mode::Audit);
        assert!(access.policies[0].ports.is_empty());
    }
    assert_eq!(world.workload("bank/other").unwrap().access, None);
    let live = |world: &World| world.attachments(AccessPolicy, "shop/p")[0].resources.len();
    assert_eq!(live(&world), 2);
    // Who comes later has it too.
    world.apply([pod("late", "198.18.64.7", "late")]);
    assert_eq!(policies(&world, "shop/late").len(), 1);
    assert_eq!(live(&world), 3);
    world.delete(Kind::AccessPolicy, "shop/p");
    assert_eq!(world.workload("shop/cart").unwrap().access, None);
    assert!(world.attachments(AccessPolicy, "shop/p").is_empty());
}

#[test]
fn a_pod_that_comes_behind_a_service_is_held_by_its_policy() {
    let mut objects = cart();
    let late = objects.remove(3);
    objects.push(policy("p", &["cart"], json!({})));
    let mut world = world(objects);
    assert!(policies(&world, "shop/cart").is_empty());
    world.apply([late]);
    assert_eq!(policies(&world, "shop/cart").len(), 1);
    assert_eq!(
        world.attachments(AccessPolicy, "shop/p")[0].resources.len(),
        1
    );
}

#[test]
fn the_default_holds_without_a_policy() {
    let denied = world_with_default(DefaultAccess::Deny, cart());
    let access = denied.workload("shop/cart").unwrap().access.unwrap();
    assert_eq!(access.otherwise, Otherwise::Deny);
    assert!(access.policies.is_empty());
    assert_eq!(world(cart()).workload("shop/cart").unwrap().access, None);
}

#[test]
fn a_service_that_is_missing_is_said() {
    let mut world = world([policy("p", &["cart"], json!({}))]);
    assert_eq!(world.verdicts(AccessPolicy, "shop/p").0, "TargetNotFound");
    world.apply(cart());
    assert_eq!(world.verdicts(AccessPolicy, "shop/p").0, "");
}

/// Without the policy, more would be allowed than with what is left of it.
#[test]
fn a_policy_at_fault_stays_in_force_and_is_said() {
    let mut objects = cart();
    let spec = json!({ "rules": [{ "from": [{}] }] });
    objects.push(policy("p", &["cart"], spec));
    let world = world(objects);
    assert_eq!(world.verdicts(AccessPolicy, "shop/p").0, "Invalid");
    let access = world.workload("shop/cart").unwrap().access.unwrap();
    assert!(access.policies[0].rules.is_empty());
}

#[test]
fn another_namespaces_policy_has_no_effect() {
    let mut objects = cart();
    objects.push(with(
        policy("p", &["cart"], json!({})),
        json!({ "metadata": { "namespace": "evil" } }),
    ));
    let world = world(objects);
    assert_eq!(world.workload("shop/cart").unwrap().access, None);
    assert_eq!(world.verdicts(AccessPolicy, "evil/p").0, "TargetNotFound");
}

/// The verdict on a policy for the Service `cart` in a cluster with these objects.
fn accepted(objects: impl IntoIterator<Item = Value>) -> Verdict {
    let mut world = world(objects);
    world.apply([policy("p", &["cart"], json!({}))]);
    world.attachments(AccessPolicy, "shop/p").remove(0).accepted
}

#[test]
fn a_policy_that_protects_nothing_is_not_accepted() {
    let without_ports = json!({ "spec": { "clusterIPs": ["None"], "ports": null } });
    let udp = json!({ "spec": { "ports": [{ "port": 53, "protocol": "UDP" }] } });
    let external = json!({ "spec": { "type": "ExternalName", "clusterIPs": null } });
    let bare = vec![
        bare_pod("cart-1", "198.18.64.1"),
        bare_pod("cart-2", "198.18.64.2"),
    ];
    let skip = json!({ "spec": { "initContainers": [{
        "name": "outrigger-init", "args": ["init", "--skip-inbound-ports=8000-8099"],
    }] } });
    let skipping = ["1", "2"].map(|n| {
        let pod = pod(&format!("cart-{n}"), &format!("198.18.64.{n}"), "cart");
        with(pod, skip.clone())
    });
    for (what, changed) in [
        ("no TCP port", vec![with(cart().remove(0), without_ports)]),
        ("no TCP port", vec![with(cart().remove(0), udp)]),
        ("outside", vec![with(cart().remove(0), external)]),
        ("2 without a sidecar", bare),
        ("2 whose skip-inbound-ports", skipping.to_vec()),
    ] {
        match accepted(cart().into_iter().chain(changed)) {
            Verdict::Bad { reason, message } => {
                assert_eq!(reason, "ProtectsNothing");
                assert!(message.contains(what), "{message}");
            }
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn a_policy_says_how_many_pods_it_does_not_protect() {
    let noted = |verdict| match verdict {
        Verdict::Noted { message } => message,
        other => panic!("{other:?}"),
    };
    let bare = bare_pod("cart-2", "198.18.64.2");
    let message = noted(accepted(cart().into_iter().chain([bare.clone()])));
    assert!(message.contains("1 without a sidecar"), "{message}");
    // Before a pod is there nothing is open.
    assert_eq!(accepted([cart().remove(0)]), Verdict::Good);

    let mut objects = shop();
    objects.push(policy("all", &[], json!({})));
    let mut world = world(objects);
    let all = |world: &World| {
        world
            .attachments(AccessPolicy, "shop/all")
            .remove(0)
            .accepted
    };
    assert_eq!(all(&world), Verdict::Good);
    world.apply([bare]);
    let message = noted(all(&world));
    assert!(message.contains("1 without a sidecar"), "{message}");
    world.delete(Kind::Pod, "shop/cart-2");
    assert_eq!(all(&world), Verdict::Good);
}
