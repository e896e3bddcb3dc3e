//! What is to be lowered again.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    index::{Index, within},
    object::Name,
    policy::Target,
    touch::access_id,
};
use crate::controller::kubernetes::findings::ObjectRef;

#[derive(Debug, Default)]
pub(super) struct Dirty {
    pub addresses: BTreeSet<IpAddr>,
    pub services: BTreeSet<Name>,
    pub pods: BTreeSet<Name>,
    pub accounts: BTreeSet<Name>,
    /// Routes and policies whose findings may differ.
    pub objects: BTreeSet<ObjectRef>,
}

impl Dirty {
    /// Who a pod's address belongs to, or where it is, has changed.
    pub fn address(&mut self, index: &Index, ip: IpAddr) {
        self.addresses.insert(ip);
        let services = index.listings(ip).map(|(service, _)| service);
        self.services.extend(services);
    }

    /// Who lists an address, or how, has changed.
    pub fn listed(&mut self, index: &Index, ip: IpAddr) {
        self.addresses.insert(ip);
        self.pods.extend(index.pods_at.of(&ip).iter().cloned());
    }

    /// What is attached to a service may fare otherwise now.
    pub fn attached(&mut self, index: &Index, service: &Name) {
        for route in index.routes_on.of(service) {
            self.objects.insert(route.clone());
            let policies = index.policies_on.of(&Target::Route(route.clone()));
            self.objects.extend(policies.iter().cloned());
        }
        let policies = index.policies_on.of(&Target::Service(service.clone()));
        self.objects.extend(policies.iter().cloned());
        self.guarded(index, service);
    }

    /// What is behind a service may be guarded otherwise now.
    pub fn guarded(&mut self, index: &Index, service: &Name) {
        let access = within(&index.access, &service.namespace);
        let targets = |name: &&Name| index.access[*name].targets(&service.name);
        self.objects.extend(access.filter(targets).map(access_id));
    }

    /// Whether what a route or policy sends to is there, or may be sent to, has changed.
    pub fn sender(&mut self, index: &Index, id: &ObjectRef) {
        self.objects.insert(id.clone());
        self.services.extend(index.parents(id));
        let policy = index.policies.get(id);
        for target in policy.into_iter().flat_map(|policy| &policy.targets) {
            self.policed(index, target);
        }
    }

    /// The policy of a target may be another.
    pub fn policed(&mut self, index: &Index, target: &Target) {
        match target {
            Target::Service(service) => {
                self.services.insert(service.clone());
                let slices = index.slices_of(service);
                for endpoint in slices.flat_map(|slice| &slice.endpoints) {
                    let pods = index.pods_at.of(&endpoint.ip).iter();
                    self.accounts.extend(pods.filter_map(|name| {
                        let pod = index.pods.get(name)?;
                        let account = pod.service_account.clone();
                        Some(Name::new(name.namespace.clone(), account))
                    }));
                }
            }
            Target::Route(route) => self.services.extend(index.parents(route)),
        }
    }
}
