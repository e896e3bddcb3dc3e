//! How long certificates are valid, for who only wants to know that.

use std::time::{Duration, SystemTime};

use x509_parser::pem::Pem;

/// From when until when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub not_before: SystemTime,
    pub not_after: SystemTime,
}

/// Of each certificate in a PEM text.
///
/// # Errors
/// When it holds something else, or nothing.
pub fn validities(pem: &[u8]) -> Result<Vec<Validity>, String> {
    let mut all = Vec::new();
    for block in Pem::iter_from_buffer(pem) {
        let block = block.map_err(|error| format!("not PEM: {error}"))?;
        let certificate = block.parse_x509();
        let certificate = certificate.map_err(|error| format!("not a certificate: {error}"))?;
        let validity = certificate.validity();
        all.push(Validity {
            not_before: time(validity.not_before.timestamp()),
            not_after: time(validity.not_after.timestamp()),
        });
    }
    match all.is_empty() {
        true => Err("there is no certificate in it".into()),
        false => Ok(all),
    }
}

fn time(unix: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(unix).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_certificate_of_a_chain() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["a".into()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 1, 2);
        let pem = params.self_signed(&key).unwrap().pem();
        let both = validities(format!("{pem}{pem}").as_bytes()).unwrap();
        assert_eq!(both.len(), 2);
        let lasts = both[0].not_after.duration_since(both[0].not_before);
        assert_eq!(lasts.unwrap(), Duration::from_secs(86_400));
        assert!(validities(b"").is_err());
        assert!(validities(key.serialize_pem().as_bytes()).is_err());
    }
}
