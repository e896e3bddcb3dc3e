//! Outrigger as both hops, with a controller that reads a registry file. Nothing is intercepted:
//! the client's hop listens for a service's virtual address, the server's hop for the origin.
//! Policies and metrics are on, and every hundredth trace is recorded and exported.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

use super::{Bench, Kind, NotStarted, Setup, Traffic};
use crate::process::{Process, free_address};

/// The virtual address of the service that clients dial.
const SERVICE: &str = "198.18.0.10:80";

pub fn start(bench: &Bench, kind: Kind) -> Result<Setup, NotStarted> {
    let protocol = match kind.traffic() {
        Traffic::Http => "http",
        Traffic::Stream => "tcp",
    };
    let mesh = Mesh::new(bench, protocol)?;
    let (entry, between) = (free_address()?, free_address()?);
    let origin = bench.origin(kind);
    let tokens = [mesh.token("client")?, mesh.token("server")?];
    fs::write(
        mesh.path("registry.yaml"),
        registry(protocol, between, origin, &tokens),
    )?;
    let controller = mesh.controller()?;
    Ok(Setup {
        kind,
        version: super::version(&bench.outrigger, "--version")?,
        entry,
        hops: vec![
            mesh.proxy("client", &format!("outbound:{entry}={SERVICE}"))?,
            mesh.proxy("server", &format!("inbound:{between}={origin}"))?,
        ],
        _others: vec![controller],
    })
}

fn registry(
    protocol: &str,
    between: SocketAddr,
    origin: SocketAddr,
    tokens: &[String; 2],
) -> String {
    let [client, server] = tokens;
    let port = origin.port();
    format!(
        "\
trustDomain: bench.test
workloads:
  - {{namespace: bench, serviceAccount: client, tokenSha256: {client}}}
  - namespace: bench
    serviceAccount: server
    tokenSha256: {server}
    mtls: strict
    ports: [{{port: {port}, protocol: {protocol}}}]
services:
  - namespace: bench
    name: origin
    addresses: [198.18.0.10]
    ports: [{{port: 80, protocol: {protocol}}}]
    policy:
      timeouts: {{request: 15s}}
    endpoints: [{{addr: \"{between}\", serviceAccount: server}}]
"
    )
}

/// A mesh of its own in a folder of its own.
struct Mesh<'a> {
    bench: &'a Bench,
    name: &'static str,
    controller: SocketAddr,
}

impl<'a> Mesh<'a> {
    fn new(bench: &'a Bench, name: &'static str) -> anyhow::Result<Self> {
        fs::create_dir(bench.path(name))?;
        Ok(Self {
            bench,
            name,
            controller: free_address()?,
        })
    }

    fn path(&self, file: &str) -> PathBuf {
        self.bench.path(self.name).join(file)
    }

    fn run(&self, log: &str, command: &mut Command) -> anyhow::Result<Process> {
        Process::start(
            command,
            &self
                .bench
                .path(&format!("outrigger-{}-{log}.log", self.name)),
        )
    }

    /// Writes the token of a service account and returns its digest.
    fn token(&self, account: &str) -> anyhow::Result<String> {
        let output = Command::new(&self.bench.outrigger).arg("token").output()?;
        ensure!(
            output.status.success(),
            "outrigger token: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8(output.stdout)?;
        let line = |label: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(label));
            found
                .map(str::trim)
                .with_context(|| format!("outrigger token printed no {label}"))
        };
        fs::write(self.token_file(account), line("token:")?)?;
        Ok(line("tokenSha256:")?.to_owned())
    }

    fn token_file(&self, account: &str) -> PathBuf {
        self.path(&format!("{account}.token"))
    }

    fn ca_dir(&self) -> PathBuf {
        self.path("ca")
    }

    /// Returns when the authority has made its root, which proxies start with.
    fn controller(&self) -> anyhow::Result<Process> {
        let mut command = Command::new(&self.bench.outrigger);
        command
            .arg("controller")
            .arg("--registry")
            .arg(self.path("registry.yaml"));
        command
            .args(["--listen", &self.controller.to_string()])
            .arg("--ca-dir")
            .arg(self.ca_dir());
        let controller = self.run("controller", &mut command)?;
        wait_for(&self.root()).with_context(|| self.bench.logs())?;
        Ok(controller)
    }

    fn root(&self) -> PathBuf {
        self.ca_dir().join("root.pem")
    }

    fn proxy(&self, account: &str, forward: &str) -> anyhow::Result<Process> {
        let mut command = Command::new(&self.bench.outrigger);
        command.args([
            "proxy",
            "--no-intercept",
            "--workers",
            "1",
            "--forward",
            forward,
        ]);
        command.args([
            "--identity",
            &format!("spiffe://bench.test/ns/bench/sa/{account}"),
        ]);
        command.args(["--controller", &self.controller.to_string()]);
        command.args(["--admin", &free_address()?.to_string()]);
        command.args(["--trace-ratio", "0.01"]);
        command.args([
            "--otlp",
            &format!("http://{}/v1/traces", self.bench.origins.collector),
        ]);
        command.arg("--trust-anchors").arg(self.root());
        command.arg("--token-file").arg(self.token_file(account));
        self.run(account, &mut command)
    }
}

fn wait_for(file: &Path) -> anyhow::Result<()> {
    super::eventually(|| {
        ensure!(file.is_file(), "{} does not appear", file.display());
        Ok(())
    })
}
