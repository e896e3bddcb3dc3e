//! What a proxy believes, as `/config` shows it: the proxy writes it, the commands read it.
//!
//! Proxies and commands of different versions meet here: a field that is missing has its default,
//! and one that is not known is passed over. Nothing in it is a secret.

use std::{collections::BTreeMap, net::SocketAddr, time::SystemTime};

use serde::{Deserialize, Serialize};

use crate::discovery::{model::Protocol, resource::Resource};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Belief {
    pub version: String,
    /// Who it is, and until when that is proved, in Unix seconds; absent before the first
    /// certificate.
    pub identity: String,
    pub certificate_not_after: Option<u64>,
    pub discovery: Discovery,
    /// How it treats what comes in, as the controller says; absent while that said nothing.
    pub workload: Option<serde_json::Value>,
    /// What the pod's applications use now.
    pub services: Vec<Service>,
    pub upstreams: Vec<Upstream>,
}

/// Its standing with the controller.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Discovery {
    pub controller: String,
    pub connected: bool,
    /// When the controller last sent something, in Unix seconds.
    pub last_update: Option<u64>,
    pub subscriptions: u64,
    /// Subscriptions beyond the limit: those destinations are forwarded as they are.
    pub refused_subscriptions: u64,
    /// Updates that this proxy refused, keeping the last good value, and why the last one was.
    pub nacks: u64,
    pub last_refusal: Option<String>,
}

/// A service as the controller described it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Service {
    /// `namespace/name:port`.
    pub service: String,
    pub protocol: Protocol,
    /// The names of its routes.
    pub routes: Vec<String>,
    /// Its endpoints, and how many of them must show an identity.
    pub endpoints: usize,
    pub meshed: usize,
}

/// What requests are sent to, and what its policies hold against it now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Upstream {
    /// `namespace/name:port`, `direct` for an address without a service, `local` for the
    /// application beside the proxy.
    pub upstream: String,
    /// Present where it is one address.
    pub address: Option<SocketAddr>,
    /// Present where a route has a policy of its own: what is held by that route alone.
    pub route: Option<String>,
    pub breaker: Breaker,
    pub bulkhead: Bulkhead,
    /// The bulkheads of its routes.
    pub routes: BTreeMap<String, Bulkhead>,
    /// Retries that could be sent now, beyond the policy's minimum per second.
    pub retry_budget: u32,
    pub endpoints: BTreeMap<SocketAddr, Breaker>,
}

impl Upstream {
    /// As people are told of it: its address or its route tells it from others of the name.
    pub fn title(&self) -> String {
        match (&self.address, &self.route) {
            (Some(address), _) => format!("{} {address}", self.upstream),
            (None, Some(route)) => format!("{} by {route}", self.upstream),
            (None, None) => self.upstream.clone(),
        }
    }

    /// How many of its endpoints are out of the balancer, as `1 of 3`.
    pub fn out(&self) -> String {
        let out = self.endpoints.values().filter(|breaker| breaker.is_out());
        format!("{} of {}", out.count(), self.endpoints.len())
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Breaker {
    /// `closed`, `open` or `half-open`.
    pub state: String,
    /// Until the next change that time alone brings, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes_in_ms: Option<u64>,
    /// Open, but in use all the same: too many other endpoints are out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub spared: bool,
}

impl Breaker {
    pub fn is_open(&self) -> bool {
        self.state == "open"
    }

    /// Whether an endpoint is out of the balancer.
    pub fn is_out(&self) -> bool {
        self.is_open() && !self.spared
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Bulkhead {
    pub in_use: usize,
    pub queued: usize,
    pub limit: usize,
}

impl Bulkhead {
    pub fn is_full(&self) -> bool {
        self.limit > 0 && self.in_use >= self.limit
    }
}

impl From<(usize, usize, usize)> for Bulkhead {
    /// In use, queued, limit.
    fn from((in_use, queued, limit): (usize, usize, usize)) -> Self {
        Self {
            in_use,
            queued,
            limit,
        }
    }
}

/// Unix seconds. Times before 1970 are 1970.
pub fn unix_seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// The services among the resources at hand.
pub fn services<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> Vec<Service> {
    let mut services: BTreeMap<String, Service> = BTreeMap::new();
    for resource in resources {
        match resource {
            Resource::Service(service) => {
                let entry = services.entry(service.key.to_string()).or_default();
                entry.protocol = service.protocol;
                entry.routes = service.routes.iter().map(|r| r.name.to_string()).collect();
            }
            Resource::Endpoints(all) => {
                let entry = services.entry(all.service.to_string()).or_default();
                entry.endpoints = all.endpoints.len();
                let meshed = all.endpoints.iter().filter(|e| e.identity.is_some());
                entry.meshed = meshed.count();
            }
            _ => {}
        }
    }
    let named = |(name, service)| Service {
        service: name,
        ..service
    };
    services.into_iter().map(named).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        discovery::model::{Endpoint, Endpoints, Route, Service as Described},
        resilience::ResiliencePolicy,
    };

    #[test]
    fn an_older_or_newer_proxy_is_understood() {
        let belief: Belief = serde_json::from_str(
            r#"{"version": "9", "new": 1, "upstreams": [{"upstream": "local", "newer": {}}]}"#,
        )
        .unwrap();
        assert_eq!(belief.version, "9");
        assert_eq!(belief.upstreams[0].upstream, "local");
        assert_eq!(belief.discovery, Discovery::default());
    }

    #[test]
    fn a_service_is_joined_with_its_endpoints() {
        let key: crate::discovery::model::ServiceKey = "shop/cart:80".parse().unwrap();
        let endpoint = |identity: Option<&str>| Endpoint {
            addr: "198.18.0.1:80".parse().unwrap(),
            weight: 1,
            zone: None,
            identity: identity.map(|id| id.parse().unwrap()),
        };
        let resources = [
            Resource::Service(Arc::new(Described {
                key: key.clone(),
                protocol: Protocol::Http,
                routes: vec![Route {
                    name: "shop/cart".into(),
                    ..Route::default()
                }],
                policy: ResiliencePolicy::default(),
            })),
            Resource::Endpoints(Arc::new(Endpoints {
                service: key,
                endpoints: vec![
                    endpoint(None),
                    endpoint(Some("spiffe://cluster.local/ns/shop/sa/cart")),
                ],
            })),
        ];
        let expected = Service {
            service: "shop/cart:80".into(),
            protocol: Protocol::Http,
            routes: vec!["shop/cart".into()],
            endpoints: 2,
            meshed: 1,
        };
        assert_eq!(services(&resources), [expected]);
    }
}
