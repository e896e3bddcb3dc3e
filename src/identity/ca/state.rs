//! What an authority's texts say, once it is checked that they belong together.

use std::time::SystemTime;

use pem::{EncodeConfig, LineEnding, Pem};
use rcgen::{Issuer, KeyPair, PublicKeyData};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use x509_parser::prelude::X509Certificate;

use super::{CaError, mint};
use crate::identity::{TrustAnchors, names, pem_fault, svid::validity};

/// A text in PEM, and where it came from: what an error about it names.
#[derive(Clone, PartialEq, Eq)]
pub struct Part {
    pub place: String,
    pub pem: String,
}

impl Part {
    pub fn new(place: impl Into<String>, pem: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            pem: pem.into(),
        }
    }
}

/// Without the text, which may be a key.
impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Part").field("place", &self.place).finish()
    }
}

/// What an authority is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityPem {
    /// The trust bundle.
    pub roots: Part,
    /// The issuer's certificate, then what leads from it to a root.
    pub chain: Part,
    /// The issuer's private key.
    pub key: Part,
}

#[derive(Debug)]
pub(super) struct State {
    roots: Vec<CertificateDer<'static>>,
    pub(super) issuer: Issuer<'static, KeyPair>,
    /// The issuer's certificate, then what leads from it to a root.
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) issuer_validity: (SystemTime, SystemTime),
}

impl State {
    pub(super) fn from_pem(pem: &AuthorityPem) -> Result<Self, CaError> {
        let roots = certificates(&pem.roots)?;
        // Proxies are stricter with roots than a parser is: what they would refuse must not reach
        // them.
        TrustAnchors::from_pem(&to_pem(&roots)).map_err(|error| {
            CaError::part(&pem.roots.place, format!("cannot be trusted: {error}"))
        })?;
        let chain = certificates(&pem.chain)?;
        let key = key_pair(&pem.key)?;
        let certificate = parse(&pem.chain.place, &chain[0])?;
        if certificate.public_key().raw != key.subject_public_key_info() {
            return Err(CaError::KeyMismatch {
                certificate: pem.chain.place.clone(),
                key: pem.key.place.clone(),
            });
        }
        if !certificate.is_ca() {
            let problem = "is not a CA's certificate: it may not sign others";
            return Err(CaError::part(&pem.chain.place, problem));
        }
        let issuer_validity = validity(&certificate);
        let state = Self {
            issuer: Issuer::from_ca_cert_der(&chain[0], key)?,
            roots,
            chain,
            issuer_validity,
        };
        if state.issuing_roots().next().is_none() {
            let problem = format!(
                "is signed by none of the certificates in {}: add its root there",
                pem.roots.place
            );
            return Err(CaError::part(&pem.chain.place, problem));
        }
        Ok(state)
    }

    /// The chain tells its key.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.roots == other.roots && self.chain == other.chain
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

/// The trust domain that the issuer was made for, where it was made by us.
pub(super) fn made_for(pem: &AuthorityPem) -> Result<Option<String>, CaError> {
    let chain = certificates(&pem.chain)?;
    let issuer = parse(&pem.chain.place, &chain[0])?;
    Ok(mint::trust_domain_of(&issuer).map(str::to_owned))
}

/// At least one.
pub(super) fn certificates(part: &Part) -> Result<Vec<CertificateDer<'static>>, CaError> {
    let certificates = CertificateDer::pem_slice_iter(part.pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| {
            let problem = format!("is not valid PEM: {}", pem_fault::describe(&e));
            CaError::part(&part.place, problem)
        })?;
    if certificates.is_empty() {
        let problem = "holds no certificate: PEM is expected";
        return Err(CaError::part(&part.place, problem));
    }
    for certificate in &certificates {
        parse(&part.place, certificate)?;
    }
    Ok(certificates)
}

/// All certificates of the parts, each once, in their order.
pub(super) fn union<'a>(parts: impl IntoIterator<Item = &'a Part>) -> Result<String, CaError> {
    let mut union = Vec::new();
    for part in parts {
        for certificate in certificates(part)? {
            if !union.contains(&certificate) {
                union.push(certificate);
            }
        }
    }
    Ok(to_pem(&union))
}

pub(crate) fn to_pem(certificates: &[CertificateDer<'_>]) -> String {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    certificates
        .iter()
        .map(|der| pem::encode_config(&Pem::new("CERTIFICATE", der.as_ref()), config))
        .collect()
}

pub(super) fn key_pair(part: &Part) -> Result<KeyPair, CaError> {
    PrivateKeyDer::from_pem_slice(part.pem.as_bytes())
        .map_err(|e| pem_fault::describe(&e).to_owned())
        .and_then(|der| KeyPair::try_from(&der).map_err(|e| e.to_string()))
        .map_err(|e| CaError::part(&part.place, format!("is not a usable private key: {e}")))
}

pub(super) fn parse<'a>(
    place: &str,
    der: &'a CertificateDer<'_>,
) -> Result<X509Certificate<'a>, CaError> {
    names::parse(der).map_err(|_| {
        let problem = "holds a certificate that cannot be read: is it X.509?";
        CaError::part(place, problem)
    })
}
