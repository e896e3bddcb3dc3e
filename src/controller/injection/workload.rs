//! Where the kinds of objects that run pods have the template of their pods.

use serde_json::Value;

use super::{
    annotations::{self, Annotations},
    pod::{self, Injection, inject},
    refused::Refused,
};
use crate::controller::kubernetes::config::MeshConfig;

/// The path to the pod in an object of a kind: an RFC 6901 pointer.
fn template(kind: &str) -> Option<&'static str> {
    match kind {
        "Pod" => Some(""),
        "PodTemplate" => Some("/template"),
        "Deployment"
        | "StatefulSet"
        | "DaemonSet"
        | "ReplicaSet"
        | "ReplicationController"
        | "Job" => Some("/spec/template"),
        "CronJob" => Some("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

/// Whether an object is a pod, or of a kind that makes some.
pub fn runs_pods(object: &Value) -> bool {
    object["kind"]
        .as_str()
        .and_then(template)
        .is_some_and(|path| object.pointer(path).is_some())
}

/// Injects the pods of an object: [`Injection::pod`] is then the whole object. An object of
/// another kind has none and is left as it is.
///
/// # Errors
/// As [`inject`].
pub fn inject_object(
    object: &Value,
    namespace: &Annotations,
    mesh: &MeshConfig,
) -> Result<Injection, Refused> {
    let kind = object["kind"].as_str().unwrap_or_default();
    let template = template(kind).and_then(|path| Some((path, object.pointer(path)?)));
    let Some((path, template)) = template else {
        return Ok(Injection {
            pod: None,
            warnings: Vec::new(),
            asked: false,
        });
    };
    let mut injection = inject(template, namespace, mesh)?;
    if !path.is_empty() {
        let own = pod::texts(&object["metadata"]["annotations"]);
        injection
            .warnings
            .extend(annotations::misplaced(kind, &own));
    }
    injection.pod = injection.pod.map(|pod| {
        let mut object = object.clone();
        if let Some(place) = object.pointer_mut(path) {
            *place = pod;
        }
        object
    });
    Ok(injection)
}
