//! The authority in Secrets: `outrigger-ca` signs, in cert-manager's layout, and is the operator's
//! to bring; where it is absent the leader makes it, under a root whose key it keeps in
//! `outrigger-root`.

use std::time::{Duration, SystemTime};

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, ResourceExt,
    api::{ObjectMeta, PostParams},
};

use super::objects::{LABELS, is_conflict};
use crate::identity::{
    CLOCK_SKEW,
    ca::{AuthorityPem, CaError, CertificateAuthority, Part, SigningRoot},
};

pub(super) const CA: &str = "outrigger-ca";
pub(super) const ROOT: &str = "outrigger-root";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const ROOTS: &str = "ca.crt";

/// Why the Secret's content is refused; the last good one stays in force.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaSecretError {
    #[error(
        "the Secret {secret} has no readable `{key}`: it takes tls.crt, tls.key and ca.crt, PEM, \
         as cert-manager writes them"
    )]
    Missing { secret: String, key: &'static str },
    #[error(transparent)]
    Authority(#[from] CaError),
    #[error("the issuer in the Secret {CA} has expired: put one there that has not")]
    Expired,
    #[error("the API server: {0}")]
    Api(#[from] kube::Error),
}

/// Reads the Secret and checks that it can sign.
pub(super) fn read(
    secret: &Secret,
    trust_domain: &str,
    now: SystemTime,
) -> Result<AuthorityPem, CaSecretError> {
    let pem = AuthorityPem {
        roots: part(secret, ROOTS)?,
        chain: part(secret, CERTIFICATE)?,
        key: part(secret, KEY)?,
    };
    let authority = CertificateAuthority::from_pem(trust_domain, &pem)?;
    if authority.issuer_validity().1 <= now {
        return Err(CaSecretError::Expired);
    }
    authority.try_out(now)?;
    Ok(pem)
}

fn part(secret: &Secret, key: &'static str) -> Result<Part, CaSecretError> {
    let data = secret.data.as_ref().and_then(|data| data.get(key));
    let text = data.and_then(|bytes| std::str::from_utf8(&bytes.0).ok());
    let name = secret.name_any();
    match text.filter(|text| !text.trim().is_empty()) {
        Some(text) => Ok(Part::new(format!("`{key}` of the Secret {name}"), text)),
        None => Err(CaSecretError::Missing { secret: name, key }),
    }
}

/// A Secret of our own making.
pub(super) fn secret(name: &str, parts: [(&str, &str); 3]) -> Secret {
    let data = parts.map(|(key, pem)| (key.to_owned(), ByteString(pem.as_bytes().to_vec())));
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(LABELS.map(|(key, value)| (key.into(), value.into())).into()),
            ..Default::default()
        },
        type_: Some("kubernetes.io/tls".into()),
        data: Some(data.into()),
        ..Default::default()
    }
}

/// The leader's part: makes what is absent, renews what it made.
pub(super) struct Keeper<'a> {
    pub(super) secrets: &'a Api<Secret>,
    pub(super) trust_domain: &'a str,
}

impl Keeper<'_> {
    /// Makes `outrigger-ca` under `outrigger-root`, and that before it where it is absent. Never
    /// overwrites: who comes second goes on with what the first made.
    pub(super) async fn make(&self, now: SystemTime) -> Result<(), CaSecretError> {
        let root = match self.secrets.get_opt(ROOT).await? {
            Some(root) => root,
            None => {
                let root = SigningRoot::generate(self.trust_domain, now)?;
                let (certificate, key) = (root.certificate_pem(), root.key_pem());
                let parts = [
                    (CERTIFICATE, &*certificate),
                    (KEY, &key),
                    (ROOTS, &certificate),
                ];
                match self.create(&secret(ROOT, parts)).await? {
                    true => tracing::info!("made a new root in the Secret {ROOT}"),
                    false => tracing::info!("another replica has made the Secret {ROOT}"),
                }
                self.secrets.get(ROOT).await?
            }
        };
        if self.create(&issue(self.trust_domain, &root, now)?).await? {
            tracing::info!("made a new issuer in the Secret {CA}");
        }
        Ok(())
    }

    /// Replaces the issuer in `current` by a new one under our root, unless the Secret has changed
    /// since it was read.
    pub(super) async fn renew(
        &self,
        current: &Secret,
        root: &Secret,
        now: SystemTime,
    ) -> Result<(), CaSecretError> {
        let mut next = current.clone();
        next.data = issue(self.trust_domain, root, now)?.data;
        let replaced = self
            .secrets
            .replace(CA, &PostParams::default(), &next)
            .await;
        match replaced {
            Ok(_) => tracing::info!("renewed the issuer in the Secret {CA}"),
            Err(error) if is_conflict(&error) => {
                tracing::info!("the Secret {CA} has changed meanwhile: not renewed");
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Whether it was this call that made it.
    async fn create(&self, secret: &Secret) -> Result<bool, CaSecretError> {
        match self.secrets.create(&PostParams::default(), secret).await {
            Ok(_) => Ok(true),
            Err(error) if is_conflict(&error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// An issuer under our root, as `outrigger-ca` holds it.
fn issue(trust_domain: &str, root: &Secret, now: SystemTime) -> Result<Secret, CaSecretError> {
    let certificate = part(root, CERTIFICATE)?;
    let root = SigningRoot::from_pem(&certificate, &part(root, KEY)?)?;
    let issuer = root.issue(trust_domain, now)?;
    let parts = [
        (CERTIFICATE, &*issuer.certificate),
        (KEY, &issuer.key),
        (ROOTS, &certificate.pem),
    ];
    Ok(secret(CA, parts))
}

/// Whether `current`'s issuer was made under our root: only then is it ours to renew.
pub(super) fn is_ours(current: &AuthorityPem, root: &Secret) -> bool {
    part(root, CERTIFICATE).is_ok_and(|certificate| certificate.pem == current.roots.pem)
}

/// When an issuer is renewed: at 50 to 80 % of its life, by `jitter` in 0..1.
pub(super) fn renewal((from, until): (SystemTime, SystemTime), jitter: f64) -> SystemTime {
    let life = until.duration_since(from).unwrap_or_default();
    from + life.mul_f64(0.5 + 0.3 * jitter.clamp(0.0, 1.0))
}

/// How long a root must stay in the bundle after it has left the Secret: until the last
/// certificate under it has expired, on every clock.
pub(super) fn grace(lifetime: Duration) -> Duration {
    lifetime + super::bundle::SETTLE + 2 * CLOCK_SKEW
}

#[cfg(test)]
#[path = "ca_secret_tests.rs"]
mod tests;
