//! A small HTTP/1.1 port of the process's own, beside its traffic: bounded in connections, header
//! bytes and time, so that no scrape and no stuck reader costs traffic anything.

mod places;

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time,
};

use super::{metrics::Counter, seldom::Seldom};
use places::Places;

/// Connections open at once; another one takes the place of one of them.
pub(super) const MAX_CONNECTIONS: usize = 64;
/// A request's line and headers together.
pub(super) const MAX_HEADER_BYTES: usize = 8 * 1024;
const MAX_HEADERS: usize = 32;
/// From one request's end, or the connection's start, to the next one's headers.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// The whole life of a connection: a client that reads nothing is gone after it.
pub(super) const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);

/// Connections that lose their place are logged once in so long.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// One buffer, or a stream that ends before the connection must.
pub type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// The two ends of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    pub local: SocketAddr,
    pub peer: SocketAddr,
}

impl Ends {
    /// Whether the other end is in the same network namespace: `kubectl port-forward` is, too.
    pub fn is_local(&self) -> bool {
        self.peer.ip().to_canonical().is_loopback()
    }
}

/// What a port is called, and where it counts the connections that it closed for others.
#[derive(Clone, Debug)]
pub struct Port {
    pub name: &'static str,
    pub displaced: Arc<Counter>,
}

/// Serves a port until the future is dropped.
///
/// # Errors
/// When the listener itself fails, not when a connection does.
pub async fn serve<F, A>(listener: TcpListener, port: Port, answer: F) -> io::Result<()>
where
    F: Fn(Request<Incoming>, Ends) -> A + Send + Sync + 'static,
    A: Future<Output = Answer> + Send,
{
    let (answer, name) = (Arc::new(answer), port.name);
    let mut places = Places::new(MAX_CONNECTIONS);
    let mut connections = JoinSet::new();
    let mut seldom = Seldom::new(LOG_EVERY);
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) if is_passing(&error) => {
                tracing::warn!(%error, "the {name} port cannot accept a connection now");
                time::sleep(Duration::from_millis(100)).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        while connections.try_join_next().is_some() {}
        places.leave(AbortHandle::is_finished);
        let answer = answer.clone();
        let place = connections.spawn(async move { connection(stream, name, &*answer).await });
        let Some((holder, displaced)) = places.enter(from.ip().to_canonical(), place) else {
            continue;
        };
        displaced.abort();
        port.displaced.inc();
        if let Some(times) = seldom.due(Instant::now()) {
            tracing::warn!(
                %holder,
                times,
                "the {name} port has {MAX_CONNECTIONS} connections: a new one took the place of the oldest of the address with the most"
            );
        }
    }
}

async fn connection<F, A>(stream: TcpStream, name: &str, answer: &F)
where
    F: Fn(Request<Incoming>, Ends) -> A,
    A: Future<Output = Answer>,
{
    let (Ok(local), Ok(peer)) = (stream.local_addr(), stream.peer_addr()) else {
        // Gone already.
        return;
    };
    let ends = Ends { local, peer };
    let service =
        service_fn(|request| async move { Ok::<_, Infallible>(answer(request, ends).await) });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    match time::timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection to the {name} port failed"),
        Err(_) => tracing::debug!("a connection to the {name} port lasted too long"),
    }
}

/// Whether accepting may work again by itself: no descriptors left, or a client already gone.
fn is_passing(error: &io::Error) -> bool {
    let gone = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    );
    let full = [
        rustix::io::Errno::MFILE,
        rustix::io::Errno::NFILE,
        rustix::io::Errno::NOBUFS,
    ];
    gone || full
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = page("text/plain; charset=utf-8", body);
    *answer.status_mut() = status;
    answer
}

pub fn page(content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()).boxed_unsync());
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_loopback_is_local() {
        let local = |peer: &str| {
            let local = "198.18.64.7:14020".parse().unwrap();
            let peer = peer.parse().unwrap();
            Ends { local, peer }.is_local()
        };
        for peer in ["127.0.0.1:4", "[::1]:4", "[::ffff:127.0.0.1]:4"] {
            assert!(local(peer), "{peer}");
        }
        for peer in ["198.18.64.7:4", "[::ffff:198.18.64.1]:4", "[fd00::1]:4"] {
            assert!(!local(peer), "{peer}");
        }
    }
}
