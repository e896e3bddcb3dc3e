//! A mesh of real processes: a controller, the client's proxy and the server's proxy, with mesh
//! TLS between the two.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use outrigger::controller::token::{self, TokenDigest};
use tempfile::TempDir;

pub use super::proxy::{Around, Disk, Proxy, token_file};
use super::{Process, Response, Wire, free_addr, proxy::set_clock, tools::command, wait};

/// The virtual address of the service that the tests call.
pub const SERVICE: &str = "198.18.0.10:80";
pub const TRUST_DOMAIN: &str = "mesh.test";

/// What a test's mesh looks like.
pub struct Plan {
    app: SocketAddr,
    protocol: &'static str,
    policy: String,
    access: String,
    /// Where the client's proxy finds the server's: for a test that puts something between.
    detour: Option<SocketAddr>,
    inbound: SocketAddr,
    around: Around,
    args: Vec<String>,
    controller_args: Vec<String>,
}

impl Plan {
    pub fn new(app: SocketAddr) -> Self {
        Self {
            app,
            protocol: "detect",
            policy: String::new(),
            access: String::new(),
            detour: None,
            inbound: free_addr(),
            around: Around::default(),
            args: Vec::new(),
            controller_args: Vec::new(),
        }
    }

    /// `http`, `http2` or `tcp`; nobody says anything where this is not called.
    pub fn protocol(mut self, protocol: &'static str) -> Self {
        self.protocol = protocol;
        self
    }

    /// The service's policy, in YAML's flow style.
    pub fn policy(mut self, policy: &str) -> Self {
        self.policy = policy.to_owned();
        self
    }

    /// Who may call the server, in YAML's flow style.
    pub fn access(mut self, access: &str) -> Self {
        self.access = format!("access: {access}, ");
        self
    }

    /// Where the server's proxy takes what comes from the network.
    pub fn inbound(&self) -> SocketAddr {
        self.inbound
    }

    pub fn detour(mut self, through: SocketAddr) -> Self {
        self.detour = Some(through);
        self
    }

    /// The limit on open files of both proxies.
    pub fn open_files(mut self, limit: u32) -> Self {
        self.around.open_files = Some(limit);
        self
    }

    /// What the system is like for both proxies.
    pub fn around(mut self, around: Around) -> Self {
        self.around = around;
        self
    }

    /// More arguments for the controller.
    pub fn controller_args<const N: usize>(mut self, args: [&str; N]) -> Self {
        self.controller_args.extend(args.map(str::to_owned));
        self
    }

    /// More arguments for both proxies.
    pub fn args<const N: usize>(mut self, args: [&str; N]) -> Self {
        self.args.extend(args.map(str::to_owned));
        self
    }

    pub fn start(self) -> Mesh {
        Mesh::start(&self)
    }

    /// Two workloads and one service, and the tokens that prove who the workloads are.
    fn write_registry(&self, dir: &Path) {
        let write =
            |name: &str, text: &str| fs::write(dir.join(name), text).expect("an own folder");
        let Self {
            app,
            protocol,
            policy,
            access,
            ..
        } = self;
        let policy = if policy.is_empty() { "{}" } else { policy };
        let digests = ["server", "client"].map(|name| {
            let token = token::generate();
            write(&token_file(name), &token);
            TokenDigest::of(&token)
        });
        let [server, client] = digests;
        let endpoint = self.detour.unwrap_or(self.inbound);
        let port = app.port();
        let registry = format!(
            "trustDomain: {TRUST_DOMAIN}
workloads:
  - {{namespace: it, serviceAccount: server, tokenSha256: \"{server}\", policy: {policy},
      {access}ports: [{{port: {port}, protocol: {protocol}}}]}}
  - {{namespace: it, serviceAccount: client, tokenSha256: \"{client}\"}}
services:
  - namespace: it
    name: app
    addresses: [198.18.0.10]
    ports: [{{port: 80, protocol: {protocol}}}]
    policy: {policy}
    endpoints: [{{addr: \"{endpoint}\", serviceAccount: server}}]
"
        );
        write("registry.yaml", &registry);
    }
}

/// A running mesh: what is sent to `addr` goes through both proxies to the application.
pub struct Mesh {
    pub addr: SocketAddr,
    pub controller: Process,
    pub client: Proxy,
    pub server: Proxy,
    /// Where the server's proxy takes what comes from the network.
    pub inbound: SocketAddr,
    /// Where the controller listens.
    pub control: SocketAddr,
    files: TempDir,
}

impl Mesh {
    /// A mesh in front of an application whose protocol nobody named.
    pub fn in_front_of(app: SocketAddr) -> Self {
        Plan::new(app).start()
    }

    fn start(plan: &Plan) -> Self {
        let files = tempfile::tempdir().expect("a place for files");
        let (addr, control) = (free_addr(), free_addr());
        plan.write_registry(files.path());
        let controller = start_controller_with(files.path(), control, &plan.controller_args);
        let inbound = format!("inbound:{}={}", plan.inbound, plan.app);
        let outbound = format!("outbound:{addr}={SERVICE}");
        let start = |name, forward: &str| {
            let (args, files) = (&plan.args, files.path());
            Proxy::start(name, forward, files, control, args, &plan.around)
        };
        let (server, client) = (start("server", &inbound), start("client", &outbound));
        Self {
            addr,
            controller,
            client,
            server,
            inbound: plan.inbound,
            control,
            files,
        }
    }

    /// Starts another of the proxies in place of the client's, with other arguments.
    pub fn replace_client(&mut self, more: &[String]) {
        self.client.process.kill();
        let forward = format!("outbound:{}={SERVICE}", self.addr);
        let (files, control) = (self.files.path(), self.control);
        self.client = Proxy::start("client", &forward, files, control, more, &Around::default());
    }

    /// Starts the controller again, once it was killed.
    pub fn restart_controller(&mut self) {
        self.controller = start_controller(self.files.path(), self.control);
    }

    /// Puts the wall clock of a proxy with a clock of its own forward or back: `+26h`, `-90s`.
    pub fn set_clock(&self, name: &str, offset: &str) {
        set_clock(self.files.path(), name, offset);
    }

    /// A file of the mesh's: of the authority in `ca/`, of a proxy in `NAME-snapshot/`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Replaces a text in the registry, which the controller follows.
    pub fn edit_registry(&self, from: &str, to: &str) {
        let file = self.file("registry.yaml");
        let text = fs::read_to_string(&file).expect("it was written");
        assert!(text.contains(from), "{from:?} is not in:\n{text}");
        let new = file.with_extension("new");
        fs::write(&new, text.replace(from, to)).expect("an own folder");
        fs::rename(&new, &file).expect("an own folder");
    }

    /// Where the controller keeps its authority.
    pub fn ca_dir(&self) -> PathBuf {
        self.files.path().join("ca")
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub fn connect(&self) -> Wire {
        Wire::connect(self.addr)
    }

    /// A GET on a connection of its own.
    pub fn get(&self, path: &str) -> Response {
        self.connect().get(path)
    }

    /// curl, quiet but for errors, with the URL of a path as its last argument.
    pub fn curl(&self, args: &[&str], path: &str) -> Command {
        let mut curl = command("curl");
        // What stalls is given up, however long it took before: a loaded machine is slow.
        curl.args(["-sS", "--speed-limit", "1", "--speed-time", "25"])
            .args(args)
            .arg(self.url(path))
            .stdin(Stdio::null());
        curl
    }

    /// The most memory that either proxy ever had resident, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.client
            .process
            .peak_memory()
            .max(self.server.process.peak_memory())
    }
}

pub fn start_controller(dir: &Path, listen: SocketAddr) -> Process {
    start_controller_with(dir, listen, &[])
}

fn start_controller_with(dir: &Path, listen: SocketAddr, more: &[String]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
    command
        .arg("controller")
        .arg("--registry")
        .arg(dir.join("registry.yaml"));
    command
        .arg("--ca-dir")
        .arg(dir.join("ca"))
        .arg("--listen")
        .arg(listen.to_string())
        .args(more);
    let mut process = Process::start("controller", &mut command);
    wait::until("the controller listens", || {
        assert!(process.exited().is_none(), "it ended: {}", process.log());
        Wire::try_connect(listen).is_ok()
    });
    process
}
