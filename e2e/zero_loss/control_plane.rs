//! What happens to the controller, and to what it signs with.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams},
};

use super::world::World;
use crate::harness::{Cluster, Namespace, kill_on_nodes, kubectl, mesh, wait};

const CONTROLLER: &str = "deployment/outrigger-controller";

async fn rolled_out() {
    let status = ["rollout", "status", CONTROLLER, "-n", mesh::SYSTEM];
    kubectl(&[&status[..], &["--timeout=90s"]].concat()).await;
}

#[tokio::test]
async fn the_controllers_end_loses_no_request() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    let namespace = Namespace::create(&cluster, "controller").await;
    let world = World::start(&namespace).await;

    kubectl(&["rollout", "restart", CONTROLLER, "-n", mesh::SYSTEM]).await;
    rolled_out().await;
    world
        .assert_none_failed("a rollout of the controller")
        .await;

    // Both at once, without a word; and while there is none, nobody misses it.
    let both = ["-n", mesh::SYSTEM, "-l", "app.kubernetes.io/name=outrigger"];
    let delete = ["delete", "pods", "--force", "--grace-period=0"];
    kubectl(&[&delete[..], &both].concat()).await;
    world
        .assert_none_failed("the deletion of both controllers")
        .await;
    rolled_out().await;
    world.rollout_restart("back").await;
    world
        .assert_none_failed("a rollout after the controllers' return")
        .await;

    // The processes, and not the pods, where the nodes are on this machine.
    let killed = kill_on_nodes("outrigger controller --config=/etc/outrigger/config.yaml");
    if killed > 0 {
        assert_eq!(killed, 2);
        world
            .assert_none_failed("kill -9 of both controllers")
            .await;
        rolled_out().await;
        world.rollout_restart("grpc").await;
        world
            .assert_none_failed("a rollout after the restart")
            .await;
    }
}

#[tokio::test]
async fn an_upgrade_of_the_chart_loses_no_request() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    let namespace = Namespace::create(&cluster, "upgrade").await;
    let world = World::start(&namespace).await;
    mesh::install_with(&[
        "controller.logLevel=debug",
        "controller.podAnnotations.upgraded=yes",
    ])
    .await;
    world.assert_none_failed("an upgrade of the chart").await;
    mesh::install().await;
    world.assert_none_failed("the way back").await;
}

/// A new root is in the bundle for 75 s before certificates are signed under it. They are renewed
/// after 90 to 144 s of their 180, so the second to come is under it.
const ROTATION: Duration = Duration::from_secs(2 * 144 + 60);

#[tokio::test]
async fn rotations_of_issuer_and_anchor_lose_no_request_and_restart_no_pod() {
    let cluster = Cluster::connect().await;
    // So short that every proxy has renewed before the end, and some do at each moment.
    mesh::install_with(&["mesh.certificateLifetime=3m"]).await;
    let namespace = Namespace::create(&cluster, "rotation").await;
    let world = World::start(&namespace).await;
    let started = pods(&namespace).await;
    let old = roots(&namespace).await;

    let secrets = Api::<Secret>::namespaced(cluster.client.clone(), mesh::SYSTEM);
    let issuer = async || {
        let secret = secrets.get_opt("outrigger-ca").await.ok()??;
        secret.data?.remove("tls.crt")
    };
    let first = issuer().await;
    let delete = DeleteParams::default();
    secrets
        .delete("outrigger-ca", &delete)
        .await
        .expect("it is there");
    wait::until("there is another issuer", wait::LONG, async || {
        let next = issuer().await;
        (next.is_some() && next != first)
            .then_some(())
            .ok_or(format!("{next:?}"))
    })
    .await;
    assert_eq!(roots(&namespace).await, old, "of the same root");
    world.assert_none_failed("a rotation of the issuer").await;
    assert_eq!(pods(&namespace).await, started);
    // Certificates of either issuer meet.
    world.rollout_restart("back").await;
    world
        .assert_none_failed("a rollout under another issuer")
        .await;

    let started = pods(&namespace).await;
    for name in ["outrigger-root", "outrigger-ca"] {
        secrets.delete(name, &delete).await.expect("it is there");
    }
    wait::until("the bundle has both roots", wait::LONG, async || {
        let now = roots(&namespace).await;
        let both = now.matches("BEGIN").count() == 2 && now.contains(&old);
        both.then_some(()).ok_or(now)
    })
    .await;
    let before = certified(&namespace).await;
    wait::until("every proxy has renewed twice", ROTATION, async || {
        let now = certified(&namespace).await;
        let twice = before
            .iter()
            .all(|(pod, times)| now.get(pod) >= Some(&(times + 2)));
        twice.then_some(()).ok_or(format!("{before:?}, {now:?}"))
    })
    .await;
    world
        .assert_none_failed("a rotation of the trust anchor")
        .await;
    assert_eq!(pods(&namespace).await, started);
    // Certificates of either anchor meet.
    world.rollout_restart("grpc").await;
    world
        .assert_none_failed("a rollout under another anchor")
        .await;
    mesh::install().await;
}

/// The trust bundle that the namespace's pods mount.
async fn roots(namespace: &Namespace) -> String {
    let bundle = namespace.api::<ConfigMap>().get("outrigger-roots").await;
    bundle.expect("it is injected").data.unwrap_or_default()["ca.crt"].clone()
}

/// How many certificates each pod's proxy has had.
async fn certified(namespace: &Namespace) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    for pod in pods(namespace).await.into_keys() {
        let log = namespace.logs(&pod, "outrigger-proxy").await;
        let times = log.matches("certified").count();
        all.insert(pod, times);
    }
    all
}

/// Every pod, with how often its containers were restarted.
async fn pods(namespace: &Namespace) -> BTreeMap<String, i32> {
    let listed = namespace.api::<Pod>().list(&ListParams::default()).await;
    let pods = listed.expect("pods can be listed").items;
    let running = pods
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none());
    running
        .map(|pod| {
            let status = pod.status.as_ref();
            let of_init = status.and_then(|it| it.init_container_statuses.as_ref());
            let of_app = status.and_then(|it| it.container_statuses.as_ref());
            let all = of_init.into_iter().chain(of_app).flatten();
            (pod.name_any(), all.map(|it| it.restart_count).sum())
        })
        .collect()
}
