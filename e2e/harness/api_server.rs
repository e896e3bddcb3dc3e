//! An API server of a test's own, with etcd behind it and nothing else: it can be stopped and
//! started, and filled with more than a node could run. The same programs as the cluster's.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    time::Duration,
};

use kube::{Client, Config, config::AuthInfo};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::{cluster, wait};

const TOKEN: &str = "a-token-of-the-tests";
const START: Duration = Duration::from_secs(60);

/// Both programs end with the value.
pub struct ApiServer {
    directory: tempfile::TempDir,
    programs: Programs,
    /// Where etcd is.
    store: String,
    port: u16,
    server: Option<Child>,
    _etcd: Child,
}

#[derive(Clone)]
struct Programs {
    etcd: PathBuf,
    server: PathBuf,
}

impl Programs {
    /// `None` where the cluster is not one that was built here.
    fn find() -> Option<Self> {
        let cache = cluster::programs().parent()?.to_owned();
        let find = |prefix: &str, program: &str| {
            let entries = cache.read_dir().ok()?.filter_map(Result::ok);
            let program = |entry: std::fs::DirEntry| {
                let named = entry.file_name().to_string_lossy().starts_with(prefix);
                let path = entry.path().join(program);
                (named && path.exists()).then_some(path)
            };
            entries.filter_map(program).next()
        };
        Some(Self {
            etcd: find("etcd-", "etcd")?,
            server: find("kubernetes-", "kube-apiserver")?,
        })
    }
}

impl ApiServer {
    /// `None`, with a word about it, where the programs are not at hand.
    pub async fn start() -> Option<Self> {
        let Some(programs) = Programs::find() else {
            eprintln!("left out: needs its own API server. Run: e2e/cluster build etcd kubernetes");
            return None;
        };
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (client, peer) = (free_port(), free_port());
        let store = format!("http://127.0.0.1:{client}");
        let peers = format!("http://127.0.0.1:{peer}");
        let etcd = Command::new(&programs.etcd)
            .args([
                "--name",
                "test",
                "--unsafe-no-fsync",
                "--log-level",
                "error",
            ])
            .args(["--listen-client-urls", &store])
            .args(["--advertise-client-urls", &store])
            .args(["--listen-peer-urls", &peers])
            .args(["--initial-advertise-peer-urls", &peers])
            .args(["--initial-cluster", &format!("test={peers}")])
            .arg("--data-dir")
            .arg(directory.path().join("etcd"))
            .kill_on_drop(true)
            .spawn()
            .expect("etcd starts");
        let key = rcgen::KeyPair::generate().expect("a key");
        let file = |name: &str, text: &str| {
            std::fs::write(directory.path().join(name), text).expect("a file");
        };
        file("service-accounts.key", &key.serialize_pem());
        file("service-accounts.pub", &key.public_key_pem());
        file("tokens", &format!("{TOKEN},test,test,system:masters"));
        let mut server = Self {
            port: free_port(),
            programs,
            directory,
            store,
            server: None,
            _etcd: etcd,
        };
        server.resume().await;
        Some(server)
    }

    /// Another API server on the same objects.
    pub async fn second(&self) -> Second {
        let port = free_port();
        let child = self.spawn(port);
        self.ready(port).await;
        Second {
            port,
            _server: child,
        }
    }

    /// Kills the API server; its objects stay.
    pub async fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().await.expect("a child of ours");
        }
    }

    /// Starts it again, at the same address.
    pub async fn resume(&mut self) {
        self.server = Some(self.spawn(self.port));
        self.ready(self.port).await;
    }

    /// Has etcd forget the past, as every cluster does now and then: who asks for what has changed
    /// since then hears 410.
    pub fn compact(&self) {
        let now = self.etcd("kv/range", &json!({ "key": "AA==" }));
        let revision = &now["header"]["revision"];
        assert!(revision.is_string(), "{now}");
        let compact = json!({ "revision": revision, "physical": true });
        let done = self.etcd("kv/compaction", &compact);
        assert!(done["header"].is_object(), "{done}");
    }

    /// etcd's answer to a question in JSON.
    fn etcd(&self, path: &str, question: &Value) -> Value {
        let address = self.store.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).expect("etcd runs");
        let (body, mut answer) = (question.to_string(), String::new());
        let length = body.len();
        write!(
            stream,
            "POST /v3/{path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .and_then(|()| stream.read_to_string(&mut answer))
        .expect("etcd answers");
        let (_, json) = answer.split_once("\r\n\r\n").unwrap_or_default();
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    pub fn client(&self) -> Client {
        client(self.port)
    }

    /// A kubeconfig for programs that are run.
    pub fn kubeconfig(&self) -> PathBuf {
        let path = self.directory.path().join("kubeconfig");
        let port = self.port;
        let text = format!(
            "{{apiVersion: v1, kind: Config, current-context: c, \
             clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:{port}', insecure-skip-tls-verify: true}}}}], \
             users: [{{name: u, user: {{token: {TOKEN}}}}}], \
             contexts: [{{name: c, context: {{cluster: c, user: u}}}}]}}"
        );
        std::fs::write(&path, text).expect("a file");
        path
    }

    async fn ready(&self, port: u16) {
        let client = client(port);
        wait::until("the API server is ready", START, async || {
            let request = http::Request::get("/readyz").body(Vec::new());
            let answer = client.request_text(request.expect("a request")).await;
            answer.map(drop).map_err(|error| {
                let log = std::fs::read_to_string(self.log(port)).unwrap_or_default();
                format!(
                    "{error}. It says: {}",
                    log.lines().last().unwrap_or_default()
                )
            })
        })
        .await;
    }

    fn log(&self, port: u16) -> PathBuf {
        self.directory.path().join(format!("{port}.log"))
    }

    fn spawn(&self, port: u16) -> Child {
        let file = |name: &str| self.directory.path().join(name);
        let log = std::fs::File::create(self.log(port)).expect("a file");
        Command::new(&self.programs.server)
            .args(["--etcd-servers", &self.store])
            .args([
                "--bind-address",
                "127.0.0.1",
                "--secure-port",
                &port.to_string(),
            ])
            // Nobody connects there; loopback is not taken for an answer.
            .args(["--advertise-address", "198.18.255.1"])
            .args(["--endpoint-reconciler-type", "none"])
            .args(["--service-cluster-ip-range", "198.19.0.0/16"])
            .args(["--authorization-mode", "AlwaysAllow"])
            .args(["--disable-admission-plugins", "ServiceAccount"])
            .args(["--service-account-issuer", "https://test"])
            .arg("--cert-dir")
            .arg(file(&format!("{port}.certificates")))
            .arg("--token-auth-file")
            .arg(file("tokens"))
            .arg("--service-account-key-file")
            .arg(file("service-accounts.pub"))
            .arg("--service-account-signing-key-file")
            .arg(file("service-accounts.key"))
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("the API server starts")
    }
}

/// A second API server.
pub struct Second {
    port: u16,
    _server: Child,
}

impl Second {
    pub fn client(&self) -> Client {
        client(self.port)
    }
}

fn client(port: u16) -> Client {
    let url = format!("https://127.0.0.1:{port}").parse();
    let mut config = Config::new(url.expect("a URL"));
    config.accept_invalid_certs = true;
    config.auth_info = AuthInfo {
        token: Some(TOKEN.to_owned().into()),
        ..Default::default()
    };
    Client::try_from(config).expect("nothing in it can be wrong")
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("it is bound").port()
}

/// What a program uses of the memory, in bytes.
pub fn resident(pid: u32) -> u64 {
    let status = Path::new("/proc").join(pid.to_string()).join("status");
    let status = std::fs::read_to_string(status).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    kib.and_then(|kib| kib.parse::<u64>().ok()).expect("a size") * 1024
}
