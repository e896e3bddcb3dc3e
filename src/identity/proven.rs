//! Chains that were found valid: a peer that comes again shows the same one, and its signatures
//! need not be checked again. Of a handshake's three signatures on each side that leaves one, the
//! peer's own over the handshake, which proves that it has the key.
//!
//! Whatever made a chain valid still does: the same trust anchors (with other anchors there is
//! another of these), the same bytes, the same side of TLS, and a time at which all of its
//! certificates are valid. Who is accepted is not decided here.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use rustls::pki_types::CertificateDer;

use super::{SpiffeId, names, svid::validity, verify::Side};

/// Peers that are remembered, about 1 KB each. With more than these the oldest is forgotten: it
/// costs its next handshake two signatures more, and nothing else.
const MAX_PROVEN: usize = 128;

/// What was found valid under one set of trust anchors.
#[derive(Debug, Default)]
pub(super) struct Proven(Mutex<VecDeque<Chain>>);

#[derive(Debug)]
struct Chain {
    certificates: Vec<CertificateDer<'static>>,
    side: Side,
    /// While all of the certificates are valid, both ends included.
    from: SystemTime,
    until: SystemTime,
    id: SpiffeId,
}

impl Chain {
    fn is(&self, leaf: &CertificateDer<'_>, rest: &[CertificateDer<'_>], side: Side) -> bool {
        self.side == side && self.certificates.split_first() == Some((leaf, rest))
    }
}

impl Proven {
    /// Whose chain it is, where it was found valid and still is.
    pub(super) fn find(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        side: Side,
        now: SystemTime,
    ) -> Option<SpiffeId> {
        let chains = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let chain = chains.iter().find(|chain| chain.is(leaf, rest, side))?;
        (chain.from <= now && now <= chain.until).then(|| chain.id.clone())
    }

    /// A chain was found valid. One that cannot be read whole is not kept.
    pub(super) fn add(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        side: Side,
        id: &SpiffeId,
    ) {
        let certificates = || std::iter::once(leaf).chain(rest);
        let Ok(times) = certificates()
            .map(|certificate| names::parse(certificate).map(|parsed| validity(&parsed)))
            .collect::<Result<Vec<_>, _>>()
        else {
            return;
        };
        let from = times.iter().map(|(from, _)| *from).max();
        let until = times.iter().map(|(_, until)| *until).min();
        let (Some(from), Some(until)) = (from, until) else {
            return;
        };
        let mut chains = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Two handshakes with one peer may find the same at a time.
        if chains.iter().any(|chain| chain.is(leaf, rest, side)) {
            return;
        }
        if chains.len() >= MAX_PROVEN {
            chains.pop_front();
        }
        chains.push_back(Chain {
            certificates: certificates().map(|it| it.clone().into_owned()).collect(),
            side,
            from,
            until,
            id: id.clone(),
        });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::testing::{TestCa, id};

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let ca = TestCa::new();
        let proven = Proven::default();
        let chain = |of: usize| ca.svid(&id(&format!("cart-{of}"))).certified.cert.clone();
        let chains: Vec<_> = (0..MAX_PROVEN + 2).map(chain).collect();
        for chain in &chains {
            proven.add(&chain[0], &chain[1..], Side::Client, &id("cart"));
            proven.add(&chain[0], &chain[1..], Side::Client, &id("cart"));
        }
        assert_eq!(proven.len(), MAX_PROVEN);
        let found = |chain: &Vec<CertificateDer<'static>>| {
            let now = SystemTime::now();
            proven
                .find(&chain[0], &chain[1..], Side::Client, now)
                .is_some()
        };
        let found: Vec<_> = chains.iter().map(found).collect();
        assert_eq!(found[..3], [false, false, true]);
        assert_eq!(found.last(), Some(&true));
    }
}
