//! gRPC over mesh TLS: one HTTP/2 connection of our own, dialled within one deadline.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_rustls::TlsConnector;
use tonic::body::Body;

use super::client::Controller;
use crate::{
    host::{
        self,
        net::{self, TcpStream},
    },
    identity::{self, describe_tls_failure},
};

/// For name resolution, TCP, TLS and HTTP/2 together.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// A controller that is gone without a word is noticed after the two together.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest message read: one service's endpoints at about 150 bytes each, a hundred thousand.
pub(super) const MAX_MESSAGE: usize = 16 << 20;

/// Why the controller could not be reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    #[error("{address} cannot be reached: {source}")]
    Connect { address: String, source: io::Error },
    #[error("TLS with {address} failed: {}", describe_tls_failure(.source))]
    Tls { address: String, source: io::Error },
    #[error("{address} does not speak HTTP/2: {source}")]
    Http {
        address: String,
        source: hyper::Error,
    },
    #[error(
        "{address} did not finish TCP, TLS and HTTP/2 within {DIAL_TIMEOUT:?}: is a NetworkPolicy in the way?"
    )]
    Timeout { address: String },
}

/// A connection as tonic's clients use it. The connection closes when its last clone is dropped.
#[derive(Clone, Debug)]
pub(super) struct Channel(http2::SendRequest<Body>);

impl Channel {
    pub(super) async fn dial(
        Controller { address, mark, .. }: &Controller,
        tls: Arc<rustls::ClientConfig>,
    ) -> Result<Self, DialError> {
        tokio::time::timeout(DIAL_TIMEOUT, dial(address, *mark, tls))
            .await
            .unwrap_or_else(|_| {
                Err(DialError::Timeout {
                    address: address.clone(),
                })
            })
    }
}

async fn dial(
    address: &str,
    mark: Option<u32>,
    tls: Arc<rustls::ClientConfig>,
) -> Result<Channel, DialError> {
    let tcp = connect(address, mark)
        .await
        .map_err(|source| DialError::Connect {
            address: address.into(),
            source,
        })?;
    let stream = TlsConnector::from(tls)
        .connect(identity::peer_name(), tcp)
        .await
        .map_err(|source| DialError::Tls {
            address: address.into(),
            source,
        })?;
    let (sender, connection) = http2::Builder::new(host::Executor)
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|source| DialError::Http {
            address: address.into(),
            source,
        })?;
    host::spawn(async move {
        // Every call on the connection fails with it, and says so where it matters.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection to the controller ended");
        }
    });
    Ok(Channel(sender))
}

/// The first of the name's addresses that answers.
async fn connect(address: &str, mark: Option<u32>) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for addr in net::lookup(address).await? {
        match net::connect(addr, mark).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
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

/// The authority of every request: the name proves nothing, the certificate does.
pub(super) fn origin() -> http::Uri {
    http::Uri::from_static("https://controller.outrigger")
}

#[cfg(test)]
#[path = "grpc_tests.rs"]
mod tests;
