//! Gets this process its identity from the controller, and keeps it fresh.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::pki_types::CertificateDer;

use super::{
    DiscoveryClient, State,
    client::Controller,
    grpc::{self, Channel, DialError},
    kept_identity::KeptIdentity,
    model::TrustBundle,
    proto::identity::{CertifyRequest, CertifyResponse, identity_client::IdentityClient},
};
use crate::identity::{
    CertificateRequest, IdentityStore, InvalidSvid, InvalidTrustBundle, Svid,
    bootstrap_client_config,
    renew::{renewal_delay, retry_delay},
    store::StoreError,
};
use crate::{host, units};

/// The largest files that are read, in bytes. Tokens have one or two thousand; a bundle may be all
/// that a ConfigMap can hold.
const MAX_TOKEN: u64 = 64 << 10;
const MAX_ROOTS: u64 = 1 << 20;

/// For the whole exchange after the dial.
const CALL_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertifyError {
    #[error("{path} cannot be read: {source}: is the volume mounted?")]
    Read { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the controller refused: {}: {}", .0.code(), .0.message())]
    Refused(Box<tonic::Status>),
    #[error("the controller did not answer within {CALL_TIMEOUT:?}")]
    Timeout,
    #[error(transparent)]
    TrustBundle(#[from] InvalidTrustBundle),
    #[error(transparent)]
    Svid(#[from] InvalidSvid),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What it takes to get an identity.
#[derive(Clone, Debug)]
pub struct Certifier {
    pub controller: Controller,
    /// Read for every request: platforms rotate tokens.
    pub token_file: PathBuf,
    /// The trust bundle, PEM, that the controller is known by before the first certificate.
    pub roots_file: PathBuf,
    pub identity: IdentityStore,
    /// Where the certificate and its key are kept for a restart while the controller is away;
    /// `None`: nowhere.
    pub keep_dir: Option<PathBuf>,
}

impl Certifier {
    /// Gets a certificate once and puts it in force.
    ///
    /// # Errors
    /// When the controller cannot be reached or does not vouch for the token; what was in force
    /// stays.
    pub async fn certify(&self) -> Result<(), CertifyError> {
        let channel = self.dial().await?;
        let request = CertificateRequest::generate();
        let mut client = IdentityClient::with_origin(channel, grpc::origin());
        let call = client.certify(CertifyRequest {
            token: read(&self.token_file, MAX_TOKEN).await?.trim().to_owned(),
            csr: request.csr_der,
        });
        let CertifyResponse { chain, roots } = tokio::time::timeout(CALL_TIMEOUT, call)
            .await
            .map_err(|_| CertifyError::Timeout)?
            .map_err(|status| CertifyError::Refused(Box::new(status)))?
            .into_inner();
        let kept = KeptIdentity {
            chain: chain.clone(),
            key: request.key.secret_der().to_vec(),
            roots: roots.clone(),
        };
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        let svid = Svid::new(chain, request.key)?;
        tracing::info!(id = %svid.id, "certified");
        self.identity.set(svid, &TrustBundle { roots })?;
        self.keep(kept).await;
        Ok(())
    }

    /// Puts the kept certificate in force, if there is one that is still valid. Says whether it
    /// did.
    pub fn restore(&self) -> bool {
        let kept = self.keep_dir.as_deref();
        let kept = kept.and_then(|dir| KeptIdentity::load(dir, host::wall_clock()));
        kept.is_some_and(|(svid, bundle)| {
            let id = svid.id.clone();
            match self.identity.set(svid, &bundle) {
                Ok(()) => tracing::info!(%id, "going on with the kept identity"),
                Err(error) => tracing::warn!(%id, %error, "the kept identity is unusable"),
            }
            self.identity.current().is_some()
        })
    }

    /// Failing costs the identity at a restart without the controller, nothing before.
    async fn keep(&self, kept: KeptIdentity) {
        let Some(dir) = self.keep_dir.clone() else {
            return;
        };
        let path = dir.clone();
        if let Err(error) = host::blocking(move || kept.save(&dir)).await {
            tracing::warn!(path = %path.display(), %error, "the identity is not kept");
        }
    }

    /// Trusts the bundle in force, which rotates; before there is one, or when it leads nowhere,
    /// the one on disk.
    async fn dial(&self) -> Result<Channel, CertifyError> {
        let controller = &self.controller;
        let identity = &controller.identity;
        if let Some(credentials) = self.identity.current() {
            let tls = credentials.control_client_config(identity);
            match Channel::dial(controller, tls).await {
                Ok(channel) => return Ok(channel),
                Err(error) => tracing::debug!(%error, "trying the bundle on disk"),
            }
        }
        let roots = read(&self.roots_file, MAX_ROOTS).await?;
        let tls: Arc<_> = bootstrap_client_config(&roots, identity)?;
        Ok(Channel::dial(controller, tls).await?)
    }

    /// Starts from the kept certificate, gets a fresh one, renews it at 50 to 80 % of its life, and takes over trust bundles as
    /// the discovery stream brings them. Runs until it is dropped.
    pub async fn run(self, discovery: &DiscoveryClient) {
        self.restore();
        tokio::select! {
            biased;
            () = self.stay_certified() => {}
            () = self.follow_trust(discovery) => {}
        }
    }

    async fn stay_certified(&self) {
        let mut failures = 0;
        loop {
            let certified = self.certify().await;
            self.identity.count_request(certified.is_ok());
            let delay = match certified {
                Ok(()) => {
                    failures = 0;
                    let current = self.identity.ready().await;
                    let (from, until) = (current.not_before, current.not_after);
                    renewal_delay(from, until, host::wall_clock(), fastrand::f64())
                }
                Err(error) => {
                    failures += 1;
                    let delay = retry_delay(failures, fastrand::f64());
                    tracing::warn!(%error, retry_in = %units::duration::rounded(delay), "no certificate");
                    delay
                }
            };
            tokio::time::sleep(delay).await;
        }
    }

    async fn follow_trust(&self, discovery: &DiscoveryClient) {
        let trust_domain = self.controller.identity.trust_domain();
        let mut bundles = discovery.trust_bundle(trust_domain);
        self.identity.ready().await;
        loop {
            if let State::Present(bundle) = bundles.current()
                && let Err(error) = self.identity.set_trust(&bundle)
            {
                tracing::warn!(%error, "the trust bundle is not taken over");
            }
            bundles.changed().await;
        }
    }
}

async fn read(path: &Path, most: u64) -> Result<String, CertifyError> {
    host::read_to_string(path, most)
        .await
        .map_err(|source| CertifyError::Read {
            path: path.to_owned(),
            source,
        })
}
