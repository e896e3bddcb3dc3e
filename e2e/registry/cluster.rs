//! The registry beside a whole cluster: real pods, and slices as Kubernetes makes them.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Pod, Service};
use outrigger::discovery::model::{Destination, Endpoint, Endpoints, Protocol};

use super::running::{Running, WITHIN};
use crate::harness::{Cluster, Namespace, kubectl, wait};

const WEB: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    # What injection would say of it: the registry believes the label.
    metadata: {labels: {app: web, outrigger.dev/injected: 'true'}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: docker.io/library/busybox:1.37
        command: [sh, -c, 'exec httpd -f -p 8080 -h /tmp']
        ports: [{name: main, containerPort: 8080}]
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  ipFamilyPolicy: PreferDualStack
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: main}]
---
apiVersion: v1
kind: Service
metadata: {name: web-headless}
spec:
  clusterIP: None
  selector: {app: web}
  ports: [{name: grpc, port: 8080}]
";

#[tokio::test]
async fn pods_come_and_go_as_endpoints() {
    let cluster = Cluster::connect().await;
    let namespace = Namespace::create(&cluster, "registry").await;
    let mut registry = Running::start(cluster.client.clone());
    registry.handle.synced().await;
    namespace.apply(WEB).await;
    namespace.rolled_out("deployment/web").await;
    let [web, headless] =
        ["web:80", "web-headless:8080"].map(|it| format!("{}/{it}", namespace.name));
    registry.endpoints(&web, Some(2)).await;
    registry.endpoints(&headless, Some(2)).await;

    let service = namespace
        .api::<Service>()
        .get("web")
        .await
        .expect("it is applied");
    let addresses = service.spec.and_then(|spec| spec.cluster_ips);
    for ip in addresses.expect("it has addresses") {
        let ip: IpAddr = ip.parse().expect("an address");
        let found = registry.look(&format!("{}", std::net::SocketAddr::new(ip, 80)));
        let key = web.parse().expect("a key");
        assert_eq!(found, Some(Destination::Service(key)), "{ip}");
    }
    let told: outrigger::discovery::model::Service = registry.look(&headless).expect("it is there");
    assert_eq!(told.protocol, Protocol::Http2);

    let pods = namespace.pods("app=web").await;
    let ips: Vec<IpAddr> = pods.iter().flat_map(ips_of).collect();
    let identity = format!("spiffe://cluster.local/ns/{}/sa/default", namespace.name);
    let meshed = |endpoint: &Endpoint| {
        endpoint
            .identity
            .as_ref()
            .is_some_and(|id| id.as_str() == identity)
    };
    let endpoints: Endpoints = registry.look(&web).expect("it is there");
    for endpoint in &endpoints.endpoints {
        assert!(
            ips.contains(&endpoint.addr.ip()) && endpoint.addr.port() == 8080,
            "{endpoint:?}"
        );
        assert!(meshed(endpoint), "{endpoint:?}");
    }
    // Dialled directly, by either family: on the port that Services name, and on any other.
    for (ip, port, named) in ips.iter().flat_map(|ip| [(ip, 8080, true), (ip, 9, false)]) {
        let addr = std::net::SocketAddr::new(*ip, port).to_string();
        match registry.look(&addr) {
            Some(Destination::Endpoint { service, endpoint }) => {
                assert!(
                    meshed(&endpoint) && service.is_some() == named,
                    "{addr}: {service:?}"
                );
            }
            other => panic!("{addr}: {other:?}"),
        }
    }

    kubectl(&[
        "-n",
        &namespace.name,
        "scale",
        "deployment/web",
        "--replicas=0",
    ])
    .await;
    registry.endpoints(&web, Some(0)).await;
    wait::until("their addresses stand for nothing", WITHIN, async || {
        let left = ips.iter().find(|ip| {
            let addr = std::net::SocketAddr::new(**ip, 8080).to_string();
            registry.look::<Destination>(&addr).is_some()
        });
        left.map_or(Ok(()), |ip| Err(ip.to_string()))
    })
    .await;
}

fn ips_of(pod: &Pod) -> Vec<IpAddr> {
    let ips = pod
        .status
        .as_ref()
        .and_then(|status| status.pod_ips.as_ref());
    let ips = ips.into_iter().flatten();
    ips.map(|ip| ip.ip.parse().expect("an address")).collect()
}
