//! Resilience policies: which one holds for a Service or a route, and what becomes of it there.

use std::{
    cmp::Reverse,
    collections::BTreeSet,
    sync::{Arc, LazyLock},
};

use kube::ResourceExt;
use serde::Serialize;

use super::{
    address::key,
    index::Index,
    object::{Name, Object},
    read::Read,
    reference::{Reference, Unresolved, resolve},
    route,
};
use crate::{
    controller::kubernetes::{
        api::{
            ResiliencePolicy as Api,
            policy_status::{PolicyTarget, TargetKind},
            resilience_policy::FallbackLink,
        },
        findings::{Attachment, Finding, ObjectKind, ObjectRef, TargetRef, Verdict},
    },
    discovery::{
        resource::ResourceName,
        validate::{Checker, Problem, check_policy},
    },
    resilience::{Fallback, ResiliencePolicy, StaticResponse, TimeoutPolicy},
};

/// A `ResiliencePolicy` as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub uid: Arc<str>,
    pub generation: i64,
    /// Seconds since 1970: of several for one target, the oldest counts.
    pub created: i64,
    pub targets: Vec<Target>,
    /// Without fallbacks.
    pub policy: ResiliencePolicy,
    pub fallback: Vec<Link>,
    /// How long the JSON of both is, about.
    pub bytes: usize,
    /// Why it is refused, if it is.
    pub problems: Vec<Problem>,
}

/// What a policy is for, in its own namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    Service(Name),
    Route(ObjectRef),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Link {
    Plain(Fallback),
    Service(Reference),
}

impl Policy {
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.fallback.iter().filter_map(|link| match link {
            Link::Plain(_) => None,
            Link::Service(to) => Some(to),
        })
    }
}

impl Read for Api {
    fn read(&self) -> Option<Object> {
        let namespace = self.namespace().unwrap_or_default();
        let spec = &self.spec;
        let fallback: Vec<_> = spec.fallback.iter().map(|l| link(&namespace, l)).collect();
        let policy = ResiliencePolicy {
            breaker: spec.breaker.clone(),
            bulkhead: spec.bulkhead.clone(),
            retry: spec.retry.clone(),
            timeouts: spec.timeouts.clone(),
            fallback: Vec::new(),
            priority_header: spec.priority_header.clone(),
        };
        let mut c = Checker::new();
        // Whether a Service is there is not the policy's own fault.
        let plain = fallback.iter().filter_map(|link| match link {
            Link::Plain(fallback) => Some(fallback.clone()),
            Link::Service(_) => None,
        });
        let checked = ResiliencePolicy {
            fallback: plain.collect(),
            ..policy.clone()
        };
        check_policy(&mut c, &checked);
        // As a fallback, of a Service there is little more than its name.
        let links = fallback.iter().map(|link| match link {
            Link::Plain(_) => 0,
            Link::Service(to) => to.namespace.len() + to.name.len() + 32,
        });
        let bytes = json_bytes(&checked).saturating_add(links.sum());
        let targets = spec.target_refs.iter();
        Some(Object::ResiliencePolicy(Box::new(Policy {
            uid: route::uid(&self.metadata),
            generation: self.metadata.generation.unwrap_or_default(),
            created: route::created(&self.metadata),
            targets: targets
                .map(|target| read_target(&namespace, target))
                .collect(),
            policy,
            fallback,
            bytes,
            problems: c.finish(),
        })))
    }
}

fn read_target(namespace: &str, target: &PolicyTarget) -> Target {
    let route = |kind| {
        Target::Route(ObjectRef {
            kind,
            namespace: namespace.into(),
            name: target.name.as_str().into(),
        })
    };
    match target.kind {
        TargetKind::Service => Target::Service(Name::new(namespace, target.name.as_str())),
        TargetKind::HttpRoute => route(ObjectKind::HttpRoute),
        TargetKind::GrpcRoute => route(ObjectKind::GrpcRoute),
    }
}

fn link(namespace: &str, link: &FallbackLink) -> Link {
    match link {
        FallbackLink::Stale(oldest) => Link::Plain(Fallback::Stale(*oldest)),
        FallbackLink::Static(answer) => Link::Plain(Fallback::Static(StaticResponse {
            status: answer.status,
            headers: answer
                .headers
                .iter()
                .map(|header| (header.name.clone(), header.value.clone()))
                .collect(),
            body: answer.body.clone(),
        })),
        FallbackLink::Service(to) => Link::Service(Reference {
            group: "".into(),
            kind: "Service".into(),
            namespace: to.namespace.as_deref().unwrap_or(namespace).into(),
            name: to.name.as_str().into(),
            port: Some(to.port),
        }),
    }
}

/// The policy that calls to a service get.
pub(super) fn of_service(index: &Index, service: &Name) -> ResiliencePolicy {
    let winner = winner(index, &Target::Service(service.clone()));
    winner.map_or_else(ResiliencePolicy::default, |(id, policy)| {
        lower(index, id, policy)
    })
}

/// The policy in place of the service's, if the route has one of its own.
pub(super) fn of_route(index: &Index, route: &ObjectRef) -> Option<ResiliencePolicy> {
    let (id, policy) = winner(index, &Target::Route(route.clone()))?;
    Some(lower(index, id, policy))
}

/// How long the JSON of a part of a resource is.
pub(super) fn json_bytes(part: &impl Serialize) -> usize {
    serde_json::to_vec(part).map_or(usize::MAX, |json| json.len())
}

/// How long the JSON is of the policy that holds where there is none.
pub(super) static DEFAULT_BYTES: LazyLock<usize> =
    LazyLock::new(|| json_bytes(&ResiliencePolicy::default()));

/// How long the JSON of a target's own policy is.
pub(super) fn bytes(index: &Index, target: &Target) -> Option<usize> {
    winner(index, target).map(|(_, policy)| policy.bytes)
}

/// What of a service's policy is for the workloads behind it: how much comes in at once. Retries,
/// fallbacks and deadlines are the callers'.
pub(super) fn of_workload(index: &Index, service: &Name) -> Option<ResiliencePolicy> {
    let (_, policy) = winner(index, &Target::Service(service.clone()))?;
    let policy = &policy.policy;
    Some(ResiliencePolicy {
        bulkhead: policy.bulkhead.clone(),
        priority_header: policy.priority_header.clone(),
        timeouts: TimeoutPolicy {
            idle: policy.timeouts.idle,
            ..Default::default()
        },
        ..Default::default()
    })
}

fn winner<'a>(index: &'a Index, target: &Target) -> Option<(&'a ObjectRef, &'a Policy)> {
    let ids = index.policies_on.of(target).iter();
    ids.filter_map(|id| index.policies.get_key_value(id))
        .filter(|(_, policy)| policy.problems.is_empty())
        .filter(|(_, policy)| leads_back(index, policy, target).is_none())
        .max_by_key(|(id, policy)| Reverse((policy.created, *id)))
}

/// Why a policy cannot hold for a target, if a fallback asks the service that could not answer.
fn leads_back(index: &Index, policy: &Policy, target: &Target) -> Option<String> {
    let asked = match target {
        Target::Service(name) => name.clone(),
        Target::Route(id) => only_backend(index, id)?,
    };
    let number = policy.fallback.iter().position(|link| match link {
        Link::Plain(_) => false,
        Link::Service(to) => (&to.namespace, &to.name) == (&asked.namespace, &asked.name),
    })?;
    Some(format!(
        "fallback[{number}].service: {asked} is the one that could not answer: name another Service"
    ))
}

/// The one Service that all requests of a route go to.
fn only_backend(index: &Index, id: &ObjectRef) -> Option<Name> {
    let route = index.routes.get(id)?;
    let mut asked = BTreeSet::new();
    for rule in &route.rules {
        let backends = rule.backends.iter().map(|backend| &backend.to);
        asked.extend(backends.map(Reference::target));
        if rule.backends.is_empty() {
            asked.extend(route.parents.iter().map(|to| route::parent(id, to)));
        }
    }
    asked.pop_first().filter(|_| asked.is_empty())
}

fn lower(index: &Index, id: &ObjectRef, policy: &Policy) -> ResiliencePolicy {
    let links = policy.fallback.iter().filter_map(|link| match link {
        Link::Plain(fallback) => Some(fallback.clone()),
        Link::Service(to) => resolve(index, id, None, to).ok().map(Fallback::Service),
    });
    ResiliencePolicy {
        fallback: links.collect(),
        ..policy.policy.clone()
    }
}

/// What becomes of a policy at each of its targets.
pub(super) fn finding(index: &Index, id: &ObjectRef) -> Option<Finding> {
    let policy = index.policies.get(id)?;
    let references = policy.references();
    let mut bad = references.filter_map(|to| resolve(index, id, None, to).err());
    let resolved = route::verdict(bad.next().map_or(Ok(()), Err));
    let attachment = |target: &Target| Attachment {
        target: target_ref(target),
        accepted: accepted(index, id, policy, target),
        resolved: resolved.clone(),
        resources: resources(index, target),
    };
    Some(Finding {
        uid: policy.uid.clone(),
        generation: policy.generation,
        attachments: policy.targets.iter().map(attachment).collect(),
    })
}

fn accepted(index: &Index, id: &ObjectRef, policy: &Policy, target: &Target) -> Verdict {
    let bad = |reason, message| route::verdict(Err(Unresolved { reason, message }));
    if !policy.problems.is_empty() {
        let problems: Vec<_> = policy.problems.iter().map(ToString::to_string).collect();
        return bad("Invalid", problems.join("; "));
    }
    let missing = match target {
        Target::Service(name) => {
            let known = index.services.get(name).is_some_and(|s| !s.external);
            (!known).then(|| format!("there is no Service {name} that has endpoints"))
        }
        Target::Route(route) => {
            let known = index.routes.contains_key(route);
            (!known).then(|| format!("there is no {route}"))
        }
    };
    if let Some(message) = missing {
        return bad("TargetNotFound", message);
    }
    if let Some(message) = leads_back(index, policy, target) {
        return bad("Invalid", message);
    }
    match winner(index, target) {
        Some((winner, _)) if winner != id => {
            let message = format!("{winner} is older and is for the same target: remove one");
            bad("Conflicted", message)
        }
        _ => Verdict::Good,
    }
}

fn target_ref(target: &Target) -> TargetRef {
    let (kind, name) = match target {
        Target::Service(name) => (TargetKind::Service, &name.name),
        Target::Route(route) => {
            let kind = match route.kind {
                ObjectKind::GrpcRoute => TargetKind::GrpcRoute,
                _ => TargetKind::HttpRoute,
            };
            (kind, &route.name)
        }
    };
    TargetRef {
        group: kind.group().into(),
        kind: kind.as_str().into(),
        namespace: None,
        name: name.to_string(),
        section_name: None,
        port: None,
    }
}

fn resources(index: &Index, target: &Target) -> Vec<ResourceName> {
    match target {
        Target::Service(name) => {
            let service = index.services.get(name).filter(|s| !s.external);
            let ports = service.into_iter().flat_map(|service| &service.ports);
            ports
                .map(|port| ResourceName::service(&key(name, port.number)))
                .collect()
        }
        Target::Route(id) => {
            let finding = route::finding(index, id);
            let attachments = finding.into_iter().flat_map(|finding| finding.attachments);
            attachments.flat_map(|at| at.resources).collect()
        }
    }
}
