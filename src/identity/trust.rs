//! The certificates that end every valid chain, parsed once and shared, with the chains that were
//! found to end there.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, TrustAnchor, pem::PemObject};

use super::{pem_fault, proven::Proven};

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct TrustAnchors(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    anchors: Vec<TrustAnchor<'static>>,
    proven: Proven,
}

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
        Ok(Self(Arc::new(Inner {
            anchors,
            proven: Proven::default(),
        })))
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn len(&self) -> usize {
        self.0.anchors.len()
    }

    pub(super) fn as_slice(&self) -> &[TrustAnchor<'static>] {
        &self.0.anchors
    }

    /// What was found valid under these anchors.
    pub(super) fn proven(&self) -> &Proven {
        &self.0.proven
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
