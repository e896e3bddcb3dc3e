//! What each changed object touches.

use std::collections::BTreeSet;

use super::{
    access_policy::Access,
    cluster::Cluster,
    index::{set, within},
    object::{Grant, Name, Namespace, Node, Pod, Service, Slice},
    policy::{Policy, Target},
    route::{Route, parent},
};
use crate::controller::kubernetes::findings::{ObjectKind, ObjectRef};

impl Cluster {
    pub(super) fn set_namespace(&mut self, name: &Name, namespace: Option<Namespace>) {
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
        for service in within(&self.index.services, &name.name) {
            self.dirty.services.insert(service.clone());
            self.dirty.attached(&self.index, service);
        }
    }

    pub(super) fn set_node(&mut self, name: &Name, node: Option<Node>) {
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

    pub(super) fn set_pod(&mut self, name: &Name, pod: Option<Pod>) {
        if self.index.pods.get(name) == pod.as_ref() {
            return;
        }
        let old = self.index.set_pod(name, pod);
        let new = self.index.pods.get(name);
        for ip in old.iter().chain(new).flat_map(|pod| &pod.ips) {
            self.dirty.address(&self.index, *ip);
        }
        // Who an access policy is for, and whom it protects.
        let guarded = |pod: &Pod| {
            let account = pod.service_account.clone();
            let sidecar = (pod.injected, pod.host_network, pod.bypassed.clone());
            (account, sidecar, pod.terminating)
        };
        if old.as_ref().map(guarded) != new.map(guarded) {
            let policies = within(&self.index.access, &name.namespace);
            self.dirty.objects.extend(policies.map(access_id));
        }
        self.dirty.pods.insert(name.clone());
    }

    pub(super) fn set_service(&mut self, name: &Name, service: Option<Service>) {
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
        self.dirty.attached(&self.index, name);
        for sender in self.index.senders_to.of(name) {
            self.dirty.sender(&self.index, sender);
        }
    }

    pub(super) fn set_slice(&mut self, name: &Name, slice: Option<Slice>) {
        if self.index.slices.get(name) == slice.as_ref() {
            return;
        }
        let old = self.index.set_slice(name, slice);
        let new = self.index.slices.get(name);
        for slice in old.iter().chain(new) {
            let service = Name::new(name.namespace.clone(), slice.service.clone());
            self.dirty.guarded(&self.index, &service);
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

    pub(super) fn set_route(&mut self, kind: ObjectKind, name: &Name, route: Option<Route>) {
        let id = id(kind, name);
        if self.index.routes.get(&id) == route.as_ref() {
            return;
        }
        let old = self.index.set_route(&id, route);
        let new = self.index.routes.get(&id);
        for target in old.iter().chain(new).flat_map(|route| &route.parents) {
            let service = parent(&id, target);
            self.dirty.attached(&self.index, &service);
            self.dirty.services.insert(service);
        }
        let of_route = self.index.policies_on.of(&Target::Route(id.clone()));
        self.dirty.objects.extend(of_route.iter().cloned());
        self.dirty.objects.insert(id);
    }

    pub(super) fn set_policy(&mut self, name: &Name, policy: Option<Policy>) {
        let id = id(ObjectKind::ResiliencePolicy, name);
        if self.index.policies.get(&id) == policy.as_ref() {
            return;
        }
        let old = self.index.set_policy(&id, policy);
        let new = self.index.policies.get(&id);
        for target in old.iter().chain(new).flat_map(|policy| &policy.targets) {
            self.dirty.policed(&self.index, target);
            // One that was hidden may come out, or the other way.
            let others = self.index.policies_on.of(target);
            self.dirty.objects.extend(others.iter().cloned());
        }
        self.dirty.objects.insert(id);
    }

    pub(super) fn set_access(&mut self, name: &Name, access: Option<Access>) {
        if self.index.access.get(name) == access.as_ref() {
            return;
        }
        set(&mut self.index.access, name, access);
        let accounts = within(&self.accounts, &name.namespace).cloned();
        self.dirty.accounts.extend(accounts);
        self.dirty.objects.insert(access_id(name));
    }

    pub(super) fn set_grant(&mut self, name: &Name, grant: Option<Grant>) {
        if self.index.grants.get(name) == grant.as_ref() {
            return;
        }
        set(&mut self.index.grants, name, grant);
        for sender in self.index.senders_into.of(&name.namespace) {
            self.dirty.sender(&self.index, sender);
        }
    }
}

pub(super) fn access_id(name: &Name) -> ObjectRef {
    id(ObjectKind::AccessPolicy, name)
}

fn id(kind: ObjectKind, name: &Name) -> ObjectRef {
    ObjectRef {
        kind,
        namespace: name.namespace.clone(),
        name: name.name.clone(),
    }
}
