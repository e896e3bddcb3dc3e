//! How soon a change of the cluster is where it is needed, and what a big cluster costs.

mod big_cluster;

use std::{
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use futures_util::StreamExt as _;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use outrigger::discovery::{DiscoveryClient, State};
use serde_json::json;
use tokio::sync::mpsc;

use crate::harness::{
    Cluster, Moody, Namespace, kubectl, mesh,
    replica::{POD, Replica, Workload, published_roots, token},
    wait,
};

const PROXIES: usize = 50;
const CHANGES: usize = 200;
/// From the update of the EndpointSlice to the last of the proxies, at the 99th percentile.
const LATEST: Duration = Duration::from_millis(100);

const CART: &str = "
apiVersion: v1
kind: Service
metadata: {name: cart}
spec:
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: cart-1, labels: {kubernetes.io/service-name: cart}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [198.18.64.1], conditions: {ready: true}}]
";

#[tokio::test]
async fn fifty_proxies_know_of_a_change_within_100_ms() {
    let cluster = Cluster::connect().await;
    let namespace = Namespace::create(&cluster, "propagation").await;
    namespace.apply(POD).await;
    namespace.apply(CART).await;
    let replica = Replica::start(&namespace, "a");
    replica.ready().await;
    let token = token(&namespace, "outrigger", true).await;
    let workload = Workload::new(
        &namespace,
        &replica,
        &token,
        &published_roots(&namespace).await,
    );
    workload.id().await.expect("a good token");

    let key = format!("{}/cart:80", namespace.name);
    let (heard, mut hear) = mpsc::unbounded_channel();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..PROXIES {
        let (proxy, runner) = workload.follow(&format!("cart-{number}"));
        tasks.spawn(runner.run());
        tasks.spawn(tell(proxy, key.clone(), heard.clone()));
    }
    let mut all_know = async |address: SocketAddr| {
        for _ in 0..PROXIES {
            let within = tokio::time::timeout(wait::LONG, async {
                while hear.recv().await.expect("the proxies run") != address {}
            });
            within.await.expect("every proxy hears of it");
        }
    };
    all_know("198.18.64.1:8080".parse().expect("an address")).await;

    let slices = namespace.api::<EndpointSlice>();
    let mut took = Vec::new();
    for number in 0..CHANGES {
        let ip = format!("198.18.65.{}", 1 + number);
        let patch =
            json!({ "endpoints": [{ "addresses": [ip], "conditions": { "ready": true } }] });
        let started = Instant::now();
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(patch));
        let patched = slices.patch("cart-1", &parameters, &patch);
        let address = SocketAddr::new(ip.parse().expect("an address"), 8080);
        let (patched, ()) = tokio::join!(patched, all_know(address));
        patched.expect("a valid slice");
        took.push(started.elapsed());
    }
    took.sort();
    let (median, p99) = (took[CHANGES / 2], took[CHANGES * 99 / 100]);
    eprintln!("to the last of {PROXIES} proxies: {median:?} at the median, {p99:?} at p99");
    assert!(p99 < LATEST, "{took:?}");
}

/// Says which endpoint the service has, whenever that is another.
async fn tell(proxy: DiscoveryClient, key: String, heard: mpsc::UnboundedSender<SocketAddr>) {
    let mut endpoints = proxy.endpoints(&key.parse().expect("a key"));
    loop {
        if let State::Present(now) = endpoints.current() {
            for endpoint in &now.endpoints {
                // The test is over when nobody listens.
                let _ = heard.send(endpoint.addr);
            }
        }
        endpoints.changed().await;
    }
}

/// From being ready to the first request, where there is one request at a time.
const FIRST_REQUEST: f64 = 1.0;

#[tokio::test]
async fn a_new_replica_of_a_quiet_service_serves_within_a_second() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    let namespace = Namespace::create(&cluster, "quiet").await;
    namespace.inject().await;
    let back = Moody::start(&namespace, "back", 1).await;
    let caller = caller(&namespace).await;
    back.until(&back.pods().await[0], "requests", |seen| seen.ok > 50)
        .await;

    for replicas in 2..=4 {
        let before = back.pods().await;
        let slices = namespace.api::<EndpointSlice>();
        let parameters = WatchParams::default().labels("kubernetes.io/service-name=back");
        let listed = slices.list(&ListParams::default()).await;
        let version = listed
            .expect("slices can be listed")
            .metadata
            .resource_version;
        let version = version.expect("every list has one");
        let mut changes = std::pin::pin!(
            slices
                .watch(&parameters, &version)
                .await
                .expect("slices can be watched")
        );
        let count = format!("--replicas={replicas}");
        kubectl(&["scale", "deployment/back", &count, "-n", &namespace.name]).await;
        let (pod, ready) = tokio::time::timeout(wait::LONG, async {
            loop {
                let change = changes.next().await.expect("the watch goes on");
                let Ok(WatchEvent::Modified(slice) | WatchEvent::Added(slice)) = change else {
                    continue;
                };
                if let Some(pod) = ready_pods(&slice).find(|pod| !before.contains(pod)) {
                    break (pod, now());
                }
            }
        })
        .await
        .expect("the new replica becomes ready");
        let seen = back
            .until(&pod, "the first request", |seen| seen.first.is_some())
            .await;
        let took = seen.first.expect("waited for") - ready;
        eprintln!("replica {replicas}: first request {took:.3} s after it was ready");
        assert!(took < FIRST_REQUEST, "{took} s");
    }
    let log = namespace.logs(&caller, "curl").await;
    assert!(!log.contains("failed"), "{log}");
}

/// A client that sends the next request when it has the answer to the last.
async fn caller(namespace: &Namespace) -> String {
    namespace
        .apply(
            "
apiVersion: v1
kind: Pod
metadata: {name: caller, labels: {app: caller}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: curl
    image: docker.io/curlimages/curl:8.11.0
    command: [sh, -c, 'while :; do curl -sf -m5 -o /dev/null http://back/ || echo failed; sleep 0.05; done']
",
        )
        .await;
    namespace.pod("app=caller").await
}

fn ready_pods(slice: &EndpointSlice) -> impl Iterator<Item = String> + '_ {
    let ready = slice.endpoints.iter().flatten().filter(|endpoint| {
        let conditions = endpoint.conditions.as_ref();
        conditions.and_then(|it| it.ready) == Some(true)
    });
    ready.filter_map(|endpoint| endpoint.target_ref.as_ref()?.name.clone())
}

/// Seconds by the clock that the pods read too.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.expect("after 1970").as_secs_f64()
}
