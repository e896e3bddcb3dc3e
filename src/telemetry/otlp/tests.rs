use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue as ProtoKeyValue, any_value::Value},
    trace::v1::{
        Span as ProtoSpan, span::SpanKind as ProtoKind, status::StatusCode as ProtoStatus,
    },
};
use prost::Message;
use tokio::net::TcpListener;
use tonic::transport::{Server, server::TcpIncoming};

use super::*;
use crate::telemetry::{
    Reason,
    context::{Sampler, TraceContext},
    span::{SpanKind, SpanSink},
};

type Received = mpsc::UnboundedReceiver<ExportTraceServiceRequest>;

struct Collector(mpsc::UnboundedSender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        self.0.send(request.into_inner()).unwrap();
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

async fn grpc_collector() -> (String, Received) {
    let (listener, addr) = listen().await;
    let (tx, rx) = mpsc::unbounded_channel();
    let service = TraceServiceServer::new(Collector(tx));
    let server = Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    (format!("http://{addr}"), rx)
}

/// Answers with each of the statuses in turn, then with 200.
async fn http_collector(statuses: &'static [u16]) -> (String, Received) {
    let (listener, addr) = listen().await;
    let (tx, rx) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut statuses = statuses.iter();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let status = *statuses.next().unwrap_or(&200);
            let tx = &tx;
            let service = service_fn(move |request: Request<Incoming>| async move {
                assert_eq!(request.uri(), "/v1/traces");
                assert_eq!(request.headers()["content-type"], "application/x-protobuf");
                let body = request.into_body().collect().await.unwrap().to_bytes();
                tx.send(ExportTraceServiceRequest::decode(body).unwrap())
                    .unwrap();
                let response = Response::builder()
                    .status(status)
                    .body(Full::<Bytes>::default());
                Ok::<_, Infallible>(response.unwrap())
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            connection.await.unwrap();
        }
    });
    (format!("http://{addr}/v1/traces"), rx)
}

/// Sends a server span and the client span below it, and returns once they are exported.
async fn export_two_spans(endpoint: &str, metrics: &Metrics) {
    let (sink, rx) = SpanSink::new(metrics.losses().spans_dropped.clone());
    let resource = [
        ("service.name", "cart".to_owned()),
        ("k8s.pod.name", "cart-0".to_owned()),
    ];
    let mut exporter = Exporter::new(endpoint, resource, rx, metrics.clone()).unwrap();
    exporter.linger = Duration::ZERO;
    exporter.back_off_min = Duration::from_millis(1);

    let headers = [(
        "traceparent",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    )];
    let headers = headers.map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap()));
    let headers = http::HeaderMap::from_iter(headers);
    let context = TraceContext::receive(&headers, Sampler::NEVER);
    let name: Arc<str> = "shop/cart".into();
    let mut server = sink.start(context.as_ref(), SpanKind::Server, &name);
    let mut client = server.child(SpanKind::Client, &name);
    client.record(|span| {
        span.method = Some(Method::from_bytes(b"BREW").unwrap());
        span.status = Some(StatusCode::GATEWAY_TIMEOUT);
        span.reason = Some(Reason::RequestTimeout);
        span.version = Some(Version::HTTP_2);
        span.authority = Some("cart.shop:8080".parse().unwrap());
        span.path = Some("/items?token=secret".parse().unwrap());
        span.peer_addr = Some("198.18.0.7:8080".parse().unwrap());
        span.peer = Some("spiffe://mesh.local/ns/shop/sa/cart".parse().unwrap());
        span.service = Some("shop/cart:80".into());
        span.resend = 1;
    });
    server.record(|span| span.status = Some(StatusCode::NOT_FOUND));
    drop((client, server, sink));
    exporter.run().await;
}

fn text<'a>(attributes: &'a [ProtoKeyValue], key: &str) -> Option<&'a str> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

fn number(attributes: &[ProtoKeyValue], key: &str) -> Option<i64> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::IntValue(number) => Some(*number),
        _ => None,
    }
}

fn assert_received(request: ExportTraceServiceRequest) {
    let [resource_spans] = &request.resource_spans[..] else {
        panic!("one resource, not {}", request.resource_spans.len());
    };
    let resource = resource_spans.resource.as_ref().unwrap();
    assert_eq!(text(&resource.attributes, "service.name"), Some("cart"));
    assert_eq!(text(&resource.attributes, "k8s.pod.name"), Some("cart-0"));
    let spans = &resource_spans.scope_spans[0].spans;
    let of_kind = |kind: ProtoKind| spans.iter().find(|span| span.kind == kind as i32).unwrap();
    assert_server(of_kind(ProtoKind::Server));
    assert_client(of_kind(ProtoKind::Client), of_kind(ProtoKind::Server));
    assert_eq!(spans.len(), 2);
}

fn assert_server(server: &ProtoSpan) {
    assert_eq!(server.name, "shop/cart");
    assert_eq!(
        server.trace_id,
        0x4bf92f3577b34da6a3ce929d0e0e4736u128.to_be_bytes()
    );
    assert_eq!(server.parent_span_id, 0x00f067aa0ba902b7u64.to_be_bytes());
    assert_eq!(
        number(&server.attributes, "http.response.status_code"),
        Some(404)
    );
    let status = server.status.as_ref().map_or(0, |status| status.code);
    assert_eq!(
        status,
        ProtoStatus::Unset as i32,
        "404 is no error of the server"
    );
    assert!(server.end_time_unix_nano >= server.start_time_unix_nano);
}

fn assert_client(client: &ProtoSpan, server: &ProtoSpan) {
    assert_eq!(client.parent_span_id, server.span_id);
    assert_eq!(client.trace_id, server.trace_id);
    assert_eq!(
        client.status.as_ref().unwrap().code,
        ProtoStatus::Error as i32
    );
    for (key, value) in [
        ("http.request.method", "_OTHER"),
        ("network.protocol.version", "2"),
        ("server.address", "cart.shop"),
        ("url.path", "/items"),
        ("network.peer.address", "198.18.0.7"),
        ("outrigger.service", "shop/cart:80"),
        ("outrigger.peer.id", "spiffe://mesh.local/ns/shop/sa/cart"),
        ("outrigger.reason", "request-timeout"),
        ("error.type", "request-timeout"),
    ] {
        assert_eq!(text(&client.attributes, key), Some(value), "{key}");
    }
    assert_eq!(
        number(&client.attributes, "http.response.status_code"),
        Some(504)
    );
    assert_eq!(number(&client.attributes, "server.port"), Some(8080));
    assert_eq!(
        number(&client.attributes, "http.request.resend_count"),
        Some(1)
    );
}

#[tokio::test]
async fn exports_over_grpc() {
    let (endpoint, mut received) = grpc_collector().await;
    let metrics = Metrics::new();
    export_two_spans(&endpoint, &metrics).await;
    assert_received(received.recv().await.unwrap());
    assert_eq!(metrics.losses().spans_exported.get(), 2);
}

#[tokio::test]
async fn exports_over_http() {
    let (endpoint, mut received) = http_collector(&[]).await;
    let metrics = Metrics::new();
    export_two_spans(&endpoint, &metrics).await;
    assert_received(received.recv().await.unwrap());
    assert_eq!(metrics.losses().spans_exported.get(), 2);
}

#[tokio::test]
async fn tries_again_when_the_collector_fails() {
    let (endpoint, mut received) = http_collector(&[503, 500]).await;
    let metrics = Metrics::new();
    export_two_spans(&endpoint, &metrics).await;
    for _ in 0..3 {
        assert_received(received.recv().await.unwrap());
    }
    assert_eq!(metrics.losses().span_export_failures.get(), 2);
    assert_eq!(metrics.losses().spans_exported.get(), 2);
}

#[tokio::test]
async fn gives_a_batch_up_when_nobody_listens() {
    let (listener, addr) = listen().await;
    drop(listener);
    for endpoint in [format!("http://{addr}"), format!("http://{addr}/v1/traces")] {
        let metrics = Metrics::new();
        export_two_spans(&endpoint, &metrics).await;
        let losses = metrics.losses();
        let dropped = losses
            .spans_dropped
            .load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!((dropped, losses.spans_exported.get()), (2, 0), "{endpoint}");
        assert_eq!(losses.span_export_failures.get(), u64::from(TRIES));
    }
}

#[test]
fn the_address_says_the_transport() {
    let parsed = |text| parse_endpoint(text).map_err(|error| error.to_string());
    let http = |text: &str| Ok((Transport::Http, text.to_owned()));
    assert_eq!(
        parsed("http://c:4317"),
        Ok((Transport::Grpc, "http://c:4317".into()))
    );
    assert_eq!(parsed("http://c:4318"), http("http://c:4318/v1/traces"));
    assert_eq!(parsed("http://c:4318/"), http("http://c:4318/v1/traces"));
    assert_eq!(
        parsed("http://c/otlp/v1/traces"),
        http("http://c/otlp/v1/traces")
    );
    assert_eq!(
        parsed("http://[::1]:4318"),
        http("http://[::1]:4318/v1/traces")
    );
    for invalid in [
        "",
        "http://a b:4317",
        "http://c:99999",
        "http://[::1]:0",
        "c:4317",
        "ftp://c:4317",
        "http://c:4317/path",
        "http://c:4318?x",
        "https://c",
    ] {
        assert!(parsed(invalid).is_err(), "{invalid:?}");
    }
}
