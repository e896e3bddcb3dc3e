//! Pods and their sidecars: probes under strict mTLS, Jobs that finish, init containers that need
//! the network, and what the API server says of mistakes.

use std::process::Command;

use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use serde_json::{Value, json};

use crate::harness::{Cluster, Namespace, kubectl, mesh, wait};

/// A server with every kind of probe that Kubernetes has but gRPC's, and a Service.
const WEB: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: docker.io/library/busybox:1.37
        command: [sh, -c, 'echo it-answers >/tmp/index.html; exec httpd -f -p 8080 -h /tmp']
        ports: [{name: http, containerPort: 8080}]
        startupProbe: {exec: {command: [test, -f, /tmp/index.html]}, periodSeconds: 1}
        livenessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
        readinessProbe: {httpGet: {port: http, path: /index.html}, periodSeconds: 1}
";

/// A client without a sidecar.
const STRANGER: &str = "
apiVersion: v1
kind: Pod
metadata:
  name: stranger
  annotations: {outrigger.dev/inject: disabled}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: stranger, image: docker.io/curlimages/curl:8.11.0, command: [sleep, '3600']}
";

/// Annotates the namespace for the pods that are created from now on.
async fn annotate(namespace: &Namespace, annotation: &str) {
    kubectl(&["annotate", "namespace", &namespace.name, annotation]).await;
}

async fn ready(namespace: &Namespace, pod: &str) {
    let pod = format!("pod/{pod}");
    let timeout = format!("--timeout={}s", wait::LONG.as_secs());
    kubectl(&[
        "wait",
        "--for=condition=Ready",
        &pod,
        "-n",
        &namespace.name,
        &timeout,
    ])
    .await;
}

#[tokio::test]
async fn probes_pass_where_plaintext_is_refused() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    let namespace = Namespace::create(&cluster, "probes").await;
    namespace.inject().await;
    annotate(&namespace, "outrigger.dev/mtls=strict").await;
    namespace.apply(WEB).await;
    namespace.apply(STRANGER).await;
    namespace.rolled_out("deployment/web").await;
    ready(&namespace, "stranger").await;

    let pods = namespace.pods("app=web").await;
    let web = pods[0]
        .status
        .as_ref()
        .and_then(|status| status.pod_ip.clone());
    let web = web.expect("it runs");
    let get = |port: u16, path: &str| {
        format!("curl -sS -m5 -o /dev/null -w %{{http_code}} http://{web}:{port}{path}")
    };
    let ask = async |port, path| {
        let line = get(port, path);
        let command: Vec<_> = line.split(' ').collect();
        namespace.exec("stranger", "stranger", &command).await
    };
    let plaintext = ask(8080, "/index.html").await;
    assert!(
        !plaintext.success,
        "strict takes no plaintext: {plaintext:?}"
    );
    // What the proxy has ports for, and for whom.
    assert_eq!(ask(14021, "/probe/web/readiness").await.stdout, "200");
    assert_eq!(ask(14020, "/metrics").await.stdout, "200");
    assert_eq!(ask(14020, "/config").await.stdout, "403");
    for port in [14001, 14006] {
        let own = ask(port, "/").await;
        assert!(!own.success, "a proxy's own port answers: {own:?}");
    }
    let restarts = namespace.pods("app=web").await[0]
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.clone())
        .map(|containers| containers[0].restart_count);
    assert_eq!(restarts, Some(0), "its liveness probe passes");
}

#[tokio::test]
async fn a_probe_fails_as_the_application_does() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    let namespace = Namespace::create(&cluster, "failing-probes").await;
    namespace.inject().await;
    namespace.apply(WEB).await;
    namespace.rolled_out("deployment/web").await;
    let pod = namespace.pod("app=web").await;
    let gone = namespace
        .exec(&pod, "web", &["rm", "/tmp/index.html"])
        .await;
    assert!(gone.success, "{gone:?}");
    wait::until("the pod is no longer ready", wait::LONG, async || {
        let events = kubectl(&["get", "events", "-n", &namespace.name, "-o", "json"]).await;
        match events.contains("Readiness probe failed: HTTP probe failed with statuscode: 404") {
            true => Ok(()),
            false => Err(events),
        }
    })
    .await;
}

/// Each of the Job's pods first needs the network in an init container, then in itself.
fn job(name: &str) -> String {
    format!(
        "
apiVersion: batch/v1
kind: CronJob
metadata: {{name: {name}}}
spec:
  schedule: '0 0 1 1 *'
  jobTemplate:
    spec:
      backoffLimit: 0
      template:
        metadata: {{labels: {{app: {name}}}}}
        spec:
          restartPolicy: Never
          initContainers:
          - name: fetch
            image: docker.io/curlimages/curl:8.11.0
            command: [curl, -sSf, -m10, http://web/index.html]
          containers:
          - name: work
            image: docker.io/curlimages/curl:8.11.0
            command: [curl, -sSf, -m10, http://web/index.html]
"
    )
}

#[tokio::test]
async fn jobs_finish_and_init_containers_have_the_network() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    let namespace = Namespace::create(&cluster, "jobs").await;
    namespace.inject().await;
    // The server takes mesh TLS alone: whoever reaches it went through a proxy.
    annotate(&namespace, "outrigger.dev/mtls=strict").await;
    namespace.apply(WEB).await;
    namespace.rolled_out("deployment/web").await;
    namespace.apply(&job("tidy")).await;
    kubectl(&[
        "create",
        "job",
        "now",
        "--from=cronjob/tidy",
        "-n",
        &namespace.name,
    ])
    .await;
    let jobs: Api<Job> = namespace.api();
    wait::until("the Job finishes", wait::LONG, async || {
        let status = jobs.get("now").await.expect("it was made").status;
        match status.as_ref().and_then(|status| status.succeeded) {
            Some(1) => Ok(()),
            _ => Err(format!("{status:?}")),
        }
    })
    .await;
    let pod = namespace.pod("app=tidy").await;
    for container in ["fetch", "work"] {
        let log = namespace.logs(&pod, container).await;
        assert!(log.contains("it-answers"), "{container}: {log}");
    }
}

/// What the API server answers to a pod, as kubectl prints it.
async fn dry_run(namespace: &Namespace, name: &str, pod: Value) -> (Result<Value, String>, String) {
    let file = tempfile::Builder::new().suffix(".json").tempfile();
    let file = file.expect("a place for a file");
    let mut pod = pod;
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!(name);
    std::fs::write(file.path(), pod.to_string()).expect("it was just made");
    let path = file.path().display().to_string();
    let arguments = [
        "create",
        "--dry-run=server",
        "-o",
        "json",
        "-n",
        &namespace.name,
        "-f",
        &path,
    ];
    let output = crate::harness::output("kubectl", &arguments).await;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let answer = match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).expect("JSON was asked for")),
        false => Err(stderr.clone()),
    };
    (answer, stderr)
}

fn app() -> Value {
    json!([{"name": "app", "image": "docker.io/library/busybox:1.37"}])
}

fn sidecars(pod: &Value) -> usize {
    pod["spec"]["initContainers"].as_array().map_or(0, Vec::len)
}

#[tokio::test]
async fn mistakes_are_refused_and_what_has_no_effect_is_warned_of() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    let namespace = Namespace::create(&cluster, "mistakes").await;
    let pod = |annotations: Value| json!({"metadata": {"annotations": annotations}, "spec": {"containers": app()}});

    let (answer, _) = dry_run(&namespace, "nobody-asked", pod(json!({}))).await;
    assert_eq!(sidecars(&answer.expect("admitted")), 0);
    namespace.inject().await;

    let (answer, warnings) = dry_run(
        &namespace,
        "typo",
        pod(json!({"outrigger.dev/mtsl": "strict"})),
    )
    .await;
    assert_eq!(sidecars(&answer.expect("admitted")), 2);
    assert!(
        warnings.contains("did you mean outrigger.dev/mtls?"),
        "{warnings}"
    );

    let (answer, _) = dry_run(
        &namespace,
        "wrong",
        pod(json!({"outrigger.dev/mtls": "on"})),
    )
    .await;
    let refused = answer.expect_err("it is no mode");
    assert!(refused.contains("write permissive or strict"), "{refused}");

    let (answer, _) = dry_run(
        &namespace,
        "out",
        pod(json!({"outrigger.dev/inject": "disabled"})),
    )
    .await;
    assert_eq!(sidecars(&answer.expect("admitted")), 0);

    for (name, spec, why) in [
        (
            "node-network",
            json!({"hostNetwork": true, "containers": app()}),
            "hostNetwork",
        ),
        (
            "same-user",
            json!({"securityContext": {"runAsUser": 14014}, "containers": app()}),
            "14014",
        ),
    ] {
        let (answer, warnings) =
            dry_run(&namespace, name, json!({"metadata": {}, "spec": spec})).await;
        assert_eq!(sidecars(&answer.expect("admitted")), 0, "{name}");
        assert!(warnings.contains(why), "{name}: {warnings}");
    }
}

#[tokio::test]
async fn the_command_line_makes_what_the_webhook_makes() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    let namespace = Namespace::create(&cluster, "offline").await;
    namespace.inject().await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "same"},
        "spec": {"containers": [{"name": "app", "image": "a", "readinessProbe": {"tcpSocket": {"port": 80}}}]}});
    let config = kubectl(&[
        "get",
        "configmap",
        "outrigger-config",
        "-n",
        mesh::SYSTEM,
        "-o",
        "jsonpath={.data.config\\.yaml}",
    ])
    .await;
    let files = tempfile::tempdir().expect("a place for files");
    let file = |name: &str, text: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, text).expect("an own folder");
        path
    };
    let (config, manifest) = (
        file("config.yaml", &config),
        file("pod.json", &pod.to_string()),
    );
    let output = Command::new(env!("CARGO_BIN_EXE_outrigger"))
        .args(["inject", "--output", "json", "--config"])
        .arg(&config)
        .arg("-f")
        .arg(&manifest)
        .output()
        .expect("it was built");
    assert!(output.status.success(), "{output:?}");
    let offline: Value = serde_json::from_slice(&output.stdout).expect("JSON was asked for");
    let (online, _) = dry_run(&namespace, "same", pod).await;
    let online = online.expect("admitted");
    let of = |pod: &Value, index: usize, field: &str| {
        pod["spec"]["initContainers"][index][field].clone()
    };
    for (index, name) in ["outrigger-init", "outrigger-proxy"]
        .into_iter()
        .enumerate()
    {
        assert_eq!(of(&online, index, "name"), name);
        for field in ["image", "args", "env", "resources", "securityContext"] {
            assert_eq!(
                of(&online, index, field),
                of(&offline, index, field),
                "{name} {field}"
            );
        }
    }
    let probe = |pod: &Value| pod["spec"]["containers"][0]["readinessProbe"]["httpGet"].clone();
    assert_eq!(probe(&online), probe(&offline));
}

/// What stays in the pod keeps to the strictest Pod Security Standard; the init container, which
/// is gone before the application starts, cannot.
#[tokio::test]
async fn the_proxy_keeps_to_the_restricted_pod_security_standard() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    let namespace = Namespace::create(&cluster, "rights").await;
    namespace.inject().await;
    let context = json!({
        "allowPrivilegeEscalation": false,
        "runAsNonRoot": true,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    let mut pod = json!({"metadata": {}, "spec": {"containers": app()}});
    pod["spec"]["containers"][0]["securityContext"] = context;
    let (injected, _) = dry_run(&namespace, "restricted", pod.clone()).await;
    let injected = injected.expect("admitted");

    let restricted = Namespace::create(&cluster, "restricted").await;
    let labels = [
        "outrigger.dev/webhook=disabled",
        "pod-security.kubernetes.io/enforce=restricted",
    ];
    kubectl(&["label", "namespace", &restricted.name, labels[0], labels[1]]).await;
    pod["spec"]["volumes"] = injected["spec"]["volumes"].clone();
    let init = &injected["spec"]["initContainers"];
    pod["spec"]["initContainers"] = json!([init[1]]);
    let (with_proxy, _) = dry_run(&restricted, "proxy", pod.clone()).await;
    with_proxy.expect("the proxy keeps to the standard");
    pod["spec"]["initContainers"] = json!([init[0]]);
    let (with_init, _) = dry_run(&restricted, "init", pod).await;
    let refused = with_init.expect_err("it runs as root");
    assert!(refused.contains("PodSecurity"), "{refused}");
}
