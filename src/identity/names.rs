//! Whose a certificate is: the one URI in its subject alternative names, and nothing else.
//!
//! The subject's common name is never looked at. A certificate that names anything beside its
//! SPIFFE ID is refused, so that no two readers can see two identities in it.

use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{SpiffeId, svid::validity};

/// Why a certificate names no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    #[error("it cannot be parsed")]
    Malformed,
    #[error("it has no URI among its subject alternative names")]
    NoUri,
    #[error("it has more than one URI among its subject alternative names")]
    ManyUris,
    #[error("it has names beside its URI")]
    OtherNames,
    #[error("its URI is not spiffe://<trust domain>/ns/<namespace>/sa/<service account>")]
    NotSpiffe,
}

pub(super) fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, NameError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(NameError::Malformed),
    }
}

pub(super) fn spiffe_id(certificate: &X509Certificate<'_>) -> Result<SpiffeId, NameError> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| NameError::Malformed)?
        .map_or(&[][..], |extension| &extension.value.general_names);
    let mut uris = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let uri = uris.next().ok_or(NameError::NoUri)?;
    if uris.next().is_some() {
        return Err(NameError::ManyUris);
    }
    if names.len() > 1 {
        return Err(NameError::OtherNames);
    }
    uri.parse().map_err(|_| NameError::NotSpiffe)
}

/// The identity that the other side of a finished handshake proved; `None` where it showed no
/// certificate.
pub fn peer_id(connection: &rustls::CommonState) -> Option<SpiffeId> {
    certificate_id(connection.peer_certificates()?)
}

/// Until when the certificate that the other side showed is valid.
pub fn peer_not_after(connection: &rustls::CommonState) -> Option<SystemTime> {
    let leaf = parse(connection.peer_certificates()?.first()?).ok()?;
    Some(validity(&leaf).1)
}

/// The identity in the first certificate of a chain. Says nothing about whether the chain is
/// valid: that is the verifiers' part.
pub fn certificate_id(chain: &[CertificateDer<'_>]) -> Option<SpiffeId> {
    spiffe_id(&parse(chain.first()?).ok()?).ok()
}
