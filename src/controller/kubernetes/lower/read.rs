//! From the API's types to what is kept of them.

use std::{net::IpAddr, sync::Arc};

use k8s_openapi::api::{
    core::v1 as core,
    discovery::v1::{Endpoint, EndpointSlice},
};
use kube::{Resource, api::ObjectMeta, core::DeserializeGuard};

use super::{
    object::{
        EndpointState, Name, Namespace, Node, Object, Pod, Port, Service, Slice, SliceEndpoint,
    },
    ports::PortSet,
    protocol::protocol,
};
use crate::{
    controller::kubernetes::api::reference_grant::ReferenceGrant, discovery::model::MtlsMode,
    ranges::PortRange,
};

const OPAQUE_PORTS: &str = "outrigger.dev/opaque-ports";
const MTLS: &str = "outrigger.dev/mtls";
const INJECTED: &str = "outrigger.dev/injected";
/// Sets up the interception.
const INIT: &str = "outrigger-init";
/// The ports that it leaves alone on the way in.
const BYPASSES: [&str; 3] = ["--admin-port", "--probe-port", "--skip-inbound-ports"];
const ZONE: &str = "topology.kubernetes.io/zone";
const SERVICE_NAME: &str = "kubernetes.io/service-name";

pub fn name<K: Resource>(object: &K) -> Name {
    name_of(object.meta())
}

fn name_of(meta: &ObjectMeta) -> Name {
    let text = |field: &Option<String>| field.as_deref().unwrap_or_default().into();
    let (namespace, name): (Arc<str>, Arc<str>) = (text(&meta.namespace), text(&meta.name));
    Name { namespace, name }
}

/// `None` for an object that means nothing here.
pub trait Read {
    fn read(&self) -> Option<Object>;
}

impl Read for core::Namespace {
    fn read(&self) -> Option<Object> {
        Some(Object::Namespace(Namespace {
            opaque: opaque(&self.metadata).unwrap_or_default(),
            mtls: mtls(&self.metadata),
        }))
    }
}

impl Read for core::Node {
    fn read(&self) -> Option<Object> {
        let zone = self.metadata.labels.as_ref().and_then(|all| all.get(ZONE));
        Some(Object::Node(Node {
            zone: zone.map(|zone| zone.as_str().into()),
        }))
    }
}

impl Read for core::Pod {
    fn read(&self) -> Option<Object> {
        let spec = self.spec.as_ref()?;
        let status = self.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref());
        // Its address may be another pod's by now.
        if matches!(phase, Some("Succeeded" | "Failed")) {
            return None;
        }
        let ips = status.and_then(|status| status.pod_ips.as_ref());
        let ips = ips.into_iter().flatten().filter_map(|ip| parse(&ip.ip));
        let labels = self.metadata.labels.as_ref();
        let host_network = spec.host_network.unwrap_or(false);
        let account = spec.service_account_name.as_deref();
        Some(Object::Pod(Pod {
            ips: ips.collect(),
            host_network,
            service_account: account.unwrap_or("default").into(),
            node: spec.node_name.as_deref().map(Into::into),
            injected: !host_network
                && labels.is_some_and(|all| all.get(INJECTED).is_some_and(|value| value == "true")),
            bypassed: bypassed(spec),
            terminating: self.metadata.deletion_timestamp.is_some(),
            opaque: opaque(&self.metadata),
            mtls: mtls(&self.metadata),
        }))
    }
}

impl Read for core::Service {
    fn read(&self) -> Option<Object> {
        let spec = self.spec.as_ref()?;
        let addresses = spec.cluster_ips.iter().flatten();
        let families = spec.ip_families.as_deref().unwrap_or_default();
        let ports = spec.ports.iter().flatten();
        Some(Object::Service(Service {
            // "None" is how a headless service says that it has no address.
            addresses: addresses.filter_map(|ip| parse(ip)).collect(),
            prefers_v6: families.first().is_some_and(|family| family == "IPv6"),
            external: spec.type_.as_deref() == Some("ExternalName"),
            ports: ports.filter_map(service_port).collect(),
            opaque: opaque(&self.metadata),
        }))
    }
}

fn service_port(port: &core::ServicePort) -> Option<Port> {
    let name = port.name.as_deref().unwrap_or_default();
    is_tcp(port.protocol.as_deref()).then_some(())?;
    Some(Port {
        number: number(port.port)?,
        name: name.into(),
        protocol: protocol(port.app_protocol.as_deref(), name),
    })
}

impl Read for EndpointSlice {
    fn read(&self) -> Option<Object> {
        let service = self.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
        if self.address_type == "FQDN" {
            return None;
        }
        let namespace = self.metadata.namespace.as_deref().unwrap_or_default();
        let ports = self.ports.iter().flatten().filter_map(|port| {
            is_tcp(port.protocol.as_deref()).then_some(())?;
            let name = port.name.as_deref().unwrap_or_default();
            Some((name.into(), number(port.port?)?))
        });
        let endpoints = self.endpoints.iter().flatten();
        Some(Object::EndpointSlice(Slice {
            service: service.as_str().into(),
            ports: ports.collect(),
            endpoints: endpoints
                .filter_map(|endpoint| slice_endpoint(namespace, endpoint))
                .collect(),
        }))
    }
}

impl Read for ReferenceGrant {
    fn read(&self) -> Option<Object> {
        Some(Object::ReferenceGrant(self.spec.clone()))
    }
}

/// What cannot be read means nothing, rather than that nothing of its kind can be listed.
impl<K: Read + Resource> Read for DeserializeGuard<K>
where
    K::DynamicType: Default,
{
    fn read(&self) -> Option<Object> {
        match &self.0 {
            Ok(object) => object.read(),
            Err(invalid) => {
                tracing::warn!(
                    kind = %K::kind(&Default::default()), name = %name_of(&invalid.metadata), error = invalid.error,
                    "this object cannot be read and has no effect: was it written by a newer version?"
                );
                None
            }
        }
    }
}

fn slice_endpoint(namespace: &str, endpoint: &Endpoint) -> Option<SliceEndpoint> {
    // "Consumers should always use the first" where there are several.
    let ip = parse(endpoint.addresses.first()?)?;
    let target = endpoint.target_ref.as_ref().filter(|target| {
        // One that points out of its namespace claims what is not its own.
        let local = target.namespace.as_deref().is_none_or(|ns| ns == namespace);
        local && target.kind.as_deref() == Some("Pod")
    });
    let conditions = endpoint.conditions.as_ref();
    let said = |condition: Option<bool>, absent: bool| condition.unwrap_or(absent);
    let ready = said(conditions.and_then(|all| all.ready), true);
    let terminating = said(conditions.and_then(|all| all.terminating), false);
    let serving = said(conditions.and_then(|all| all.serving), ready);
    Some(SliceEndpoint {
        ip,
        pod: target.and_then(|target| target.name.as_deref().map(Into::into)),
        zone: zone(endpoint).map(Into::into),
        state: match (ready, serving && terminating) {
            (true, _) => EndpointState::Ready,
            (false, true) => EndpointState::Draining,
            (false, false) => EndpointState::NotReady,
        },
    })
}

/// A hint counts before the place; of several, the place if it is among them.
fn zone(endpoint: &Endpoint) -> Option<&str> {
    let own = endpoint.zone.as_deref();
    let hints = endpoint
        .hints
        .as_ref()
        .and_then(|all| all.for_zones.as_ref());
    let mut hints = hints.into_iter().flatten().map(|hint| hint.name.as_str());
    match hints.next() {
        Some(first) if Some(first) == own || hints.any(|other| Some(other) == own) => own,
        Some(first) => Some(first),
        None => own,
    }
}

fn is_tcp(protocol: Option<&str>) -> bool {
    protocol.is_none_or(|protocol| protocol == "TCP")
}

fn number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port != 0)
}

fn parse(ip: &str) -> Option<IpAddr> {
    ip.parse().ok().map(|ip: IpAddr| ip.to_canonical())
}

/// As its rules were made, and not as annotations say: those of the namespace may have changed
/// since, and the mesh's defaults too.
fn bypassed(spec: &core::PodSpec) -> Arc<[PortRange]> {
    let mut containers = spec.init_containers.iter().flatten();
    let init = containers.find(|container| container.name == INIT);
    let arguments = init.and_then(|init| init.args.as_deref());
    let lists = arguments.into_iter().flatten().filter_map(|argument| {
        let (name, ports) = argument.split_once('=')?;
        BYPASSES.contains(&name).then_some(ports)
    });
    let ports = lists.flat_map(|ports| ports.split(','));
    ports.filter_map(|port| port.parse().ok()).collect()
}

fn annotation<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    let annotations = meta.annotations.as_ref()?;
    annotations.get(name).map(String::as_str)
}

fn opaque(meta: &ObjectMeta) -> Option<PortSet> {
    annotation(meta, OPAQUE_PORTS).map(PortSet::parse)
}

fn mtls(meta: &ObjectMeta) -> Option<MtlsMode> {
    match annotation(meta, MTLS)? {
        "strict" => Some(MtlsMode::Strict),
        "permissive" => Some(MtlsMode::Permissive),
        _ => None,
    }
}
