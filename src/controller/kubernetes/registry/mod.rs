//! The registry: follows the cluster and keeps the store in step with it.

mod watch;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures_util::{
    StreamExt,
    stream::{BoxStream, SelectAll},
};
use k8s_openapi::api::{core::v1 as core, discovery::v1::EndpointSlice};
use kube::{Client, core::DeserializeGuard};
use tokio::sync::watch as channel;

use self::watch::{Change, Need, watch};
use super::{
    api::{
        AccessPolicy, ResiliencePolicy, grpc_route::GrpcRoute, http_route::HttpRoute,
        reference_grant::ReferenceGrant,
    },
    config::MeshConfig,
    findings::Findings,
    lower::{
        Cluster,
        object::{Kind, Name},
    },
};
use crate::{controller::Store, identity::InvalidSpiffeId};

/// Changes that are lowered together at most: a burst costs one pass, and a long list does not
/// keep what came first waiting.
const BATCH: usize = 1_000;

/// Follows the cluster. Does nothing until it is [`run`](Self::run).
pub struct Registry {
    client: Client,
    keeper: Keeper,
    watches: SelectAll<BoxStream<'static, Change>>,
}

/// What a registry tells, while it runs or not.
#[derive(Clone, Debug)]
pub struct Handle {
    synced: channel::Receiver<bool>,
    findings: channel::Receiver<Arc<Findings>>,
}

impl Handle {
    /// Waits until everything has been listed once and the store is complete: what is served
    /// before that would be wrong. Never returns when the registry has ended without.
    pub async fn synced(&self) {
        let mut synced = self.synced.clone();
        if synced.wait_for(|synced| *synced).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether [`synced`](Self::synced) returns at once.
    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// What became of each route and policy.
    pub fn findings(&self) -> channel::Receiver<Arc<Findings>> {
        self.findings.clone()
    }
}

impl Registry {
    /// # Errors
    /// When the configured trust domain cannot be in an identity.
    pub fn new(
        client: Client,
        store: Arc<Store>,
        config: &MeshConfig,
    ) -> Result<Self, InvalidSpiffeId> {
        let mut registry = Self {
            client,
            keeper: Keeper::new(
                Cluster::new(&config.trust_domain, config.default_access)?,
                store,
            ),
            watches: SelectAll::new(),
        };
        registry.add::<core::Namespace>(Kind::Namespace, Need::Required);
        registry.add::<core::Node>(Kind::Node, Need::Required);
        registry.add::<core::Pod>(Kind::Pod, Need::Required);
        registry.add::<core::Service>(Kind::Service, Need::Required);
        registry.add::<EndpointSlice>(Kind::EndpointSlice, Need::Required);
        registry.add_custom::<HttpRoute>(Kind::HttpRoute);
        registry.add_custom::<GrpcRoute>(Kind::GrpcRoute);
        registry.add_custom::<ReferenceGrant>(Kind::ReferenceGrant);
        registry.add_custom::<ResiliencePolicy>(Kind::ResiliencePolicy);
        registry.add_custom::<AccessPolicy>(Kind::AccessPolicy);
        Ok(registry)
    }

    fn add<K>(&mut self, kind: Kind, need: Need)
    where
        K: watch::Watched,
    {
        self.keeper.pending.insert(kind);
        let figures = self.keeper.store.figures().clone();
        self.watches
            .push(watch::<K>(self.client.clone(), kind, need, figures));
    }

    /// A kind that comes with a CRD.
    fn add_custom<K>(&mut self, kind: Kind)
    where
        DeserializeGuard<K>: watch::Watched,
    {
        self.add::<DeserializeGuard<K>>(kind, Need::Optional);
    }

    pub fn handle(&self) -> Handle {
        Handle {
            synced: self.keeper.synced.subscribe(),
            findings: self.keeper.findings.subscribe(),
        }
    }

    /// Runs until it is dropped.
    pub async fn run(self) {
        let mut keeper = self.keeper;
        let mut batches = self.watches.ready_chunks(BATCH);
        while let Some(changes) = batches.next().await {
            for change in changes {
                keeper.take(change);
            }
            keeper.publish();
        }
    }
}

/// Takes changes, and keeps the store in step once all is known.
struct Keeper {
    cluster: Cluster,
    store: Arc<Store>,
    /// Kinds that were never listed to the end.
    pending: HashSet<Kind>,
    /// What a list under way has named.
    listing: HashMap<Kind, HashSet<Name>>,
    synced: channel::Sender<bool>,
    findings: channel::Sender<Arc<Findings>>,
}

impl Keeper {
    fn new(cluster: Cluster, store: Arc<Store>) -> Self {
        Self {
            cluster,
            store,
            pending: HashSet::new(),
            listing: HashMap::new(),
            synced: channel::Sender::new(false),
            findings: channel::Sender::default(),
        }
    }

    fn take(&mut self, change: Change) {
        match change {
            Change::Listing(kind) => drop(self.listing.insert(kind, HashSet::new())),
            Change::Listed(kind, name, object) => {
                self.put(kind, &name, object);
                self.listing.entry(kind).or_default().insert(name);
            }
            Change::Complete(kind) => {
                let named = self.listing.remove(&kind).unwrap_or_default();
                self.complete(kind, &named);
            }
            Change::Applied(kind, name, object) => self.put(kind, &name, object),
            Change::Deleted(kind, name) => self.cluster.remove(kind, &name),
            Change::Absent(kind) => self.complete(kind, &HashSet::new()),
        }
    }

    fn put(&mut self, kind: Kind, name: &Name, object: Option<super::lower::object::Object>) {
        match object {
            Some(object) => self.cluster.put(name, object),
            None => self.cluster.remove(kind, name),
        }
    }

    /// What the list did not name went while nobody watched.
    fn complete(&mut self, kind: Kind, named: &HashSet<Name>) {
        for name in self.cluster.names(kind) {
            if !named.contains(&name) {
                self.cluster.remove(kind, &name);
            }
        }
        self.pending.remove(&kind);
    }

    /// Nothing is told before all is known: half of it would have meshed pods dialled in
    /// plaintext.
    fn publish(&mut self) {
        if !self.pending.is_empty() {
            return;
        }
        let update = self.cluster.flush();
        self.store.apply_hosts(update.hosts);
        self.store.apply(update.resources);
        if !update.findings.is_empty() {
            self.findings.send_if_modified(|findings| {
                let mut changed = false;
                for (id, finding) in update.findings {
                    if findings.get(&id) == finding.as_ref() {
                        continue;
                    }
                    changed = true;
                    let findings = Arc::make_mut(findings);
                    match finding {
                        Some(finding) => findings.insert(id, finding),
                        None => findings.remove(&id),
                    };
                }
                changed
            });
        }
        self.synced.send_if_modified(|synced| {
            let first = !std::mem::replace(synced, true);
            if first {
                tracing::info!("the cluster is known");
            }
            first
        });
    }
}
