//! `outrigger proxy`: the sidecar.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    path::PathBuf,
    time::Duration,
};

use anyhow::ensure;
use clap::Args;

use super::values;
use crate::{
    discovery::{CONTROLLER_NAMESPACE, model::MtlsMode, probe::Probes},
    identity::SpiffeId,
    proxy::{
        config::{ForwardListener, InterceptPorts, ProxyConfig},
        run::{self, Observability},
    },
    ranges::PortRange,
    units,
};

/// Run the sidecar proxy of one workload.
#[derive(Args)]
pub struct Proxy {
    /// Who this workload is: spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT.
    #[arg(long, env = "OUTRIGGER_IDENTITY", value_name = "ID")]
    identity: SpiffeId,
    /// Where the controller is; a name is looked up at every connection.
    #[arg(long, env = "OUTRIGGER_CONTROLLER", value_name = "HOST:PORT", value_parser = values::host_and_port)]
    controller: String,
    /// The namespace that the controller is installed in: its certificate must name it.
    #[arg(long, env = "OUTRIGGER_CONTROLLER_NAMESPACE", value_name = "NAME", default_value = CONTROLLER_NAMESPACE)]
    controller_namespace: String,
    /// PEM file with the certificates that the controller is believed by.
    #[arg(long, env = "OUTRIGGER_TRUST_ANCHORS", value_name = "FILE")]
    trust_anchors: PathBuf,
    /// File with the token that proves the identity; read anew at every renewal.
    #[arg(long, env = "OUTRIGGER_TOKEN_FILE", value_name = "FILE")]
    token_file: PathBuf,
    /// Where to keep what is known, to start from while the controller is away.
    #[arg(long, env = "OUTRIGGER_SNAPSHOT_DIR", value_name = "DIR")]
    snapshot_dir: Option<PathBuf>,
    /// Take no redirected connections: only those of --forward.
    #[arg(long, requires = "forwards")]
    no_intercept: bool,
    /// Where outbound connections are redirected to.
    #[arg(long, value_name = "PORT", default_value_t = 14001, value_parser = values::port())]
    outbound_port: u16,
    /// Where inbound connections are redirected to.
    #[arg(long, value_name = "PORT", default_value_t = 14006, value_parser = values::port())]
    inbound_port: u16,
    /// A listener that works without interception: outbound:LISTEN=DESTINATION or
    /// inbound:LISTEN=DESTINATION. May be given several times.
    #[arg(long = "forward", value_name = "DIRECTION:LISTEN=DESTINATION")]
    forwards: Vec<ForwardListener>,
    /// Where health, metrics and configuration are shown.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:14020", value_parser = values::socket_addr)]
    admin: SocketAddr,
    /// Where checks of the application's health are asked for, at every address.
    #[arg(long, value_name = "PORT", value_parser = values::port(), requires = "probes")]
    probe_port: Option<u16>,
    /// Those checks by their paths: JSON, as the injector writes it.
    #[arg(long, env = "OUTRIGGER_PROBES", value_name = "JSON", value_parser = parse_probes)]
    probes: Option<Probes>,
    /// Whether plaintext is taken from the network: permissive takes it unless the control plane
    /// says strict, strict refuses it.
    #[arg(long, value_name = "MODE", default_value = "permissive", value_parser = parse_mtls)]
    mtls: MtlsMode,
    /// Ports to carry bytes of without looking at them, in either direction: 3306,5432-5433.
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    opaque_ports: Vec<PortRange>,
    /// File with the token for admin requests that change something; without it they are refused.
    #[arg(long, value_name = "FILE")]
    admin_token_file: Option<PathBuf>,
    /// This workload's own addresses, one of each family: by the first the control plane says in
    /// which zone it is; all of them are dialled without mesh TLS.
    #[arg(
        long,
        env = "OUTRIGGER_POD_IPS",
        value_name = "ADDRESSES",
        value_delimiter = ','
    )]
    pod_ips: Vec<IpAddr>,
    /// SO_MARK for the proxy's own connections, where interception knows them by it.
    #[arg(long, value_name = "MARK", value_parser = values::mark)]
    proxy_mark: Option<NonZeroU32>,
    /// Worker threads.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,
    /// Accepted connections at a time, per worker and direction.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_connections: u32,
    /// After SIGTERM go on accepting for at least this long.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = units::duration::parse)]
    drain_min: Duration,
    /// After SIGTERM end everything after this long.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = units::duration::parse)]
    drain_max: Duration,
    #[command(flatten)]
    telemetry: super::telemetry::TelemetryArgs,
}

fn parse_probes(text: &str) -> Result<Probes, String> {
    serde_json::from_str(text).map_err(|error| format!("these are no checks: {error}"))
}

fn parse_mtls(text: &str) -> Result<MtlsMode, String> {
    match text {
        "permissive" => Ok(MtlsMode::Permissive),
        "strict" => Ok(MtlsMode::Strict),
        _ => Err(format!(
            "{text:?} is not a mode: write permissive or strict"
        )),
    }
}

impl Proxy {
    /// # Errors
    /// When the options contradict each other, the proxy cannot start, or a part of it died.
    pub fn run(self) -> anyhow::Result<()> {
        self.drain_times()?;
        let log_level = self.telemetry.init_logging()?;
        let observability = Observability {
            log_level,
            trace_ratio: self.telemetry.trace_ratio,
            otlp: self.telemetry.otlp.clone(),
            access_log: self.telemetry.access_log(),
            admin_token_file: self.admin_token_file.clone(),
        };
        run::run(self.config(), observability)
    }

    /// # Errors
    /// When everything would have ended before it may.
    fn drain_times(&self) -> anyhow::Result<()> {
        let [min, max] = [self.drain_min, self.drain_max].map(units::duration::format);
        ensure!(
            self.drain_min <= self.drain_max,
            "--drain-min {min} is longer than --drain-max {max}: make it {max} at most"
        );
        Ok(())
    }

    fn config(&self) -> ProxyConfig {
        ProxyConfig {
            identity: self.identity.clone(),
            workers: self.workers.into(),
            intercept: (!self.no_intercept).then_some(InterceptPorts {
                outbound: self.outbound_port,
                inbound: self.inbound_port,
            }),
            forwards: self.forwards.clone(),
            admin: self.admin,
            probes: self.probe_port.zip(self.probes.clone()),
            mtls: self.mtls,
            opaque_ports: self.opaque_ports.clone(),
            controller: self.controller.clone(),
            controller_namespace: self.controller_namespace.clone(),
            trust_anchors: self.trust_anchors.clone(),
            token_file: self.token_file.clone(),
            snapshot_dir: self.snapshot_dir.clone(),
            pod_ips: self.pod_ips.clone(),
            mark: self.proxy_mark.map(NonZeroU32::get),
            max_connections: self.max_connections as usize,
            drain_min: self.drain_min,
            drain_max: self.drain_max,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        proxy: Proxy,
    }

    const LINE: [&str; 9] = [
        "proxy",
        "--identity",
        "spiffe://mesh.test/ns/shop/sa/cart",
        "--controller",
        "127.0.0.1:1",
        "--trust-anchors",
        "/none",
        "--token-file",
        "/none",
    ];

    /// Its workers ended at once, and the log said that they had died.
    #[test]
    fn without_interception_there_must_be_something_to_listen_on() {
        let mut line = LINE.to_vec();
        line.push("--no-intercept");
        let refused = Cli::try_parse_from(&line).err().expect("nothing to do");
        assert!(refused.to_string().contains("--forward"), "{refused}");
        line.extend(["--forward", "outbound:127.0.0.1:1=198.18.0.10:80"]);
        assert!(Cli::try_parse_from(&line).is_ok());
    }

    #[test]
    fn draining_does_not_end_before_it_may() {
        let drain = |min, max| {
            let line = LINE
                .into_iter()
                .chain(["--drain-min", min, "--drain-max", max]);
            let Cli { proxy } = Cli::try_parse_from(line).expect("both are durations");
            proxy.drain_times().map_err(|error| error.to_string())
        };
        assert_eq!(drain("2s", "2s"), Ok(()));
        assert_eq!(
            drain("1m", "30s").unwrap_err(),
            "--drain-min 1m is longer than --drain-max 30s: make it 30s at most"
        );
    }
}
