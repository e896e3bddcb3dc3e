//! What a request can be sent to: a service with its routes, policy, balancer and breakers.
//!
//! Breakers, bulkheads and budgets belong to the whole proxy ([`UpstreamState`]) so that their
//! limits are exact with any number of workers. Routes, balancer and connections belong to one
//! worker ([`Upstream`]) and need no lock.

mod state;

use std::{
    cell::{Cell, RefCell},
    fmt,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use foldhash::{HashMap, HashMapExt};
use http::uri::Authority;
use tokio::task::JoinHandle;

pub use self::state::{EndpointState, Leave, UpstreamState};
use super::{
    balance::{Balancer, BalancerConfig, EndpointId, Outcome as Ended},
    route::RouteTable,
};
use crate::{
    discovery::model::{Endpoint, Endpoints, Protocol, Service, ServiceKey},
    host,
    resilience::{CallResult, Outcome, Permit, ResiliencePolicy},
};

/// Names an upstream within a proxy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamKey {
    Service(ServiceKey),
    /// A service by way of a route that has a policy of its own, and so breakers, bulkhead and
    /// retry budget of its own.
    Route(ServiceKey, Arc<str>),
    /// An endpoint dialled by its own address, with the service it belongs to.
    Direct(SocketAddr, Option<ServiceKey>),
    /// The application beside this proxy.
    Local(SocketAddr),
}

impl UpstreamKey {
    fn authority(&self) -> Authority {
        let named = match self {
            UpstreamKey::Service(key) | UpstreamKey::Route(key, _) => {
                format!("{}.{}:{}", key.name, key.namespace, key.port)
            }
            UpstreamKey::Direct(addr, _) | UpstreamKey::Local(addr) => addr.to_string(),
        };
        named
            .parse()
            .unwrap_or_else(|_| Authority::from_static("upstream"))
    }
}

/// The metric label: never an address, of which there may be any number.
impl fmt::Display for UpstreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UpstreamKey::Service(key)
            | UpstreamKey::Route(key, _)
            | UpstreamKey::Direct(_, Some(key)) => key.fmt(f),
            UpstreamKey::Direct(_, None) => f.write_str("direct"),
            UpstreamKey::Local(_) => f.write_str("local"),
        }
    }
}

/// One worker's view of an upstream.
pub struct Upstream {
    pub key: UpstreamKey,
    pub state: Arc<UpstreamState>,
    view: RefCell<View>,
    members: RefCell<Members>,
    pub last_used: Cell<Instant>,
    /// The host of requests that name none.
    pub authority: Authority,
    watch: RefCell<Option<JoinHandle<()>>>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if let Some(watch) = self.watch.take() {
            watch.abort();
        }
    }
}

/// What the configuration says, replaced as a whole.
#[derive(Clone)]
pub struct View {
    pub protocol: Protocol,
    pub policy: Rc<ResiliencePolicy>,
    pub routes: Rc<RouteTable>,
}

struct Members {
    balancer: Balancer,
    endpoints: HashMap<EndpointId, (Rc<Endpoint>, Arc<EndpointState>)>,
    rng: fastrand::Rng,
}

/// An endpoint picked for one try.
pub struct Picked {
    pub id: EndpointId,
    pub endpoint: Rc<Endpoint>,
    pub leave: Leave,
}

impl Upstream {
    pub fn new(
        key: UpstreamKey,
        state: Arc<UpstreamState>,
        view: View,
        zone: Option<Arc<str>>,
    ) -> Self {
        let authority = key.authority();
        let config = BalancerConfig {
            zone,
            ..Default::default()
        };
        Self {
            key,
            state,
            view: RefCell::new(view),
            members: RefCell::new(Members {
                balancer: Balancer::new(config),
                endpoints: HashMap::new(),
                rng: fastrand::Rng::new(),
            }),
            last_used: Cell::new(host::now()),
            authority,
            watch: RefCell::default(),
        }
    }

    /// The task that follows this upstream's configuration ends with it.
    pub fn owns(&self, watch: JoinHandle<()>) {
        *self.watch.borrow_mut() = Some(watch);
    }

    /// Takes a protocol that may be another.
    pub fn speaks(&self, protocol: Protocol) {
        self.view.borrow_mut().protocol = protocol;
    }

    /// Takes a policy that may be another.
    pub fn take_policy(&self, policy: &Rc<ResiliencePolicy>) {
        let mut view = self.view.borrow_mut();
        if Rc::ptr_eq(&view.policy, policy) {
            return;
        }
        if *view.policy != **policy {
            self.state.update(policy);
        }
        view.policy = policy.clone();
    }

    /// Takes what may have changed of an upstream that is one known endpoint.
    pub fn refresh(&self, protocol: Protocol, policy: &Rc<ResiliencePolicy>, endpoint: &Endpoint) {
        self.speaks(protocol);
        self.take_policy(policy);
        if !self.has_endpoints() {
            let service = ServiceKey {
                namespace: "".into(),
                name: "".into(),
                port: endpoint.addr.port(),
            };
            let endpoints = Endpoints {
                service,
                endpoints: vec![endpoint.clone()],
            };
            self.set_endpoints(&endpoints, host::now());
        }
    }

    /// The port that clients know it by.
    pub fn port(&self) -> u16 {
        match &self.key {
            UpstreamKey::Service(key) | UpstreamKey::Route(key, _) => key.port,
            UpstreamKey::Direct(addr, _) | UpstreamKey::Local(addr) => addr.port(),
        }
    }

    pub fn view(&self) -> View {
        self.view.borrow().clone()
    }

    pub fn configure(&self, service: &Service, routes: RouteTable) {
        self.state.update(&service.policy);
        *self.view.borrow_mut() = View {
            protocol: service.protocol,
            policy: Rc::new(service.policy.clone()),
            routes: Rc::new(routes),
        };
    }

    /// Takes a new set of endpoints; those that stay keep their latency and their breaker.
    pub fn set_endpoints(&self, endpoints: &Endpoints, now: Instant) {
        let mut members = self.members.borrow_mut();
        let Members {
            balancer,
            endpoints: known,
            ..
        } = &mut *members;
        balancer.update(endpoints, now);
        *known = balancer
            .ids()
            .filter_map(|id| Some((id, balancer.endpoint(id)?)))
            .map(|(id, endpoint)| {
                (
                    id,
                    (
                        Rc::new(endpoint.clone()),
                        self.state.endpoint(endpoint.addr),
                    ),
                )
            })
            .collect();
        self.state
            .retain(|addr| endpoints.endpoints.iter().any(|e| e.addr == *addr));
    }

    /// Takes the zone that this proxy is in.
    pub fn set_zone(&self, zone: Option<Arc<str>>) {
        self.members.borrow_mut().balancer.set_zone(zone);
    }

    pub fn has_endpoints(&self) -> bool {
        self.endpoints() > 0
    }

    /// How many there are, ejected ones included.
    pub fn endpoints(&self) -> usize {
        self.members.borrow().endpoints.len()
    }

    /// The endpoint for the next try, other than the one that just failed where there is a
    /// choice; `None` when every breaker refuses.
    pub fn pick(
        &self,
        now: Instant,
        service_permit: Option<Permit>,
        avoid: Option<EndpointId>,
    ) -> Option<Picked> {
        let breakers = !matches!(self.key, UpstreamKey::Local(_));
        let pick = |avoid: Option<EndpointId>| {
            let mut members = self.members.borrow_mut();
            let Members {
                balancer,
                endpoints,
                rng,
            } = &mut *members;
            let mut passed_over: Vec<_> = avoid.into_iter().collect();
            loop {
                let id = balancer.pick(now, rng, |id| match endpoints.get(&id) {
                    Some(_) if passed_over.contains(&id) => 0.0,
                    Some((_, state)) if breakers => state.share(now, &self.state),
                    Some(_) => 1.0,
                    None => 0.0,
                })?;
                let (endpoint, state) = endpoints.get(&id)?;
                let endpoint_permit = if breakers {
                    let Ok(permit) = state.admit(now) else {
                        // One that recovers takes a part of its share; the others take the rest.
                        passed_over.push(id);
                        continue;
                    };
                    permit
                } else {
                    None
                };
                balancer.started(id);
                let leave = Leave {
                    endpoint: state.clone(),
                    endpoint_permit,
                    service_permit,
                };
                return Some(Picked {
                    id,
                    endpoint: endpoint.clone(),
                    leave,
                });
            }
        };
        pick(avoid).or_else(|| avoid.and_then(|_| pick(None)))
    }

    /// How a try went, for the balancer.
    pub fn finished(&self, id: EndpointId, now: Instant, outcome: &Outcome) {
        let ended = match (outcome.result, outcome.retry_after) {
            (CallResult::Cancelled, _) => Ended::Cancelled,
            (CallResult::Overload, retry_after) | (_, retry_after @ Some(_)) => {
                Ended::Overloaded { retry_after }
            }
            (CallResult::Failure, None) => Ended::Failure,
            (CallResult::Success, None) => Ended::Success,
        };
        self.members
            .borrow_mut()
            .balancer
            .finished(id, now, outcome.latency, ended);
    }
}
