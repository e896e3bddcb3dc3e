//! What a proxy is started with.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use crate::{
    discovery::{model::MtlsMode, probe::Probes},
    identity::SpiffeId,
    ranges::PortRange,
    telemetry::Direction,
};

/// The proxy's own settings. Everything about services comes from the control plane.
#[derive(Clone, Debug)]
pub struct ProxyConfig {
    pub identity: SpiffeId,
    pub workers: usize,
    /// Where interception redirects to; absent where nothing is intercepted.
    pub intercept: Option<InterceptPorts>,
    pub forwards: Vec<ForwardListener>,
    pub admin: SocketAddr,
    /// Where health checks of the application are asked for, and which there are.
    pub probes: Option<(u16, Probes)>,
    /// Strict refuses plaintext whatever the control plane says.
    pub mtls: MtlsMode,
    /// Ports whose bytes are carried without a look at them, in either direction.
    pub opaque_ports: Vec<PortRange>,
    pub controller: String,
    /// The namespace that the controller's certificate must name.
    pub controller_namespace: String,
    pub trust_anchors: PathBuf,
    pub token_file: PathBuf,
    pub snapshot_dir: Option<PathBuf>,
    /// The pod's own addresses. By the first the control plane knows where it is.
    pub pod_ips: Vec<IpAddr>,
    /// SO_MARK of the proxy's own connections.
    pub mark: Option<u32>,
    /// Accepted connections at a time, per worker and direction.
    pub max_connections: usize,
    /// After SIGTERM new connections are still taken for so long: endpoint lists lag behind.
    pub drain_min: Duration,
    /// After SIGTERM everything has ended at the latest after so long.
    pub drain_max: Duration,
}

impl ProxyConfig {
    /// Whether the bytes at a port are to be carried without a look at them.
    pub fn is_opaque(&self, port: u16) -> bool {
        self.opaque_ports.iter().any(|range| range.contains(port))
    }
}

#[derive(Clone, Copy, Debug)]
pub struct InterceptPorts {
    pub outbound: u16,
    pub inbound: u16,
}

/// A listener that needs no interception: what it accepts was meant for `dst`.
/// Written `outbound:127.0.0.1:8080=198.18.0.10:80`.
#[derive(Clone, Debug)]
pub struct ForwardListener {
    pub direction: Direction,
    pub listen: SocketAddr,
    pub dst: SocketAddr,
}

impl FromStr for ForwardListener {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (direction, rest) = text.split_once(':')?;
            let direction = match direction {
                "outbound" => Direction::Outbound,
                "inbound" => Direction::Inbound,
                _ => return None,
            };
            let (listen, dst) = rest.split_once('=')?;
            Some(Self {
                direction,
                listen: listen.parse().ok()?,
                dst: dst.parse().ok()?,
            })
        };
        parse().ok_or_else(|| {
            format!("{text:?} is not a forward: write outbound:LISTEN=DESTINATION or inbound:LISTEN=DESTINATION, each an IP:PORT")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_forward() {
        let forward: ForwardListener = "outbound:127.0.0.1:8080=[fd00::1]:80".parse().unwrap();
        assert_eq!(forward.direction, Direction::Outbound);
        assert_eq!(forward.listen, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(forward.dst, "[fd00::1]:80".parse().unwrap());
    }

    #[test]
    fn refuses_what_is_not_a_forward() {
        for text in [
            "",
            "outbound",
            "sideways:127.0.0.1:1=127.0.0.1:2",
            "inbound:127.0.0.1:1",
            "inbound:1=2",
        ] {
            let error = text.parse::<ForwardListener>().unwrap_err();
            assert!(error.contains("outbound:LISTEN=DESTINATION"), "{error}");
        }
    }
}
