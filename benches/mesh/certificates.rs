//! The certificates of the peers and of the copy loop: ECDSA P-256 like the mesh's own, one root,
//! one name for both hops.

use std::{fs, path::Path, sync::Arc};

use anyhow::Context;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};

/// The name in the certificate, and what a client asks for.
pub const NAME: &str = "bench.test";

/// Writes `ca.pem`, `cert.pem`, `key.pem` and `both.pem` (HAProxy wants certificate and key in
/// one file).
pub fn write(dir: &Path) -> anyhow::Result<()> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // Its own name: OpenSSL takes a leaf of the same name for self-signed.
    ca.distinguished_name.push(DnType::CommonName, "bench root");
    let ca_certificate = ca.self_signed(&ca_key)?;
    let key = KeyPair::generate()?;
    let leaf =
        CertificateParams::new([NAME.to_owned()])?.signed_by(&key, &Issuer::new(ca, ca_key))?;
    fs::write(dir.join("ca.pem"), ca_certificate.pem())?;
    fs::write(dir.join("cert.pem"), leaf.pem())?;
    fs::write(dir.join("key.pem"), key.serialize_pem())?;
    fs::write(dir.join("both.pem"), leaf.pem() + &key.serialize_pem())?;
    Ok(())
}

/// Mutual TLS 1.3 from what [`write`] wrote, as rustls does it by default but for sessions: none is
/// resumed, so that every handshake is a full one, as in the mesh.
pub fn tls(dir: &Path) -> anyhow::Result<(Arc<ClientConfig>, Arc<ServerConfig>)> {
    let certificate = |name: &str| {
        CertificateDer::from_pem_file(dir.join(name))
            .with_context(|| format!("{name} in {}", dir.display()))
    };
    let mut roots = RootCertStore::empty();
    roots.add(certificate("ca.pem")?)?;
    let roots = Arc::new(roots);
    let chain = vec![certificate("cert.pem")?];
    let key = PrivateKeyDer::from_pem_file(dir.join("key.pem"))?;
    let mut client = ClientConfig::builder()
        .with_root_certificates(roots.clone())
        .with_client_auth_cert(chain.clone(), key.clone_key())?;
    client.resumption = Resumption::disabled();
    let mut server = ServerConfig::builder()
        .with_client_cert_verifier(WebPkiClientVerifier::builder(roots).build()?)
        .with_single_cert(chain, key)?;
    server.send_tls13_tickets = 0;
    Ok((Arc::new(client), Arc::new(server)))
}
