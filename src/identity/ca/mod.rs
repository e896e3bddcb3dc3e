//! The mesh's certificate authority: a root, an issuer under it, and the signing of requests.
//!
//! An authority is three texts in PEM: the trust bundle, the issuer's chain and the issuer's key.
//! Where they are kept is somebody else's part: [`CaDirectory`] keeps them in files. Who may have
//! which name is the caller's to decide.

mod directory;
mod files;
mod make;
mod mint;
mod state;

use std::{
    io,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use rcgen::SubjectPublicKeyInfo;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509CertificationRequest};

use self::state::State;
pub(crate) use self::state::to_pem;
pub use self::{
    directory::CaDirectory,
    make::{MadeIssuer, SigningRoot},
    state::{AuthorityPem, Part},
};
use super::{
    CLOCK_SKEW, CertificateRequest, InvalidTrustBundle, NO_TRUST_DOMAIN, SpiffeId, TrustAnchors,
    is_trust_domain, verify::PeerVerifier,
};

use crate::host::watch;

/// How long a workload's certificate is valid unless somebody says otherwise.
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// How long it may be made valid: long enough to be renewed in time, and no longer than an issuer
/// of our own lives.
pub const LIFETIMES: RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(365 * 24 * 60 * 60);

/// Why the authority could not be opened, changed, or made to sign.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaError {
    #[error("{path}: {source}: is the CA's directory there, and writable on the first run?")]
    Io { path: PathBuf, source: io::Error },
    /// A text that cannot be used, by the place that it came from.
    #[error("{place} {problem}")]
    Part { place: String, problem: String },
    #[error("{certificate} is not the certificate of {key}: replace both together")]
    KeyMismatch { certificate: String, key: String },
    #[error("{dir} holds no root.key: replace issuer.pem and issuer.key with ones that you signed")]
    NoRootKey { dir: PathBuf },
    #[error(transparent)]
    TrustBundle(#[from] InvalidTrustBundle),
    #[error("{0:?} {NO_TRUST_DOMAIN}")]
    TrustDomain(String),
    #[error(
        "{dir} holds the authority of the trust domain {made_for}, not of {trust_domain}: name another directory with --ca-dir, or go back to {made_for}"
    )]
    OtherTrustDomain {
        dir: PathBuf,
        made_for: String,
        trust_domain: String,
    },
    #[error("{id} is not of the trust domain {trust_domain} that this authority signs for")]
    ForeignId { id: SpiffeId, trust_domain: String },
    #[error("the certificate signing request was refused: {0}")]
    Request(&'static str),
    #[error("the issuer's certificate has expired: rotate the issuer")]
    IssuerExpired,
    #[error(
        "no peer would accept what the issuer signs ({0}): is it allowed to issue certificates?"
    )]
    Chain(rustls::Error),
    #[error("the certificate could not be made: {0}")]
    Mint(#[from] rcgen::Error),
}

impl CaError {
    fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        Self::Io { path, source }
    }

    fn part(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Part {
            place: place.into(),
            problem: problem.into(),
        }
    }
}

/// Shared by reference: signing goes on while the issuer or the roots change.
#[derive(Debug)]
pub struct CertificateAuthority {
    trust_domain: String,
    state: ArcSwap<State>,
    changed: watch::Sender<()>,
}

impl CertificateAuthority {
    /// # Errors
    /// When the texts cannot be read or do not belong together, or the trust domain is not one.
    pub fn from_pem(trust_domain: &str, pem: &AuthorityPem) -> Result<Self, CaError> {
        check_trust_domain(trust_domain)?;
        Ok(Self {
            trust_domain: trust_domain.to_owned(),
            state: ArcSwap::from_pointee(State::from_pem(pem)?),
            changed: watch::Sender::default(),
        })
    }

    /// Goes on with other roots and another issuer. What the last one signed stays valid for who
    /// still has its root.
    ///
    /// # Errors
    /// When the texts cannot be read or do not belong together; the last state stays in force.
    pub fn replace(&self, pem: &AuthorityPem) -> Result<(), CaError> {
        let state = State::from_pem(pem)?;
        let changes = !self.state.load().is_same(&state);
        if changes {
            self.state.store(Arc::new(state));
            self.changed.send_replace(());
        }
        Ok(())
    }

    /// Tells of every later [`replace`](Self::replace) by something else than what was there.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// Certifies the public key of a request as `id`'s, for `lifetime` from `now` but never
    /// longer than the issuer lives. Nothing else in the request counts.
    ///
    /// Returns the certificate, then the intermediates. It is valid from [`CLOCK_SKEW`] before
    /// `now`.
    ///
    /// # Errors
    /// When the request is malformed, not signed by its own key or not for an ECDSA P-256 key;
    /// when the identity is of another trust domain; when the issuer has expired.
    pub fn sign(
        &self,
        id: &SpiffeId,
        csr_der: &[u8],
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Vec<CertificateDer<'static>>, CaError> {
        if id.trust_domain() != self.trust_domain {
            return Err(CaError::ForeignId {
                id: id.clone(),
                trust_domain: self.trust_domain.clone(),
            });
        }
        let key = requested_key(csr_der)?;
        let state = self.state.load();
        let issuer_not_after = state.issuer_validity.1;
        if now >= issuer_not_after {
            return Err(CaError::IssuerExpired);
        }
        let validity = (now - CLOCK_SKEW, (now + lifetime).min(issuer_not_after));
        let leaf = mint::leaf(id, &key, &state.issuer, validity)?;
        Ok(std::iter::once(leaf)
            .chain(state.chain.iter().cloned())
            .collect())
    }

    /// Signs a certificate for nobody and verifies it as a peer would.
    ///
    /// # Errors
    /// When it would be refused, as below an issuer that is constrained or of an unknown algorithm.
    pub fn try_out(&self, now: SystemTime) -> Result<(), CaError> {
        let nobody = SpiffeId::new(&self.trust_domain, "none", "nobody")
            .map_err(|_| CaError::TrustDomain(self.trust_domain.clone()))?;
        let request = CertificateRequest::generate();
        let chain = self.sign(&nobody, &request.csr_der, DEFAULT_LIFETIME, now)?;
        let anchors = TrustAnchors::from_pem(&self.roots_pem())?;
        PeerVerifier::of_server(anchors, nobody)
            .verify_chain(&chain, now)
            .map_err(CaError::Chain)
    }

    /// The trust bundle, PEM.
    pub fn roots_pem(&self) -> String {
        self.state.load().roots_pem()
    }

    /// The roots that the issuer leads to, PEM: the part of the bundle that is needed from here on.
    pub fn issuing_roots_pem(&self) -> String {
        self.state.load().issuing_roots_pem()
    }

    /// From and until when the issuer is valid: [`renewal_delay`](super::renew::renewal_delay)
    /// says when to rotate it.
    pub fn issuer_validity(&self) -> (SystemTime, SystemTime) {
        self.state.load().issuer_validity
    }
}

fn check_trust_domain(trust_domain: &str) -> Result<(), CaError> {
    match is_trust_domain(trust_domain) {
        true => Ok(()),
        false => Err(CaError::TrustDomain(trust_domain.to_owned())),
    }
}

/// The key of a request, once it is shown that the requester holds the private half.
fn requested_key(csr_der: &[u8]) -> Result<SubjectPublicKeyInfo, CaError> {
    let malformed = CaError::Request("it is not a DER-encoded PKCS #10 request");
    let Ok(([], request)) = X509CertificationRequest::from_der(csr_der) else {
        return Err(malformed);
    };
    request
        .verify_signature()
        .map_err(|_| CaError::Request("it is not signed by the key that it names"))?;
    let key = SubjectPublicKeyInfo::from_der(request.certification_request_info.subject_pki.raw)
        .map_err(|_| CaError::Request("its key cannot be used"))?;
    match rcgen::PublicKeyData::algorithm(&key) == &rcgen::PKCS_ECDSA_P256_SHA256 {
        true => Ok(key),
        false => Err(CaError::Request("its key is not ECDSA P-256")),
    }
}

#[cfg(test)]
mod tests;
