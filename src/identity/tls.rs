//! TLS configurations: version 1.3 only, post-quantum key exchange first, nothing resumed.

use std::{
    net::Ipv4Addr,
    sync::{Arc, LazyLock},
};

use rustls::{
    ClientConfig, ServerConfig,
    client::{ResolvesClientCert, Resumption},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    server::NoServerSessionStorage,
    sign::SingleCertAndKey,
    version::TLS13,
};

use super::{InvalidTrustBundle, SpiffeId, TrustAnchors, svid::Svid, verify::PeerVerifier};
use crate::host::WallClock;

/// What two proxies speak inside mesh TLS; its ALPN names are how mesh TLS is told apart from an
/// application's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Alpn {
    /// HTTP/2, many requests on one connection.
    H2,
    /// HTTP/1.1, for upgrades and HTTP/1.0.
    H1,
    /// Opaque bytes.
    Tcp,
}

impl Alpn {
    /// In the order in which a server prefers them.
    pub const ALL: [Self; 3] = [Self::H2, Self::H1, Self::Tcp];

    pub const fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::H2 => b"or-h2",
            Self::H1 => b"or-h1",
            Self::Tcp => b"or-tcp",
        }
    }

    /// `None` for every name that is not the mesh's.
    pub fn from_bytes(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|alpn| alpn.as_bytes() == name)
    }
}

/// What gRPC to the controller uses: plain HTTP/2, so that any gRPC client can.
const CONTROL_ALPN: &[u8] = b"h2";

/// The cryptography of every connection; the process-wide default is neither read nor set.
pub(super) fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        use aws_lc_rs::kx_group::{SECP256R1, X25519, X25519MLKEM768};
        let mut provider = aws_lc_rs::default_provider();
        provider
            .cipher_suites
            .retain(|suite| suite.tls13().is_some());
        provider.kx_groups = vec![X25519MLKEM768, X25519, SECP256R1];
        Arc::new(provider)
    });
    &PROVIDER
}

/// The server name to give to `connect`. It is neither sent nor verified: the SPIFFE ID in the
/// configuration is what the peer is held to.
pub fn peer_name() -> ServerName<'static> {
    ServerName::from(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

/// For the call that gets the first certificate: verifies that the controller is `expected`,
/// shows no certificate.
///
/// # Errors
/// When `roots_pem` is not a trust bundle.
pub fn bootstrap_client_config(
    roots_pem: &str,
    expected: &SpiffeId,
) -> Result<Arc<ClientConfig>, InvalidTrustBundle> {
    let anchors = TrustAnchors::from_pem(roots_pem)?;
    let nobody = Arc::new(NoCertificate);
    Ok(client(anchors, expected, nobody, CONTROL_ALPN))
}

pub(super) fn mesh_server(svid: &Svid, anchors: TrustAnchors) -> Arc<ServerConfig> {
    let alpns = Alpn::ALL.map(|alpn| alpn.as_bytes().to_vec()).to_vec();
    server(svid, anchors, true, alpns)
}

pub(super) fn control_server(svid: &Svid, anchors: TrustAnchors) -> Arc<ServerConfig> {
    server(svid, anchors, false, vec![CONTROL_ALPN.to_vec()])
}

pub(super) fn mesh_client(
    svid: &Svid,
    anchors: TrustAnchors,
    expected: &SpiffeId,
    alpn: Alpn,
) -> Arc<ClientConfig> {
    client(anchors, expected, identity(svid), alpn.as_bytes())
}

pub(super) fn control_client(
    svid: &Svid,
    anchors: TrustAnchors,
    expected: &SpiffeId,
) -> Arc<ClientConfig> {
    client(anchors, expected, identity(svid), CONTROL_ALPN)
}

fn identity(svid: &Svid) -> Arc<SingleCertAndKey> {
    Arc::new(svid.certified.clone().into())
}

fn client(
    anchors: TrustAnchors,
    expected: &SpiffeId,
    identity: Arc<dyn ResolvesClientCert>,
    alpn: &[u8],
) -> Arc<ClientConfig> {
    let verifier = PeerVerifier::of_server(anchors, expected.clone());
    let mut config = ClientConfig::builder_with_details(provider().clone(), Arc::new(WallClock))
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has cipher suites of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(identity);
    config.alpn_protocols = vec![alpn.to_vec()];
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

fn server(
    svid: &Svid,
    anchors: TrustAnchors,
    clients_need_certificate: bool,
    alpns: Vec<Vec<u8>>,
) -> Arc<ServerConfig> {
    let verifier =
        PeerVerifier::of_clients(anchors, svid.id.trust_domain(), clients_need_certificate);
    let mut config = ServerConfig::builder_with_details(provider().clone(), Arc::new(WallClock))
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has cipher suites of TLS 1.3")
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(identity(svid));
    config.alpn_protocols = alpns;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

/// For a server that is known by a name, not by a SPIFFE ID, to clients that need no certificate.
///
/// # Errors
/// When the key cannot be used, or is not the first certificate's.
pub fn public_server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let config = ServerConfig::builder_with_details(provider().clone(), Arc::new(WallClock))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct NoCertificate;

impl ResolvesClientCert for NoCertificate {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}
