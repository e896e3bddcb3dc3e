//! The diagnosis: what the pod has, then what is likely the matter, with the next step.

use std::{fmt::Write, time::Duration};

use serde::Serialize;

use super::{
    causes::{Cause, Likely, causes},
    denials::Denial,
    facts::{Container, Event, Facts, Injection},
    refusals::{Refusal, refusals},
};
use crate::{
    cli::cluster::{Fact, Policy, Report, age},
    proxy::belief::{Belief, unix_seconds},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnosis {
    pod: String,
    workload: String,
    phase: String,
    injected: bool,
    containers: Vec<Container>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<Belief>,
    /// Why the proxy said nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy_silent: Option<String>,
    waits_for: Vec<String>,
    refusals: Vec<Refusal>,
    policies: Vec<Policy>,
    /// The ResiliencePolicies and routes of what it calls.
    calls: Vec<Policy>,
    /// Whom the proxy did not let in.
    denials: Vec<Denial>,
    events: Vec<Event>,
    log: Vec<String>,
    /// What could not be looked at, and why.
    unknown: Vec<String>,
    /// The most likely first.
    causes: Vec<Cause>,
    #[serde(skip)]
    injection: String,
    #[serde(skip)]
    now: u64,
}

impl Diagnosis {
    pub fn new(facts: &Facts) -> Self {
        let mut unknown = Vec::new();
        let mut known = |what: &str, why: Option<&String>| {
            unknown.extend(why.map(|why| format!("{what}: {why}")));
        };
        if !facts.injection.injected {
            known("its namespace", facts.injection.of_namespace.as_ref().err());
            known("the webhooks", facts.injection.webhook.as_ref().err());
        }
        known("policies", facts.policies.as_ref().err());
        for why in &facts.calls.unknown {
            known("policies of what it calls, in", Some(why));
        }
        known("events", facts.events.as_ref().err());
        known("the proxy's log", facts.log.as_ref().err());
        known("the controller's version", facts.controller.as_ref().err());
        let proxy = facts.proxy.as_ref();
        let counted = proxy.and_then(|proxy| {
            let before = proxy.before.as_ref().ok();
            Some(refusals(before, proxy.after.as_ref().ok()?))
        });
        let belief = proxy.map(|proxy| &proxy.belief);
        let waits = proxy.and_then(|proxy| proxy.waits_for.as_ref().ok());
        Self {
            pod: facts.pod.clone(),
            workload: facts.workload.clone(),
            phase: facts.phase.clone(),
            injected: facts.injection.injected,
            containers: facts.containers.clone(),
            proxy: belief.and_then(|belief| belief.as_ref().ok().cloned()),
            proxy_silent: belief.and_then(|belief| belief.as_ref().err().cloned()),
            waits_for: waits.cloned().unwrap_or_default(),
            refusals: counted.unwrap_or_default(),
            policies: or_none(&facts.policies),
            calls: facts.calls.policies.clone(),
            denials: facts.denials.clone(),
            events: or_none(&facts.events),
            log: or_none(&facts.log),
            unknown,
            causes: causes(facts),
            injection: injection(&facts.injection),
            now: unix_seconds(facts.now),
        }
    }

    fn proxy_lines(&self) -> String {
        let Some(belief) = &self.proxy else {
            let why = self
                .proxy_silent
                .as_ref()
                .map(|why| format!("Proxy        not asked: {why}\n"));
            return why.unwrap_or_default();
        };
        let certificate = match belief.certificate_not_after {
            None => "no certificate yet".to_owned(),
            Some(end) if end <= self.now => "certificate expired".to_owned(),
            Some(end) => {
                let left = age(Duration::from_secs(end - self.now));
                format!("certificate valid for {left}")
            }
        };
        let ready = match self.waits_for.is_empty() {
            true => "ready".to_owned(),
            false => format!("waits for {}", self.waits_for.join("; ")),
        };
        let controller = match belief.discovery.connected {
            true => "connected to",
            false => "has lost",
        };
        let mtls = belief
            .workload
            .as_ref()
            .and_then(|workload| workload["mtls"].as_str());
        format!(
            "Proxy        {}, {ready}, {controller} {}\nIdentity     {}, {certificate}, mTLS {}\n",
            belief.version,
            belief.discovery.controller,
            belief.identity,
            mtls.unwrap_or("permissive"),
        )
    }

    fn held_back_lines(&self) -> String {
        let upstreams = self.proxy.iter().flat_map(|belief| &belief.upstreams);
        let line = |upstream: &crate::proxy::belief::Upstream| {
            format!(
                "  {:<30} breaker {}, {} endpoints out, bulkhead {} of {}\n",
                upstream.title(),
                upstream.breaker.state,
                upstream.out(),
                upstream.bulkhead.in_use,
                upstream.bulkhead.limit,
            )
        };
        upstreams.map(line).collect()
    }
}

pub fn event_line(event: &Event, now: u64) -> String {
    let ago = event
        .at
        .map(|at| age(Duration::from_secs(now.saturating_sub(at))));
    let times = match event.count {
        0 | 1 => String::new(),
        n => format!(" (×{n})"),
    };
    format!(
        "  {:>8} ago  {}  {}{times}\n",
        ago.unwrap_or_default(),
        event.reason,
        event.message.replace('\n', " ")
    )
}

fn or_none<T: Clone>(fact: &Fact<Vec<T>>) -> Vec<T> {
    fact.as_ref().ok().cloned().unwrap_or_default()
}

fn injection(injection: &Injection) -> String {
    let by = match (&injection.of_pod, &injection.of_namespace) {
        (Some(value), _) => format!("its own annotation says {value}"),
        (None, Ok(Some(value))) => format!("its namespace says {value}"),
        (None, Ok(None)) => "neither it nor its namespace is annotated".to_owned(),
        (None, Err(_)) => "it is not annotated itself, its namespace could not be read".to_owned(),
    };
    match injection.injected {
        true => format!("has a proxy; {by}"),
        false => format!("has no proxy; {by}"),
    }
}

fn policy_lines(policies: &[Policy]) -> String {
    let line = |policy: &Policy| {
        let state = policy.problem().unwrap_or("accepted");
        let targets = policy.targets.join(", ");
        let Policy {
            kind,
            namespace,
            name,
            ..
        } = policy;
        match targets.is_empty() {
            true => format!("  {kind} {namespace}/{name}: {state}\n"),
            false => format!("  {kind} {namespace}/{name} for {targets}: {state}\n"),
        }
    };
    policies.iter().map(line).collect()
}

/// A heading over lines, or nothing where there are none.
pub fn section(heading: &str, lines: &str) -> String {
    match lines.is_empty() {
        true => String::new(),
        false => format!("\n{heading}\n{lines}"),
    }
}

impl Report for Diagnosis {
    fn text(&self) -> String {
        let mut text = format!(
            "Pod          {} of {}, {}\nInjection    {}\n{}",
            self.pod,
            self.workload,
            self.phase,
            self.injection,
            self.proxy_lines()
        );
        let containers = self.containers.iter().map(|container| {
            let ready = if container.ready {
                "ready"
            } else {
                "not ready"
            };
            let before = container
                .before
                .as_ref()
                .map(|before| format!(", before that {before}"));
            format!(
                "  {:<30} {}, {ready}, {} restarts{}\n",
                container.name,
                container.state,
                container.restarts,
                before.unwrap_or_default()
            )
        });
        text += &section("Containers", &containers.collect::<String>());
        text += &section("Sends to", &self.held_back_lines());
        let refusals = self.refusals.iter().map(|refusal| {
            format!(
                "  {:<24} {:>8.0} {:>6.0}  {} {}\n",
                refusal.reason, refusal.total, refusal.recent, refusal.direction, refusal.service
            )
        });
        let heading = "Refusals by reason: since it started, and while this watched";
        text += &section(heading, &refusals.collect::<String>());
        text += &section("Policies", &policy_lines(&self.policies));
        text += &section("In force for what it calls", &policy_lines(&self.calls));
        let denials = self.denials.iter().map(|denial| format!("  {denial}\n"));
        text += &section("Denied, by its log", &denials.collect::<String>());
        let events = self.events.iter().map(|event| event_line(event, self.now));
        text += &section("Last events", &events.collect::<String>());
        let log = self.log.iter().map(|line| format!("  {line}\n"));
        text += &section(
            "Last warnings and errors of the proxy",
            &log.collect::<String>(),
        );
        let unknown = self.unknown.iter().map(|line| format!("  {line}\n"));
        text += &section("Not looked at", &unknown.collect::<String>());
        text += &section("Likely causes", &likely(&self.causes));
        text
    }
}

pub fn likely(causes: &[Cause]) -> String {
    let mut text = String::new();
    for (number, cause) in causes.iter().enumerate() {
        let sure = match cause.likely {
            Likely::Surely => "surely",
            Likely::Probably => "probably",
            Likely::Perhaps => "perhaps",
            Likely::Earlier => "earlier",
            Likely::Past => "past",
        };
        let number = number + 1;
        writeln!(
            text,
            "  {number}. {sure}: {}\n     → {}",
            cause.what, cause.next
        )
        .expect("writing to a String does not fail");
    }
    match text.is_empty() {
        true => "  None: nothing here explains a failure.\n     → Look at who calls it: `outrigger diagnose` the client's pod, or `outrigger tap` this one.\n".to_owned(),
        false => text,
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
