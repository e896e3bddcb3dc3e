//! A node that is emptied.

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;

use super::world::{SERVERS, World};
use crate::harness::{Cluster, Namespace, kubectl, mesh, second_node};

#[tokio::test]
async fn a_drained_node_loses_no_request() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    let namespace = Namespace::create(&cluster, "drain").await;
    // The clients are where they stay.
    let world = World::start(&namespace).await;
    let Some(node) = second_node() else {
        return;
    };

    kubectl(&[
        "rollout",
        "restart",
        "deployment/outrigger-controller",
        "-n",
        mesh::SYSTEM,
    ])
    .await;
    for name in SERVERS {
        world.scale(name, 4).await;
        let there = on(&namespace, &format!("app={name}"), node.name()).await;
        assert!(there > 0, "no replica of {name} came to {}", node.name());
    }
    world.assert_none_failed("a second node").await;

    let drain = ["drain", node.name(), "--ignore-daemonsets"];
    kubectl(&[&drain[..], &["--delete-emptydir-data", "--timeout=120s"]].concat()).await;
    for name in SERVERS {
        assert_eq!(on(&namespace, &format!("app={name}"), node.name()).await, 0);
        namespace.rolled_out(&format!("deployment/{name}")).await;
    }
    world.assert_none_failed("the drain of a node").await;
    drop(node);
    world.assert_none_failed("the removal of a node").await;
}

/// How many pods with these labels a node has.
async fn on(namespace: &Namespace, labels: &str, node: &str) -> usize {
    let fields = format!("spec.nodeName={node}");
    let parameters = ListParams::default().labels(labels).fields(&fields);
    let pods = namespace.api::<Pod>().list(&parameters).await;
    pods.expect("pods can be listed").items.len()
}
