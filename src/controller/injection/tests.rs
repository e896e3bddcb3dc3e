//! Whole pods: what comes out, as a person reads it, and that a second time changes nothing.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{pod::Injection, *};
use crate::controller::kubernetes::config::MeshConfig;

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

fn mesh() -> MeshConfig {
    let mut mesh = MeshConfig::default();
    mesh.injection.image = "registry.test/outrigger:1".into();
    mesh
}

fn enabled() -> Annotations {
    let inject = (format!("{GROUP}inject"), "enabled".to_owned());
    [inject].into()
}

fn injected(pod: &Value) -> Injection {
    inject(pod, &enabled(), &mesh()).unwrap()
}

/// The pod that came out and its warnings, as YAML.
fn shown(injection: Injection) -> String {
    let pod = injection.pod.expect("it is injected");
    let text = serde_saphyr::to_string(&pod).unwrap();
    let word = regex::Regex::new("(/(?:pre-stop|post-start)/)[0-9a-f]{32}").unwrap();
    let mut text = word.replace_all(&text, "${1}WORD").into_owned();
    for warning in injection.warnings {
        text.push_str(&format!("# {warning}\n"));
    }
    text
}

#[test]
fn a_plain_pod() {
    let pod = yaml("{metadata: {name: cart}, spec: {containers: [{name: app, image: cart}]}}");
    insta::assert_snapshot!(shown(injected(&pod)));
}

#[test]
fn a_pod_with_all_there_is() {
    let pod = yaml(
        r#"
metadata:
  name: cart
  labels: {app: cart}
  annotations:
    outrigger.dev/skip-inbound-ports: 9090,8000-8099
    outrigger.dev/skip-outbound-ports: "25"
    outrigger.dev/skip-inbound-subnets: 192.0.2.0/24
    outrigger.dev/skip-outbound-subnets: 169.254.169.254
    outrigger.dev/opaque-ports: "3306"
    outrigger.dev/proxy-cpu-limit: "2"
    outrigger.dev/proxy-memory-limit: 256Mi
    outrigger.dev/log-level: info,outrigger::proxy=debug
    outrigger.dev/trace-sampling: "0.5"
    outrigger.dev/mtls: strict
    outrigger.dev/loglevel: debug
spec:
  dnsPolicy: None
  newerThanThisProgram: {kept: true}
  securityContext: {runAsUser: 1000, runAsNonRoot: true}
  imagePullSecrets: [{name: own}]
  initContainers:
  - name: migrate
    image: cart
  - name: helper
    image: helper
    restartPolicy: Always
    startupProbe: {tcpSocket: {port: 7000}}
  containers:
  - name: app
    image: cart
    ports: [{name: web, containerPort: 8080}]
    livenessProbe: {httpGet: {port: web, path: /live, httpHeaders: [{name: X-Cost, value: $(HOME) $5}]}, periodSeconds: 5}
    readinessProbe: {grpc: {port: 9000, service: cart}, timeoutSeconds: 3}
    startupProbe: {exec: {command: [check]}}
    lifecycle: {preStop: {httpGet: {port: 8080, path: /quit}}}
  volumes:
  - name: data
    emptyDir: {}
"#,
    );
    let mut mesh = mesh();
    mesh.trust_domain = "mesh.test".into();
    mesh.injection.controller_namespace = "mesh-system".into();
    mesh.injection.image_pull_secrets = vec!["pull".into()];
    mesh.injection.otlp_endpoint = Some("http://collector.obs:4317".into());
    mesh.injection.log_format = LogFormat::Json;
    mesh.injection.access_log = true;
    insta::assert_snapshot!(shown(inject(&pod, &enabled(), &mesh).unwrap()));
}

#[test]
fn nothing_happens_unless_somebody_asks_for_it() {
    let mut pod = json!({"metadata": {}, "spec": {"containers": [{"name": "app"}]}});
    let untouched = Injection {
        pod: None,
        warnings: Vec::new(),
        asked: false,
    };
    let nobody = Annotations::new();
    assert_eq!(inject(&pod, &nobody, &mesh()), Ok(untouched.clone()));
    pod["metadata"]["annotations"] = json!({"outrigger.dev/inject": "disabled"});
    assert_eq!(injected(&pod), untouched);
    pod["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "hash"});
    assert_eq!(injected(&pod), untouched);
}

#[test]
fn who_is_left_alone_hears_why() {
    let pod = yaml("{metadata: {}, spec: {hostNetwork: true, containers: [{name: app}]}}");
    let injection = injected(&pod);
    assert_eq!(injection.pod, None);
    let [warning] = &injection.warnings[..] else {
        panic!("{injection:?}");
    };
    assert!(
        warning.starts_with("not injected: it uses the node's network"),
        "{warning}"
    );
}

#[test]
fn a_mistake_refuses_the_pod_only_where_it_would_be_injected() {
    let mut pod = yaml("{metadata: {}, spec: {containers: [{name: app}]}}");
    pod["metadata"]["annotations"] = json!({"outrigger.dev/mtls": "on"});
    assert!(inject(&pod, &enabled(), &mesh()).is_err());
    assert!(inject(&pod, &Annotations::new(), &mesh()).is_ok());
    assert!(inject(&json!({"spec": 3}), &enabled(), &mesh()).is_err());
}

#[test]
fn every_kind_that_runs_pods_is_injected() {
    let pod = json!({"metadata": {}, "spec": {"containers": [{"name": "app"}]}});
    let expected = injected(&pod).pod.unwrap();
    let objects = [
        (
            json!({"kind": "Deployment", "spec": {"template": pod}}),
            "/spec/template",
        ),
        (
            json!({"kind": "Job", "spec": {"template": pod}}),
            "/spec/template",
        ),
        (
            json!({"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": pod}}}}),
            "/spec/jobTemplate/spec/template",
        ),
    ];
    for (object, path) in objects {
        let out = inject_object(&object, &enabled(), &mesh()).unwrap();
        assert_eq!(out.pod.unwrap().pointer(path), Some(&expected), "{object}");
    }
    let service = json!({"kind": "Service", "spec": {}});
    assert_eq!(
        inject_object(&service, &enabled(), &mesh()).unwrap().pod,
        None
    );
}

#[test]
fn annotations_of_the_object_instead_of_its_template_are_named() {
    let pod = json!({"metadata": {}, "spec": {"containers": [{"name": "app"}]}});
    let metadata = json!({"annotations": {
        "outrigger.dev/mtls": "strict",
        "outrigger.dev/other": "",
        "kubectl.kubernetes.io/restartedAt": "now",
    }});
    let object = json!({"kind": "Deployment", "metadata": metadata, "spec": {"template": pod}});
    for namespace in [enabled(), Annotations::new()] {
        let warnings = inject_object(&object, &namespace, &mesh())
            .unwrap()
            .warnings;
        let [warning] = &warnings[..] else {
            panic!("{warnings:?}");
        };
        assert!(
            warning.starts_with("outrigger.dev/mtls is an annotation of the Deployment")
                && warning.contains("pod template"),
            "{warning}"
        );
    }
}

#[test]
fn a_pod_without_containers_is_refused() {
    let pod = json!({"metadata": {}, "spec": {"containers": []}});
    let refused = inject(&pod, &enabled(), &mesh()).unwrap_err().to_string();
    assert!(refused.contains("spec.containers"), "{refused}");
}

#[test]
fn the_names_of_what_is_added_are_not_taken_from_the_application() {
    let app = json!([{"name": "app"}]);
    let image = "registry.test/other";
    for (spec, what) in [
        (
            json!({"containers": [{"name": "outrigger-proxy", "args": ["proxy"]}]}),
            "container outrigger-proxy",
        ),
        (
            json!({"containers": app, "initContainers": [{"name": "outrigger-init", "image": image}]}),
            "container outrigger-init",
        ),
        (
            json!({"containers": app, "volumes": [{"name": "outrigger-state", "emptyDir": {}}]}),
            "volume outrigger-state",
        ),
        (
            json!({"containers": app, "volumes": [{"name": "outrigger-token", "secret": {"secretName": "a"}}]}),
            "volume outrigger-token",
        ),
        (
            json!({"containers": app, "volumes": [{"name": "outrigger-roots", "configMap": {"name": "a"}}]}),
            "volume outrigger-roots",
        ),
    ] {
        let pod = json!({"spec": spec});
        let refused = inject(&pod, &enabled(), &mesh()).unwrap_err().to_string();
        assert!(
            refused.contains(what) && refused.contains("rename"),
            "{refused}"
        );
    }
}

/// As `kubectl debug --copy-to` makes one: without the labels.
#[test]
fn a_copy_of_an_injected_pod_is_injected_again() {
    let pod = yaml("{metadata: {name: cart}, spec: {containers: [{name: app}]}}");
    let injected_once = injected(&pod).pod.unwrap();
    let mut copy = injected_once.clone();
    copy["metadata"]["labels"] = json!({});
    assert_eq!(injected(&copy).pod, Some(injected_once));
}

/// What other webhooks add between two calls is taken in at the second.
#[test]
fn a_container_that_came_later_is_checked_through_the_proxy_too() {
    let pod = yaml(
        "{metadata: {}, spec: {containers: [{name: app, livenessProbe: {tcpSocket: {port: 80}}}]}}",
    );
    let mut pod = injected(&pod).pod.unwrap();
    let late = json!({"name": "late", "readinessProbe": {"tcpSocket": {"port": 81}}});
    pod["spec"]["containers"].as_array_mut().unwrap().push(late);
    let first = json!({"name": "first"});
    pod["spec"]["initContainers"]
        .as_array_mut()
        .unwrap()
        .insert(0, first);
    let pod = injected(&pod).pod.unwrap();
    let init = pod["spec"]["initContainers"].as_array().unwrap();
    let names: Vec<_> = init.iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["outrigger-init", "outrigger-proxy", "first"]);
    let probes = containers::known_probes(init);
    let paths: Vec<_> = probes.keys().collect();
    assert_eq!(paths, ["/probe/app/liveness", "/probe/late/readiness"]);
}

/// Some of what a container may say about its health, valid or not.
fn probe() -> impl Strategy<Value = Value> {
    let port = prop_oneof![
        (0u32..70_000).prop_map(Value::from),
        "web|[a-z$(){}\"]{0,6}".prop_map(Value::from)
    ];
    (port, "[ -~]{0,12}", 0u32..3, 0usize..4).prop_map(|(port, text, timeout, kind)| {
        let handler = match kind {
            0 => json!({"httpGet": {"port": port, "path": text, "httpHeaders": [{"name": "a", "value": text}]}}),
            1 => json!({"tcpSocket": {"port": port}}),
            2 => json!({"grpc": {"port": port, "service": text}}),
            _ => json!({"exec": {"command": [text]}}),
        };
        let mut probe = handler;
        probe["timeoutSeconds"] = timeout.into();
        probe
    })
}

fn container() -> impl Strategy<Value = Value> {
    let check = || proptest::option::of(probe());
    ("[a-z]{1,4}", check(), check(), check()).prop_map(|(name, liveness, readiness, stop)| {
        let mut container = json!({"name": name, "ports": [{"name": "web", "containerPort": 80}]});
        for (field, probe) in [("livenessProbe", liveness), ("readinessProbe", readiness)] {
            if let Some(probe) = probe {
                container[field] = probe;
            }
        }
        if let Some(stop) = stop {
            container["lifecycle"] = json!({"preStop": stop});
        }
        container
    })
}

prop_compose! {
    fn a_pod()(
        init in proptest::collection::vec(container(), 0..3),
        containers in proptest::collection::vec(container(), 1..3),
        volumes in proptest::collection::vec("[a-z]{1,4}", 0..3),
        annotations in proptest::collection::btree_map(
            "outrigger.dev/(opaque-ports|log-level|mtls|[a-z]{3})",
            "strict|debug|[0-9]{1,4}|[ -~]{0,8}",
            0..3,
        ),
        given in 0u8..8,
    ) -> Value {
        let mut spec = json!({"containers": containers});
        if given & 1 != 0 {
            spec["initContainers"] = init.into();
        }
        if given & 2 != 0 {
            let volumes: Vec<_> = volumes.iter().map(|name| json!({"name": name})).collect();
            spec["volumes"] = volumes.into();
        }
        let metadata = if given & 4 != 0 { json!({"annotations": annotations}) } else { Value::Null };
        match metadata {
            Value::Null => json!({"spec": spec}),
            metadata => json!({"metadata": metadata, "spec": spec}),
        }
    }
}

proptest! {
    /// Names of containers are unique in a pod; here they need not be, and nothing may break.
    #[test]
    fn a_second_time_changes_nothing(pod in a_pod()) {
        let Ok(first) = inject(&pod, &enabled(), &mesh()) else { return Ok(()) };
        let Some(first) = first.pod else { return Ok(()) };
        let second = inject(&first, &enabled(), &mesh()).unwrap();
        prop_assert_eq!(second.pod.as_ref(), Some(&first));
    }
}
