//! What is likely the matter with a pod, from the facts: most likely first.

mod containers;
mod injection;
mod traffic;

use serde::Serialize;

use super::facts::{Facts, ProxySays};
use crate::{
    cli::cluster,
    proxy::belief::{Belief, unix_seconds},
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
    /// It may have to do with it, or will matter.
    Perhaps,
    /// It happened, but not while this watched: a counter since the start, a breaker that is
    /// still open and stops nobody.
    Earlier,
    /// Nothing is left of it but a breaker whose upstream is gone.
    Past,
}

/// Everything that is amiss; empty when nothing is.
pub fn causes(facts: &Facts) -> Vec<Cause> {
    let mut causes = Vec::new();
    containers::containers(facts, &mut causes);
    causes.extend(injection::misspelt(facts));
    if let Some(trouble) = &facts.new_pods_refused {
        causes.push(new_pods_refused(trouble));
    }
    if facts.injection.injected {
        if let Some(proxy) = &facts.proxy {
            told(facts, proxy, &mut causes);
        }
        policies(facts, &mut causes);
    } else {
        causes.extend(injection::not_injected(facts));
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

/// What the API server holds against the workload's next pods.
pub fn new_pods_refused(message: &str) -> Cause {
    cause(
        Likely::Surely,
        format!("New pods of the workload are refused: {message}"),
        cluster::advice_on_refusal(message),
    )
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
                "That takes the rights to get and to create pods/portforward, and a running proxy.",
            ));
            return;
        }
        Err(_) => return,
    };
    standing(facts, belief, causes);
    traffic::traffic(facts, proxy, belief, causes);
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

fn policies(facts: &Facts, causes: &mut Vec<Cause>) {
    let own = facts.policies.as_deref().unwrap_or_default();
    let called = &facts.calls.policies;
    let called = called.iter().filter(|policy| !own.contains(policy));
    for policy in own.iter().chain(called) {
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
