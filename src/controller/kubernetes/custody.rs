//! Keeps the authority in force in step with the cluster: every replica follows the Secret and the
//! published bundle, the leader makes, renews and publishes.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use k8s_openapi::{
    api::core::v1::{ConfigMap, Secret},
    jiff::Timestamp,
};
use kube::{Api, Client};
use tokio::sync::watch;

use super::{
    bundle::{self, Published, Staging},
    ca_secret::{self, CaSecretError, Keeper},
    config::{Issuer, MeshConfig},
    objects::{self, Seen},
    roots,
};
use crate::{identity::ca::CertificateAuthority, telemetry::metrics::Figures};

/// After the API server refused a write.
const RETRY: Duration = Duration::from_secs(3);
/// The longest time between two looks at what is due.
const LOOK: Duration = Duration::from_secs(600);

/// What the cluster says about the authority.
pub(super) struct Custody {
    pub(super) secrets: Api<Secret>,
    pub(super) config_maps: Api<ConfigMap>,
    pub(super) trust_domain: String,
    /// How long workloads' certificates are valid.
    pub(super) lifetime: Duration,
    /// Who makes an issuer where there is none.
    issuer: Issuer,
    secret: watch::Sender<Seen<Secret>>,
    published: watch::Sender<Seen<ConfigMap>>,
    authority: watch::Sender<Option<Arc<CertificateAuthority>>>,
    figures: Arc<Figures>,
}

impl Custody {
    pub(super) fn new(
        client: &Client,
        namespace: &str,
        config: &MeshConfig,
        figures: Arc<Figures>,
    ) -> Self {
        Self {
            secrets: Api::namespaced(client.clone(), namespace),
            config_maps: Api::namespaced(client.clone(), namespace),
            trust_domain: config.trust_domain.clone(),
            lifetime: config.certificate_lifetime,
            issuer: config.issuer,
            secret: watch::Sender::default(),
            published: watch::Sender::default(),
            authority: watch::Sender::default(),
            figures,
        }
    }

    /// The bundle of record, as the install namespace has it.
    pub(super) fn published(&self) -> watch::Receiver<Seen<ConfigMap>> {
        self.published.subscribe()
    }

    /// Waits for the first authority.
    pub(super) async fn authority(&self) -> Arc<CertificateAuthority> {
        let mut authority = self.authority.subscribe();
        let first = authority.wait_for(Option::is_some).await;
        let first = first.expect("the sender lives in what is borrowed here");
        first.clone().expect("it was waited for")
    }

    /// Every replica's part. Never returns.
    pub(super) async fn follow(&self) {
        tokio::join!(
            objects::follow(self.secrets.clone(), ca_secret::CA, &self.secret),
            objects::follow(self.config_maps.clone(), roots::NAME, &self.published),
            self.put_in_force(),
        );
    }

    async fn put_in_force(&self) {
        let mut secrets = self.secret.subscribe();
        let mut bundles = self.published.subscribe();
        let mut staging = Staging::default();
        let mut told = String::new();
        loop {
            let secret = secrets.borrow_and_update().clone();
            let published = bundles.borrow_and_update().clone();
            let again = match self.stage(&secret, &published, &mut staging) {
                Ok(again) => {
                    told.clear();
                    again
                }
                Err(error) => {
                    let error = error.to_string();
                    if told != error {
                        tracing::error!("{error}; the last good authority stays in force");
                        told = error;
                    }
                    None
                }
            };
            let again = again.unwrap_or_else(|| Instant::now() + LOOK);
            tokio::select! {
                Ok(()) = secrets.changed() => {}
                Ok(()) = bundles.changed() => {}
                () = tokio::time::sleep_until(again.into()) => {}
            }
        }
    }

    fn stage(
        &self,
        secret: &Seen<Secret>,
        published: &Seen<ConfigMap>,
        staging: &mut Staging,
    ) -> Result<Option<Instant>, CaSecretError> {
        let Seen::Present(secret) = secret else {
            return Ok(None);
        };
        let authority = self.authority.borrow().clone();
        let rest = match published {
            Seen::Unknown => return Ok(None),
            Seen::Present(record) => roots::published(record).roots,
            Seen::Absent => authority
                .as_ref()
                .map_or_else(String::new, |authority| authority.roots_pem()),
        };
        let pem = ca_secret::read(secret, &self.trust_domain, SystemTime::now())?;
        let bundle = bundle::union(&pem.roots.pem, &rest);
        let stage = staging.next(&self.trust_domain, &pem, &bundle, Instant::now())?;
        let authority = match authority {
            Some(authority) => {
                authority.replace(&stage.pem)?;
                authority
            }
            None => {
                let first = CertificateAuthority::from_pem(&self.trust_domain, &stage.pem)?;
                let first = Arc::new(first);
                self.authority.send_replace(Some(first.clone()));
                first
            }
        };
        self.figures.issuer_expires(authority.issuer_validity().1);
        if stage.again.is_some() {
            tracing::info!(
                "a new issuer is at hand: it signs once its root has reached every proxy"
            );
        }
        Ok(stage.again)
    }

    /// The leader's part. Never returns.
    pub(super) async fn keep(&self) {
        let mut secrets = self.secret.subscribe();
        let mut bundles = self.published.subscribe();
        let jitter = fastrand::f64();
        loop {
            let secret = secrets.borrow_and_update().clone();
            let published = bundles.borrow_and_update().clone();
            let wait = match self.attend(&secret, &published, jitter).await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::error!(%error, "the authority is not attended to: trying again");
                    RETRY
                }
            };
            tokio::select! {
                Ok(()) = secrets.changed() => {}
                Ok(()) = bundles.changed() => {}
                () = tokio::time::sleep(wait.min(LOOK)) => {}
            }
        }
    }

    /// Does what is due, and says when to look again.
    async fn attend(
        &self,
        secret: &Seen<Secret>,
        published: &Seen<ConfigMap>,
        jitter: f64,
    ) -> Result<Duration, CaSecretError> {
        let keeper = Keeper {
            secrets: &self.secrets,
            trust_domain: &self.trust_domain,
        };
        let now = SystemTime::now();
        let secret = match secret {
            Seen::Unknown => return Ok(LOOK),
            Seen::Absent if self.issuer == Issuer::External => {
                tracing::warn!(
                    "waiting for the Secret {}: the configuration says that its issuer is external",
                    ca_secret::CA
                );
                return Ok(LOOK);
            }
            Seen::Absent => {
                keeper.make(now).await?;
                return Ok(LOOK);
            }
            Seen::Present(secret) => secret,
        };
        let pem = ca_secret::read(secret, &self.trust_domain, now)?;
        self.publish(&pem.roots.pem, published).await?;

        let authority = CertificateAuthority::from_pem(&self.trust_domain, &pem)?;
        let validity = authority.issuer_validity();
        let due = ca_secret::renewal(validity, jitter);
        if let Ok(wait) = due.duration_since(now)
            && !wait.is_zero()
        {
            return Ok(wait);
        }
        match self.secrets.get_opt(ca_secret::ROOT).await? {
            Some(root) if ca_secret::is_ours(&pem, &root) => {
                keeper.renew(secret, &root, now).await?;
            }
            _ => tracing::warn!(
                days_left = days_until(validity.1, now),
                "the issuer in the Secret {} is past half of its life, and not ours to renew: \
                 put a new one there",
                ca_secret::CA
            ),
        }
        Ok(LOOK)
    }

    async fn publish(
        &self,
        secret_roots: &str,
        published: &Seen<ConfigMap>,
    ) -> Result<(), CaSecretError> {
        let record = match published {
            Seen::Unknown => return Ok(()),
            Seen::Present(record) => roots::published(record),
            // Removed by somebody: what is in force tells what it said.
            Seen::Absent => Published {
                roots: self
                    .authority
                    .borrow()
                    .as_ref()
                    .map_or_else(String::new, |authority| authority.roots_pem()),
                ..Default::default()
            },
        };
        let grace = ca_secret::grace(self.lifetime);
        let next = record.next(secret_roots, grace, Timestamp::now());
        if next != record || matches!(published, Seen::Absent) {
            tracing::info!(retiring = next.retired.len(), "publishing the trust bundle");
            roots::apply(&self.config_maps, &next.roots, Some(&next.retired)).await?;
        }
        Ok(())
    }
}

fn days_until(end: SystemTime, now: SystemTime) -> u64 {
    end.duration_since(now).unwrap_or_default().as_secs() / 86_400
}
