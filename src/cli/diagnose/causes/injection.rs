//! Why a pod has no proxy.

use super::{Cause, Likely, cause};
use crate::cli::diagnose::facts::{Facts, Injection};

const ENABLED: &str = "enabled";
const DISABLED: &str = "disabled";

/// A value of the annotation that is none: the webhook refuses the pods that it is for, where it sees
/// them.
pub fn misspelt(facts: &Facts) -> Option<Cause> {
    let injection = &facts.injection;
    if injection.hidden_namespace {
        return None;
    }
    let (namespace, pod) = facts.pod.split_once('/').unwrap_or(("", &facts.pod));
    let bad = |value: &&str| ![ENABLED, DISABLED].contains(value);
    let of_pod = injection.of_pod.as_deref();
    let of_namespace = injection.of_namespace.as_ref().ok();
    let of_namespace = of_namespace.and_then(Option::as_deref);
    let (whose, value, object) = match (of_pod.filter(bad), of_namespace.filter(bad)) {
        (Some(value), _) => ("Its own", value, format!("{pod}'s pod template")),
        (None, Some(value)) if of_pod.is_none() => (
            "Its namespace's",
            value,
            format!("the namespace {namespace}"),
        ),
        _ => return None,
    };
    Some(cause(
        Likely::Surely,
        format!(
            "{whose} annotation outrigger.dev/inject says {value:?}, which is no value of it: new pods are refused"
        ),
        format!("Write enabled or disabled into the annotation of {object}."),
    ))
}

/// `None` where [`misspelt`] says it.
pub fn not_injected(facts: &Facts) -> Option<Cause> {
    if misspelt(facts).is_some() {
        return None;
    }
    let namespace = facts.pod.split('/').next().unwrap_or_default();
    Some(match &facts.injection {
        Injection {
            of_pod: None,
            of_namespace: Err(why),
            ..
        } => namespace_unknown(namespace, why),
        injection => has_no_proxy(injection),
    })
}

fn namespace_unknown(namespace: &str, why: &str) -> Cause {
    cause(
        Likely::Perhaps,
        format!(
            "It has no proxy: it has no annotation outrigger.dev/inject of its own, and its namespace could not be read ({why})"
        ),
        format!(
            "Ask somebody who may read namespaces whether {namespace} has the annotation outrigger.dev/inject=enabled."
        ),
    )
}

fn has_no_proxy(injection: &Injection) -> Cause {
    let of_pod = injection.of_pod.as_deref();
    let of_namespace = injection.of_namespace.as_ref().ok();
    let of_namespace = of_namespace.and_then(Option::as_deref);
    let asked = of_pod.or(of_namespace) == Some(ENABLED);
    let no_proxy = |why: &str, next: &str| {
        let likely = if asked {
            Likely::Surely
        } else {
            Likely::Perhaps
        };
        cause(likely, format!("It has no proxy: {why}"), next)
    };
    if of_pod == Some(DISABLED) {
        return no_proxy(
            "its own annotation outrigger.dev/inject says disabled",
            "Take the annotation off the pod template if it should be in the mesh.",
        );
    }
    if !asked {
        return no_proxy(
            "neither it nor its namespace has the annotation outrigger.dev/inject=enabled",
            "Annotate the namespace or the pod template, and `kubectl rollout restart` the workload. A label, or the annotation on the Deployment's own metadata, does nothing.",
        );
    }
    let left_alone = [
        (
            injection.hidden_namespace,
            "its namespace is never shown to the webhook",
            "Take the label outrigger.dev/webhook=disabled off; kube-system and the install namespace are never injected.",
        ),
        (
            injection.host_network,
            "it uses the node's network",
            "Take hostNetwork off the pod template: on the node's network, traffic is not the pod's alone.",
        ),
        (
            injection.windows,
            "it runs on Windows",
            "Only Linux pods can be injected.",
        ),
        (
            injection.proxys_user,
            "a container runs as user 14014, the proxy's own",
            "Give the container another runAsUser.",
        ),
        (
            injection.other_mesh,
            "it has another mesh's sidecar",
            "Take one of the two meshes off its pod template.",
        ),
        (
            injection.privileged && of_pod != Some(ENABLED),
            "it has a privileged container, and only the namespace asks for a proxy",
            "Annotate the pod template itself with outrigger.dev/inject=enabled.",
        ),
    ];
    if let Some((_, why, next)) = left_alone.into_iter().find(|(holds, ..)| *holds) {
        return no_proxy(why, next);
    }
    match &injection.webhook {
        Ok(false) => no_proxy(
            "no webhook shows pods to the controller",
            "`outrigger check` says how the webhook is; restore it with `helm upgrade`, then restart the workload.",
        ),
        _ => no_proxy(
            "it was created before the annotation, or while the webhook let pods through",
            "`kubectl rollout restart` its workload: a proxy comes with a pod's creation.",
        ),
    }
}

#[cfg(test)]
#[path = "injection_tests.rs"]
mod tests;
