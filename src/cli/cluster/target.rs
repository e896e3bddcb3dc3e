//! Which pods a person points at.

use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, Deployment, StatefulSet},
        batch::v1::Job,
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::{Api, Client};

use super::{explain, pods::labelled};

/// What a person points at: `POD`, `pod/NAME`, `deploy/NAME`, `sts/NAME`, `ds/NAME`, `job/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    kind: Kind,
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pod,
    Deployment,
    StatefulSet,
    DaemonSet,
    Job,
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, name) = text.split_once('/').unwrap_or(("pod", text));
        let kind = match kind {
            "pod" | "pods" | "po" => Kind::Pod,
            "deployment" | "deployments" | "deploy" => Kind::Deployment,
            "statefulset" | "statefulsets" | "sts" => Kind::StatefulSet,
            "daemonset" | "daemonsets" | "ds" => Kind::DaemonSet,
            "job" | "jobs" => Kind::Job,
            _ => {
                return Err(format!(
                    "{kind:?} has no pods: write a pod's name, or deploy/NAME, sts/NAME, ds/NAME, job/NAME"
                ));
            }
        };
        if name.is_empty() {
            return Err("the name is missing".into());
        }
        Ok(Self {
            kind,
            name: name.to_owned(),
        })
    }
}

/// A target as the cluster has it.
pub struct Found {
    /// As [`owner_of`](super::owner_of) names it.
    pub name: String,
    pub pods: Vec<Pod>,
    /// How many pods it should have; `None` where it does not say.
    pub wanted: Option<i32>,
    /// Why further pods of a Deployment are not created.
    pub refused: Option<String>,
}

impl Target {
    /// The pods it stands for, at least one.
    ///
    /// # Errors
    /// When it does not exist, has no pods, or cannot be read.
    pub async fn pods(&self, client: &Client, namespace: &str) -> anyhow::Result<Vec<Pod>> {
        let found = self.find(client, namespace).await?;
        let name = &self.name;
        anyhow::ensure!(
            !found.pods.is_empty(),
            "{name} has no pods just now: `outrigger diagnose {}` says why",
            found.name
        );
        Ok(found.pods)
    }

    /// What it is, and its pods, if it has any.
    ///
    /// # Errors
    /// When it does not exist or cannot be read.
    pub async fn find(&self, client: &Client, namespace: &str) -> anyhow::Result<Found> {
        let name = self.name.as_str();
        let failed = |error: kube::Error| match &error {
            kube::Error::Api(status) if status.code == 404 => anyhow::anyhow!(
                "{} in namespace {namespace}: is it in another one? Name that with -n",
                status.message
            ),
            _ => anyhow::anyhow!("{name}: {}", explain(&error)),
        };
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let mut found = Found {
            name: format!("{}/{name}", self.kind.short()),
            pods: Vec::new(),
            wanted: None,
            refused: None,
        };
        let selector = match self.kind {
            Kind::Pod => {
                found.pods.push(pods.get(name).await.map_err(failed)?);
                return Ok(found);
            }
            Kind::Deployment => {
                let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
                let deployment = api.get(name).await.map_err(failed)?;
                found.wanted = Some(deployment.spec.replicas.unwrap_or(1));
                found.refused = replica_failure(&deployment);
                Some(deployment.spec.selector)
            }
            Kind::StatefulSet => {
                let api: Api<StatefulSet> = Api::namespaced(client.clone(), namespace);
                let spec = api.get(name).await.map_err(failed)?.spec;
                found.wanted = Some(spec.replicas.unwrap_or(1));
                Some(spec.selector)
            }
            Kind::DaemonSet => {
                let api: Api<DaemonSet> = Api::namespaced(client.clone(), namespace);
                let daemons = api.get(name).await.map_err(failed)?;
                found.wanted = daemons.status.map(|status| status.desired_number_scheduled);
                Some(daemons.spec.selector)
            }
            Kind::Job => {
                let api: Api<Job> = Api::namespaced(client.clone(), namespace);
                let job = api.get(name).await.map_err(failed)?;
                job.spec.and_then(|spec| spec.selector)
            }
        };
        let selector = selector.unwrap_or_default();
        found.pods = labelled(&pods, &label_query(&selector))
            .await
            .map_err(failed)?;
        Ok(found)
    }
}

impl Kind {
    fn short(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Deployment => "deploy",
            Self::StatefulSet => "sts",
            Self::DaemonSet => "ds",
            Self::Job => "job",
        }
    }
}

/// Why a Deployment's ReplicaSet cannot create pods.
fn replica_failure(deployment: &Deployment) -> Option<String> {
    let status = deployment.status.as_ref()?;
    let mut conditions = status.conditions.iter().flatten();
    let failure = conditions.find(|c| {
        c.type_.as_deref() == Some("ReplicaFailure") && c.status.as_deref() == Some("True")
    })?;
    failure.message.clone().or_else(|| failure.reason.clone())
}

/// A selector as the API server's query takes it.
fn label_query(selector: &LabelSelector) -> String {
    let equal = selector.match_labels.iter().flatten();
    let equal = equal.map(|(name, value)| format!("{name}={value}"));
    let expressions = selector.match_expressions.iter().flatten().map(|e| {
        let values = e.values.as_deref().unwrap_or_default().join(",");
        match e.operator.as_str() {
            "In" => format!("{} in ({values})", e.key),
            "NotIn" => format!("{} notin ({values})", e.key),
            "DoesNotExist" => format!("!{}", e.key),
            _ => e.key.clone(),
        }
    });
    equal.chain(expressions).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_kubectl_reads() {
        for (text, kind, name) in [
            ("cart-1", Kind::Pod, "cart-1"),
            ("pod/cart-1", Kind::Pod, "cart-1"),
            ("deploy/cart", Kind::Deployment, "cart"),
            ("statefulset/db", Kind::StatefulSet, "db"),
            ("ds/agent", Kind::DaemonSet, "agent"),
            ("job/once", Kind::Job, "once"),
        ] {
            let name = name.to_owned();
            assert_eq!(text.parse(), Ok(Target { kind, name }), "{text}");
        }
        let refused = "svc/cart".parse::<Target>().unwrap_err();
        assert!(refused.contains("deploy/NAME"), "{refused}");
        assert!("deploy/".parse::<Target>().is_err());
    }

    #[test]
    fn finds_why_a_deployment_gets_no_pods() {
        let with = |status: &str| -> Deployment {
            serde_json::from_value(serde_json::json!({
                "metadata": {},
                "spec": { "selector": {}, "template": {} },
                "status": { "conditions": [
                    { "type": "Available", "status": "False", "message": "none" },
                    { "type": "ReplicaFailure", "status": status, "message": "denied" },
                ]},
            }))
            .unwrap()
        };
        assert_eq!(replica_failure(&with("True")).as_deref(), Some("denied"));
        assert_eq!(replica_failure(&with("False")), None);
    }

    #[test]
    fn writes_selectors_as_queries() {
        let selector: LabelSelector = serde_json::from_value(serde_json::json!({
            "matchLabels": { "app": "cart" },
            "matchExpressions": [
                { "key": "tier", "operator": "In", "values": ["a", "b"] },
                { "key": "old", "operator": "DoesNotExist" },
                { "key": "new", "operator": "Exists" },
            ],
        }))
        .unwrap();
        assert_eq!(label_query(&selector), "app=cart,tier in (a,b),!old,new");
    }
}
