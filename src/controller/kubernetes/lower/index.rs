//! The objects, and who refers to whom: every question is answered without a search.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hash,
    net::IpAddr,
    sync::Arc,
};

use super::{
    access_policy::Access,
    object::{Grant, Name, Namespace, Node, Pod, Service, Slice},
    policy::{Policy, Target},
    reference::Reference,
    route::{self, Route},
};
use crate::controller::kubernetes::{config::DefaultAccess, findings::ObjectRef};

/// Objects by a key that they have in common, in order.
#[derive(Debug)]
pub(super) struct Links<K, V = Name>(HashMap<K, Vec<V>>);

impl<K, V> Default for Links<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash, V: Ord + Clone> Links<K, V> {
    pub fn of(&self, key: &K) -> &[V] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    pub fn link(&mut self, key: K, name: &V) {
        let names = self.0.entry(key).or_default();
        if let Err(at) = names.binary_search(name) {
            names.insert(at, name.clone());
        }
    }

    pub fn unlink(&mut self, key: &K, name: &V) {
        let Some(names) = self.0.get_mut(key) else {
            return;
        };
        if let Ok(at) = names.binary_search(name) {
            names.remove(at);
        }
        if names.is_empty() {
            self.0.remove(key);
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Index {
    /// What holds for workloads without a policy.
    pub default_access: DefaultAccess,
    pub namespaces: HashMap<Arc<str>, Namespace>,
    pub nodes: HashMap<Arc<str>, Node>,
    pub pods: BTreeMap<Name, Pod>,
    pub services: BTreeMap<Name, Service>,
    pub slices: BTreeMap<Name, Slice>,
    /// Pods by address, those on the host's network included.
    pub pods_at: Links<IpAddr>,
    /// Pods by node.
    pub pods_on: Links<Arc<str>>,
    /// Services by virtual address.
    pub services_at: Links<IpAddr>,
    /// Slices by the addresses that they list.
    pub slices_at: Links<IpAddr>,
    /// Slices by their service.
    pub slices_of: Links<Name>,
    pub routes: BTreeMap<ObjectRef, Route>,
    pub policies: BTreeMap<ObjectRef, Policy>,
    pub grants: BTreeMap<Name, Grant>,
    pub access: BTreeMap<Name, Access>,
    /// Routes by the services that they are attached to.
    pub routes_on: Links<Name, ObjectRef>,
    /// Those of them that a service has no room for.
    pub beyond: HashMap<Name, BTreeSet<ObjectRef>>,
    pub policies_on: Links<Target, ObjectRef>,
    /// Routes and policies by the services that they send to.
    pub senders_to: Links<Name, ObjectRef>,
    /// Those by the namespaces, other than their own, that they send into.
    pub senders_into: Links<Arc<str>, ObjectRef>,
}

impl Index {
    /// Returns what was there before.
    pub fn set_pod(&mut self, name: &Name, pod: Option<Pod>) -> Option<Pod> {
        for ip in pod.iter().flat_map(|pod| &pod.ips) {
            self.pods_at.link(*ip, name);
        }
        for node in pod.iter().flat_map(|pod| &pod.node) {
            self.pods_on.link(node.clone(), name);
        }
        let old = set(&mut self.pods, name, pod);
        let new = self.pods.get(name);
        for ip in old.iter().flat_map(|pod| &pod.ips) {
            if new.is_none_or(|new| !new.ips.contains(ip)) {
                self.pods_at.unlink(ip, name);
            }
        }
        for node in old.iter().flat_map(|pod| &pod.node) {
            if new.is_none_or(|new| new.node.as_ref() != Some(node)) {
                self.pods_on.unlink(node, name);
            }
        }
        old
    }

    /// Returns what was there before.
    pub fn set_service(&mut self, name: &Name, service: Option<Service>) -> Option<Service> {
        for ip in service.iter().flat_map(|service| &service.addresses) {
            self.services_at.link(*ip, name);
        }
        let old = set(&mut self.services, name, service);
        let new = self.services.get(name);
        for ip in old.iter().flat_map(|service| &service.addresses) {
            if new.is_none_or(|new| !new.addresses.contains(ip)) {
                self.services_at.unlink(ip, name);
            }
        }
        old
    }

    /// Returns what was there before.
    pub fn set_slice(&mut self, name: &Name, slice: Option<Slice>) -> Option<Slice> {
        let service = |slice: &Slice| Name {
            namespace: name.namespace.clone(),
            name: slice.service.clone(),
        };
        let old = set(&mut self.slices, name, slice);
        if let Some(old) = &old {
            self.slices_of.unlink(&service(old), name);
            for endpoint in &old.endpoints {
                self.slices_at.unlink(&endpoint.ip, name);
            }
        }
        if let Some(new) = self.slices.get(name) {
            self.slices_of.link(service(new), name);
            for endpoint in &new.endpoints {
                self.slices_at.link(endpoint.ip, name);
            }
        }
        old
    }

    /// Returns what was there before.
    pub fn set_route(&mut self, id: &ObjectRef, route: Option<Route>) -> Option<Route> {
        let old = set(&mut self.routes, id, route);
        if let Some(old) = &old {
            for target in &old.parents {
                self.routes_on.unlink(&route::parent(id, target), id);
            }
            unlink_senders(
                &mut self.senders_to,
                &mut self.senders_into,
                id,
                old.references(),
            );
        }
        if let Some(new) = self.routes.get(id) {
            for target in &new.parents {
                self.routes_on.link(route::parent(id, target), id);
            }
            link_senders(
                &mut self.senders_to,
                &mut self.senders_into,
                id,
                new.references(),
            );
        }
        old
    }

    /// Returns what was there before.
    pub fn set_policy(&mut self, id: &ObjectRef, policy: Option<Policy>) -> Option<Policy> {
        let old = set(&mut self.policies, id, policy);
        if let Some(old) = &old {
            for target in &old.targets {
                self.policies_on.unlink(target, id);
            }
            unlink_senders(
                &mut self.senders_to,
                &mut self.senders_into,
                id,
                old.references(),
            );
        }
        if let Some(new) = self.policies.get(id) {
            for target in &new.targets {
                self.policies_on.link(target.clone(), id);
            }
            link_senders(
                &mut self.senders_to,
                &mut self.senders_into,
                id,
                new.references(),
            );
        }
        old
    }

    /// The services that a route is attached to.
    pub fn parents(&self, id: &ObjectRef) -> impl Iterator<Item = Name> {
        let route = self.routes.get(id).into_iter();
        let parents = route.flat_map(|route| &route.parents);
        parents.map(move |target| route::parent(id, target))
    }

    /// The pod whose network has this address: of several, one that stays rather than one that
    /// goes and may have given it back.
    pub fn pod_at(&self, ip: IpAddr) -> Option<(&Name, &Pod)> {
        let named = self.pods_at.of(&ip).iter();
        named
            .filter_map(|name| self.pods.get_key_value(name))
            .filter(|(_, pod)| !pod.host_network)
            .max_by_key(|(_, pod)| !pod.terminating)
    }

    pub fn zone_of(&self, pod: &Pod) -> Option<Arc<str>> {
        self.nodes.get(pod.node.as_ref()?)?.zone.clone()
    }

    /// The services, with their slices, that list this address.
    pub fn listings(&self, ip: IpAddr) -> impl Iterator<Item = (Name, &Slice)> {
        let names = self.slices_at.of(&ip).iter();
        names.filter_map(|name| {
            let slice = self.slices.get(name)?;
            let service = Name {
                namespace: name.namespace.clone(),
                name: slice.service.clone(),
            };
            Some((service, slice))
        })
    }

    pub fn slices_of(&self, service: &Name) -> impl Iterator<Item = &Slice> {
        let names = self.slices_of.of(service).iter();
        names.filter_map(|name| self.slices.get(name))
    }
}

fn link_senders<'a>(
    to: &mut Links<Name, ObjectRef>,
    into: &mut Links<Arc<str>, ObjectRef>,
    id: &ObjectRef,
    references: impl Iterator<Item = &'a Reference>,
) {
    for reference in references {
        to.link(reference.target(), id);
        if reference.namespace != id.namespace {
            into.link(reference.namespace.clone(), id);
        }
    }
}

fn unlink_senders<'a>(
    to: &mut Links<Name, ObjectRef>,
    into: &mut Links<Arc<str>, ObjectRef>,
    id: &ObjectRef,
    references: impl Iterator<Item = &'a Reference>,
) {
    for reference in references {
        to.unlink(&reference.target(), id);
        into.unlink(&reference.namespace, id);
    }
}

pub(super) fn set<K: Ord + Clone, T>(
    map: &mut BTreeMap<K, T>,
    name: &K,
    value: Option<T>,
) -> Option<T> {
    match value {
        Some(value) => map.insert(name.clone(), value),
        None => map.remove(name),
    }
}

/// The names in a namespace.
pub(super) fn within<'a, T>(
    map: &'a BTreeMap<Name, T>,
    namespace: &'a Arc<str>,
) -> impl Iterator<Item = &'a Name> {
    map.range(Name::new(namespace.clone(), "")..)
        .map(|(name, _)| name)
        .take_while(move |name| name.namespace == *namespace)
}
