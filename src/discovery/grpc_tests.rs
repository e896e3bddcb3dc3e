use std::sync::Arc;

use rustls::ClientConfig;
use tokio::{io::AsyncReadExt, net::TcpStream, time::Instant};
use tokio_rustls::TlsConnector;
use tokio_stream::iter;

use super::{Channel, Controller, DialError, origin};
use crate::{
    controller::{self, Options},
    discovery::proto::{
        DeltaDiscoveryRequest,
        aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
    },
    identity::{self, bootstrap_client_config},
};

/// How to reach a controller of the mesh `mesh.local`, which is expected to be one of
/// `trust_domain`, for the time of a test.
async fn controller(trust_domain: &str) -> (Controller, Arc<ClientConfig>) {
    let dir = tempfile::tempdir().unwrap();
    let registry = dir.path().join("registry.yaml");
    std::fs::write(&registry, "trustDomain: mesh.local\n").unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    let options = Options::new(registry, listen, dir.path().join("ca"));
    let controller = controller::Controller::bind(options).await.unwrap();
    let address = controller.local_addr().unwrap().to_string();
    let id = format!("spiffe://{trust_domain}/ns/outrigger-system/sa/outrigger-controller");
    let id = id.parse().unwrap();
    let tls = bootstrap_client_config(&controller.roots_pem(), &id).unwrap();
    tokio::spawn(async move {
        let _dir = dir;
        controller.run(std::future::pending()).await;
    });
    let controller = Controller {
        address,
        identity: id,
        mark: None,
    };
    (controller, tls)
}

async fn dial(trust_domain: &str) -> Result<Channel, DialError> {
    let (controller, tls) = controller(trust_domain).await;
    Channel::dial(&controller, tls).await
}

/// How discovery is refused.
async fn refused(channel: Channel) -> tonic::Code {
    let mut client = AggregatedDiscoveryServiceClient::with_origin(channel, origin());
    let request = iter([DeltaDiscoveryRequest::default()]);
    let refused = client.delta_aggregated_resources(request).await;
    refused.unwrap_err().code()
}

#[tokio::test]
async fn discovery_is_refused_to_whoever_shows_no_certificate() {
    let channel = dial("mesh.local").await.unwrap();
    assert_eq!(refused(channel).await, tonic::Code::Unauthenticated);
}

/// They had no bound, and no end.
#[tokio::test]
async fn an_address_has_few_connections_without_a_certificate() {
    let (controller, tls) = controller("mesh.local").await;
    let served = async || {
        let channel = Channel::dial(&controller, tls.clone()).await.ok()?;
        let code = refused(channel.clone()).await;
        (code == tonic::Code::Unauthenticated).then_some(channel)
    };
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(served().await.expect("a place"));
    }
    assert!(served().await.is_none());
    held.clear();
    // The controller hears of that in its own time.
    while served().await.is_none() {}
}

#[tokio::test]
async fn a_connection_without_a_certificate_ends() {
    let (controller, tls) = controller("mesh.local").await;
    let tcp = TcpStream::connect(&controller.address).await.unwrap();
    let name = identity::peer_name();
    let mut stream = TlsConnector::from(tls).connect(name, tcp).await.unwrap();
    tokio::time::pause();
    let start = Instant::now();
    // However it ends, it does.
    let _ = stream.read_to_end(&mut Vec::new()).await;
    assert!(
        (10..=31).contains(&start.elapsed().as_secs()),
        "{:?}",
        start.elapsed()
    );
}

/// The library's own words are the debug form of what it met.
#[tokio::test]
async fn a_controller_of_another_mesh_is_told_by_its_identity() {
    let refused = dial("mesh.other").await.unwrap_err().to_string();
    let account = "ns/outrigger-system/sa/outrigger-controller";
    assert!(
        refused.ends_with(&format!(
            "failed: the peer's certificate was refused: wrong_trust_domain, expected \
             spiffe://mesh.other/{account}, met spiffe://mesh.local/{account}"
        )),
        "{refused}"
    );
}
