//! Makes what an authority consists of where nobody brought it: a root, and issuers under it.

use std::time::SystemTime;

use rcgen::{Issuer, KeyPair, PublicKeyData};
use rustls::pki_types::CertificateDer;

use super::{
    CaError, mint,
    state::{self, Part},
};
use crate::identity::svid::validity;

/// A root whose key is here.
#[derive(Debug)]
pub struct SigningRoot {
    certificate: CertificateDer<'static>,
    key: KeyPair,
    not_after: SystemTime,
}

/// An issuer's certificate and its key, PEM.
#[derive(Debug)]
pub struct MadeIssuer {
    pub certificate: String,
    pub key: String,
}

impl SigningRoot {
    /// A new trust anchor for ten years.
    ///
    /// # Errors
    /// When the trust domain cannot stand in a certificate.
    pub fn generate(trust_domain: &str, now: SystemTime) -> Result<Self, CaError> {
        Self::with_key(trust_domain, KeyPair::generate()?, now)
    }

    pub(super) fn with_key(
        trust_domain: &str,
        key: KeyPair,
        now: SystemTime,
    ) -> Result<Self, CaError> {
        let certificate = mint::root(trust_domain, &key, now)?;
        let not_after = validity(&state::parse("the new root", &certificate)?).1;
        Ok(Self {
            certificate,
            key,
            not_after,
        })
    }

    /// The one of the certificates that the key belongs to.
    ///
    /// # Errors
    /// When there is none, or a text is not PEM.
    pub fn from_pem(certificates: &Part, key: &Part) -> Result<Self, CaError> {
        let pair = state::key_pair(key)?;
        for certificate in state::certificates(certificates)? {
            let parsed = state::parse(&certificates.place, &certificate)?;
            if parsed.public_key().raw == pair.subject_public_key_info() {
                let (_, not_after) = validity(&parsed);
                return Ok(Self {
                    certificate,
                    key: pair,
                    not_after,
                });
            }
        }
        let problem = format!(
            "does not hold the certificate of {}: put it back, or remove the key",
            key.place
        );
        Err(CaError::part(&certificates.place, problem))
    }

    pub fn certificate_pem(&self) -> String {
        state::to_pem(std::slice::from_ref(&self.certificate))
    }

    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// A new issuer for a year, or as long as the root lives.
    ///
    /// # Errors
    /// When the trust domain cannot stand in a certificate.
    pub fn issue(&self, trust_domain: &str, now: SystemTime) -> Result<MadeIssuer, CaError> {
        let root = Issuer::from_ca_cert_der(&self.certificate, &self.key)?;
        let key = KeyPair::generate()?;
        let certificate = mint::issuer(trust_domain, &key, &root, self.not_after, now)?;
        Ok(MadeIssuer {
            certificate: state::to_pem(&[certificate]),
            key: key.serialize_pem(),
        })
    }
}
