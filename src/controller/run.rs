//! The controller without Kubernetes: its parts put together, and kept going.

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{net::TcpListener, sync::watch, time::Instant};

use super::{
    authority::{Authority, ListedTokens},
    registry_file::{InvalidRegistry, Mistake, Registry},
    server::Server,
    store::Store,
    watch as file,
};
use crate::{
    discovery::{
        controller_id,
        model::TrustBundle,
        resource::{Kind, Resource},
        validate::Problem,
    },
    identity::{
        CertificateRequest, IdentityStore, InvalidSvid, SpiffeId, Svid,
        ca::{CaError, CertificateAuthority, DEFAULT_LIFETIME},
        renew::renewal_delay,
        store::StoreError,
    },
};

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    pub registry: PathBuf,
    pub listen: SocketAddr,
    pub ca_dir: PathBuf,
    /// How long workloads' certificates are valid.
    pub lifetime: Duration,
    /// How often the registry file is read.
    pub poll: Duration,
    /// How often the authority's directory is read for what an operator replaced.
    pub ca_poll: Duration,
}

impl Options {
    /// With certificates for 24 hours, a look at the registry four times in a second and at the
    /// authority every 10 s.
    pub fn new(registry: PathBuf, listen: SocketAddr, ca_dir: PathBuf) -> Self {
        Self {
            registry,
            listen,
            ca_dir,
            lifetime: DEFAULT_LIFETIME,
            poll: Duration::from_millis(250),
            ca_poll: Duration::from_secs(10),
        }
    }
}

/// Why the controller cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    #[error("{path} cannot be read: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Registry(#[from] InvalidRegistry),
    #[error("{addr} cannot be listened on: {source}: is another controller running?")]
    Listen { addr: SocketAddr, source: io::Error },
    #[error(transparent)]
    Authority(#[from] CaError),
    #[error("the authority's own certificate cannot be used: {0}")]
    Svid(#[from] InvalidSvid),
    #[error("the authority's own certificate cannot be used: {0}")]
    Identity(#[from] StoreError),
}

/// What became of the registry file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Edits put in force since the start.
    pub accepted: u64,
    /// Edits refused since the start.
    pub refused: u64,
    /// Why the file as it is now is refused, if it is.
    pub mistake: Option<InvalidRegistry>,
}

/// A controller that is bound and ready to serve.
pub struct Controller {
    options: Options,
    server: Server,
    store: Arc<Store>,
    tokens: Arc<ListedTokens>,
    ca: Arc<CertificateAuthority>,
    identity: IdentityStore,
    id: SpiffeId,
    text: String,
    status: watch::Sender<Status>,
}

impl Controller {
    /// Reads the registry, opens the authority, and listens.
    ///
    /// # Errors
    /// When any of them fails: there is no last good state to go on with yet.
    pub async fn bind(options: Options) -> Result<Self, RunError> {
        let (text, registry) = read(&options.registry)?;
        let ca = CertificateAuthority::load_or_create(&options.ca_dir, &registry.trust_domain)?;
        let ca = Arc::new(ca);
        let id = controller_id(&registry.trust_domain)
            .map_err(|_| CaError::TrustDomain(registry.trust_domain.clone()))?;
        let identity = IdentityStore::new();
        SelfCertified {
            ca: &ca,
            id: &id,
            lifetime: options.lifetime,
            identity: &identity,
        }
        .renew()?;

        let listener =
            TcpListener::bind(options.listen)
                .await
                .map_err(|source| RunError::Listen {
                    addr: options.listen,
                    source,
                })?;
        let store = Store::new();
        let tokens = Arc::new(ListedTokens::default());
        let authority = Authority {
            ca: ca.clone(),
            verifier: tokens.clone(),
            lifetime: options.lifetime,
        };
        let server = Server::new(listener, identity.clone(), store.clone(), authority);
        publish_roots(&store, &ca);
        store.replace(registry.resources, &[Kind::TrustBundle]);
        tokens.replace(registry.tokens);
        Ok(Self {
            options,
            server,
            store,
            tokens,
            ca,
            identity,
            id,
            text,
            status: watch::Sender::default(),
        })
    }

    /// # Errors
    /// When the socket has no address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.server.local_addr()
    }

    /// The trust bundle, PEM: what a workload needs to trust this controller.
    pub fn roots_pem(&self) -> String {
        self.ca.roots_pem()
    }

    pub fn store(&self) -> Arc<Store> {
        self.store.clone()
    }

    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Serves until `shutdown` completes; every connection is closed then.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Options {
            registry,
            lifetime,
            poll,
            ca_poll,
            ..
        } = self.options;
        let authority = SelfCertified {
            ca: &self.ca,
            id: &self.id,
            lifetime,
            identity: &self.identity,
        };
        let trust_domain = self.ca.trust_domain().to_owned();
        let reload = |text: &str| {
            let parsed = Registry::parse(&registry, text)
                .and_then(|parsed| same_trust_domain(&registry, &trust_domain, parsed));
            self.status.send_modify(|status| match parsed {
                Ok(parsed) => {
                    let changed = self.store.replace(parsed.resources, &[Kind::TrustBundle]);
                    self.tokens.replace(parsed.tokens);
                    tracing::info!(changed, "the registry has changed");
                    status.accepted += 1;
                    status.mistake = None;
                }
                Err(mistake) => {
                    tracing::error!("the edit is refused, the last good state stays:\n{mistake}");
                    status.refused += 1;
                    status.mistake = Some(mistake);
                }
            });
        };
        tokio::select! {
            () = shutdown => {}
            () = self.server.run() => {}
            () = file::follow(&registry, poll, self.text, reload) => {}
            () = authority.follow(&self.store, ca_poll) => {}
        }
    }
}

/// Reads and checks a registry file.
///
/// # Errors
/// When it cannot be read, or has mistakes.
pub fn read(path: &std::path::Path) -> Result<(String, Registry), RunError> {
    let text = std::fs::read_to_string(path).map_err(|source| RunError::Read {
        path: path.to_owned(),
        source,
    })?;
    let registry = Registry::parse(path, &text)?;
    Ok((text, registry))
}

fn same_trust_domain(
    file: &std::path::Path,
    current: &str,
    registry: Registry,
) -> Result<Registry, InvalidRegistry> {
    if registry.trust_domain == current {
        return Ok(registry);
    }
    let reason = format!(
        "is {:?}, but the controller runs for {current:?}: to change it, restart with another --ca-dir",
        registry.trust_domain
    );
    Err(InvalidRegistry {
        file: file.to_owned(),
        mistakes: vec![Mistake {
            position: super::locate::Position::START,
            problem: Problem::new("trustDomain", reason),
        }],
    })
}

fn publish_roots(store: &Store, ca: &CertificateAuthority) -> usize {
    let roots = ca.roots_pem();
    let (name, bundle) = Resource::trust_bundle(ca.trust_domain(), TrustBundle { roots });
    store.apply([(name, Some(bundle))])
}

/// The controller's own certificate, from its own authority.
struct SelfCertified<'a> {
    ca: &'a CertificateAuthority,
    id: &'a SpiffeId,
    lifetime: Duration,
    identity: &'a IdentityStore,
}

impl SelfCertified<'_> {
    fn renew(&self) -> Result<(), RunError> {
        let request = CertificateRequest::generate();
        let now = SystemTime::now();
        let chain = self
            .ca
            .sign(self.id, &request.csr_der, self.lifetime, now)?;
        let roots = self.ca.roots_pem();
        let svid = Svid::new(chain, request.key)?;
        self.identity.set(svid, &TrustBundle { roots })?;
        Ok(())
    }

    /// Follows the authority's directory, publishes its roots, and keeps the certificate fresh.
    async fn follow(&self, store: &Store, period: Duration) {
        loop {
            let credentials = self.identity.ready().await;
            let (from, until) = (credentials.not_before, credentials.not_after);
            let due = renewal_delay(from, until, SystemTime::now(), fastrand::f64());
            let renew_at = Instant::now() + due;
            while Instant::now() < renew_at {
                tokio::time::sleep(period.min(due)).await;
                if let Err(error) = self.ca.reload() {
                    tracing::warn!(%error, "the authority goes on with what it has");
                }
                if publish_roots(store, self.ca) > 0 {
                    tracing::info!("the trust bundle has changed");
                    break;
                }
            }
            if let Err(error) = self.renew() {
                tracing::error!(%error, "the controller's own certificate was not renewed");
            }
        }
    }
}
