//! The resources in force, and which stream is to be told of which change. A stream's backlog is
//! a set of names, so a slow proxy costs memory by what it subscribed to, not by what happened.

mod standing;
mod value;
mod view;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use tokio::sync::{Notify, broadcast, watch};

use crate::{
    discovery::{
        model::{Destination, Endpoint},
        resource::{Kind, Named, Resource, ResourceName, version},
    },
    host,
    identity::SpiffeId,
    ranges::PortRange,
    telemetry::metrics::Figures,
};

pub use self::{standing::Live, view::View};
use self::{standing::Standing, value::Value};

/// A resource as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub version: String,
    pub json: Vec<u8>,
}

impl Stored {
    fn new(value: &Resource) -> Arc<Self> {
        let json = value.to_json();
        Arc::new(Self {
            version: version(&json),
            json,
        })
    }
}

/// A meshed host: what every port of an address stands for that has no resource of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    pub identity: SpiffeId,
    pub zone: Option<Arc<str>>,
    /// Ports where something else than its sidecar answers: they are dialled in plaintext.
    pub bypassed: Arc<[PortRange]>,
}

impl Host {
    fn destination(&self, addr: SocketAddr) -> Resource {
        let bypassed = self
            .bypassed
            .iter()
            .any(|ports| ports.contains(addr.port()));
        let endpoint = Endpoint {
            addr,
            weight: 1,
            zone: self.zone.clone(),
            identity: (!bypassed).then(|| self.identity.clone()),
        };
        let destination = Destination::Endpoint {
            service: None,
            endpoint,
        };
        Resource::Destination(destination.into())
    }
}

/// The news about one name: a value, or that there is none.
pub type Delta = (Arc<str>, Option<Arc<Stored>>);

/// Shared by reference between the registry that fills it and the streams that read it.
#[derive(Debug, Default)]
pub struct Store {
    inner: Mutex<Inner>,
    /// Counts the responses that proxies refused.
    nacks: watch::Sender<u64>,
    refusals: Refusals,
    standings: AtomicU64,
    next_stream: AtomicU64,
    figures: Arc<Figures>,
}

/// A response that a proxy refused.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    /// What the proxy calls itself.
    pub node: String,
    pub reason: String,
    /// The resources that the reason is about.
    pub names: Vec<ResourceName>,
}

/// Refusals beyond this that nobody has taken are forgotten, the oldest first.
const MAX_REFUSALS: usize = 256;

#[derive(Debug)]
struct Refusals(broadcast::Sender<Arc<Refused>>);

impl Default for Refusals {
    fn default() -> Self {
        Self(broadcast::Sender::new(MAX_REFUSALS))
    }
}

#[derive(Debug, Default)]
struct Inner {
    resources: HashMap<ResourceName, Value>,
    hosts: HashMap<IpAddr, Host>,
    /// In order, so that those of one address are together.
    subscribers: BTreeMap<ResourceName, BTreeMap<u64, Standing>>,
    streams: HashMap<u64, Backlog>,
}

#[derive(Debug)]
struct Backlog {
    /// The namespace of the workload that reads.
    namespace: Arc<str>,
    /// Names whose news the stream has not taken, in order of kind.
    dirty: BTreeSet<ResourceName>,
    ready: Arc<Notify>,
}

impl Store {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// One whose figures are shown elsewhere.
    pub fn with_figures(figures: Arc<Figures>) -> Arc<Self> {
        Arc::new(Self {
            figures,
            ..Default::default()
        })
    }

    pub fn figures(&self) -> &Arc<Figures> {
        &self.figures
    }

    /// Puts exactly these resources in force, apart from the kinds in `keep`. Returns how many
    /// changed or went.
    pub fn replace(&self, resources: impl IntoIterator<Item = Named>, keep: &[Kind]) -> usize {
        let new: BTreeMap<_, _> = resources
            .into_iter()
            .map(|(name, value)| (name, Value::new(&value)))
            .collect();
        let mut inner = self.lock();
        // In order, for the order in which streams hear of it is everybody's order.
        let mut gone: Vec<_> = inner
            .resources
            .keys()
            .filter(|name| !new.contains_key(name) && !keep.contains(&name.kind))
            .cloned()
            .collect();
        gone.sort();
        let gone = gone.into_iter().map(|name| (name, None));
        let new = new.into_iter().map(|(name, value)| (name, Some(value)));
        gone.chain(new)
            .filter_map(|(name, value)| inner.put(&name, value).then_some(()))
            .count()
    }

    /// Puts single resources in force, or takes them out. Returns how many changed.
    pub fn apply(
        &self,
        changes: impl IntoIterator<Item = (ResourceName, Option<Resource>)>,
    ) -> usize {
        let changes: Vec<_> = changes
            .into_iter()
            .map(|(name, value)| (name, value.as_ref().map(Value::new)))
            .collect();
        let mut inner = self.lock();
        changes
            .into_iter()
            .filter_map(|(name, value)| inner.put(&name, value).then_some(()))
            .count()
    }

    /// Puts single hosts in force, or takes them out. Returns how many changed.
    pub fn apply_hosts(&self, changes: impl IntoIterator<Item = (IpAddr, Option<Host>)>) -> usize {
        let mut inner = self.lock();
        changes
            .into_iter()
            .filter(|(ip, host)| inner.put_host(*ip, host.clone()))
            .count()
    }

    /// The view of a stream to a workload of a namespace, with nothing subscribed.
    pub fn open(self: &Arc<Self>, namespace: &str) -> View {
        let id = self.next_stream.fetch_add(1, Relaxed);
        let ready = Arc::new(Notify::new());
        let backlog = Backlog {
            namespace: namespace.into(),
            dirty: BTreeSet::new(),
            ready: ready.clone(),
        };
        self.lock().streams.insert(id, backlog);
        View {
            store: self.clone(),
            id,
            ready,
            known: HashMap::new(),
            _counted: self.figures.streams.hold(),
        }
    }

    /// A proxy refused a response.
    pub fn refused(&self, refused: Refused) {
        self.figures.nacks.inc();
        self.nacks.send_modify(|nacks| *nacks += 1);
        // Nobody listens where nobody writes Events.
        let _ = self.refusals.0.send(Arc::new(refused));
    }

    /// The responses that proxies refuse from now on.
    pub fn refusals(&self) -> broadcast::Receiver<Arc<Refused>> {
        self.refusals.0.subscribe()
    }

    /// How many streams subscribe to any of the resources, and how many of them have acknowledged
    /// the current version of all that they subscribe to. Of the services of other namespaces
    /// than `namespace`, whose objects are asked about, its own workloads alone are told.
    pub fn live(&self, names: &[ResourceName], namespace: &str) -> Live {
        let inner = self.lock();
        let of_name = |name| Some((name, inner.subscribers.get(name)?));
        let standings = names.iter().filter_map(of_name);
        standing::live(standings.flat_map(|(name, standings)| {
            let all = name.kind != Kind::Service || of_namespace(name, namespace);
            let inner = &inner;
            standings
                .iter()
                .filter(move |(stream, _)| all || inner.reads_for(**stream, namespace))
        }))
    }

    /// Grows with whatever changes what [`live`](Self::live) answers.
    pub fn standings(&self) -> u64 {
        self.standings.load(Relaxed)
    }

    /// How many responses proxies refused.
    pub fn nacks(&self) -> watch::Receiver<u64> {
        self.nacks.subscribe()
    }

    /// How many streams are open.
    pub fn streams(&self) -> usize {
        self.lock().streams.len()
    }

    pub fn is_subscribed(&self, name: &ResourceName) -> bool {
        self.lock().subscribers.contains_key(name)
    }

    /// No holder of the lock panics between two states.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn put(&mut self, name: &ResourceName, value: Option<Value>) -> bool {
        if self.resources.get(name) == value.as_ref() {
            return false;
        }
        let old = match value {
            Some(value) => self.resources.insert(name.clone(), value),
            None => self.resources.remove(name),
        };
        let new = self.resources.get(name);
        fn version<'a>(value: Option<&'a Value>, namespace: &str) -> Option<&'a str> {
            value.map(|value| &*value.of(namespace).version)
        }
        tell(
            &mut self.subscribers,
            &mut self.streams,
            name,
            host::now(),
            |namespace| version(old.as_ref(), namespace) != version(new, namespace),
        );
        true
    }

    /// Whether a stream is to a workload of the namespace.
    fn reads_for(&self, stream: u64, namespace: &str) -> bool {
        let backlog = self.streams.get(&stream);
        backlog.is_some_and(|backlog| &*backlog.namespace == namespace)
    }

    fn put_host(&mut self, ip: IpAddr, host: Option<Host>) -> bool {
        if self.hosts.get(&ip) == host.as_ref() {
            return false;
        }
        match host {
            Some(host) => self.hosts.insert(ip, host),
            None => self.hosts.remove(&ip),
        };
        let first = ResourceName::destination(SocketAddr::new(ip, 0));
        // The names of an address begin alike.
        let prefix = first.name.strip_suffix('0').unwrap_or(&first.name);
        let subscribed = self
            .subscribers
            .range(ResourceName::new(first.kind, prefix)..);
        let names: Vec<_> = subscribed
            .map(|(name, _)| name)
            .take_while(|name| name.kind == first.kind && name.name.starts_with(prefix))
            .cloned()
            .collect();
        let now = host::now();
        for name in &names {
            tell(&mut self.subscribers, &mut self.streams, name, now, |_| {
                true
            });
        }
        true
    }

    fn forget(&mut self, stream: u64, name: &ResourceName) {
        if let Some(subscribers) = self.subscribers.get_mut(name) {
            subscribers.remove(&stream);
            if subscribers.is_empty() {
                self.subscribers.remove(name);
            }
        }
        if let Some(backlog) = self.streams.get_mut(&stream) {
            backlog.dirty.remove(name);
        }
    }
}

/// Tells the subscribers for whose namespace the resource is another now.
fn tell(
    subscribers: &mut BTreeMap<ResourceName, BTreeMap<u64, Standing>>,
    streams: &mut HashMap<u64, Backlog>,
    name: &ResourceName,
    now: Instant,
    changed: impl Fn(&str) -> bool,
) {
    for (stream, standing) in subscribers.get_mut(name).into_iter().flatten() {
        if let Some(backlog) = streams.get_mut(stream)
            && changed(&backlog.namespace)
        {
            *standing = Standing::Behind(Some(now));
            backlog.dirty.insert(name.clone());
            backlog.ready.notify_one();
        }
    }
}

/// Whether a service's resource is of a service in the namespace.
fn of_namespace(name: &ResourceName, namespace: &str) -> bool {
    let rest = name.name.strip_prefix(namespace);
    rest.is_some_and(|rest| rest.starts_with('/'))
}

/// What a destination's host says where it has no resource of its own.
fn by_host(hosts: &HashMap<IpAddr, Host>, name: &ResourceName) -> Option<Arc<Stored>> {
    if name.kind != Kind::Destination {
        return None;
    }
    let addr: SocketAddr = name.name.parse().ok()?;
    let host = hosts.get(&addr.ip())?;
    Some(Stored::new(&host.destination(addr)))
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
