//! No request is lost by what operators do every day. The client has its sidecar and nothing else:
//! no retries of its own, no preStop hooks anywhere.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt as _, api::DeleteParams};

use crate::harness::{Cluster, Load, Namespace, kubectl, mesh, wait};

/// A server, and a server that is a client too: nginx before nginx.
fn servers() -> String {
    let mut yaml = String::new();
    for (name, location, replicas) in [
        ("back", "return 200 'from the back\\n';", 3),
        (
            "front",
            "proxy_pass http://back; proxy_http_version 1.1; proxy_set_header Connection '';",
            2,
        ),
    ] {
        write!(
            yaml,
            "
apiVersion: v1
kind: ServiceAccount
metadata: {{name: {name}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: {name}}}
data:
  nginx.conf: |
    pid /tmp/nginx.pid;
    error_log /dev/stderr;
    events {{}}
    http {{
      access_log off;
      client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy;
      fastcgi_temp_path /tmp/f; uwsgi_temp_path /tmp/u; scgi_temp_path /tmp/s;
      server {{ listen 8080; listen [::]:8080; location / {{ {location} }} }}
    }}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{app: {name}}}
  ports: [{{name: http, port: 80, targetPort: 8080}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      serviceAccountName: {name}
      containers:
      - name: nginx
        image: docker.io/library/nginx:1.27-alpine
        command: [nginx, -c, /etc/shop/nginx.conf, -g, 'daemon off;']
        readinessProbe: {{httpGet: {{port: 8080, path: /}}, periodSeconds: 1}}
        volumeMounts: [{{name: conf, mountPath: /etc/shop}}]
      volumes: [{{name: conf, configMap: {{name: {name}}}}}]
---
"
        )
        .expect("a String takes everything");
    }
    yaml
}

async fn under_load(namespace: &Namespace) -> Load<'_> {
    namespace.inject().await;
    namespace.apply(&servers()).await;
    for deployment in ["deployment/back", "deployment/front"] {
        namespace.rolled_out(deployment).await;
    }
    Load::start(namespace, "load", "http://front/").await
}

async fn rollout_restart(namespace: &Namespace, deployment: &str) {
    let deployment = format!("deployment/{deployment}");
    kubectl(&["rollout", "restart", &deployment, "-n", &namespace.name]).await;
    namespace.rolled_out(&deployment).await;
}

#[tokio::test]
async fn rollouts_of_server_and_client_lose_no_request() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    let namespace = Namespace::create(&cluster, "rollouts").await;
    let load = under_load(&namespace).await;
    rollout_restart(&namespace, "back").await;
    load.assert_none_failed("a rollout of the server").await;
    rollout_restart(&namespace, "front").await;
    load.assert_none_failed("a rollout of the client").await;
}

#[tokio::test]
async fn scaling_up_and_down_loses_no_request() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    let namespace = Namespace::create(&cluster, "scaling").await;
    let load = under_load(&namespace).await;
    for replicas in ["1", "10", "1"] {
        let replicas = format!("--replicas={replicas}");
        kubectl(&["scale", "deployment/back", &replicas, "-n", &namespace.name]).await;
        namespace.rolled_out("deployment/back").await;
        load.assert_none_failed(&format!("scaling to {replicas}"))
            .await;
    }
}

#[tokio::test]
async fn deleted_and_killed_pods_lose_no_request() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    let namespace = Namespace::create(&cluster, "deletion").await;
    let load = under_load(&namespace).await;
    for (how, grace) in [("deletion", 30), ("a kill", 0)] {
        let pods = namespace.pods("app=back").await;
        let parameters = DeleteParams::default().grace_period(grace);
        namespace
            .api::<Pod>()
            .delete(&pods[0].name_any(), &parameters)
            .await
            .expect("it was just listed");
        namespace.rolled_out("deployment/back").await;
        load.assert_none_failed(how).await;
    }
}

#[tokio::test]
async fn the_controllers_end_loses_no_request() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    let namespace = Namespace::create(&cluster, "controller").await;
    let load = under_load(&namespace).await;

    let controller = "deployment/outrigger-controller";
    kubectl(&["rollout", "restart", controller, "-n", mesh::SYSTEM]).await;
    kubectl(&[
        "rollout",
        "status",
        controller,
        "-n",
        mesh::SYSTEM,
        "--timeout=90s",
    ])
    .await;
    load.assert_none_failed("a rollout of the controller").await;

    // Both at once, without a word; and while there is none, nobody misses it.
    kubectl(&[
        "delete",
        "pods",
        "-n",
        mesh::SYSTEM,
        "-l",
        "app.kubernetes.io/name=outrigger",
        "--force",
        "--grace-period=0",
    ])
    .await;
    load.assert_none_failed("a kill of both controllers").await;
    kubectl(&[
        "rollout",
        "status",
        controller,
        "-n",
        mesh::SYSTEM,
        "--timeout=90s",
    ])
    .await;
    rollout_restart(&namespace, "back").await;
    load.assert_none_failed("a rollout after the controller's return")
        .await;
}

#[tokio::test]
async fn an_upgrade_of_the_chart_loses_no_request() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    let namespace = Namespace::create(&cluster, "upgrade").await;
    let load = under_load(&namespace).await;
    mesh::install_with(&[
        "controller.logLevel=debug",
        "controller.podAnnotations.upgraded=yes",
    ])
    .await;
    load.assert_none_failed("an upgrade of the chart").await;
    mesh::install().await;
    load.assert_none_failed("the way back").await;
}

#[tokio::test]
async fn edits_of_a_routes_weights_lose_no_request() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    let namespace = Namespace::create(&cluster, "weights").await;
    let load = under_load(&namespace).await;
    for (back, front) in [(50, 0), (1, 99), (0, 1), (100, 0)] {
        // The front answers for the back as well, with one hop more.
        namespace
            .apply(&format!(
                "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: split}}
spec:
  parentRefs: [{{group: '', kind: Service, name: front, port: 80}}]
  rules:
  - backendRefs:
    - {{name: back, port: 80, weight: {back}}}
    - {{name: front, port: 80, weight: {front}}}
"
            ))
            .await;
        load.assert_none_failed(&format!("weights of {back} and {front}"))
            .await;
    }
    wait::until("the route is accepted", wait::LONG, async || {
        let route = [
            "get",
            "httproute",
            "split",
            "-n",
            &namespace.name,
            "-o",
            "json",
        ];
        let route = kubectl(&route).await;
        let accepted = route.contains("\"Accepted\"");
        accepted.then_some(()).ok_or(route)
    })
    .await;
}
