//! A stream to the mesh's own controllers that refuses what it is sent, as a proxy of another
//! version might.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, ResourceExt as _, api::ListParams};
use outrigger::{
    discovery::{
        Controller, controller_id,
        proto::{
            DeltaDiscoveryRequest, Node, Status,
            aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
        },
        resource::Kind,
    },
    identity,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::body::Body;

use super::{
    Cluster, Namespace, mesh,
    replica::{POD, Workload, published_roots, token},
};

pub const NODE: &str = "cart-0";
pub const REASON: &str = "no proxy of this version can do that";

/// The stream, until the value ends.
pub struct Refusal {
    tasks: [tokio::task::JoinHandle<()>; 2],
}

impl Refusal {
    /// Asks for a service and refuses it, as a pod of the namespace.
    pub async fn begin(cluster: &Cluster, namespace: &Namespace, service: &str) -> Self {
        namespace.apply(POD).await;
        let (address, forwarding) = forward(cluster.client.clone()).await;
        let controller = Controller {
            address,
            identity: controller_id("cluster.local", mesh::SYSTEM).expect("a valid name"),
            mark: None,
        };
        let token = token(namespace, "outrigger", true).await;
        let roots = published_roots(namespace).await;
        let workload = Workload::of(controller.clone(), &token, &roots);
        workload.id().await.expect("a good token");
        let credentials = workload
            .certifier
            .identity
            .current()
            .expect("just certified");
        let tls = credentials.control_client_config(&controller.identity);
        let channel = Channel::dial(&controller.address, tls).await;
        let refusing = tokio::spawn(refuse(channel, service.to_owned()));
        Self {
            tasks: [forwarding, refusing],
        }
    }
}

impl Drop for Refusal {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn refuse(channel: Channel, service: String) {
    let type_url = Kind::Service.type_url().to_owned();
    let ask = DeltaDiscoveryRequest {
        node: Some(Node { id: NODE.into() }),
        type_url: type_url.clone(),
        resource_names_subscribe: vec![service],
        ..Default::default()
    };
    let (requests, outbound) = tokio::sync::mpsc::channel(8);
    requests.send(ask).await.expect("it is taken below");
    let origin = http::Uri::from_static("https://controller.outrigger");
    let mut client = AggregatedDiscoveryServiceClient::with_origin(channel, origin);
    let opened = client.delta_aggregated_resources(ReceiverStream::new(outbound));
    let mut responses = opened.await.expect("a good certificate").into_inner();
    while let Some(response) = responses.next().await {
        let refused = DeltaDiscoveryRequest {
            type_url: type_url.clone(),
            response_nonce: response.expect("the stream goes on").nonce,
            error_detail: Some(Status {
                code: 3,
                message: REASON.into(),
            }),
            ..Default::default()
        };
        requests.send(refused).await.expect("the stream goes on");
    }
}

/// A port of this machine behind which is a controller's, by way of the API server.
async fn forward(client: Client) -> (String, tokio::task::JoinHandle<()>) {
    const PORT: u16 = 14_030;
    let pods = Api::<Pod>::namespaced(client, mesh::SYSTEM);
    let ours = ListParams::default().labels("app.kubernetes.io/name=outrigger");
    let listed = pods.list(&ours).await.expect("pods can be listed");
    let running = listed
        .items
        .iter()
        .find(|pod| pod.metadata.deletion_timestamp.is_none());
    let pod = running.expect("the mesh is installed").name_any();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let task = tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut ports = pods.portforward(&pod, &[PORT]).await.expect("the pod runs");
            let mut far = ports.take_stream(PORT).expect("it was asked for");
            tokio::spawn(async move {
                // Either side may end it.
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    (address, task)
}

#[derive(Clone)]
struct Channel(hyper::client::conn::http2::SendRequest<Body>);

impl Channel {
    async fn dial(address: &str, tls: Arc<rustls::ClientConfig>) -> Self {
        let connected = async {
            let tcp = TcpStream::connect(address).await?;
            let tls = TlsConnector::from(tls);
            let stream = tls.connect(identity::peer_name(), tcp).await?;
            let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
            let shaken = builder.handshake(TokioIo::new(stream)).await;
            shaken.map_err(io::Error::other)
        };
        let (sender, connection) = connected.await.expect("the controller is there");
        tokio::spawn(connection);
        Self(sender)
    }
}

impl tower_service::Service<http::Request<Body>> for Channel {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
