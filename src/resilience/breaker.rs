//! The circuit breaker of one endpoint or one service: closed lets calls through, open refuses
//! them, half-open probes. Who is asked instead is left to the balancer and the fallback.

use std::time::{Duration, Instant};

use super::{
    baseline::Baseline,
    classify::{CallResult, Outcome},
    policy::BreakerPolicy,
    recovery::{Probing, RAMP_FLOOR, Ramp},
    window::{CallWindow, Counts},
};

/// When to come back after a refusal while probing or ramping: something changes soon.
const RETRY_SOON: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    Closed,
    Open,
    HalfOpen,
}

impl State {
    /// Every state, in the order of their discriminants.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// Why a breaker opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TripCause {
    ConsecutiveFailures,
    FailureRate,
    SlowCalls,
    ProbeFailed,
    /// A probe had no answer by its deadline.
    ProbeTimeout,
    /// [`Breaker::force_open`]: too few endpoints are healthy.
    TooFewHealthy,
}

impl TripCause {
    /// Every cause, in the order of their discriminants.
    pub const ALL: [Self; 6] = [
        Self::ConsecutiveFailures,
        Self::FailureRate,
        Self::SlowCalls,
        Self::ProbeFailed,
        Self::ProbeTimeout,
        Self::TooFewHealthy,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConsecutiveFailures => "consecutive-failures",
            Self::FailureRate => "failure-rate",
            Self::SlowCalls => "slow-calls",
            Self::ProbeFailed => "probe-failed",
            Self::ProbeTimeout => "probe-timeout",
            Self::TooFewHealthy => "too-few-healthy",
        }
    }
}

/// A change of state, for metrics and the log. The cause is present when `to` is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    pub from: State,
    pub to: State,
    pub cause: Option<TripCause>,
}

/// Leave for one call; its outcome must come back to [`Breaker::record`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Permit {
    /// Counts the states a breaker went through: a call from an earlier one decides nothing.
    generation: u32,
    probe: Option<u32>,
}

impl Permit {
    pub fn is_probe(self) -> bool {
        self.probe.is_some()
    }
}

/// The call is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the circuit breaker is open; try again in {retry_after:?}")]
pub struct Open {
    pub retry_after: Duration,
}

#[derive(Debug)]
enum Phase {
    Closed(Option<Ramp>),
    Open { until: Instant },
    HalfOpen(Probing),
}

/// What an outcome means to this breaker.
struct Judgement {
    verdict: CallResult,
    slow: bool,
}

/// See the module. Time never comes from a clock but from the caller, and must not run backwards.
#[derive(Debug)]
pub struct Breaker {
    policy: BreakerPolicy,
    phase: Phase,
    generation: u32,
    consecutive_failures: u32,
    window: CallWindow,
    baseline: Baseline,
    /// Trips since it last recovered in full.
    trips: u32,
    /// The latest that a `Retry-After` asked for.
    not_before: Option<Instant>,
    unreported: Option<Transition>,
    rng: fastrand::Rng,
}

impl Breaker {
    /// A closed breaker. `policy` must have passed [`super::ResiliencePolicy::validate`];
    /// `seed` decides the jitter.
    pub fn new(policy: BreakerPolicy, seed: u64) -> Self {
        Self {
            phase: Phase::Closed(None),
            generation: 0,
            consecutive_failures: 0,
            window: CallWindow::new(policy.window),
            baseline: Baseline::new(),
            trips: 0,
            not_before: None,
            unreported: None,
            rng: fastrand::Rng::with_seed(seed),
            policy,
        }
    }

    pub fn state(&self) -> State {
        match self.phase {
            Phase::Closed(_) => State::Closed,
            Phase::Open { .. } => State::Open,
            Phase::HalfOpen(_) => State::HalfOpen,
        }
    }

    /// Takes on a changed policy and keeps the state; a changed window starts empty.
    pub fn update(&mut self, policy: BreakerPolicy) {
        if policy.window != self.policy.window {
            self.window = CallWindow::new(policy.window);
        }
        if !policy.enabled && self.state() != State::Closed {
            self.enter(Phase::Closed(None), None);
        }
        self.policy = policy;
    }

    /// Asks leave for one call. While half-open only probes get it; while traffic ramps up, a
    /// growing share of calls does. It advances deadlines as [`Breaker::tick`] does; a caller that
    /// ticks first sees every transition, one that does not gets several reported as one.
    ///
    /// # Errors
    /// [`Open`] when the call must not be made.
    pub fn admit(&mut self, now: Instant) -> Result<Permit, Open> {
        self.advance(now);
        let soon = Open {
            retry_after: RETRY_SOON,
        };
        let probe = match &mut self.phase {
            Phase::Closed(None) => None,
            Phase::Closed(Some(ramp)) => {
                if !ramp.admit(now) {
                    return Err(soon);
                }
                None
            }
            Phase::HalfOpen(probing) if probing.free(self.policy.half_open_probes) => {
                let usual = self.baseline.slow_threshold(self.policy.slow_call_min);
                // As long as a call that is not slow, and no shorter than the first time open:
                // a dead upstream is not to be probed faster than the policy means.
                Some(probing.start(now + usual.max(self.policy.open_for)))
            }
            Phase::HalfOpen(_) => return Err(soon),
            Phase::Open { until } => {
                return Err(Open {
                    retry_after: until.saturating_duration_since(now),
                });
            }
        };
        Ok(Permit {
            generation: self.generation,
            probe,
        })
    }

    /// Whether a call could be admitted now, without taking leave for one; the ramp aside.
    pub fn is_available(&self, now: Instant) -> bool {
        match &self.phase {
            Phase::Closed(_) => true,
            Phase::Open { until } => now >= *until,
            Phase::HalfOpen(probing) => probing.free(self.policy.half_open_probes),
        }
    }

    /// The share of its usual traffic that this one should be offered: 1 normally, 0.1 to 1 while
    /// it recovers, 0 while open. [`Breaker::admit`] keeps to it by itself; a balancer that weighs
    /// by it only spares itself refusals.
    pub fn share(&self, now: Instant) -> f64 {
        match &self.phase {
            Phase::Closed(None) => 1.0,
            Phase::Closed(Some(ramp)) => ramp.share(now),
            Phase::Open { until } if now < *until => 0.0,
            Phase::Open { .. } | Phase::HalfOpen(_) => RAMP_FLOOR,
        }
    }

    /// Takes back a permit with how its call ended. Calls admitted in an earlier state, and a
    /// second record of one probe, decide nothing.
    pub fn record(&mut self, now: Instant, permit: Permit, outcome: Outcome) -> Option<Transition> {
        self.advance(now);
        if self.policy.enabled && permit.generation == self.generation {
            let judgement = self.judge(now, &outcome);
            match permit.probe {
                Some(probe) => self.record_probe(now, probe, &judgement),
                None => self.record_call(now, &judgement),
            }
        }
        self.unreported.take()
    }

    /// Does what is due: an open breaker whose time is over becomes half-open, a half-open one
    /// whose probe has no answer opens again. See [`Breaker::deadline`].
    pub fn tick(&mut self, now: Instant) -> Option<Transition> {
        self.advance(now);
        self.unreported.take()
    }

    /// When the next [`Breaker::tick`] has something to do, if anything is due without a call.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Closed(_) => None,
            Phase::Open { until } => Some(*until),
            Phase::HalfOpen(probing) => probing.deadline(),
        }
    }

    /// Opens the breaker of a service whose endpoints are mostly broken
    /// ([`super::ejection::too_few_healthy`]). An open one stays as it is, a disabled one closed.
    pub fn force_open(&mut self, now: Instant) -> Option<Transition> {
        self.advance(now);
        if self.policy.enabled && self.state() != State::Open {
            self.trip(now, TripCause::TooFewHealthy);
        }
        self.unreported.take()
    }

    fn advance(&mut self, now: Instant) {
        match &self.phase {
            Phase::Closed(Some(ramp)) if ramp.share(now) >= 1.0 => {
                self.phase = Phase::Closed(None);
                self.trips = 0;
            }
            Phase::Open { until } if now >= *until => {
                self.enter(Phase::HalfOpen(Probing::default()), None);
            }
            Phase::HalfOpen(probing) if probing.deadline().is_some_and(|due| now >= due) => {
                self.trip(now, TripCause::ProbeTimeout);
            }
            // Also reached when a changed policy wants fewer probes than have succeeded.
            Phase::HalfOpen(probing) if probing.is_done(self.policy.half_open_probes) => {
                self.close(now);
            }
            _ => {}
        }
    }

    fn judge(&mut self, now: Instant, outcome: &Outcome) -> Judgement {
        if outcome.result == CallResult::Success {
            self.baseline.observe(now, outcome.latency);
        }
        if let (CallResult::Failure | CallResult::Overload, Some(wait)) =
            (outcome.result, outcome.retry_after)
        {
            // An upstream may ask for a pause, but not for a longer one than we would ever make.
            let asked = now + wait.min(self.policy.open_for_max);
            self.not_before = self.not_before.max(Some(asked));
        }
        let slow_above = self.baseline.slow_threshold(self.policy.slow_call_min);
        let slow = outcome.latency > slow_above;
        let verdict = match outcome.result {
            CallResult::Cancelled if slow => CallResult::Failure,
            other => other,
        };
        Judgement { verdict, slow }
    }

    fn record_call(&mut self, now: Instant, call: &Judgement) {
        match call.verdict {
            CallResult::Success => self.consecutive_failures = 0,
            CallResult::Failure => {
                self.consecutive_failures = self.consecutive_failures.saturating_add(1);
            }
            CallResult::Overload => {}
            CallResult::Cancelled => return,
        }
        let failed = call.verdict != CallResult::Success;
        let total = self.window.record(now, Counts::call(failed, call.slow));
        if let Some(cause) = self.trip_cause(total) {
            self.trip(now, cause);
        }
    }

    fn trip_cause(&self, total: Counts) -> Option<TripCause> {
        let policy = &self.policy;
        let reached = |count: u32, rate: f64| {
            count > 0
                && total.calls >= policy.min_requests
                && f64::from(count) >= rate * f64::from(total.calls)
        };
        if (1..=self.consecutive_failures).contains(&policy.consecutive_failures) {
            Some(TripCause::ConsecutiveFailures)
        } else if reached(total.failures, policy.failure_rate) {
            Some(TripCause::FailureRate)
        } else if reached(total.slow, policy.slow_call_rate) {
            Some(TripCause::SlowCalls)
        } else {
            None
        }
    }

    /// All probes must succeed, and in good time. An overloaded upstream has not recovered yet.
    fn record_probe(&mut self, now: Instant, probe: u32, call: &Judgement) {
        let Phase::HalfOpen(probing) = &mut self.phase else {
            return;
        };
        if !probing.finish(probe) {
            return;
        }
        match call.verdict {
            CallResult::Cancelled => {}
            CallResult::Success if call.slow => self.trip(now, TripCause::SlowCalls),
            CallResult::Success => {
                probing.succeed();
                self.advance(now);
            }
            CallResult::Failure | CallResult::Overload => self.trip(now, TripCause::ProbeFailed),
        }
    }

    fn trip(&mut self, now: Instant, cause: TripCause) {
        let doubled = self
            .policy
            .open_for
            .saturating_mul(1 << self.trips.min(16))
            .min(self.policy.open_for_max);
        self.trips = self.trips.saturating_add(1);
        // ± 20 %, so that many proxies do not probe a recovering service at the same moment.
        let jittered = doubled.mul_f64(0.8 + 0.4 * self.rng.f64());
        let until = (now + jittered).max(self.not_before.unwrap_or(now));
        self.enter(Phase::Open { until }, Some(cause));
    }

    fn close(&mut self, now: Instant) {
        let ramp = Ramp::new(now, self.policy.ramp);
        self.enter(Phase::Closed(Some(ramp)), None);
    }

    fn enter(&mut self, phase: Phase, cause: Option<TripCause>) {
        let from = self.unreported.map_or(self.state(), |earlier| earlier.from);
        self.phase = phase;
        self.generation = self.generation.wrapping_add(1);
        self.consecutive_failures = 0;
        self.window.clear();
        let to = self.state();
        self.unreported = (from != to).then_some(Transition { from, to, cause });
    }
}
