//! How long to wait before the next try at the controller: pure, the dice are passed in.

use std::time::Duration;

const BASE: Duration = Duration::from_millis(100);
const MAX: Duration = Duration::from_secs(15);

/// Exponential backoff with jitter.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Doubles from 100 ms to 15 s, ± 50 % by `jitter` in 0..1: thousands of proxies that lost
    /// the same controller come back spread out.
    pub(super) fn next_delay(&mut self, jitter: f64) -> Duration {
        let delay = BASE.saturating_mul(1 << self.failures.min(16)).min(MAX);
        self.failures += 1;
        delay.mul_f64(0.5 + jitter.clamp(0.0, 1.0))
    }

    /// The controller answered.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_the_longest_and_starts_again() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..10)
            .map(|_| backoff.next_delay(0.5).as_millis())
            .collect();
        assert_eq!(
            waits,
            [
                100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 15_000, 15_000
            ]
        );
        backoff.reset();
        assert_eq!(backoff.next_delay(0.0), Duration::from_millis(50));
        assert_eq!(backoff.next_delay(1.0), Duration::from_millis(300));
    }
}
