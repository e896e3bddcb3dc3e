//! What the proxy holds back, and what it counts.

use super::{Cause, Likely, cause};
use crate::{
    cli::diagnose::{
        answers::{Answers, answers},
        facts::{Facts, ProxySays},
        refusals::{Refusal, refusals},
    },
    proxy::belief::{Belief, Breaker, Upstream},
    telemetry::Reason,
};

pub fn traffic(facts: &Facts, proxy: &ProxySays, belief: &Belief, causes: &mut Vec<Cause>) {
    let before = proxy.before.as_ref().ok();
    let now = proxy.after.as_ref().ok();
    let answered = now.map(|now| answers(before, now)).unwrap_or_default();
    let refused = now.map(|now| refusals(before, now)).unwrap_or_default();
    for all in &answered {
        causes.extend(failed(facts, all));
    }
    for upstream in &belief.upstreams {
        let used = answered
            .iter()
            .any(|all| all.is_to(&upstream.upstream) && all.requests.recent > 0.0);
        breaker(upstream, belief, used, causes);
        bulkheads(upstream, causes);
    }
    for refusal in &refused {
        causes.extend(refusing(facts, refusal, belief));
    }
}

/// What the application, or a service that it calls, answered with a server's error of its own.
fn failed(facts: &Facts, all: &Answers) -> Option<Cause> {
    let (failed, requests) = (all.failed, all.requests);
    if failed.total == 0.0 {
        return None;
    }
    let ever = format!(
        "{:.0} of {:.0} since the proxy started",
        failed.total, requests.total
    );
    let (often, likely) = if failed.recent > 0.0 {
        let now = format!(
            "{:.0} of {:.0} requests while this watched",
            failed.recent, requests.recent
        );
        (format!("{now}, {ever}"), Likely::Surely)
    } else if requests.recent > 0.0 {
        (format!("{ever}, none while this watched"), Likely::Earlier)
    } else {
        (
            format!("{ever}; it was not asked while this watched"),
            Likely::Perhaps,
        )
    };
    if all.inbound {
        let (namespace, pod) = facts.pod.split_once('/').unwrap_or(("", &facts.pod));
        return Some(cause(
            likely,
            format!("The application itself answers 5xx: {often}"),
            format!(
                "Its log says why: `kubectl logs -n {namespace} {pod}`; `outrigger tap -n {namespace} {pod} --status 5xx` shows the requests."
            ),
        ));
    }
    let likely = likely.max(Likely::Probably);
    let (who, next) = match all.service.contains('/') {
        true => (
            all.service.as_str(),
            "Diagnose its pods: the mesh hands on what they answer.",
        ),
        false => (
            "What is called by its address, or is of no Service,",
            "`outrigger tap --direction outbound --status 5xx` of this pod names the address.",
        ),
    };
    Some(cause(
        likely,
        format!("{who} itself answers 5xx: {often}"),
        next,
    ))
}

/// `used`: whether anything was sent there while this watched.
fn breaker(upstream: &Upstream, belief: &Belief, used: bool, causes: &mut Vec<Cause>) {
    let title = upstream.title();
    let gone = match used {
        true => None,
        false => gone(upstream, belief),
    };
    if upstream.breaker.is_open() {
        let (likely, how) = match (used, gone) {
            (true, _) => (Likely::Probably, "its requests are refused or fall back"),
            (false, None) => (Likely::Earlier, "nothing was sent there while this watched"),
            (false, Some(how)) => (Likely::Past, how),
        };
        let next = match gone {
            Some(_) => {
                "It matters only where something is to call it again: diagnose its pods then."
                    .to_owned()
            }
            None => format!(
                "{} failed before: diagnose its pods. The breaker tries it again by itself.",
                upstream.upstream
            ),
        };
        causes.push(cause(
            likely,
            format!("The breaker of {title} is open: {how}"),
            next,
        ));
    } else {
        endpoints(upstream, used, gone.is_some(), causes);
    }
}

/// Those that are out, and those that should be.
fn endpoints(upstream: &Upstream, used: bool, gone: bool, causes: &mut Vec<Cause>) {
    let title = upstream.title();
    let count = |is: fn(&Breaker) -> bool| {
        let those = upstream.endpoints.iter().filter(|(_, breaker)| is(breaker));
        those.map(|(addr, _)| addr.to_string()).collect::<Vec<_>>()
    };
    let likely = match (used, gone) {
        (true, _) => Likely::Perhaps,
        (false, false) => Likely::Earlier,
        (false, true) => Likely::Past,
    };
    let next = "Diagnose the pods with these addresses: `kubectl get pods -A -o wide`.";
    let out = count(Breaker::is_out);
    if !out.is_empty() {
        let what = format!(
            "{} endpoints of {title} are out after failures: {}",
            upstream.out(),
            out.join(", ")
        );
        causes.push(cause(likely, what, next));
    }
    let spared = count(|breaker| breaker.is_open() && breaker.spared);
    if !spared.is_empty() {
        let what = format!(
            "{} of {} endpoints of {title} failed, and are in use because too few are left: {}",
            spared.len(),
            upstream.endpoints.len(),
            spared.join(", ")
        );
        causes.push(cause(likely, what, next));
    }
}

/// Why nothing is left of a service but its breakers: it has no endpoint, or the application has
/// not dialled it for so long that the proxy knows nothing else of it.
fn gone(upstream: &Upstream, belief: &Belief) -> Option<&'static str> {
    if upstream.address.is_some() {
        return None;
    }
    let mut services = belief.services.iter();
    let known = services.find(|service| service.service == upstream.upstream);
    match known {
        None => Some("nothing is sent there any more"),
        Some(known) if known.endpoints == 0 => {
            Some("nothing is sent there, and it has no pods now")
        }
        Some(_) => None,
    }
}

fn bulkheads(upstream: &Upstream, causes: &mut Vec<Cause>) {
    let routes = upstream
        .routes
        .iter()
        .map(|(route, held)| (format!("route {route}"), held));
    let own = (upstream.title(), &upstream.bulkhead);
    for (name, bulkhead) in routes.chain([own]) {
        if bulkhead.is_full() {
            causes.push(cause(
                Likely::Probably,
                format!("The bulkhead of {name} is full ({} of {}, {} queued)", bulkhead.in_use, bulkhead.limit, bulkhead.queued),
                "It answers too slowly for what is asked of it: find out why it is slow, add replicas, or raise the limit in a ResiliencePolicy.",
            ));
        }
    }
}

/// A reason that is counted. What breakers and bulkheads say by their state is not said twice.
fn refusing(facts: &Facts, refusal: &Refusal, belief: &Belief) -> Option<Cause> {
    let is = |reason: Reason| refusal.reason == reason.as_str();
    let to = |upstream: &&Upstream| upstream.upstream == refusal.service;
    let mut upstreams = belief.upstreams.iter().filter(to);
    let told = if is(Reason::BreakerOpen) {
        upstreams.any(|upstream| upstream.breaker.is_open())
    } else if is(Reason::BulkheadFull) || is(Reason::BulkheadQueueTimeout) {
        upstreams.any(|upstream| {
            let mut routes = upstream.routes.values();
            upstream.bulkhead.is_full() || routes.any(|bulkhead| bulkhead.is_full())
        })
    } else {
        false
    };
    if told {
        return None;
    }
    let (likely, recent) = match refusal.recent > 0.0 {
        true => (
            Likely::Probably,
            format!(", {:.0} of them while this watched", refusal.recent),
        ),
        false => (Likely::Earlier, ", none while this watched".to_owned()),
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
    let mut what = format!("{}: {:.0} {place}{recent}", refusal.reason, refusal.total);
    if is(Reason::AccessDenied) && refusal.direction == "inbound" && !facts.denials.is_empty() {
        let denials: Vec<_> = facts.denials.iter().map(ToString::to_string).collect();
        what = format!("{what}; by its log {}", denials.join("; "));
    }
    Some(cause(likely, what, next))
}

#[cfg(test)]
#[path = "traffic_tests.rs"]
mod tests;
