//! The way back of a tripped breaker: a few probes, then a growing share of the traffic.

use std::time::{Duration, Instant};

/// The share of traffic right after the probes succeeded.
pub(super) const RAMP_FLOOR: f64 = 0.1;

/// However small the share, a call passes when none did for this long: a service that is asked
/// so rarely needs no protection, and its few callers no refusals.
const TRICKLE: Duration = Duration::from_millis(100);

/// Lets through a growing share of the calls, evenly spread rather than by chance.
#[derive(Debug)]
pub(super) struct Ramp {
    since: Instant,
    length: Duration,
    credit: f64,
    last_admitted: Option<Instant>,
}

impl Ramp {
    pub fn new(since: Instant, length: Duration) -> Self {
        Self {
            since,
            length,
            credit: 0.0,
            last_admitted: None,
        }
    }

    pub fn share(&self, now: Instant) -> f64 {
        if self.length.is_zero() {
            return 1.0;
        }
        let passed = now.saturating_duration_since(self.since);
        let done = passed.as_secs_f64() / self.length.as_secs_f64();
        (RAMP_FLOOR + (1.0 - RAMP_FLOOR) * done).min(1.0)
    }

    pub fn admit(&mut self, now: Instant) -> bool {
        self.credit += self.share(now);
        let quiet = |last| now.saturating_duration_since(last) >= TRICKLE;
        let admitted = self.credit >= 1.0 || self.last_admitted.is_none_or(quiet);
        if admitted {
            self.credit = (self.credit - 1.0).max(0.0);
            self.last_admitted = Some(now);
        }
        admitted
    }
}

/// The probes of one half-open state. One that is cancelled may be made again; one that is neither
/// answered nor cancelled is overdue after its deadline.
#[derive(Debug, Default)]
pub(super) struct Probing {
    /// Number and deadline of each probe that is under way.
    under_way: Vec<(u32, Instant)>,
    started: u32,
    succeeded: u32,
}

impl Probing {
    pub fn free(&self, probes: u32) -> bool {
        self.succeeded + (self.under_way.len() as u32) < probes
    }

    pub fn succeed(&mut self) {
        self.succeeded += 1;
    }

    pub fn is_done(&self, probes: u32) -> bool {
        self.succeeded >= probes
    }

    pub fn start(&mut self, deadline: Instant) -> u32 {
        self.started += 1;
        self.under_way.push((self.started, deadline));
        self.started
    }

    /// Whether the probe was still awaited.
    pub fn finish(&mut self, probe: u32) -> bool {
        let found = self.under_way.iter().position(|(n, _)| *n == probe);
        found.map(|at| self.under_way.swap_remove(at)).is_some()
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.under_way.iter().map(|(_, deadline)| *deadline).min()
    }
}
