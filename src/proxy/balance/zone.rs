//! How much traffic stays in its zone.
//!
//! Kubernetes' `trafficDistribution: PreferSameZone` sends everything to the own zone while it
//! has one ready endpoint, and so drowns that one. Here a zone keeps
//! `min(1, zones × its part of the weight)`: what it can carry if callers are spread evenly
//! over the zones. With endpoints spread evenly all traffic stays; a zone with half its fair
//! part keeps half; with one endpoint among many it keeps what that one can bear. The part
//! follows the number of endpoints step by step, so there is no least number to fall off from.

use std::collections::BTreeSet;

/// What the weights of endpoints are multiplied by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Factors {
    pub own: f64,
    pub other: f64,
}

/// From the zones and weights of the endpoints that take traffic. Endpoints without a zone count
/// as elsewhere.
pub(super) fn factors<'a>(
    own: Option<&str>,
    endpoints: impl Iterator<Item = (Option<&'a str>, f64)>,
) -> Factors {
    let (mut ours, mut total) = (0.0, 0.0);
    let mut zones = BTreeSet::new();
    for (zone, weight) in endpoints {
        zones.extend(zone);
        total += weight;
        if own.is_some() && zone == own {
            ours += weight;
        }
    }
    let part = ours / total;
    if !(part > 0.0 && part < 1.0) {
        return Factors {
            own: 1.0,
            other: 1.0,
        };
    }
    let stays = (zones.len() as f64 * part).min(1.0);
    Factors {
        own: stays / part,
        other: (1.0 - stays) / (1.0 - part),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The part of the traffic that stays in zone `a`.
    fn stays(endpoints: &[(&str, f64)]) -> f64 {
        let zones = endpoints
            .iter()
            .map(|(zone, weight)| (Some(*zone), *weight));
        let factors = factors(Some("a"), zones);
        let weight = |(zone, weight): &(&str, f64)| {
            weight
                * if *zone == "a" {
                    factors.own
                } else {
                    factors.other
                }
        };
        let total: f64 = endpoints.iter().map(weight).sum();
        endpoints
            .iter()
            .filter(|(zone, _)| *zone == "a")
            .map(weight)
            .sum::<f64>()
            / total
    }

    #[test]
    fn a_zone_keeps_what_it_can_carry() {
        for (endpoints, expected) in [
            (&[("a", 1.0), ("b", 1.0), ("c", 1.0)][..], 1.0),
            (&[("a", 2.0), ("b", 1.0)], 1.0),
            (&[("a", 1.0), ("b", 3.0)], 0.5),
            (&[("a", 1.0), ("b", 9.0)], 0.2),
            (&[("a", 1.0)], 1.0),
            (&[("b", 1.0), ("c", 1.0)], 0.0),
        ] {
            assert!((stays(endpoints) - expected).abs() < 1e-9, "{endpoints:?}");
        }
    }

    #[test]
    fn without_zones_nothing_changes() {
        let even = Factors {
            own: 1.0,
            other: 1.0,
        };
        assert_eq!(factors(None, [(Some("a"), 1.0)].into_iter()), even);
        assert_eq!(
            factors(Some("a"), [(None, 1.0), (None, 2.0)].into_iter()),
            even
        );
        assert_eq!(factors(Some("a"), std::iter::empty()), even);
    }
}
