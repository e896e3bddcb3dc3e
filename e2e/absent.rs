//! No controller: the running carry on, the restarted start from what they kept, the new wait and
//! say so.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::harness::{Cluster, Load, Moody, Namespace, kubectl, mesh, wait};

/// A pod whose proxy its application can kill, and one that is injected and not yet started.
const PODS: &str = "
apiVersion: v1
kind: Pod
metadata:
  name: kept
  labels: {app: kept}
  annotations: {outrigger.dev/mtls: strict}
spec:
  terminationGracePeriodSeconds: 0
  shareProcessNamespace: true
  containers:
  - name: app
    image: docker.io/library/busybox:1.37
    command: [sh, -c, 'echo it-answers >/tmp/index.html; exec httpd -f -p 8080 -h /tmp']
    readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: kept}
spec:
  selector: {app: kept}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Pod
metadata: {name: late}
spec:
  terminationGracePeriodSeconds: 0
  schedulingGates: [{name: test.outrigger.dev/later}]
  containers:
  - {name: app, image: docker.io/library/busybox:1.37, command: [sleep, '3600']}
";

#[tokio::test]
async fn absent_controllers_are_not_missed_by_what_runs() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    let namespace = Namespace::create(&cluster, "absent").await;
    namespace.inject().await;
    namespace.apply(PODS).await;
    Moody::start(&namespace, "back", 2).await;
    let load = Load::start(&namespace, "load", "http://back/").await;
    both_ways(&namespace).await;

    let absence = mesh::Absence::begin().await;
    load.assert_none_failed("the controller's absence").await;

    let kill = ["sh", "-c", "kill -9 $(pidof outrigger)"];
    let ran = namespace.exec("kept", "app", &kill).await;
    assert!(ran.success, "{ran:?}");
    wait::until("the proxy is up again", wait::LONG, async || {
        let proxy = proxy(&namespace, "kept").await;
        let up = proxy.restart_count == 1 && proxy.started == Some(true);
        up.then_some(()).ok_or_else(|| format!("{proxy:?}"))
    })
    .await;
    both_ways(&namespace).await;

    // A pod that would have no proxy is not created, one whose proxy knows nothing does not start.
    let scale = ["scale", "deployment/back", "--replicas=3"];
    kubectl(&[&scale[..], &["-n", &namespace.name]].concat()).await;
    said(&namespace, "ReplicaSet", "injector.outrigger.dev").await;
    let ungate = r#"[{"op":"remove","path":"/spec/schedulingGates"}]"#;
    let patch = ["patch", "pod", "late", "--type=json", "--patch", ungate];
    kubectl(&[&patch[..], &["-n", &namespace.name]].concat()).await;
    said(&namespace, "Pod", "waiting for").await;
    assert_eq!(proxy(&namespace, "late").await.started, Some(false));

    absence.end().await;
    namespace.rolled_out("deployment/back").await;
    let ready = ["wait", "pod/late", "--for=condition=Ready", "--timeout=90s"];
    kubectl(&[&ready[..], &["-n", &namespace.name]].concat()).await;
    load.assert_none_failed("the controller's absence and return")
        .await;
}

/// The pod whose proxy is killed, as client and as server.
async fn both_ways(namespace: &Namespace) {
    let answers = async |pod, container, command: &[&str], part: &str| {
        wait::until(&format!("{pod} is answered"), wait::LONG, async || {
            let ran = namespace.try_exec(pod, container, command).await?;
            let found = ran.success && ran.stdout.contains(part);
            found.then_some(()).ok_or_else(|| format!("{ran:?}"))
        })
        .await;
    };
    let wget = ["wget", "-q", "-T", "5", "-O", "-", "http://back/"];
    answers("kept", "app", &wget, "is well").await;
    let get = "import urllib.request as u; print(u.urlopen('http://kept/', timeout=5).read())";
    answers("load", "load", &["python3", "-c", get], "it-answers").await;
}

async fn proxy(namespace: &Namespace, pod: &str) -> ContainerStatus {
    let pod = namespace.api::<Pod>().get(pod).await.expect("it is there");
    let statuses = pod.status.and_then(|it| it.init_container_statuses);
    let proxy = |status: &ContainerStatus| status.name == "outrigger-proxy";
    let found = statuses.into_iter().flatten().find(proxy);
    found.expect("it is injected")
}

/// Waits for an event of this kind of object with this text in it.
async fn said(namespace: &Namespace, kind: &str, part: &str) {
    let what = format!("an event of a {kind} says {part}");
    wait::until(&what, wait::LONG, async || {
        let kind = format!("involvedObject.kind={kind}");
        let message = "jsonpath={range .items[*]}{.message}{'\\n'}{end}";
        let events = ["get", "events", "--field-selector", &kind, "-o", message];
        let events = kubectl(&[&events[..], &["-n", &namespace.name]].concat()).await;
        if events.contains(part) {
            Ok(())
        } else {
            Err(events)
        }
    })
    .await;
}
