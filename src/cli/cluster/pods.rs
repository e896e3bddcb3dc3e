//! The pods that carry a proxy.

use k8s_openapi::api::core::v1::{Container, Pod};
use kube::{Api, Client, ResourceExt, api::ListParams};

/// The name of the proxy's container.
pub const PROXY: &str = "outrigger-proxy";
/// The label of pods that carry a proxy.
pub const INJECTED: &str = "outrigger.dev/injected=true";
/// Objects asked for at a time, so that a large cluster answers in pieces.
const PAGE: u32 = 500;

/// One namespace, or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    All,
    Namespace(String),
}

impl Scope {
    pub fn contains(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Namespace(one) => one == namespace,
        }
    }

    pub fn pods(&self, client: &Client) -> Api<Pod> {
        match self {
            Self::All => Api::all(client.clone()),
            Self::Namespace(namespace) => Api::namespaced(client.clone(), namespace),
        }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("any namespace"),
            Self::Namespace(namespace) => write!(f, "namespace {namespace}"),
        }
    }
}

/// The pods that carry a proxy, by namespace and name.
///
/// # Errors
/// When they cannot be listed.
pub async fn injected_pods(client: &Client, scope: &Scope) -> Result<Vec<Pod>, kube::Error> {
    labelled(&scope.pods(client), INJECTED).await
}

pub(super) async fn labelled(pods: &Api<Pod>, labels: &str) -> Result<Vec<Pod>, kube::Error> {
    let mut params = ListParams::default().labels(labels).limit(PAGE);
    let mut found = Vec::new();
    loop {
        let page = pods.list(&params).await?;
        found.extend(page.items);
        match page.metadata.continue_ {
            Some(next) if !next.is_empty() => params = params.continue_token(&next),
            _ => break,
        }
    }
    found.sort_by_key(|pod| (pod.namespace(), pod.name_any()));
    Ok(found)
}

/// Whether a pod carries a proxy.
pub fn is_injected(pod: &Pod) -> bool {
    containers(pod).any(|container| container.name == PROXY)
}

/// All containers of a pod, init containers first.
pub fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    let spec = pod.spec.iter();
    spec.flat_map(|spec| {
        spec.init_containers
            .iter()
            .flatten()
            .chain(&spec.containers)
    })
}

/// The workload that a pod belongs to, as `kind/name`: of a ReplicaSet its Deployment, told by
/// the pod template's hash at the end of the name.
pub fn owner_of(pod: &Pod) -> String {
    let owner = pod
        .owner_references()
        .iter()
        .find(|o| o.controller == Some(true));
    let Some(owner) = owner else {
        return format!("pod/{}", pod.name_any());
    };
    let hash = pod.labels().get("pod-template-hash");
    let of_deployment = hash.and_then(|hash| owner.name.strip_suffix(&format!("-{hash}")));
    match (owner.kind.as_str(), of_deployment) {
        ("ReplicaSet", Some(deployment)) => format!("deploy/{deployment}"),
        ("StatefulSet", _) => format!("sts/{}", owner.name),
        ("DaemonSet", _) => format!("ds/{}", owner.name),
        (kind, _) => format!("{}/{}", kind.to_ascii_lowercase(), owner.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_workload_behind_a_pod() {
        let pod = |kind: &str, owner: &str| -> Pod {
            serde_json::from_value(serde_json::json!({ "metadata": {
                "name": "p",
                "labels": { "pod-template-hash": "5d4f" },
                "ownerReferences": [
                    { "apiVersion": "v1", "kind": kind, "name": owner, "uid": "u", "controller": true }
                ],
            }}))
            .unwrap()
        };
        assert_eq!(owner_of(&pod("ReplicaSet", "cart-5d4f")), "deploy/cart");
        assert_eq!(owner_of(&pod("ReplicaSet", "own")), "replicaset/own");
        assert_eq!(owner_of(&pod("StatefulSet", "db")), "sts/db");
        assert_eq!(owner_of(&Pod::default()), "pod/");
    }
}
