//! From a checked registry file to the resources of the discovery stream.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
};

use super::{
    Registry,
    format::{EndpointEntry, PortEntry, RegistryFile, ServiceEntry, WorkloadEntry},
};
use crate::{
    discovery::{
        model::{
            Destination, Endpoint, Endpoints, Protocol, Service, ServiceKey, Workload, WorkloadPort,
        },
        resource::{Named, Resource, ResourceName},
    },
    identity::SpiffeId,
};

/// The file has no [`problems`](super::check::problems).
pub(super) fn lower(file: &RegistryFile) -> Registry {
    let mut resources = BTreeMap::new();
    let mut workloads: BTreeMap<SpiffeId, Workload> = BTreeMap::new();
    let mut tokens = HashMap::new();
    for entry in &file.workloads {
        let id = identity(file, &entry.namespace, &entry.service_account);
        tokens.extend(entry.token_sha256.map(|token| (token, id.clone())));
        workloads.insert(id, workload(entry));
    }
    for service in &file.services {
        for port in &service.ports {
            lower_port(file, service, port, &mut resources, &mut workloads);
        }
    }
    // Virtual addresses last: where one is an endpoint's too, the service is what was dialled.
    for service in &file.services {
        resources.extend(virtual_addresses(service));
    }
    let workloads = workloads
        .into_iter()
        .map(|(id, workload)| Resource::workload(&id, workload));
    resources.extend(workloads);
    Registry {
        trust_domain: file.trust_domain.clone(),
        resources: resources.into_iter().collect(),
        tokens,
    }
}

pub(super) fn workload(entry: &WorkloadEntry) -> Workload {
    Workload {
        mtls: entry.mtls,
        ports: entry.ports.clone(),
        policy: entry.policy.clone(),
        access: entry.access.clone(),
    }
}

fn lower_port(
    file: &RegistryFile,
    service: &ServiceEntry,
    port: &PortEntry,
    resources: &mut BTreeMap<ResourceName, Resource>,
    workloads: &mut BTreeMap<SpiffeId, Workload>,
) {
    let key = service.key(port);
    let mut ready = Vec::new();
    for entry in &service.endpoints {
        let Some(addr) = entry.address(port) else {
            continue;
        };
        let endpoint = endpoint(file, service, entry, addr);
        if let Some(workload) = endpoint
            .identity
            .as_ref()
            .and_then(|id| workloads.get_mut(id))
        {
            name_protocol(workload, addr.port(), port.protocol);
        }
        if entry.ready {
            ready.push(endpoint.clone());
        }
        let (name, direct) = Resource::destination(
            addr,
            Destination::Endpoint {
                service: Some(key.clone()),
                endpoint,
            },
        );
        // Of several services behind one endpoint, the first in the file names its policies.
        resources.entry(name).or_insert(direct);
    }
    resources.extend([
        Resource::endpoints(Endpoints {
            service: key.clone(),
            endpoints: ready,
        }),
        Resource::service(Service {
            key,
            protocol: port.protocol,
            routes: service.routes.clone(),
            policy: service.policy.clone(),
        }),
    ]);
}

fn endpoint(
    file: &RegistryFile,
    service: &ServiceEntry,
    entry: &EndpointEntry,
    addr: SocketAddr,
) -> Endpoint {
    let account = entry.service_account.as_ref();
    Endpoint {
        addr,
        weight: entry.weight,
        zone: entry.zone.clone(),
        identity: account.map(|account| identity(file, &service.namespace, account)),
    }
}

/// What the workload's own entry says about a port counts before what a service says.
fn name_protocol(workload: &mut Workload, port: u16, protocol: Protocol) {
    let named = workload.ports.iter().any(|known| known.port == port);
    if protocol != Protocol::Detect && !named {
        workload.ports.push(WorkloadPort { port, protocol });
    }
}

fn virtual_addresses(service: &ServiceEntry) -> impl Iterator<Item = Named> {
    service.addresses.iter().flat_map(move |ip| {
        service.ports.iter().map(move |port| {
            Resource::destination(
                SocketAddr::new(*ip, port.port),
                Destination::Service(service.key(port)),
            )
        })
    })
}

fn identity(file: &RegistryFile, namespace: &str, service_account: &str) -> SpiffeId {
    SpiffeId::new(&file.trust_domain, namespace, service_account)
        .expect("checked with the workload that has this name")
}

impl ServiceEntry {
    pub(super) fn key(&self, port: &PortEntry) -> ServiceKey {
        ServiceKey {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            port: port.port,
        }
    }
}
