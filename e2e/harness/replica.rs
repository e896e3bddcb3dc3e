//! A controller beside the cluster, which speaks to its API server as it would from inside, and
//! workloads that it certifies.

use std::{
    fs::File,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    process::{Child, Command},
};

use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{ConfigMap, Pod, ServiceAccount},
};
use kube::{ResourceExt as _, api::PostParams};
use outrigger::{
    discovery::{
        Certifier, CertifyError, ClientOptions, Controller, DiscoveryClient, Runner, controller_id,
    },
    identity::{IdentityStore, SpiffeId},
};

use super::{Namespace, kubeconfig, wait};

/// A pod that exists and never runs: enough for a token to be bound to.
pub const POD: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: cart}
---
apiVersion: v1
kind: Pod
metadata: {name: cart-0}
spec:
  serviceAccountName: cart
  schedulingGates: [{name: example.net/never}]
  containers: [{name: app, image: docker.io/library/busybox:1.37}]
";

/// A controller beside the cluster. Killed when dropped.
pub struct Replica {
    pub name: String,
    child: Child,
    discovery: SocketAddr,
    admin: SocketAddr,
    log: tempfile::NamedTempFile,
}

impl Replica {
    pub fn start(namespace: &Namespace, name: &str) -> Self {
        let [discovery, webhook, admin] = [(); 3].map(|()| free_port());
        let log = tempfile::NamedTempFile::new().unwrap();
        let stderr = File::options().append(true).open(log.path()).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_outrigger"))
            .arg("controller")
            .args(["--namespace", &namespace.name, "--pod", name])
            .arg(format!("--listen={discovery}"))
            .arg(format!("--webhook-listen={webhook}"))
            .arg(format!("--admin={admin}"))
            .env("KUBECONFIG", kubeconfig())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let name = name.to_owned();
        Self {
            name,
            child,
            discovery,
            admin,
            log,
        }
    }

    pub async fn ready(&self) {
        wait::until("the replica is ready", wait::LONG, async || {
            let answer = self.get("/ready");
            answer
                .filter(|answer| answer.contains(" 200 "))
                .map(drop)
                .ok_or_else(|| format!("{:?}\n{}", self.get("/ready"), self.log()))
        })
        .await;
    }

    pub fn get(&self, path: &str) -> Option<String> {
        let mut stream = std::net::TcpStream::connect(self.admin).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap_or_default()
    }
}

impl Drop for Replica {
    /// SIGKILL: nothing is given up or said.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.name, self.log());
        }
    }
}

fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// A workload's certifier: its token and the roots that it starts with.
pub struct Workload {
    pub certifier: Certifier,
    _files: tempfile::TempDir,
}

impl Workload {
    pub fn new(namespace: &Namespace, replica: &Replica, token: &str, roots: &str) -> Self {
        let identity = controller_id("cluster.local", &namespace.name).unwrap();
        let controller = Controller {
            address: replica.discovery.to_string(),
            identity,
            mark: None,
        };
        Self::of(controller, token, roots)
    }

    /// Of any controller.
    pub fn of(controller: Controller, token: &str, roots: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        let (token_file, roots_file) = (files.path().join("token"), files.path().join("ca.crt"));
        std::fs::write(&token_file, token).unwrap();
        std::fs::write(&roots_file, roots).unwrap();
        let certifier = Certifier {
            controller,
            token_file,
            roots_file,
            identity: IdentityStore::new(),
            keep_dir: None,
        };
        Self {
            certifier,
            _files: files,
        }
    }

    /// Follows the controller as a proxy would.
    pub fn follow(&self, node: &str) -> (DiscoveryClient, Runner) {
        let Certifier {
            controller,
            identity,
            ..
        } = self.certifier.clone();
        DiscoveryClient::new(ClientOptions::new(controller, identity, node))
    }

    pub async fn id(&self) -> Result<SpiffeId, CertifyError> {
        self.certifier.certify().await?;
        let credentials = self.certifier.identity.current();
        Ok(credentials.expect("just certified").id.clone())
    }
}

/// A token of the pod that [`POD`] has, or of nobody's.
pub async fn token(namespace: &Namespace, audience: &str, bound: bool) -> String {
    let pod = namespace.api::<Pod>().get("cart-0").await.unwrap();
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: Some(vec![audience.into()]),
            bound_object_ref: bound.then(|| BoundObjectReference {
                kind: Some("Pod".into()),
                api_version: Some("v1".into()),
                name: Some(pod.name_any()),
                uid: pod.metadata.uid.clone(),
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let accounts = namespace.api::<ServiceAccount>();
    let parameters = PostParams::default();
    let made = accounts.create_token_request("cart", &parameters, &request);
    made.await.unwrap().status.unwrap().token.unwrap()
}

pub async fn published_roots(namespace: &Namespace) -> String {
    let config_maps = namespace.api::<ConfigMap>();
    let roots = config_maps.get("outrigger-roots").await.unwrap();
    roots.data.unwrap()["ca.crt"].clone()
}
