//! The resources in force, and which stream is to be told of which change. A stream's backlog is
//! a set of names, so a slow proxy costs memory by what it subscribed to, not by what happened.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tokio::sync::{Notify, watch};

use crate::{
    discovery::{
        model::{Destination, Endpoint},
        resource::{Kind, Named, Resource, ResourceName, version},
    },
    identity::SpiffeId,
    telemetry::metrics::Figures,
};

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
}

impl Host {
    fn destination(&self, addr: SocketAddr) -> Resource {
        let endpoint = Endpoint {
            addr,
            weight: 1,
            zone: self.zone.clone(),
            identity: Some(self.identity.clone()),
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
    next_stream: AtomicU64,
    figures: Arc<Figures>,
}

#[derive(Debug, Default)]
struct Inner {
    resources: HashMap<ResourceName, Arc<Stored>>,
    hosts: HashMap<IpAddr, Host>,
    /// In order, so that those of one address are together.
    subscribers: BTreeMap<ResourceName, HashSet<u64>>,
    streams: HashMap<u64, Backlog>,
}

#[derive(Debug, Default)]
struct Backlog {
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
        let new: HashMap<_, _> = resources
            .into_iter()
            .map(|(name, value)| (name, Stored::new(&value)))
            .collect();
        let mut inner = self.lock();
        let gone: Vec<_> = inner
            .resources
            .keys()
            .filter(|name| !new.contains_key(name) && !keep.contains(&name.kind))
            .cloned()
            .collect();
        let gone = gone.into_iter().map(|name| (name, None));
        let new = new.into_iter().map(|(name, value)| (name, Some(value)));
        gone.chain(new)
            .filter(|(name, value)| inner.put(name, value.clone()))
            .count()
    }

    /// Puts single resources in force, or takes them out. Returns how many changed.
    pub fn apply(
        &self,
        changes: impl IntoIterator<Item = (ResourceName, Option<Resource>)>,
    ) -> usize {
        let changes: Vec<_> = changes
            .into_iter()
            .map(|(name, value)| (name, value.as_ref().map(Stored::new)))
            .collect();
        let mut inner = self.lock();
        changes
            .into_iter()
            .filter(|(name, value)| inner.put(name, value.clone()))
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

    /// A stream's view, with nothing subscribed.
    pub fn open(self: &Arc<Self>) -> View {
        let id = self.next_stream.fetch_add(1, Relaxed);
        let ready = Arc::new(Notify::new());
        let backlog = Backlog {
            ready: ready.clone(),
            ..Default::default()
        };
        self.lock().streams.insert(id, backlog);
        View {
            store: self.clone(),
            id,
            ready,
            known: HashMap::new(),
        }
    }

    pub fn count_nack(&self) {
        self.figures.nacks.inc();
        self.nacks.send_modify(|nacks| *nacks += 1);
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
    fn put(&mut self, name: &ResourceName, stored: Option<Arc<Stored>>) -> bool {
        if self.resources.get(name) == stored.as_ref() {
            return false;
        }
        match stored {
            Some(stored) => self.resources.insert(name.clone(), stored),
            None => self.resources.remove(name),
        };
        self.tell(name);
        true
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
        names.iter().for_each(|name| self.tell(name));
        true
    }

    fn tell(&mut self, name: &ResourceName) {
        for stream in self.subscribers.get(name).into_iter().flatten() {
            if let Some(backlog) = self.streams.get_mut(stream) {
                backlog.dirty.insert(name.clone());
                backlog.ready.notify_one();
            }
        }
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

/// What a destination's host says where it has no resource of its own.
fn by_host(hosts: &HashMap<IpAddr, Host>, name: &ResourceName) -> Option<Arc<Stored>> {
    if name.kind != Kind::Destination {
        return None;
    }
    let addr: SocketAddr = name.name.parse().ok()?;
    let host = hosts.get(&addr.ip())?;
    Some(Stored::new(&host.destination(addr)))
}

/// What one stream subscribed to and has been told. Dropping it ends its subscriptions.
#[derive(Debug)]
pub struct View {
    store: Arc<Store>,
    id: u64,
    ready: Arc<Notify>,
    known: HashMap<ResourceName, Told>,
}

/// What the other side was told last.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Absent,
    Version(String),
}

impl View {
    pub fn len(&self) -> usize {
        self.known.len()
    }

    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// `at_hand` is the version that the other side has; unless it is the current one, the
    /// resource is news. Subscribing again asks for it again.
    pub fn subscribe(&mut self, name: ResourceName, at_hand: Option<String>) {
        let mut inner = self.store.lock();
        let subscribers = inner.subscribers.entry(name.clone());
        subscribers.or_default().insert(self.id);
        if let Some(backlog) = inner.streams.get_mut(&self.id) {
            backlog.dirty.insert(name.clone());
            backlog.ready.notify_one();
        }
        drop(inner);
        let told = at_hand.map_or(Told::Nothing, Told::Version);
        self.known.insert(name, told);
    }

    pub fn unsubscribe(&mut self, name: &ResourceName) {
        self.known.remove(name);
        self.store.lock().forget(self.id, name);
    }

    /// Waits for something to [`take`](Self::take).
    pub async fn changed(&self) {
        self.ready.notified().await;
    }

    /// Takes news of one kind: at most `max_names`, and no more once `max_bytes` are exceeded.
    /// `None` when there are none.
    pub fn take(&mut self, max_names: usize, max_bytes: usize) -> Option<(Kind, Vec<Delta>)> {
        let mut inner = self.store.lock();
        let Inner {
            resources,
            hosts,
            streams,
            ..
        } = &mut *inner;
        let dirty = &mut streams.get_mut(&self.id)?.dirty;
        let mut kind = None;
        let mut deltas = Vec::new();
        let mut bytes = 0;
        while deltas.len() < max_names && bytes < max_bytes {
            let Some(name) = dirty.first() else { break };
            if kind.is_some_and(|kind| kind != name.kind) {
                break;
            }
            let name = dirty.pop_first().expect("it was first");
            let Some(told) = self.known.get_mut(&name) else {
                continue;
            };
            let current = resources.get(&name).cloned();
            let current = current.or_else(|| by_host(hosts, &name));
            let now = current
                .as_ref()
                .map_or(Told::Absent, |value| Told::Version(value.version.clone()));
            if *told != now {
                *told = now;
                kind = Some(name.kind);
                bytes += name.name.len() + current.as_ref().map_or(0, |value| value.json.len());
                deltas.push((name.name, current));
            }
        }
        kind.map(|kind| (kind, deltas))
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let mut inner = self.store.lock();
        for name in self.known.keys() {
            inner.forget(self.id, name);
        }
        inner.streams.remove(&self.id);
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
