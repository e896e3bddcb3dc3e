//! The data plane's handle on what the control plane knows.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use super::{
    connection,
    model::{Destination, Endpoints, Service, ServiceKey, TrustBundle, Workload},
    resource::{Discovered, Named, Resource, ResourceName},
    snapshot,
    subscription::{Known, Subscription},
    table::Table,
};
use crate::host::{self, watch};
use crate::identity::{IdentityStore, InvalidSpiffeId, SpiffeId};

/// Where the controller is, and who it must be.
#[derive(Clone, Debug)]
pub struct Controller {
    /// `host:port`; a name is looked up at every connection.
    pub address: String,
    pub identity: SpiffeId,
    /// SO_MARK of the connections to it, where interception knows the proxy's own traffic by that.
    pub mark: Option<u32>,
}

/// The namespace in the controller's identity where nobody says otherwise.
pub const CONTROLLER_NAMESPACE: &str = "outrigger-system";

/// Who the controller is, in the trust domain that it serves from a namespace.
///
/// # Errors
/// When the trust domain or the namespace is not one.
pub fn controller_id(trust_domain: &str, namespace: &str) -> Result<SpiffeId, InvalidSpiffeId> {
    SpiffeId::new(trust_domain, namespace, "outrigger-controller")
}

/// How to follow the controller.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    pub controller: Controller,
    pub identity: IdentityStore,
    /// How the controller's log calls this process, for example the pod's name.
    pub node: String,
    /// Where the last known resources are kept; `None`: nowhere.
    pub snapshot_dir: Option<PathBuf>,
    /// How long a resource is kept that nobody holds.
    pub idle_after: Duration,
    /// Resources beyond this are [`Absent`](super::State::Absent), and counted.
    pub max_subscriptions: usize,
}

impl ClientOptions {
    /// With no snapshot, resources forgotten after 5 minutes, and at most 10,000 of them.
    pub fn new(controller: Controller, identity: IdentityStore, node: impl Into<String>) -> Self {
        Self {
            controller,
            identity,
            node: node.into(),
            snapshot_dir: None,
            idle_after: Duration::from_secs(300),
            max_subscriptions: 10_000,
        }
    }
}

/// How the client is doing, for metrics and the admin port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether a stream to the controller is open.
    pub connected: bool,
    /// When the controller last sent something.
    pub last_update: Option<SystemTime>,
    /// Responses that came.
    pub updates: u64,
    /// Responses that were refused.
    pub nacks: u64,
    /// Why the last one was.
    pub last_refusal: Option<String>,
    /// Resources asked for, those in their idle time included.
    pub subscriptions: usize,
    /// Subscriptions beyond the limit.
    pub refused_subscriptions: u64,
}

/// Asks for resources and keeps them current. Cheap to clone, usable from every thread; the
/// [`Runner`] does the work.
#[derive(Clone, Debug)]
pub struct DiscoveryClient {
    table: Arc<Table>,
    health: Arc<Health>,
}

/// What the connection reports.
#[derive(Debug, Default)]
pub(super) struct Health {
    pub(super) connected: AtomicBool,
    pub(super) updates: AtomicU64,
    pub(super) nacks: AtomicU64,
    pub(super) last_refusal: Mutex<Option<String>>,
    pub(super) last_update: Mutex<Option<SystemTime>>,
    pub(super) changed: watch::Sender<()>,
}

impl DiscoveryClient {
    /// A client, and the runner that its owner has to drive. Reads the snapshot, if there is one.
    pub fn new(options: ClientOptions) -> (Self, Runner) {
        let saved = options.snapshot_dir.as_deref().map(snapshot::load);
        let client = Self {
            table: Table::new(
                saved.unwrap_or_default(),
                Known::Pending,
                options.max_subscriptions,
            ),
            health: Arc::default(),
        };
        let runner = Runner {
            client: client.clone(),
            options,
        };
        (client, runner)
    }

    /// A client that knows these resources and no others, without a controller: for tests, and
    /// for tools that show a registry.
    pub fn fixed(resources: impl IntoIterator<Item = Named>) -> Self {
        Self {
            table: Table::new(resources, Known::Absent, usize::MAX),
            health: Arc::default(),
        }
    }

    /// Puts a resource in, or takes it out, as the controller would.
    pub fn publish(&self, name: ResourceName, resource: Option<Resource>) {
        self.table.publish(name, resource);
    }

    /// What an original destination address stands for.
    pub fn destination(&self, addr: SocketAddr) -> Subscription<Destination> {
        self.subscribe(&ResourceName::destination(addr))
    }

    pub fn service(&self, key: &ServiceKey) -> Subscription<Service> {
        self.subscribe(&ResourceName::service(key))
    }

    pub fn endpoints(&self, key: &ServiceKey) -> Subscription<Endpoints> {
        self.subscribe(&ResourceName::endpoints(key))
    }

    pub fn workload(&self, id: &SpiffeId) -> Subscription<Workload> {
        self.subscribe(&ResourceName::workload(id))
    }

    pub fn trust_bundle(&self, trust_domain: &str) -> Subscription<TrustBundle> {
        self.subscribe(&ResourceName::trust_bundle(trust_domain))
    }

    /// The resources at hand, in order of their names: for the admin port.
    pub fn resources(&self) -> Vec<Named> {
        self.table.present()
    }

    pub fn status(&self) -> Status {
        let last_update = self.health.last_update.lock();
        let last_refusal = self.health.last_refusal.lock();
        Status {
            connected: self.health.connected.load(Relaxed),
            last_update: *last_update.unwrap_or_else(PoisonError::into_inner),
            updates: self.health.updates.load(Relaxed),
            nacks: self.health.nacks.load(Relaxed),
            last_refusal: last_refusal.unwrap_or_else(PoisonError::into_inner).clone(),
            subscriptions: self.table.len(),
            refused_subscriptions: self.table.refused(),
        }
    }

    /// Tells of every change of [`connected`](Status::connected) and [`nacks`](Status::nacks).
    pub fn status_changes(&self) -> watch::Receiver<()> {
        self.health.changed.subscribe()
    }

    fn subscribe<T: Discovered>(&self, name: &ResourceName) -> Subscription<T> {
        debug_assert_eq!(name.kind, T::KIND);
        match self.table.acquire(name) {
            Some((known, lease)) => Subscription::new(known, Some(lease)),
            None => Subscription::new(watch::channel(Known::Absent).1, None),
        }
    }
}

/// The client's background work: the stream, the idle time and the snapshot.
#[derive(Debug)]
pub struct Runner {
    client: DiscoveryClient,
    options: ClientOptions,
}

impl Runner {
    /// Runs until it is dropped.
    pub async fn run(self) {
        let DiscoveryClient { table, health } = self.client;
        let options = self.options;
        let snapshot = async {
            match &options.snapshot_dir {
                Some(dir) => snapshot::keep(dir.clone(), table.clone()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = connection::stay_connected(&options, &table, &health) => {}
            () = forget_idle(&table, options.idle_after) => {}
            () = snapshot => {}
        }
    }
}

async fn forget_idle(table: &Table, idle_after: Duration) {
    let mut ticks = tokio::time::interval((idle_after / 10).max(Duration::from_millis(10)));
    loop {
        ticks.tick().await;
        table.forget_idle(host::now(), idle_after);
    }
}
