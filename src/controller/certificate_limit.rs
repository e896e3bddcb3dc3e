//! How often one address may ask for a certificate: pure, the clock is passed in.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

/// Requests at once, for a node whose pods all start together behind one address.
pub(super) const BURST: u32 = 200;
/// One more after each of these.
const EVERY: Duration = Duration::from_millis(20);

/// Addresses remembered: those that have not asked for a while are forgotten first.
const MAX_ADDRESSES: usize = 20_000;

/// A token bucket for each address.
#[derive(Debug, Default)]
pub(super) struct CertificateLimit {
    /// When each address will have its whole burst again.
    full_at: HashMap<IpAddr, Instant>,
}

impl CertificateLimit {
    /// Whether a request may go on. Refused ones cost nothing, so that waiting helps.
    pub(super) fn allow(&mut self, from: IpAddr, now: Instant) -> bool {
        if self.full_at.len() >= MAX_ADDRESSES && !self.full_at.contains_key(&from) {
            self.full_at.retain(|_, full_at| *full_at > now);
            if self.full_at.len() >= MAX_ADDRESSES {
                // As many addresses as the mesh has places for connections, all busy.
                return false;
            }
        }
        let full_at = self.full_at.entry(from).or_insert(now);
        let next = (*full_at).max(now) + EVERY;
        let allowed = next <= now + EVERY * BURST;
        if allowed {
            *full_at = next;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::V4((0xc612_0000 + n).into())
    }

    #[test]
    fn a_burst_passes_and_then_one_at_a_time() {
        let mut limit = CertificateLimit::default();
        let start = Instant::now();
        let passed = |limit: &mut CertificateLimit, now| {
            (0..1_000).filter(|_| limit.allow(address(1), now)).count()
        };
        assert_eq!(passed(&mut limit, start), 200);
        assert_eq!(passed(&mut limit, start), 0);
        assert_eq!(passed(&mut limit, start + EVERY), 1);
        assert_eq!(passed(&mut limit, start + EVERY * 11), 10);
        assert!(limit.allow(address(2), start), "others are not concerned");
        assert_eq!(passed(&mut limit, start + EVERY * 10_000), 200);
    }

    #[test]
    fn addresses_that_are_idle_are_forgotten_for_others() {
        let mut limit = CertificateLimit::default();
        let start = Instant::now();
        let addresses = u32::try_from(MAX_ADDRESSES).unwrap();
        assert!((0..addresses).all(|n| limit.allow(address(n), start)));
        assert!(!limit.allow(address(addresses), start));
        assert!(limit.allow(address(7), start), "it is known");
        assert!(limit.allow(address(addresses), start + EVERY * 2));
        assert_eq!(limit.full_at.len(), 1);
    }
}
