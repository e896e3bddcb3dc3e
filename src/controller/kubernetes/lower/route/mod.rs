//! Routes as they are kept: translated already, with their references still to be resolved.

mod attach;
mod bound;
mod filters;
mod grpc;
mod http;

use std::sync::Arc;

use kube::api::ObjectMeta;

pub(super) use attach::{finding, parent, routes, verdict};
pub(super) use bound::beyond;
pub(super) use filters::{created, uid};

use super::{policy::json_bytes, reference::Reference};
use crate::{
    controller::kubernetes::{api::gateway::ParentRef, findings::TargetRef},
    discovery::{
        model::{self, Filter, Mirror, ServiceKey},
        validate::{Checker, Problem},
    },
};

/// An `HTTPRoute` or `GRPCRoute`.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    pub uid: Arc<str>,
    pub generation: i64,
    /// Seconds since 1970: of routes that say the same, the oldest counts.
    pub created: i64,
    /// The Services that it is attached to.
    pub parents: Vec<TargetRef>,
    pub rules: Vec<Rule>,
    /// How long their JSON is, without policies.
    pub bytes: usize,
    /// Why it is refused as a whole, if it is.
    pub problems: Vec<Problem>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Without backends and mirrors.
    pub template: model::Route,
    pub backends: Vec<Backend>,
    pub mirrors: Vec<MirrorTo>,
    pub retry: Option<Retry>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    pub to: Reference,
    pub weight: u32,
    pub filters: Vec<Filter>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MirrorTo {
    pub to: Reference,
    /// 0 to 100.
    pub percent: f64,
}

/// What a rule says of retries, in place of its policy's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    pub attempts: Option<u32>,
    pub statuses: Vec<u16>,
}

impl Rule {
    /// With its references resolved. What cannot be is answered 500, or not mirrored.
    fn resolved(&self, resolve: impl Fn(&Reference) -> Option<ServiceKey>) -> model::Route {
        let mut route = self.template.clone();
        for backend in &self.backends {
            match resolve(&backend.to) {
                Some(service) => route.backends.push(model::Backend {
                    service,
                    weight: backend.weight,
                    filters: backend.filters.clone(),
                }),
                None => route.unresolved_weight += backend.weight,
            }
        }
        // Else the parent would take what no backend takes.
        if route.backends.is_empty() && !self.backends.is_empty() {
            route.unresolved_weight = route.unresolved_weight.max(1);
        }
        route
            .filters
            .extend(self.mirrors.iter().filter_map(|mirror| {
                let service = resolve(&mirror.to)?;
                let percent = mirror.percent;
                Some(Filter::Mirror(Mirror { service, percent }))
            }));
        route
    }

    fn references(&self) -> impl Iterator<Item = &Reference> {
        let backends = self.backends.iter().map(|backend| &backend.to);
        backends.chain(self.mirrors.iter().map(|mirror| &mirror.to))
    }
}

impl Route {
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.rules.iter().flat_map(Rule::references)
    }
}

/// Reads a route of either kind: `read` its rules, each by the name that it is known by.
fn read_route<R>(
    metadata: &ObjectMeta,
    parents: &[ParentRef],
    rules: &[R],
    named: impl Fn(&R) -> Option<&str>,
    read: impl Fn(&mut Checker, &str, Arc<str>, &R) -> Rule,
) -> Route {
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let name = format!(
        "{namespace}/{}",
        metadata.name.as_deref().unwrap_or_default()
    );
    let mut c = Checker::new();
    let mut result = Vec::new();
    c.each("rules", rules, |c, rule| {
        let name = rule_name(&name, rules.len(), result.len(), named(rule));
        result.push(read(c, namespace, name, rule));
    });
    let bytes = check(&mut c, &result);
    Route {
        uid: uid(metadata),
        generation: metadata.generation.unwrap_or_default(),
        created: created(metadata),
        parents: filters::parents(parents),
        rules: result,
        bytes,
        problems: c.finish(),
    }
}

/// Checks the rules as the proxies will, each of its references taken for good. Returns how many
/// bytes they take.
fn check(c: &mut Checker, rules: &[Rule]) -> usize {
    let mut bytes = 0_usize;
    c.each("rules", rules, |c, rule| {
        let route = rule.resolved(|to| {
            Some(ServiceKey {
                namespace: to.namespace.clone(),
                name: to.name.clone(),
                port: to.port.unwrap_or(1),
            })
        });
        bytes = bytes.saturating_add(json_bytes(&route));
        crate::discovery::validate::check_route(c, &route);
    });
    bytes
}

/// `namespace/name`, and the rule's name or number where there are several.
fn rule_name(route: &str, of: usize, number: usize, name: Option<&str>) -> Arc<str> {
    match name {
        Some(name) => format!("{route}#{name}").into(),
        None if of > 1 => format!("{route}#{number}").into(),
        None => route.into(),
    }
}
