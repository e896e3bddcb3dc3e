//! What a proxy knows follows what its pod talks to, not the cluster.

use futures_util::{StreamExt as _, stream};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::harness::{Cluster, Load, Moody, Namespace, kubectl, mesh, wait};

const SERVICES: usize = 1_000;
const ENDPOINTS_EACH: usize = 10;
const USED: usize = 5;

/// For each service that is used: its address, itself, its endpoints; and what is the pod's own.
const KNOWN: f64 = (3 * USED + 10) as f64;
/// Bytes.
const CONTROLLER: f64 = 200e6;

#[tokio::test]
async fn a_proxy_of_a_big_cluster_knows_the_five_services_that_are_used() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    let namespace = Namespace::create(&cluster, "big").await;
    namespace.inject().await;
    stream::iter(0..SERVICES)
        .for_each_concurrent(32, |number| crowd(&namespace, number))
        .await;
    Moody::start(&namespace, "back", 2).await;
    for number in 0..USED {
        namespace.apply(&used(number)).await;
    }

    let load = Load::start(&namespace, "load", "http://used-0/").await;
    for number in 1..USED {
        let url = format!("http://used-{number}/");
        let get = format!("import urllib.request as u; u.urlopen('{url}', timeout=5).read()");
        wait::until(&url, wait::LONG, async || {
            let ran = namespace
                .exec("load", "load", &["python3", "-c", &get])
                .await;
            ran.success.then_some(()).ok_or(ran.stderr)
        })
        .await;
    }
    load.assert_none_failed("life in a big cluster").await;
    let proxy = async |name| metric(&namespace.name, "load", name).await;
    let known = proxy("outrigger_discovery_subscriptions").await;
    let used = proxy(RESIDENT).await;
    let pods = ["get", "pods", "-n", mesh::SYSTEM, "-o", "name"];
    let controllers = kubectl(&pods).await;
    eprintln!(
        "the proxy has {:.1} MB and knows {known} resources",
        used / 1e6
    );
    assert!(known < KNOWN, "{known} resources");
    for controller in controllers.lines() {
        let pod = controller.trim_start_matches("pod/");
        let used = metric(mesh::SYSTEM, pod, RESIDENT).await;
        eprintln!("{controller} has {:.1} MB", used / 1e6);
        assert!(used < CONTROLLER, "{controller}: {used} bytes");
    }
}

/// A service that nobody calls, with endpoints that nobody has. kube-proxy leaves it alone, so
/// that the node is not what is measured.
async fn crowd(namespace: &Namespace, number: usize) {
    let name = format!("crowd-{number}");
    let service = json!({
        "metadata": { "name": name, "labels": { "service.kubernetes.io/service-proxy-name": "none" } },
        "spec": { "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }] },
    });
    let endpoints = (0..ENDPOINTS_EACH).map(|n| {
        let at = number * ENDPOINTS_EACH + n;
        let ip = format!("198.18.{}.{}", 192 + at / 250, 1 + at % 250);
        json!({ "addresses": [ip], "conditions": { "ready": true } })
    });
    let slice = json!({
        "metadata": { "name": name, "labels": { "kubernetes.io/service-name": name } },
        "addressType": "IPv4",
        "ports": [{ "name": "http", "port": 8080 }],
        "endpoints": endpoints.collect::<Vec<_>>(),
    });
    create::<Service>(namespace, service).await;
    create::<EndpointSlice>(namespace, slice).await;
}

async fn create<K>(namespace: &Namespace, object: Value)
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned + serde::Serialize,
{
    let object = serde_json::from_value(object).expect("an object");
    let created = namespace
        .api::<K>()
        .create(&PostParams::default(), &object)
        .await;
    created.expect("the object is valid");
}

fn used(number: usize) -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: used-{number}}}
spec:
  selector: {{app: back}}
  ports: [{{name: http, port: 80, targetPort: 8080}}]
"
    )
}

const RESIDENT: &str = "process_resident_memory_bytes";

/// What the program in a pod says of itself.
async fn metric(namespace: &str, pod: &str, name: &str) -> f64 {
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:14020/proxy/metrics");
    let page = kubectl(&["get", "--raw", &path]).await;
    let mut values = page.lines().filter_map(|line| {
        let value = line.strip_prefix(name)?;
        value.rsplit(' ').next()?.parse().ok()
    });
    values
        .next()
        .unwrap_or_else(|| panic!("no such metric: {page}"))
}
