//! A synthetic cluster: services with meshed pods behind them, one of whose endpoints moves.

use std::{net::Ipv4Addr, sync::Arc};

use outrigger::{
    controller::kubernetes::{
        config::DefaultAccess,
        lower::{
            Cluster, Update,
            object::{EndpointState, Name, Object, Pod, Port, Service, Slice, SliceEndpoint},
        },
    },
    discovery::model::{Endpoints, Protocol},
};

pub const NAMESPACE: &str = "load";
pub const PORT: u16 = 80;

/// The moving endpoints: the last part of the address says how often they have moved.
const MOVING: u32 = u32::from_be_bytes([198, 19, 0, 0]);
const PODS: u32 = u32::from_be_bytes([198, 18, 128, 0]);
const SERVICES: u32 = u32::from_be_bytes([198, 18, 64, 0]);

pub fn name(service: usize) -> String {
    format!("s{service}")
}

/// The virtual address of a service.
pub fn address(service: usize) -> Ipv4Addr {
    (SERVICES + service as u32).into()
}

/// How often a service's endpoints have moved, from one that watches them.
pub fn generation(endpoints: &Endpoints) -> Option<u32> {
    let mut addresses = endpoints
        .endpoints
        .iter()
        .map(|endpoint| endpoint.addr.ip());
    addresses.find_map(|ip| match ip {
        std::net::IpAddr::V4(ip) => u32::from(ip).checked_sub(MOVING),
        std::net::IpAddr::V6(_) => None,
    })
}

pub struct World {
    cluster: Cluster,
    pods: usize,
}

impl World {
    /// Services with `pods` each, and one endpoint more that has moved `generation` times.
    pub fn new(services: usize, pods: usize, generation: u32) -> anyhow::Result<Self> {
        let cluster = Cluster::new("bench.test", DefaultAccess::default())?;
        let mut world = Self { cluster, pods };
        for service in 0..services {
            world.add(service, generation);
        }
        Ok(world)
    }

    fn add(&mut self, service: usize, generation: u32) {
        let name = name(service);
        for nth in 0..self.pods {
            let pod = Pod {
                ips: vec![self.pod_ip(service, nth).into()],
                host_network: false,
                service_account: name.as_str().into(),
                node: None,
                injected: true,
                bypassed: [].into(),
                terminating: false,
                opaque: None,
                mtls: None,
            };
            let name = pod_name(service, nth);
            self.cluster
                .put(&Name::new(NAMESPACE, name), Object::Pod(pod));
        }
        let object = Service {
            addresses: vec![address(service).into()],
            prefers_v6: false,
            external: false,
            ports: vec![Port {
                number: PORT,
                name: "http".into(),
                protocol: Protocol::Http,
            }],
            opaque: None,
        };
        let name = Name::new(NAMESPACE, name);
        self.cluster.put(&name, Object::Service(object));
        self.move_endpoint(service, generation);
    }

    /// Puts a service's slice anew, as a watch would bring it.
    pub fn move_endpoint(&mut self, service: usize, generation: u32) {
        let endpoint = |ip: Ipv4Addr, pod| SliceEndpoint {
            ip: ip.into(),
            pod,
            zone: None,
            state: EndpointState::Ready,
        };
        let pods = (0..self.pods)
            .map(|nth| endpoint(self.pod_ip(service, nth), Some(pod_name(service, nth))));
        let moving = endpoint((MOVING + generation).into(), None);
        let name = name(service);
        let slice = Slice {
            service: name.as_str().into(),
            ports: vec![("http".into(), 8080)],
            endpoints: pods.chain([moving]).collect(),
        };
        let name = Name::new(NAMESPACE, name);
        self.cluster.put(&name, Object::EndpointSlice(slice));
    }

    /// What has changed since the last time.
    pub fn flush(&mut self) -> Update {
        self.cluster.flush()
    }

    fn pod_ip(&self, service: usize, nth: usize) -> Ipv4Addr {
        (PODS + (service * self.pods + nth) as u32).into()
    }
}

fn pod_name(service: usize, nth: usize) -> Arc<str> {
    format!("s{service}-{nth}").into()
}
