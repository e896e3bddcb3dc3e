//! The controller's own certificate, from its own authority, and the trust bundle that it serves.

use std::{sync::Arc, time::Duration};

use super::store::Store;
use crate::{
    discovery::{model::TrustBundle, resource::Resource},
    host,
    identity::{
        CertificateRequest, IdentityStore, InvalidSvid, SpiffeId, Svid,
        ca::{CaError, CertificateAuthority},
        renew::renewal_delay,
        store::StoreError,
    },
};

/// Why the controller has no certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OwnCertificateError {
    #[error(transparent)]
    Authority(#[from] CaError),
    #[error("the authority's own certificate cannot be used: {0}")]
    Svid(#[from] InvalidSvid),
    #[error("the authority's own certificate cannot be used: {0}")]
    Identity(#[from] StoreError),
}

/// Keeps both in step with the authority.
pub(super) struct OwnCertificate {
    pub(super) ca: Arc<CertificateAuthority>,
    pub(super) id: SpiffeId,
    pub(super) lifetime: Duration,
    pub(super) identity: IdentityStore,
    pub(super) store: Arc<Store>,
}

impl OwnCertificate {
    /// Publishes the roots, and gets a certificate under the issuer of the moment.
    pub(super) fn renew(&self) -> Result<(), OwnCertificateError> {
        let roots = self.ca.roots_pem();
        let bundle = TrustBundle { roots };
        let (name, resource) = Resource::trust_bundle(self.ca.trust_domain(), bundle.clone());
        if self.store.apply([(name, Some(resource))]) > 0 {
            tracing::info!("the trust bundle has changed");
        }
        let request = CertificateRequest::generate();
        let now = host::wall_clock();
        let chain = self
            .ca
            .sign(&self.id, &request.csr_der, self.lifetime, now)?;
        let svid = Svid::new(chain, request.key)?;
        self.identity.set(svid, &bundle)?;
        Ok(())
    }

    /// Renews whenever the authority changes or half the certificate's life is over. Never
    /// returns.
    pub(super) async fn keep_fresh(&self) {
        let mut changes = self.ca.changes();
        loop {
            let credentials = self.identity.ready().await;
            let (from, until) = (credentials.not_before, credentials.not_after);
            let due = renewal_delay(from, until, host::wall_clock(), fastrand::f64());
            tokio::select! {
                biased;
                () = tokio::time::sleep(due) => {}
                Ok(()) = changes.changed() => {}
            }
            if let Err(error) = self.renew() {
                tracing::error!(%error, "the controller's own certificate was not renewed");
            }
        }
    }
}
