//! The harness itself, on the bare cluster: when these fail, no other test means anything.

use crate::harness::{Cluster, Namespace, Wire, helm, kubectl, wait};

const SERVER_AND_CLIENT: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: web
    image: docker.io/library/busybox:1.37
    command: [sh, -c, 'echo it-answers >/tmp/index.html; exec httpd -f -vv -p 8080 -h /tmp']
    readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: client}
spec:
  selector: {matchLabels: {app: client}}
  template:
    metadata: {labels: {app: client}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - {name: client, image: docker.io/curlimages/curl:8.11.0, command: [sleep, '3600']}
";

#[tokio::test]
async fn a_pod_runs_and_answers() {
    let cluster = Cluster::connect().await;
    let namespace = Namespace::create(&cluster, "basics").await;
    let mut wire = Wire::tap();
    namespace.apply(SERVER_AND_CLIENT).await;
    namespace.rolled_out("deployment/client").await;
    let client = namespace.pod("app=client").await;

    let request = ["curl", "-sS", "-m2", "http://web/index.html?a-marker"];
    let answer = wait::until("the Service answers", wait::LONG, async || {
        let ran = namespace.exec(&client, "client", &request).await;
        if ran.success {
            Ok(ran.stdout)
        } else {
            Err(ran.stderr)
        }
    })
    .await;
    assert_eq!(answer, "it-answers\n");

    let log = namespace.logs("web", "web").await;
    assert!(log.contains("response:200"), "{log}");
    let [pod] = &namespace.pods("app=client").await[..] else {
        panic!("the client has one pod");
    };
    let address = pod.status.as_ref().and_then(|it| it.pod_ip.as_deref());
    let address = address.expect("it runs").parse().expect("an address");
    if let Some(wire) = &mut wire {
        let seen = wire.take().into_iter().any(|segment| {
            (segment.from.ip(), segment.to.port()) == (address, 8080)
                && contains(&segment.payload, b"index.html?a-marker")
        });
        assert!(seen, "the capture missed a plaintext request");
    }
}

#[tokio::test]
async fn kubectl_and_helm_reach_the_same_cluster() {
    let cluster = Cluster::connect().await;
    let namespace = Namespace::create(&cluster, "programs").await;
    let named = kubectl(&["get", "namespace", &namespace.name, "-o", "name"]).await;
    assert_eq!(named.trim(), format!("namespace/{}", namespace.name));
    let releases = helm(&["list", "--namespace", &namespace.name, "--output", "json"]).await;
    assert_eq!(releases.trim(), "[]");
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
