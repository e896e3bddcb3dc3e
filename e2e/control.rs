//! Identities, leadership and rotation, with controllers that run beside the cluster and speak to
//! its API server as they would from inside.

use std::{
    fs::File,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    process::{Child, Command},
    time::Duration,
};

use k8s_openapi::{
    api::{
        authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
        coordination::v1::Lease,
        core::v1::{ConfigMap, Pod, Secret, ServiceAccount},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    ResourceExt,
    api::{DeleteParams, PostParams},
};
use outrigger::{
    discovery::{Certifier, CertifyError, ClientOptions, Controller, DiscoveryClient, State},
    identity::{IdentityStore, SpiffeId},
};

use crate::harness::{Cluster, Namespace, kubeconfig, wait};

/// A pod that exists and never runs: enough for a token to be bound to.
const POD: &str = "
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

/// A root is in the bundle for 75 s before certificates are signed under it.
const ROTATION: Duration = Duration::from_secs(150);

/// A controller beside the cluster. Killed when dropped.
struct Replica {
    name: String,
    child: Child,
    discovery: SocketAddr,
    admin: SocketAddr,
    log: tempfile::NamedTempFile,
}

impl Replica {
    fn start(namespace: &Namespace, name: &str) -> Self {
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

    async fn ready(&self) {
        wait::until("the replica is ready", wait::LONG, async || {
            let answer = self.get("/ready");
            answer
                .filter(|answer| answer.contains(" 200 "))
                .map(drop)
                .ok_or_else(|| format!("{:?}\n{}", self.get("/ready"), self.log()))
        })
        .await;
    }

    fn get(&self, path: &str) -> Option<String> {
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
struct Workload {
    certifier: Certifier,
    _files: tempfile::TempDir,
}

impl Workload {
    fn new(namespace: &Namespace, replica: &Replica, token: &str, roots: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        let (token_file, roots_file) = (files.path().join("token"), files.path().join("ca.crt"));
        std::fs::write(&token_file, token).unwrap();
        std::fs::write(&roots_file, roots).unwrap();
        let certifier = Certifier {
            controller: Controller {
                address: replica.discovery.to_string(),
                identity: SpiffeId::new("cluster.local", &namespace.name, "outrigger-controller")
                    .unwrap(),
                mark: None,
            },
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

    async fn id(&self) -> Result<SpiffeId, CertifyError> {
        self.certifier.certify().await?;
        let credentials = self.certifier.identity.current();
        Ok(credentials.expect("just certified").id.clone())
    }
}

async fn token(namespace: &Namespace, audience: &str, bound: bool) -> String {
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

async fn published_roots(namespace: &Namespace) -> String {
    let config_maps = namespace.api::<ConfigMap>();
    let roots = config_maps.get("outrigger-roots").await.unwrap();
    roots.data.unwrap()["ca.crt"].clone()
}

async fn leader(namespace: &Namespace) -> Option<String> {
    let leases = namespace.api::<Lease>();
    let lease = leases.get_opt("outrigger-controller").await.unwrap()?;
    lease
        .spec?
        .holder_identity
        .filter(|holder| !holder.is_empty())
}

fn created(secret: &Secret) -> Option<Time> {
    secret.metadata.creation_timestamp.clone()
}

#[tokio::test]
async fn two_replicas_that_start_at_once_agree_on_one_authority() {
    let cluster = Cluster::connect().await;
    let namespace = Namespace::create(&cluster, "control").await;
    namespace.apply(POD).await;
    let replicas = ["a", "b"].map(|name| Replica::start(&namespace, name));
    for replica in &replicas {
        replica.ready().await;
    }
    let roots = published_roots(&namespace).await;
    assert_eq!(roots.matches("BEGIN").count(), 1, "one root: {roots}");
    let token = token(&namespace, "outrigger", true).await;
    for replica in &replicas {
        let workload = Workload::new(&namespace, replica, &token, &roots);
        let id = workload.id().await.unwrap();
        assert_eq!(
            id.as_str(),
            format!("spiffe://cluster.local/ns/{}/sa/cart", namespace.name)
        );
        let metrics = replica.get("/metrics").unwrap();
        assert!(
            metrics.contains("outrigger_controller_certificates_signed_total{} 1\n"),
            "{metrics}"
        );
    }
}

#[tokio::test]
async fn a_leader_that_is_killed_is_followed_by_another() {
    let cluster = Cluster::connect().await;
    let namespace = Namespace::create(&cluster, "control").await;
    let mut replicas = Vec::from(["a", "b"].map(|name| Replica::start(&namespace, name)));
    for replica in &replicas {
        replica.ready().await;
    }
    let first = leader(&namespace).await.expect("one leads");
    replicas.retain(|replica| replica.name != first);
    let [other] = &replicas[..] else {
        panic!("{first} is none of the two")
    };
    let within = Duration::from_secs(30);
    wait::until("the other leads", within, async || {
        match leader(&namespace).await {
            Some(name) if name == other.name => Ok(()),
            seen => Err(format!("{seen:?}")),
        }
    })
    .await;

    // A leader writes.
    let secrets = namespace.api::<Secret>();
    let before = created(&secrets.get("outrigger-webhook").await.unwrap());
    let parameters = DeleteParams::default();
    let delete = secrets.delete("outrigger-webhook", &parameters);
    delete.await.unwrap();
    wait::until("the Secret is there again", within, async || match secrets
        .get_opt("outrigger-webhook")
        .await
    {
        Ok(Some(secret)) if created(&secret) >= before => Ok(()),
        seen => Err(format!("{:?}", seen.map(|secret| secret.is_some()))),
    })
    .await;
}

#[tokio::test]
async fn a_token_for_others_or_of_no_pod_gets_no_certificate() {
    let cluster = Cluster::connect().await;
    let namespace = Namespace::create(&cluster, "control").await;
    namespace.apply(POD).await;
    let replica = Replica::start(&namespace, "a");
    replica.ready().await;
    let roots = published_roots(&namespace).await;
    let good = token(&namespace, "outrigger", true).await;
    let others = token(&namespace, "vault", true).await;
    let api_server = token(&namespace, "https://kubernetes.default.svc", true).await;
    let unbound = token(&namespace, "outrigger", false).await;
    let cut = good[..good.len() - 9].to_owned();
    for bad in [others, api_server, unbound, cut, String::new()] {
        let refused = Workload::new(&namespace, &replica, &bad, &roots).id().await;
        match refused {
            Err(CertifyError::Refused(status)) => {
                assert_eq!(status.code(), tonic::Code::Unauthenticated, "{status}");
            }
            other => panic!("{other:?}"),
        }
    }
    let workload = Workload::new(&namespace, &replica, &good, &roots);
    workload.id().await.unwrap();

    // The token dies with its pod.
    let delete = DeleteParams::default().grace_period(0);
    let pods = namespace.api::<Pod>();
    pods.delete("cart-0", &delete).await.unwrap();
    wait::until(
        "the token of a pod that is gone is refused",
        wait::LONG,
        async || match workload.id().await {
            Err(CertifyError::Refused(_)) => Ok(()),
            seen => Err(format!("{seen:?}")),
        },
    )
    .await;
}

#[tokio::test]
async fn an_anchor_rotates_while_a_proxy_runs() {
    let cluster = Cluster::connect().await;
    let namespace = Namespace::create(&cluster, "control").await;
    namespace.apply(POD).await;
    let replica = Replica::start(&namespace, "a");
    replica.ready().await;
    let old = published_roots(&namespace).await;
    let token = token(&namespace, "outrigger", true).await;
    let workload = Workload::new(&namespace, &replica, &token, &old);
    workload.id().await.unwrap();
    let certifier = workload.certifier.clone();
    let options = ClientOptions::new(
        certifier.controller.clone(),
        certifier.identity.clone(),
        "cart-0",
    );
    let (proxy, runner) = DiscoveryClient::new(options);
    let running = tokio::spawn(runner.run());
    let following = tokio::spawn({
        let (certifier, proxy) = (certifier.clone(), proxy.clone());
        async move { certifier.run(&proxy).await }
    });

    // The root first: while it is there, a new issuer would come from it.
    let secrets = namespace.api::<Secret>();
    for name in ["outrigger-root", "outrigger-ca"] {
        secrets
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
    }
    let mut bundle = proxy.trust_bundle("cluster.local");
    let both = wait::until(
        "the proxy has both roots",
        wait::LONG,
        async || match bundle.current() {
            State::Present(bundle) if bundle.roots.matches("BEGIN").count() == 2 => {
                Ok(bundle.roots.clone())
            }
            seen => {
                let _ = tokio::time::timeout(Duration::from_secs(1), bundle.changed()).await;
                Err(format!("{seen:?}"))
            }
        },
    )
    .await;
    assert_eq!(published_roots(&namespace).await, both);
    let new = both.replace(&old, "");
    assert_eq!(new.matches("BEGIN").count(), 1);

    // Who knows the new root alone believes the controller once the new issuer signs.
    let newcomer = Workload::new(&namespace, &replica, &token, &new);
    wait::until(
        "certificates are under the new root",
        ROTATION,
        async || {
            assert!(
                proxy.status().connected,
                "the proxy lost its controller on the way"
            );
            newcomer.id().await.map_err(|error| error.to_string())
        },
    )
    .await;
    workload.id().await.expect("who has both goes on");
    assert!(proxy.status().connected);
    following.abort();
    running.abort();
}
