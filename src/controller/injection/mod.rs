//! Injection: a pod goes in, the pod with its sidecar comes out, with what its owner should know.
//!
//! All of it is a function of the pod, its namespace's annotations and the mesh's configuration.
//! [`webhook`] serves it to the API server; `outrigger inject` does the same offline.

mod annotations;
mod config;
mod containers;
mod exempt;
mod pod;
mod probes;
mod quantity;
mod refused;
mod stop;
mod suggest;
pub mod webhook;
mod workload;

pub use annotations::{Annotations, GROUP};
pub use config::{ImagePullPolicy, InjectionConfig, LogFormat, Resources};
pub use containers::ROOTS_CONFIG_MAP;
pub use pod::{Injection, inject};
pub use quantity::{InvalidQuantity, Quantity};
pub use refused::{Refused, Whose};
pub use workload::{inject_object, runs_pods};

/// The user and group that the proxy runs as; its traffic is not taken.
pub const PROXY_UID: u32 = 14_014;

/// On every pod that has a sidecar.
pub const INJECTED_LABEL: &str = "outrigger.dev/injected";

/// Where the proxy takes what its pod sends.
const OUTBOUND_PORT: u16 = 14_001;
/// Where the proxy takes what its pod is sent.
const INBOUND_PORT: u16 = 14_006;
/// Health and metrics.
const ADMIN_PORT: u16 = 14_020;
/// Where the kubelet's probes arrive.
const PROBE_PORT: u16 = 14_021;
const PROXY_PORTS: [u16; 4] = [OUTBOUND_PORT, INBOUND_PORT, ADMIN_PORT, PROBE_PORT];

#[cfg(test)]
mod tests;
