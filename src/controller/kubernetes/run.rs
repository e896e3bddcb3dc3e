//! The controller on Kubernetes: its parts put together, and kept going.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use kube::Client;
use tokio::{net::TcpListener, task::JoinSet};

use super::{
    authenticate::TokenReviews,
    config::MeshConfig,
    custody::Custody,
    events::Events,
    injector,
    leader::{Campaign, Leadership},
    registry::{self, Registry},
    replicas::Replicas,
    roots,
    status_writer::StatusWriter,
    webhook_keeper::WebhookKeeper,
};
use crate::{
    controller::{
        OwnCertificateError, Store, authority::Authority, injection,
        own_certificate::OwnCertificate, server::Server,
    },
    discovery::controller_id,
    identity::{IdentityStore, InvalidSpiffeId, SpiffeId},
    telemetry::{
        admin::Admin,
        logging::LogLevel,
        metrics::ControlPlane,
        readiness::{Block, Readiness},
        tap::Taps,
    },
};

const LEASE: &str = "outrigger-controller";

/// How to run.
pub struct Options {
    pub config: MeshConfig,
    /// The namespace that the controller is installed in.
    pub namespace: String,
    /// Another for every replica.
    pub pod: String,
    /// Where proxies connect.
    pub listen: Listen,
    /// Where the API server asks for injection.
    pub webhook_listen: Listen,
    pub admin: Listen,
    pub log_level: LogLevel,
}

/// An address to listen on.
#[derive(Clone, Copy, Debug)]
pub enum Listen {
    At(SocketAddr),
    /// Every address of either family.
    Everywhere(u16),
}

/// Why the controller cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    #[error(
        "no Kubernetes to run on ({0}): run it in a pod, set KUBECONFIG, or give --registry FILE \
         where there is no Kubernetes"
    )]
    NoCluster(Box<dyn std::error::Error + Send + Sync>),
    #[error("the trust domain {0:?} of the configuration cannot be in an identity: {1}")]
    TrustDomain(String, InvalidSpiffeId),
    #[error("{addr} cannot be listened on: {source}: is another controller running?")]
    Listen { addr: SocketAddr, source: io::Error },
    #[error(transparent)]
    OwnCertificate(#[from] OwnCertificateError),
    #[error("the controller's part {part} {how}; without it the mesh would decay unseen")]
    Part { part: &'static str, how: String },
}

impl Listen {
    /// # Errors
    /// When the address is taken, or not one of this machine.
    pub async fn bind(self) -> Result<TcpListener, RunError> {
        let bind = async |addr: SocketAddr| {
            let bound = TcpListener::bind(addr).await;
            bound.map_err(|source| RunError::Listen { addr, source })
        };
        match self {
            Self::At(addr) => bind(addr).await,
            // Where the machine has no IPv6, IPv4 is everything.
            Self::Everywhere(port) => match bind((Ipv6Addr::UNSPECIFIED, port).into()).await {
                Ok(listener) => Ok(listener),
                Err(_) => bind((Ipv4Addr::UNSPECIFIED, port).into()).await,
            },
        }
    }
}

/// The parts that run until the process ends. One that ends by itself, or panics, ends it.
#[derive(Default)]
struct Parts(JoinSet<Result<Infallible, RunError>>);

impl Parts {
    fn add(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(async move {
            part.await;
            let how = "ended".to_owned();
            Err(RunError::Part { part: name, how })
        });
    }

    fn add_fallible(
        &mut self,
        part: impl Future<Output = Result<Infallible, RunError>> + Send + 'static,
    ) {
        self.0.spawn(part);
    }

    /// The first end of any.
    async fn ended(&mut self) -> RunError {
        match self.0.join_next().await {
            Some(Ok(Err(error))) => error,
            Some(Ok(Ok(never))) => match never {},
            Some(Err(panic)) => RunError::Part {
                part: "task",
                how: format!("panicked: {panic}"),
            },
            None => std::future::pending().await,
        }
    }
}

/// Runs until `shutdown` completes; every connection is closed then.
///
/// # Errors
/// When it cannot start, or a part of it has failed.
pub async fn run(options: Options, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    let trust_domain = &options.config.trust_domain;
    let id = controller_id(trust_domain, &options.namespace)
        .map_err(|error| RunError::TrustDomain(trust_domain.clone(), error))?;
    let client = connect().await?;
    let metrics = ControlPlane::default();
    let store = Store::with_figures(metrics.figures().clone());
    let registry = Registry::new(client.clone(), store.clone(), &options.config)
        .map_err(|error| RunError::TrustDomain(trust_domain.clone(), error))?;
    let mut campaign = Campaign::new(
        client.clone(),
        &options.namespace,
        LEASE,
        &options.pod,
        metrics.figures().clone(),
    );
    let mut controller = Controller {
        leadership: campaign.leadership(),
        cluster: registry.handle(),
        readiness: Readiness::default(),
        parts: Parts::default(),
        id,
        options,
        client,
        metrics,
        store,
    };
    // Blocks first: ready is what all parts are.
    let webhook = WebhookKeeper::new(&controller.client, &controller.options.namespace);
    let webhook = Arc::new(webhook);
    let custody = controller.keep_authority(&webhook);
    controller.serve_webhook(webhook.clone(), &custody).await?;
    controller.write_what_became(webhook);
    controller.serve_proxies(custody).await?;
    controller.show_health().await?;
    controller.parts.add("registry", registry.run());

    let ended = tokio::select! {
        () = shutdown => Ok(()),
        () = campaign.run() => Ok(()),
        error = controller.parts.ended() => Err(error),
    };
    campaign.release().await;
    ended
}

/// What the parts have in common.
struct Controller {
    options: Options,
    id: SpiffeId,
    client: Client,
    metrics: ControlPlane,
    store: Arc<Store>,
    cluster: registry::Handle,
    leadership: Leadership,
    readiness: Readiness,
    parts: Parts,
}

impl Controller {
    async fn show_health(&mut self) -> Result<(), RunError> {
        let (metrics, config) = (self.metrics.clone(), self.options.config.clone());
        let admin = Admin {
            metrics: Box::new(move || metrics.encode()),
            readiness: self.readiness.clone(),
            log_level: self.options.log_level.clone(),
            config: Box::new(move || serde_json::to_value(&config).unwrap_or_default()),
            // No traffic passes here: a tap shows none.
            taps: Taps::default(),
            // Without a token file nothing can be changed through the port, a drain included.
            drain: Box::new(|| {}),
            token_file: None,
            displaced: self.metrics.figures().port_connections_displaced.clone(),
        };
        let listener = self.options.admin.bind().await?;
        self.parts.add("admin port", async move {
            if let Err(error) = admin.serve(listener).await {
                tracing::error!(%error, "the admin port has failed");
            }
        });
        Ok(())
    }

    /// The authority, and its trust bundle where pods mount it.
    fn keep_authority(&mut self, webhook: &Arc<WebhookKeeper>) -> Arc<Custody> {
        let namespace = self.options.namespace.clone();
        let figures = self.metrics.figures().clone();
        let custody = Custody::new(&self.client, &namespace, &self.options.config, figures);
        let custody = Arc::new(custody);
        let part = custody.clone();
        self.parts
            .add("authority", async move { part.follow().await });
        let (part, leads) = (custody.clone(), self.leadership.clone());
        self.parts.add("authority keeper", async move {
            leads.while_leading(|| part.keep()).await;
        });
        let (part, leads) = (custody.clone(), self.leadership.clone());
        let (client, webhook) = (self.client.clone(), webhook.clone());
        self.parts.add("trust bundle copies", async move {
            let copy = || roots::copy(client.clone(), &namespace, part.published());
            leads.while_leading(|| webhook.while_ours(copy)).await;
        });
        custody
    }

    async fn serve_webhook(
        &mut self,
        keeper: Arc<WebhookKeeper>,
        custody: &Custody,
    ) -> Result<(), RunError> {
        let part = keeper.clone();
        self.parts
            .add("webhook certificate", async move { part.follow().await });
        let (part, leads) = (keeper.clone(), self.leadership.clone());
        self.parts.add("webhook certificate keeper", async move {
            leads.while_leading(|| part.keep()).await;
        });
        let injector = injector::webhook(&self.client, &self.options.config, custody.published());
        let listener = self.options.webhook_listen.bind().await?;
        let waiting = self.readiness.block("webhook certificate");
        self.parts.add("webhook", async move {
            let tls = keeper.serving().await;
            drop(waiting);
            if let Err(error) = injection::webhook::serve(listener, tls, injector).await {
                tracing::error!(%error, "the webhook has failed");
            }
        });
        Ok(())
    }

    /// Statuses and Events.
    fn write_what_became(&mut self, webhook: Arc<WebhookKeeper>) {
        let figures = self.metrics.figures().clone();
        let events = Events {
            client: self.client.clone(),
            pod: self.options.pod.clone(),
            findings: self.cluster.findings(),
            figures: figures.clone(),
        };
        self.parts.add("events", events.run(self.store.refusals()));
        let replicas = Replicas::new(
            &self.client,
            &self.options.namespace,
            &self.options.pod,
            self.store.clone(),
            self.cluster.findings(),
        );
        let statuses = StatusWriter {
            client: self.client.clone(),
            findings: self.cluster.findings(),
            counts: replicas.counts(),
            figures,
        };
        self.parts.add("counts", replicas.run());
        let (leads, cluster) = (self.leadership.clone(), self.cluster.clone());
        self.parts.add("statuses", async move {
            cluster.synced().await;
            let write = || statuses.run();
            leads.while_leading(|| webhook.while_ours(write)).await;
        });
    }

    async fn serve_proxies(&mut self, custody: Arc<Custody>) -> Result<(), RunError> {
        let service = Service {
            id: self.id.clone(),
            lifetime: self.options.config.certificate_lifetime,
            client: self.client.clone(),
            custody,
            cluster: self.cluster.clone(),
            store: self.store.clone(),
            authority: self.readiness.block("certificate authority"),
            registry: self.readiness.block("registry"),
        };
        let listener = self.options.listen.bind().await?;
        self.parts.add_fallible(service.run(listener));
        Ok(())
    }
}

/// A connection on which the API server says nothing for so long is dead: a node that vanished
/// resets none. Watches hear a bookmark every minute.
const SILENCE: Duration = Duration::from_secs(90);

async fn connect() -> Result<Client, RunError> {
    let config = kube::Config::infer().await;
    let mut config = config.map_err(|error| RunError::NoCluster(error.into()))?;
    config.read_timeout = Some(SILENCE);
    // Or the time that a connection was idle would count.
    config.reset_reader_on_write = true;
    Client::try_from(config).map_err(|error| RunError::NoCluster(error.into()))
}

/// What proxies talk to.
struct Service {
    id: SpiffeId,
    /// How long workloads' certificates are valid.
    lifetime: Duration,
    client: Client,
    custody: Arc<Custody>,
    cluster: registry::Handle,
    store: Arc<Store>,
    /// What is still missing.
    authority: Block,
    registry: Block,
}

impl Service {
    /// Serves once there is all that a proxy needs: an answer from half a registry would be wrong.
    async fn run(self, listener: TcpListener) -> Result<Infallible, RunError> {
        let ca = async {
            let ca = self.custody.authority().await;
            drop(self.authority);
            ca
        };
        let synced = async {
            self.cluster.synced().await;
            drop(self.registry);
        };
        let (ca, ()) = tokio::join!(ca, synced);
        let own = OwnCertificate {
            ca: ca.clone(),
            id: self.id,
            lifetime: self.lifetime,
            identity: IdentityStore::new(),
            store: self.store.clone(),
        };
        own.renew()?;
        let verifier = Arc::new(TokenReviews::new(self.client, ca.trust_domain()));
        let authority = Authority::new(ca, verifier, self.lifetime, self.store.figures().clone());
        let server = Server::new(listener, own.identity.clone(), self.store, authority);
        tracing::info!(id = %own.id, "serving proxies");
        tokio::join!(server.run(), own.keep_fresh());
        unreachable!("neither has an end")
    }
}
