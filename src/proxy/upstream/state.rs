//! What all workers share about an upstream: breakers, bulkheads and the retry budget, each behind
//! a short lock.

use std::{
    cmp::Reverse,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use foldhash::HashMap;

use super::UpstreamKey;
use crate::{
    proxy::{admission::Gate, belief},
    resilience::{
        Breaker, BreakerPolicy, BulkheadPolicy, CallResult, Outcome, Permit, RejectCause,
        ResiliencePolicy, RetryBudget, State, Transition, TripCause, ejection,
    },
    telemetry::metrics::{
        BreakerScope, BreakerSeries, BulkheadLabels, BulkheadScope, BulkheadSeries, Metrics,
        TrackedBreaker,
    },
};

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
    pub(super) endpoint_permit: Option<Permit>,
    pub(super) service_permit: Option<Permit>,
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
    pub(super) fn retain(&self, keep: impl Fn(&SocketAddr) -> bool) {
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
    pub(super) fn share(&self, now: Instant, upstream: &UpstreamState) -> f64 {
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

    pub(super) fn admit(&self, now: Instant) -> Result<Option<Permit>, ()> {
        match lock(&self.breaker).admit(now) {
            Ok(permit) => Ok(Some(permit)),
            Err(_) if self.spared.load(Ordering::Relaxed) => Ok(None),
            Err(_) => Err(()),
        }
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
