use tokio_stream::iter;

use super::{Channel, origin};
use crate::{
    controller::{Controller, Options},
    discovery::proto::{
        DeltaDiscoveryRequest,
        aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
    },
    identity::bootstrap_client_config,
};

#[tokio::test]
async fn discovery_is_refused_to_whoever_shows_no_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let registry = dir.path().join("registry.yaml");
    std::fs::write(&registry, "trustDomain: mesh.local\n").unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    let options = Options::new(registry, listen, dir.path().join("ca"));
    let controller = Controller::bind(options).await.unwrap();
    let address = controller.local_addr().unwrap().to_string();
    let id = "spiffe://mesh.local/ns/outrigger-system/sa/outrigger-controller"
        .parse()
        .unwrap();
    let tls = bootstrap_client_config(&controller.roots_pem(), &id).unwrap();
    let serving = tokio::spawn(controller.run(std::future::pending()));

    let controller = crate::discovery::Controller {
        address,
        identity: id,
        mark: None,
    };
    let channel = Channel::dial(&controller, tls).await.unwrap();
    let mut client = AggregatedDiscoveryServiceClient::with_origin(channel, origin());
    let refused = client
        .delta_aggregated_resources(iter([DeltaDiscoveryRequest::default()]))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    serving.abort();
}
