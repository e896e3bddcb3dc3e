//! What the webhook proves itself with to the API server: a certificate under a CA whose key is
//! thrown away once it has signed. Pure, the clock is passed in.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use k8s_openapi::api::core::v1::Secret;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::ca_secret::secret;
use crate::identity::{CLOCK_SKEW, pem_fault, public_server_config};

pub(super) const NAME: &str = "outrigger-webhook";
const SERVICE: &str = "outrigger-controller";

pub(super) const CERTIFICATE: &str = "tls.crt";
pub(super) const KEY: &str = "tls.key";
pub(super) const CA: &str = "ca.crt";

const LIFETIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Why the Secret is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("it has no readable `{0}`")]
    Missing(&'static str),
    #[error("`{0}` is not valid PEM: {1}")]
    Pem(&'static str, &'static str),
    #[error("the certificate cannot be read")]
    Malformed,
    #[error("the certificate is not for {0}")]
    Name(String),
    #[error("the certificate and its key do not belong together: {0}")]
    Tls(#[from] rustls::Error),
    #[error("it has expired")]
    Expired,
}

/// What the Secret holds, checked.
#[derive(Debug)]
pub(super) struct Serving {
    pub(super) config: Arc<ServerConfig>,
    /// What the API server is to believe, PEM.
    pub(super) ca: String,
    /// At two thirds of its life.
    pub(super) renew_at: SystemTime,
}

impl Serving {
    pub(super) fn read(
        secret: &Secret,
        namespace: &str,
        now: SystemTime,
    ) -> Result<Self, Unusable> {
        let part = |key: &'static str| {
            let data = secret.data.as_ref().and_then(|data| data.get(key));
            data.and_then(|bytes| std::str::from_utf8(&bytes.0).ok())
                .ok_or(Unusable::Missing(key))
        };
        let ca = part(CA)?;
        if certificates(CA, ca)?.is_empty() {
            return Err(Unusable::Missing(CA));
        }
        let chain = certificates(CERTIFICATE, part(CERTIFICATE)?)?;
        let leaf = chain.first().ok_or(Unusable::Missing(CERTIFICATE))?;
        let (_, leaf) =
            x509_parser::parse_x509_certificate(leaf).map_err(|_| Unusable::Malformed)?;
        let name = server_names(namespace).swap_remove(0);
        let names = leaf
            .subject_alternative_name()
            .map_err(|_| Unusable::Malformed)?;
        let has_name = names.is_some_and(|names| {
            let mut names = names.value.general_names.iter();
            names.any(
                |n| matches!(n, x509_parser::prelude::GeneralName::DNSName(dns) if *dns == name),
            )
        });
        if !has_name {
            return Err(Unusable::Name(name));
        }
        let at = |time: x509_parser::time::ASN1Time| {
            let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
        };
        let from = at(leaf.validity().not_before);
        let until = at(leaf.validity().not_after);
        if until <= now {
            return Err(Unusable::Expired);
        }
        let life = until.duration_since(from).unwrap_or_default();
        let key = PrivateKeyDer::from_pem_slice(part(KEY)?.as_bytes())
            .map_err(|error| Unusable::Pem(KEY, pem_fault::describe(&error)))?;
        Ok(Self {
            config: public_server_config(chain, key)?,
            ca: ca.to_owned(),
            renew_at: from + life * 2 / 3,
        })
    }
}

/// A new certificate, in the Secret that holds it. While it spreads, the API server goes on
/// believing `before`, the last CA in PEM.
pub(super) fn make(
    namespace: &str,
    before: Option<&str>,
    now: SystemTime,
) -> Result<Secret, rcgen::Error> {
    let (ca_key, key) = (KeyPair::generate()?, KeyPair::generate()?);
    let mut ca = params("outrigger webhook CA", now);
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca = ca.self_signed(&ca_key)?;
    let issuer = Issuer::from_ca_cert_der(ca.der(), &ca_key)?;

    let mut leaf = params("outrigger webhook", now);
    leaf.subject_alt_names = server_names(namespace)
        .into_iter()
        .map(|name| name.try_into().map(rcgen::SanType::DnsName))
        .collect::<Result<_, _>>()?;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    let leaf = leaf.signed_by(&key, &issuer)?;

    // One CA before this: older ones have nothing left to vouch for.
    let before = before.and_then(|before| certificates(CA, before).ok());
    let before = before.and_then(|before| before.into_iter().next());
    let cas: Vec<_> = std::iter::once(ca.der().clone()).chain(before).collect();
    let parts = [
        (CERTIFICATE, &*leaf.pem()),
        (KEY, &key.serialize_pem()),
        (CA, &crate::identity::ca::to_pem(&cas)),
    ];
    Ok(secret(NAME, parts))
}

/// How the API server calls the Service, first as it asks for it.
fn server_names(namespace: &str) -> Vec<String> {
    vec![
        format!("{SERVICE}.{namespace}.svc"),
        format!("{SERVICE}.{namespace}"),
    ]
}

fn params(name: &str, now: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + LIFETIME).into();
    params
}

fn certificates(key: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| Unusable::Pem(key, pem_fault::describe(&error)))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn text(secret: &Secret, key: &str) -> String {
        String::from_utf8(secret.data.as_ref().unwrap()[key].0.clone()).unwrap()
    }

    /// As the API server does it: the Service's name, under the bundle that it was given.
    fn believed(secret: &Secret, bundle: &str, now: SystemTime) -> bool {
        let chain = certificates(CERTIFICATE, &text(secret, CERTIFICATE)).unwrap();
        let roots = certificates(CA, bundle).unwrap();
        let anchors: Vec<_> = roots
            .iter()
            .map(|root| webpki::anchor_from_trusted_cert(root).unwrap())
            .collect();
        let leaf = webpki::EndEntityCert::try_from(&chain[0]).unwrap();
        let name = rustls::pki_types::ServerName::try_from("outrigger-controller.mesh.svc");
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        leaf.verify_is_valid_for_subject_name(&name.unwrap())
            .is_ok()
            && leaf
                .verify_for_usage(
                    webpki::ALL_VERIFICATION_ALGS,
                    &anchors,
                    &[],
                    rustls::pki_types::UnixTime::since_unix_epoch(since),
                    webpki::KeyUsage::server_auth(),
                    None,
                    None,
                )
                .is_ok()
    }

    #[test]
    fn the_api_server_believes_it_and_the_one_before_it() {
        let now = SystemTime::now();
        let first = make("mesh", None, now).unwrap();
        assert!(believed(&first, &text(&first, CA), now));
        let second = make("mesh", Some(&text(&first, CA)), now).unwrap();
        let bundle = text(&second, CA);
        assert!(believed(&first, &bundle, now) && believed(&second, &bundle, now));
        assert!(!believed(&second, &text(&first, CA), now));
        let third = make("mesh", Some(&bundle), now).unwrap();
        assert_eq!(text(&third, CA).matches("BEGIN").count(), 2);
    }

    #[test]
    fn it_is_renewed_at_two_thirds_of_its_life() {
        let now = SystemTime::now();
        let secret = make("mesh", None, now).unwrap();
        let serving = Serving::read(&secret, "mesh", now).unwrap();
        let days = serving.renew_at.duration_since(now).unwrap().as_secs_f64() / 86_400.0;
        assert!((days - 243.3).abs() < 0.1, "{days}");
        let end = now + 365 * DAY;
        assert!(matches!(
            Serving::read(&secret, "mesh", end),
            Err(Unusable::Expired)
        ));
    }

    #[test]
    fn a_secret_of_no_use_says_why() {
        let now = SystemTime::now();
        let edited = |key: &str, bytes: Vec<u8>| {
            let mut secret = make("mesh", None, now).unwrap();
            let data = secret.data.as_mut().unwrap();
            data.insert(key.into(), ByteString(bytes));
            Serving::read(&secret, "mesh", now).unwrap_err().to_string()
        };
        for key in [CERTIFICATE, KEY, CA] {
            assert!(edited(key, vec![0xff]).contains(key));
        }
        let other = make("mesh", None, now).unwrap();
        let foreign = edited(KEY, text(&other, KEY).into_bytes());
        assert!(foreign.contains("belong together"), "{foreign}");
        let elsewhere = make("other", None, now).unwrap();
        let error = Serving::read(&elsewhere, "mesh", now).unwrap_err();
        assert!(error.to_string().contains("controller.mesh.svc"), "{error}");
        assert!(Serving::read(&Secret::default(), "mesh", now).is_err());
    }
}
