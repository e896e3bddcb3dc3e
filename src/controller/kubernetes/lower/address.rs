//! What an address stands for: a service's own, or a pod's that is dialled directly.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use super::{
    endpoints::Pods,
    index::Index,
    object::{Name, Pod, Service, Slice},
};
use crate::{
    controller::store::Host,
    discovery::model::{Destination, ServiceKey},
};

/// By port, and what every other port stands for.
#[derive(Debug, Default)]
pub(super) struct Address {
    pub ports: BTreeMap<u16, Destination>,
    pub host: Option<Host>,
}

pub(super) fn address(index: &Index, pods: &Pods, ip: IpAddr) -> Address {
    let services = index.services_at.of(&ip);
    if !services.is_empty() {
        let ports = services.iter().flat_map(|name| {
            let service = index.services.get(name);
            let ports = service.into_iter().flat_map(|service| &service.ports);
            ports.map(move |port| (port.number, Destination::Service(key(name, port.number))))
        });
        return Address {
            ports: ports.collect(),
            host: None,
        };
    }
    let Some((name, pod)) = index.pod_at(ip) else {
        return Address::default();
    };
    let endpoint = |port| pods.endpoint(index, name, pod, SocketAddr::new(ip, port));
    let mut ports: BTreeMap<u16, ServiceKey> = BTreeMap::new();
    for (port, service) in named_ports(index, name, pod) {
        // Of several services behind one port, the first by name lends its policies.
        let known = ports.entry(port).or_insert_with(|| service.clone());
        if service < *known {
            *known = service;
        }
    }
    let ports = ports.into_iter().map(|(port, service)| {
        let direct = Destination::Endpoint {
            service: Some(service),
            endpoint: endpoint(port),
        };
        (port, direct)
    });
    let identity = pods.identity(name, pod);
    Address {
        ports: ports.collect(),
        host: identity.map(|identity| Host {
            identity,
            zone: index.zone_of(pod),
            bypassed: pod.bypassed.clone(),
        }),
    }
}

/// The ports of a pod that services name, each with the service port that it serves. Only
/// services of the pod's own namespace count: others cannot speak for it.
pub(super) fn named_ports(index: &Index, name: &Name, pod: &Pod) -> Vec<(u16, ServiceKey)> {
    let mut named = Vec::new();
    for ip in &pod.ips {
        for (service_name, slice) in index.listings(*ip) {
            let listed = slice.endpoints.iter().any(|endpoint| {
                endpoint.ip == *ip && endpoint.pod.as_ref().is_none_or(|pod| *pod == name.name)
            });
            let service = index.services.get(&service_name);
            let service = service.filter(|_| listed && service_name.namespace == name.namespace);
            if let Some(service) = service {
                let ports = target_ports(service, slice);
                named.extend(ports.map(|(port, target)| (target, key(&service_name, port))));
            }
        }
    }
    named
}

/// The service's port numbers with those that the slice's endpoints listen on.
pub(super) fn target_ports(service: &Service, slice: &Slice) -> impl Iterator<Item = (u16, u16)> {
    service.ports.iter().filter_map(|port| {
        let target = slice.target(&port.name)?;
        Some((port.number, target))
    })
}

pub(super) fn key(service: &Name, port: u16) -> ServiceKey {
    ServiceKey {
        namespace: service.namespace.clone(),
        name: service.name.clone(),
        port,
    }
}
