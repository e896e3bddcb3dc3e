//! What a resource's values must be beyond their types: one set of rules for the registry file,
//! the controller and the proxy.

mod route;
pub mod syntax;

use std::{collections::HashSet, fmt};

pub use route::check_route;

use super::{
    model::{Destination, Endpoint, Endpoints, Service, TrustBundle, Workload},
    resource::{Resource, ResourceName},
};
use crate::{access, failure::shortened, identity::TrustAnchors, resilience::ResiliencePolicy};

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// For example `routes[0].timeouts.request`; empty for all of it.
    pub field: String,
    /// What it must be instead.
    pub reason: String,
}

impl Problem {
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            reason: reason.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Both may hold what was written, at any length.
        let (field, reason) = (shortened(&self.field), shortened(&self.reason));
        match field.is_empty() {
            true => f.write_str(&reason),
            false => write!(f, "{field}: {reason}"),
        }
    }
}

/// Collects problems while it walks a value, knowing where it is.
#[derive(Debug, Default)]
pub struct Checker {
    field: String,
    problems: Vec<Problem>,
}

impl Checker {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn finish(self) -> Vec<Problem> {
        self.problems
    }

    /// Reports the field where the checker is.
    pub fn report(&mut self, reason: impl Into<String>) {
        self.problems.push(Problem::new(self.field.clone(), reason));
    }

    /// Goes into a field for the time of `check`.
    pub fn field<R>(&mut self, name: &str, check: impl FnOnce(&mut Self) -> R) -> R {
        let end = self.field.len();
        if end > 0 {
            self.field.push('.');
        }
        self.field.push_str(name);
        let result = check(self);
        self.field.truncate(end);
        result
    }

    /// Goes through a list that is the value of the field `name`.
    pub fn each<T>(&mut self, name: &str, items: &[T], mut check: impl FnMut(&mut Self, &T)) {
        for (index, item) in items.iter().enumerate() {
            self.field(&format!("{name}[{index}]"), |c| check(c, item));
        }
    }

    pub fn require(&mut self, name: &str, holds: bool, reason: impl FnOnce() -> String) {
        if !holds {
            self.field(name, |c| c.report(reason()));
        }
    }
}

/// Checks a resource and that it is the one its name says.
pub fn resource(name: &ResourceName, resource: &Resource) -> Vec<Problem> {
    let mut c = Checker::new();
    let named = |c: &mut Checker, field: &str, says: String| {
        c.require(field, says == *name.name, || {
            format!("says {says}, but the resource is {}", name.name)
        });
    };
    match resource {
        Resource::Destination(destination) => check_destination(&mut c, destination),
        Resource::Service(service) => {
            named(&mut c, "key", service.key.to_string());
            check_service(&mut c, service);
        }
        Resource::Endpoints(endpoints) => {
            named(&mut c, "service", endpoints.service.to_string());
            check_endpoints(&mut c, endpoints);
        }
        Resource::Workload(workload) => check_workload(&mut c, workload),
        Resource::TrustBundle(bundle) => check_trust_bundle(&mut c, bundle),
    }
    c.finish()
}

fn check_destination(c: &mut Checker, destination: &Destination) {
    if let Destination::Endpoint { endpoint, .. } = destination {
        c.field("endpoint", |c| check_endpoint(c, endpoint));
    }
}

pub fn check_service(c: &mut Checker, service: &Service) {
    c.each("routes", &service.routes, check_route);
    c.field("policy", |c| check_policy(c, &service.policy));
}

fn check_endpoints(c: &mut Checker, endpoints: &Endpoints) {
    let mut seen = HashSet::new();
    c.each("endpoints", &endpoints.endpoints, |c, endpoint| {
        check_endpoint(c, endpoint);
        c.require("addr", seen.insert(endpoint.addr), || {
            format!("{} is listed twice", endpoint.addr)
        });
    });
}

fn check_endpoint(c: &mut Checker, endpoint: &Endpoint) {
    c.require("addr", endpoint.addr.port() != 0, || {
        "needs a port between 1 and 65535".into()
    });
}

pub fn check_workload(c: &mut Checker, workload: &Workload) {
    c.each("ports", &workload.ports, |c, port| {
        c.require("port", port.port != 0, || {
            "must be between 1 and 65535".into()
        });
    });
    c.field("policy", |c| check_policy(c, &workload.policy));
    if let Some(access) = &workload.access {
        c.field("access", |c| access::check(c, access));
    }
}

fn check_trust_bundle(c: &mut Checker, bundle: &TrustBundle) {
    if let Err(error) = TrustAnchors::from_pem(&bundle.roots) {
        c.field("roots", |c| c.report(error.to_string()));
    }
}

pub fn check_policy(c: &mut Checker, policy: &ResiliencePolicy) {
    for fault in policy.validate().err().unwrap_or_default() {
        c.field(&fault.path, |c| c.report(fault.reason));
    }
}
