//! A service account's workload, from what its pods add to it: counted, so that one pod of many
//! costs what one pod of one does.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    access_policy,
    address::named_ports,
    index::Index,
    object::{Name, Pod},
    policy, service,
};
use crate::discovery::model::{MtlsMode, Protocol, Workload, WorkloadPort};

/// What one pod adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub account: Name,
    /// The services that it is behind, with its ports there.
    behind: BTreeSet<(Name, u16)>,
    ports: Vec<(u16, Rank)>,
    strict: bool,
}

/// Of several protocols for one port the greatest counts: bytes that nobody reads into can be
/// any of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Http,
    Http2,
    Tcp,
}

impl Rank {
    fn of(protocol: Protocol) -> Option<Self> {
        match protocol {
            Protocol::Detect => None,
            Protocol::Http => Some(Self::Http),
            Protocol::Http2 => Some(Self::Http2),
            Protocol::Tcp => Some(Self::Tcp),
        }
    }

    fn protocol(self) -> Protocol {
        match self {
            Self::Http => Protocol::Http,
            Self::Http2 => Protocol::Http2,
            Self::Tcp => Protocol::Tcp,
        }
    }
}

/// `None` for a pod without a sidecar.
pub(super) fn claim(index: &Index, name: &Name, pod: &Pod) -> Option<Claim> {
    pod.injected.then_some(())?;
    let namespace = index.namespaces.get(&name.namespace);
    let opaque = pod.opaque.as_ref().or(namespace.map(|all| &all.opaque));
    let mut behind = BTreeSet::new();
    let mut ports: Vec<_> = named_ports(index, name, pod)
        .into_iter()
        .filter_map(|(port, key)| {
            let service = Name::new(key.namespace, key.name);
            behind.insert((service.clone(), port));
            let said = opaque.is_some_and(|ports| ports.contains(port));
            let protocol = if said {
                Protocol::Tcp
            } else {
                service::protocol(index, &service, key.port)
            };
            Some((port, Rank::of(protocol)?))
        })
        .collect();
    // Also those that no service names.
    let opaque = opaque.into_iter().flat_map(|ports| ports.singles());
    ports.extend(opaque.map(|port| (port, Rank::Tcp)));
    ports.sort_unstable();
    ports.dedup();
    let mtls = pod.mtls.or(namespace.and_then(|all| all.mtls));
    Some(Claim {
        account: Name::new(name.namespace.clone(), pod.service_account.clone()),
        behind,
        ports,
        strict: mtls == Some(MtlsMode::Strict),
    })
}

#[derive(Debug, Default)]
pub(super) struct Account {
    pods: u32,
    strict: u32,
    behind: Counts<(Name, u16)>,
    ports: Counts<(u16, Rank)>,
}

impl Account {
    pub fn add(&mut self, claim: &Claim) {
        self.pods += 1;
        self.strict += u32::from(claim.strict);
        claim.behind.iter().for_each(|at| self.behind.add(at));
        claim.ports.iter().for_each(|port| self.ports.add(port));
    }

    pub fn subtract(&mut self, claim: &Claim) {
        self.pods -= 1;
        self.strict -= u32::from(claim.strict);
        claim.behind.iter().for_each(|at| self.behind.subtract(at));
        claim
            .ports
            .iter()
            .for_each(|port| self.ports.subtract(port));
    }

    pub fn is_empty(&self) -> bool {
        self.pods == 0
    }

    /// Strict as soon as one of its pods is: an identity has one mode. Of the services behind
    /// which its pods are, the first by name that has a policy lends it.
    pub fn workload(&self, index: &Index, namespace: &Arc<str>) -> Workload {
        let greatest: BTreeMap<u16, Rank> = self.ports.0.keys().copied().collect();
        let mut behind = self.behind.0.keys();
        let policy = behind.find_map(|(service, _)| policy::of_workload(index, service));
        let ports = greatest.into_iter().map(|(port, rank)| WorkloadPort {
            port,
            protocol: rank.protocol(),
        });
        Workload {
            mtls: if self.strict > 0 {
                MtlsMode::Strict
            } else {
                MtlsMode::Permissive
            },
            ports: ports.collect(),
            policy: policy.unwrap_or_default(),
            access: access_policy::of_workload(index, namespace, self),
        }
    }
}

impl Account {
    /// Its ports behind the services with these names.
    pub fn ports_behind(&self, is_meant: impl Fn(&str) -> bool) -> Vec<u16> {
        let behind = self.behind.0.keys();
        behind
            .filter(|(service, _)| is_meant(&service.name))
            .map(|(_, port)| *port)
            .collect()
    }
}

/// How many pods say something.
#[derive(Debug)]
struct Counts<T>(BTreeMap<T, u32>);

impl<T> Default for Counts<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Ord + Clone> Counts<T> {
    fn add(&mut self, value: &T) {
        *self.0.entry(value.clone()).or_default() += 1;
    }

    fn subtract(&mut self, value: &T) {
        if let Some(count) = self.0.get_mut(value) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(value);
            }
        }
    }
}
