//! For tests: authorities in temporary directories, forged certificates, handshakes in memory.

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use rustls::{
    ClientConfig, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::{
    CertificateRequest, IdentityStore, SpiffeId, Svid,
    ca::{CaDirectory, CertificateAuthority, DEFAULT_LIFETIME},
    peer_name,
};
use crate::discovery::model::TrustBundle;

pub(crate) const TRUST_DOMAIN: &str = "mesh.local";

pub(crate) fn id(service_account: &str) -> SpiffeId {
    SpiffeId::new(TRUST_DOMAIN, "shop", service_account).unwrap()
}

pub(crate) struct TestCa {
    pub(crate) ca: Arc<CertificateAuthority>,
    pub(crate) files: CaDirectory,
    pub(crate) dir: tempfile::TempDir,
}

impl TestCa {
    pub(crate) fn new() -> Self {
        Self::of(TRUST_DOMAIN)
    }

    pub(crate) fn of(trust_domain: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = CaDirectory::load_or_create(dir.path(), trust_domain).unwrap();
        let ca = files.authority().clone();
        Self { ca, files, dir }
    }

    pub(crate) fn bundle(&self) -> TrustBundle {
        TrustBundle {
            roots: self.ca.roots_pem(),
        }
    }

    pub(crate) fn svid(&self, id: &SpiffeId) -> Svid {
        self.svid_at(id, SystemTime::now(), DEFAULT_LIFETIME)
    }

    pub(crate) fn svid_at(&self, id: &SpiffeId, now: SystemTime, lifetime: Duration) -> Svid {
        let request = CertificateRequest::generate();
        let chain = self.ca.sign(id, &request.csr_der, lifetime, now).unwrap();
        Svid::new(chain, request.key).unwrap()
    }

    /// A store that holds an identity of this authority and trusts its roots.
    pub(crate) fn store(&self, service_account: &str) -> IdentityStore {
        let store = IdentityStore::new();
        store
            .set(self.svid(&id(service_account)), &self.bundle())
            .unwrap();
        store
    }

    /// A chain whose leaf is what a careless or hostile issuer might sign.
    pub(crate) fn forge(&self, forgery: &Forgery) -> Vec<CertificateDer<'static>> {
        let read = |name: &str| std::fs::read_to_string(self.dir.path().join(name)).unwrap();
        let issuer_pem = read("issuer.pem");
        let key = PrivateKeyDer::from_pem_slice(read("issuer.key").as_bytes()).unwrap();
        let issuer =
            Issuer::from_ca_cert_pem(&issuer_pem, KeyPair::try_from(&key).unwrap()).unwrap();
        let leaf = forgery
            .params()
            .signed_by(&KeyPair::generate().unwrap(), &issuer);
        let issuer = CertificateDer::from_pem_slice(issuer_pem.as_bytes()).unwrap();
        vec![leaf.unwrap().into(), issuer]
    }
}

/// What to put into a forged leaf: by default what a good one has, but no name.
pub(crate) struct Forgery {
    /// Context tag and content of each subject alternative name.
    pub(crate) names: Vec<(u8, Vec<u8>)>,
    pub(crate) common_name: Option<&'static str>,
    pub(crate) key_usages: Vec<KeyUsagePurpose>,
    pub(crate) extended: Vec<ExtendedKeyUsagePurpose>,
    pub(crate) is_ca: IsCa,
}

pub(crate) const OTHER_NAME: u8 = 0xa0;
pub(crate) const EMAIL: u8 = 0x81;
pub(crate) const DNS: u8 = 0x82;
pub(crate) const URI: u8 = 0x86;
pub(crate) const IP: u8 = 0x87;

impl Forgery {
    pub(crate) fn of(names: &[(u8, &[u8])]) -> Self {
        Self {
            names: names
                .iter()
                .map(|(tag, name)| (*tag, name.to_vec()))
                .collect(),
            common_name: None,
            key_usages: vec![KeyUsagePurpose::DigitalSignature],
            extended: vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
            is_ca: IsCa::NoCa,
        }
    }

    pub(crate) fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        if let Some(name) = self.common_name {
            params
                .distinguished_name
                .push(rcgen::DnType::CommonName, name);
        }
        params.not_before = (SystemTime::now() - Duration::from_secs(60)).into();
        params.not_after = (SystemTime::now() + Duration::from_secs(3600)).into();
        params.key_usages = self.key_usages.clone();
        params.extended_key_usages = self.extended.clone();
        params.is_ca = self.is_ca;
        if !self.names.is_empty() {
            let names: Vec<u8> = self
                .names
                .iter()
                .flat_map(|(tag, name)| tlv(*tag, name))
                .collect();
            params.custom_extensions = vec![CustomExtension::from_oid_content(
                &[2, 5, 29, 17],
                tlv(0x30, &names),
            )];
        }
        params
    }
}

/// DER's tag, length, value; up to 65,535 bytes.
pub(crate) fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(value.len()).unwrap();
    let [high, low] = len.to_be_bytes();
    let header = match len {
        0..=127 => vec![tag, low],
        128..=255 => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [&header[..], value].concat()
}

/// A certificate signed by its own key.
pub(crate) fn self_signed(id: &SpiffeId) -> Svid {
    let key = KeyPair::generate().unwrap();
    let params = Forgery::of(&[(URI, id.as_str().as_bytes())]).params();
    let certificate = params.self_signed(&key).unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    Svid::new(vec![certificate.into()], key.into()).unwrap()
}

pub(crate) type Client = tokio_rustls::client::TlsStream<DuplexStream>;
pub(crate) type Server = tokio_rustls::server::TlsStream<DuplexStream>;

/// A handshake through memory, and a byte each way, as a client learns only from its first read
/// that it was refused.
pub(crate) async fn handshake(
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
) -> (io::Result<Client>, io::Result<Server>) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let client = async {
        let connector = tokio_rustls::TlsConnector::from(client);
        let mut stream = connector.connect(peer_name(), near).await?;
        exchange(&mut stream).await.map(|()| stream)
    };
    let server = async {
        let acceptor = tokio_rustls::TlsAcceptor::from(server);
        let mut stream = acceptor.accept(far).await?;
        exchange(&mut stream).await.map(|()| stream)
    };
    tokio::join!(client, server)
}

pub(crate) async fn exchange<S>(stream: &mut S) -> io::Result<()>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    stream.write_all(b"x").await?;
    stream.flush().await?;
    stream.read_u8().await.map(drop)
}
