//! The rules of a registry file that its format cannot say.

use std::collections::{HashMap, HashSet};

use super::format::{EndpointEntry, PortEntry, RegistryFile, ServiceEntry, WorkloadEntry};
use crate::{
    discovery::{
        model::{Filter, Route, ServiceKey},
        validate::{self, Checker, Problem},
    },
    identity::{NO_TRUST_DOMAIN, SpiffeId, is_trust_domain},
    resilience::{Fallback, ResiliencePolicy},
};

/// Everything that is wrong with the file.
pub(super) fn problems(file: &RegistryFile) -> Vec<Problem> {
    let mut c = Checker::new();
    if !is_trust_domain(&file.trust_domain) {
        c.require("trustDomain", false, || {
            format!("{:?} {NO_TRUST_DOMAIN}", file.trust_domain)
        });
        return c.finish();
    }
    let mut context = Context::new(file);
    c.each("workloads", &file.workloads, |c, workload| {
        context.workload(c, workload);
    });
    c.each("services", &file.services, |c, service| {
        context.service(c, service);
    });
    c.finish()
}

/// What one entry must know of the others.
struct Context<'a> {
    trust_domain: &'a str,
    services: HashSet<ServiceKey>,
    workloads: HashSet<(&'a str, &'a str)>,
    seen_services: HashSet<(String, String)>,
    seen_workloads: HashSet<(String, String)>,
    seen_tokens: HashSet<super::TokenDigest>,
    virtual_addresses: HashMap<std::net::SocketAddr, String>,
}

impl<'a> Context<'a> {
    fn new(file: &'a RegistryFile) -> Self {
        let keys = file.services.iter().flat_map(|service| {
            let ports = service.ports.iter();
            ports.map(|port| service.key(port))
        });
        let workloads = file.workloads.iter();
        Self {
            trust_domain: &file.trust_domain,
            services: keys.collect(),
            workloads: workloads
                .map(|workload| (&*workload.namespace, &*workload.service_account))
                .collect(),
            seen_services: HashSet::new(),
            seen_workloads: HashSet::new(),
            seen_tokens: HashSet::new(),
            virtual_addresses: HashMap::new(),
        }
    }

    fn workload(&mut self, c: &mut Checker, workload: &WorkloadEntry) {
        let WorkloadEntry {
            namespace,
            service_account,
            ..
        } = workload;
        if let Err(error) = SpiffeId::new(self.trust_domain, namespace, service_account) {
            c.report(error.to_string());
        }
        let name = (namespace.clone(), service_account.clone());
        c.require("serviceAccount", self.seen_workloads.insert(name), || {
            format!("{namespace}/{service_account} is listed twice")
        });
        if let Some(token) = workload.token_sha256 {
            c.require("tokenSha256", self.seen_tokens.insert(token), || {
                "is another workload's too: a token proves one identity".into()
            });
        }
        validate::check_workload(c, &super::lower::workload(workload));
        self.references(c, &workload.policy);
    }

    fn service(&mut self, c: &mut Checker, service: &ServiceEntry) {
        let ServiceEntry {
            namespace, name, ..
        } = service;
        for (field, text) in [("namespace", namespace), ("name", name)] {
            let valid = !text.is_empty() && !text.contains(['/', ':']);
            c.require(field, valid, || "must be a name without / and :".into());
        }
        let seen = (namespace.to_string(), name.to_string());
        c.require("name", self.seen_services.insert(seen), || {
            format!("{namespace}/{name} is listed twice")
        });
        self.ports(c, service);
        let mut seen_routes = HashSet::new();
        c.each("routes", &service.routes, |c, route| {
            c.require("name", seen_routes.insert(route.name.clone()), || {
                format!("{} is another route's too", route.name)
            });
            validate::check_route(c, route);
            self.route(c, route);
            if let Some(policy) = &route.policy {
                no_fallback_to(c, policy, &only_target(service, route));
            }
        });
        c.field("policy", |c| validate::check_policy(c, &service.policy));
        self.references(c, &service.policy);
        let own = service.ports.iter().map(|port| service.key(port));
        no_fallback_to(c, &service.policy, &own.collect());
        self.endpoints(c, service);
    }

    fn ports(&mut self, c: &mut Checker, service: &ServiceEntry) {
        c.require("ports", !service.ports.is_empty(), || {
            "needs at least one port".into()
        });
        let mut seen = HashSet::new();
        c.each("ports", &service.ports, |c, port: &PortEntry| {
            let in_range = |number: u16| number != 0;
            c.require("port", in_range(port.port), || {
                "must be between 1 and 65535".into()
            });
            c.require("targetPort", in_range(port.target()), || {
                "must be between 1 and 65535".into()
            });
            c.require("port", seen.insert(port.port), || {
                format!("{} is listed twice", port.port)
            });
        });
        let owner = format!("{}/{}", service.namespace, service.name);
        c.each("addresses", &service.addresses, |c, ip| {
            for port in &service.ports {
                let addr = std::net::SocketAddr::new(ip.to_canonical(), port.port);
                if let Some(other) = self.virtual_addresses.insert(addr, owner.clone()) {
                    c.report(format!("{addr} is an address of {other} already"));
                }
            }
        });
    }

    fn endpoints(&self, c: &mut Checker, service: &ServiceEntry) {
        let mut seen = HashSet::new();
        c.each("endpoints", &service.endpoints, |c, endpoint| {
            self.endpoint(c, service, endpoint);
            for port in &service.ports {
                let repeated = endpoint
                    .address(port)
                    .filter(|addr| !seen.insert((port.port, *addr)));
                if let Some(addr) = repeated {
                    c.report(format!("{addr} is listed twice"));
                }
            }
        });
    }

    fn endpoint(&self, c: &mut Checker, service: &ServiceEntry, endpoint: &EndpointEntry) {
        match (endpoint.ip, endpoint.addr) {
            (Some(_), Some(_)) | (None, None) => c.report("needs either ip or addr"),
            (None, Some(addr)) => {
                c.require("addr", service.ports.len() == 1, || {
                    "says one port, but the service has several: write ip".into()
                });
                c.require("addr", addr.port() != 0, || "needs a port".into());
            }
            (Some(_), None) => {}
        }
        if let Some(account) = &endpoint.service_account {
            let known = self
                .workloads
                .contains(&(&*service.namespace, account.as_str()));
            c.require("serviceAccount", known, || {
                format!(
                    "no workload {}/{account} is listed: add it, or leave this out if no sidecar runs there",
                    service.namespace
                )
            });
        }
    }

    fn route(&self, c: &mut Checker, route: &Route) {
        c.each("filters", &route.filters, |c, filter| {
            self.filter(c, filter)
        });
        c.each("backends", &route.backends, |c, backend| {
            self.reference(c, "service", &backend.service);
            c.each("filters", &backend.filters, |c, filter| {
                self.filter(c, filter)
            });
        });
        if let Some(policy) = &route.policy {
            self.references(c, policy);
        }
    }

    fn filter(&self, c: &mut Checker, filter: &Filter) {
        if let Filter::Mirror(mirror) = filter {
            self.reference(c, "mirror.service", &mirror.service);
        }
    }

    /// The services that the `policy` of the entry at hand names.
    fn references(&self, c: &mut Checker, policy: &ResiliencePolicy) {
        c.each("policy.fallback", &policy.fallback, |c, fallback| {
            if let Fallback::Service(service) = fallback {
                self.reference(c, "service", service);
            }
        });
    }

    fn reference(&self, c: &mut Checker, field: &str, key: &ServiceKey) {
        c.require(field, self.services.contains(key), || {
            format!("there is no service {key} in this file: check name, namespace and port")
        });
    }
}

/// The one service that all requests of a route go to, on each port that they come in by.
fn only_target(service: &ServiceEntry, route: &Route) -> HashSet<ServiceKey> {
    let backends = route.backends.iter().map(|backend| backend.service.clone());
    let backends: HashSet<_> = backends.collect();
    match backends.len() {
        0 => service.ports.iter().map(|port| service.key(port)).collect(),
        1 => backends,
        _ => HashSet::new(),
    }
}

/// A service that cannot answer is asked by nobody in its own place.
fn no_fallback_to(c: &mut Checker, policy: &ResiliencePolicy, asked: &HashSet<ServiceKey>) {
    c.each("policy.fallback", &policy.fallback, |c, fallback| {
        if let Fallback::Service(service) = fallback {
            c.require("service", !asked.contains(service), || {
                format!("{service} is the service itself, which could not answer: name another one")
            });
        }
    });
}
