//! What is kept of each object of the cluster.

use std::{fmt, net::IpAddr, sync::Arc};

use super::{access_policy::Access, policy::Policy, ports::PortSet, route::Route};
use crate::{
    controller::kubernetes::api::reference_grant::ReferenceGrantSpec,
    discovery::model::{MtlsMode, Protocol},
    ranges::PortRange,
};

/// An object within its kind; the namespace is empty for what has none.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl Name {
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The kinds that are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Namespace,
    Node,
    Pod,
    Service,
    EndpointSlice,
    HttpRoute,
    GrpcRoute,
    ReferenceGrant,
    ResiliencePolicy,
    AccessPolicy,
}

/// One object.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    Namespace(Namespace),
    Node(Node),
    Pod(Pod),
    Service(Service),
    EndpointSlice(Slice),
    HttpRoute(Route),
    GrpcRoute(Route),
    ReferenceGrant(Grant),
    ResiliencePolicy(Box<Policy>),
    AccessPolicy(Box<Access>),
}

/// Who of other namespaces may name what of this one.
pub type Grant = ReferenceGrantSpec;

/// The defaults of what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    pub opaque: PortSet,
    pub mtls: Option<MtlsMode>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    pub zone: Option<Arc<str>>,
}

/// A pod that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub ips: Vec<IpAddr>,
    /// Its addresses are the node's, and no sidecar can take its traffic.
    pub host_network: bool,
    pub service_account: Arc<str>,
    pub node: Option<Arc<str>>,
    /// A sidecar runs in it.
    pub injected: bool,
    /// Ports whose traffic does not pass its sidecar.
    pub bypassed: Arc<[PortRange]>,
    pub terminating: bool,
    /// Absent: as the namespace says.
    pub opaque: Option<PortSet>,
    pub mtls: Option<MtlsMode>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Virtual addresses; none when it is headless.
    pub addresses: Vec<IpAddr>,
    /// Whether IPv6 is the family that it has first.
    pub prefers_v6: bool,
    /// Only a name for something outside.
    pub external: bool,
    /// Those that speak TCP.
    pub ports: Vec<Port>,
    /// Service ports. Absent: as the namespace says.
    pub opaque: Option<PortSet>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub number: u16,
    /// Empty where a service's only port has none; how slices call it too.
    pub name: Arc<str>,
    pub protocol: Protocol,
}

/// A part of a service's endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// In the slice's own namespace.
    pub service: Arc<str>,
    /// By the name of the service's port: where its endpoints listen.
    pub ports: Vec<(Arc<str>, u16)>,
    pub endpoints: Vec<SliceEndpoint>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceEndpoint {
    pub ip: IpAddr,
    /// The pod behind it, in the slice's own namespace.
    pub pod: Option<Arc<str>>,
    /// Whose traffic it should take: the hint, or else where it is.
    pub zone: Option<Arc<str>>,
    pub state: EndpointState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointState {
    Ready,
    /// On its way out, and still serving.
    Draining,
    NotReady,
}
