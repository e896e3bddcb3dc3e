//! The trust bundle while an anchor rotates: pure, the clock is passed in.
//!
//! Whoever replaces the authority's Secret replaces all of it at once: new root, new issuer. Two
//! things keep every connection alive through that. A root that has left the Secret stays in the
//! bundle until the last certificate under it has expired. And a new issuer signs only once its
//! root has been in the bundle long enough for every proxy to have it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use k8s_openapi::jiff::Timestamp;
use rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::identity::ca::{AuthorityPem, CaError, CertificateAuthority, Part, to_pem};

/// How long a new root is in the bundle before certificates are signed under it. A proxy has it
/// within a second of the controller, a pod that starts within the kubelet's minute.
pub(super) const SETTLE: Duration = Duration::from_secs(75);

/// The bundle of record, as the leader publishes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Published {
    /// PEM.
    pub(super) roots: String,
    /// When roots left the Secret, by fingerprint.
    pub(super) retired: BTreeMap<String, Timestamp>,
}

impl Published {
    /// The next bundle: the Secret's roots first, then those that have left it less than `grace`
    /// ago.
    pub(super) fn next(&self, secret_roots: &str, grace: Duration, now: Timestamp) -> Self {
        let mut kept = certificates(secret_roots);
        let mut retired = BTreeMap::new();
        for root in certificates(&self.roots) {
            if kept.contains(&root) {
                continue;
            }
            let fingerprint = fingerprint(&root);
            let since = *self.retired.get(&fingerprint).unwrap_or(&now);
            let age = now.duration_since(since);
            if Duration::try_from(age).is_ok_and(|age| age >= grace) {
                continue;
            }
            retired.insert(fingerprint, since);
            kept.push(root);
        }
        Self {
            roots: to_pem(&kept),
            retired,
        }
    }
}

/// Every certificate of both texts, each once.
pub(super) fn union(first: &str, second: &str) -> String {
    let mut all = certificates(first);
    for root in certificates(second) {
        if !all.contains(&root) {
            all.push(root);
        }
    }
    to_pem(&all)
}

/// What cannot be read is left out: a bundle that somebody broke must not stop the rotation that
/// mends it.
fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .filter_map(Result::ok)
        .collect()
}

fn fingerprint(root: &CertificateDer<'_>) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, root);
    let bytes = digest.as_ref()[..16].iter();
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// Decides which issuer signs.
#[derive(Debug, Default)]
pub(super) struct Staging {
    in_force: Option<AuthorityPem>,
    /// Since when each root of the bundle has been in it.
    since: Vec<(CertificateDer<'static>, Instant)>,
}

/// What to put in force now.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) pem: AuthorityPem,
    /// When to look again: a new issuer waits for its root to settle.
    pub(super) again: Option<Instant>,
}

impl Staging {
    /// `secret` is the authority as the Secret has it, with its roots alone; `bundle` the union
    /// that is served.
    ///
    /// # Errors
    /// When the Secret's parts do not belong together: what is in force stays.
    pub(super) fn next(
        &mut self,
        trust_domain: &str,
        secret: &AuthorityPem,
        bundle: &str,
        now: Instant,
    ) -> Result<Stage, CaError> {
        let wanted = CertificateAuthority::from_pem(trust_domain, secret)?;
        let roots = certificates(bundle);
        let first = self.in_force.is_none();
        let known = std::mem::take(&mut self.since);
        self.since = roots
            .into_iter()
            .map(|root| {
                let since = known.iter().find(|(known, _)| *known == root);
                let since = since.map_or(now, |(_, since)| *since);
                (root, since)
            })
            .collect();
        let settled = match first {
            // Nobody has anything yet, or all have it from another replica.
            true => now,
            false => self.settled(&wanted.issuing_roots_pem()).unwrap_or(now),
        };
        let roots = Part::new("the trust bundle", bundle);
        let (pem, again) = match &self.in_force {
            Some(current) if settled > now && current.chain.pem != secret.chain.pem => (
                AuthorityPem {
                    roots,
                    ..current.clone()
                },
                Some(settled),
            ),
            _ => (
                AuthorityPem {
                    roots,
                    ..secret.clone()
                },
                None,
            ),
        };
        self.in_force = Some(pem.clone());
        Ok(Stage { pem, again })
    }

    /// When the first of the roots has been in the bundle for long enough.
    fn settled(&self, issuing: &str) -> Option<Instant> {
        let issuing = certificates(issuing);
        let since = self.since.iter().filter(|(root, _)| issuing.contains(root));
        since.map(|(_, since)| *since + SETTLE).min()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::identity::ca::SigningRoot;

    const DAY: Duration = Duration::from_secs(86_400);

    fn authority() -> AuthorityPem {
        let now = SystemTime::now();
        let root = SigningRoot::generate("mesh.local", now).unwrap();
        let issuer = root.issue("mesh.local", now).unwrap();
        AuthorityPem {
            roots: Part::new("ca.crt", root.certificate_pem()),
            chain: Part::new("tls.crt", issuer.certificate),
            key: Part::new("tls.key", issuer.key),
        }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_second(i64::try_from(seconds).unwrap()).unwrap()
    }

    #[test]
    fn a_root_that_left_the_secret_stays_until_its_certificates_have_expired() {
        let (old, new) = (authority().roots.pem, authority().roots.pem);
        let first = Published::default().next(&old, DAY, at(0));
        assert_eq!(first.roots, old);
        assert!(first.retired.is_empty());

        let both = first.next(&new, DAY, at(100));
        assert_eq!(both.roots, format!("{new}{old}"));
        assert_eq!(both.retired.values().collect::<Vec<_>>(), [&at(100)]);
        assert_eq!(both.next(&new, DAY, at(100)), both, "nothing to write");
        assert_eq!(both.next(&new, DAY, at(99 + 86_400)), both);
        assert_eq!(both.next(&new, DAY, at(100 + 86_400)).roots, new);

        // Somebody changed their mind.
        let back = both.next(&old, DAY, at(200));
        assert_eq!(back.roots, format!("{old}{new}"));
        assert_eq!(back.retired.len(), 1);
    }

    #[test]
    fn a_broken_bundle_is_mended() {
        let root = authority().roots.pem;
        let broken = Published {
            roots: "-----BEGIN CERTIFICATE-----\nMIIB".into(),
            retired: BTreeMap::new(),
        };
        assert_eq!(broken.next(&root, DAY, at(0)).roots, root);
    }

    #[test]
    fn a_new_issuer_signs_once_its_root_has_settled() {
        let (old, new) = (authority(), authority());
        let now = Instant::now();
        let mut staging = Staging::default();
        let mut next = |secret: &AuthorityPem, bundle: &str, now| {
            let stage = staging.next("mesh.local", secret, bundle, now).unwrap();
            assert_eq!(stage.pem.roots.pem, bundle);
            (stage.pem.chain.pem, stage.again)
        };
        let start = next(&old, &old.roots.pem, now);
        assert_eq!(start, (old.chain.pem.clone(), None));

        let both = union(&new.roots.pem, &old.roots.pem);
        let waits = next(&new, &both, now);
        assert_eq!(waits, (old.chain.pem.clone(), Some(now + SETTLE)));
        let later = next(&new, &both, now + SETTLE / 2);
        assert_eq!(later, waits);
        let settled = next(&new, &both, now + SETTLE);
        assert_eq!(settled, (new.chain.pem.clone(), None));
        assert_eq!(next(&new, &new.roots.pem, now + DAY).0, new.chain.pem);
    }

    #[test]
    fn an_issuer_under_the_same_root_signs_at_once() {
        let now = SystemTime::now();
        let root = SigningRoot::generate("mesh.local", now).unwrap();
        let under = || {
            let issuer = root.issue("mesh.local", now).unwrap();
            AuthorityPem {
                roots: Part::new("ca.crt", root.certificate_pem()),
                chain: Part::new("tls.crt", issuer.certificate),
                key: Part::new("tls.key", issuer.key),
            }
        };
        let (first, second) = (under(), under());
        let mut staging = Staging::default();
        let start = Instant::now();
        let bundle = &first.roots.pem;
        staging.next("mesh.local", &first, bundle, start).unwrap();
        let later = start + SETTLE;
        let stage = staging.next("mesh.local", &second, bundle, later).unwrap();
        assert_eq!(stage.pem.chain, second.chain);
        assert_eq!(stage.again, None);
    }

    #[test]
    fn parts_that_do_not_belong_together_leave_what_is_in_force() {
        let (good, other) = (authority(), authority());
        let mut staging = Staging::default();
        let now = Instant::now();
        let bundle = &good.roots.pem;
        staging.next("mesh.local", &good, bundle, now).unwrap();
        let broken = AuthorityPem {
            key: other.key,
            ..good.clone()
        };
        let error = staging
            .next("mesh.local", &broken, bundle, now)
            .unwrap_err();
        assert!(error.to_string().contains("tls.key"), "{error}");
        let stage = staging.next("mesh.local", &good, bundle, now).unwrap();
        assert_eq!(stage.pem.chain, good.chain);
    }
}
