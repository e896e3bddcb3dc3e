//! How busy one endpoint is: Finagle's peak EWMA
//! (`com.twitter.finagle.loadbalancer.PeakEwma`).
//!
//! The estimate follows a higher latency at once and a lower one slowly, weighted by the time
//! since the last observation. What differs: without observations it drifts to what is typical of
//! its peers, where Finagle's drifts to zero and draws a burst to an endpoint that was slow.

use std::time::{Duration, Instant};

/// How an exchange ended, as far as balancing goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Success,
    /// Its latency says nothing good: who fails fast must not look fast.
    Failure,
    /// 429, RESOURCE_EXHAUSTED, or a Retry-After: alive, and asking for less for that time.
    Overloaded {
        retry_after: Option<Duration>,
    },
    /// Given up by the client: it would have taken at least so long.
    Cancelled,
}

/// How much dearer an endpoint is that has asked for less.
const OVERLOAD_FACTOR: f64 = 8.0;
const OVERLOAD_DEFAULT: Duration = Duration::from_secs(1);
/// An endpoint cannot banish itself for longer.
const OVERLOAD_MAX: Duration = Duration::from_secs(60);
/// A failure counts as at least so many typical latencies.
const FAILURE_FACTOR: f64 = 2.0;
/// The first answer pays for cold caches too: it counts as at most so many typical latencies.
const FIRST_ANSWER_FACTOR: f64 = 2.0;
/// Before anything was measured all endpoints are alike, so any latency does.
const UNKNOWN_SECONDS: f64 = 0.001;
/// Keeps logarithms finite.
const LEAST_SECONDS: f64 = 1e-6;

/// The latency of a service's successful requests, whichever endpoint served them: a geometric
/// moving average, because one endpoint that hangs for 30 s must not speak for its peers.
#[derive(Debug)]
pub(super) struct Typical {
    decay: f64,
    ln: Option<(f64, Instant)>,
    seconds: f64,
}

impl Typical {
    pub fn new(decay: Duration) -> Self {
        Self {
            decay: decay.as_secs_f64(),
            ln: None,
            seconds: UNKNOWN_SECONDS,
        }
    }

    pub fn observe(&mut self, latency: Duration, now: Instant) {
        let new = seconds(latency).ln();
        let ln = match self.ln {
            None => new,
            Some((old, at)) => mix(old, new, self.keep(at, now)),
        };
        self.ln = Some((ln, now));
        self.seconds = ln.exp();
    }

    /// The part of an old value that is left.
    fn keep(&self, since: Instant, now: Instant) -> f64 {
        (-now.saturating_duration_since(since).as_secs_f64() / self.decay).exp()
    }
}

fn mix(old: f64, new: f64, keep: f64) -> f64 {
    old * keep + new * (1.0 - keep)
}

fn seconds(latency: Duration) -> f64 {
    latency.as_secs_f64().max(LEAST_SECONDS)
}

#[derive(Debug, Default)]
pub(super) struct Load {
    /// In seconds, as of then; nothing before the first answer.
    estimate: Option<(f64, Instant)>,
    in_flight: u32,
    overloaded_until: Option<Instant>,
}

impl Load {
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    pub fn started(&mut self) {
        self.in_flight += 1;
    }

    pub fn finished(
        &mut self,
        now: Instant,
        latency: Duration,
        outcome: Outcome,
        typical: &Typical,
    ) {
        debug_assert!(self.in_flight > 0, "every end has a start");
        self.in_flight = self.in_flight.saturating_sub(1);
        let latency = seconds(latency);
        let floor = self.latency(now, typical);
        match outcome {
            Outcome::Success => self.observe(latency, now, typical),
            Outcome::Failure => {
                let least = floor.max(FAILURE_FACTOR * typical.seconds);
                self.estimate = Some((latency.max(least), now));
            }
            Outcome::Cancelled if latency > floor => self.estimate = Some((latency, now)),
            Outcome::Cancelled => {}
            Outcome::Overloaded { retry_after } => {
                let wait = retry_after.unwrap_or(OVERLOAD_DEFAULT).min(OVERLOAD_MAX);
                self.overloaded_until = self.overloaded_until.max(Some(now + wait));
            }
        }
    }

    fn observe(&mut self, latency: f64, now: Instant, typical: &Typical) {
        let estimate = match self.estimate {
            None if typical.ln.is_none() => latency,
            None => latency.min(FIRST_ANSWER_FACTOR * typical.seconds),
            Some((old, _)) if latency > old => latency,
            Some((old, at)) => mix(old, latency, typical.keep(at, now)),
        };
        self.estimate = Some((estimate, now));
    }

    /// What a request may be expected to take, in seconds.
    fn latency(&self, now: Instant, typical: &Typical) -> f64 {
        match self.estimate {
            None => typical.seconds,
            Some((old, at)) => mix(old, typical.seconds, typical.keep(at, now)),
        }
    }

    /// Comparable between the endpoints of one balancer. `capacity`, above 0, is what the
    /// endpoint can have in flight relative to its peers.
    pub fn cost(&self, now: Instant, typical: &Typical, capacity: f64) -> f64 {
        let queue = 1.0 + f64::from(self.in_flight) / capacity;
        let overloaded = self.overloaded_until.is_some_and(|until| now < until);
        let factor = if overloaded { OVERLOAD_FACTOR } else { 1.0 };
        self.latency(now, typical) * queue * factor
    }
}
