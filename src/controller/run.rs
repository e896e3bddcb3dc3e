//! The controller without Kubernetes: its parts put together, and kept going.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{
    authority::{Authority, ListedTokens},
    own_certificate::{OwnCertificate, OwnCertificateError},
    registry_file::{InvalidRegistry, Mistake, Registry},
    server::Server,
    store::Store,
    watch as file,
};
use crate::{
    discovery::{CONTROLLER_NAMESPACE, controller_id, resource::Kind, validate::Problem},
    host::{self, net::TcpListener},
    identity::{
        IdentityStore,
        ca::{CaDirectory, CaError, DEFAULT_LIFETIME},
    },
};

/// The largest registry that is read, in bytes: about 100,000 endpoints.
const MAX_REGISTRY: u64 = 16 << 20;

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
    #[error(transparent)]
    OwnCertificate(#[from] OwnCertificateError),
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
    files: CaDirectory,
    own: OwnCertificate,
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
        let files = CaDirectory::load_or_create(&options.ca_dir, &registry.trust_domain)?;
        let ca = files.authority().clone();
        let id = controller_id(&registry.trust_domain, CONTROLLER_NAMESPACE)
            .map_err(|_| CaError::TrustDomain(registry.trust_domain.clone()))?;
        let store = Store::new();
        let own = OwnCertificate {
            ca: ca.clone(),
            id,
            lifetime: options.lifetime,
            identity: IdentityStore::new(),
            store: store.clone(),
        };
        own.renew()?;

        let listener =
            TcpListener::bind(options.listen)
                .await
                .map_err(|source| RunError::Listen {
                    addr: options.listen,
                    source,
                })?;
        let tokens = Arc::new(ListedTokens::default());
        let authority = Authority::new(
            ca,
            tokens.clone(),
            options.lifetime,
            store.figures().clone(),
        );
        let server = Server::new(listener, own.identity.clone(), store.clone(), authority);
        store.replace(registry.resources, &[Kind::TrustBundle]);
        tokens.replace(registry.tokens);
        Ok(Self {
            options,
            server,
            store,
            tokens,
            files,
            own,
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
        self.own.ca.roots_pem()
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
            poll,
            ca_poll,
            ..
        } = self.options;
        let trust_domain = self.own.ca.trust_domain().to_owned();
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
            biased;
            () = shutdown => {}
            () = self.server.run() => {}
            () = file::follow(&registry, poll, MAX_REGISTRY, self.text, reload) => {}
            () = self.own.keep_fresh() => {}
            () = follow_files(&self.files, ca_poll) => {}
        }
    }
}

/// Reads and checks a registry file.
///
/// # Errors
/// When it cannot be read, or has mistakes.
pub fn read(path: &std::path::Path) -> Result<(String, Registry), RunError> {
    let text = host::file::read_to_string(path, MAX_REGISTRY).map_err(|source| RunError::Read {
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

/// Looks at the authority's directory for what an operator replaced. Never returns.
async fn follow_files(files: &CaDirectory, period: Duration) {
    loop {
        tokio::time::sleep(period).await;
        if let Err(error) = files.reload() {
            tracing::warn!(%error, "the authority goes on with what it has");
        }
    }
}
