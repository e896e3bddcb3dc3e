//! Makes certificates: what stands in them, and for how long. Keeps nothing.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::X509Certificate;

use crate::identity::{CLOCK_SKEW, SpiffeId};

const ORGANIZATION: &str = "Outrigger";
const ROOT: &str = "root";
const ISSUER: &str = "issuer";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const ROOT_LIFETIME: Duration = DAY.saturating_mul(3650);
const ISSUER_LIFETIME: Duration = DAY.saturating_mul(365);

/// A self-signed trust anchor for ten years.
pub(super) fn root(
    trust_domain: &str,
    key: &KeyPair,
    now: SystemTime,
) -> Result<CertificateDer<'static>, rcgen::Error> {
    let params = authority(
        ROOT,
        trust_domain,
        1,
        (now - CLOCK_SKEW, now + ROOT_LIFETIME),
    )?;
    Ok(params.self_signed(key)?.into())
}

/// An intermediate for a year, or as long as the root lives.
pub(super) fn issuer(
    trust_domain: &str,
    key: &KeyPair,
    root: &Issuer<'_, &KeyPair>,
    root_not_after: SystemTime,
    now: SystemTime,
) -> Result<CertificateDer<'static>, rcgen::Error> {
    let not_after = (now + ISSUER_LIFETIME).min(root_not_after);
    let params = authority(ISSUER, trust_domain, 0, (now - CLOCK_SKEW, not_after))?;
    Ok(params.signed_by(key, root)?.into())
}

/// A workload's certificate: one URI, no subject, for both sides of TLS.
pub(super) fn leaf(
    id: &SpiffeId,
    key: &impl PublicKeyData,
    issuer: &Issuer<'_, KeyPair>,
    (not_before, not_after): (SystemTime, SystemTime),
) -> Result<CertificateDer<'static>, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(id.as_str().try_into()?)];
    params.not_before = not_before.into();
    params.not_after = not_after.into();
    params.serial_number = Some(serial());
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    Ok(params.signed_by(key, issuer)?.into())
}

fn authority(
    role: &str,
    trust_domain: &str,
    path_len: u8,
    (not_before, not_after): (SystemTime, SystemTime),
) -> Result<CertificateParams, rcgen::Error> {
    let serial = serial();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    // The serial number in the name keeps the roots of a rotation apart for readers and verifiers.
    let suffix: String = serial.to_bytes()[..4]
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    params
        .distinguished_name
        .push(DnType::OrganizationName, ORGANIZATION);
    params.distinguished_name.push(
        DnType::CommonName,
        format!("{role} of {} {suffix}", shortened(trust_domain)),
    );
    params.not_before = not_before.into();
    params.not_after = not_after.into();
    params.serial_number = Some(serial);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_len));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// The trust domain in the name of an issuer that [`issuer`] made, as far as it is in there. It
/// shows an operator's mistake, and decides on nobody's identity.
pub(super) fn trust_domain_of<'a>(issuer: &'a X509Certificate<'_>) -> Option<&'a str> {
    let subject = issuer.subject();
    let ours = subject.iter_organization().next()?.as_str().ok()? == ORGANIZATION;
    let name = subject.iter_common_name().next()?.as_str().ok()?;
    let (domain, _) = name
        .strip_prefix(ISSUER)?
        .strip_prefix(" of ")?
        .rsplit_once(' ')?;
    ours.then_some(domain)
}

/// Whether `found`, of [`trust_domain_of`], is of this trust domain.
pub(super) fn is_made_for(found: &str, trust_domain: &str) -> bool {
    found == shortened(trust_domain)
}

/// X.520 allows a common name 64 characters.
fn shortened(trust_domain: &str) -> &str {
    &trust_domain[..trust_domain.len().min(40)]
}

/// 127 random bits: RFC 5280 wants a positive number of at most 20 octets.
fn serial() -> SerialNumber {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's random numbers are available");
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}
