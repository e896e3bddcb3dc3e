//! The identity in force: swapped whole, while connections made with the last one live on.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::SystemTime,
};

use arc_swap::ArcSwapOption;
use rustls::{ClientConfig, ServerConfig};

use super::{Alpn, InvalidTrustBundle, SpiffeId, Svid, TrustAnchors, tls};
use crate::discovery::model::TrustBundle;
use crate::host::watch;

/// Client configurations kept per [`Credentials`]. A workload that talks to more identities than
/// this builds some of them again.
const MAX_CLIENT_CONFIGS: usize = 1024;

/// One certificate with one trust bundle, and the TLS configurations made of them.
#[derive(Debug)]
pub struct Credentials {
    pub id: SpiffeId,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    svid: Svid,
    anchors: TrustAnchors,
    server: OnceLock<Arc<ServerConfig>>,
    control_server: OnceLock<Arc<ServerConfig>>,
    clients: Mutex<HashMap<(SpiffeId, Alpn), Arc<ClientConfig>>>,
}

impl Credentials {
    fn new(svid: Svid, anchors: TrustAnchors) -> Self {
        Self {
            id: svid.id.clone(),
            not_before: svid.not_before,
            not_after: svid.not_after,
            svid,
            anchors,
            server: OnceLock::new(),
            control_server: OnceLock::new(),
            clients: Mutex::default(),
        }
    }

    /// For mesh TLS coming in: the client must be of the trust domain, and names its protocol by
    /// one of the [`Alpn`]s.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        self.server
            .get_or_init(|| tls::mesh_server(&self.svid, self.anchors.clone()))
            .clone()
    }

    /// For mesh TLS going out: the server must be `expected`.
    pub fn client_config(&self, expected: &SpiffeId, alpn: Alpn) -> Arc<ClientConfig> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (expected.clone(), alpn);
        if let Some(config) = clients.get(&key) {
            return config.clone();
        }
        if clients.len() >= MAX_CLIENT_CONFIGS {
            clients.clear();
        }
        let config = tls::mesh_client(&self.svid, self.anchors.clone(), expected, alpn);
        clients.insert(key, config.clone());
        config
    }

    /// For the controller's gRPC server. A client may come without a certificate, as one must that
    /// has yet to get it: who did is told by [`peer_id`](super::peer_id).
    pub fn control_server_config(&self) -> Arc<ServerConfig> {
        self.control_server
            .get_or_init(|| tls::control_server(&self.svid, self.anchors.clone()))
            .clone()
    }

    /// For gRPC to the controller, which must be `expected`.
    pub fn control_client_config(&self, expected: &SpiffeId) -> Arc<ClientConfig> {
        tls::control_client(&self.svid, self.anchors.clone(), expected)
    }
}

/// Where every part of the process finds the credentials of the moment. Cheap to clone; reading
/// takes no lock.
#[derive(Clone, Debug, Default)]
pub struct IdentityStore(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    current: ArcSwapOption<Credentials>,
    /// Held while the next credentials are derived from the last.
    writing: Mutex<()>,
    changed: watch::Sender<()>,
    obtained: AtomicU64,
    failed: AtomicU64,
}

/// How often a certificate was asked for since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requests {
    pub obtained: u64,
    pub failed: u64,
}

/// Why new credentials were not put in force; the last ones stay.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    #[error(transparent)]
    TrustBundle(#[from] InvalidTrustBundle),
    #[error("a trust bundle came before the first certificate: it takes effect with that one")]
    NoIdentity,
}

impl IdentityStore {
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a request for a certificate, and whether it got one.
    pub fn count_request(&self, obtained: bool) {
        let counter = match obtained {
            true => &self.0.obtained,
            false => &self.0.failed,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub fn requests(&self) -> Requests {
        Requests {
            obtained: self.0.obtained.load(Relaxed),
            failed: self.0.failed.load(Relaxed),
        }
    }

    /// Puts a certificate and the trust bundle that came with it in force.
    ///
    /// # Errors
    /// When the bundle cannot be read.
    pub fn set(&self, svid: Svid, bundle: &TrustBundle) -> Result<(), StoreError> {
        let anchors = TrustAnchors::from_pem(&bundle.roots)?;
        let _writing = self
            .0
            .writing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.publish(Credentials::new(svid, anchors));
        Ok(())
    }

    /// Replaces the trust bundle, keeping the certificate.
    ///
    /// # Errors
    /// When the bundle cannot be read, or there is no certificate yet.
    pub fn set_trust(&self, bundle: &TrustBundle) -> Result<(), StoreError> {
        let anchors = TrustAnchors::from_pem(&bundle.roots)?;
        let _writing = self
            .0
            .writing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let current = self.current().ok_or(StoreError::NoIdentity)?;
        self.publish(Credentials::new(current.svid.clone(), anchors));
        Ok(())
    }

    /// The credentials for the next handshake; `None` before the first certificate.
    pub fn current(&self) -> Option<Arc<Credentials>> {
        self.0.current.load_full()
    }

    /// Waits for the first certificate.
    pub async fn ready(&self) -> Arc<Credentials> {
        let mut changes = self.changes();
        loop {
            if let Some(credentials) = self.current() {
                return credentials;
            }
            changes
                .changed()
                .await
                .expect("the sender lives in the store that is borrowed here");
        }
    }

    /// Tells of every later [`set`](Self::set) and [`set_trust`](Self::set_trust).
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    fn publish(&self, credentials: Credentials) {
        self.0.current.store(Some(Arc::new(credentials)));
        self.0.changed.send_replace(());
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
