//! Keeps the webhook's certificate: every replica serves with what the Secret holds and makes it
//! where there is none, the leader renews it and tells the API server what to believe.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime},
};

use k8s_openapi::{
    ByteString,
    api::{
        admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
        core::v1::Secret,
    },
};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    objects::{self, LABELS, Seen, is_conflict, is_not_found},
    webhook_certificate::{self, NAME, Serving, Unusable},
};

const INJECTOR: &str = "outrigger-injector";
const VALIDATOR: &str = "outrigger-validator";

/// How long the API server may take to believe in a new CA before it meets a certificate under it.
const SPREAD: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_secs(3_600);

#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error("the API server: {0}")]
    Api(#[from] kube::Error),
    #[error("no certificate can be made: {0}")]
    Make(#[from] rcgen::Error),
    #[error("the Secret {NAME} is not ours and of no use ({0}): mend or remove it")]
    Foreign(Unusable),
}

/// The webhook's certificate, as the cluster has it.
pub(super) struct WebhookKeeper {
    namespace: String,
    secrets: Api<Secret>,
    injectors: Api<MutatingWebhookConfiguration>,
    validators: Api<ValidatingWebhookConfiguration>,
    secret: watch::Sender<Seen<Secret>>,
    injector: watch::Sender<Seen<MutatingWebhookConfiguration>>,
    serving: watch::Sender<Option<Arc<ServerConfig>>>,
}

impl WebhookKeeper {
    pub(super) fn new(client: &Client, namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            secrets: Api::namespaced(client.clone(), namespace),
            injectors: Api::all(client.clone()),
            validators: Api::all(client.clone()),
            secret: watch::Sender::default(),
            injector: watch::Sender::default(),
            serving: watch::Sender::default(),
        }
    }

    /// What to serve with, from the first certificate on.
    pub(super) async fn serving(&self) -> watch::Receiver<Arc<ServerConfig>> {
        let mut all = self.serving.subscribe();
        let first = all.wait_for(Option::is_some).await;
        let first = first.expect("the sender lives in what is borrowed here");
        let (current, receiver) = watch::channel(first.clone().expect("it was waited for"));
        drop(first);
        tokio::spawn(async move {
            while all.changed().await.is_ok() {
                let next = all.borrow_and_update().clone();
                if next.is_some_and(|next| current.send(next).is_err()) {
                    return;
                }
            }
        });
        receiver
    }

    /// Every replica's part. Never returns.
    pub(super) async fn follow(&self) {
        tokio::join!(
            objects::follow(self.secrets.clone(), NAME, &self.secret),
            objects::follow(self.injectors.clone(), INJECTOR, &self.injector),
            self.serve_with_it(),
            self.make_where_absent(),
        );
    }

    async fn serve_with_it(&self) {
        let mut secrets = self.secret.subscribe();
        loop {
            if let Seen::Present(secret) = &*secrets.borrow_and_update() {
                match Serving::read(secret, &self.namespace, SystemTime::now()) {
                    Ok(serving) => drop(self.serving.send_replace(Some(serving.config))),
                    Err(error) => tracing::error!(
                        "the Secret {NAME} is of no use: {error}; the webhook goes on with what it has"
                    ),
                }
            }
            if secrets.changed().await.is_err() {
                return;
            }
        }
    }

    /// Not the leader's part alone: a replica is ready once it serves, and the leader may be of an
    /// older version, which is replaced only when this one is ready, and makes another Secret.
    async fn make_where_absent(&self) {
        let mut secrets = self.secret.subscribe();
        loop {
            let absent = matches!(*secrets.borrow_and_update(), Seen::Absent);
            let made = match absent {
                true => self.make().await,
                false => Ok(()),
            };
            if let Err(error) = &made {
                tracing::error!(%error, "no certificate is made for the webhook");
            }
            tokio::select! {
                changed = secrets.changed() => if changed.is_err() {
                    return;
                },
                () = tokio::time::sleep(RETRY), if made.is_err() => {}
            }
        }
    }

    async fn make(&self) -> Result<(), KeepError> {
        let made = webhook_certificate::make(&self.namespace, None, SystemTime::now())?;
        match self.secrets.create(&PostParams::default(), &made).await {
            Ok(_) => tracing::info!("made a certificate in the Secret {NAME}"),
            // Another replica has.
            Err(error) if is_conflict(&error) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Runs the task as long as the cluster's webhook is this installation's, or nobody's: what is
    /// outside the install namespace has one owner. Never returns.
    pub(super) async fn while_ours<F: Future<Output = ()>>(&self, mut task: impl FnMut() -> F) {
        let mut injector = self.injector.subscribe();
        loop {
            let ours = injector.wait_for(|seen| self.is_ours(seen) == Some(true));
            if ours.await.is_err() {
                return;
            }
            tokio::select! {
                () = task() => return,
                _ = injector.wait_for(|seen| self.is_ours(seen) == Some(false)) => tracing::error!(
                    "the webhook {INJECTOR} is another installation's: uninstall one of the two; \
                     this one writes nothing outside its own namespace"
                ),
            }
        }
    }

    /// `None` before it is known.
    fn is_ours(&self, injector: &Seen<MutatingWebhookConfiguration>) -> Option<bool> {
        match injector {
            Seen::Unknown => None,
            Seen::Absent => Some(true),
            Seen::Present(injector) => Some(injector.webhooks.iter().flatten().all(|webhook| {
                let service = webhook.client_config.service.as_ref();
                service.is_none_or(|service| service.namespace == self.namespace)
            })),
        }
    }

    /// The leader's part. Never returns.
    pub(super) async fn keep(&self) {
        let mut secrets = self.secret.subscribe();
        let mut injectors = self.injector.subscribe();
        loop {
            let secret = secrets.borrow_and_update().clone();
            let injector = injectors.borrow_and_update().clone();
            let wait = match self.attend(&secret, &injector).await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::error!(%error, "the webhook's certificate is not attended to");
                    RETRY
                }
            };
            tokio::select! {
                Ok(()) = secrets.changed() => {}
                Ok(()) = injectors.changed() => {}
                () = tokio::time::sleep(wait.min(LOOK)) => {}
            }
        }
    }

    /// Does what is due, and says when to look again.
    async fn attend(
        &self,
        secret: &Seen<Secret>,
        injector: &Seen<MutatingWebhookConfiguration>,
    ) -> Result<Duration, KeepError> {
        let now = SystemTime::now();
        let secret = match secret {
            Seen::Unknown | Seen::Absent => return Ok(LOOK),
            Seen::Present(secret) => secret,
        };
        let read = Serving::read(secret, &self.namespace, now);
        let due = read.as_ref().map_or(true, |read| read.renew_at <= now);
        if due && is_made_by_us(secret) {
            self.renew(secret, injector, now).await?;
            return Ok(LOOK);
        }
        let serving = read.map_err(KeepError::Foreign)?;
        self.tell(injector, &serving.ca).await?;
        Ok(serving.renew_at.duration_since(now).unwrap_or(LOOK))
    }

    /// First the API server believes in both CAs, then the certificate changes.
    async fn renew(
        &self,
        secret: &Secret,
        injector: &Seen<MutatingWebhookConfiguration>,
        now: SystemTime,
    ) -> Result<(), KeepError> {
        let text = |secret: &Secret| {
            let data = secret.data.as_ref()?.get(webhook_certificate::CA)?;
            String::from_utf8(data.0.clone()).ok()
        };
        let mut next = secret.clone();
        next.data = webhook_certificate::make(&self.namespace, text(secret).as_deref(), now)?.data;
        self.tell(injector, &text(&next).unwrap_or_default())
            .await?;
        tokio::time::sleep(SPREAD).await;
        match self
            .secrets
            .replace(NAME, &PostParams::default(), &next)
            .await
        {
            Ok(_) => tracing::info!("renewed the certificate in the Secret {NAME}"),
            Err(error) if is_conflict(&error) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Writes the bundle into the webhooks that do not have it.
    async fn tell(
        &self,
        injector: &Seen<MutatingWebhookConfiguration>,
        ca: &str,
    ) -> Result<(), KeepError> {
        if self.is_ours(injector) != Some(true) {
            return Ok(());
        }
        if let Seen::Present(injector) = injector {
            let bundles = injector.webhooks.iter().flatten();
            let bundles = bundles.map(|webhook| webhook.client_config.ca_bundle.as_ref());
            if let Some(patch) = bundle_patch(injector.resource_version(), bundles, ca) {
                patch_bundles(&self.injectors, INJECTOR, patch).await?;
            }
        }
        // Only where the operator has it, and has given the right to it.
        let validator = match self.validators.get_opt(VALIDATOR).await {
            Ok(Some(validator)) => validator,
            Ok(None) => return Ok(()),
            Err(kube::Error::Api(status)) if status.is_forbidden() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let bundles = validator.webhooks.iter().flatten();
        let bundles = bundles.map(|webhook| webhook.client_config.ca_bundle.as_ref());
        if let Some(patch) = bundle_patch(validator.resource_version(), bundles, ca) {
            patch_bundles(&self.validators, VALIDATOR, patch).await?;
        }
        Ok(())
    }
}

fn is_made_by_us(secret: &Secret) -> bool {
    let (key, value) = LABELS[0];
    secret.labels().get(key).is_some_and(|has| has == value)
}

/// A JSON patch that gives every webhook the bundle, or `None` where all have it. It fails when
/// the object has changed meanwhile: the webhooks may be others then.
fn bundle_patch<'a>(
    version: Option<String>,
    bundles: impl Iterator<Item = Option<&'a ByteString>>,
    ca: &str,
) -> Option<Value> {
    let wanted = ByteString(ca.as_bytes().to_vec());
    let mut operations = vec![json!({
        "op": "test", "path": "/metadata/resourceVersion", "value": version?,
    })];
    for (index, bundle) in bundles.enumerate() {
        if bundle != Some(&wanted) {
            operations.push(json!({
                "op": "add",
                "path": format!("/webhooks/{index}/clientConfig/caBundle"),
                "value": wanted,
            }));
        }
    }
    (operations.len() > 1).then_some(Value::Array(operations))
}

async fn patch_bundles<K>(api: &Api<K>, name: &str, patch: Value) -> Result<(), KeepError>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let patch = serde_json::from_value(patch).map_err(kube::Error::SerdeError)?;
    let patch = Patch::<()>::Json(patch);
    match api.patch(name, &PatchParams::default(), &patch).await {
        Ok(_) => tracing::info!(name, "told the API server what to believe the webhook by"),
        // The watch brings the new one.
        Err(error) if is_conflict(&error) || is_not_found(&error) => {}
        Err(kube::Error::Api(status)) if status.is_invalid() => {
            tracing::debug!(name, "the webhooks have changed meanwhile");
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_webhooks_without_the_bundle_are_patched() {
        let good = ByteString(b"CA".to_vec());
        let old = ByteString(b"old".to_vec());
        let version = || Some("7".to_owned());
        let all_good = [Some(&good), Some(&good)];
        assert_eq!(bundle_patch(version(), all_good.into_iter(), "CA"), None);
        let some = [Some(&good), None, Some(&old)];
        let patch = bundle_patch(version(), some.into_iter(), "CA").unwrap();
        assert_eq!(
            patch,
            json!([
                { "op": "test", "path": "/metadata/resourceVersion", "value": "7" },
                { "op": "add", "path": "/webhooks/1/clientConfig/caBundle", "value": "Q0E=" },
                { "op": "add", "path": "/webhooks/2/clientConfig/caBundle", "value": "Q0E=" },
            ])
        );
    }
}
