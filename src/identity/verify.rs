//! Who may be on the other side: the chain is rustls-webpki's to check, the name is ours.
//!
//! rustls's own verifiers match DNS names and addresses, and webpki refuses URI name
//! constraints, so a SPIFFE ID has to be matched here. Order matters: nothing in a certificate
//! is believed before its chain is.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    PeerIncompatible, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::verify_tls13_signature,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::prelude::X509Certificate;

use super::{NameError, SpiffeId, TrustAnchors, names, tls};

/// Why a peer's certificate was refused: the bounded set that metrics and logs use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    Expired,
    NotYetValid,
    /// No chain to the trust bundle: another mesh, a retired root, self-signed.
    UnknownIssuer,
    BadSignature,
    /// A CA's certificate, or one not meant for this side of TLS.
    WrongUsage,
    Malformed,
    NoUri,
    ManyUris,
    OtherNames,
    NotSpiffe,
    WrongTrustDomain,
    WrongIdentity,
}

impl Refusal {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::UnknownIssuer => "unknown_issuer",
            Self::BadSignature => "bad_signature",
            Self::WrongUsage => "wrong_usage",
            Self::Malformed => "malformed",
            Self::NoUri => "no_uri",
            Self::ManyUris => "many_uris",
            Self::OtherNames => "other_names",
            Self::NotSpiffe => "not_spiffe",
            Self::WrongTrustDomain => "wrong_trust_domain",
            Self::WrongIdentity => "wrong_identity",
        }
    }
}

/// A certificate of a valid chain that names the wrong identity, or none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the peer's certificate was refused: {}, expected {expected}, met {}",
    .reason.as_str(),
    .presented.as_ref().map_or("no identity", SpiffeId::as_str)
)]
pub struct PeerRefused {
    pub reason: Refusal,
    pub presented: Option<SpiffeId>,
    /// The identity, or for a server the trust domain, that would have been accepted.
    pub expected: String,
}

impl From<NameError> for Refusal {
    fn from(error: NameError) -> Self {
        match error {
            NameError::Malformed => Self::Malformed,
            NameError::NoUri => Self::NoUri,
            NameError::ManyUris => Self::ManyUris,
            NameError::OtherNames => Self::OtherNames,
            NameError::NotSpiffe => Self::NotSpiffe,
        }
    }
}

impl From<PeerRefused> for Error {
    fn from(refused: PeerRefused) -> Self {
        CertificateError::Other(OtherError(Arc::new(refused))).into()
    }
}

/// Which identities pass.
#[derive(Clone, Debug)]
enum Accept {
    /// This one, byte for byte.
    Exactly(SpiffeId),
    /// Any of this trust domain.
    TrustDomain(String),
}

impl Accept {
    fn check(&self, met: Result<SpiffeId, NameError>) -> Result<(), PeerRefused> {
        let (reason, presented) = match (self, met) {
            (_, Err(error)) => (error.into(), None),
            (Self::Exactly(expected), Ok(id)) if *expected == id => return Ok(()),
            (_, Ok(id)) if id.trust_domain() != self.trust_domain() => {
                (Refusal::WrongTrustDomain, Some(id))
            }
            (Self::Exactly(_), Ok(id)) => (Refusal::WrongIdentity, Some(id)),
            (Self::TrustDomain(_), Ok(_)) => return Ok(()),
        };
        Err(PeerRefused {
            reason,
            presented,
            expected: match self {
                Self::Exactly(id) => id.to_string(),
                Self::TrustDomain(domain) => format!("anyone of spiffe://{domain}"),
            },
        })
    }

    fn trust_domain(&self) -> &str {
        match self {
            Self::Exactly(id) => id.trust_domain(),
            Self::TrustDomain(domain) => domain,
        }
    }
}

/// Which side of a connection shows the certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Server,
    Client,
}

impl Side {
    /// What its certificates must be for.
    fn usage(self) -> KeyUsage {
        match self {
            Self::Server => KeyUsage::server_auth(),
            Self::Client => KeyUsage::client_auth(),
        }
    }
}

/// Verifies the peer's certificate on either side of a connection.
#[derive(Debug)]
pub(super) struct PeerVerifier {
    anchors: TrustAnchors,
    side: Side,
    accept: Accept,
    client_auth_mandatory: bool,
}

impl PeerVerifier {
    /// For a client: the server must be exactly `expected`.
    pub(super) fn of_server(anchors: TrustAnchors, expected: SpiffeId) -> Self {
        Self {
            anchors,
            side: Side::Server,
            accept: Accept::Exactly(expected),
            client_auth_mandatory: false,
        }
    }

    /// For a server: clients are anyone of the trust domain, and with `mandatory` nobody else.
    pub(super) fn of_clients(anchors: TrustAnchors, trust_domain: &str, mandatory: bool) -> Self {
        Self {
            anchors,
            side: Side::Client,
            accept: Accept::TrustDomain(trust_domain.to_owned()),
            client_auth_mandatory: mandatory,
        }
    }

    /// Verifies the certificate, leaf first, that a server would show at a time.
    pub(super) fn verify_chain(
        &self,
        chain: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<(), Error> {
        let (leaf, intermediates) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        let now = UnixTime::since_unix_epoch(since.unwrap_or_default());
        self.verify(leaf, intermediates, now)
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs());
        let proven = self.anchors.proven();
        if let Some(id) = proven.find(leaf, intermediates, self.side, at) {
            return Ok(self.accept.check(Ok(id))?);
        }
        let id = self.prove(leaf, intermediates, now)?;
        if let Ok(id) = &id {
            proven.add(leaf, intermediates, self.side, id);
        }
        Ok(self.accept.check(id)?)
    }

    /// Whose chain it is, if it is valid: every signature of it is checked.
    fn prove(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Result<SpiffeId, NameError>, CertificateError> {
        let usage = self.side.usage();
        EndEntityCert::try_from(leaf)
            .and_then(|certificate| {
                let algorithms = tls::provider().signature_verification_algorithms.all;
                let anchors = self.anchors.as_slice();
                certificate
                    .verify_for_usage(algorithms, anchors, intermediates, now, usage, None, None)
                    .map(|_| ())
            })
            .map_err(chain_error)?;
        let parsed = names::parse(leaf).map_err(|_| CertificateError::BadEncoding)?;
        check_leaf_usage(&parsed)?;
        Ok(names::spiffe_id(&parsed))
    }
}

/// webpki takes an absent extended key usage for any, and does not read the key usage at all.
fn check_leaf_usage(leaf: &X509Certificate<'_>) -> Result<(), CertificateError> {
    let extended = leaf
        .extended_key_usage()
        .map_err(|_| CertificateError::BadEncoding)?
        .is_some();
    let signs = leaf
        .key_usage()
        .map_err(|_| CertificateError::BadEncoding)?
        .is_some_and(|usage| usage.value.digital_signature() && !usage.value.key_cert_sign());
    match extended && signs {
        true => Ok(()),
        false => Err(CertificateError::InvalidPurpose),
    }
}

/// In rustls's words, from which it makes the alert that tells the other side the reason.
fn chain_error(error: webpki::Error) -> CertificateError {
    use webpki::Error as E;
    match error {
        E::CertExpired { time, not_after } => CertificateError::ExpiredContext { time, not_after },
        E::CertNotValidYet { time, not_before } => {
            CertificateError::NotValidYetContext { time, not_before }
        }
        E::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        E::CaUsedAsEndEntity | E::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        E::BadDer | E::BadDerTime | E::TrailingData(_) | E::InvalidCertValidity => {
            CertificateError::BadEncoding
        }
        // What is left makes a chain that leads nowhere: through a leaf, too long, constrained.
        _ => CertificateError::UnknownIssuer,
    }
}

/// What both of rustls's traits ask in the same words: the handshake's signature is checked as it
/// would be for any certificate, and TLS 1.2 is not spoken.
macro_rules! tls13_only {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(PeerIncompatible::Tls12NotOffered.into())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &tls::provider().signature_verification_algorithms;
            verify_tls13_signature(message, certificate, signature, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            let algorithms = &tls::provider().signature_verification_algorithms;
            algorithms.supported_schemes()
        }
    };
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(end_entity, intermediates, now)?;
        Ok(ServerCertVerified::assertion())
    }

    tls13_only!();
}

impl ClientCertVerifier for PeerVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.client_auth_mandatory
    }

    /// No hints: during a rotation they would name too few, and they tell a stranger who we are.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(end_entity, intermediates, now)?;
        Ok(ClientCertVerified::assertion())
    }

    tls13_only!();
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
