//! When to renew a certificate: pure arithmetic, the clock and the dice are passed in.

use std::time::{Duration, SystemTime};

use super::CLOCK_SKEW;

/// The soonest that a fresh certificate is renewed again, as a share of its life and at most:
/// whoever's clock is wrong by more than a certificate's life must not hammer the controller.
const FLOOR_SHARE: u32 = 10;
const FLOOR_MAX: Duration = Duration::from_secs(30);

/// The first wait after a failed renewal, and the longest, before jitter.
const RETRY_BASE: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// How long to wait before renewing: until 50–80 % of the life that began at issue, which the CA
/// back-dates `not_before` from by [`CLOCK_SKEW`].
///
/// `jitter` is in 0..1 and spreads a fleet that started together. Never less than a tenth of the
/// life (at most 30 s).
pub fn renewal_delay(
    not_before: SystemTime,
    not_after: SystemTime,
    now: SystemTime,
    jitter: f64,
) -> Duration {
    let issued = not_before + CLOCK_SKEW;
    let life = not_after.duration_since(issued).unwrap_or_default();
    let due = issued + life.mul_f64(0.5 + 0.3 * jitter.clamp(0.0, 1.0));
    due.duration_since(now)
        .unwrap_or_default()
        .max((life / FLOOR_SHARE).min(FLOOR_MAX))
}

/// How long to wait after the given number of failures in a row (1 or more): doubling from 1 s to
/// 60 s, ± 50 % by `jitter` in 0..1.
pub fn retry_delay(failures: u32, jitter: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let delay = RETRY_BASE.saturating_mul(1 << doublings).min(RETRY_MAX);
    delay.mul_f64(0.5 + jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn issued_at(issue: SystemTime, life: Duration) -> (SystemTime, SystemTime) {
        (issue - CLOCK_SKEW, issue + life)
    }

    #[test]
    fn half_the_life_at_the_least_and_four_fifths_at_the_most() {
        let issue = SystemTime::UNIX_EPOCH + 20_000 * DAY;
        let (not_before, not_after) = issued_at(issue, DAY);
        assert_eq!(renewal_delay(not_before, not_after, issue, 0.0), DAY / 2);
        assert_eq!(
            renewal_delay(not_before, not_after, issue, 1.0),
            DAY.mul_f64(0.8)
        );
    }

    #[test]
    fn a_life_shorter_than_the_back_dating_is_not_renewed_in_a_loop() {
        let issue = SystemTime::UNIX_EPOCH + 20_000 * DAY;
        let (not_before, not_after) = issued_at(issue, Duration::from_secs(60));
        assert_eq!(
            renewal_delay(not_before, not_after, issue, 0.0),
            Duration::from_secs(30)
        );
        let clock_ahead = issue + DAY;
        assert_eq!(
            renewal_delay(not_before, not_after, clock_ahead, 0.0),
            Duration::from_secs(6)
        );
    }

    #[test]
    fn retries_double_to_a_minute() {
        let waits: Vec<u64> = [1, 2, 3, 7, 100, u32::MAX]
            .map(|failures| retry_delay(failures, 0.5).as_secs())
            .to_vec();
        assert_eq!(waits, [1, 2, 4, 60, 60, 60]);
        assert_eq!(retry_delay(1, 0.0), Duration::from_millis(500));
    }

    proptest! {
        #[test]
        fn renews_within_the_life_wherever_in_it_we_are(
            life in 60u64..100_000_000,
            elapsed in 0.0f64..0.5,
            jitter in 0.0f64..1.0,
        ) {
            let life = Duration::from_secs(life);
            let issue = SystemTime::UNIX_EPOCH + 20_000 * DAY;
            let (not_before, not_after) = issued_at(issue, life);
            let now = issue + life.mul_f64(elapsed);
            let at = now + renewal_delay(not_before, not_after, now, jitter);
            prop_assert!(at >= issue + life.mul_f64(0.4999));
            prop_assert!(at <= issue + life.mul_f64(0.8001));
        }
    }
}
