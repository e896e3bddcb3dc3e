//! What strangers get: nothing. Plaintext at a strict port, callers that a policy does not name,
//! routes of other namespaces, and the mesh's own ports.

use crate::harness::{Cluster, Moody, Namespace, kubectl, mesh, wait};

/// Two callers in the mesh, each with an account of its own, and one outside.
const CALLERS: [&str; 3] = [FRIEND, STRANGER, OUTSIDE];
const FRIEND: &str = "friend";
const STRANGER: &str = "stranger";
const OUTSIDE: &str = "outside";

async fn start_callers(namespace: &Namespace) {
    for name in CALLERS {
        let inject = match name {
            OUTSIDE => "disabled",
            _ => "enabled",
        };
        namespace
            .apply(&format!(
                "
apiVersion: v1
kind: ServiceAccount
metadata: {{name: {name}}}
---
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  annotations: {{outrigger.dev/inject: {inject}}}
spec:
  serviceAccountName: {name}
  terminationGracePeriodSeconds: 0
  containers:
  - {{name: curl, image: docker.io/curlimages/curl:8.11.0, command: [sleep, '3600']}}
"
            ))
            .await;
    }
    for name in CALLERS {
        let pod = format!("pod/{name}");
        let ready = ["wait", "--for=condition=Ready", "--timeout=90s", &pod];
        kubectl(&[&ready[..], &["-n", &namespace.name]].concat()).await;
    }
}

/// What curl was answered: the status, and why, where a proxy refused. The status is 000 where
/// the connection was.
async fn curl(namespace: &Namespace, caller: &str, arguments: &[&str]) -> String {
    let common = "curl -s -k -m 10 -o /dev/null -w %{http_code}_%header{outrigger-reason}";
    let command: Vec<_> = common.split(' ').chain(arguments.iter().copied()).collect();
    namespace.exec(caller, "curl", &command).await.stdout
}

/// Waits for a caller to be answered so.
async fn until(namespace: &Namespace, caller: &str, url: &str, expected: &str) {
    let what = format!("{caller} gets {expected} from {url}");
    wait::until(&what, wait::LONG, async || {
        let seen = curl(namespace, caller, &[url]).await;
        if seen == expected { Ok(()) } else { Err(seen) }
    })
    .await;
}

#[tokio::test]
async fn security_strict_refuses_plaintext_and_keeps_probes() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    let namespace = Namespace::create(&cluster, "strict").await;
    namespace.inject().await;
    let back = Moody::start(&namespace, "back", 1).await;
    start_callers(&namespace).await;
    for caller in [FRIEND, OUTSIDE] {
        until(&namespace, caller, "http://back/", "200_").await;
    }

    let strict =
        r#"{"spec":{"template":{"metadata":{"annotations":{"outrigger.dev/mtls":"strict"}}}}}"#;
    let patch = ["patch", "deployment", "back", "--patch", strict];
    kubectl(&[&patch[..], &["-n", &namespace.name]].concat()).await;
    // The rollout ends only when the kubelet's plain probe has passed at the strict pod.
    namespace.rolled_out("deployment/back").await;
    let pod = namespace.pod("app=back").await;
    until(&namespace, OUTSIDE, "http://back/", "000_").await;
    until(&namespace, FRIEND, "http://back/", "200_").await;

    let seen = back.seen(&pod).await;
    for _ in 0..20 {
        let refused = curl(&namespace, OUTSIDE, &["http://back/"]).await;
        assert_eq!(refused, "000_");
    }
    let after = back.seen(&pod).await;
    assert_eq!(after.ok, seen.ok, "the application saw what was refused");
    let log = namespace.logs(&pod, "outrigger-proxy").await;
    assert!(log.contains("plaintext-refused"), "{log}");
    let ready = "jsonpath={.status.conditions[?(@.type=='Ready')].status}";
    let ready = ["get", "pod", &pod, "-n", &namespace.name, "-o", ready];
    assert_eq!(kubectl(&ready).await, "True");
}

/// Lets the friend call the service `back`.
fn policy(namespace: &Namespace, mode: &str) -> String {
    format!(
        "
apiVersion: outrigger.dev/v1alpha1
kind: AccessPolicy
metadata: {{name: back}}
spec:
  mode: {mode}
  targetRefs: [{{group: '', kind: Service, name: back}}]
  rules:
  - from: [{{serviceAccounts: [{}/{FRIEND}]}}]
",
        namespace.name
    )
}

/// The sum of a metric's series in a pod's proxy.
async fn counted(namespace: &Namespace, address: &str, metric: &str) -> f64 {
    let url = format!("http://{address}:14020/metrics");
    let command = ["curl", "-sS", "-m", "10", &url];
    let page = namespace.exec(OUTSIDE, "curl", &command).await.stdout;
    let of_metric = |line: &&str| line.starts_with(&format!("{metric}{{"));
    let value = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
    page.lines().filter(of_metric).filter_map(value).sum()
}

async fn address(namespace: &Namespace, pod: &str) -> String {
    let ip = "jsonpath={.status.podIP}";
    kubectl(&["get", "pod", pod, "-n", &namespace.name, "-o", ip]).await
}

#[tokio::test]
async fn security_access_policies_deny_and_audit_by_account() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    let namespace = Namespace::create(&cluster, "access").await;
    namespace.inject().await;
    let back = Moody::start(&namespace, "back", 1).await;
    start_callers(&namespace).await;
    let pod = namespace.pod("app=back").await;
    let ip = address(&namespace, &pod).await;
    for caller in CALLERS {
        until(&namespace, caller, "http://back/", "200_").await;
    }

    namespace.apply(&policy(&namespace, "enforce")).await;
    for caller in [STRANGER, OUTSIDE] {
        until(&namespace, caller, "http://back/", "403_access-denied").await;
    }
    let seen = back.seen(&pod).await;
    // Who goes round the Service meets the same rules.
    let direct = format!("http://{ip}:8080/");
    for url in ["http://back/", &direct] {
        for caller in [STRANGER, OUTSIDE] {
            let refused = curl(&namespace, caller, &[url]).await;
            assert_eq!(refused, "403_access-denied", "{caller} at {url}");
        }
    }
    let after = back.seen(&pod).await;
    assert_eq!(after.ok, seen.ok, "the application saw what was refused");
    until(&namespace, FRIEND, "http://back/", "200_").await;

    let metric = "outrigger_requests_audited_total";
    assert_eq!(counted(&namespace, &ip, metric).await, 0.0);
    namespace.apply(&policy(&namespace, "audit")).await;
    until(&namespace, STRANGER, "http://back/", "200_").await;
    let before = counted(&namespace, &ip, metric).await;
    assert!(before >= 1.0, "what passed by audit alone is not counted");
    let friends = curl(&namespace, FRIEND, &["http://back/"]).await;
    assert_eq!(friends, "200_");
    assert_eq!(counted(&namespace, &ip, metric).await, before);
    let strangers = curl(&namespace, STRANGER, &["http://back/"]).await;
    assert_eq!(strangers, "200_");
    assert_eq!(counted(&namespace, &ip, metric).await, before + 1.0);
}

#[tokio::test]
async fn security_the_callees_log_names_the_caller() {
    let cluster = Cluster::connect().await;
    mesh::install_with(&["proxy.accessLog=true"]).await;
    let namespace = Namespace::create(&cluster, "log").await;
    namespace.inject().await;
    Moody::start(&namespace, "back", 1).await;
    start_callers(&namespace).await;
    mesh::install().await;
    for caller in [FRIEND, OUTSIDE] {
        let url = format!("http://back/by-{caller}");
        until(&namespace, caller, &url, "200_").await;
    }
    let pod = namespace.pod("app=back").await;
    let friend = format!("spiffe://cluster.local/ns/{}/sa/{FRIEND}", namespace.name);
    for (caller, named) in [(FRIEND, true), (OUTSIDE, false)] {
        wait::until("a line of the access log", wait::LONG, async || {
            let log = namespace.logs(&pod, "outrigger-proxy").await;
            let path = format!("/by-{caller}");
            let mut lines = log.lines();
            let told = lines.any(|line| line.contains(&path) && line.contains(&friend) == named);
            told.then_some(()).ok_or(log)
        })
        .await;
    }
}

#[tokio::test]
async fn security_a_route_of_another_namespace_binds_only_its_own_clients() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    let owner = Namespace::create(&cluster, "owner").await;
    let other = Namespace::create(&cluster, "other").await;
    for namespace in [&owner, &other] {
        namespace.inject().await;
        start_callers(namespace).await;
    }
    Moody::start(&owner, "back", 1).await;
    Moody::start(&other, "decoy", 1).await;
    let url = format!("http://back.{}/", owner.name);
    let answers = async |namespace: &Namespace, caller: &str| {
        let command = ["curl", "-sS", "-m", "10", &url];
        namespace.exec(caller, "curl", &command).await.stdout
    };
    other
        .apply(&format!(
            "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: capture}}
spec:
  parentRefs: [{{group: '', kind: Service, name: back, namespace: {}, port: 80}}]
  rules: [{{backendRefs: [{{name: decoy, port: 80}}]}}]
",
            owner.name
        ))
        .await;
    wait::until(
        "the route is in force for its own",
        wait::LONG,
        async || {
            let answer = answers(&other, FRIEND).await;
            if answer.starts_with("decoy-") {
                Ok(())
            } else {
                Err(answer)
            }
        },
    )
    .await;
    for _ in 0..10 {
        for (namespace, caller) in [(&owner, FRIEND), (&owner, STRANGER), (&other, OUTSIDE)] {
            let answer = answers(namespace, caller).await;
            assert!(answer.starts_with("back-"), "{caller}: {answer}");
        }
    }
}

#[tokio::test]
async fn security_the_proxys_own_ports_refuse_strangers() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    let namespace = Namespace::create(&cluster, "ports").await;
    namespace.inject().await;
    let back = Moody::start(&namespace, "back", 1).await;
    start_callers(&namespace).await;
    until(&namespace, FRIEND, "http://back/", "200_").await;
    let pod = namespace.pod("app=back").await;
    let ip = address(&namespace, &pod).await;
    let seen = back.seen(&pod).await;

    for caller in [FRIEND, OUTSIDE] {
        for port in [14001, 14006] {
            let url = format!("http://{ip}:{port}/");
            // Closed at once: a dial that went round in circles would still be under way.
            let dial = "curl -sS -m 5 -o /dev/null -w %{http_code}_%{exitcode}";
            let dial: Vec<_> = dial.split(' ').chain([url.as_str()]).collect();
            let answer = namespace.exec(caller, "curl", &dial).await.stdout;
            // A caller of the mesh hears of it from its own proxy.
            assert!(
                !answer.starts_with('2') && !answer.ends_with("_28"),
                "{caller} at {url}: {answer}"
            );
        }
    }
    admin_tells_only_health_and_metrics(&namespace, OUTSIDE, &ip).await;
    let after = back.seen(&pod).await;
    assert_eq!(after.ok, seen.ok, "the application saw what was refused");
    // Neither drained nor harmed.
    until(&namespace, FRIEND, "http://back/", "200_").await;
}

async fn admin_tells_only_health_and_metrics(namespace: &Namespace, caller: &str, ip: &str) {
    for (path, expected) in [
        ("live", "200_"),
        ("ready", "200_"),
        ("metrics", "200_"),
        ("config", "403_"),
        ("tap", "403_"),
    ] {
        let url = format!("http://{ip}:14020/{path}");
        let answer = curl(namespace, caller, &[&url]).await;
        assert_eq!(answer, expected, "{caller}: {path}");
    }
    for path in ["drain", "log-level"] {
        let url = format!("http://{ip}:14020/{path}");
        let answer = curl(namespace, caller, &["-d", "debug", &url]).await;
        assert_eq!(answer, "403_", "{caller}: {path}");
    }
}

#[tokio::test]
async fn security_ports_that_bypass_the_sidecar_are_reached_from_the_mesh() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    let namespace = Namespace::create(&cluster, "bypassed").await;
    namespace.inject().await;
    Moody::start(&namespace, "back", 1).await;
    start_callers(&namespace).await;
    let pod = namespace.pod("app=back").await;
    let ip = address(&namespace, &pod).await;
    admin_tells_only_health_and_metrics(&namespace, FRIEND, &ip).await;

    let skip = r#"{"spec":{"template":{"metadata":{"annotations":{"outrigger.dev/skip-inbound-ports":"8080"}}}}}"#;
    let patch = ["patch", "deployment", "back", "--patch", skip];
    kubectl(&[&patch[..], &["-n", &namespace.name]].concat()).await;
    namespace.rolled_out("deployment/back").await;
    namespace.pod("app=back").await;
    for caller in CALLERS {
        until(&namespace, caller, "http://back/", "200_").await;
    }
    let answer = curl(&namespace, FRIEND, &["http://back/"]).await;
    assert_eq!(answer, "200_");
}

#[tokio::test]
async fn security_the_controllers_ports_refuse_strangers() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    let namespace = Namespace::create(&cluster, "controllers").await;
    namespace.inject().await;
    start_callers(&namespace).await;
    let controller = format!("https://outrigger-controller.{}", mesh::SYSTEM);

    // A stream that says nothing, and has no certificate.
    let method = "envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
    let discovery = format!("{controller}:14030/{method}");
    let grpc = "curl -sS -k -m 10 --http2 -X POST -H content-type:application/grpc -H te:trailers";
    let headers = ["-D", "-", "-o", "/dev/null", &discovery];
    let command: Vec<_> = grpc.split(' ').chain(headers).collect();
    for caller in [FRIEND, OUTSIDE] {
        let ran = namespace.exec(caller, "curl", &command).await;
        let refused = ran.stdout.contains("grpc-status: 16");
        assert!(refused, "{caller}: {ran:?}");
    }

    let json = ["-H", "content-type: application/json", "-d"];
    let inject = format!("{controller}/inject");
    for body in ["", "{", "[]", "{\"request\":{\"uid\":7}}"] {
        let post = [&json[..], &[body, &inject]].concat();
        let answer = curl(&namespace, OUTSIDE, &post).await;
        assert!(answer.starts_with('4'), "{body}: {answer}");
    }
    for path in ["", "config", "metrics", "drain"] {
        let url = format!("{controller}/{path}");
        let answer = curl(&namespace, OUTSIDE, &[&url]).await;
        assert!(answer.starts_with('4'), "{path}: {answer}");
    }
    let admin = format!("http://outrigger-controller.{}:14020", mesh::SYSTEM);
    for path in ["config", "drain", "log-level"] {
        let url = format!("{admin}/{path}");
        let answer = curl(&namespace, OUTSIDE, &["-d", "debug", &url]).await;
        assert!(answer.starts_with('4'), "{path}: {answer}");
    }
}
