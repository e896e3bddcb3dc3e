//! A service account's workload, from what its pods add to it: counted, so that one pod of many
//! costs what one pod of one does.

use std::collections::BTreeMap;

use super::{
    address::named_ports,
    index::Index,
    object::{Name, Pod},
    service,
};
use crate::discovery::model::{MtlsMode, Protocol, Workload, WorkloadPort};

/// What one pod adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub account: Name,
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
    let mut ports: Vec<_> = named_ports(index, name, pod)
        .into_iter()
        .filter_map(|(port, key)| {
            let service = Name::new(key.namespace, key.name);
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
        ports,
        strict: mtls == Some(MtlsMode::Strict),
    })
}

#[derive(Debug, Default)]
pub(super) struct Account {
    pods: u32,
    strict: u32,
    ports: BTreeMap<(u16, Rank), u32>,
}

impl Account {
    pub fn add(&mut self, claim: &Claim) {
        self.pods += 1;
        self.strict += u32::from(claim.strict);
        for port in &claim.ports {
            *self.ports.entry(*port).or_default() += 1;
        }
    }

    pub fn subtract(&mut self, claim: &Claim) {
        self.pods -= 1;
        self.strict -= u32::from(claim.strict);
        for port in &claim.ports {
            if let Some(count) = self.ports.get_mut(port) {
                *count -= 1;
                if *count == 0 {
                    self.ports.remove(port);
                }
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.pods == 0
    }

    /// Strict as soon as one of its pods is: an identity has one mode.
    pub fn workload(&self) -> Workload {
        let greatest: BTreeMap<u16, Rank> = self.ports.keys().copied().collect();
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
            ..Default::default()
        }
    }
}
