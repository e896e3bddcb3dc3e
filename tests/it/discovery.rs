//! A controller and proxies' clients over loopback TLS.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use outrigger::{
    controller::{
        self, Controller, Options,
        token::{TokenDigest, generate},
    },
    discovery::{
        Certifier, ClientOptions, DiscoveryClient, State, Subscription, model,
        model::{Destination, Endpoints, Service, ServiceKey},
        resource::{Discovered, Resource},
    },
    identity::{IdentityStore, ca::CaDirectory},
};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

/// For what is expected to happen: far beyond what it takes.
const PATIENCE: Duration = Duration::from_secs(20);

const POLL: Duration = Duration::from_millis(5);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// The files of a mesh.
struct Mesh {
    dir: tempfile::TempDir,
    token: String,
}

impl Mesh {
    fn new() -> Self {
        let mesh = Self {
            dir: tempfile::tempdir().unwrap(),
            token: generate(),
        };
        mesh.write_endpoint("198.18.1.1");
        mesh
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write_endpoint(&self, ip: &str) {
        self.write(&format!("{{ip: {ip}, serviceAccount: cart}}"));
    }

    /// One workload, and two services of which the first has these endpoints.
    fn write(&self, endpoints: &str) {
        let digest = TokenDigest::of(&self.token);
        let text = format!(
            "\
trustDomain: mesh.local
workloads:
  - {{namespace: shop, serviceAccount: cart, tokenSha256: \"{digest}\"}}
services:
  - namespace: shop
    name: cart
    addresses: [198.18.0.1]
    ports: [{{port: 80, targetPort: 8080, protocol: http}}]
    endpoints: [{endpoints}]
  - namespace: shop
    name: till
    addresses: [198.18.0.2]
    ports: [{{port: 80}}]
"
        );
        replace(&self.path("registry.yaml"), &text);
    }

    async fn start(&self, listen: SocketAddr) -> Running {
        let mut options = Options::new(self.path("registry.yaml"), listen, self.path("ca"));
        options.poll = POLL;
        options.ca_poll = POLL;
        let controller = Controller::bind(options).await.unwrap();
        replace(&self.path("roots.pem"), &controller.roots_pem());
        let (stop, stopped) = oneshot::channel::<()>();
        Running {
            addr: controller.local_addr().unwrap(),
            status: controller.status(),
            store: controller.store(),
            stop,
            task: tokio::spawn(controller.run(async {
                stopped.await.ok();
            })),
        }
    }

    fn certifier(&self, addr: SocketAddr, token: &str) -> Certifier {
        let token_file = self.path("token");
        replace(&token_file, token);
        Certifier {
            controller: controller_at(addr),
            token_file,
            roots_file: self.path("roots.pem"),
            identity: IdentityStore::new(),
            keep_dir: Some(self.path("identity")),
        }
    }

    async fn options(&self, addr: SocketAddr) -> ClientOptions {
        let certifier = self.certifier(addr, &self.token);
        soon("a certificate", certifier.certify()).await.unwrap();
        ClientOptions::new(controller_at(addr), certifier.identity, "cart-0")
    }
}

fn controller_at(addr: SocketAddr) -> outrigger::discovery::Controller {
    outrigger::discovery::Controller {
        address: addr.to_string(),
        identity: "spiffe://mesh.local/ns/outrigger-system/sa/outrigger-controller"
            .parse()
            .unwrap(),
        mark: None,
    }
}

fn replace(path: &Path, text: &str) {
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, text).unwrap();
    std::fs::rename(temporary, path).unwrap();
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

struct Running {
    addr: SocketAddr,
    status: watch::Receiver<controller::Status>,
    store: std::sync::Arc<controller::Store>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    async fn stop(self) {
        self.stop.send(()).unwrap();
        soon("the controller ends", self.task).await.unwrap();
    }
}

/// A client whose background work ends with it.
struct Proxy {
    client: DiscoveryClient,
    task: JoinHandle<()>,
}

impl Proxy {
    fn start(options: ClientOptions) -> Self {
        let (client, runner) = DiscoveryClient::new(options);
        let task = tokio::spawn(runner.run());
        Self { client, task }
    }

    async fn connected(&self, connected: bool) {
        let mut changes = self.client.status_changes();
        let change = changes.wait_for(|()| self.client.status().connected == connected);
        soon("the connection's state", change).await.unwrap();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn until<T: Discovered>(
    subscription: &mut Subscription<T>,
    mut holds: impl FnMut(&State<T>) -> bool,
) -> State<T> {
    let wait = async {
        loop {
            let state = subscription.current();
            if holds(&state) {
                return state;
            }
            subscription.changed().await;
        }
    };
    soon("the state of a resource", wait).await
}

fn cart() -> ServiceKey {
    "shop/cart:80".parse().unwrap()
}

fn serves(state: &State<Endpoints>, ip: &str) -> bool {
    matches!(state, State::Present(endpoints)
        if endpoints.endpoints.iter().any(|endpoint| endpoint.addr.ip().to_string() == ip))
}

#[tokio::test]
async fn an_edit_reaches_those_who_subscribed() {
    let mesh = Mesh::new();
    let controller = mesh.start(any_port()).await;
    let proxy = Proxy::start(mesh.options(controller.addr).await);

    let mut dialled = proxy.client.destination("198.18.0.1:80".parse().unwrap());
    assert!(matches!(
        dialled.known(PATIENCE).await,
        State::Present(destination) if *destination == Destination::Service(cart())
    ));
    let mut unknown = proxy.client.destination("198.18.9.9:80".parse().unwrap());
    assert!(matches!(unknown.known(PATIENCE).await, State::Absent));

    let mut endpoints = proxy.client.endpoints(&cart());
    until(&mut endpoints, |state| serves(state, "198.18.1.1")).await;
    mesh.write_endpoint("198.18.1.2");
    until(&mut endpoints, |state| serves(state, "198.18.1.2")).await;

    let names: Vec<_> = proxy.client.resources();
    assert_eq!(names.len(), 2, "nothing that was not asked for: {names:?}");
    controller.stop().await;
}

#[tokio::test]
async fn a_removed_service_is_absent_at_once() {
    let mesh = Mesh::new();
    let controller = mesh.start(any_port()).await;
    let proxy = Proxy::start(mesh.options(controller.addr).await);
    let mut service = proxy.client.service(&cart());
    until(&mut service, |state| matches!(state, State::Present(_))).await;

    replace(&mesh.path("registry.yaml"), "trustDomain: mesh.local\n");
    until(&mut service, |state| matches!(state, State::Absent)).await;
}

#[tokio::test]
async fn a_bad_edit_is_refused_and_the_last_good_state_stays() {
    let mesh = Mesh::new();
    let mut controller = mesh.start(any_port()).await;
    let proxy = Proxy::start(mesh.options(controller.addr).await);
    let mut endpoints = proxy.client.endpoints(&cart());
    until(&mut endpoints, |state| serves(state, "198.18.1.1")).await;

    mesh.write("{ip: 198.18.1.2, weight: heavy}");
    let status = soon(
        "the edit is refused",
        controller.status.wait_for(|status| status.refused > 0),
    )
    .await
    .unwrap()
    .clone();
    let mistake = status.mistake.unwrap().to_string();
    assert!(
        mistake.contains("registry.yaml:9:") && mistake.contains("endpoints[0].weight: "),
        "{mistake}"
    );
    assert!(serves(&endpoints.current(), "198.18.1.1"));

    mesh.write_endpoint("198.18.1.3");
    until(&mut endpoints, |state| serves(state, "198.18.1.3")).await;
    assert_eq!(controller.status.borrow().mistake, None);
}

#[tokio::test]
async fn a_proxy_refuses_what_it_cannot_act_on_and_keeps_the_last_good_value() {
    let mesh = Mesh::new();
    let controller = mesh.start(any_port()).await;
    let proxy = Proxy::start(mesh.options(controller.addr).await);
    let mut service = proxy.client.service(&cart());
    let good = until(&mut service, |state| matches!(state, State::Present(_))).await;
    let good = good.present().unwrap();

    // As a controller with a fault would: the registry's own checks let nothing like it through.
    let mut bad = Service::clone(&good);
    bad.policy.breaker.failure_rate = 7.0;
    let (name, bad) = Resource::service(bad);
    controller.store.apply([(name, Some(bad))]);

    let mut nacks = controller.store.nacks();
    soon("the NACK", nacks.wait_for(|nacks| *nacks == 1))
        .await
        .unwrap();
    assert_eq!(proxy.client.status().nacks, 1);
    assert_eq!(service.current().present().unwrap(), good);

    let mut better = Service::clone(&good);
    better.protocol = model::Protocol::Http2;
    let (name, better) = Resource::service(better);
    controller.store.apply([(name, Some(better))]);
    until(&mut service, |state| {
        matches!(state, State::Present(service) if service.protocol == model::Protocol::Http2)
    })
    .await;
}

#[tokio::test]
async fn a_proxy_outlives_its_controller_and_catches_up() {
    let mesh = Mesh::new();
    let controller = mesh.start(any_port()).await;
    let addr = controller.addr;
    let proxy = Proxy::start(mesh.options(addr).await);
    let mut endpoints = proxy.client.endpoints(&cart());
    until(&mut endpoints, |state| serves(state, "198.18.1.1")).await;

    controller.stop().await;
    proxy.connected(false).await;
    assert!(serves(&endpoints.current(), "198.18.1.1"));

    mesh.write_endpoint("198.18.1.4");
    let _controller = mesh.start(addr).await;
    until(&mut endpoints, |state| serves(state, "198.18.1.4")).await;
    let mut service = proxy.client.service(&cart());
    assert!(matches!(service.known(PATIENCE).await, State::Present(_)));
}

#[tokio::test]
async fn a_new_root_reaches_the_proxies() {
    let mesh = Mesh::new();
    let controller = mesh.start(any_port()).await;
    let certifier = mesh.certifier(controller.addr, &mesh.token);
    let identity = certifier.identity.clone();
    let options = ClientOptions::new(controller_at(controller.addr), identity.clone(), "cart-0");
    let proxy = Proxy::start(options);
    let client = proxy.client.clone();
    let certifying = tokio::spawn(async move { certifier.run(&client).await });
    soon("a certificate", identity.ready()).await;
    let mut bundle = proxy.client.trust_bundle("mesh.local");
    let roots = |state: &State<model::TrustBundle>| match state {
        State::Present(bundle) => bundle.roots.matches("BEGIN CERTIFICATE").count(),
        _ => 0,
    };
    until(&mut bundle, |state| roots(state) == 1).await;

    CaDirectory::load_or_create(&mesh.path("ca"), "mesh.local")
        .unwrap()
        .rotate_root(std::time::SystemTime::now())
        .unwrap();
    until(&mut bundle, |state| roots(state) == 2).await;
    assert!(proxy.client.status().connected);
    certifying.abort();
}

#[tokio::test]
async fn a_proxy_starts_from_its_snapshot_while_the_controller_is_away() {
    let mesh = Mesh::new();
    let controller = mesh.start(any_port()).await;
    let mut options = mesh.options(controller.addr).await;
    options.snapshot_dir = Some(mesh.path("snapshot"));
    let first = Proxy::start(options.clone());
    let mut service = first.client.service(&cart());
    until(&mut service, |state| matches!(state, State::Present(_))).await;
    soon("the snapshot", async {
        while !mesh.path("snapshot/discovery.json").exists() {
            tokio::time::sleep(POLL).await;
        }
    })
    .await;
    drop(first);
    let addr = controller.addr;
    controller.stop().await;

    let certifier = mesh.certifier(addr, &mesh.token);
    assert!(certifier.restore(), "the identity is kept too");
    options.identity = certifier.identity;
    let second = Proxy::start(options);
    let restored = second.client.service(&cart()).current();
    assert_eq!(restored.present(), service.current().present());
    assert!(!second.client.status().connected);
}

#[tokio::test]
async fn what_nobody_holds_is_unsubscribed() {
    let mesh = Mesh::new();
    let controller = mesh.start(any_port()).await;
    let mut options = mesh.options(controller.addr).await;
    options.idle_after = Duration::from_millis(20);
    let proxy = Proxy::start(options);
    let mut service = proxy.client.service(&cart());
    let name = outrigger::discovery::resource::ResourceName::service(&cart());
    until(&mut service, |state| matches!(state, State::Present(_))).await;
    assert!(controller.store.is_subscribed(&name));

    drop(service);
    soon("the subscription ends", async {
        while controller.store.is_subscribed(&name) {
            tokio::time::sleep(POLL).await;
        }
    })
    .await;
    assert_eq!(proxy.client.status().subscriptions, 0);
}

#[tokio::test]
async fn a_token_that_is_not_the_meshs_gets_no_certificate() {
    let mesh = Mesh::new();
    let controller = mesh.start(any_port()).await;
    let of_another_audience = "eyJhbGciOiJub25lIn0.eyJhdWQiOiJvdGhlciJ9.";
    for token in ["", "guess", of_another_audience, &generate()] {
        let certifier = mesh.certifier(controller.addr, token);
        let refused = certifier.certify().await.unwrap_err().to_string();
        assert!(refused.contains("not one of this mesh"), "{refused}");
        assert!(certifier.identity.current().is_none());
        assert!(!certifier.restore());
    }
}

#[tokio::test]
async fn a_revoked_token_gets_no_certificate() {
    let mesh = Mesh::new();
    let mut controller = mesh.start(any_port()).await;
    mesh.options(controller.addr).await;
    replace(&mesh.path("registry.yaml"), "trustDomain: mesh.local\n");
    soon(
        "the edit",
        controller.status.wait_for(|status| status.accepted > 0),
    )
    .await
    .unwrap();
    let certifier = mesh.certifier(controller.addr, &mesh.token);
    certifier.certify().await.unwrap_err();
}

#[tokio::test]
async fn another_meshs_controller_is_not_trusted() {
    let ours = Mesh::new();
    let theirs = Mesh::new();
    ours.start(any_port()).await;
    let impostor = theirs.start(any_port()).await;
    let certifier = ours.certifier(impostor.addr, &ours.token);
    let refused = certifier.certify().await.unwrap_err().to_string();
    assert!(refused.contains("TLS"), "{refused}");
}
