//! A concurrency limit found from latency: gradient2, after Netflix's concurrency-limits
//! (<https://github.com/Netflix/concurrency-limits>, `Gradient2Limit`).
//!
//! Where recent latency rises above its long-term average, requests are queueing somewhere, and
//! the limit shrinks by the ratio; otherwise it grows by about its square root. Two things are
//! ours: samples are averaged over a short window before each step, so that one odd request
//! moves nothing, and an upstream that says it is overloaded shrinks the limit by a tenth, since
//! its quick refusals would look like good latency.

use std::time::{Duration, Instant};

use super::classify::{CallResult, Outcome};

const MIN: f64 = 4.0;
const MAX: f64 = 1_000.0;
const STEP_EVERY: Duration = Duration::from_millis(100);
const STEP_SAMPLES: u32 = 10;
/// Recent latency may be so many times the long-term one before the limit shrinks.
const TOLERANCE: f64 = 1.5;
/// How much of a newly computed limit is taken over in one step.
const SMOOTHING: f64 = 0.2;
const LEAST_GRADIENT: f64 = 0.5;
const OVERLOAD_BACKOFF: f64 = 0.9;
/// Steps over which the long-term latency averages: a minute of busy steps.
const LONG_STEPS: f64 = 600.0;
/// The first steps count fully, or the average would start at one sample's whim.
const WARMUP_STEPS: f64 = 10.0;
/// Pulls down a long-term average that a passed overload left far too high.
const LONG_DECAY: f64 = 0.95;

/// See the module.
#[derive(Debug)]
pub struct AdaptiveLimit {
    limit: f64,
    /// Seconds.
    long_latency: f64,
    steps: f64,
    sample: Sample,
}

/// What was seen since the last step.
#[derive(Debug, Default)]
struct Sample {
    since: Option<Instant>,
    count: u32,
    seconds: f64,
    most_in_flight: u32,
    overloaded: bool,
}

impl AdaptiveLimit {
    /// Starts from `initial`, kept between 4 and 1,000 like every later limit.
    pub fn new(initial: u32) -> Self {
        Self {
            limit: f64::from(initial).clamp(MIN, MAX),
            long_latency: 0.0,
            steps: 0.0,
            sample: Sample::default(),
        }
    }

    pub fn limit(&self) -> u32 {
        self.limit as u32
    }

    /// Takes in a call that ended; `in_flight` is how many there were when it began, itself
    /// included. Only successes say what latency is, only overload says more.
    pub fn record(&mut self, now: Instant, in_flight: u32, outcome: &Outcome) {
        let sample = &mut self.sample;
        match outcome.result {
            CallResult::Success => {
                sample.count += 1;
                sample.seconds += outcome.latency.as_secs_f64();
            }
            CallResult::Overload => {
                sample.count += 1;
                sample.overloaded = true;
            }
            CallResult::Failure | CallResult::Cancelled => return,
        }
        sample.most_in_flight = sample.most_in_flight.max(in_flight);
        let since = *sample.since.get_or_insert(now);
        let age = now.saturating_duration_since(since);
        if sample.count >= STEP_SAMPLES && age >= STEP_EVERY {
            let sample = std::mem::take(sample);
            self.step(&sample);
        }
    }

    fn step(&mut self, sample: &Sample) {
        if sample.overloaded {
            self.limit = (self.limit * OVERLOAD_BACKOFF).max(MIN);
            return;
        }
        let latency = (sample.seconds / f64::from(sample.count)).max(1e-6);
        self.average(latency);
        // A limit that is not used proves nothing by being fast: it must not grow.
        if f64::from(sample.most_in_flight) < self.limit / 2.0 {
            return;
        }
        let gradient = (TOLERANCE * self.long_latency / latency).clamp(LEAST_GRADIENT, 1.0);
        let found = self.limit * gradient + self.limit.sqrt();
        self.limit = (self.limit * (1.0 - SMOOTHING) + found * SMOOTHING).clamp(MIN, MAX);
    }

    fn average(&mut self, latency: f64) {
        self.steps += 1.0;
        let weight = if self.steps <= WARMUP_STEPS {
            1.0 / self.steps
        } else {
            2.0 / (LONG_STEPS + 1.0)
        };
        self.long_latency += (latency - self.long_latency) * weight;
        if self.long_latency / latency > 2.0 {
            self.long_latency *= LONG_DECAY;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `seconds` of an upstream at its limit, one call a millisecond.
    fn run(
        limit: &mut AdaptiveLimit,
        now: &mut Instant,
        seconds: u32,
        result: CallResult,
        ms: u64,
    ) {
        for _ in 0..seconds * 1_000 {
            *now += Duration::from_millis(1);
            let outcome = Outcome {
                result,
                latency: Duration::from_millis(ms),
                retry_after: None,
            };
            limit.record(*now, limit.limit(), &outcome);
        }
    }

    #[test]
    fn grows_while_latency_is_steady_and_shrinks_when_it_rises() {
        let (mut limit, mut now) = (AdaptiveLimit::new(20), Instant::now());
        run(&mut limit, &mut now, 10, CallResult::Success, 10);
        let grown = limit.limit();
        assert!(grown > 40, "{grown}");
        run(&mut limit, &mut now, 5, CallResult::Success, 100);
        assert!(limit.limit() < grown / 2, "{}", limit.limit());
    }

    #[test]
    fn stays_between_4_and_1000() {
        let mut now = Instant::now();
        let mut limit = AdaptiveLimit::new(5_000);
        assert_eq!(limit.limit(), 1_000);
        run(&mut limit, &mut now, 30, CallResult::Success, 10);
        assert_eq!(limit.limit(), 1_000);
        run(&mut limit, &mut now, 30, CallResult::Overload, 1);
        assert_eq!(limit.limit(), 4);
    }

    #[test]
    fn does_not_grow_unused_and_learns_nothing_from_failures() {
        let (mut limit, now) = (AdaptiveLimit::new(100), Instant::now());
        for ms in 0..5_000 {
            let mut outcome = Outcome {
                result: CallResult::Success,
                latency: Duration::from_millis(10),
                retry_after: None,
            };
            limit.record(now + Duration::from_millis(ms), 10, &outcome);
            outcome.result = CallResult::Failure;
            limit.record(now + Duration::from_millis(ms), 100, &outcome);
        }
        assert_eq!(limit.limit(), 100);
    }

    proptest! {
        /// Whatever comes back, the limit stays in its bounds, overload never raises it, and no
        /// step takes more than half.
        #[test]
        fn stays_in_bounds_and_moves_in_steps(
            initial: u32,
            calls in proptest::collection::vec((0u8..4, 0u64..5_000, 0u64..200, 0u32..2_000), 0..400),
        ) {
            let (mut limit, mut now) = (AdaptiveLimit::new(initial), Instant::now());
            for (kind, ms, passed, in_flight) in calls {
                now += Duration::from_millis(passed);
                let result = [
                    CallResult::Success,
                    CallResult::Overload,
                    CallResult::Failure,
                    CallResult::Cancelled,
                ][usize::from(kind)];
                let latency = Duration::from_millis(ms);
                let before = limit.limit();
                limit.record(now, in_flight, &Outcome { result, latency, retry_after: None });
                let after = limit.limit();
                prop_assert!((4..=1_000).contains(&after));
                prop_assert!(result == CallResult::Success || after <= before);
                prop_assert!(after >= before / 2);
            }
        }
    }
}
