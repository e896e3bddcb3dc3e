use tokio_stream::iter;

use super::{Channel, DialError, origin};
use crate::{
    controller::{Controller, Options},
    discovery::proto::{
        DeltaDiscoveryRequest,
        aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
    },
    identity::bootstrap_client_config,
};

/// Dials a controller of the mesh `mesh.local` that is expected to be one of `trust_domain`, for
/// the time of a test.
async fn dial(trust_domain: &str) -> Result<Channel, DialError> {
    let dir = tempfile::tempdir().unwrap();
    let registry = dir.path().join("registry.yaml");
    std::fs::write(&registry, "trustDomain: mesh.local\n").unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    let options = Options::new(registry, listen, dir.path().join("ca"));
    let controller = Controller::bind(options).await.unwrap();
    let address = controller.local_addr().unwrap().to_string();
    let id = format!("spiffe://{trust_domain}/ns/outrigger-system/sa/outrigger-controller");
    let id = id.parse().unwrap();
    let tls = bootstrap_client_config(&controller.roots_pem(), &id).unwrap();
    tokio::spawn(async move {
        let _dir = dir;
        controller.run(std::future::pending()).await;
    });
    let controller = crate::discovery::Controller {
        address,
        identity: id,
        mark: None,
    };
    Channel::dial(&controller, tls).await
}

#[tokio::test]
async fn discovery_is_refused_to_whoever_shows_no_certificate() {
    let channel = dial("mesh.local").await.unwrap();
    let mut client = AggregatedDiscoveryServiceClient::with_origin(channel, origin());
    let refused = client
        .delta_aggregated_resources(iter([DeltaDiscoveryRequest::default()]))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
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
