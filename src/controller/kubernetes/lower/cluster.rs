//! The cluster as it is known, and what each change of it touches.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::{
    account::{Account, Claim, claim},
    address::address,
    endpoints::Pods,
    index::{Index, within},
    object::{Kind, Name, Namespace, Node, Object, Pod, Service, Slice},
    service::service,
};
use crate::{
    controller::store::Host,
    discovery::resource::{Resource, ResourceName},
    identity::{InvalidSpiffeId, SpiffeId},
};

/// What changed since the last one.
#[derive(Debug, Default)]
pub struct Update {
    pub resources: Vec<(ResourceName, Option<Resource>)>,
    pub hosts: Vec<(IpAddr, Option<Host>)>,
}

/// What is to be lowered again.
#[derive(Debug, Default)]
struct Dirty {
    addresses: BTreeSet<IpAddr>,
    services: BTreeSet<Name>,
    pods: BTreeSet<Name>,
    accounts: BTreeSet<Name>,
}

/// Everything that is watched.
#[derive(Debug)]
pub struct Cluster {
    pods: Pods,
    index: Index,
    dirty: Dirty,
    claims: HashMap<Name, Claim>,
    accounts: HashMap<Name, Account>,
    /// What was lowered last: the ports of an address, and the ports of a service.
    of_address: HashMap<IpAddr, Vec<u16>>,
    of_service: HashMap<Name, Vec<ResourceName>>,
}

impl Cluster {
    /// # Errors
    /// When the trust domain cannot be in an identity.
    pub fn new(trust_domain: &str) -> Result<Self, InvalidSpiffeId> {
        SpiffeId::new(trust_domain, "any", "any")?;
        Ok(Self {
            pods: Pods {
                trust_domain: trust_domain.into(),
            },
            index: Index::default(),
            dirty: Dirty::default(),
            claims: HashMap::new(),
            accounts: HashMap::new(),
            of_address: HashMap::new(),
            of_service: HashMap::new(),
        })
    }

    /// Takes an object as it is now.
    pub fn put(&mut self, name: &Name, object: Object) {
        match object {
            Object::Namespace(namespace) => self.set_namespace(name, Some(namespace)),
            Object::Node(node) => self.set_node(name, Some(node)),
            Object::Pod(pod) => self.set_pod(name, Some(pod)),
            Object::Service(service) => self.set_service(name, Some(service)),
            Object::EndpointSlice(slice) => self.set_slice(name, Some(slice)),
        }
    }

    /// Takes that an object is gone, or means nothing any more.
    pub fn remove(&mut self, kind: Kind, name: &Name) {
        match kind {
            Kind::Namespace => self.set_namespace(name, None),
            Kind::Node => self.set_node(name, None),
            Kind::Pod => self.set_pod(name, None),
            Kind::Service => self.set_service(name, None),
            Kind::EndpointSlice => self.set_slice(name, None),
        }
    }

    /// Every object of a kind.
    pub fn names(&self, kind: Kind) -> Vec<Name> {
        let global = |name: &Arc<str>| Name::new("", name.clone());
        match kind {
            Kind::Namespace => self.index.namespaces.keys().map(global).collect(),
            Kind::Node => self.index.nodes.keys().map(global).collect(),
            Kind::Pod => self.index.pods.keys().cloned().collect(),
            Kind::Service => self.index.services.keys().cloned().collect(),
            Kind::EndpointSlice => self.index.slices.keys().cloned().collect(),
        }
    }

    fn set_namespace(&mut self, name: &Name, namespace: Option<Namespace>) {
        let namespaces = &mut self.index.namespaces;
        let new = namespace.clone().unwrap_or_default();
        let old = match namespace {
            Some(namespace) => namespaces.insert(name.name.clone(), namespace),
            None => namespaces.remove(&name.name),
        };
        if old.unwrap_or_default() == new {
            return;
        }
        let pods = within(&self.index.pods, &name.name).cloned();
        self.dirty.pods.extend(pods);
        let services = within(&self.index.services, &name.name).cloned();
        self.dirty.services.extend(services);
    }

    fn set_node(&mut self, name: &Name, node: Option<Node>) {
        let new = node.clone().unwrap_or_default();
        let nodes = &mut self.index.nodes;
        let old = match node {
            Some(node) => nodes.insert(name.name.clone(), node),
            None => nodes.remove(&name.name),
        };
        if old.unwrap_or_default() == new {
            return;
        }
        for pod in self.index.pods_on.of(&name.name) {
            for ip in self.index.pods.get(pod).iter().flat_map(|pod| &pod.ips) {
                self.dirty.address(&self.index, *ip);
            }
        }
    }

    fn set_pod(&mut self, name: &Name, pod: Option<Pod>) {
        if self.index.pods.get(name) == pod.as_ref() {
            return;
        }
        let old = self.index.set_pod(name, pod);
        let new = self.index.pods.get(name);
        for ip in old.iter().chain(new).flat_map(|pod| &pod.ips) {
            self.dirty.address(&self.index, *ip);
        }
        self.dirty.pods.insert(name.clone());
    }

    fn set_service(&mut self, name: &Name, service: Option<Service>) {
        if self.index.services.get(name) == service.as_ref() {
            return;
        }
        let old = self.index.set_service(name, service);
        let new = self.index.services.get(name);
        let addresses = old.iter().chain(new).flat_map(|service| &service.addresses);
        self.dirty.addresses.extend(addresses);
        self.dirty.services.insert(name.clone());
        let slices = self.index.slices_of(name);
        for endpoint in slices.flat_map(|slice| &slice.endpoints) {
            self.dirty.listed(&self.index, endpoint.ip);
        }
    }

    fn set_slice(&mut self, name: &Name, slice: Option<Slice>) {
        if self.index.slices.get(name) == slice.as_ref() {
            return;
        }
        let old = self.index.set_slice(name, slice);
        let new = self.index.slices.get(name);
        for slice in old.iter().chain(new) {
            let service = Name::new(name.namespace.clone(), slice.service.clone());
            self.dirty.services.insert(service);
        }
        let same_ports =
            |(old, new): (&Slice, &Slice)| old.ports == new.ports && old.service == new.service;
        let same = old.as_ref().zip(new).is_some_and(same_ports);
        let places = |slice: Option<&Slice>| -> BTreeSet<_> {
            let endpoints = slice.into_iter().flat_map(|slice| &slice.endpoints);
            endpoints.map(|e| (e.ip, e.pod.clone())).collect()
        };
        let (old, new) = (places(old.as_ref()), places(new));
        let touched: Vec<_> = if same {
            old.symmetric_difference(&new).collect()
        } else {
            old.union(&new).collect()
        };
        for (ip, _) in touched {
            self.dirty.listed(&self.index, *ip);
        }
    }

    /// Lowers what was touched since the last time.
    pub fn flush(&mut self) -> Update {
        let dirty = std::mem::take(&mut self.dirty);
        let mut update = Update::default();
        let mut accounts = dirty.accounts;
        for pod in &dirty.pods {
            accounts.extend(self.count(pod));
        }
        for account in accounts {
            update.resources.push(self.workload(&account));
        }
        for ip in dirty.addresses {
            self.lower_address(ip, &mut update);
        }
        for name in dirty.services {
            self.lower_service(&name, &mut update);
        }
        update
    }

    /// Counts a pod at its service account; returns the accounts that this may have changed.
    fn count(&mut self, name: &Name) -> Vec<Name> {
        let pod = self.index.pods.get(name);
        let new = pod.and_then(|pod| claim(&self.index, name, pod));
        if self.claims.get(name) == new.as_ref() {
            return Vec::new();
        }
        let mut accounts = Vec::new();
        if let Some(new) = &new {
            let account = self.accounts.entry(new.account.clone()).or_default();
            account.add(new);
            accounts.push(new.account.clone());
        }
        let old = match new {
            Some(new) => self.claims.insert(name.clone(), new),
            None => self.claims.remove(name),
        };
        if let Some(old) = old
            && let Some(account) = self.accounts.get_mut(&old.account)
        {
            account.subtract(&old);
            if account.is_empty() {
                self.accounts.remove(&old.account);
            }
            accounts.push(old.account);
        }
        accounts
    }

    fn workload(&self, account: &Name) -> (ResourceName, Option<Resource>) {
        let id = self.pods.account(account);
        let workload = self.accounts.get(account).map(Account::workload);
        let resource = workload.map(|workload| Resource::workload(&id, workload).1);
        (ResourceName::workload(&id), resource)
    }

    fn lower_address(&mut self, ip: IpAddr, update: &mut Update) {
        let new = address(&self.index, &self.pods, ip);
        let ports: Vec<u16> = new.ports.keys().copied().collect();
        let old = if ports.is_empty() {
            self.of_address.remove(&ip)
        } else {
            self.of_address.insert(ip, ports)
        };
        let gone = old.into_iter().flatten();
        let gone = gone.filter(|port| !new.ports.contains_key(port));
        update.resources.extend(gone.map(|port| {
            let name = ResourceName::destination(SocketAddr::new(ip, port));
            (name, None)
        }));
        update.hosts.push((ip, new.host));
        update
            .resources
            .extend(new.ports.into_iter().map(|(port, destination)| {
                let (name, value) = Resource::destination(SocketAddr::new(ip, port), destination);
                (name, Some(value))
            }));
    }

    fn lower_service(&mut self, name: &Name, update: &mut Update) {
        let new: BTreeMap<_, _> = service(&self.index, &self.pods, name).into_iter().collect();
        let names: Vec<_> = new.keys().cloned().collect();
        let old = if names.is_empty() {
            self.of_service.remove(name)
        } else {
            self.of_service.insert(name.clone(), names)
        };
        let gone = old.into_iter().flatten();
        let gone = gone.filter(|name| !new.contains_key(name));
        update.resources.extend(gone.map(|name| (name, None)));
        let new = new.into_iter().map(|(name, value)| (name, Some(value)));
        update.resources.extend(new);
    }
}

impl Dirty {
    /// Who a pod's address belongs to, or where it is, has changed.
    fn address(&mut self, index: &Index, ip: IpAddr) {
        self.addresses.insert(ip);
        let services = index.listings(ip).map(|(service, _)| service);
        self.services.extend(services);
    }

    /// Who lists an address, or how, has changed.
    fn listed(&mut self, index: &Index, ip: IpAddr) {
        self.addresses.insert(ip);
        self.pods.extend(index.pods_at.of(&ip).iter().cloned());
    }
}
