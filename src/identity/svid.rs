//! An X.509-SVID: a workload's certificate with its key, and the request that gets one.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};
use x509_parser::{prelude::X509Certificate, time::ASN1Time};

use super::{SpiffeId, names, tls};

/// A fresh key and the request to have it certified.
pub struct CertificateRequest {
    pub key: PrivateKeyDer<'static>,
    pub csr_der: Vec<u8>,
}

impl CertificateRequest {
    /// A new ECDSA P-256 key, and a request that names nothing: the name comes from the token.
    pub fn generate() -> Self {
        let key = rcgen::KeyPair::generate().expect("P-256 keys can always be made");
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let csr = params
            .serialize_request(&key)
            .expect("a request without a name can always be signed");
        Self {
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            csr_der: csr.der().to_vec(),
        }
    }
}

/// A certificate chain, leaf first, with its key and what the leaf says. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Svid {
    pub id: SpiffeId,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    pub(super) certified: Arc<CertifiedKey>,
}

/// Why a certificate and a key are not a usable identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSvid {
    #[error("the certificate chain is empty: the controller answered without a certificate")]
    Empty,
    #[error("the certificate names no identity of a mesh ({0})")]
    Name(#[from] names::NameError),
    #[error("the private key cannot be used, or is not the certificate's: {0}")]
    Key(#[from] rustls::Error),
}

impl Svid {
    /// `chain`: the certificate, then the intermediates.
    ///
    /// # Errors
    /// When the leaf has not exactly one SPIFFE ID, or the key is not the leaf's.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, InvalidSvid> {
        let leaf = chain.first().ok_or(InvalidSvid::Empty)?;
        let parsed = names::parse(leaf)?;
        let id = names::spiffe_id(&parsed)?;
        let (not_before, not_after) = validity(&parsed);
        let key = tls::provider().key_provider.load_private_key(key)?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match()?;
        Ok(Self {
            id,
            not_before,
            not_after,
            certified: Arc::new(certified),
        })
    }
}

/// From and until when a certificate says it is valid.
pub(super) fn validity(certificate: &X509Certificate<'_>) -> (SystemTime, SystemTime) {
    let validity = certificate.validity();
    (
        system_time(validity.not_before),
        system_time(validity.not_after),
    )
}

/// Times before 1970 count as 1970: the difference makes no certificate valid.
fn system_time(time: ASN1Time) -> SystemTime {
    let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}
