//! Asks the API server for what a check before the install needs to know. What cannot be had is
//! a fact too; only a cluster that does not answer at all is an error.

use std::net::IpAddr;

use anyhow::anyhow;
use futures_util::{StreamExt, future::join_all};
use k8s_openapi::{
    api::{
        admissionregistration::v1::MutatingWebhookConfiguration,
        authorization::v1::{
            ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
        },
        core::v1::{Namespace as KubeNamespace, Node as KubeNode, Pod},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, PostParams},
};

use super::{
    facts::{Facts, GatewayCrd, Namespace, Node, Right, Server},
    trial,
};
use crate::cli::cluster::{
    Cluster, ClusterArgs, Fact, Progress, USUAL_INSTALL_NAMESPACE, explain, installs, list,
};

/// Questions to the API server under way at once.
const AT_ONCE: usize = 8;
/// Pods whose addresses are looked at: enough to see where the cluster's addresses are.
const SOME_PODS: u32 = 500;
/// Namespaces in which a trial is made.
const MAX_TRIALS: usize = 50;

/// What the chart creates: verb is always create. The empty group is the core's.
const CREATES: [(&str, &str, bool); 16] = [
    ("", "namespaces", false),
    ("apiextensions.k8s.io", "customresourcedefinitions", false),
    ("rbac.authorization.k8s.io", "clusterroles", false),
    ("rbac.authorization.k8s.io", "clusterrolebindings", false),
    (
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
        false,
    ),
    (
        "admissionregistration.k8s.io",
        "validatingwebhookconfigurations",
        false,
    ),
    ("apps", "deployments", true),
    ("", "services", true),
    ("", "serviceaccounts", true),
    ("", "configmaps", true),
    ("", "secrets", true),
    ("rbac.authorization.k8s.io", "roles", true),
    ("rbac.authorization.k8s.io", "rolebindings", true),
    ("policy", "poddisruptionbudgets", true),
    ("networking.k8s.io", "networkpolicies", true),
    ("coordination.k8s.io", "leases", true),
];

/// # Errors
/// When the API server cannot be reached.
pub async fn gather(
    cluster: &Cluster,
    args: &ClusterArgs,
    progress: &Progress,
) -> anyhow::Result<Facts> {
    let client = &cluster.client;
    progress.step("asking the API server");
    let version = client.apiserver_version().await;
    let version = version.map_err(|error| anyhow!("{}", explain(&error)))?;
    let number = |text: &str| text.trim_end_matches('+').parse().ok();
    let server = Server {
        release: number(&version.major).zip(number(&version.minor)),
        version: version.git_version,
    };
    let namespaces = namespaces(client, args.namespace.as_deref());
    let (nodes, sidecars_kept, gateway_api, rights, pod_ips, namespaces, webhooks, outriggers) = tokio::join!(
        nodes(client),
        trial::sidecar(client, &cluster.namespace),
        gateway_api(client),
        rights(client),
        pod_ips(client),
        namespaces,
        webhooks(client),
        installs(client),
    );
    Ok(Facts {
        server,
        nodes,
        sidecars_kept,
        gateway_api,
        rights,
        pod_ips,
        namespaces,
        webhooks,
        outriggers,
    })
}

async fn nodes(client: &Client) -> Fact<Vec<Node>> {
    let nodes = list::<KubeNode>(Api::all(client.clone()), ListParams::default()).await?;
    let node = |node: KubeNode| {
        let name = node.name_any();
        let info = node.status.and_then(|status| status.node_info);
        let info = info.unwrap_or_default();
        Node {
            name,
            kubelet: info.kubelet_version,
            kernel: info.kernel_version,
            os: info.operating_system,
            arch: info.architecture,
            pod_cidrs: node
                .spec
                .and_then(|spec| spec.pod_cidrs)
                .unwrap_or_default(),
        }
    };
    Ok(nodes.into_iter().map(node).collect())
}

async fn gateway_api(client: &Client) -> Fact<Vec<GatewayCrd>> {
    const BUNDLE: &str = "gateway.networking.k8s.io/bundle-version";
    let all = list::<CustomResourceDefinition>(Api::all(client.clone()), ListParams::default());
    let of_gateway = |crd: CustomResourceDefinition| {
        let bundle = crd.annotations().get(BUNDLE).cloned();
        let served = crd.spec.versions.iter().filter(|version| version.served);
        (crd.spec.group == "gateway.networking.k8s.io").then(|| GatewayCrd {
            served: served.map(|version| version.name.clone()).collect(),
            bundle,
            name: crd.spec.names.plural,
        })
    };
    Ok(all.await?.into_iter().filter_map(of_gateway).collect())
}

async fn rights(client: &Client) -> Fact<Vec<Right>> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let reviews = &reviews;
    let asked =
        futures_util::stream::iter(CREATES).map(|(group, resource, namespaced)| async move {
            let attributes = ResourceAttributes {
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                verb: Some("create".to_owned()),
                namespace: namespaced.then(|| USUAL_INSTALL_NAMESPACE.to_owned()),
                ..ResourceAttributes::default()
            };
            let review = SelfSubjectAccessReview {
                spec: SelfSubjectAccessReviewSpec {
                    resource_attributes: Some(attributes),
                    ..SelfSubjectAccessReviewSpec::default()
                },
                ..SelfSubjectAccessReview::default()
            };
            let answer = reviews.create(&PostParams::default(), &review).await;
            let answer = answer.map_err(|error| explain(&error))?;
            Ok(Right {
                verb: "create",
                resource,
                allowed: answer.status.is_some_and(|status| status.allowed),
            })
        });
    let answers: Vec<Fact<Right>> = asked.buffered(AT_ONCE).collect().await;
    answers.into_iter().collect()
}

async fn pod_ips(client: &Client) -> Fact<Vec<IpAddr>> {
    let some = ListParams::default().limit(SOME_PODS);
    let pods = list::<Pod>(Api::all(client.clone()), some).await?;
    let off_host = pods.into_iter().filter(|pod| {
        let spec = pod.spec.as_ref();
        spec.is_some_and(|spec| spec.host_network != Some(true))
    });
    let ips = off_host.filter_map(|pod| pod.status?.pod_ips).flatten();
    Ok(ips.filter_map(|ip| ip.ip.parse().ok()).collect())
}

/// The namespaces, with a trial in each that is to be injected: annotated so, or named with -n.
async fn namespaces(client: &Client, named: Option<&str>) -> Fact<Vec<Namespace>> {
    let all = list::<KubeNamespace>(Api::all(client.clone()), ListParams::default()).await?;
    let mut all: Vec<_> = all.iter().map(namespace).collect();
    for namespace in &mut all {
        namespace.inject |= named == Some(&namespace.name);
    }
    let injected = all.iter_mut().filter(|namespace| namespace.inject);
    let trials = injected.take(MAX_TRIALS).map(|namespace| async {
        namespace.refuses = Some(trial::net_admin(client, &namespace.name).await);
    });
    join_all(trials).await;
    Ok(all)
}

fn namespace(namespace: &KubeNamespace) -> Namespace {
    let (labels, annotations) = (namespace.labels(), namespace.annotations());
    let has = |name: &str, value: &str| {
        [labels, annotations]
            .iter()
            .any(|all| all.get(name).is_some_and(|is| is == value))
    };
    let istio = has("istio-injection", "enabled")
        || labels.contains_key("istio.io/rev")
        || has("istio.io/dataplane-mode", "ambient");
    let linkerd = has("linkerd.io/inject", "enabled") || has("linkerd.io/inject", "ingress");
    let skipped = [
        "outrigger.dev/skip-inbound-subnets",
        "outrigger.dev/skip-outbound-subnets",
    ];
    let skipped = skipped.iter().filter_map(|name| annotations.get(*name));
    Namespace {
        name: namespace.name_any(),
        inject: annotations
            .get("outrigger.dev/inject")
            .is_some_and(|is| is == "enabled"),
        enforces: labels.get("pod-security.kubernetes.io/enforce").cloned(),
        other_mesh: match (istio, linkerd) {
            (true, _) => Some("Istio"),
            (_, true) => Some("Linkerd"),
            _ => None,
        },
        refuses: None,
        skipped: skipped
            .flat_map(|subnets| subnets.split(','))
            .map(|subnet| subnet.trim().to_owned())
            .collect(),
    }
}

async fn webhooks(client: &Client) -> Fact<Vec<String>> {
    let all = Api::<MutatingWebhookConfiguration>::all(client.clone());
    let all = list(all, ListParams::default()).await?;
    let names = |configuration: MutatingWebhookConfiguration| {
        let name = configuration.name_any();
        let webhooks = configuration.webhooks.unwrap_or_default().into_iter();
        webhooks.map(move |webhook| format!("{name}/{}", webhook.name))
    };
    Ok(all.into_iter().flat_map(names).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_namespace_asks_for() {
        let object = serde_json::from_value(serde_json::json!({ "metadata": {
            "name": "shop",
            "labels": {
                "istio-injection": "enabled",
                "pod-security.kubernetes.io/enforce": "baseline",
            },
            "annotations": {
                "outrigger.dev/inject": "enabled",
                "outrigger.dev/skip-outbound-subnets": "198.18.0.0/24, fd00::/8",
            },
        }}))
        .unwrap();
        let read = namespace(&object);
        assert!(read.inject);
        assert_eq!(read.other_mesh, Some("Istio"));
        assert_eq!(read.enforces.as_deref(), Some("baseline"));
        assert_eq!(read.skipped, ["198.18.0.0/24", "fd00::/8"]);
    }
}
