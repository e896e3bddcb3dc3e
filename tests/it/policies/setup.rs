//! A controller, a client's proxy and, where a test wants mesh TLS, a server's proxy, in front of
//! whatever services the test describes.

use std::{fs, net::SocketAddr};

use outrigger::controller::token::{self, TokenDigest};
use tempfile::TempDir;

use crate::harness::{
    Process, Wire, free_addr,
    mesh::{Around, Proxy, SERVICE, TRUST_DOMAIN, start_controller, token_file},
};
pub use crate::harness::{Response, wait::until_some as until};

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

/// Where the processes of a mesh are to be.
pub struct Place {
    inbound: SocketAddr,
}

impl Place {
    pub fn new() -> Self {
        Self {
            inbound: free_addr(),
        }
    }

    /// Where the server's proxy listens, if there is one.
    pub fn inbound(&self) -> SocketAddr {
        self.inbound
    }

    /// Where nothing listens.
    pub fn nobody(&self) -> SocketAddr {
        free_addr()
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
        write_registry(&files, services, workload);
        let (addr, control) = (free_addr(), free_addr());
        let controller = start_controller(files.path(), control);
        let start = |name, forward: &str| {
            Proxy::start(
                name,
                forward,
                files.path(),
                control,
                &[],
                &Around::default(),
            )
        };
        let server = app.map(|app| start("server", &format!("inbound:{}={app}", self.inbound)));
        let client = start("client", &format!("outbound:{addr}={SERVICE}"));
        Mesh {
            addr,
            inbound: self.inbound,
            client,
            _server: server,
            _controller: controller,
            _files: files,
        }
    }
}

fn write_registry(files: &TempDir, services: &str, workload: &str) {
    let write = |name: &str, text: &str| {
        fs::write(files.path().join(name), text).expect("an own folder");
    };
    let digests = ["client", "server"].map(|name| {
        let token = token::generate();
        write(&token_file(name), &token);
        TokenDigest::of(&token)
    });
    let [client, server] = digests;
    let registry = format!(
        "trustDomain: {TRUST_DOMAIN}
workloads:
  - {{namespace: it, serviceAccount: client, tokenSha256: \"{client}\"}}
  - {{namespace: it, serviceAccount: server, tokenSha256: \"{server}\", {workload}}}
  - {{namespace: it, serviceAccount: other}}
services:
{services}"
    );
    write("registry.yaml", &registry);
}

/// A running mesh, which ends with the test.
pub struct Mesh {
    /// Where clients reach `app`.
    addr: SocketAddr,
    inbound: SocketAddr,
    client: Proxy,
    _server: Option<Proxy>,
    _controller: Process,
    _files: TempDir,
}

impl Mesh {
    pub fn inbound(&self) -> SocketAddr {
        self.inbound
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn get(&self, path: &str) -> Response {
        self.send("GET", path, "")
    }

    /// `headers` are whole lines.
    pub fn send(&self, method: &'static str, path: &str, headers: &str) -> Response {
        Request::start(self.addr, method, path, headers).response()
    }

    pub fn begin(&self, path: &str) -> Request {
        Request::start(self.addr, "GET", path, "")
    }

    pub fn metrics(&self) -> String {
        self.client.metrics()
    }

    pub fn until_metric(&self, line: &str) {
        until(line, || {
            self.metrics().lines().any(|l| l == line).then_some(())
        });
    }

    /// What the client's proxy shows of one upstream.
    pub fn upstream(&self, name: &str) -> Option<serde_json::Value> {
        let shown = self
            .client
            .admin("/config")
            .expect("the admin port answers");
        let shown: serde_json::Value =
            serde_json::from_slice(&shown.body).expect("/config is JSON");
        find_upstream(&shown, name).cloned()
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
pub struct Request {
    wire: Wire,
    method: &'static str,
}

impl Request {
    fn start(addr: SocketAddr, method: &'static str, path: &str, headers: &str) -> Self {
        let mut wire = Wire::connect(addr);
        wire.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n{headers}\r\n"
        ));
        Self { wire, method }
    }

    /// The response, when it is whole.
    pub fn response(mut self) -> Response {
        self.wire.response(self.method)
    }

    /// Waits until the response has ended.
    pub fn ended(mut self) {
        self.wire.take_all();
    }

    /// Waits for `text` in what comes.
    pub fn wait_for(&mut self, text: &str) {
        self.wire.take_until(text);
    }
}
