//! Asks the API server, and then the proxies, for how they are.

use anyhow::anyhow;
use k8s_openapi::{
    api::{
        admissionregistration::v1::MutatingWebhookConfiguration,
        apps::v1::Deployment,
        core::v1::{Namespace, Pod, Secret},
        discovery::v1::EndpointSlice,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{Api, Client, CustomResourceExt, ResourceExt, api::ListParams};

use super::facts::{Controller, Crd, CrdState, Facts, Pods, PolicyProblem, Webhook};
use crate::{
    cli::cluster::{
        self, CONTROLLER, Cluster, Fact, INJECTED, Progress, Scope, Validity, explain, installs,
        list, validities,
    },
    controller::kubernetes::api::{AccessPolicy, ResiliencePolicy},
};

/// `scope`: whose policies, pods and proxies are looked at.
///
/// # Errors
/// When the API server cannot be reached.
pub async fn gather(
    cluster: &Cluster,
    scope: &Scope,
    progress: &Progress,
) -> anyhow::Result<Facts> {
    let client = &cluster.client;
    progress.step("asking the API server");
    let version = client.apiserver_version().await;
    version.map_err(|error| anyhow!("{}", explain(&error)))?;
    let installs = installs(client).await;
    let one = match installs.as_deref() {
        Ok([one]) => one.namespace.clone(),
        _ => return Ok(nothing_more(installs)),
    };
    let one = one.as_str();
    let (controller, ca, webhook, crds, policies, pods) = tokio::join!(
        controller(client, one),
        secret(client, one, "outrigger-ca"),
        webhook(client, one),
        crds(client),
        policies(client, scope),
        pods(client, scope),
    );
    let (issuer, roots) = authority(ca);
    let proxies = cluster::beliefs(client, scope, progress).await;
    let proxies = proxies.unwrap_or_default().into_iter();
    let proxies = proxies.map(|answer| (answer.pod, answer.belief));
    Ok(Facts {
        installs,
        controller,
        issuer,
        roots,
        webhook,
        crds,
        policies,
        pods,
        proxies: proxies.collect(),
    })
}

fn nothing_more(installs: Fact<Vec<cluster::Install>>) -> Facts {
    fn unknown<T>() -> Fact<T> {
        Err("it is not known where Outrigger is".to_owned())
    }
    Facts {
        installs,
        controller: unknown(),
        issuer: unknown(),
        roots: unknown(),
        webhook: unknown(),
        crds: unknown(),
        policies: unknown(),
        pods: unknown(),
        proxies: Vec::new(),
    }
}

async fn controller(client: &Client, namespace: &str) -> Fact<Controller> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let deployment = deployments.get(CONTROLLER).await;
    let deployment = deployment.map_err(|error| explain(&error))?;
    let version = cluster::install(&deployment).version;
    let spec = deployment.spec;
    let status = deployment.status.unwrap_or_default();
    let labels = spec.selector.match_labels.unwrap_or_default();
    let query: Vec<_> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let pods = ListParams::default().labels(&query.join(","));
    let pods = list::<Pod>(Api::namespaced(client.clone(), namespace), pods).await;
    Ok(Controller {
        namespace: namespace.to_owned(),
        version,
        desired: spec.replicas.unwrap_or(1),
        ready: status.ready_replicas.unwrap_or(0),
        updated: status.updated_replicas.unwrap_or(0),
        troubles: pods.iter().flatten().filter_map(trouble).collect(),
    })
}

/// Why a pod is not ready.
fn trouble(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let containers = status.container_statuses.iter().flatten();
    let mut reasons = containers
        .filter(|container| !container.ready)
        .map(|container| {
            let state = container.state.as_ref();
            let waiting = state.and_then(|state| state.waiting.as_ref()?.reason.clone());
            waiting.unwrap_or_else(|| format!("not ready, {} restarts", container.restart_count))
        });
    let unscheduled = || {
        let conditions = status.conditions.iter().flatten();
        let failed = conditions
            .into_iter()
            .find(|c| c.type_ == "PodScheduled" && c.status == "False");
        failed.and_then(|condition| condition.message.clone())
    };
    let reason = reasons.next().or_else(unscheduled)?;
    Some(format!("{}: {reason}", pod.name_any()))
}

async fn secret(client: &Client, namespace: &str, name: &str) -> Fact<Secret> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    secrets.get(name).await.map_err(|error| explain(&error))
}

fn field<'a>(secret: &'a Secret, name: &str) -> Fact<&'a [u8]> {
    let bytes = secret.data.as_ref().and_then(|data| data.get(name));
    let missing = || format!("the Secret {} has no {name}", secret.name_any());
    bytes.map(|bytes| bytes.0.as_slice()).ok_or_else(missing)
}

/// The issuer, and the roots, of the Secret in cert-manager's layout.
fn authority(secret: Fact<Secret>) -> (Fact<Validity>, Fact<Vec<Validity>>) {
    let secret = match secret {
        Ok(secret) => secret,
        Err(why) => return (Err(why.clone()), Err(why)),
    };
    // The issuer comes first in its chain.
    let issuer = field(&secret, "tls.crt")
        .and_then(validities)
        .map(|chain| chain[0]);
    let roots = field(&secret, "ca.crt").and_then(validities);
    (issuer, roots)
}

async fn webhook(client: &Client, namespace: &str) -> Fact<Webhook> {
    let all = Api::<MutatingWebhookConfiguration>::all(client.clone());
    let all = list(all, ListParams::default()).await?;
    let ours = all
        .into_iter()
        .filter_map(|configuration| configuration.webhooks)
        .flatten();
    let mut bundles = ours.filter_map(|webhook| {
        let service = webhook.client_config.service.as_ref()?;
        let is_ours = service.name == CONTROLLER && service.namespace == namespace;
        is_ours.then(|| {
            webhook
                .client_config
                .ca_bundle
                .map(|bundle| bundle.0)
                .unwrap_or_default()
        })
    });
    let Some(bundle) = bundles.next() else {
        return Ok(Webhook::default());
    };
    let secret = secret(client, namespace, "outrigger-webhook").await;
    let ca = secret
        .as_ref()
        .ok()
        .and_then(|secret| field(secret, "ca.crt").ok());
    let certificate = secret
        .as_ref()
        .ok()
        .and_then(|secret| field(secret, "tls.crt").ok());
    let slices = format!("kubernetes.io/service-name={CONTROLLER}");
    let slices = ListParams::default().labels(&slices);
    let slices = list::<EndpointSlice>(Api::namespaced(client.clone(), namespace), slices).await?;
    let endpoints = slices
        .iter()
        .flat_map(|slice| slice.endpoints.iter().flatten());
    let ready = endpoints.filter(|endpoint| {
        let conditions = endpoint.conditions.as_ref();
        conditions.is_none_or(|conditions| conditions.ready != Some(false))
    });
    Ok(Webhook {
        configured: true,
        trusts_secret: ca.map(|ca| bundle.trim_ascii() == ca.trim_ascii()),
        serving: certificate.and_then(|pem| Some(validities(pem).ok()?[0])),
        endpoints: ready.count(),
    })
}

/// Our CRDs as the cluster has them, beside those of this version.
async fn crds(client: &Client) -> Fact<Vec<Crd>> {
    let all = Api::<CustomResourceDefinition>::all(client.clone());
    let all = list(all, ListParams::default()).await?;
    let ours = [AccessPolicy::crd(), ResiliencePolicy::crd()];
    let crd = |ours: &CustomResourceDefinition| {
        let name = ours.name_any();
        let served = all.iter().find(|crd| crd.name_any() == name);
        Crd {
            state: crd_state(served, ours),
            name,
        }
    };
    Ok(ours.iter().map(crd).collect())
}

fn crd_state(
    served: Option<&CustomResourceDefinition>,
    ours: &CustomResourceDefinition,
) -> CrdState {
    let Some(served) = served else {
        return CrdState::Absent;
    };
    let conditions = served
        .status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten());
    let mut established = conditions.filter(|c| c.type_ == "Established");
    let is_established = established.next().is_some_and(|c| c.status == "True");
    let schemas = |crd: &CustomResourceDefinition| {
        let versions = crd.spec.versions.iter();
        let schema = versions.map(|version| (version.name.clone(), version.schema.clone()));
        schema.collect::<Vec<_>>()
    };
    match is_established {
        false => CrdState::NotEstablished,
        true if schemas(served) != schemas(ours) => CrdState::Differs,
        true => CrdState::Good,
    }
}

async fn policies(client: &Client, scope: &Scope) -> Fact<Vec<PolicyProblem>> {
    let policies = cluster::policies(client, scope).await?;
    let problem = |policy: cluster::Policy| {
        let message = policy.problem()?.to_owned();
        Some(PolicyProblem {
            object: format!("{} {}/{}", policy.kind, policy.namespace, policy.name),
            message,
        })
    };
    Ok(policies.into_iter().filter_map(problem).collect())
}

/// How many pods have a proxy, and which of the injected namespaces have none.
async fn pods(client: &Client, scope: &Scope) -> Fact<Pods> {
    let injected = ListParams::default().labels(INJECTED);
    let injected = list::<Pod>(scope.pods(client), injected).await?.len();
    let mut namespaces = list::<Namespace>(Api::all(client.clone()), ListParams::default()).await?;
    namespaces.retain(|namespace| scope.contains(&namespace.name_any()));
    let mut without = Vec::new();
    for namespace in namespaces {
        let inject = namespace.annotations().get("outrigger.dev/inject");
        if inject.is_none_or(|value| value != "enabled") {
            continue;
        }
        let others = ListParams::default().labels("outrigger.dev/injected!=true");
        let pods = Api::namespaced(client.clone(), &namespace.name_any());
        let pods = list::<Pod>(pods, others).await?;
        without.extend(
            pods.iter()
                .filter(|pod| should_have_one(pod))
                .map(|pod| format!("{}/{}", namespace.name_any(), pod.name_any())),
        );
    }
    Ok(Pods { injected, without })
}

/// Whether a pod without a proxy is one that nobody meant to leave out.
fn should_have_one(pod: &Pod) -> bool {
    let opted_out = pod
        .annotations()
        .get("outrigger.dev/inject")
        .is_some_and(|v| v == "disabled");
    let host_network = pod
        .spec
        .as_ref()
        .is_some_and(|spec| spec.host_network == Some(true));
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    !opted_out && !host_network && phase == Some("Running")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(json: serde_json::Value) -> Pod {
        serde_json::from_value(json).expect("a pod")
    }

    #[test]
    fn tells_our_crds_of_another_version() {
        let ours = AccessPolicy::crd();
        let established = |crd: &CustomResourceDefinition| {
            let mut crd = serde_json::to_value(crd).unwrap();
            let condition = serde_json::json!({ "type": "Established", "status": "True" });
            crd["status"] = serde_json::json!({ "conditions": [condition] });
            serde_json::from_value(crd).unwrap()
        };
        assert_eq!(crd_state(None, &ours), CrdState::Absent);
        assert_eq!(crd_state(Some(&ours), &ours), CrdState::NotEstablished);
        assert_eq!(crd_state(Some(&established(&ours)), &ours), CrdState::Good);
        let mut older = ours.clone();
        older.spec.versions[0].schema = None;
        assert_eq!(
            crd_state(Some(&established(&older)), &ours),
            CrdState::Differs
        );
    }

    #[test]
    fn says_why_a_pod_is_not_ready() {
        let waiting = pod(serde_json::json!({
            "metadata": { "name": "c" },
            "status": { "containerStatuses": [{
                "name": "controller", "ready": false, "restartCount": 3, "image": "", "imageID": "",
                "state": { "waiting": { "reason": "CrashLoopBackOff" } },
            }]},
        }));
        assert_eq!(trouble(&waiting).unwrap(), "c: CrashLoopBackOff");
        let unscheduled = pod(serde_json::json!({
            "metadata": { "name": "c" },
            "status": { "conditions": [
                { "type": "PodScheduled", "status": "False", "message": "0/1 nodes are available" }
            ]},
        }));
        assert!(trouble(&unscheduled).unwrap().contains("0/1 nodes"));
        assert_eq!(trouble(&Pod::default()), None);
    }

    #[test]
    fn some_pods_are_meant_to_have_no_proxy() {
        let running = serde_json::json!({ "phase": "Running" });
        let plain = serde_json::json!({ "status": running });
        assert!(should_have_one(&pod(plain)));
        let opted_out = serde_json::json!({
            "metadata": { "annotations": { "outrigger.dev/inject": "disabled" } },
            "status": running,
        });
        assert!(!should_have_one(&pod(opted_out)));
        let host = serde_json::json!({
            "spec": { "hostNetwork": true, "containers": [] },
            "status": running,
        });
        assert!(!should_have_one(&pod(host)));
        assert!(!should_have_one(&pod(
            serde_json::json!({ "status": { "phase": "Succeeded" } })
        )));
    }
}
