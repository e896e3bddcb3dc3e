//! Our policies, and the routes, as objects: their targets and what their status says. Read
//! without a type of their own, so that this works with whatever version the cluster serves.

use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams},
    discovery,
};
use serde::Serialize;
use serde_json::Value;

use super::{Scope, error::Fact, explain, list};

/// Groups and kinds that shape traffic.
const KINDS: [(&str, &str); 4] = [
    ("outrigger.dev", "ResiliencePolicy"),
    ("outrigger.dev", "AccessPolicy"),
    ("gateway.networking.k8s.io", "HTTPRoute"),
    ("gateway.networking.k8s.io", "GRPCRoute"),
];

/// A policy or a route.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    pub kind: String,
    pub namespace: String,
    pub name: String,
    /// What it is attached to, as `Kind/name`.
    pub targets: Vec<String>,
    pub conditions: Vec<Condition>,
}

/// One answer about the object, of the controller that is at work on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    #[serde(rename = "type")]
    pub type_: String,
    pub status: String,
    pub reason: String,
    pub message: String,
}

impl Policy {
    /// The message of the first condition that is not met.
    pub fn problem(&self) -> Option<&str> {
        let bad = self
            .conditions
            .iter()
            .find(|condition| condition.status == "False");
        bad.map(|condition| match condition.message.as_str() {
            "" => condition.reason.as_str(),
            message => message,
        })
    }

    fn of(kind: &str, object: &DynamicObject) -> Self {
        let spec = &object.data["spec"];
        let of_route = spec["parentRefs"].as_array();
        let of_policy = spec["targetRefs"].as_array();
        let one = spec.get("targetRef");
        let targets = of_route.into_iter().chain(of_policy).flatten().chain(one);
        Self {
            kind: kind.to_owned(),
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            targets: targets
                .map(|reference| target(reference, usual_target(kind)))
                .collect(),
            conditions: conditions(&object.data["status"]),
        }
    }
}

/// The kind of a target that does not say its kind.
fn usual_target(kind: &str) -> &'static str {
    match kind.ends_with("Route") {
        true => "Gateway",
        false => "Service",
    }
}

fn target(reference: &Value, usual: &str) -> String {
    let text = |field: &str| reference[field].as_str();
    let kind = text("kind").unwrap_or(usual);
    let name = text("name").unwrap_or_default();
    let port = reference["port"].as_u64().map(|port| format!(":{port}"));
    let section = text("sectionName").map(|section| format!("#{section}"));
    format!(
        "{kind}/{name}{}{}",
        port.unwrap_or_default(),
        section.unwrap_or_default()
    )
}

/// The conditions that our controller wrote, of the object itself, of each parent, each ancestor.
fn conditions(status: &Value) -> Vec<Condition> {
    let lists = ["parents", "ancestors"].map(|name| status[name].as_array());
    let ours = lists.into_iter().flatten().flatten().filter(|entry| {
        let controller = entry["controllerName"].as_str();
        controller.is_some_and(|name| name.starts_with("outrigger.dev/"))
    });
    let read = |condition: &Value| {
        let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
        Condition {
            type_: text("type"),
            status: text("status"),
            reason: text("reason"),
            message: text("message"),
        }
    };
    let all = [status].into_iter().chain(ours);
    let all = all.filter_map(|holder| holder["conditions"].as_array());
    all.flatten().map(read).collect()
}

/// The policies and routes of a scope; kinds that the cluster does not know have none.
///
/// # Errors
/// Why they cannot be listed.
pub async fn policies(client: &Client, scope: &Scope) -> Fact<Vec<Policy>> {
    let mut found = Vec::new();
    for (group, kind) in KINDS {
        let Some(resource) = resource(client, group, kind).await? else {
            continue;
        };
        let api: Api<DynamicObject> = match scope {
            Scope::All => Api::all_with(client.clone(), &resource),
            Scope::Namespace(name) => Api::namespaced_with(client.clone(), name, &resource),
        };
        let objects = list(api, ListParams::default()).await?;
        found.extend(objects.iter().map(|object| Policy::of(kind, object)));
    }
    Ok(found)
}

async fn resource(client: &Client, group: &str, kind: &str) -> Fact<Option<ApiResource>> {
    match discovery::group(client, group).await {
        Ok(group) => Ok(group.recommended_kind(kind).map(|(resource, _)| resource)),
        Err(kube::Error::Discovery(_)) => Ok(None),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(explain(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(kind: &str, json: Value) -> Policy {
        Policy::of(kind, &serde_json::from_value(json).expect("an object"))
    }

    #[test]
    fn reads_a_routes_parents_and_only_our_word_about_them() {
        let good = serde_json::json!({ "type": "Accepted", "status": "True" });
        let bad = serde_json::json!({
            "type": "ResolvedRefs", "status": "False", "reason": "BackendNotFound",
            "message": "no Service cart",
        });
        let route = policy(
            "HTTPRoute",
            serde_json::json!({
                "metadata": { "namespace": "shop", "name": "r" },
                "spec": { "parentRefs": [
                    { "group": "", "kind": "Service", "name": "cart", "port": 80 },
                    { "name": "gateway", "sectionName": "http" },
                ]},
                "status": { "parents": [
                    { "controllerName": "other.example/controller", "conditions": [bad] },
                    { "controllerName": "outrigger.dev/controller", "conditions": [good] },
                ]},
            }),
        );
        assert_eq!(route.targets, ["Service/cart:80", "Gateway/gateway#http"]);
        assert_eq!(route.conditions.len(), 1);
        assert_eq!(route.problem(), None);
    }

    #[test]
    fn a_condition_that_is_not_met_is_the_problem() {
        let policy = policy(
            "AccessPolicy",
            serde_json::json!({
                "metadata": { "namespace": "shop", "name": "p" },
                "spec": { "targetRefs": [{ "name": "cart" }] },
                "status": { "conditions": [
                    { "type": "Accepted", "status": "False", "reason": "Invalid", "message": "no rule" },
                ]},
            }),
        );
        assert_eq!(policy.targets, ["Service/cart"]);
        assert_eq!(policy.problem(), Some("no rule"));
    }
}
