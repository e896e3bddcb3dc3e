//! The demo's mesh: a controller on the node, and in each pod the rules, a proxy and an
//! application, all of them this very program.

use std::{
    fs::{self, File},
    io,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::Request;

use super::{
    http::{self as client, Reply},
    plan::{APP_PORT, PodPlan, SERVICES, Service, pods},
    registry::{self, Bulkhead, Entry},
};
use crate::{
    cli::sample_app::Answer,
    controller::token::{TokenDigest, generate},
    netns::{Capture, NODE_V4, Pod, World},
};

/// The running program, whatever its path has become.
const PROGRAM: &str = "/proc/self/exe";
/// Marks the proxies' own connections: all processes of a pod have the same user.
const MARK: &str = "1337";
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 14_020);
const CONTROLLER_PORT: u16 = 14_030;
/// Everything is up within this time, or something is wrong.
const PATIENCE: Duration = Duration::from_secs(20);
const CONNECT: Duration = Duration::from_secs(5);

pub struct Replica {
    pub plan: PodPlan,
    pub pod: Pod,
    /// Since before the proxy's first handshake.
    pub capture: Capture,
}

pub struct Mesh {
    pub replicas: Vec<Replica>,
    directory: PathBuf,
    tokens: Vec<(Service, TokenDigest)>,
    processes: Vec<(String, Child)>,
    asked: usize,
    // After the pods: their devices hang on its bridge.
    world: World,
}

impl Mesh {
    /// Makes the node and its pods; nothing runs in them yet.
    pub fn lay_out(directory: PathBuf) -> anyhow::Result<Self> {
        let mut world = World::new()?;
        let mut replicas = Vec::new();
        for plan in pods() {
            let pod = world.pod(&plan.name)?;
            let capture = pod.capture().context("cannot capture in a pod")?;
            replicas.push(Replica { plan, pod, capture });
        }
        let mut mesh = Self {
            replicas,
            directory,
            tokens: Vec::new(),
            processes: Vec::new(),
            asked: 0,
            world,
        };
        for service in SERVICES {
            let token = generate();
            fs::write(mesh.file(service.name(), "token"), &token)?;
            mesh.tokens.push((service, TokenDigest::of(&token)));
        }
        mesh.write_registry(Bulkhead::Off)?;
        fs::write(mesh.shells(), mesh.shell_lines())?;
        Ok(mesh)
    }

    /// A file with a command line for each pod that opens a shell in it.
    pub fn shells(&self) -> PathBuf {
        self.directory.join("shells")
    }

    fn shell_lines(&self) -> String {
        let line =
            |replica: &Replica| format!("{}: {}\n", replica.plan.name, replica.pod.nsenter());
        self.replicas.iter().map(line).collect()
    }

    pub fn world(&self) -> &World {
        &self.world
    }

    fn file(&self, name: &str, extension: &str) -> PathBuf {
        self.directory.join(format!("{name}.{extension}"))
    }

    /// Replaces the registry in one step; the controller follows it.
    pub fn write_registry(&self, bulkhead: Bulkhead) -> anyhow::Result<()> {
        let entries: Vec<Entry<'_>> = self
            .replicas
            .iter()
            .map(|replica| Entry {
                plan: &replica.plan,
                v4: replica.pod.v4,
            })
            .collect();
        let next = self.file("registry", "next");
        fs::write(&next, registry::render(&entries, &self.tokens, bulkhead))?;
        fs::rename(next, self.file("registry", "yaml"))?;
        Ok(())
    }

    /// Starts everything and waits until every proxy says that it is ready.
    pub async fn start(&mut self, otlp: &str, app: Option<&str>) -> anyhow::Result<()> {
        self.start_controller().await?;
        for number in 0..self.replicas.len() {
            self.intercept(number)?;
            self.start_proxy(number, otlp)?;
            self.start_app(number, app)?;
        }
        let deadline = Instant::now() + PATIENCE;
        for number in 0..self.replicas.len() {
            while !self.is_ready(number).await {
                self.still_running(deadline, &self.replicas[number].plan.name.clone())?;
                pause().await;
            }
        }
        Ok(())
    }

    async fn start_controller(&mut self) -> anyhow::Result<()> {
        let addr = SocketAddr::from((NODE_V4, CONTROLLER_PORT));
        let mut command = program(["controller"]);
        command
            .args(["--listen", &addr.to_string(), "--registry"])
            .arg(self.file("registry", "yaml"))
            .arg("--ca-dir")
            .arg(self.ca());
        self.logged(&mut command, "controller")?;
        let child = self.world.spawn(command)?;
        self.processes.push(("controller".to_owned(), child));
        let deadline = Instant::now() + PATIENCE;
        while self.world.within(|| TcpStream::connect(addr)).is_err() {
            self.still_running(deadline, "controller")?;
            pause().await;
        }
        Ok(())
    }

    fn ca(&self) -> PathBuf {
        self.directory.join("ca")
    }

    fn intercept(&self, number: usize) -> anyhow::Result<()> {
        let Replica { plan, pod, .. } = &self.replicas[number];
        let mut command = program(["init", "--proxy-mark", MARK, "--skip-outbound-subnets"]);
        command.arg(NODE_V4.to_string());
        self.logged(&mut command, &format!("{}-init", plan.name))?;
        let status = pod.spawn(command)?.wait()?;
        ensure!(
            status.success(),
            "outrigger init failed in {}: see {}",
            plan.name,
            self.directory.display()
        );
        Ok(())
    }

    fn start_proxy(&mut self, number: usize, otlp: &str) -> anyhow::Result<()> {
        let plan = self.replicas[number].plan.clone();
        let snapshots = self.directory.join(format!("{}-snapshot", plan.name));
        fs::create_dir(&snapshots)?;
        let mut command = program(["proxy", "--proxy-mark", MARK, "--trace-ratio", "1.0"]);
        command
            .args(["--controller", &format!("{NODE_V4}:{CONTROLLER_PORT}")])
            .args(["--identity", plan.service.identity().as_str()])
            .args(["--admin", &ADMIN.to_string(), "--workers", "1"])
            .args(["--otlp", otlp])
            .arg("--trust-anchors")
            .arg(self.ca().join("root.pem"))
            .arg("--token-file")
            .arg(self.file(plan.service.name(), "token"))
            .arg("--snapshot-dir")
            .arg(snapshots);
        self.spawn(number, command, &format!("{}-proxy", plan.name))
    }

    fn start_app(&mut self, number: usize, app: Option<&str>) -> anyhow::Result<()> {
        let plan = self.replicas[number].plan.clone();
        let service = plan.service;
        let mut command = match app {
            Some(line) => {
                let mut command = Command::new("sh");
                command
                    .args(["-c", line])
                    .env("SERVICE", service.name())
                    .env("PORT", APP_PORT.to_string())
                    .env("CALLS", service.downstream().unwrap_or_default());
                command
            }
            None => {
                let mut command = program(["sample-app", "--name", service.name()]);
                command
                    .args(["--listen", &format!("[::]:{APP_PORT}")])
                    .args(["--capacity", &service.capacity().to_string()])
                    .args(service.downstream().iter().flat_map(|url| ["--call", url]));
                command
            }
        };
        command.env("POD", &plan.name);
        self.spawn(number, command, &format!("{}-app", plan.name))
    }

    fn spawn(&mut self, number: usize, mut command: Command, name: &str) -> anyhow::Result<()> {
        self.logged(&mut command, name)?;
        let child = self.replicas[number].pod.spawn(command)?;
        self.processes.push((name.to_owned(), child));
        Ok(())
    }

    /// Sends what the process prints to a file of its own.
    fn logged(&self, command: &mut Command, name: &str) -> io::Result<()> {
        let log = File::create(self.file(name, "log"))?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Ok(())
    }

    fn still_running(&mut self, deadline: Instant, waited_for: &str) -> anyhow::Result<()> {
        for (name, child) in &mut self.processes {
            if let Some(status) = child.try_wait()? {
                let log = self.directory.join(format!("{name}.log"));
                let text = fs::read_to_string(&log).unwrap_or_default();
                let last = text.lines().last().unwrap_or("(it said nothing)");
                bail!(
                    "{name} ended ({status}): {last}; all of it is in {}",
                    log.display()
                );
            }
        }
        ensure!(
            Instant::now() < deadline,
            "{waited_for} is not ready after {PATIENCE:?}: its logs are in {}",
            self.directory.display()
        );
        Ok(())
    }

    /// The proxy says so, and the application accepts connections.
    async fn is_ready(&self, number: usize) -> bool {
        let replica = &self.replicas[number];
        let app = SocketAddr::from((Ipv4Addr::LOCALHOST, APP_PORT));
        let ready = self.admin(replica, "/ready").await;
        ready.is_ok_and(|reply| reply.status.is_success()) && connect(&replica.pod, app).is_ok()
    }

    /// Asks a proxy's admin port.
    pub async fn admin(&self, replica: &Replica, path: &str) -> anyhow::Result<Reply> {
        client::get(connect(&replica.pod, ADMIN)?, path).await
    }

    pub fn of(&self, service: Service) -> impl Iterator<Item = &Replica> {
        self.replicas
            .iter()
            .filter(move |replica| replica.plan.service == service)
    }

    /// Tells every replica of a service what to do wrong; an empty query ends it. Past the
    /// proxy, which has no part in this.
    pub async fn fault(&self, service: Service, query: &str) -> anyhow::Result<()> {
        for replica in self.of(service) {
            let app = SocketAddr::from((Ipv4Addr::LOCALHOST, APP_PORT));
            let request = Request::post(format!("/fault?{query}")).body(Bytes::new())?;
            let reply = client::send(connect(&replica.pod, app)?, request).await?;
            ensure!(
                reply.status.is_success(),
                "{} refused the fault",
                replica.plan.name
            );
        }
        Ok(())
    }

    /// A visitor without a sidecar, connected to one replica of `web` after the other.
    pub fn visit(&mut self) -> anyhow::Result<TcpStream> {
        let webs: Vec<Ipv4Addr> = self.of(Service::Web).map(|web| web.pod.v4).collect();
        self.asked += 1;
        let addr = SocketAddr::from((webs[self.asked % webs.len()], APP_PORT));
        let connected = self
            .world
            .within(|| TcpStream::connect_timeout(&addr, CONNECT));
        connected.with_context(|| format!("cannot reach web at {addr}"))
    }

    /// What `web` answers to the visitor.
    pub async fn ask(&mut self, path: &str) -> anyhow::Result<Answer> {
        let reply = client::get(self.visit()?, path).await?;
        ensure!(
            reply.status.is_success(),
            "web answered {} ({})",
            reply.status,
            reply
                .header("outrigger-reason")
                .unwrap_or("no reason given")
        );
        serde_json::from_slice(&reply.body).context("web's answer is not the sample app's")
    }
}

/// Connects from inside the pod.
pub fn connect(pod: &Pod, addr: SocketAddr) -> io::Result<TcpStream> {
    pod.within(|| TcpStream::connect_timeout(&addr, CONNECT))
}

/// Between two looks at something that will change.
pub async fn pause() {
    tokio::time::sleep(Duration::from_millis(25)).await;
}

fn program<const N: usize>(args: [&str; N]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(args);
    command
}
