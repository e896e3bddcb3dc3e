//! A controller, a client's proxy and, where a test wants mesh TLS, a server's proxy.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU8, Ordering},
    thread,
    time::{Duration, Instant},
};

use outrigger::controller::token::{self, TokenDigest};
use tempfile::TempDir;

/// Only a failing test waits this long.
const DEADLINE: Duration = Duration::from_secs(20);

/// # Panics
/// When `probe` has no answer in time.
pub fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(started.elapsed() < DEADLINE, "{what}: not in time");
        thread::sleep(Duration::from_millis(5));
    }
}

/// One service in the registry's YAML; a test that dials it names it `app`.
pub fn service(name: &str, endpoints: &[SocketAddr], more: &str) -> String {
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|addr| format!("{{addr: \"{addr}\"}}"))
        .collect();
    described(name, &endpoints.join(", "), more)
}

/// As [`service`], with one endpoint that must show the certificate of `account`.
pub fn meshed_service(endpoint: SocketAddr, account: &str, more: &str) -> String {
    let endpoint = format!("{{addr: \"{endpoint}\", serviceAccount: {account}}}");
    described("app", &endpoint, more)
}

fn described(name: &str, endpoints: &str, more: &str) -> String {
    let addresses = if name == "app" { "[198.18.0.10]" } else { "[]" };
    format!(
        "  - {{namespace: it, name: {name}, addresses: {addresses},
      ports: [{{port: 80, protocol: http}}], endpoints: [{endpoints}], {more}}}\n"
    )
}

/// A loopback address of its own for each mesh, so that no two compete for a port.
pub struct Place(Ipv4Addr);

impl Place {
    pub fn new() -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let [.., high, low] = std::process::id().to_be_bytes();
        let net = 64 + high % 128;
        Self(Ipv4Addr::new(
            127,
            net,
            low,
            NEXT.fetch_add(1, Ordering::Relaxed),
        ))
    }

    fn addr(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.0), port)
    }

    /// Where the server's proxy listens, if there is one.
    pub fn inbound(&self) -> SocketAddr {
        self.addr(19_006)
    }

    /// Where nothing listens.
    pub fn nobody(&self) -> SocketAddr {
        self.addr(19_999)
    }

    /// Only the client's proxy: the endpoints are not meshed.
    pub fn start(self, services: &str) -> Mesh {
        self.launch(services, None, "")
    }

    /// Both proxies; `workload` says more about the server's.
    pub fn start_meshed(self, services: &str, app: SocketAddr, workload: &str) -> Mesh {
        self.launch(services, Some(app), workload)
    }

    fn launch(self, services: &str, app: Option<SocketAddr>, workload: &str) -> Mesh {
        let files = tempfile::tempdir().expect("a place for files");
        let mut mesh = Mesh {
            place: self,
            files,
            processes: Vec::new(),
        };
        mesh.write_registry(services, workload);
        mesh.start_controller();
        if let Some(app) = app {
            let forward = format!("inbound:{}={app}", mesh.place.inbound());
            mesh.start_proxy("server", &forward, mesh.server_admin());
        }
        let forward = format!("outbound:{}=198.18.0.10:80", mesh.addr());
        mesh.start_proxy("client", &forward, mesh.client_admin());
        mesh
    }
}

/// A running mesh, which ends with the test.
pub struct Mesh {
    place: Place,
    files: TempDir,
    processes: Vec<Child>,
}

impl Mesh {
    /// Where clients reach `app`.
    pub fn addr(&self) -> SocketAddr {
        self.place.addr(19_001)
    }

    pub fn inbound(&self) -> SocketAddr {
        self.place.inbound()
    }

    fn client_admin(&self) -> SocketAddr {
        self.place.addr(19_020)
    }

    pub fn server_admin(&self) -> SocketAddr {
        self.place.addr(19_021)
    }

    fn controller(&self) -> SocketAddr {
        self.place.addr(19_030)
    }

    pub fn get(&self, path: &str) -> Response {
        self.send("GET", path, "")
    }

    /// `headers` are whole lines.
    pub fn send(&self, method: &str, path: &str, headers: &str) -> Response {
        Request::start(self.addr(), method, path, headers).response()
    }

    pub fn begin(&self, path: &str) -> Request {
        Request::start(self.addr(), "GET", path, "")
    }

    pub fn metrics(&self) -> String {
        Request::start(self.client_admin(), "GET", "/metrics", "")
            .response()
            .body
    }

    pub fn until_metric(&self, line: &str) {
        until(line, || {
            self.metrics().lines().any(|l| l == line).then_some(())
        });
    }

    /// What the client's proxy shows of one upstream.
    pub fn upstream(&self, name: &str) -> Option<serde_json::Value> {
        let shown = Request::start(self.client_admin(), "GET", "/config", "")
            .response()
            .body;
        let shown: serde_json::Value = serde_json::from_str(&shown).expect("/config is JSON");
        find_upstream(&shown, name).cloned()
    }

    fn write_registry(&self, services: &str, workload: &str) {
        let digests = ["client", "server"].map(|name| {
            let token = token::generate();
            self.write(&format!("{name}.token"), &token);
            TokenDigest::of(&token)
        });
        let [client, server] = digests;
        self.write(
            "registry.yaml",
            &format!(
                "trustDomain: mesh.test
workloads:
  - {{namespace: it, serviceAccount: client, tokenSha256: \"{client}\"}}
  - {{namespace: it, serviceAccount: server, tokenSha256: \"{server}\", {workload}}}
  - {{namespace: it, serviceAccount: other}}
services:
{services}"
            ),
        );
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.file(name), text).expect("an own folder");
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.files.path().join(name)
    }

    fn spawn(&mut self, name: &str, arguments: &[&str]) {
        let log = File::create(self.file(&format!("{name}.log"))).expect("an own folder");
        let child = Command::new(env!("CARGO_BIN_EXE_outrigger"))
            .args(arguments)
            .current_dir(self.files.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log can be opened twice"))
            .stderr(log)
            .spawn()
            .expect("the program starts");
        self.processes.push(child);
    }

    fn start_controller(&mut self) {
        let listen = self.controller().to_string();
        let arguments = [
            "controller",
            "--registry",
            "registry.yaml",
            "--ca-dir",
            "ca",
            "--listen",
            &*listen,
        ];
        self.spawn("controller", &arguments);
        until("the controller listens", || {
            self.check_running();
            TcpStream::connect(self.controller()).ok()
        });
    }

    fn start_proxy(&mut self, name: &str, forward: &str, admin: SocketAddr) {
        let (controller, admin_text) = (self.controller().to_string(), admin.to_string());
        let identity = format!("spiffe://mesh.test/ns/it/sa/{name}");
        let token = format!("{name}.token");
        let arguments = [
            "proxy",
            "--no-intercept",
            "--forward",
            forward,
            "--identity",
            &*identity,
            "--controller",
            &*controller,
            "--admin",
            &*admin_text,
            "--trust-anchors",
            "ca/root.pem",
            "--token-file",
            &*token,
        ];
        self.spawn(name, &arguments);
        until("the proxy is ready", || {
            self.check_running();
            let ready = Request::try_start(admin, "GET", "/ready", "")
                .ok()?
                .response();
            (ready.status == 200).then_some(())
        });
    }

    fn check_running(&mut self) {
        for process in &mut self.processes {
            let ended = process.try_wait().expect("an own child can be waited for");
            assert!(ended.is_none(), "a process ended: {ended:?}");
        }
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // One that has ended already is no error.
            let _ = process.kill();
            let _ = process.wait();
        }
        if thread::panicking() {
            for name in ["controller", "server", "client"] {
                show_log(&self.file(&format!("{name}.log")));
            }
        }
    }
}

fn show_log(log: &Path) {
    if let Ok(text) = fs::read_to_string(log) {
        eprintln!("---- {}\n{text}", log.display());
    }
}

fn find_upstream<'a>(shown: &'a serde_json::Value, name: &str) -> Option<&'a serde_json::Value> {
    let mut inner: Box<dyn Iterator<Item = &serde_json::Value>> = match shown {
        serde_json::Value::Object(fields) if shown["upstream"] == name => {
            debug_assert!(fields.contains_key("breaker"));
            return Some(shown);
        }
        serde_json::Value::Object(fields) => Box::new(fields.values()),
        serde_json::Value::Array(items) => Box::new(items.iter()),
        _ => return None,
    };
    inner.find_map(|value| find_upstream(value, name))
}

/// A request on a connection of its own. Dropped, its client has gone away.
pub struct Request(TcpStream);

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Request {
    fn start(addr: SocketAddr, method: &str, path: &str, headers: &str) -> Self {
        Self::try_start(addr, method, path, headers).expect("somebody listens")
    }

    fn try_start(
        addr: SocketAddr,
        method: &str,
        path: &str,
        headers: &str,
    ) -> std::io::Result<Self> {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes())?;
        Ok(Self(stream))
    }

    /// The response, when it is whole.
    pub fn response(mut self) -> Response {
        let mut text = String::new();
        self.0.read_to_string(&mut text).expect("a whole response");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Response {
            status: status.expect("a status"),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    /// Waits until the response has ended.
    pub fn ended(mut self) {
        self.0
            .read_to_end(&mut Vec::new())
            .expect("a whole response");
    }

    /// Waits for `text` in what comes.
    pub fn wait_for(&mut self, text: &str) {
        let (mut read, mut chunk) = (Vec::new(), [0; 1024]);
        while !String::from_utf8_lossy(&read).contains(text) {
            let n = self.0.read(&mut chunk).expect("an open connection");
            assert!(
                n > 0,
                "{text:?} never came: {}",
                String::from_utf8_lossy(&read)
            );
            read.extend_from_slice(&chunk[..n]);
        }
    }
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = fields.find(|(n, _)| n.eq_ignore_ascii_case(name))?;
        Some(value.trim())
    }

    pub fn reason(&self) -> &str {
        self.header("outrigger-reason").unwrap_or_default()
    }
}
