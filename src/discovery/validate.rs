//! What a resource's values must be beyond their types: one set of rules for the registry file,
//! the controller and the proxy.

use std::{collections::HashSet, fmt};

use super::{
    model::{
        Backend, Destination, Endpoint, Endpoints, Filter, GrpcMethodMatch, HeaderEdit, PathMatch,
        PathRewrite, Redirect, Rewrite, Route, RouteMatch, Service, TrustBundle, ValueMatch,
        Workload,
    },
    resource::{Resource, ResourceName},
};
use crate::{identity::TrustAnchors, resilience::ResiliencePolicy};

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// For example `routes[0].timeouts.request`.
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
        write!(f, "{}: {}", self.field, self.reason)
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

pub fn check_route(c: &mut Checker, route: &Route) {
    c.require("name", !route.name.is_empty(), || {
        "must not be empty: it names the route in metrics and spans".into()
    });
    c.each("hostnames", &route.hostnames, |c, hostname| {
        check_hostname(c, hostname);
    });
    c.each("matches", &route.matches, check_match);
    c.each("filters", &route.filters, check_filter);
    c.each("backends", &route.backends, |c, backend: &Backend| {
        c.each("filters", &backend.filters, check_filter);
    });
    c.field("timeouts", |c| check_route_timeouts(c, route));
    if let Some(policy) = &route.policy {
        c.field("policy", |c| check_policy(c, policy));
    }
}

fn check_route_timeouts(c: &mut Checker, route: &Route) {
    let timeouts = &route.timeouts;
    if let (Some(request), Some(backend)) = (timeouts.request, timeouts.backend_request) {
        // The Gateway API reads a request timeout of zero as none.
        c.require(
            "backendRequest",
            request.is_zero() || backend <= request,
            || "must not be longer than request".into(),
        );
    }
}

fn check_match(c: &mut Checker, matched: &RouteMatch) {
    if let Some(path) = &matched.path {
        c.field("path", |c| match path {
            PathMatch::Exact(path) => check_path(c, "exact", path),
            PathMatch::Prefix(path) => check_path(c, "prefix", path),
            PathMatch::Regex(regex) => c.field("regex", |c| check_regex(c, regex)),
        });
    }
    c.each("headers", &matched.headers, |c, header| {
        c.field("name", |c| check_header_name(c, &header.name));
        check_value_match(c, header);
    });
    c.each("query", &matched.query, |c, parameter| {
        c.require("name", !parameter.name.is_empty(), || {
            "must not be empty".into()
        });
        check_value_match(c, parameter);
    });
    if let Some(method) = &matched.method {
        c.require("method", method.parse::<http::Method>().is_ok(), || {
            format!("{method:?} is not an HTTP method")
        });
    }
    if let Some(grpc) = &matched.grpc {
        c.field("grpc", |c| check_grpc_match(c, grpc));
    }
}

fn check_value_match(c: &mut Checker, matched: &ValueMatch) {
    if matched.regex {
        c.field("value", |c| check_regex(c, &matched.value));
    }
}

fn check_grpc_match(c: &mut Checker, grpc: &GrpcMethodMatch) {
    if grpc.service.is_none() && grpc.method.is_none() {
        c.report("needs a service or a method");
    }
    if grpc.regex {
        for (name, regex) in [("service", &grpc.service), ("method", &grpc.method)] {
            if let Some(regex) = regex {
                c.field(name, |c| check_regex(c, regex));
            }
        }
    }
}

fn check_filter(c: &mut Checker, filter: &Filter) {
    match filter {
        Filter::RequestHeaders(edit) => c.field("requestHeaders", |c| check_edit(c, edit)),
        Filter::ResponseHeaders(edit) => c.field("responseHeaders", |c| check_edit(c, edit)),
        Filter::Redirect(redirect) => c.field("redirect", |c| check_redirect(c, redirect)),
        Filter::Rewrite(rewrite) => c.field("rewrite", |c| check_rewrite(c, rewrite)),
        Filter::Mirror(mirror) => c.field("mirror", |c| {
            c.require("percent", (0.0..=100.0).contains(&mirror.percent), || {
                format!("must be between 0 and 100, not {}", mirror.percent)
            });
        }),
    }
}

fn check_edit(c: &mut Checker, edit: &HeaderEdit) {
    c.each("set", &edit.set, check_header);
    c.each("add", &edit.add, check_header);
    c.each("remove", &edit.remove, |c, name| check_header_name(c, name));
}

fn check_redirect(c: &mut Checker, redirect: &Redirect) {
    if let Some(scheme) = &redirect.scheme {
        c.require("scheme", scheme == "http" || scheme == "https", || {
            "must be http or https".into()
        });
    }
    if let Some(status) = redirect.status {
        c.require(
            "status",
            [301, 302, 303, 307, 308].contains(&status),
            || "must be 301, 302, 303, 307 or 308".into(),
        );
    }
    check_authority_and_path(c, redirect.hostname.as_deref(), redirect.path.as_ref());
}

fn check_rewrite(c: &mut Checker, rewrite: &Rewrite) {
    check_authority_and_path(c, rewrite.hostname.as_deref(), rewrite.path.as_ref());
}

fn check_authority_and_path(c: &mut Checker, host: Option<&str>, path: Option<&PathRewrite>) {
    if let Some(host) = host {
        c.require(
            "hostname",
            host.parse::<http::uri::Authority>().is_ok(),
            || format!("{host:?} is not a host name"),
        );
    }
    if let Some(path) = path {
        c.field("path", |c| match path {
            PathRewrite::Full(path) => check_path(c, "full", path),
            PathRewrite::Prefix(path) => check_path(c, "prefix", path),
        });
    }
}

fn check_path(c: &mut Checker, name: &str, path: &str) {
    let valid = path.starts_with('/') && path.parse::<http::uri::PathAndQuery>().is_ok();
    c.require(name, valid, || {
        format!("{path:?} is not a path: it must begin with / and hold no spaces")
    });
}

fn check_hostname(c: &mut Checker, hostname: &str) {
    let rest = hostname.strip_prefix("*.").unwrap_or(hostname);
    if rest.is_empty() || rest.contains(['*', ':', '/', ' ']) {
        c.report(format!(
            "{hostname:?} is not a host name: write cart.shop, or *.shop for every name below shop"
        ));
    }
}

fn check_header(c: &mut Checker, (name, value): &(String, String)) {
    check_header_name(c, name);
    if http::HeaderValue::from_str(value).is_err() {
        c.report(format!("{value:?} cannot be the value of a header"));
    }
}

fn check_header_name(c: &mut Checker, name: &str) {
    if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
        c.report(format!("{name:?} is not a header name"));
    }
}

fn check_regex(c: &mut Checker, regex: &str) {
    if let Err(error) = regex::Regex::new(regex) {
        c.report(format!("{regex:?} is not a regular expression: {error}"));
    }
}
