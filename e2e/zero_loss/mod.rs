//! No request is lost by what operators do every day. The client has its sidecar and nothing else:
//! no retries of its own, no preStop hooks in any manifest. GET and POST over HTTP, and gRPC, each
//! from ten clients, half of which keep their connection.

mod control_plane;
mod nodes;
mod world;

use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt as _, api::DeleteParams};

use crate::harness::{Cluster, Namespace, kubectl, mesh, wait};
use world::World;

#[tokio::test]
async fn rollouts_of_server_and_client_lose_no_request() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    let namespace = Namespace::create(&cluster, "rollouts").await;
    let world = World::start(&namespace).await;
    for (name, what) in [
        ("back", "server"),
        ("front", "client"),
        ("grpc", "gRPC server"),
    ] {
        world.rollout_restart(name).await;
        world
            .assert_none_failed(&format!("a rollout of the {what}"))
            .await;
    }
}

#[tokio::test]
async fn scaling_up_and_down_loses_no_request() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    let namespace = Namespace::create(&cluster, "scaling").await;
    let world = World::start(&namespace).await;
    for replicas in [1, 10, 1] {
        for name in ["back", "grpc"] {
            world.scale(name, replicas).await;
            world
                .assert_none_failed(&format!("scaling {name} to {replicas}"))
                .await;
        }
    }
}

#[tokio::test]
async fn deleted_and_killed_pods_lose_no_request() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    let namespace = Namespace::create(&cluster, "deletion").await;
    let world = World::start(&namespace).await;
    for (how, grace) in [("deletion", 30), ("a kill", 0)] {
        for name in ["back", "grpc"] {
            let pods = namespace.pods(&format!("app={name}")).await;
            let parameters = DeleteParams::default().grace_period(grace);
            namespace
                .api::<Pod>()
                .delete(&pods[0].name_any(), &parameters)
                .await
                .expect("it was just listed");
            namespace.rolled_out(&format!("deployment/{name}")).await;
            world.assert_none_failed(&format!("{how} of {name}")).await;
        }
    }
}

#[tokio::test]
async fn edits_of_a_routes_weights_lose_no_request() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    let namespace = Namespace::create(&cluster, "weights").await;
    let world = World::start(&namespace).await;
    for (one, other) in [(50, 0), (1, 99), (0, 1), (100, 0)] {
        // The front answers for the back as well, with one hop more.
        for (kind, parent, [first, second]) in [
            ("HTTPRoute", "front", ["back", "front"]),
            ("GRPCRoute", "grpc", ["grpc", "grpc-too"]),
        ] {
            namespace
                .apply(&format!(
                    "
apiVersion: gateway.networking.k8s.io/v1
kind: {kind}
metadata: {{name: split}}
spec:
  parentRefs: [{{group: '', kind: Service, name: {parent}, port: 80}}]
  rules:
  - backendRefs:
    - {{name: {first}, port: 80, weight: {one}}}
    - {{name: {second}, port: 80, weight: {other}}}
"
                ))
                .await;
        }
        world
            .assert_none_failed(&format!("weights of {one} and {other}"))
            .await;
    }
    for kind in ["httproute", "grpcroute"] {
        wait::until("the route is accepted", wait::LONG, async || {
            let route = ["get", kind, "split", "-n", &namespace.name, "-o", "json"];
            let route = kubectl(&route).await;
            let accepted = route.contains("\"Accepted\"");
            accepted.then_some(()).ok_or(route)
        })
        .await;
    }
}
