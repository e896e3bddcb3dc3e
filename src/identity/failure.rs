//! Why a TLS connection failed, in a bounded set for metric labels and logs.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use super::verify::{PeerRefused, Refusal};

/// What went wrong, as seen from this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TlsFailure {
    /// This side refused the peer's certificate.
    Refused(Refusal),
    /// The peer said that this side's certificate is out of date, or its clock is.
    PeerSaysExpired,
    /// The peer does not trust this side's issuer.
    PeerSaysUnknownIssuer,
    /// The peer wanted somebody else, or cannot read this side's certificate.
    PeerSaysWrongIdentity,
    /// The peer wants a certificate and this side has none.
    PeerWantsCertificate,
    /// The client showed no certificate.
    NoCertificate,
    /// No protocol in common: one side is not of the mesh.
    NoCommonProtocol,
    /// The peer ended the handshake for another reason.
    PeerAlert,
    /// What came is not TLS.
    NotTls,
    /// No version, key exchange or signature in common.
    Incompatible,
    /// The peer broke the rules of TLS.
    Misbehaved,
    /// The connection ended in the middle.
    Closed,
    Timeout,
    Other,
}

impl TlsFailure {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.as_str(),
            Self::PeerSaysExpired => "peer_says_expired",
            Self::PeerSaysUnknownIssuer => "peer_says_unknown_issuer",
            Self::PeerSaysWrongIdentity => "peer_says_wrong_identity",
            Self::PeerWantsCertificate => "peer_wants_certificate",
            Self::NoCertificate => "no_certificate",
            Self::NoCommonProtocol => "no_common_protocol",
            Self::PeerAlert => "peer_alert",
            Self::NotTls => "not_tls",
            Self::Incompatible => "incompatible",
            Self::Misbehaved => "misbehaved",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::Other => "other",
        }
    }

    /// Whether it is the peer that refused this side's certificate.
    pub const fn is_peers_verdict(self) -> bool {
        matches!(
            self,
            Self::PeerSaysExpired
                | Self::PeerSaysUnknownIssuer
                | Self::PeerSaysWrongIdentity
                | Self::PeerWantsCertificate
        )
    }

    /// From an error of a handshake, or of a read after it: in TLS 1.3 a client learns only there
    /// that the server refused its certificate.
    pub fn of(error: &io::Error) -> Self {
        if let Some(tls) = rustls_error(error) {
            return Self::of_rustls(tls);
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected => Self::Closed,
            io::ErrorKind::TimedOut => Self::Timeout,
            _ => Self::Other,
        }
    }

    pub fn of_rustls(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(error) => Self::of_certificate(error),
            Error::AlertReceived(alert) => Self::of_alert(*alert),
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::NoApplicationProtocol => Self::NoCommonProtocol,
            Error::InvalidMessage(_) => Self::NotTls,
            Error::PeerIncompatible(_) => Self::Incompatible,
            Error::PeerMisbehaved(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::DecryptError
            | Error::PeerSentOversizedRecord => Self::Misbehaved,
            _ => Self::Other,
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        Self::Refused(match error {
            CertificateError::ExpiredContext { .. } => Refusal::Expired,
            CertificateError::NotValidYetContext { .. } => Refusal::NotYetValid,
            CertificateError::UnknownIssuer => Refusal::UnknownIssuer,
            CertificateError::BadSignature => Refusal::BadSignature,
            CertificateError::InvalidPurpose => Refusal::WrongUsage,
            CertificateError::Other(_) => match peer_refused(error) {
                Some(refused) => refused.reason,
                None => return Self::Other,
            },
            // Beside bad encoding, what rustls says of a leaf whose key cannot be used.
            _ => Refusal::Malformed,
        })
    }

    fn of_alert(alert: AlertDescription) -> Self {
        match alert {
            AlertDescription::CertificateExpired => Self::PeerSaysExpired,
            AlertDescription::UnknownCA => Self::PeerSaysUnknownIssuer,
            AlertDescription::CertificateUnknown
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::AccessDenied => Self::PeerSaysWrongIdentity,
            AlertDescription::CertificateRequired => Self::PeerWantsCertificate,
            AlertDescription::NoApplicationProtocol => Self::NoCommonProtocol,
            AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion => {
                Self::Incompatible
            }
            _ => Self::PeerAlert,
        }
    }
}

fn rustls_error(error: &io::Error) -> Option<&Error> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref() {
            return Some(tls);
        }
        cause = match error.downcast_ref::<io::Error>() {
            // Its `source` is that of the error inside, and passes over that one.
            Some(io) => io.get_ref().map(|inner| inner as _),
            None => error.source(),
        };
    }
    None
}

/// The label of [`TlsFailure::of`].
pub fn tls_failure_reason(error: &io::Error) -> &'static str {
    TlsFailure::of(error).as_str()
}

fn peer_refused(error: &CertificateError) -> Option<&PeerRefused> {
    match error {
        CertificateError::Other(other) => other.0.downcast_ref(),
        _ => None,
    }
}

/// For logs: what was met and what was expected, where rustls alone would print a debug form.
/// Holds nothing of the peer's that was not checked to be a SPIFFE ID, a time or a number.
pub fn describe_tls_failure(error: &io::Error) -> String {
    match rustls_error(error) {
        Some(Error::InvalidCertificate(certificate)) => match peer_refused(certificate) {
            Some(refused) => refused.to_string(),
            None => format!("the peer's certificate was refused: {certificate}"),
        },
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::identity::testing::{TestCa, handshake, id};

    #[tokio::test]
    async fn what_is_not_the_mesh_has_its_own_reason() {
        let ca = TestCa::new();
        let server = ca.store("orders").current().unwrap();
        let client = ca.store("cart").current().unwrap();
        let control = client.control_client_config(&id("orders"));
        let (client, served) = handshake(control, server.server_config()).await;
        for error in [client.unwrap_err(), served.unwrap_err()] {
            assert_eq!(tls_failure_reason(&error), "no_common_protocol");
        }

        for (bytes, reason) in [(&b"GET / HTTP/1.1\r\n\r\n"[..], "not_tls"), (b"", "closed")] {
            let (mut near, far) = tokio::io::duplex(1024);
            near.write_all(bytes).await.unwrap();
            drop(near);
            let acceptor = tokio_rustls::TlsAcceptor::from(server.server_config());
            let error = acceptor.accept(far).await.unwrap_err();
            assert_eq!(tls_failure_reason(&error), reason);
        }
    }

    #[test]
    fn a_reason_is_found_below_other_errors() {
        let expired = Error::AlertReceived(AlertDescription::CertificateExpired);
        let wrapped = io::Error::other(io::Error::other(expired));
        assert_eq!(tls_failure_reason(&wrapped), "peer_says_expired");
        let timeout = io::Error::from(io::ErrorKind::TimedOut);
        assert_eq!(tls_failure_reason(&timeout), "timeout");
        let unknown = io::Error::other("the roof is on fire");
        assert_eq!(tls_failure_reason(&unknown), "other");
    }
}
