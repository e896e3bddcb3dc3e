//! The webhook's port: TLS with a certificate that is replaced while it runs, bounded in
//! connections, bytes and time.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::Webhook;
use crate::controller::connection_limit::Peers;

/// Of all peers together: a hundred pods together could not hold them all.
const MAX_CONNECTIONS: usize = 4_096;
/// An API server keeps a connection or two.
const MAX_PER_PEER: usize = 32;
/// Reviews at a time on one connection.
const MAX_STREAMS: u32 = 128;
/// No object of Kubernetes is larger than 1.5 MiB, and a review may hold the old one as well.
const MAX_REVIEW: usize = 4 << 20;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// For the review to come in.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// Between reviews; also how soon a peer that vanished is noticed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
const KEEPALIVE: Duration = Duration::from_secs(30);

type Answer = Response<Full<Bytes>>;

/// Serves until the future is dropped. Each connection begins with the certificate that is there
/// then.
///
/// # Errors
/// When the listener itself fails, not when a connection does.
pub async fn serve(
    listener: TcpListener,
    tls: watch::Receiver<Arc<ServerConfig>>,
    webhook: Arc<Webhook>,
) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let peers = Peers::new(MAX_PER_PEER);
    loop {
        let place = places.clone().acquire_owned().await;
        let (tcp, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // No descriptors, most often: time helps, and the kernel keeps the rest waiting.
                tracing::warn!(%error, "the webhook cannot accept a connection now");
                time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(entry) = peers.enter(from.ip()) else {
            tracing::debug!(%from, "closed: the address has too many connections to the webhook");
            continue;
        };
        let acceptor = acceptor(&tls.borrow());
        let webhook = webhook.clone();
        tokio::spawn(async move {
            let _held = (place, entry);
            connection(tcp, from, acceptor, webhook).await;
        });
    }
}

/// Speaks what the API server prefers, whatever the certificate's keeper thought of.
fn acceptor(config: &ServerConfig) -> TlsAcceptor {
    let mut config = config.clone();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config).into()
}

async fn connection(tcp: TcpStream, from: SocketAddr, tls: TlsAcceptor, webhook: Arc<Webhook>) {
    let failed = |error: &dyn std::fmt::Display| {
        tracing::debug!(%from, %error, "a connection to the webhook failed");
    };
    let tls = match time::timeout(HANDSHAKE_TIMEOUT, tls.accept(tcp)).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => return failed(&error),
        Err(late) => return failed(&late),
    };
    if let Err(error) = http(tls, webhook).await {
        failed(&error);
    }
}

async fn http(tls: TlsStream<TcpStream>, webhook: Arc<Webhook>) -> hyper::Result<()> {
    let is_h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request| {
        let webhook = webhook.clone();
        async move { Ok::<_, Infallible>(answer(&webhook, request).await) }
    });
    let io = TokioIo::new(tls);
    if is_h2 {
        return http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .keep_alive_interval(KEEPALIVE)
            .serve_connection(io, service)
            .await;
    }
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .serve_connection(io, service)
        .await
}

async fn answer(webhook: &Webhook, request: Request<Incoming>) -> Answer {
    if request.method() != Method::POST {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "POST an AdmissionReview\n");
    }
    let path = request.uri().path().to_owned();
    let body = Limited::new(request.into_body(), MAX_REVIEW).collect();
    let Ok(Ok(body)) = time::timeout(BODY_TIMEOUT, body).await else {
        return plain(
            StatusCode::BAD_REQUEST,
            "the review broke off, or is too large\n",
        );
    };
    let Ok(review) = serde_json::from_slice(&body.to_bytes()) else {
        return plain(StatusCode::BAD_REQUEST, "the review is not JSON\n");
    };
    let answered = match path.as_str() {
        "/inject" => webhook.pod(&review).await,
        "/lint" => webhook.template(&review).await,
        _ => return plain(StatusCode::NOT_FOUND, "try /inject or /lint\n"),
    };
    match answered {
        Ok(answer) => {
            let mut response = Response::new(Full::from(answer.to_string()));
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
            response
        }
        Err(why) => plain(
            StatusCode::BAD_REQUEST,
            format!("this is no AdmissionReview: {why}\n"),
        ),
    }
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response
}
