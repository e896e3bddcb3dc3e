//! What a person writes. `manifests/registry.example.yaml` explains it by example.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use serde::{Deserialize, Deserializer, de::Error};

use crate::{
    access::Access,
    controller::token::TokenDigest,
    discovery::model::{MtlsMode, Protocol, Route, WorkloadPort},
    resilience::ResiliencePolicy,
};

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegistryFile {
    /// In every identity of the mesh; cannot change while the controller runs.
    pub trust_domain: String,
    #[serde(default)]
    pub workloads: Vec<WorkloadEntry>,
    #[serde(default)]
    pub services: Vec<ServiceEntry>,
}

/// Who runs with a sidecar, and how it treats what comes in.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadEntry {
    pub namespace: String,
    pub service_account: String,
    /// The token with this digest proves the identity. Absent: nobody gets it here.
    #[serde(default)]
    pub token_sha256: Option<TokenDigest>,
    #[serde(default)]
    pub mtls: MtlsMode,
    /// Beside those that the services' ports say.
    #[serde(default)]
    pub ports: Vec<WorkloadPort>,
    #[serde(default)]
    pub policy: ResiliencePolicy,
    #[serde(default)]
    pub access: Option<Access>,
}

/// A service under its virtual addresses.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceEntry {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// Virtual addresses, of either family. Empty: only its endpoints can be dialled.
    #[serde(default, deserialize_with = "ips")]
    pub addresses: Vec<IpAddr>,
    pub ports: Vec<PortEntry>,
    /// For every port.
    #[serde(default)]
    pub routes: Vec<Route>,
    #[serde(default)]
    pub policy: ResiliencePolicy,
    #[serde(default)]
    pub endpoints: Vec<EndpointEntry>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PortEntry {
    pub port: u16,
    /// Where the endpoints listen; absent: on the same port.
    #[serde(default)]
    pub target_port: Option<u16>,
    #[serde(default)]
    pub protocol: Protocol,
}

impl PortEntry {
    pub fn target(&self) -> u16 {
        self.target_port.unwrap_or(self.port)
    }
}

/// Either `ip`, which listens on every port's target, or `addr` for a service of one port.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndpointEntry {
    #[serde(default, deserialize_with = "ip")]
    pub ip: Option<IpAddr>,
    #[serde(default, deserialize_with = "socket_addr")]
    pub addr: Option<SocketAddr>,
    #[serde(default = "one")]
    pub weight: u32,
    #[serde(default)]
    pub zone: Option<Arc<str>>,
    /// In the service's namespace. Present exactly when a sidecar runs there.
    #[serde(default)]
    pub service_account: Option<String>,
    /// What is not ready gets no share of the traffic.
    #[serde(default = "yes")]
    pub ready: bool,
}

/// An address, which the standard library refuses without saying what it was.
struct Address<T>(T);

impl<'de> Deserialize<'de> for Address<IpAddr> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map(Self).map_err(|_| {
            let reason = "is not an IP address: write it like 198.18.0.10 or fd00:18::10";
            D::Error::custom(format!("{text:?} {reason}"))
        })
    }
}

impl<'de> Deserialize<'de> for Address<SocketAddr> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map(Self).map_err(|_| {
            let reason = "is not an IP address with a port: write it like 198.18.0.10:8080 or \
                          [fd00:18::10]:8080";
            D::Error::custom(format!("{text:?} {reason}"))
        })
    }
}

fn ips<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<IpAddr>, D::Error> {
    let addresses = Vec::<Address<IpAddr>>::deserialize(d)?;
    Ok(addresses.into_iter().map(|Address(ip)| ip).collect())
}

fn ip<'de, D: Deserializer<'de>>(d: D) -> Result<Option<IpAddr>, D::Error> {
    let address = Option::<Address<IpAddr>>::deserialize(d)?;
    Ok(address.map(|Address(ip)| ip))
}

fn socket_addr<'de, D: Deserializer<'de>>(d: D) -> Result<Option<SocketAddr>, D::Error> {
    let address = Option::<Address<SocketAddr>>::deserialize(d)?;
    Ok(address.map(|Address(addr)| addr))
}

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}

impl EndpointEntry {
    /// Where it serves `port`; `None` when it says neither `ip` nor `addr`.
    pub fn address(&self, port: &PortEntry) -> Option<SocketAddr> {
        self.addr
            .or_else(|| Some(SocketAddr::new(self.ip?, port.target())))
    }
}
