//! From a route or policy to the Service that it names: whether it is there, and may be named.

use std::sync::Arc;

use super::{
    index::{Index, within},
    object::{Grant, Name},
};
use crate::{
    controller::kubernetes::{
        api::{GATEWAY_GROUP, GROUP},
        findings::{ObjectKind, ObjectRef},
    },
    discovery::model::ServiceKey,
};

/// A backend, a mirror or a fallback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Empty for the core group.
    pub group: Arc<str>,
    pub kind: Arc<str>,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub port: Option<u16>,
}

impl Reference {
    pub fn target(&self) -> Name {
        Name::new(self.namespace.clone(), self.name.clone())
    }
}

/// Why a reference leads nowhere: a reason of the Gateway API, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unresolved {
    pub reason: &'static str,
    pub message: String,
}

/// Resolves what `from` names. A route for the clients of its own namespace may also name what is
/// in the namespace of the Service that it is for (`home`): its clients reach that anyway.
pub(super) fn resolve(
    index: &Index,
    from: &ObjectRef,
    home: Option<&str>,
    to: &Reference,
) -> Result<ServiceKey, Unresolved> {
    let bad = |reason, message| Err(Unresolved { reason, message });
    let name = to.target();
    if !to.group.is_empty() || &*to.kind != "Service" {
        let (group, kind) = (&to.group, &to.kind);
        let message = format!("{kind} {name} of group {group:?} cannot be sent to: name a Service");
        return bad("InvalidKind", message);
    }
    // What is not permitted must not tell whether it is there.
    let foreign = to.namespace != from.namespace && home != Some(&*to.namespace);
    if foreign && !granted(index, from, &name) {
        let message = format!(
            "Service {name} may not be named from namespace {}: create a ReferenceGrant in {}",
            from.namespace, to.namespace
        );
        return bad("RefNotPermitted", message);
    }
    let Some(service) = index.services.get(&name) else {
        let message = format!("there is no Service {name}: requests to it are answered 500");
        return bad("BackendNotFound", message);
    };
    if service.external {
        let message = format!("Service {name} is only a name for something outside");
        return bad("UnsupportedValue", message);
    }
    let port = to.port.unwrap_or_default();
    if !service.ports.iter().any(|known| known.number == port) {
        let ports: Vec<_> = service.ports.iter().map(|p| p.number.to_string()).collect();
        let message = format!(
            "Service {name} has no TCP port {port}: it has {}",
            ports.join(", ")
        );
        return bad("BackendNotFound", message);
    }
    Ok(super::address::key(&name, port))
}

fn granted(index: &Index, from: &ObjectRef, to: &Name) -> bool {
    let (group, kind) = match from.kind {
        ObjectKind::HttpRoute => (GATEWAY_GROUP, "HTTPRoute"),
        ObjectKind::GrpcRoute => (GATEWAY_GROUP, "GRPCRoute"),
        ObjectKind::ResiliencePolicy => (GROUP, "ResiliencePolicy"),
        ObjectKind::AccessPolicy => (GROUP, "AccessPolicy"),
    };
    let permits = |grant: &Grant| {
        let from = grant.from.iter().any(|source| {
            source.group == group && source.kind == kind && *source.namespace == *from.namespace
        });
        let to = grant.to.iter().any(|target| {
            let named = target.name.as_deref().is_none_or(|name| name == &*to.name);
            target.group.is_empty() && target.kind == "Service" && named
        });
        from && to
    };
    let mut grants = within(&index.grants, &to.namespace);
    grants.any(|name| index.grants.get(name).is_some_and(permits))
}
