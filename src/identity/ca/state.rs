//! What the CA's files say, once it is checked that they belong together.

use std::{path::Path, time::SystemTime};

use pem::{EncodeConfig, LineEnding, Pem};
use rcgen::{Issuer, KeyPair, PublicKeyData};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use x509_parser::prelude::X509Certificate;

use super::{
    CaError,
    files::{Directory, ISSUER_CERT, ISSUER_KEY, ROOT_CERT, ROOT_KEY},
};
use crate::identity::{names, svid::validity};

#[derive(Debug)]
pub(super) struct State {
    roots: Vec<CertificateDer<'static>>,
    pub(super) issuer: Issuer<'static, KeyPair>,
    /// The issuer's certificate, then what leads from it to a root.
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) issuer_validity: (SystemTime, SystemTime),
}

impl State {
    /// `None` where a file is missing, or a rotation was cut off between a key and its
    /// certificate: what has to be completed first.
    pub(super) fn load(dir: &Directory) -> Result<Option<Self>, CaError> {
        let (Some(roots), Some(chain), Some(key)) = (
            dir.read(ROOT_CERT)?,
            dir.read(ISSUER_CERT)?,
            dir.read(ISSUER_KEY)?,
        ) else {
            return Ok(None);
        };
        let issuer_path = dir.path(ISSUER_CERT);
        let roots = certificates(&dir.path(ROOT_CERT), &roots)?;
        let chain = certificates(&issuer_path, &chain)?;
        let key = key_pair(&dir.path(ISSUER_KEY), &key)?;
        let certificate = parse(&issuer_path, &chain[0])?;
        if certificate.public_key().raw != key.subject_public_key_info() {
            if dir.read(ROOT_KEY)?.is_some() {
                return Ok(None);
            }
            let problem = "is not the certificate of issuer.key: replace both together";
            return Err(CaError::file(issuer_path, problem));
        }
        if !certificate.is_ca() {
            let problem = "is not a CA's certificate: it may not sign others";
            return Err(CaError::file(issuer_path, problem));
        }
        let issuer_validity = validity(&certificate);
        let state = Self {
            issuer: Issuer::from_ca_cert_der(&chain[0], key)?,
            roots,
            chain,
            issuer_validity,
        };
        if state.issuing_roots().next().is_none() {
            let problem = "is signed by none of the certificates in root.pem: add its root there";
            return Err(CaError::file(issuer_path, problem));
        }
        Ok(Some(state))
    }

    pub(super) fn roots_pem(&self) -> String {
        to_pem(&self.roots)
    }

    pub(super) fn issuing_roots_pem(&self) -> String {
        to_pem(&self.issuing_roots().cloned().collect::<Vec<_>>())
    }

    /// The roots that signed the end of the issuer's chain.
    fn issuing_roots(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        let last = self.chain.last().and_then(|last| names::parse(last).ok());
        self.roots.iter().filter(move |root| {
            let root = names::parse(root).ok();
            last.as_ref().zip(root).is_some_and(|(last, root)| {
                last.issuer() == root.subject()
                    && last.verify_signature(Some(root.public_key())).is_ok()
            })
        })
    }
}

/// A root whose key is here.
pub(super) struct SigningRoot {
    certificate: CertificateDer<'static>,
    key: KeyPair,
    pub(super) not_after: SystemTime,
}

impl SigningRoot {
    /// `None` where `root.key` or its certificate is kept elsewhere.
    pub(super) fn load(dir: &Directory) -> Result<Option<Self>, CaError> {
        let (Some(roots), Some(key)) = (dir.read(ROOT_CERT)?, dir.read(ROOT_KEY)?) else {
            return Ok(None);
        };
        let path = dir.path(ROOT_CERT);
        let key = key_pair(&dir.path(ROOT_KEY), &key)?;
        for certificate in certificates(&path, &roots)? {
            let parsed = parse(&path, &certificate)?;
            if parsed.public_key().raw == key.subject_public_key_info() {
                let (_, not_after) = validity(&parsed);
                return Ok(Some(Self {
                    certificate,
                    key,
                    not_after,
                }));
            }
        }
        let problem = "does not hold the certificate of root.key: put it back, or remove the key";
        Err(CaError::file(path, problem))
    }

    pub(super) fn issuer(&self) -> Result<Issuer<'static, &KeyPair>, rcgen::Error> {
        Issuer::from_ca_cert_der(&self.certificate, &self.key)
    }
}

/// At least one.
pub(super) fn certificates(
    path: &Path,
    pem: &str,
) -> Result<Vec<CertificateDer<'static>>, CaError> {
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| CaError::file(path.to_owned(), format!("is not valid PEM: {e}")))?;
    if certificates.is_empty() {
        let problem = "holds no certificate: PEM is expected";
        return Err(CaError::file(path.to_owned(), problem));
    }
    for certificate in &certificates {
        parse(path, certificate)?;
    }
    Ok(certificates)
}

pub(super) fn to_pem(certificates: &[CertificateDer<'_>]) -> String {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    certificates
        .iter()
        .map(|der| pem::encode_config(&Pem::new("CERTIFICATE", der.as_ref()), config))
        .collect()
}

pub(super) fn key_pair(path: &Path, pem: &str) -> Result<KeyPair, CaError> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|e| e.to_string())
        .and_then(|der| KeyPair::try_from(&der).map_err(|e| e.to_string()))
        .map_err(|e| CaError::file(path.to_owned(), format!("is not a usable private key: {e}")))
}

fn parse<'a>(path: &Path, der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, CaError> {
    names::parse(der).map_err(|_| {
        let problem = "holds a certificate that cannot be read: is it X.509?";
        CaError::file(path.to_owned(), problem)
    })
}
