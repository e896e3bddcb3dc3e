//! What the control plane tells the data plane: the resources of the discovery stream.
//!
//! Both planes and the on-disk snapshot use these types, and nothing here names Kubernetes.
//! A resource travels as JSON inside the incremental xDS transport: one definition serves the
//! wire, the snapshot, the registry file and `/config`.

use std::{fmt, net::SocketAddr, str::FromStr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{access::Access, identity::SpiffeId, resilience::ResiliencePolicy, units};

/// One port of one service, the unit that is routed to: written `namespace/name:port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceKey {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub port: u16,
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.namespace, self.name, self.port)
    }
}

/// Why a text is not a service key.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a service: write namespace/name:port, for example shop/cart:80")]
pub struct InvalidServiceKey(String);

impl FromStr for ServiceKey {
    type Err = InvalidServiceKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (namespace, rest) = text.split_once('/')?;
            let (name, port) = rest.rsplit_once(':')?;
            let port = port.parse().ok().filter(|port| *port != 0)?;
            let label = |s: &str| !s.is_empty() && !s.contains(['/', ':']);
            (label(namespace) && label(name)).then(|| ServiceKey {
                namespace: namespace.into(),
                name: name.into(),
                port,
            })
        };
        parse().ok_or_else(|| InvalidServiceKey(text.to_owned()))
    }
}

units::serde_as_text!(ServiceKey);

/// What an original destination address stands for. Resource name: `ip:port`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Destination {
    /// A service's virtual address: route, balance, apply its policies.
    Service(ServiceKey),
    /// One endpoint dialled directly: its own identity, the policies of its service if it has one.
    Endpoint {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<ServiceKey>,
        endpoint: Endpoint,
    },
    /// Nothing the registry knows: forwarded as it is.
    Unknown,
}

/// What a service port speaks, as far as anyone said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Protocol {
    /// Nobody said: whoever speaks first decides.
    #[default]
    Detect,
    /// HTTP/1.1 or HTTP/2 with prior knowledge, told apart by the client's first bytes.
    Http,
    /// HTTP/2 with prior knowledge, gRPC included.
    Http2,
    /// Bytes, in either direction first.
    Tcp,
}

impl Protocol {
    /// Whether somebody said that it is HTTP, of either version.
    pub fn is_http(self) -> bool {
        matches!(self, Protocol::Http | Protocol::Http2)
    }
}

/// A service port: its protocol, routes and policy. Resource name: the [`ServiceKey`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Service {
    pub key: ServiceKey,
    #[serde(default)]
    pub protocol: Protocol,
    /// Precedence is the Gateway API's; the order decides only where that leaves a tie. Empty:
    /// everything goes to the service's own endpoints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    #[serde(default)]
    pub policy: ResiliencePolicy,
}

/// The endpoints of a service port. Resource name: the [`ServiceKey`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoints {
    pub service: ServiceKey,
    pub endpoints: Vec<Endpoint>,
}

/// One address that serves a service port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    pub addr: SocketAddr,
    /// Relative share of the traffic; 0 takes none.
    #[serde(default = "one")]
    pub weight: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Arc<str>>,
    /// Whose certificate the endpoint must show. Present exactly when the endpoint is meshed;
    /// absent, it is dialled in plaintext.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<SpiffeId>,
}

fn one() -> u32 {
    1
}

fn is_zero(weight: &u32) -> bool {
    *weight == 0
}

/// How a workload's own sidecar treats what comes in. Resource name: the workload's SPIFFE ID.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Workload {
    #[serde(default)]
    pub mtls: MtlsMode,
    /// Protocols of ports that somebody named; every other port is detected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<WorkloadPort>,
    /// Bulkhead per caller identity and inbound limits.
    #[serde(default)]
    pub policy: ResiliencePolicy,
    /// Absent: everyone may call everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadPort {
    pub port: u16,
    pub protocol: Protocol,
}

/// Whether plaintext is accepted from the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MtlsMode {
    #[default]
    Permissive,
    /// Plaintext is refused.
    Strict,
}

/// The certificates that end every valid chain. Resource name: the trust domain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrustBundle {
    /// PEM, one or more certificates: more than one while a rotation is under way.
    pub roots: String,
}

/// One rule of an `HTTPRoute` or `GRPCRoute`, lowered: its route's hostnames come along.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// `namespace/name`, or `namespace/name#rule`: a metric label and the name of spans.
    pub name: Arc<str>,
    /// Exact (`cart.shop`) or with a wildcard first label (`*.shop`). Empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<String>,
    /// Any of them is enough. Empty: every request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<RouteMatch>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Filter>,
    /// Where to send it, by weight. Empty: the parent service itself (unless a filter redirects).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backends: Vec<Backend>,
    /// The weight of backends that do not exist or may not be used: their requests are answered
    /// 500.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unresolved_weight: u32,
    /// For workloads of this namespace only. Where one has such routes, the others of the service
    /// do not count for it. Absent: for everyone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumers: Option<Arc<str>>,
    #[serde(default)]
    pub timeouts: RouteTimeouts,
    /// Overrides the service's policy for this route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<ResiliencePolicy>,
}

/// All present conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteMatch {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathMatch>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<ValueMatch>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<ValueMatch>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcMethodMatch>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PathMatch {
    Exact(String),
    /// By path element: `/a` matches `/a` and `/a/b`, not `/ab`.
    Prefix(String),
    /// Matches the whole path.
    Regex(String),
}

/// A header or query parameter by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ValueMatch {
    pub name: String,
    pub value: String,
    #[serde(default)]
    pub regex: bool,
}

/// At least one of the two; the regex flag holds for both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrpcMethodMatch {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    #[serde(default)]
    pub regex: bool,
}

/// Where a matched request goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Backend {
    pub service: ServiceKey,
    /// Relative to the other backends of the rule; 0 takes none.
    #[serde(default = "one")]
    pub weight: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Filter>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Filter {
    RequestHeaders(HeaderEdit),
    ResponseHeaders(HeaderEdit),
    Redirect(Redirect),
    Rewrite(Rewrite),
    Mirror(Mirror),
}

/// `set` replaces, `add` appends, `remove` deletes; applied in that order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeaderEdit {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PathRewrite {
    Full(String),
    /// Replaces what a prefix match matched.
    Prefix(String),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Redirect {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathRewrite>,
    /// 301, 302, 303, 307 or 308; 302 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rewrite {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathRewrite>,
}

/// Sends a copy whose answer nobody waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mirror {
    pub service: ServiceKey,
    /// Share of the requests, 0 to 100.
    #[serde(default = "hundred")]
    pub percent: f64,
}

fn hundred() -> f64 {
    100.0
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteTimeouts {
    /// The whole exchange, retries included, until the response's last byte.
    #[serde(
        default,
        with = "units::duration::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub request: Option<Duration>,
    /// One try.
    #[serde(
        default,
        with = "units::duration::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub backend_request: Option<Duration>,
}
