//! The objects, and who refers to whom: every question is answered without a search.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    net::IpAddr,
    sync::Arc,
};

use super::object::{Name, Namespace, Node, Pod, Service, Slice};

/// Objects by a key that they have in common, in order of name.
#[derive(Debug)]
pub(super) struct Links<K>(HashMap<K, Vec<Name>>);

impl<K> Default for Links<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Links<K> {
    pub fn of(&self, key: &K) -> &[Name] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    pub fn link(&mut self, key: K, name: &Name) {
        let names = self.0.entry(key).or_default();
        if let Err(at) = names.binary_search(name) {
            names.insert(at, name.clone());
        }
    }

    pub fn unlink(&mut self, key: &K, name: &Name) {
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

pub(super) fn set<T>(map: &mut BTreeMap<Name, T>, name: &Name, value: Option<T>) -> Option<T> {
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
