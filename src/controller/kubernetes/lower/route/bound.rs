//! What the routes of one Service may take together. They are in the memory of every proxy whose
//! application calls it, and whoever may create a route anywhere may name any Service.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::Route;
use crate::controller::kubernetes::{
    findings::{ObjectKind, ObjectRef},
    lower::{
        index::Index,
        object::Name,
        policy::{self, Target},
    },
};

/// Bytes of JSON, of the routes for everyone: some hundred long rules.
const FOR_EVERYONE: usize = 256 << 10;
/// Of those for the clients of one other namespace.
const FOR_NAMESPACE: usize = 64 << 10;

/// The routes that a Service has no room for: each that no longer fits beside those before it.
pub(in super::super) fn beyond(index: &Index, service: &Name) -> BTreeSet<ObjectRef> {
    let ids = index.routes_on.of(service).iter();
    let mut routes: Vec<_> = ids
        .filter_map(|id| index.routes.get_key_value(id))
        .filter(|(_, route)| route.problems.is_empty())
        .collect();
    // Of GRPCRoutes and HTTPRoutes at one port the former come first.
    routes.sort_by_key(|(id, route)| (id.kind != ObjectKind::GrpcRoute, route.created, *id));
    let mut taken: HashMap<&Arc<str>, usize> = HashMap::new();
    let mut beyond = BTreeSet::new();
    for (id, route) in routes {
        let taken = taken.entry(&id.namespace).or_default();
        let total = taken.saturating_add(bytes(index, id, route, service));
        if total <= bound(id, service) {
            *taken = total;
        } else {
            beyond.insert(id.clone());
        }
    }
    beyond
}

/// Why such a route is not in force.
pub(super) fn message(index: &Index, id: &ObjectRef, route: &Route, service: &Name) -> String {
    let whose = match id.namespace == service.namespace {
        true => "its own namespace",
        false => "each other namespace",
    };
    format!(
        "Service {service} has {} bytes for the routes of {whose}, and this one with its {} does not fit beside the older ones: make it smaller, or remove others",
        bound(id, service),
        bytes(index, id, route, service)
    )
}

fn bound(id: &ObjectRef, service: &Name) -> usize {
    match id.namespace == service.namespace {
        true => FOR_EVERYONE,
        false => FOR_NAMESPACE,
    }
}

/// What a route takes in a resource: each of its rules has its policy with it.
fn bytes(index: &Index, id: &ObjectRef, route: &Route, service: &Name) -> usize {
    let bytes = |target| policy::bytes(index, &target);
    let of_policies = match bytes(Target::Route(id.clone())) {
        Some(policy) => policy.saturating_mul(route.rules.len()),
        None => {
            let retried = route.rules.iter().filter(|rule| rule.retry.is_some());
            let of_service = bytes(Target::Service(service.clone()));
            let of_service = of_service.unwrap_or_else(|| *policy::DEFAULT_BYTES);
            of_service.saturating_mul(retried.count())
        }
    };
    route.bytes.saturating_add(of_policies)
}
