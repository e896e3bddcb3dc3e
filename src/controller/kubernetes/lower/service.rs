//! A service's ports as resources: what they speak, their endpoints, routes and policies.

use super::{
    address::key,
    endpoints::{Pods, endpoints},
    index::Index,
    object::{Name, Service},
    policy,
    ports::PortSet,
    route,
};
use crate::discovery::{
    model::{self, Endpoints, Protocol},
    resource::{Named, Resource},
};

/// Nothing for a name of something outside: what it stands for is not the registry's to know.
pub(super) fn service(index: &Index, pods: &Pods, name: &Name) -> Vec<Named> {
    let service = index.services.get(name);
    let Some(service) = service.filter(|service| !service.external) else {
        return Vec::new();
    };
    let policy = policy::of_service(index, name);
    let mut resources = Vec::new();
    for port in &service.ports {
        let key = key(name, port.number);
        let (endpoints, opaque) = endpoints(index, pods, name, service, port);
        let protocol = if opaque || said_opaque(index, name, service, port.number) {
            Protocol::Tcp
        } else {
            port.protocol
        };
        resources.extend([
            Resource::endpoints(Endpoints {
                service: key.clone(),
                endpoints,
            }),
            Resource::service(model::Service {
                key,
                protocol,
                routes: route::routes(index, name, port.number),
                policy: policy.clone(),
            }),
        ]);
    }
    resources
}

/// Whether the service, or else its namespace, says that a service port is opaque.
fn said_opaque(index: &Index, name: &Name, service: &Service, port: u16) -> bool {
    let default = || Some(&index.namespaces.get(&name.namespace)?.opaque);
    let said = service.opaque.as_ref().or_else(default);
    said.is_some_and(|ports: &PortSet| ports.contains(port))
}

/// What a service port speaks, as far as the service itself says.
pub(super) fn protocol(index: &Index, name: &Name, number: u16) -> Protocol {
    let Some(service) = index.services.get(name) else {
        return Protocol::Detect;
    };
    if said_opaque(index, name, service, number) {
        return Protocol::Tcp;
    }
    let port = service.ports.iter().find(|port| port.number == number);
    port.map_or(Protocol::Detect, |port| port.protocol)
}
