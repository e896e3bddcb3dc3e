//! From the application: what it dials, over the mesh where that is meshed.

use std::{net::SocketAddr, rc::Rc};

use bytes::Bytes;
use tokio::io::AsyncWriteExt;

use super::{
    dial::{DialError, within},
    http::{context::Context, pool::Version, reply::Refusal, server},
    io::{Rewind, Stream},
    sniff::{self, OpenError, Opening},
    tcp,
    upstream::{Picked, Upstream},
    worker::Worker,
};
use crate::{
    discovery::model::{Destination, Endpoint, Protocol},
    host::{self, net::TcpStream},
    identity::Alpn,
    resilience::{CallResult, Outcome},
    telemetry::{
        Direction, Reason,
        metrics::{ConnectionProtocol, OpenConnection, TcpSeries},
    },
};

/// Carries one connection of the application from accept to close.
pub async fn handle(
    worker: Rc<Worker>,
    client: TcpStream,
    from: SocketAddr,
    dst: SocketAddr,
    mut open: OpenConnection,
) {
    let drain = worker.shared.drain.clone();
    // Boxed: an HTTP connection may be idle for hours, and would keep room for what comes before.
    let http = Box::pin(until_http(worker, client, from, dst, &mut open)).await;
    if let Some((stream, version, context)) = http {
        open.speaks(version.into());
        server::serve(stream, version, Rc::new(context), drain).await;
    }
}

/// Recognises what the connection carries, and carries it to its end where that is not HTTP.
async fn until_http(
    worker: Rc<Worker>,
    mut client: TcpStream,
    from: SocketAddr,
    dst: SocketAddr,
    open: &mut OpenConnection,
) -> Option<(Stream, Version, Context)> {
    let upstream = match &*worker.destination(dst).await {
        Destination::Service(key) => worker.service(key).await,
        Destination::Endpoint { service, endpoint } => {
            worker.direct(endpoint, service.as_ref()).await
        }
        Destination::Unknown => {
            let endpoint = Endpoint {
                addr: dst,
                weight: 1,
                zone: None,
                identity: None,
            };
            let upstream = worker.direct(&endpoint, None).await;
            open.speaks(ConnectionProtocol::Tcp);
            opaque(&worker, client, Bytes::new(), &upstream).await;
            return None;
        }
    };
    let protocol = match worker.shared.config.is_opaque(dst.port()) {
        true => Protocol::Tcp,
        false => upstream.view().protocol,
    };
    let opening = match protocol {
        Protocol::Tcp => {
            open.speaks(ConnectionProtocol::Tcp);
            opaque(&worker, client, Bytes::new(), &upstream).await;
            return None;
        }
        Protocol::Http | Protocol::Http2 => sniff::recognise(&mut client, &mut Default::default())
            .await
            .map_err(sniff::client_gone),
        Protocol::Detect => sniff::open(&mut client, dial(&worker, &upstream)).await,
    };
    let (bytes, version) = match opening {
        Ok(Opening::Http1(bytes)) => (bytes, Version::H1),
        Ok(Opening::Http2(bytes)) => (bytes, Version::H2),
        Ok(Opening::Opaque(..)) if protocol.is_http() => {
            refused(&worker, &upstream, &StreamRefused::NotHttp);
            answer_not_http(client).await;
            return None;
        }
        Ok(Opening::Tls(bytes)) => {
            open.speaks(ConnectionProtocol::Tls);
            opaque(&worker, client, bytes, &upstream).await;
            return None;
        }
        Ok(Opening::Opaque(bytes, None)) => {
            open.speaks(ConnectionProtocol::Tcp);
            opaque(&worker, client, bytes, &upstream).await;
            return None;
        }
        Ok(Opening::Opaque(bytes, Some(server))) => {
            open.speaks(ConnectionProtocol::Tcp);
            joined(&worker, client, bytes, server, &upstream).await;
            return None;
        }
        Ok(Opening::Closed) | Err(OpenError::Client) => return None,
        Err(OpenError::Upstream(refused)) => {
            refuse(&worker, client, &upstream, &refused);
            return None;
        }
    };
    let context = Context {
        worker,
        direction: Direction::Outbound,
        upstream,
        caller: None,
        client: from,
    };
    let stream = Stream::Plain(Rewind::new(bytes, client));
    Some((stream, version, context))
}

pub const NOT_HTTP: &str =
    "the port is named HTTP, and these bytes are not: no policy would see them";

/// Why a byte stream has no upstream.
#[derive(Debug, thiserror::Error)]
pub enum StreamRefused {
    #[error("no endpoint is ready, or every one is ejected")]
    NoEndpoint,
    #[error("{NOT_HTTP}")]
    NotHttp,
    #[error(transparent)]
    Dial(#[from] DialError),
}

impl StreamRefused {
    fn reason(&self) -> Reason {
        match self {
            StreamRefused::NoEndpoint => Reason::NoEndpoints,
            StreamRefused::NotHttp => Reason::BadRequest,
            StreamRefused::Dial(error) => error.reason(),
        }
    }
}

/// Opens a byte stream to one of the upstream's endpoints; a second one is tried when the first
/// does not answer, since nothing was sent yet.
async fn dial(worker: &Worker, upstream: &Upstream) -> Result<Stream, StreamRefused> {
    let timeout = upstream.view().policy.timeouts.connect;
    let mut avoid = None;
    loop {
        let now = host::now();
        let Some(Picked {
            id,
            endpoint,
            leave,
        }) = upstream.pick(now, None, avoid)
        else {
            return Err(StreamRefused::NoEndpoint);
        };
        let dialled = within(
            timeout,
            endpoint.addr,
            worker.pool.dialer().dial(&endpoint, Alpn::Tcp),
        )
        .await;
        let result = dialled
            .as_ref()
            .map_or_else(DialError::verdict, |_| CallResult::Success);
        let done = host::now();
        let outcome = Outcome {
            result,
            latency: done - now,
            retry_after: None,
        };
        upstream.finished(id, done, &outcome);
        upstream.state.record(done, &leave, outcome);
        match dialled {
            Ok(stream) => return Ok(stream),
            Err(error) if avoid.is_some() => return Err(error.into()),
            Err(error) => tracing::debug!(%error, "trying another endpoint"),
        }
        avoid = Some(id);
    }
}

async fn opaque(worker: &Worker, client: TcpStream, first: Bytes, upstream: &Upstream) {
    match dial(worker, upstream).await {
        Ok(server) => joined(worker, client, first, server, upstream).await,
        Err(refused) => {
            let series = worker.tcp_series(Direction::Outbound, upstream);
            series.failed(refused.reason());
            refuse(worker, client, upstream, &refused);
        }
    }
}

/// A byte stream gets no explanation, so it gets a reset rather than an orderly end.
fn refuse(worker: &Worker, client: TcpStream, upstream: &Upstream, why: &StreamRefused) {
    refused(worker, upstream, why);
    reset(client);
}

fn refused(worker: &Worker, upstream: &Upstream, refused: &StreamRefused) {
    worker
        .shared
        .metrics
        .connections()
        .refused(Direction::Outbound, refused.reason());
    tracing::info!(upstream = %upstream.key, reason = refused.reason().as_str(), error = %refused, "connection refused");
}

/// Ends a connection whose port is named HTTP and whose bytes are not.
pub async fn answer_not_http(mut client: TcpStream) {
    let answer = Refusal::new(Reason::BadRequest, NOT_HTTP).into_http1();
    let mut answered = client.write_all(answer.as_bytes()).await;
    if answered.is_ok() {
        answered = client.shutdown().await;
    }
    if let Err(error) = answered {
        tracing::debug!(%error, "the client left before it was refused");
    }
}

/// Ends a connection with RST.
pub fn reset(client: TcpStream) {
    Stream::Plain(Rewind::new(Bytes::new(), client)).reset();
}

async fn joined(
    worker: &Worker,
    client: TcpStream,
    first: Bytes,
    server: Stream,
    upstream: &Upstream,
) {
    let series = worker.tcp_series(Direction::Outbound, upstream);
    join(&series, Stream::Plain(Rewind::new(first, client)), server).await;
}

/// Copies until both ends are done, and counts.
pub async fn join(series: &TcpSeries, mut client: Stream, mut server: Stream) {
    let _open = series.opened();
    match tcp::splice(&mut client, &mut server).await {
        Ok(carried) => {
            series.sent_bytes.add(carried.from_client);
            series.received_bytes.add(carried.from_upstream);
        }
        Err(error) => tracing::debug!(%error, "byte stream broke off"),
    }
}
