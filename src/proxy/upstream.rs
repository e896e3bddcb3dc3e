//! What a request can be sent to: a service with its routes, policy, balancer and breakers.
//!
//! Breakers, bulkheads and budgets belong to the whole proxy ([`UpstreamState`]) so that their
//! limits are exact with any number of workers. Routes, balancer and connections belong to one
//! worker ([`Upstream`]) and need no lock.

use std::{
    cell::{Cell, RefCell},
    cmp::Reverse,
    fmt,
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use foldhash::{HashMap, HashMapExt};
use http::uri::Authority;
use tokio::task::JoinHandle;

use super::{
    admission::Gate,
    balance::{Balancer, BalancerConfig, EndpointId, Outcome as Ended},
    belief,
    route::RouteTable,
};
use crate::{
    discovery::model::{Endpoint, Endpoints, Protocol, Service, ServiceKey},
    resilience::{
        Breaker, BreakerPolicy, BulkheadPolicy, CallResult, Outcome, Permit, RejectCause,
        ResiliencePolicy, RetryBudget, State, Transition, TripCause, ejection,
    },
    telemetry::metrics::{
        BreakerScope, BreakerSeries, BulkheadLabels, BulkheadScope, BulkheadSeries, Metrics,
        TrackedBreaker,
    },
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

/// A route's bulkhead, with the policy in force: the route's own where it has one.
type RouteGate = (Arc<Gate>, BulkheadPolicy);

/// What all workers share about an upstream.
pub struct UpstreamState {
    pub label: Arc<str>,
    pub gate: Arc<Gate>,
    breaker: Mutex<Breaker>,
    budget: Mutex<RetryBudget>,
    policy: Mutex<BreakerPolicy>,
    routes: Mutex<HashMap<Arc<str>, RouteGate>>,
    endpoints: Mutex<HashMap<SocketAddr, Arc<EndpointState>>>,
    breakers: Arc<BreakerSeries>,
    tracked: TrackedBreaker,
    bulkhead: Arc<BulkheadSeries>,
}

/// One endpoint's breaker.
pub struct EndpointState {
    pub addr: SocketAddr,
    breaker: Mutex<Breaker>,
    tracked: TrackedBreaker,
    /// Broken, but in use all the same: too many others are out already.
    spared: AtomicBool,
}

/// Leave to send one request: what the two breakers want to hear about its outcome.
#[derive(Clone)]
pub struct Leave {
    pub endpoint: Arc<EndpointState>,
    endpoint_permit: Option<Permit>,
    service_permit: Option<Permit>,
}

/// Locks what no thread panics while holding; if one did, the state machine is still sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The policy of a service's own breaker. Failures in a row say something about one endpoint, not
/// about the service: where one of two is broken, a few in a row are chance. The service trips by
/// its rates, and when too few endpoints are left.
fn of_service(policy: &BreakerPolicy) -> BreakerPolicy {
    BreakerPolicy {
        consecutive_failures: 0,
        ..policy.clone()
    }
}

impl UpstreamState {
    pub fn new(key: &UpstreamKey, policy: &ResiliencePolicy, metrics: &Metrics) -> Arc<Self> {
        let label: Arc<str> = key.to_string().into();
        let breakers = metrics.breaker_series(label.clone());
        Arc::new(Self {
            gate: Gate::new(&policy.bulkhead),
            breaker: Mutex::new(Breaker::new(of_service(&policy.breaker), fastrand::u64(..))),
            budget: Mutex::new(RetryBudget::new(&policy.retry)),
            policy: Mutex::new(policy.breaker.clone()),
            routes: Mutex::default(),
            endpoints: Mutex::default(),
            tracked: breakers.track(BreakerScope::Service),
            breakers,
            bulkhead: metrics.bulkhead_series(match key {
                UpstreamKey::Route(_, route) => BulkheadLabels {
                    scope: BulkheadScope::Route,
                    name: route.clone(),
                },
                _ => BulkheadLabels {
                    scope: BulkheadScope::Upstream,
                    name: label.clone(),
                },
            }),
            label,
        })
    }

    /// Takes a changed policy; what is under way and what is open stays so.
    pub fn update(&self, policy: &ResiliencePolicy) {
        self.gate.update(&policy.bulkhead);
        lock(&self.breaker).update(of_service(&policy.breaker));
        lock(&self.budget).update(&policy.retry);
        for endpoint in lock(&self.endpoints).values() {
            lock(&endpoint.breaker).update(policy.breaker.clone());
        }
        *lock(&self.policy) = policy.breaker.clone();
        self.reconsider();
    }

    /// The bulkhead of one route.
    pub fn route_gate(&self, route: &Arc<str>, policy: &ResiliencePolicy) -> Arc<Gate> {
        let wanted = &policy.bulkhead;
        let mut routes = lock(&self.routes);
        let new = || (Gate::for_route(wanted), wanted.clone());
        let (gate, in_force) = routes.entry(route.clone()).or_insert_with(new);
        if in_force != wanted {
            gate.update_route(wanted);
            in_force.clone_from(wanted);
        }
        gate.clone()
    }

    pub fn endpoint(&self, addr: SocketAddr) -> Arc<EndpointState> {
        let policy = lock(&self.policy).clone();
        let new = || {
            Arc::new(EndpointState {
                addr,
                breaker: Mutex::new(Breaker::new(policy, fastrand::u64(..))),
                tracked: self.breakers.track(BreakerScope::Endpoint),
                spared: AtomicBool::new(false),
            })
        };
        lock(&self.endpoints)
            .entry(addr)
            .or_insert_with(new)
            .clone()
    }

    /// Forgets the breakers of endpoints that are gone.
    fn retain(&self, keep: impl Fn(&SocketAddr) -> bool) {
        lock(&self.endpoints).retain(|addr, _| keep(addr));
        self.reconsider();
    }

    /// Which broken endpoints are out and which are in use all the same, now that there are others
    /// or another policy. Those stay out that would be for longest.
    fn reconsider(&self) {
        let policy = lock(&self.policy).clone();
        let endpoints = lock(&self.endpoints);
        let mut broken: Vec<_> = endpoints
            .values()
            .filter(|endpoint| endpoint.is_open())
            .map(|endpoint| (lock(&endpoint.breaker).deadline(), endpoint))
            .collect();
        broken.sort_by_key(|(due, _)| Reverse(*due));
        let most = ejection::most(endpoints.len(), &policy);
        for (n, (_, endpoint)) in broken.iter().enumerate() {
            endpoint.spared.store(n >= most, Ordering::Relaxed);
        }
    }

    /// Whether the service as a whole takes this request.
    pub fn admit(&self, now: Instant) -> Result<Option<Permit>, crate::resilience::Open> {
        if !lock(&self.policy).enabled {
            return Ok(None);
        }
        let mut breaker = lock(&self.breaker);
        let moved = breaker.tick(now);
        let admitted = breaker.admit(now);
        drop(breaker);
        self.report(BreakerScope::Service, &self.tracked, moved);
        admitted.map(Some)
    }

    pub fn deposit(&self, now: Instant) {
        lock(&self.budget).deposit(now);
    }

    pub fn withdraw(&self, now: Instant) -> bool {
        lock(&self.budget).withdraw(now)
    }

    /// How long until the first ejected endpoint may be tried again.
    pub fn next_probe(&self, now: Instant) -> Duration {
        let endpoints = lock(&self.endpoints);
        let due = endpoints
            .values()
            .filter_map(|endpoint| lock(&endpoint.breaker).deadline())
            .min();
        due.map_or(Duration::ZERO, |due| due.saturating_duration_since(now))
    }

    /// Gives back a permit that no request was sent on.
    pub fn unused(&self, now: Instant, permit: Option<Permit>) {
        if let Some(permit) = permit {
            let nothing = Outcome {
                result: CallResult::Cancelled,
                latency: Duration::ZERO,
                retry_after: None,
            };
            lock(&self.breaker).record(now, permit, nothing);
        }
    }

    /// Tells both breakers how a request went, and draws the consequences for the service.
    pub fn record(&self, now: Instant, leave: &Leave, outcome: Outcome) {
        if let Some(permit) = leave.service_permit {
            let moved = lock(&self.breaker).record(now, permit, outcome);
            self.report(BreakerScope::Service, &self.tracked, moved);
        }
        let Some(permit) = leave.endpoint_permit else {
            return;
        };
        let moved = lock(&leave.endpoint.breaker).record(now, permit, outcome);
        if moved.as_ref().is_some_and(|moved| moved.to == State::Open) {
            self.endpoint_tripped(now, &leave.endpoint);
        }
        self.report(BreakerScope::Endpoint, &leave.endpoint.tracked, moved);
    }

    /// Never ejects everything into a black hole: beyond the allowed share a broken endpoint
    /// stays in use, and with too few healthy ones the service as a whole opens instead.
    fn endpoint_tripped(&self, now: Instant, tripped: &EndpointState) {
        let policy = lock(&self.policy).clone();
        let (total, broken) = {
            let endpoints = lock(&self.endpoints);
            let broken = endpoints
                .values()
                .filter(|e| e.addr != tripped.addr && e.is_open())
                .count();
            (endpoints.len(), broken)
        };
        tripped.spared.store(
            !ejection::may_eject(total, broken, &policy),
            Ordering::Relaxed,
        );
        if ejection::too_few_healthy(total, total - broken - 1, &policy) {
            let moved = lock(&self.breaker).force_open(now);
            self.report(BreakerScope::Service, &self.tracked, moved);
        }
    }

    /// A request found no place in the bulkhead.
    pub fn rejected(&self, cause: RejectCause) {
        self.bulkhead.rejected(cause);
    }

    fn report(&self, scope: BreakerScope, tracked: &TrackedBreaker, moved: Option<Transition>) {
        let Some(moved) = moved else { return };
        tracked.moved(&moved);
        let (from, to, cause) = (
            moved.from.as_str(),
            moved.to.as_str(),
            moved.cause.map(TripCause::as_str),
        );
        tracing::info!(upstream = %self.label, scope = scope.as_str(), from, to, cause, "breaker moved");
    }

    /// Brings the bulkhead's gauges up to date, before they are read.
    pub fn observe(&self) {
        let (in_use, queued, limit) = self.gate.usage();
        self.bulkhead.in_use.set(in_use as i64);
        self.bulkhead.queued.set(queued as i64);
        self.bulkhead.limit.set(limit as i64);
    }

    /// For `/config`: as it is now.
    pub fn describe(&self, key: &UpstreamKey, now: Instant) -> belief::Upstream {
        let endpoints = lock(&self.endpoints);
        let routes = lock(&self.routes);
        belief::Upstream {
            upstream: self.label.to_string(),
            address: match key {
                UpstreamKey::Service(_) | UpstreamKey::Route(..) => None,
                UpstreamKey::Direct(addr, _) | UpstreamKey::Local(addr) => Some(*addr),
            },
            route: match key {
                UpstreamKey::Route(_, route) => Some(route.to_string()),
                _ => None,
            },
            breaker: describe_breaker(&lock(&self.breaker), now),
            bulkhead: self.gate.usage().into(),
            routes: routes
                .iter()
                .map(|(name, (gate, _))| (name.to_string(), gate.usage().into()))
                .collect(),
            retry_budget: lock(&self.budget).remaining(now),
            endpoints: endpoints
                .iter()
                .map(|(addr, endpoint)| (*addr, endpoint.describe(now)))
                .collect(),
        }
    }
}

fn describe_breaker(breaker: &Breaker, now: Instant) -> belief::Breaker {
    let due = breaker.deadline();
    let left = due.map(|due| due.saturating_duration_since(now).as_millis());
    belief::Breaker {
        state: breaker.state().as_str().to_owned(),
        changes_in_ms: left.and_then(|ms| u64::try_from(ms).ok()),
        spared: false,
    }
}

impl EndpointState {
    fn describe(&self, now: Instant) -> belief::Breaker {
        let described = describe_breaker(&lock(&self.breaker), now);
        let is_closed = described.state == State::Closed.as_str();
        belief::Breaker {
            spared: !is_closed && self.spared.load(Ordering::Relaxed),
            ..described
        }
    }

    fn is_open(&self) -> bool {
        lock(&self.breaker).state() != State::Closed
    }

    /// The share of its usual traffic that it should get now, 0 to 1.
    fn share(&self, now: Instant, upstream: &UpstreamState) -> f64 {
        let mut breaker = lock(&self.breaker);
        let moved = breaker.tick(now);
        let share = match breaker.state() {
            State::Closed => breaker.share(now),
            _ if self.spared.load(Ordering::Relaxed) => 1.0,
            _ if breaker.is_available(now) => breaker.share(now),
            _ => 0.0,
        };
        drop(breaker);
        upstream.report(BreakerScope::Endpoint, &self.tracked, moved);
        share
    }

    fn admit(&self, now: Instant) -> Result<Option<Permit>, ()> {
        match lock(&self.breaker).admit(now) {
            Ok(permit) => Ok(Some(permit)),
            Err(_) if self.spared.load(Ordering::Relaxed) => Ok(None),
            Err(_) => Err(()),
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
            last_used: Cell::new(Instant::now()),
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
            self.set_endpoints(&endpoints, Instant::now());
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

#[cfg(test)]
#[path = "upstream_tests.rs"]
mod tests;
