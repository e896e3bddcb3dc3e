//! Which routes a service port has, and what becomes of a route at each of its parents.

use std::sync::Arc;

use super::{Retry, Route, Rule, bound};
use crate::{
    controller::kubernetes::{
        findings::{Attachment, Finding, ObjectKind, ObjectRef, TargetRef, Verdict},
        lower::{
            address::key,
            index::Index,
            object::{Name, Port, Service},
            policy,
            reference::{Unresolved, resolve},
            service::protocol,
        },
    },
    discovery::{
        model::{self, Protocol},
        resource::ResourceName,
        validate::Problem,
    },
    resilience::ResiliencePolicy,
};

/// Problems that are told at once.
const MAX_PROBLEMS: usize = 5;

/// The Service that a parent stands for.
pub(in super::super) fn parent(route: &ObjectRef, parent: &TargetRef) -> Name {
    let namespace = match &parent.namespace {
        Some(namespace) => namespace.as_str().into(),
        None => route.namespace.clone(),
    };
    Name::new(namespace, parent.name.as_str())
}

/// The ports of the parent that the route is for, or why it is for none.
pub(in super::super) fn attach(
    index: &Index,
    id: &ObjectRef,
    route: &Route,
    target: &TargetRef,
) -> Result<Vec<u16>, Unresolved> {
    let bad = |reason, message| Err(Unresolved { reason, message });
    if !route.problems.is_empty() {
        return bad("UnsupportedValue", told(&route.problems));
    }
    let name = parent(id, target);
    let Some(service) = index.services.get(&name) else {
        return bad("NoMatchingParent", format!("there is no Service {name}"));
    };
    if service.external || service.addresses.is_empty() {
        let message = format!(
            "Service {name} has no address of its own: its clients dial something else, and no route sees that"
        );
        return bad("UnsupportedValue", message);
    }
    let meant: Vec<_> = service.ports.iter().filter(|p| means(target, p)).collect();
    if meant.is_empty() {
        return bad("NoMatchingParent", no_port(&name, service));
    }
    let http = |port: &&&Port| protocol(index, &name, port.number) != Protocol::Tcp;
    let meant: Vec<_> = meant.iter().filter(http).collect();
    if meant.is_empty() {
        let message = format!(
            "no port of Service {name} that this is for is HTTP: see appProtocol, the port's name and outrigger.dev/opaque-ports"
        );
        return bad("NoMatchingParent", message);
    }
    if index.beyond.get(&name).is_some_and(|all| all.contains(id)) {
        return bad("TooLarge", bound::message(index, id, route, &name));
    }
    let ports = meant.iter().map(|port| port.number);
    let free: Vec<_> = ports
        .filter(|port| id.kind == ObjectKind::GrpcRoute || !taken(index, id, &name, *port))
        .collect();
    if free.is_empty() {
        let message = format!("GRPCRoutes are attached to Service {name} there, and come first");
        return bad("Conflicted", message);
    }
    Ok(free)
}

fn means(target: &TargetRef, port: &Port) -> bool {
    let section = target.section_name.as_deref();
    target.port.is_none_or(|number| number == port.number)
        && section.is_none_or(|section| section == &*port.name)
}

fn no_port(name: &Name, service: &Service) -> String {
    let ports = service.ports.iter();
    let ports: Vec<_> = ports
        .map(|p| format!("{} ({})", p.number, p.name))
        .collect();
    format!(
        "Service {name} has no such TCP port: it has {}",
        ports.join(", ")
    )
}

/// Whether a `GRPCRoute` for the same clients has the port: one kind of route at a time.
fn taken(index: &Index, id: &ObjectRef, service: &Name, port: u16) -> bool {
    let others = index.routes_on.of(service).iter();
    let mut others = others
        .filter(|other| other.kind == ObjectKind::GrpcRoute && other.namespace == id.namespace);
    others.any(|other| has(index, other, service, port))
}

fn has(index: &Index, id: &ObjectRef, service: &Name, port: u16) -> bool {
    let Some(route) = index.routes.get(id) else {
        return false;
    };
    let mut parents = route.parents.iter().filter(|t| parent(id, t) == *service);
    parents.any(|target| attach(index, id, route, target).is_ok_and(|ports| ports.contains(&port)))
}

fn told(problems: &[Problem]) -> String {
    let shown: Vec<_> = problems
        .iter()
        .take(MAX_PROBLEMS)
        .map(ToString::to_string)
        .collect();
    shown.join("; ")
}

/// The rules in force at a service port, the oldest route first.
pub(in super::super) fn routes(index: &Index, service: &Name, port: u16) -> Vec<model::Route> {
    let ids = index.routes_on.of(service).iter();
    let mut attached: Vec<_> = ids
        .filter(|id| has(index, id, service, port))
        .filter_map(|id| index.routes.get_key_value(id))
        .collect();
    attached.sort_by_key(|(id, route)| (route.created, *id));
    attached
        .into_iter()
        .flat_map(|(id, route)| {
            let rules = route.rules.iter();
            rules.map(move |rule| lower(index, id, rule, service))
        })
        .collect()
}

fn lower(index: &Index, id: &ObjectRef, rule: &Rule, service: &Name) -> model::Route {
    let home = Some(&*service.namespace);
    let mut route = rule.resolved(|to| resolve(index, id, home, to).ok());
    if id.namespace != service.namespace {
        route.consumers = Some(id.namespace.clone());
    }
    let own = policy::of_route(index, id);
    route.policy = match &rule.retry {
        Some(retry) => Some(retried(
            own.unwrap_or_else(|| policy::of_service(index, service)),
            retry,
        )),
        None => own,
    };
    route
}

fn retried(mut policy: ResiliencePolicy, retry: &Retry) -> ResiliencePolicy {
    policy.retry.attempts = retry.attempts.unwrap_or(policy.retry.attempts);
    if !retry.statuses.is_empty() {
        policy.retry.statuses.clone_from(&retry.statuses);
    }
    policy
}

/// What becomes of a route; nothing to tell of one that no Service is a parent of.
pub(in super::super) fn finding(index: &Index, id: &ObjectRef) -> Option<Finding> {
    let route = index.routes.get(id)?;
    let attachment = |target: &TargetRef| {
        let service = parent(id, target);
        let ports = attach(index, id, route, target);
        Attachment {
            target: target.clone(),
            resolved: resolved(index, id, route, &service.namespace),
            resources: resources(&service, ports.as_deref().unwrap_or_default()),
            accepted: verdict(ports.map(drop)),
        }
    };
    let attachments: Vec<_> = route.parents.iter().map(attachment).collect();
    (!attachments.is_empty()).then_some(Finding {
        uid: route.uid.clone(),
        generation: route.generation,
        attachments,
    })
}

fn resolved(index: &Index, id: &ObjectRef, route: &Route, home: &Arc<str>) -> Verdict {
    let references = route.references();
    let mut bad = references.filter_map(|to| resolve(index, id, Some(&**home), to).err());
    match bad.next() {
        Some(first) => verdict(Err(first)),
        None => Verdict::Good,
    }
}

fn resources(service: &Name, ports: &[u16]) -> Vec<ResourceName> {
    let ports = ports.iter();
    ports
        .map(|port| ResourceName::service(&key(service, *port)))
        .collect()
}

pub(in super::super) fn verdict(result: Result<(), Unresolved>) -> Verdict {
    match result {
        Ok(()) => Verdict::Good,
        Err(Unresolved { reason, message }) => Verdict::Bad { reason, message },
    }
}
