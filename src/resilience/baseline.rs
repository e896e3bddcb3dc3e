//! What a call usually takes, and so when one is slow.
//!
//! The median of the very calls that turn slow would rise with them, and nothing would ever be
//! three times as slow as usual. So the baseline follows the observed median with bounded speed:
//! up by 2 % a second, down by half at a time. A sudden slowdown stands out for minutes; a service
//! that stays slower becomes its own new normal instead of tripping for ever.

use std::time::{Duration, Instant};

/// Four slots to the octave from about a millisecond to half an hour.
const SLOTS: usize = 84;
const ENOUGH_SAMPLES: u32 = 16;
const FOLD_EVERY: Duration = Duration::from_secs(1);
/// With few samples, waits this long for more.
const FOLD_AT_LAST: Duration = Duration::from_secs(10);
const RISE_PER_SECOND: f64 = 1.02;
const LEAST_FALL: f64 = 0.5;
/// A call is slow that takes longer than so many times the median.
const SLOW_FACTOR: u32 = 3;

/// A running estimate of the median latency of answered calls.
#[derive(Debug)]
pub(super) struct Baseline {
    histogram: [u16; SLOTS],
    samples: u32,
    folded: Option<Instant>,
    median: Option<Duration>,
}

impl Baseline {
    pub fn new() -> Self {
        Self {
            histogram: [0; SLOTS],
            samples: 0,
            folded: None,
            median: None,
        }
    }

    /// Takes in a call that was answered. Calls that were not say nothing about what is usual.
    pub fn observe(&mut self, now: Instant, latency: Duration) {
        let since = now.saturating_duration_since(*self.folded.get_or_insert(now));
        let enough = self.samples >= ENOUGH_SAMPLES && since >= FOLD_EVERY;
        if enough || (self.samples > 0 && since >= FOLD_AT_LAST) {
            self.fold(now, since);
        }
        let slot = &mut self.histogram[slot(latency)];
        *slot = slot.saturating_add(1);
        self.samples += 1;
    }

    /// The latency above which a call is slow: 3 × the median, and at least `floor`.
    pub fn slow_threshold(&self, floor: Duration) -> Duration {
        // Before the first fold, what little was seen must do: a service that always takes two
        // seconds shall not trip on its first calls.
        let median = self.median.unwrap_or_else(|| self.observed_median());
        floor.max(median * SLOW_FACTOR)
    }

    fn fold(&mut self, now: Instant, since: Duration) {
        let observed = self.observed_median();
        let median = self.median.map_or(observed, |old| {
            let rise = RISE_PER_SECOND.powf(since.as_secs_f64().min(60.0));
            observed.clamp(old.mul_f64(LEAST_FALL), old.mul_f64(rise))
        });
        *self = Self {
            folded: Some(now),
            median: Some(median),
            ..Self::new()
        };
    }

    fn observed_median(&self) -> Duration {
        let mut below = 0;
        let half = self.samples.div_ceil(2).max(1);
        let middle = self.histogram.iter().position(|count| {
            below += u32::from(*count);
            below >= half
        });
        middle.map_or(Duration::ZERO, latency_of)
    }
}

/// Logarithmic: the octave, then its two next bits.
fn slot(latency: Duration) -> usize {
    let units = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX) >> 8;
    let units = units.max(4);
    let octave = units.ilog2();
    let quarter = (units >> (octave - 2)) & 3;
    (((octave - 2) * 4) as usize + quarter as usize).min(SLOTS - 1)
}

/// The lower bound of a slot, in the 256 µs units of [`slot`].
fn latency_of(slot: usize) -> Duration {
    Duration::from_micros(((4 + slot as u64 % 4) << (slot / 4)) << 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOR: Duration = Duration::from_secs(1);

    fn feed(baseline: &mut Baseline, from: Instant, seconds: u32, latency: Duration) -> Instant {
        for step in 0..seconds * 20 {
            baseline.observe(from + Duration::from_millis(50) * step, latency);
        }
        from + Duration::from_secs(seconds.into())
    }

    #[test]
    fn slots_keep_a_quarter_octave() {
        for ms in [2, 10, 333, 1_000, 2_500, 60_000, 600_000] {
            let latency = Duration::from_millis(ms);
            let kept = latency_of(slot(latency));
            assert!(
                kept <= latency && latency < kept.mul_f64(1.26),
                "{ms} ms: {kept:?}"
            );
        }
        assert_eq!(slot(Duration::MAX), SLOTS - 1);
    }

    #[test]
    fn the_floor_holds_for_fast_services() {
        let mut baseline = Baseline::new();
        assert_eq!(baseline.slow_threshold(FLOOR), FLOOR);
        feed(&mut baseline, Instant::now(), 5, Duration::from_millis(10));
        assert_eq!(baseline.slow_threshold(FLOOR), FLOOR);
    }

    #[test]
    fn a_service_that_always_takes_long_is_not_slow() {
        let mut baseline = Baseline::new();
        baseline.observe(Instant::now(), Duration::from_secs(2));
        assert!(baseline.slow_threshold(FLOOR) > Duration::from_secs(4));
    }

    #[test]
    fn a_slowdown_stands_out_and_at_last_becomes_normal() {
        let mut baseline = Baseline::new();
        let now = feed(&mut baseline, Instant::now(), 10, Duration::from_millis(10));
        let now = feed(&mut baseline, now, 60, Duration::from_secs(5));
        assert_eq!(baseline.slow_threshold(FLOOR), FLOOR);
        feed(&mut baseline, now, 300, Duration::from_secs(5));
        assert!(baseline.slow_threshold(FLOOR) > Duration::from_secs(5));
    }

    #[test]
    fn falls_faster_than_it_rises() {
        let mut baseline = Baseline::new();
        let now = feed(&mut baseline, Instant::now(), 5, Duration::from_secs(3));
        feed(&mut baseline, now, 10, Duration::from_millis(10));
        assert_eq!(baseline.slow_threshold(FLOOR), FLOOR);
    }
}
