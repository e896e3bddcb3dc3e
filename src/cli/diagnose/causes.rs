//! What is likely the matter with a pod, from the facts: most likely first.

use serde::Serialize;

use super::{
    facts::{Container, Facts, INIT, Injection, ProxySays},
    refusals::{Refusal, refusals},
};
use crate::{
    cli::cluster::PROXY,
    proxy::belief::{Belief, Upstream, unix_seconds},
    telemetry::Reason,
};

/// Something that explains a failure, and what to do next.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cause {
    pub likely: Likely,
    pub what: String,
    pub next: String,
}

/// How sure it is that this is the trouble: an order, most likely first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Likely {
    /// Nothing works before this is mended.
    Surely,
    /// It happens now, and requests fail by it.
    Probably,
    /// It happened, or will matter.
    Perhaps,
}

/// Everything that is amiss; empty when nothing is.
pub fn causes(facts: &Facts) -> Vec<Cause> {
    let mut causes = Vec::new();
    containers(facts, &mut causes);
    if facts.injection.injected {
        if let Some(proxy) = &facts.proxy {
            told(facts, proxy, &mut causes);
        }
        policies(facts, &mut causes);
    } else {
        causes.push(not_injected(&facts.injection));
    }
    causes.sort_by_key(|cause| cause.likely);
    causes
}

fn cause(likely: Likely, what: impl Into<String>, next: impl Into<String>) -> Cause {
    Cause {
        likely,
        what: what.into(),
        next: next.into(),
    }
}

/// Why a pod has no proxy.
fn not_injected(injection: &Injection) -> Cause {
    let enabled = |value: &Option<String>| value.as_deref() == Some("enabled");
    let disabled = |value: &Option<String>| value.as_deref() == Some("disabled");
    let asked = enabled(&injection.of_pod)
        || (injection.of_pod.is_none() && enabled(&injection.of_namespace));
    let no_proxy = |why: &str, next: &str| {
        let likely = if asked {
            Likely::Surely
        } else {
            Likely::Perhaps
        };
        cause(likely, format!("It has no proxy: {why}"), next)
    };
    if disabled(&injection.of_pod) {
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
            injection.privileged && !enabled(&injection.of_pod),
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

fn containers(facts: &Facts, causes: &mut Vec<Cause>) {
    let (namespace, pod) = facts.pod.split_once('/').unwrap_or(("", &facts.pod));
    for container in &facts.containers {
        let Container {
            name,
            state,
            restarts,
            before,
            ..
        } = container;
        let logs = format!("`kubectl logs -n {namespace} {pod} -c {name} --previous` says why.");
        let waits = state.strip_prefix("waiting: ");
        let bad_wait =
            waits.filter(|reason| !["PodInitializing", "ContainerCreating"].contains(reason));
        let whose = match name.as_str() {
            PROXY => "The proxy",
            INIT => "The init container that writes the interception rules",
            _ => "The application's container",
        };
        let what = |how: &str| format!("{whose} {name} {how}");
        if before
            .as_deref()
            .is_some_and(|before| before.contains("OOMKilled"))
        {
            let next = match name.as_str() {
                PROXY => "Raise outrigger.dev/proxy-memory-limit on the pod template.",
                _ => "Raise its memory limit.",
            };
            causes.push(cause(
                Likely::Surely,
                what("ran out of memory and was killed"),
                next,
            ));
        } else if let Some(reason) = bad_wait {
            causes.push(cause(
                Likely::Surely,
                what(&format!("does not start: {reason}")),
                logs,
            ));
        } else if state.starts_with("terminated") && !state.contains("Completed") && name == INIT {
            causes.push(cause(
                Likely::Surely,
                what(&format!("failed ({state})")),
                "The node's kernel may lack nf_tables, or something takes NET_ADMIN away: `outrigger check --pre -n NAMESPACE` tries it.",
            ));
        } else if !container.ready && state == "running" && name != PROXY {
            causes.push(cause(
                Likely::Probably,
                what("runs but is not ready, so no Service sends anything to the pod"),
                "Look at its readiness probe and its log.",
            ));
        } else if *restarts > 3 {
            let how = before.as_deref().unwrap_or("for no known reason");
            let what = what(&format!("was restarted {restarts} times ({how})"));
            causes.push(cause(Likely::Perhaps, what, logs));
        }
    }
    if facts.phase == "Pending" && facts.containers.is_empty() {
        let told = facts.events.iter().flatten().find(|event| event.warning);
        let what = told.map_or("nothing says why".to_owned(), |event| event.message.clone());
        causes.push(cause(
            Likely::Surely,
            format!("It has not started: {what}"),
            format!(
                "`kubectl describe pod -n {namespace} {pod}` shows its scheduling and volumes."
            ),
        ));
    }
}

/// What follows from the proxy's own words.
fn told(facts: &Facts, proxy: &ProxySays, causes: &mut Vec<Cause>) {
    if let Ok(waits) = &proxy.waits_for
        && !waits.is_empty()
    {
        causes.push(cause(
            Likely::Surely,
            format!("The proxy is not ready: {}", waits.join("; ")),
            "Look at `outrigger check`, and whether a NetworkPolicy lets the pod reach the controller's port 14030 and DNS.",
        ));
    }
    let belief = match &proxy.belief {
        Ok(belief) => belief,
        Err(why) if facts.phase == "Running" => {
            causes.push(cause(
                Likely::Perhaps,
                format!("The proxy could not be asked: {why}"),
                "That takes the right to create pods/portforward, and a running proxy.",
            ));
            return;
        }
        Err(_) => return,
    };
    standing(facts, belief, causes);
    belief
        .upstreams
        .iter()
        .for_each(|upstream| held_back(upstream, causes));
    if let Ok(now) = &proxy.after {
        let before = proxy.before.as_ref().ok();
        refusals(before, now)
            .iter()
            .for_each(|refusal| refused(refusal, belief, causes));
    }
}

/// Identity, discovery, configuration, version.
fn standing(facts: &Facts, belief: &Belief, causes: &mut Vec<Cause>) {
    let now = unix_seconds(facts.now);
    let expired = belief.certificate_not_after.is_some_and(|end| end <= now);
    if expired {
        causes.push(cause(
            Likely::Surely,
            "The proxy's certificate has expired: peers refuse its connections",
            "Its log says why it gets no new one; `outrigger check` looks at the issuer and the controller.",
        ));
    }
    if !belief.discovery.connected {
        causes.push(cause(
            Likely::Probably,
            format!("The proxy has lost the controller ({}): it does not hear of new endpoints", belief.discovery.controller),
            "Look at `outrigger check`; a NetworkPolicy must let the pod reach the controller's port 14030 and DNS.",
        ));
    }
    if belief.discovery.nacks > 0 {
        let why = belief
            .discovery
            .last_refusal
            .as_deref()
            .unwrap_or("no reason kept");
        causes.push(cause(
            Likely::Perhaps,
            format!(
                "The proxy refused {} updates and keeps what it had: {why}",
                belief.discovery.nacks
            ),
            "Correct the object that the reason names.",
        ));
    }
    if belief.discovery.refused_subscriptions > 0 {
        causes.push(cause(
            Likely::Perhaps,
            "The pod dials more destinations than the proxy keeps track of: the rest is forwarded as it is",
            "Let it skip what is not of the mesh: outrigger.dev/skip-outbound-subnets.",
        ));
    }
    if let Ok(controller) = &facts.controller
        && *controller != belief.version
    {
        causes.push(cause(
            Likely::Perhaps,
            format!(
                "The proxy is version {}, the controller {controller}",
                belief.version
            ),
            "`kubectl rollout restart` its workload.",
        ));
    }
}

/// Open breakers and full bulkheads.
fn held_back(upstream: &Upstream, causes: &mut Vec<Cause>) {
    let name = &upstream.upstream;
    if upstream.breaker.state == "open" {
        causes.push(cause(
            Likely::Probably,
            format!("The breaker of {name} is open: its requests are refused or fall back"),
            format!(
                "{name} failed before: diagnose its pods. The breaker tries it again by itself."
            ),
        ));
    }
    let all = upstream.endpoints.len();
    let open = upstream
        .endpoints
        .iter()
        .filter(|(_, breaker)| breaker.state == "open");
    let open: Vec<_> = open.map(|(addr, _)| addr.to_string()).collect();
    if !open.is_empty() && upstream.breaker.state != "open" {
        causes.push(cause(
            Likely::Perhaps,
            format!(
                "{} of {all} endpoints of {name} are out after failures: {}",
                open.len(),
                open.join(", ")
            ),
            "Diagnose the pods with these addresses: `kubectl get pods -A -o wide`.",
        ));
    }
    let routes = upstream
        .routes
        .iter()
        .map(|(route, held)| (format!("route {route}"), held));
    let own = (name.clone(), &upstream.bulkhead);
    for (name, bulkhead) in routes.chain([own]) {
        if bulkhead.limit > 0 && bulkhead.in_use >= bulkhead.limit {
            causes.push(cause(
                Likely::Probably,
                format!("The bulkhead of {name} is full ({} of {}, {} queued)", bulkhead.in_use, bulkhead.limit, bulkhead.queued),
                "It answers too slowly for what is asked of it: find out why it is slow, add replicas, or raise the limit in a ResiliencePolicy.",
            ));
        }
    }
}

/// A reason that is counted. What breakers and bulkheads say by their state is not said twice.
fn refused(refusal: &Refusal, belief: &Belief, causes: &mut Vec<Cause>) {
    let is = |reason: Reason| refusal.reason == reason.as_str();
    let open = belief
        .upstreams
        .iter()
        .any(|upstream| upstream.upstream == refusal.service && upstream.breaker.state == "open");
    if is(Reason::BreakerOpen) && open {
        return;
    }
    let likely = match refusal.recent > 0.0 {
        true => Likely::Probably,
        false => Likely::Perhaps,
    };
    let recent = match refusal.recent > 0.0 {
        true => format!(", {:.0} of them while this watched", refusal.recent),
        false => String::new(),
    };
    let place = match (refusal.direction.as_str(), refusal.service.as_str()) {
        ("inbound", _) => "of what came in".to_owned(),
        (_, "") => "of what went out".to_owned(),
        (_, service) => format!("to {service}"),
    };
    let next = if is(Reason::PlaintextRefused) {
        "The workload is strict and a client has no proxy: inject the client, or set outrigger.dev/mtls=permissive.".to_owned()
    } else {
        refusal.advice.clone()
    };
    causes.push(cause(
        likely,
        format!("{}: {:.0} {place}{recent}", refusal.reason, refusal.total),
        next,
    ));
}

fn policies(facts: &Facts, causes: &mut Vec<Cause>) {
    for policy in facts.policies.iter().flatten() {
        if let Some(problem) = policy.problem() {
            causes.push(cause(
                Likely::Perhaps,
                format!(
                    "{} {}/{} is not in force: {problem}",
                    policy.kind, policy.namespace, policy.name
                ),
                "Correct it; `outrigger get policies` shows the state of all.",
            ));
        }
    }
}

#[cfg(test)]
#[path = "causes_tests.rs"]
pub mod tests;
