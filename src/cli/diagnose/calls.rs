//! What is in force for the calls of a pod: its own proxy acts on it.

use std::collections::BTreeSet;

use kube::Client;

use crate::{
    cli::cluster::{Policy, Scope, policies},
    proxy::belief::{Belief, Service},
};

/// Namespaces that are looked at.
const MAX_NAMESPACES: usize = 10;

#[derive(Clone, Debug, Default)]
pub struct Calls {
    /// The ResiliencePolicies and routes of the services that the proxy knows; a route may be of the
    /// caller's own namespace.
    pub policies: Vec<Policy>,
    /// Namespaces that were not looked at, with the reason.
    pub unknown: Vec<String>,
}

/// What is found where the reader may look: the rights for one namespace must show what is there.
pub async fn calls(client: &Client, own: &str, belief: &Belief) -> Calls {
    let others: BTreeSet<&str> = belief.services.iter().map(namespace).collect();
    let mut calls = Calls::default();
    if others.is_empty() {
        return calls;
    }
    let others = others.into_iter().filter(|namespace| *namespace != own);
    for (at, namespace) in std::iter::once(own).chain(others).enumerate() {
        let all = match at < MAX_NAMESPACES {
            true => policies(client, &Scope::Namespace(namespace.to_owned())).await,
            false => Err(format!("only {MAX_NAMESPACES} namespaces are looked at")),
        };
        match all {
            Ok(all) => calls.policies.extend(all.into_iter().filter(|policy| {
                let mut services = belief.services.iter();
                services.any(|service| is_for(policy, service))
            })),
            Err(why) => calls.unknown.push(format!("{namespace}: {why}")),
        }
    }
    calls
}

fn namespace(service: &Service) -> &str {
    service.service.split('/').next().unwrap_or_default()
}

/// Whether what is sent to the service goes by this policy or route.
fn is_for(policy: &Policy, service: &Service) -> bool {
    let by_route = |name: &str| {
        let name = format!("{}/{name}", policy.namespace);
        let mut routes = service.routes.iter();
        // A route's rules are told apart behind a #.
        routes.any(|route| route.split('#').next() == Some(name.as_str()))
    };
    match policy.kind.as_str() {
        "ResiliencePolicy" => policy
            .targets
            .iter()
            .any(|target| match target.split_once('/') {
                Some(("Service", name)) => is_named(service, &policy.namespace, name),
                Some((_, route)) => by_route(route),
                None => false,
            }),
        "HTTPRoute" | "GRPCRoute" => by_route(&policy.name),
        _ => false,
    }
}

/// `name` may have a port or a section behind it.
fn is_named(service: &Service, namespace: &str, name: &str) -> bool {
    let name = name.split([':', '#']).next().unwrap_or_default();
    let (service, _) = service
        .service
        .rsplit_once(':')
        .unwrap_or((&service.service, ""));
    service == format!("{namespace}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_for_a_service_and_its_routes() {
        let policy = |kind: &str, name: &str, targets: &[&str]| Policy {
            kind: kind.into(),
            namespace: "shop".into(),
            name: name.into(),
            targets: targets.iter().map(|target| (*target).to_owned()).collect(),
            conditions: Vec::new(),
        };
        let service = Service {
            service: "shop/cart:80".into(),
            routes: vec!["shop/canary#1".into()],
            ..Service::default()
        };
        let is = |kind, name, targets: &[&str]| is_for(&policy(kind, name, targets), &service);
        assert!(is("ResiliencePolicy", "p", &["Service/cart"]));
        assert!(is("ResiliencePolicy", "p", &["HTTPRoute/canary"]));
        assert!(is("HTTPRoute", "canary", &["Service/cart:80"]));
        assert!(!is("ResiliencePolicy", "p", &["Service/cart-db"]));
        assert!(!is("HTTPRoute", "other", &["Service/cart:80"]));
        assert!(!is("AccessPolicy", "p", &["Service/cart"]));
    }
}
