//! An authority that lives in a directory of four files.
//!
//! `root.pem` is the trust bundle, `issuer.pem` and `issuer.key` sign. `root.key` is there only
//! where the root was made here; an operator who brings an issuer keeps the root's key elsewhere,
//! and then rotates both by replacing the files. What is missing on the first run is made.

use std::{path::Path, sync::Arc, time::SystemTime};

use rcgen::KeyPair;

use super::{
    AuthorityPem, CaError, CertificateAuthority, Part, SigningRoot, check_trust_domain,
    files::{Directory, ISSUER_CERT, ISSUER_KEY, ROOT_CERT, ROOT_KEY},
    mint,
    state::{self, State},
};
use crate::host;
use crate::identity::TrustAnchors;

/// Keeps the authority's files, and has the authority sign with what they hold.
#[derive(Debug)]
pub struct CaDirectory {
    dir: Directory,
    authority: Arc<CertificateAuthority>,
}

impl CaDirectory {
    /// Reads the authority from its directory, making what a first run lacks.
    ///
    /// # Errors
    /// When the directory cannot be read or written, its files do not belong together, or its
    /// issuer was made here for another trust domain.
    pub fn load_or_create(dir: &Path, trust_domain: &str) -> Result<Self, CaError> {
        check_trust_domain(trust_domain)?;
        let dir = Directory::new(dir);
        let pem = match load(&dir)? {
            Some(pem) => pem,
            None => {
                let _lock = dir.lock()?;
                match load(&dir)? {
                    Some(pem) => pem,
                    None => complete(&dir, trust_domain, host::wall_clock())?,
                }
            }
        };
        if let Some(made_for) = state::made_for(&pem)?
            && !mint::is_made_for(&made_for, trust_domain)
        {
            return Err(CaError::OtherTrustDomain {
                dir: dir.as_path().to_owned(),
                made_for,
                trust_domain: trust_domain.to_owned(),
            });
        }
        let authority = CertificateAuthority::from_pem(trust_domain, &pem)?;
        for key in dir.open_keys() {
            let key = key.display();
            tracing::warn!("{key}: others than its owner may read this key. Run: chmod 600 {key}");
        }
        Ok(Self {
            dir,
            authority: Arc::new(authority),
        })
    }

    /// What signs.
    pub fn authority(&self) -> &Arc<CertificateAuthority> {
        &self.authority
    }

    /// Signs with a new issuer from here on, under the root whose key is here. What the last one
    /// signed stays valid.
    ///
    /// # Errors
    /// When the root's key is not here, or the files cannot be written.
    pub fn rotate_issuer(&self, now: SystemTime) -> Result<(), CaError> {
        self.change(|| write_issuer(&self.dir, self.authority.trust_domain(), now))
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
            write_root(&self.dir, self.authority.trust_domain(), now)
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
            let kept = self.authority.issuing_roots_pem();
            self.dir.write_certificates(ROOT_CERT, &kept)
        })
    }

    /// Reads the files again, after somebody replaced them.
    ///
    /// # Errors
    /// When they do not belong together; the last state stays in force.
    pub fn reload(&self) -> Result<(), CaError> {
        let pem = load(&self.dir)?.ok_or_else(|| {
            CaError::part(
                self.dir.as_path().display().to_string(),
                "lacks some of root.pem, issuer.pem and issuer.key",
            )
        })?;
        self.authority.replace(&pem)
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
            None => Err(no_root_key(&self.dir)),
        }
    }
}

fn no_root_key(dir: &Directory) -> CaError {
    CaError::NoRootKey {
        dir: dir.as_path().to_owned(),
    }
}

fn part(dir: &Directory, name: &str) -> Result<Option<Part>, CaError> {
    let pem = dir.read(name)?;
    Ok(pem.map(|pem| Part::new(place(dir, name), pem)))
}

fn place(dir: &Directory, name: &str) -> String {
    dir.path(name).display().to_string()
}

/// `None` where a file is missing, or a rotation was cut off between a key and its certificate:
/// what has to be completed first.
fn load(dir: &Directory) -> Result<Option<AuthorityPem>, CaError> {
    let (Some(roots), Some(chain), Some(key)) = (
        part(dir, ROOT_CERT)?,
        part(dir, ISSUER_CERT)?,
        part(dir, ISSUER_KEY)?,
    ) else {
        return Ok(None);
    };
    let pem = AuthorityPem { roots, chain, key };
    match State::from_pem(&pem) {
        Ok(_) => Ok(Some(pem)),
        Err(CaError::KeyMismatch { .. }) if dir.read(ROOT_KEY)?.is_some() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes what is missing. A crash at any point leaves what the next run completes: on a first run
/// keys are written before their certificates, so a certificate without its key is never ours.
fn complete(dir: &Directory, trust_domain: &str, now: SystemTime) -> Result<AuthorityPem, CaError> {
    let missing = |name| dir.read(name).map(|text| text.is_none());
    if missing(ROOT_CERT)? {
        if !missing(ISSUER_CERT)? {
            let problem = "is missing, but issuer.pem is there: put its root back beside it";
            return Err(CaError::part(place(dir, ROOT_CERT), problem));
        }
        write_root(dir, trust_domain, now)?;
    } else if missing(ROOT_KEY)? {
        let problem = "is missing or without its key, and there is no root.key to sign another: \
                       put issuer.pem and issuer.key beside root.pem";
        return Err(CaError::part(place(dir, ISSUER_CERT), problem));
    }
    write_issuer(dir, trust_domain, now)?;
    load(dir)?.ok_or_else(|| {
        CaError::part(
            place(dir, ISSUER_CERT),
            "was removed while it was being made",
        )
    })
}

/// In a rotation the bundle is written before the key: until the key follows, the old root goes on
/// signing. On the first run it is the other way round, and a key that is there is used.
fn write_root(dir: &Directory, trust_domain: &str, now: SystemTime) -> Result<(), CaError> {
    let first_run = dir.read(ROOT_CERT)?.is_none();
    let key = match part(dir, ROOT_KEY)? {
        Some(key) if first_run => state::key_pair(&key)?,
        _ => KeyPair::generate()?,
    };
    let root = SigningRoot::with_key(trust_domain, key, now)?;
    let pem = root.certificate_pem();
    if first_run {
        dir.write_key(ROOT_KEY, &root.key_pem())?;
        append_roots(dir, &pem)
    } else {
        append_roots(dir, &pem)?;
        dir.write_key(ROOT_KEY, &root.key_pem())
    }
}

fn append_roots(dir: &Directory, pem: &str) -> Result<(), CaError> {
    let added = Part::new(place(dir, ROOT_CERT), pem);
    let present = part(dir, ROOT_CERT)?;
    let union = state::union(present.iter().chain([&added]))?;
    dir.write_certificates(ROOT_CERT, &union)
}

fn write_issuer(dir: &Directory, trust_domain: &str, now: SystemTime) -> Result<(), CaError> {
    let (Some(roots), Some(key)) = (part(dir, ROOT_CERT)?, part(dir, ROOT_KEY)?) else {
        return Err(no_root_key(dir));
    };
    let issuer = SigningRoot::from_pem(&roots, &key)?.issue(trust_domain, now)?;
    dir.write_key(ISSUER_KEY, &issuer.key)?;
    dir.write_certificates(ISSUER_CERT, &issuer.certificate)
}
