//! A mesh of real processes: a controller, the client's proxy and the server's proxy, with mesh
//! TLS between the two.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

use outrigger::controller::token::{self, TokenDigest};
use tempfile::TempDir;

use super::{Process, Response, Wire, free_addr, tools::command, wait};

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
    open_files: Option<u32>,
    args: Vec<String>,
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
            open_files: None,
            args: Vec::new(),
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
        self.open_files = Some(limit);
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
    files: TempDir,
}

/// One `outrigger proxy`, which can be started again.
pub struct Proxy {
    pub process: Process,
    admin: SocketAddr,
    name: &'static str,
    args: Vec<String>,
    open_files: Option<u32>,
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
        let controller = start_controller(files.path(), control);
        let inbound = format!("inbound:{}={}", plan.inbound, plan.app);
        let outbound = format!("outbound:{addr}={SERVICE}");
        let start = |name, forward: &str| {
            let (args, files) = (&plan.args, files.path());
            Proxy::start(name, forward, files, control, args, plan.open_files)
        };
        let (server, client) = (start("server", &inbound), start("client", &outbound));
        Self {
            addr,
            controller,
            client,
            server,
            inbound: plan.inbound,
            files,
        }
    }

    /// Replaces a text in the registry, which the controller follows.
    pub fn edit_registry(&self, from: &str, to: &str) {
        let file = self.files.path().join("registry.yaml");
        let text = fs::read_to_string(&file).expect("it was written");
        assert!(text.contains(from), "{from:?} is not in:\n{text}");
        let new = file.with_extension("new");
        fs::write(&new, text.replace(from, to)).expect("an own folder");
        fs::rename(&new, &file).expect("an own folder");
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

impl Proxy {
    /// Starts it, and waits until it is ready.
    pub fn start(
        name: &'static str,
        forward: &str,
        dir: &Path,
        controller: SocketAddr,
        more: &[String],
        open_files: Option<u32>,
    ) -> Self {
        let admin = free_addr();
        let file = |file: &str| dir.join(file).display().to_string();
        let mut args: Vec<String> = ["--no-intercept", "--trace-ratio", "1", "--forward", forward]
            .map(Into::into)
            .into();
        args.extend([
            "--identity".into(),
            format!("spiffe://{TRUST_DOMAIN}/ns/it/sa/{name}"),
        ]);
        args.extend([
            "--admin".into(),
            admin.to_string(),
            "--controller".into(),
            controller.to_string(),
        ]);
        args.extend([
            "--trust-anchors".into(),
            file("ca/root.pem"),
            "--token-file".into(),
            file(&token_file(name)),
        ]);
        args.extend(["--snapshot-dir".into(), file(&format!("{name}-snapshot"))]);
        args.extend(more.iter().cloned());
        let process = start_proxy(name, &args, open_files);
        let mut proxy = Self {
            process,
            admin,
            name,
            args,
            open_files,
        };
        proxy.until_ready();
        proxy
    }

    /// Starts it again, with nothing but what it left on disk.
    pub fn restart(&mut self) {
        self.process.kill();
        self.process = start_proxy(self.name, &self.args, self.open_files);
        self.until_ready();
    }

    /// Waits until what it knows is on disk.
    pub fn until_saved(&self) {
        let at = self
            .args
            .iter()
            .position(|arg| arg == "--snapshot-dir")
            .expect("always given");
        let snapshot = Path::new(&self.args[at + 1]).join("discovery.json");
        let saved = || fs::read_to_string(&snapshot).is_ok_and(|text| text.contains("it/app:80"));
        wait::until("the snapshot is written", saved);
    }

    fn until_ready(&mut self) {
        let what = format!("the {}'s proxy is ready", self.name);
        wait::until(&what, || {
            assert!(
                self.process.exited().is_none(),
                "it ended: {}",
                self.process.log()
            );
            self.admin("/ready")
                .is_some_and(|answer| answer.status == 200)
        });
    }

    /// # Panics
    /// When the admin port does not answer.
    pub fn metrics(&self) -> String {
        self.admin("/metrics")
            .expect("the admin port answers")
            .text()
    }

    /// What the admin port shows under a path.
    pub fn admin(&self, path: &str) -> Option<Response> {
        let mut wire = Wire::try_connect(self.admin).ok()?;
        wire.try_send(format!("GET {path} HTTP/1.1\r\nHost: admin\r\n\r\n"))
            .ok()?;
        wire.try_response("GET").ok()
    }
}

pub fn token_file(name: &str) -> String {
    format!("{name}.token")
}

fn start_proxy(name: &str, args: &[String], open_files: Option<u32>) -> Process {
    let outrigger = env!("CARGO_BIN_EXE_outrigger");
    let mut command = match open_files {
        None => Command::new(outrigger),
        Some(limit) => {
            let mut prlimit = command("prlimit");
            prlimit
                .arg(format!("--nofile={limit}:{limit}"))
                .arg(outrigger);
            prlimit
        }
    };
    Process::start(&format!("{name}'s proxy"), command.arg("proxy").args(args))
}

pub fn start_controller(dir: &Path, listen: SocketAddr) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
    command
        .arg("controller")
        .arg("--registry")
        .arg(dir.join("registry.yaml"));
    command
        .arg("--ca-dir")
        .arg(dir.join("ca"))
        .arg("--listen")
        .arg(listen.to_string());
    let mut process = Process::start("controller", &mut command);
    wait::until("the controller listens", || {
        assert!(process.exited().is_none(), "it ended: {}", process.log());
        Wire::try_connect(listen).is_ok()
    });
    process
}
