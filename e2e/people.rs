//! What people type, against a real mesh: check, get, top, tap and diagnose.

use serde_json::Value;

use crate::harness::{Cluster, Namespace, kubectl, mesh, outrigger, wait};

const WEB_AND_CLIENT: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: client}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}]
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
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: client}
spec:
  selector: {matchLabels: {app: client}}
  template:
    metadata: {labels: {app: client}}
    spec:
      serviceAccountName: client
      terminationGracePeriodSeconds: 1
      containers:
      - name: client
        image: docker.io/curlimages/curl:8.11.0
        command: [sh, -c, 'while :; do curl -s -m2 -o /dev/null \"http://web/index.html?secret=1\"; curl -s -m2 -o /dev/null http://web/missing; sleep 0.1; done']
";

const LEFT_OUT: &str = "
apiVersion: v1
kind: Pod
metadata:
  name: left-out
  annotations: {outrigger.dev/inject: disabled}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: app, image: docker.io/curlimages/curl:8.11.0, command: [sleep, '3600']}
";

/// What a command prints with `-o json`, and whether it succeeded.
async fn json(arguments: &[&str]) -> (Value, bool) {
    let ran = outrigger(&[arguments, &["-o", "json"]].concat()).await;
    let value = serde_json::from_str(&ran.stdout);
    let value = value
        .unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{}{}", ran.stdout, ran.stderr));
    (value, ran.success)
}

/// The verdict of one check.
fn verdict<'a>(checked: &'a Value, check: &str) -> &'a str {
    let lines = checked["lines"].as_array().expect("lines");
    let line = lines.iter().find(|line| line["check"] == check);
    let line = line.unwrap_or_else(|| panic!("no line about {check}: {checked:#}"));
    line["verdict"].as_str().expect("a verdict")
}

#[tokio::test]
async fn check_pre_finds_what_would_fail() {
    let cluster = Cluster::connect().await;
    let (checked, _) = json(&["check", "--pre"]).await;
    for check in [
        "kubernetes-version",
        "nodes",
        "native-sidecars",
        "rights",
        "skipped-subnets",
    ] {
        assert_eq!(verdict(&checked, check), "good", "{checked:#}");
    }

    let namespace = Namespace::create(&cluster, "strict").await;
    let level = "pod-security.kubernetes.io/enforce=restricted";
    kubectl(&["label", "namespace", &namespace.name, level]).await;
    let (checked, succeeded) = json(&["check", "--pre", "-n", &namespace.name]).await;
    assert_eq!(verdict(&checked, "pod-security"), "failed", "{checked:#}");
    assert!(!succeeded, "a failed line is a failed command");
}

#[tokio::test]
async fn what_people_ask_a_mesh_is_answered() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    let namespace = Namespace::create(&cluster, "people").await;
    namespace.inject().await;
    namespace.apply(WEB_AND_CLIENT).await;
    namespace.apply(LEFT_OUT).await;
    namespace.rolled_out("deployment/web").await;
    namespace.rolled_out("deployment/client").await;
    let here = ["-n", namespace.name.as_str()];
    let of = |arguments: &[&'static str]| [arguments, &here[..]].concat();

    wait::until("check finds nothing broken", wait::LONG, async || {
        let (checked, succeeded) = json(&["check"]).await;
        match succeeded {
            true => Ok(()),
            false => Err(format!("{checked:#}")),
        }
    })
    .await;

    let (proxies, _) = json(&of(&["get", "proxies"])).await;
    let all = proxies["proxies"].as_array().expect("proxies");
    assert_eq!(all.len(), 2, "{proxies:#}");
    assert!(
        all.iter()
            .all(|proxy| proxy["discovery"]["connected"] == true),
        "{proxies:#}"
    );
    let identity = format!("/ns/{}/sa/client", namespace.name);
    let is_client = |proxy: &Value| {
        proxy["identity"]
            .as_str()
            .is_some_and(|id| id.ends_with(&identity))
    };
    assert!(all.iter().any(is_client), "{proxies:#}");

    let web = format!("{}/web:80", namespace.name);
    wait::until(
        "the client's proxy knows the service",
        wait::LONG,
        async || {
            let (services, _) = json(&of(&["get", "services"])).await;
            let known = services["services"].as_array().is_some_and(|all| {
                all.iter()
                    .any(|one| one["service"] == web.as_str() && one["meshed"] == 1)
            });
            if known {
                Ok(())
            } else {
                Err(format!("{services:#}"))
            }
        },
    )
    .await;
    let (breakers, _) = json(&of(&["get", "breakers"])).await;
    let held = breakers["upstreams"].as_array().expect("upstreams");
    let to_web = held.iter().find(|one| one["upstream"] == web.as_str());
    assert_eq!(
        to_web.expect("in use")["breaker"]["state"],
        "closed",
        "{breakers:#}"
    );

    let (top, _) = json(&of(&["top", "--interval", "3s"])).await;
    let workload = format!("{}/deploy/web", namespace.name);
    let row = top["workloads"]
        .as_array()
        .expect("rows")
        .iter()
        .find(|row| row["workload"] == workload.as_str());
    let row = row.unwrap_or_else(|| panic!("{top:#}"));
    assert!(
        row["rate"].as_f64().is_some_and(|rate| rate > 1.0),
        "{top:#}"
    );
    assert_eq!(row["success"], 1.0, "{top:#}");

    let tapped = outrigger(&of(&[
        "tap",
        "deploy/web",
        "--path",
        "/index",
        "--direction",
        "inbound",
        "--max",
        "3",
        "-o",
        "json",
    ]))
    .await;
    assert!(tapped.success, "{}", tapped.stderr);
    let lines: Vec<Value> = tapped
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 3, "{}", tapped.stdout);
    for line in &lines {
        assert_eq!(
            (&line["path"], &line["status"]),
            (&"/index.html".into(), &200.into())
        );
        assert!(
            line["caller"]
                .as_str()
                .is_some_and(|id| id.ends_with(&identity)),
            "{line:#}"
        );
    }
    assert!(!tapped.stdout.contains("secret"), "{}", tapped.stdout);

    let (well, _) = json(&of(&["diagnose", "deploy/web"])).await;
    let surely = well["causes"]
        .as_array()
        .expect("causes")
        .iter()
        .any(|cause| cause["likely"] == "surely");
    assert!(!surely, "{well:#}");
    let (left_out, _) = json(&of(&["diagnose", "left-out"])).await;
    assert_eq!(left_out["injected"], false);
    let why = left_out["causes"][0]["what"].as_str().expect("a cause");
    assert!(why.contains("its own annotation"), "{left_out:#}");
}
