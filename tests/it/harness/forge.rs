//! Certificates that a careless or hostile issuer might sign, and an `openssl` that shows them.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer,
    KeyPair, KeyUsagePurpose,
};

use super::{Process, free_addr, tools::command, wait};

/// Tags of a subject's alternative names.
pub const OTHER_NAME: u8 = 0xa0;
pub const DNS: u8 = 0x82;
pub const URI: u8 = 0x86;

const HOUR: Duration = Duration::from_secs(3600);

/// What goes into a leaf.
#[derive(Clone)]
pub struct Forgery {
    names: Vec<(u8, Vec<u8>)>,
    common_name: Option<&'static str>,
    validity: (SystemTime, SystemTime),
    self_signed: bool,
}

impl Forgery {
    /// A good certificate but for its names: tag and content of each.
    pub fn of(names: &[(u8, &[u8])]) -> Self {
        let now = SystemTime::now();
        let owned = names.iter().map(|(tag, name)| (*tag, name.to_vec()));
        Self {
            names: owned.collect(),
            common_name: None,
            validity: (now - HOUR, now + HOUR),
            self_signed: false,
        }
    }

    pub fn uri(id: &str) -> Self {
        Self::of(&[(URI, id.as_bytes())])
    }

    pub fn common_name(mut self, name: &'static str) -> Self {
        self.common_name = Some(name);
        self
    }

    pub fn expired(mut self) -> Self {
        let now = SystemTime::now();
        self.validity = (now - 2 * HOUR, now - HOUR);
        self
    }

    pub fn not_yet_valid(mut self) -> Self {
        let now = SystemTime::now();
        self.validity = (now + HOUR, now + 2 * HOUR);
        self
    }

    pub fn self_signed(mut self) -> Self {
        self.self_signed = true;
        self
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        if let Some(name) = self.common_name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        (params.not_before, params.not_after) = (self.validity.0.into(), self.validity.1.into());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        if !self.names.is_empty() {
            let names = self.names.iter().flat_map(|(tag, name)| tlv(*tag, name));
            let names: Vec<u8> = names.collect();
            params.custom_extensions = vec![CustomExtension::from_oid_content(
                &[2, 5, 29, 17],
                tlv(0x30, &names),
            )];
        }
        params
    }

    /// Signs it by the authority in `ca`, and writes the files for `openssl` into `dir`.
    pub fn write(&self, ca: &Path, dir: &Path) -> Shown {
        let read = |name: &str| fs::read_to_string(ca.join(name)).expect("the authority's file");
        let key = KeyPair::generate().expect("a key");
        let chain = read("issuer.pem");
        let leaf = match self.self_signed {
            true => self.params().self_signed(&key),
            false => {
                let issuer_key = KeyPair::from_pem(&read("issuer.key")).expect("the issuer's key");
                let issuer = Issuer::from_ca_cert_pem(&chain, issuer_key).expect("an issuer");
                self.params().signed_by(&key, &issuer)
            }
        };
        let shown = Shown {
            leaf: dir.join("leaf.pem"),
            chain: dir.join("chain.pem"),
            key: dir.join("leaf.key"),
        };
        let write = |path: &Path, text: &str| fs::write(path, text).expect("an own folder");
        write(&shown.leaf, &leaf.expect("a certificate").pem());
        write(&shown.chain, &chain);
        write(&shown.key, &key.serialize_pem());
        shown
    }
}

/// DER's tag, length, value; up to 65,535 bytes.
pub fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(value.len()).expect("a short value");
    let [high, low] = len.to_be_bytes();
    let header = match len {
        0..=127 => vec![tag, low],
        128..=255 => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [&header[..], value].concat()
}

/// A certificate on disk.
pub struct Shown {
    leaf: PathBuf,
    chain: PathBuf,
    key: PathBuf,
}

impl Shown {
    fn openssl(&self, role: &str, alpn: &str) -> Command {
        let mut openssl = command("openssl");
        openssl.args([role, "-tls1_3", "-alpn", alpn, "-cert"]);
        openssl.arg(&self.leaf).arg("-key").arg(&self.key);
        openssl.arg("-cert_chain").arg(&self.chain);
        openssl
    }

    /// A client of the mesh that shows it, and believes whatever it is shown.
    pub fn client(&self, to: SocketAddr) -> Command {
        self.client_of(to, "or-h2")
    }

    /// The same, which says that it speaks the protocol of this ALPN name.
    pub fn client_of(&self, to: SocketAddr, alpn: &str) -> Command {
        let mut client = self.openssl("s_client", alpn);
        // Without -ign_eof it leaves before it hears what becomes of its certificate.
        client.args(["-ign_eof", "-connect", &to.to_string()]);
        client
    }

    /// An endpoint of the mesh that shows it, and believes whatever it is shown.
    pub fn server(&self) -> (SocketAddr, Process) {
        let addr = free_addr();
        let mut server = self.openssl("s_server", "or-h2");
        server.args(["-www", "-verify", "1", "-accept", &addr.to_string()]);
        let mut process = Process::start("openssl s_server", &mut server);
        wait::until("openssl listens", || {
            assert!(process.exited().is_none(), "it ended: {}", process.log());
            process.log().contains("ACCEPT")
        });
        (addr, process)
    }
}
