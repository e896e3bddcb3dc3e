//! How many endpoints of a service may be out at once.
//!
//! An endpoint is *healthy* while its breaker is closed, and *ejected* when the balancer also
//! passes it over. A tripped endpoint that may not be ejected stays in the balancer: the limit
//! keeps a fault of everything, or of the network, from leaving nobody to send to. Where that
//! means that hardly anyone healthy is left, the service breaker opens, and callers get the
//! fallback or a refusal that says why. So the only endpoint of a service is never ejected: its
//! trip opens the service breaker.

use super::policy::BreakerPolicy;

/// Whether one more of `total` endpoints may be ejected when `ejected` are already.
pub fn may_eject(total: usize, ejected: usize, policy: &BreakerPolicy) -> bool {
    ejected < most(total, policy)
}

/// How many of `total` endpoints may be ejected at once. To be asked again when there are others:
/// with fewer endpoints, those that were ejected may be too many.
pub fn most(total: usize, policy: &BreakerPolicy) -> usize {
    let share = (policy.max_ejection * total as f64).floor() as usize;
    share.min(total.saturating_sub(1))
}

/// Whether so few of `total` endpoints are healthy that the service breaker shall open.
/// A service without endpoints is not broken but absent, and false.
pub fn too_few_healthy(total: usize, healthy: usize, policy: &BreakerPolicy) -> bool {
    total > 0 && (healthy as f64) < policy.min_healthy * total as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ejects_at_most_half() {
        let policy = BreakerPolicy::default();
        let most = |total| {
            (0..total)
                .take_while(|n| may_eject(total, *n, &policy))
                .count()
        };
        assert_eq!([1, 2, 3, 4, 5, 10].map(most), [0, 1, 1, 2, 2, 5]);
    }

    #[test]
    fn never_ejects_the_last_one() {
        let policy = BreakerPolicy {
            max_ejection: 1.0,
            ..BreakerPolicy::default()
        };
        assert!(may_eject(3, 1, &policy));
        assert!(!may_eject(3, 2, &policy));
        assert!(!may_eject(1, 0, &policy));
    }

    #[test]
    fn below_a_fifth_healthy_the_service_opens() {
        let policy = BreakerPolicy::default();
        assert!(too_few_healthy(1, 0, &policy));
        assert!(too_few_healthy(10, 1, &policy));
        assert!(!too_few_healthy(10, 2, &policy));
        assert!(!too_few_healthy(0, 0, &policy));
    }

    #[test]
    fn fewer_endpoints_leave_fewer_to_eject() {
        let policy = BreakerPolicy::default();
        assert_eq!(
            [0, 1, 2, 3, 4].map(|total| most(total, &policy)),
            [0, 0, 1, 1, 2]
        );
    }

    proptest! {
        /// Never more than the share, never everybody, and never fewer for there being more.
        #[test]
        fn at_least_one_stays(total in 0usize..1_000, max_ejection in 0.0..=1.0f64) {
            let policy = BreakerPolicy { max_ejection, ..BreakerPolicy::default() };
            let most = most(total, &policy);
            prop_assert!(most as f64 <= max_ejection * total as f64);
            prop_assert!(total == 0 || most < total);
            prop_assert!(super::most(total + 1, &policy) >= most);
            prop_assert!((0..=total).all(|out| may_eject(total, out, &policy) == (out < most)));
        }

        /// Fewer healthy ones never close what more would have opened, and with all of them it stays
        /// closed.
        #[test]
        fn health_counts_one_way(total in 1usize..200, min_healthy in 0.0..=1.0f64) {
            let policy = BreakerPolicy { min_healthy, ..BreakerPolicy::default() };
            let opens: Vec<_> = (0..=total).map(|n| too_few_healthy(total, n, &policy)).collect();
            prop_assert!(opens.is_sorted_by(|fewer, more| fewer >= more));
            prop_assert!(!opens[total]);
        }
    }
}
