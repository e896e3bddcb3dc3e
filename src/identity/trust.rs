//! The certificates that end every valid chain, parsed once and shared.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, TrustAnchor, pem::PemObject};

use super::pem_fault;

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct TrustAnchors(Arc<[TrustAnchor<'static>]>);

/// Why a text is not a trust bundle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTrustBundle {
    #[error("the trust bundle holds no certificate: give one or more in PEM")]
    Empty,
    #[error(
        "certificate {number} of the trust bundle is not valid PEM ({reason}): was it cut short?"
    )]
    Pem { number: usize, reason: &'static str },
    #[error("certificate {number} of the trust bundle cannot be a trust anchor: {reason}")]
    Certificate {
        number: usize,
        reason: webpki::Error,
    },
}

impl TrustAnchors {
    /// # Errors
    /// When the text holds no certificate, or one that cannot be read: all of a bundle counts.
    pub fn from_pem(pem: &str) -> Result<Self, InvalidTrustBundle> {
        let mut anchors = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let number = anchors.len() + 1;
            let certificate = certificate.map_err(|e| InvalidTrustBundle::Pem {
                number,
                reason: pem_fault::describe(&e),
            })?;
            let anchor = webpki::anchor_from_trusted_cert(&certificate)
                .map_err(|reason| InvalidTrustBundle::Certificate { number, reason })?;
            anchors.push(anchor.to_owned());
        }
        if anchors.is_empty() {
            return Err(InvalidTrustBundle::Empty);
        }
        Ok(Self(anchors.into()))
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn as_slice(&self) -> &[TrustAnchor<'static>] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_or_cut_bundle_is_refused() {
        assert!(matches!(
            TrustAnchors::from_pem("roots to come"),
            Err(InvalidTrustBundle::Empty)
        ));
        assert!(matches!(
            TrustAnchors::from_pem("-----BEGIN CERTIFICATE-----\nMIIB"),
            Err(InvalidTrustBundle::Pem { number: 1, .. })
        ));
        assert!(matches!(
            TrustAnchors::from_pem(
                "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
            ),
            Err(InvalidTrustBundle::Certificate { number: 1, .. })
        ));
    }
}
