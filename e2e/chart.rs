//! The chart: installed, upgraded, uninstalled and installed again, under pods that stay injected.

use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString,
    api::{
        admissionregistration::v1::MutatingWebhookConfiguration,
        authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
        core::v1::{Namespace as KubeNamespace, Pod, Secret},
    },
};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, ObjectMeta, PostParams},
};

use crate::harness::{
    Cluster, Namespace, kubectl,
    mesh::{self, SYSTEM},
    wait,
};

/// A server and a client, each injected by its namespace.
const PAIR: &str = "
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
        readinessProbe: {httpGet: {path: /index.html, port: http}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http, appProtocol: http}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: client}
spec:
  selector: {matchLabels: {app: client}}
  template:
    metadata: {labels: {app: client}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: client, image: docker.io/curlimages/curl:8.11.0, command: [sleep, '3600']}
";

/// Comes when there is no mesh.
const LATECOMER: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: latecomer}
spec:
  selector: {matchLabels: {app: latecomer}}
  template:
    metadata: {labels: {app: latecomer}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: latecomer, image: docker.io/library/busybox:1.37, command: [sleep, '3600']}
";

#[tokio::test]
async fn comes_changes_goes_and_comes_back() {
    let cluster = Cluster::connect().await;
    never_was(&cluster).await;
    locked_down_namespace(&cluster).await;
    mesh::install().await;
    quiet_replicas(&cluster).await;

    let namespace = Namespace::create(&cluster, "chart").await;
    namespace.inject().await;
    namespace.apply(PAIR).await;
    namespace.rolled_out("deployment/client").await;
    namespace.rolled_out("deployment/web").await;
    let client = namespace.pod("app=client").await;
    answers(&namespace, &client).await;

    upgraded(&cluster).await;
    answers(&namespace, &client).await;
    let arguments = restarted(&namespace).await.expect("still injected");
    assert!(
        arguments.contains(&"--trace-ratio=0.5".to_owned()),
        "{arguments:?}"
    );
    answers(&namespace, &client).await;

    // Without a mesh the pods that were in it work on, and others come without a proxy.
    let before = issuer(&cluster).await;
    mesh::uninstall().await;
    answers(&namespace, &client).await;
    namespace.apply(LATECOMER).await;
    namespace.rolled_out("deployment/latecomer").await;
    assert_eq!(proxy(&namespace, "app=latecomer").await, None);
    answers(&namespace, &client).await;

    // With the next one they are in it again: it has the same authority.
    mesh::install().await;
    assert_eq!(issuer(&cluster).await, before, "an uninstall loses nothing");
    assert!(restarted(&namespace).await.is_some());
    answers(&namespace, &client).await;
    assert_eq!(client, namespace.pod("app=client").await);
}

/// Two replicas, and no alarming word from them.
async fn quiet_replicas(cluster: &Cluster) {
    let pods = replicas(cluster).await;
    assert_eq!(pods.len(), 2);
    for pod in names(&pods) {
        let log = kubectl(&["logs", "-n", SYSTEM, &pod]).await;
        let alarming = |line: &&str| line.contains("WARN") || line.contains("ERROR");
        let alarming: Vec<_> = log.lines().filter(alarming).collect();
        assert_eq!(alarming, [""; 0], "{pod}");
    }
}

/// Changed values roll the controller; what it wrote itself, Helm leaves alone.
async fn upgraded(cluster: &Cluster) {
    let (before, trusted) = (names(&replicas(cluster).await), ca_bundle(cluster).await);
    mesh::install_with(&["tracing.sampling=0.5", "proxy.logLevel=debug"]).await;
    let after = names(&replicas(cluster).await);
    assert!(after.iter().all(|name| !before.contains(name)), "{after:?}");
    assert_eq!(ca_bundle(cluster).await, trusted);
}

/// Restarts the server, and gives the arguments of its proxy if it has one then.
async fn restarted(namespace: &Namespace) -> Option<Vec<String>> {
    kubectl(&[
        "rollout",
        "restart",
        "deployment/web",
        "-n",
        &namespace.name,
    ])
    .await;
    namespace.rolled_out("deployment/web").await;
    proxy(namespace, "app=web").await
}

/// Takes the release away, and what it leaves behind on purpose.
async fn never_was(cluster: &Cluster) {
    mesh::uninstall().await;
    let delete = ["delete", "--ignore-not-found", "--wait"];
    kubectl(&[&delete[..], &["namespace", SYSTEM]].concat()).await;
    let kinds =
        ["resiliencepolicies", "accesspolicies"].map(|kind| format!("{kind}.outrigger.dev"));
    let [resilience, access] = &kinds;
    kubectl(&[&delete[..], &["crd", resilience, access]].concat()).await;
    let ours = "app.kubernetes.io/managed-by=outrigger-controller";
    kubectl(&["delete", "configmap", "-A", "-l", ours]).await;
    let pods = replicas(cluster).await;
    assert!(pods.is_empty(), "{:?}", names(&pods));
}

/// The controller's pods that are not on their way out.
async fn replicas(cluster: &Cluster) -> Vec<Pod> {
    let ours = ListParams::default().labels("app.kubernetes.io/name=outrigger");
    let pods = Api::<Pod>::namespaced(cluster.client.clone(), SYSTEM);
    let mut pods = pods.list(&ours).await.expect("pods can be listed").items;
    pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
    pods
}

/// The issuer that signs for the mesh.
async fn issuer(cluster: &Cluster) -> Option<BTreeMap<String, ByteString>> {
    let secrets = Api::<Secret>::namespaced(cluster.client.clone(), SYSTEM);
    secrets
        .get("outrigger-ca")
        .await
        .expect("the controller made it")
        .data
}

/// The install namespace, with the strictest Pod Security Standard enforced.
async fn locked_down_namespace(cluster: &Cluster) {
    let label = ("pod-security.kubernetes.io/enforce", "restricted");
    let resource = KubeNamespace {
        metadata: ObjectMeta {
            name: Some(SYSTEM.into()),
            labels: Some([(label.0.to_owned(), label.1.to_owned())].into()),
            ..ObjectMeta::default()
        },
        ..KubeNamespace::default()
    };
    let namespaces = Api::all(cluster.client.clone());
    let made = namespaces.create(&PostParams::default(), &resource).await;
    made.expect("it is not there");
}

async fn answers(namespace: &Namespace, client: &str) {
    let request = [
        "curl",
        "-sS",
        "-m5",
        "--fail-with-body",
        "http://web/index.html",
    ];
    let answer = wait::until("the server answers its client", wait::LONG, async || {
        let ran = namespace.exec(client, "client", &request).await;
        match ran.success {
            true => Ok(ran.stdout),
            false => Err(format!("{}{}", ran.stdout, ran.stderr)),
        }
    });
    assert_eq!(answer.await, "it-answers\n");
}

async fn ca_bundle(cluster: &Cluster) -> ByteString {
    let webhooks = Api::<MutatingWebhookConfiguration>::all(cluster.client.clone());
    let injector = webhooks
        .get("outrigger-injector")
        .await
        .expect("the chart has it");
    let webhook = injector
        .webhooks
        .unwrap_or_default()
        .pop()
        .expect("one webhook");
    webhook
        .client_config
        .ca_bundle
        .expect("the leader writes it")
}

fn names(pods: &[Pod]) -> Vec<String> {
    pods.iter().map(|pod| pod.name_any()).collect()
}

/// The arguments of a pod's proxy, if it has one.
async fn proxy(namespace: &Namespace, labels: &str) -> Option<Vec<String>> {
    let name = namespace.pod(labels).await;
    let pod = namespace.api::<Pod>().get(&name).await;
    let spec = pod.expect("it was there").spec.expect("a pod has a spec");
    let mut containers = spec.init_containers.into_iter().flatten();
    let proxy = containers.find(|container| container.name == "outrigger-proxy");
    proxy.and_then(|proxy| proxy.args)
}

/// Verb, group, resource (with subresource), namespace (empty for the cluster's own), name.
type Question = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

const MAY: [Question; 8] = [
    ("watch", "", "pods", "", ""),
    (
        "patch",
        "outrigger.dev",
        "accesspolicies/status",
        "shop",
        "x",
    ),
    ("create", "authentication.k8s.io", "tokenreviews", "", ""),
    ("get", "", "secrets", SYSTEM, "outrigger-ca"),
    ("patch", "", "configmaps", "shop", "outrigger-roots"),
    ("create", "", "configmaps", "shop", "outrigger-roots"),
    (
        "update",
        "coordination.k8s.io",
        "leases",
        SYSTEM,
        "outrigger-controller",
    ),
    (
        "patch",
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
        "",
        "outrigger-injector",
    ),
];

const MAY_NOT: [Question; 24] = [
    // Nobody's secrets.
    ("get", "", "secrets", SYSTEM, "another"),
    ("list", "", "secrets", SYSTEM, ""),
    ("watch", "", "secrets", "", ""),
    ("get", "", "secrets", "kube-system", "outrigger-ca"),
    ("create", "", "secrets", "shop", "outrigger-ca"),
    ("delete", "", "secrets", SYSTEM, "outrigger-ca"),
    ("create", "", "serviceaccounts/token", "shop", "web"),
    // Nobody's workloads.
    ("create", "", "pods", SYSTEM, ""),
    ("patch", "", "pods", "shop", "x"),
    ("delete", "", "pods", "shop", "x"),
    ("create", "", "pods/exec", "shop", "x"),
    ("get", "", "nodes/proxy", "", "x"),
    (
        "update",
        "apps",
        "deployments",
        SYSTEM,
        "outrigger-controller",
    ),
    // Nobody's configuration.
    ("get", "", "configmaps", "shop", "another"),
    ("list", "", "configmaps", "shop", ""),
    ("create", "", "configmaps", "shop", ""),
    ("delete", "", "configmaps", "shop", "outrigger-roots"),
    ("patch", "outrigger.dev", "accesspolicies", "shop", "x"),
    (
        "patch",
        "gateway.networking.k8s.io",
        "httproutes",
        "shop",
        "x",
    ),
    ("patch", "discovery.k8s.io", "endpointslices", "shop", "x"),
    // Nobody's rights.
    (
        "patch",
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
        "",
        "another",
    ),
    (
        "create",
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
        "",
        "",
    ),
    (
        "create",
        "rbac.authorization.k8s.io",
        "clusterrolebindings",
        "",
        "",
    ),
    ("impersonate", "", "users", "", ""),
];

#[tokio::test]
async fn the_controllers_rights_are_its_tasks() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    for question in MAY {
        assert!(may(&cluster, question).await, "it must: {question:?}");
    }
    for question in MAY_NOT {
        assert!(!may(&cluster, question).await, "it must not: {question:?}");
    }
}

/// The API server's word on it, for the controller's service account.
async fn may(cluster: &Cluster, (verb, group, resource, namespace, name): Question) -> bool {
    let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let accounts = ["system:serviceaccounts", "system:authenticated"].map(str::to_owned);
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(format!(
                "system:serviceaccount:{SYSTEM}:outrigger-controller"
            )),
            groups: Some([&accounts[..], &[format!("system:serviceaccounts:{SYSTEM}")]].concat()),
            resource_attributes: Some(ResourceAttributes {
                verb: said(verb),
                group: said(group),
                resource: said(resource),
                subresource: said(subresource),
                namespace: said(namespace),
                name: said(name),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews = Api::all(cluster.client.clone());
    let review = reviews.create(&PostParams::default(), &review).await;
    let status = review.expect("the API server answers").status;
    status.is_some_and(|status| status.allowed)
}
