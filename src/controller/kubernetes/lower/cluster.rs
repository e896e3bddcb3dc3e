//! The cluster as it is known, and what each change of it touches.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::{
    access_policy,
    account::{Account, Claim, claim},
    address::address,
    dirty::Dirty,
    endpoints::Pods,
    index::Index,
    object::{Kind, Name, Object},
    policy, route,
    service::service,
};
use crate::{
    controller::{
        kubernetes::{
            config::DefaultAccess,
            findings::{
                Finding,
                ObjectKind::{self, GrpcRoute, HttpRoute},
                ObjectRef,
            },
        },
        store::Host,
    },
    discovery::resource::{Resource, ResourceName},
    identity::{InvalidSpiffeId, SpiffeId},
};

/// What changed since the last one.
#[derive(Debug, Default)]
pub struct Update {
    pub resources: Vec<(ResourceName, Option<Resource>)>,
    pub hosts: Vec<(IpAddr, Option<Host>)>,
    /// Of routes and policies; nothing for one that is gone or nobody asks for.
    pub findings: Vec<(ObjectRef, Option<Finding>)>,
}

/// Everything that is watched.
#[derive(Debug)]
pub struct Cluster {
    pods: Pods,
    pub(super) index: Index,
    pub(super) dirty: Dirty,
    claims: HashMap<Name, Claim>,
    pub(super) accounts: BTreeMap<Name, Account>,
    /// What was lowered last: the ports of an address, and the ports of a service.
    of_address: HashMap<IpAddr, Vec<u16>>,
    of_service: HashMap<Name, Vec<ResourceName>>,
}

impl Cluster {
    /// # Errors
    /// When the trust domain cannot be in an identity.
    pub fn new(trust_domain: &str, default: DefaultAccess) -> Result<Self, InvalidSpiffeId> {
        SpiffeId::new(trust_domain, "any", "any")?;
        Ok(Self {
            pods: Pods {
                trust_domain: trust_domain.into(),
            },
            index: Index {
                default_access: default,
                ..Default::default()
            },
            dirty: Dirty::default(),
            claims: HashMap::new(),
            accounts: BTreeMap::new(),
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
            Object::HttpRoute(route) => self.set_route(HttpRoute, name, Some(route)),
            Object::GrpcRoute(route) => self.set_route(GrpcRoute, name, Some(route)),
            Object::ReferenceGrant(grant) => self.set_grant(name, Some(grant)),
            Object::ResiliencePolicy(policy) => self.set_policy(name, Some(*policy)),
            Object::AccessPolicy(access) => self.set_access(name, Some(*access)),
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
            Kind::HttpRoute => self.set_route(HttpRoute, name, None),
            Kind::GrpcRoute => self.set_route(GrpcRoute, name, None),
            Kind::ReferenceGrant => self.set_grant(name, None),
            Kind::ResiliencePolicy => self.set_policy(name, None),
            Kind::AccessPolicy => self.set_access(name, None),
        }
    }

    /// Every object of a kind.
    pub fn names(&self, kind: Kind) -> Vec<Name> {
        let global = |name: &Arc<str>| Name::new("", name.clone());
        let own = |id: &ObjectRef| Name::new(id.namespace.clone(), id.name.clone());
        let routes = |kind| {
            let ids = self.index.routes.keys().filter(|id| id.kind == kind);
            ids.map(own).collect()
        };
        match kind {
            Kind::Namespace => self.index.namespaces.keys().map(global).collect(),
            Kind::Node => self.index.nodes.keys().map(global).collect(),
            Kind::Pod => self.index.pods.keys().cloned().collect(),
            Kind::Service => self.index.services.keys().cloned().collect(),
            Kind::EndpointSlice => self.index.slices.keys().cloned().collect(),
            Kind::HttpRoute => routes(HttpRoute),
            Kind::GrpcRoute => routes(GrpcRoute),
            Kind::ReferenceGrant => self.index.grants.keys().cloned().collect(),
            Kind::ResiliencePolicy => self.index.policies.keys().map(own).collect(),
            Kind::AccessPolicy => self.index.access.keys().cloned().collect(),
        }
    }

    /// Lowers what was touched since the last time.
    pub fn flush(&mut self) -> Update {
        let pods = std::mem::take(&mut self.dirty.pods);
        pods.iter().for_each(|pod| self.count(pod));
        let services = std::mem::take(&mut self.dirty.services);
        services.iter().for_each(|service| self.measure(service));
        let dirty = Dirty {
            services,
            ..std::mem::take(&mut self.dirty)
        };
        let mut update = Update::default();
        for account in dirty.accounts {
            update.resources.push(self.workload(&account));
        }
        for ip in dirty.addresses {
            self.lower_address(ip, &mut update);
        }
        for name in dirty.services {
            self.lower_service(&name, &mut update);
        }
        update.findings = dirty
            .objects
            .into_iter()
            .map(|id| {
                let finding = match id.kind {
                    HttpRoute | GrpcRoute => route::finding(&self.index, &id),
                    ObjectKind::ResiliencePolicy => policy::finding(&self.index, &id),
                    ObjectKind::AccessPolicy => {
                        let name = Name::new(id.namespace.clone(), id.name.clone());
                        access_policy::finding(&self.index, &self.pods, &self.accounts, &name)
                    }
                };
                (id, finding)
            })
            .collect();
        update
    }

    /// Which of its routes a service has no room for.
    fn measure(&mut self, service: &Name) {
        let new = route::beyond(&self.index, service);
        let old = match new.is_empty() {
            true => self.index.beyond.remove(service),
            false => self.index.beyond.insert(service.clone(), new),
        };
        let new = self.index.beyond.get(service);
        if old.as_ref() != new {
            self.dirty.attached(&self.index, service);
        }
    }

    /// Counts a pod at its service account, where what it adds has changed.
    fn count(&mut self, name: &Name) {
        let pod = self.index.pods.get(name);
        let new = pod.and_then(|pod| claim(&self.index, name, pod));
        if self.claims.get(name) == new.as_ref() {
            return;
        }
        if let Some(new) = &new {
            let account = self.accounts.entry(new.account.clone()).or_default();
            account.add(new);
            self.dirty.accounts.insert(new.account.clone());
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
            self.dirty.accounts.insert(old.account);
        }
    }

    fn workload(&self, account: &Name) -> (ResourceName, Option<Resource>) {
        let id = self.pods.account(account);
        let workload = self.accounts.get(account);
        let workload = workload.map(|it| it.workload(&self.index, &account.namespace));
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
