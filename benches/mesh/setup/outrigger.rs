//! Outrigger as the hops, with a controller that reads a registry file. Nothing is intercepted:
//! the client's hop listens for a service's virtual address, the server's hop for the origin.
//! Policies and metrics are on, and every hundredth trace is recorded and exported.

use std::{fmt::Write, fs, net::SocketAddr, path::PathBuf, process::Command, time::Instant};

use anyhow::{Context, ensure};
use outrigger::controller::token::{self, TokenDigest};

use super::{Hops, NotStarted, Place, Topology, Traffic, Way, eventually, version};
use crate::process::{Process, free_address};

/// The virtual address of the service that clients dial.
const SERVICE: &str = "198.18.0.10:80";
/// Who the client's hop is.
pub const PROXY_ID: &str = "spiffe://bench.test/ns/bench/sa/client";

/// What users may set otherwise. The default is theirs, but for bulkheads with places for 1,024
/// exchanges: 512 connections are measured.
#[derive(Clone)]
pub struct Options {
    pub workers: u16,
    pub trace_ratio: f64,
    pub access_log: bool,
    pub breaker: bool,
    /// The last one matches every request, those before it none.
    pub routes: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workers: 1,
            trace_ratio: 0.01,
            access_log: false,
            breaker: true,
            routes: 0,
        }
    }
}

pub(super) fn start(place: &Place, topology: &Topology) -> Result<Hops, NotStarted> {
    let files = Files::new(place)?;
    let (entry, between) = (free_address()?, free_address()?);
    let origin = place.origin(topology.traffic);
    files.write_registry(topology, between, origin)?;
    let mut command = Command::new(&place.bench.outrigger);
    command
        .arg("controller")
        .arg("--registry")
        .arg(files.registry());
    command.args(["--listen", &files.controller.to_string()]);
    command.arg("--ca-dir").arg(files.ca_dir());
    let controller = place.run("controller", &mut command)?;
    files.wait_for_root()?;
    let began = Instant::now();
    Ok(Hops {
        version: version(&place.bench.outrigger, "--version")?,
        entry,
        processes: files.proxies(topology, entry, between, origin)?,
        others: vec![controller],
        began,
    })
}

/// What the processes of a mesh find on disk.
pub struct Files<'a> {
    place: &'a Place<'a>,
    /// Where the controller is to listen.
    pub controller: SocketAddr,
}

impl<'a> Files<'a> {
    pub fn new(place: &'a Place) -> anyhow::Result<Self> {
        Ok(Self {
            place,
            controller: free_address()?,
        })
    }

    pub fn registry(&self) -> PathBuf {
        self.place.path("registry.yaml")
    }

    pub fn ca_dir(&self) -> PathBuf {
        self.place.path("ca")
    }

    /// The certificate that the controller is known by.
    pub fn root(&self) -> PathBuf {
        self.ca_dir().join("root.pem")
    }

    pub fn token_file(&self, account: &str) -> PathBuf {
        self.place.path(&format!("{account}.token"))
    }

    /// Writes the token of a service account and returns its digest.
    fn token(&self, account: &str) -> anyhow::Result<TokenDigest> {
        let token = token::generate();
        fs::write(self.token_file(account), &token)?;
        Ok(TokenDigest::of(&token))
    }

    /// Writes the registry, and the tokens that it speaks of.
    pub fn write_registry(
        &self,
        topology: &Topology,
        between: SocketAddr,
        origin: SocketAddr,
    ) -> anyhow::Result<()> {
        let Topology {
            traffic,
            way,
            options,
        } = topology;
        let protocol = match traffic {
            Traffic::Http1 => "http",
            Traffic::Http2 | Traffic::Grpc => "http2",
            Traffic::Stream | Traffic::Greeting => "tcp",
        };
        let mtls = match way {
            Way::TwoHops => "strict",
            Way::PlainTwoHops | Way::OneHop => "permissive",
        };
        let endpoint = match way {
            Way::TwoHops => format!("{{addr: \"{between}\", serviceAccount: server}}"),
            Way::PlainTwoHops => format!("{{addr: \"{between}\"}}"),
            Way::OneHop => format!("{{addr: \"{origin}\"}}"),
        };
        let (client, server) = (self.token("client")?, self.token("server")?);
        let port = origin.port();
        let policy = format!(
            "{{breaker: {{enabled: {}}}, timeouts: {{request: 15s}}, bulkhead: {{maxInFlight: 1024, \
             maxInFlightPerRoute: 1024, maxInFlightPerCaller: 1024}}}}",
            options.breaker
        );
        let routes = routes(options.routes);
        fs::write(
            self.registry(),
            format!(
                "\
trustDomain: bench.test
workloads:
  - {{namespace: bench, serviceAccount: client, tokenSha256: \"{client}\"}}
  - namespace: bench
    serviceAccount: server
    tokenSha256: \"{server}\"
    mtls: {mtls}
    ports: [{{port: {port}, protocol: {protocol}}}]
    policy: {policy}
services:
  - namespace: bench
    name: origin
    addresses: [198.18.0.10]
    ports: [{{port: 80, protocol: {protocol}}}]
    policy: {policy}
    endpoints: [{endpoint}]
    routes:{routes}
"
            ),
        )?;
        Ok(())
    }

    /// Returns when the authority has made its root, which proxies start with.
    pub fn wait_for_root(&self) -> anyhow::Result<()> {
        let root = self.root();
        eventually(|| {
            ensure!(root.is_file(), "{} does not appear", root.display());
            Ok(())
        })
        .with_context(|| self.place.logs())
    }

    /// Starts the hops.
    pub fn proxies(
        &self,
        topology: &Topology,
        entry: SocketAddr,
        between: SocketAddr,
        origin: SocketAddr,
    ) -> anyhow::Result<Vec<Process>> {
        let mut processes = vec![self.proxy(
            "client",
            &topology.options,
            &format!("outbound:{entry}={SERVICE}"),
        )?];
        if topology.way != Way::OneHop {
            let forward = format!("inbound:{between}={origin}");
            processes.push(self.proxy("server", &topology.options, &forward)?);
        }
        Ok(processes)
    }

    fn proxy(&self, account: &str, options: &Options, forward: &str) -> anyhow::Result<Process> {
        let mut command = Command::new(&self.place.bench.outrigger);
        command.args(["proxy", "--no-intercept", "--forward", forward]);
        command.args(["--workers", &options.workers.to_string()]);
        command.args(["--max-connections", "20000"]);
        command.args([
            "--identity",
            &format!("spiffe://bench.test/ns/bench/sa/{account}"),
        ]);
        command.args(["--controller", &self.controller.to_string()]);
        command.args(["--admin", &free_address()?.to_string()]);
        command.args(["--trace-ratio", &options.trace_ratio.to_string()]);
        let collector = self.place.bench.origins.collector;
        command.args(["--otlp", &format!("http://{collector}/v1/traces")]);
        if options.access_log {
            let file = self.place.path(&format!("{account}.access"));
            command.arg("--access-log").arg(file);
        }
        command.arg("--trust-anchors").arg(self.root());
        command.arg("--token-file").arg(self.token_file(account));
        self.place.run(account, &mut command)
    }
}

fn routes(count: u32) -> String {
    if count == 0 {
        return " []".into();
    }
    let mut text = String::new();
    for nth in 1..count {
        let route = format!("{{name: bench/{nth}, matches: [{{path: {{prefix: /never/{nth}}}}}]}}");
        // Writing to a string does not fail.
        let _ = write!(text, "\n      - {route}");
    }
    text + "\n      - {name: bench/all, matches: [{path: {prefix: /}}]}"
}
