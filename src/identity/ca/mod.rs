//! The mesh's certificate authority: a root, an issuer under it, and the signing of requests.
//!
//! Lives in a directory of four files. `root.pem` is the trust bundle, `issuer.pem` and
//! `issuer.key` sign. `root.key` is there only where the root was made here; an operator who
//! brings an issuer keeps the root's key elsewhere, and then rotates both by replacing the files.
//! What is missing on the first run is made. Who may have which name is the caller's to decide.

mod files;
mod mint;
mod state;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use rcgen::{KeyPair, SubjectPublicKeyInfo};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509CertificationRequest};

use self::{
    files::{Directory, ISSUER_CERT, ISSUER_KEY, ROOT_CERT, ROOT_KEY},
    state::State,
};
use super::{CLOCK_SKEW, InvalidSpiffeId, InvalidTrustBundle, SpiffeId, TrustAnchors};

/// How long a workload's certificate is valid unless somebody says otherwise.
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Why the authority could not be opened, changed, or made to sign.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaError {
    #[error("{path}: {source}: is the CA's directory there, and writable on the first run?")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} {problem}")]
    File { path: PathBuf, problem: String },
    #[error("{dir} holds no root.key: replace issuer.pem and issuer.key with ones that you signed")]
    NoRootKey { dir: PathBuf },
    #[error(transparent)]
    TrustBundle(#[from] InvalidTrustBundle),
    #[error("{0:?} cannot be a trust domain: use lower-case letters, digits, '-', '.' and '_'")]
    TrustDomain(String),
    #[error("{id} is not of the trust domain {trust_domain} that this authority signs for")]
    ForeignId { id: SpiffeId, trust_domain: String },
    #[error("the certificate signing request was refused: {0}")]
    Request(&'static str),
    #[error("the issuer's certificate has expired: rotate the issuer")]
    IssuerExpired,
    #[error("the certificate could not be made: {0}")]
    Mint(#[from] rcgen::Error),
}

impl CaError {
    fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        Self::Io { path, source }
    }

    fn file(path: PathBuf, problem: impl Into<String>) -> Self {
        let problem = problem.into();
        Self::File { path, problem }
    }
}

/// Shared by reference: signing goes on while the issuer or the roots change.
#[derive(Debug)]
pub struct CertificateAuthority {
    trust_domain: String,
    dir: Directory,
    state: ArcSwap<State>,
}

impl CertificateAuthority {
    /// Reads the authority from its directory, making what a first run lacks.
    ///
    /// # Errors
    /// When the directory cannot be read or written, or its files do not belong together.
    pub fn load_or_create(dir: &Path, trust_domain: &str) -> Result<Self, CaError> {
        SpiffeId::new(trust_domain, "any", "any")
            .map_err(|_: InvalidSpiffeId| CaError::TrustDomain(trust_domain.to_owned()))?;
        let dir = Directory::new(dir);
        let state = match State::load(&dir)? {
            Some(state) => state,
            None => {
                let _lock = dir.lock()?;
                match State::load(&dir)? {
                    Some(state) => state,
                    None => complete(&dir, trust_domain, SystemTime::now())?,
                }
            }
        };
        Ok(Self {
            trust_domain: trust_domain.to_owned(),
            dir,
            state: ArcSwap::from_pointee(state),
        })
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

    /// The trust bundle, PEM.
    pub fn roots_pem(&self) -> String {
        self.state.load().roots_pem()
    }

    /// From and until when the issuer is valid: [`renewal_delay`](super::renew::renewal_delay)
    /// says when to rotate it.
    pub fn issuer_validity(&self) -> (SystemTime, SystemTime) {
        self.state.load().issuer_validity
    }

    /// Signs with a new issuer from here on, under the root whose key is here. What the last one
    /// signed stays valid.
    ///
    /// # Errors
    /// When the root's key is not here, or the files cannot be written.
    pub fn rotate_issuer(&self, now: SystemTime) -> Result<(), CaError> {
        self.change(|| write_issuer(&self.dir, &self.trust_domain, now))
    }

    /// The first step of a trust-anchor rotation: a new root joins the bundle. Once every proxy
    /// has the bundle, [`rotate_issuer`](Self::rotate_issuer) signs under it; once every
    /// certificate was renewed, [`retire_roots`](Self::retire_roots) drops the old one.
    ///
    /// # Errors
    /// When the root's key is kept elsewhere, or the files cannot be written.
    pub fn rotate_root(&self, now: SystemTime) -> Result<(), CaError> {
        self.change(|| {
            self.require_root_key()?;
            write_root(&self.dir, &self.trust_domain, now)
        })
    }

    /// Adds roots that somebody else keeps the keys of to the bundle.
    ///
    /// # Errors
    /// When `pem` is not a trust bundle, or the file cannot be written.
    pub fn add_roots(&self, pem: &str) -> Result<(), CaError> {
        TrustAnchors::from_pem(pem)?;
        self.change(|| append_roots(&self.dir, pem))
    }

    /// Drops every root that the current issuer does not lead to.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn retire_roots(&self) -> Result<(), CaError> {
        self.change(|| {
            let kept = self.state.load().issuing_roots_pem();
            self.dir.write_certificates(ROOT_CERT, &kept)
        })
    }

    /// Reads the files again, after somebody replaced them.
    ///
    /// # Errors
    /// When they do not belong together; the last state stays in force.
    pub fn reload(&self) -> Result<(), CaError> {
        let state = State::load(&self.dir)?.ok_or_else(|| {
            CaError::file(
                self.dir.as_path().to_owned(),
                "lacks some of root.pem, issuer.pem and issuer.key",
            )
        })?;
        self.state.store(Arc::new(state));
        Ok(())
    }

    fn change(&self, write: impl FnOnce() -> Result<(), CaError>) -> Result<(), CaError> {
        let _lock = self.dir.lock()?;
        self.reload()?;
        write()?;
        self.reload()
    }

    fn require_root_key(&self) -> Result<(), CaError> {
        match self.dir.read(ROOT_KEY)? {
            Some(_) => Ok(()),
            None => Err(CaError::NoRootKey {
                dir: self.dir.as_path().to_owned(),
            }),
        }
    }
}

/// Makes what is missing. A crash at any point leaves what the next run completes: on a first run
/// keys are written before their certificates, so a certificate without its key is never ours.
fn complete(dir: &Directory, trust_domain: &str, now: SystemTime) -> Result<State, CaError> {
    let missing = |name| dir.read(name).map(|text| text.is_none());
    if missing(ROOT_CERT)? {
        if !missing(ISSUER_CERT)? {
            let problem = "is missing, but issuer.pem is there: put its root back beside it";
            return Err(CaError::file(dir.path(ROOT_CERT), problem));
        }
        write_root(dir, trust_domain, now)?;
    } else if missing(ROOT_KEY)? {
        let problem = "is missing or without its key, and there is no root.key to sign another: \
                       put issuer.pem and issuer.key beside root.pem";
        return Err(CaError::file(dir.path(ISSUER_CERT), problem));
    }
    write_issuer(dir, trust_domain, now)?;
    State::load(dir)?
        .ok_or_else(|| CaError::file(dir.path(ISSUER_CERT), "was removed while it was being made"))
}

/// In a rotation the bundle is written before the key: until the key follows, the old root goes on
/// signing. On the first run it is the other way round, and a key that is there is used.
fn write_root(dir: &Directory, trust_domain: &str, now: SystemTime) -> Result<(), CaError> {
    let first_run = dir.read(ROOT_CERT)?.is_none();
    let key = match dir.read(ROOT_KEY)? {
        Some(pem) if first_run => state::key_pair(&dir.path(ROOT_KEY), &pem)?,
        _ => KeyPair::generate()?,
    };
    let root = mint::root(trust_domain, &key, now)?;
    let pem = state::to_pem(&[root]);
    if first_run {
        dir.write_key(ROOT_KEY, &key.serialize_pem())?;
        append_roots(dir, &pem)
    } else {
        append_roots(dir, &pem)?;
        dir.write_key(ROOT_KEY, &key.serialize_pem())
    }
}

fn append_roots(dir: &Directory, pem: &str) -> Result<(), CaError> {
    let mut roots = match dir.read(ROOT_CERT)? {
        Some(present) => state::certificates(&dir.path(ROOT_CERT), &present)?,
        None => Vec::new(),
    };
    for root in state::certificates(&dir.path(ROOT_CERT), pem)? {
        if !roots.contains(&root) {
            roots.push(root);
        }
    }
    dir.write_certificates(ROOT_CERT, &state::to_pem(&roots))
}

fn write_issuer(dir: &Directory, trust_domain: &str, now: SystemTime) -> Result<(), CaError> {
    let root = state::SigningRoot::load(dir)?.ok_or_else(|| CaError::NoRootKey {
        dir: dir.as_path().to_owned(),
    })?;
    let key = KeyPair::generate()?;
    let issuer = mint::issuer(trust_domain, &key, &root.issuer()?, root.not_after, now)?;
    dir.write_key(ISSUER_KEY, &key.serialize_pem())?;
    dir.write_certificates(ISSUER_CERT, &state::to_pem(&[issuer]))
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
