//! The registry against a real API server: what it does about gaps, absent kinds and numbers.

use futures_util::{StreamExt, stream};
use k8s_openapi::{
    api::{
        core::v1::{Namespace, Pod, Service},
        discovery::v1::EndpointSlice,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams},
    core::ApiResource,
};
use outrigger::discovery::model::{self, Destination};
use serde_json::{Value, json};

mod cluster;
mod running;

use running::{Running, WITHIN};

use crate::harness::{
    api_server::{ApiServer, resident},
    wait,
};

const SHOP: &str = "shop";

async fn create<K>(api: &Api<K>, object: Value)
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + serde::Serialize,
{
    let object = serde_json::from_value(object).expect("an object");
    let created = api.create(&PostParams::default(), &object).await;
    created.expect("the object is valid");
}

async fn shop(client: &Client) {
    let namespace = json!({ "metadata": { "name": SHOP } });
    create(&Api::<Namespace>::all(client.clone()), namespace).await;
}

/// A meshed pod that runs, as far as anyone can tell.
async fn pod(client: &Client, name: &str, ip: &str) {
    let api = Api::<Pod>::namespaced(client.clone(), SHOP);
    create(
        &api,
        json!({
            "metadata": { "name": name, "labels": { "outrigger.dev/injected": "true", "app": "web" } },
            "spec": {
                "schedulerName": "nobody",
                "containers": [{ "name": "app", "image": "app", "ports": [{ "containerPort": 8080 }],
                    "env": [{ "name": "A", "value": "what a usual pod carries along" }] }],
            },
        }),
    )
    .await;
    let status = json!({ "status": {
        "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }],
        "conditions": [{ "type": "Ready", "status": "True" }],
    } });
    let (parameters, patch) = (PatchParams::default(), Patch::Merge(status));
    let patched = api.patch_status(name, &parameters, &patch).await;
    patched.expect("a valid status");
}

async fn service(client: &Client, name: &str, pods: &[(String, String)]) {
    create(
        &Api::<Service>::namespaced(client.clone(), SHOP),
        json!({
            "metadata": { "name": name },
            "spec": { "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }] },
        }),
    )
    .await;
    let slices = Api::<EndpointSlice>::namespaced(client.clone(), SHOP);
    create(&slices, slice(name, pods)).await;
}

fn slice(name: &str, pods: &[(String, String)]) -> Value {
    let endpoint = |(pod, ip): &(String, String)| {
        json!({
            "addresses": [ip], "conditions": { "ready": true, "serving": true },
            "targetRef": { "kind": "Pod", "namespace": SHOP, "name": pod },
        })
    };
    json!({
        "metadata": {
            "name": format!("{name}-1"),
            "labels": { "kubernetes.io/service-name": name },
        },
        "addressType": "IPv4",
        "ports": [{ "name": "http", "port": 8080 }],
        "endpoints": pods.iter().map(endpoint).collect::<Vec<_>>(),
    })
}

fn named(name: &str, ip: &str) -> (String, String) {
    (name.to_owned(), ip.to_owned())
}

/// A restarted API server has forgotten what was missed meanwhile: it says 410, and what is gone
/// is noticed by its absence from the new list.
#[tokio::test]
async fn what_changed_while_nobody_watched_is_caught_up_with() {
    let Some(mut server) = ApiServer::start().await else {
        return;
    };
    let client = server.client();
    shop(&client).await;
    pod(&client, "a", "198.18.64.1").await;
    pod(&client, "b", "198.18.64.2").await;
    service(&client, "stays", &[named("a", "198.18.64.1")]).await;
    service(&client, "goes", &[named("b", "198.18.64.2")]).await;

    let mut registry = Running::start(server.client());
    registry.handle.synced().await;
    registry.endpoints("shop/stays:80", Some(1)).await;
    registry.endpoints("shop/goes:80", Some(1)).await;

    let second = server.second().await;
    server.stop().await;
    let client = second.client();
    let delete = DeleteParams::default();
    let services = Api::<Service>::namespaced(client.clone(), SHOP);
    services.delete("goes", &delete).await.expect("it is there");
    pod(&client, "c", "198.18.64.3").await;
    service(&client, "comes", &[named("c", "198.18.64.3")]).await;
    // What was known stays in force while the API server is away.
    registry.endpoints("shop/goes:80", Some(1)).await;
    server.compact();

    server.resume().await;
    registry.endpoints("shop/goes:80", None).await;
    registry.endpoints("shop/comes:80", Some(1)).await;
    registry.endpoints("shop/stays:80", Some(1)).await;
    let direct: Option<Destination> = registry.look("198.18.64.3:9");
    let meshed = matches!(&direct, Some(Destination::Endpoint { endpoint, .. }) if endpoint.identity.is_some());
    assert!(meshed, "{direct:?}");

    // And the watch goes on.
    let slices = Api::<EndpointSlice>::namespaced(server.client(), SHOP);
    slices
        .delete("stays-1", &delete)
        .await
        .expect("it is there");
    registry.endpoints("shop/stays:80", Some(0)).await;
}

const ROUTES: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/charts/outrigger/crds/gateway.networking.k8s.io_httproutes.yaml"
));

#[tokio::test]
async fn a_kind_that_is_installed_late_is_followed_from_then_on() {
    let Some(server) = ApiServer::start().await else {
        return;
    };
    let client = server.client();
    shop(&client).await;
    service(&client, "cart", &[]).await;
    let mut registry = Running::start(server.client());
    // No CRD is there, and nothing waits for one.
    registry.handle.synced().await;
    registry.endpoints("shop/cart:80", Some(0)).await;

    let crd: CustomResourceDefinition = serde_saphyr::from_str(ROUTES).expect("a CRD");
    let crds = Api::<CustomResourceDefinition>::all(client.clone());
    create(&crds, serde_json::to_value(crd).expect("JSON")).await;
    let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute");
    let resource = ApiResource::from_gvk(&kind);
    let routes = Api::<DynamicObject>::namespaced_with(client.clone(), SHOP, &resource);
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": { "name": "r" },
        "spec": {
            "parentRefs": [{ "group": "", "kind": "Service", "name": "cart", "port": 80 }],
            "rules": [{ "backendRefs": [{ "name": "cart", "port": 80 }] }],
        },
    });
    wait::until("the route is taken", WITHIN, async || {
        let route = serde_json::from_value(route.clone()).expect("an object");
        let created = routes.create(&PostParams::default(), &route).await;
        created.map(drop).map_err(|error| error.to_string())
    })
    .await;
    wait::until("the route is in force", WITHIN, async || {
        let service: Option<model::Service> = registry.look("shop/cart:80");
        let routes = service.map(|service| service.routes.len());
        (routes == Some(1))
            .then_some(())
            .ok_or(format!("{routes:?}"))
    })
    .await;
    assert_eq!(registry.handle.findings().borrow().len(), 1);
}

/// 10,000 endpoints, each a pod of its own, in 1,000 services.
#[tokio::test]
async fn ten_thousand_endpoints_fit_in_200_megabytes() {
    const SERVICES: usize = 1_000;
    const PODS_EACH: usize = 10;
    let Some(server) = ApiServer::start().await else {
        return;
    };
    let client = server.client();
    shop(&client).await;
    let fill = |number: usize| {
        let client = client.clone();
        async move {
            let mut pods = Vec::new();
            for n in 0..PODS_EACH {
                let at = number * PODS_EACH + n;
                let name = format!("service-{number}-{n}");
                let ip = format!("198.18.{}.{}", 64 + at / 250, 1 + at % 250);
                self::pod(&client, &name, &ip).await;
                pods.push((name, ip));
            }
            service(&client, &format!("service-{number}"), &pods).await;
        }
    };
    stream::iter(0..SERVICES)
        .for_each_concurrent(32, fill)
        .await;

    let directory = tempfile::tempdir().expect("a temporary directory");
    let log = std::fs::File::create(directory.path().join("log")).expect("a file");
    let mut controller = tokio::process::Command::new(env!("CARGO_BIN_EXE_outrigger"))
        .args(["controller", "--namespace", SHOP, "--pod", "test"])
        .args(["--listen", "127.0.0.1:0", "--webhook-listen", "127.0.0.1:0"])
        .args(["--admin", "127.0.0.1:0"])
        .env("KUBECONFIG", server.kubeconfig())
        .stdout(log.try_clone().expect("a file"))
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("the controller starts");
    let started = std::time::Instant::now();
    wait::until("the controller serves", WITHIN, async || {
        let log = std::fs::read_to_string(directory.path().join("log")).unwrap_or_default();
        log.contains("serving proxies").then_some(()).ok_or(log)
    })
    .await;
    let took = started.elapsed();
    let used = resident(controller.id().expect("it runs"));
    controller.kill().await.expect("a child of ours");
    eprintln!("{} MB after {took:?}", used / 1_000_000);
    assert!(used < 200_000_000, "{used} bytes");
}
