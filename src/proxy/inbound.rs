//! From the network: who is calling, whether they may, and on to the application.

use std::{net::SocketAddr, rc::Rc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio_rustls::TlsAcceptor;

use super::{
    client_hello::{Peek, peek},
    dial::within,
    http::{context::Context, pool::Version, server},
    io::{Rewind, Stream},
    outbound::{NOT_HTTP, answer_not_http, join, reset},
    sniff::{self, OpenError, Opening},
    upstream::Upstream,
    worker::Worker,
};
use crate::{
    access::{Call, Verdict},
    discovery::model::{Endpoint, MtlsMode, Protocol, Workload},
    host::net::TcpStream,
    identity::{Alpn, SpiffeId, TlsFailure, describe_tls_failure, peer_id},
    telemetry::{
        Direction, Reason,
        metrics::{ConnectionProtocol, HandshakeResult, OpenConnection},
    },
};

/// A peer that has not finished its handshake by then is cut.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// No ClientHello is larger, in bytes.
const MAX_HELLO: usize = 16 * 1024;

/// Carries one connection from the network from accept to close.
pub async fn handle(
    worker: Rc<Worker>,
    mut client: TcpStream,
    from: SocketAddr,
    dst: SocketAddr,
    open: OpenConnection,
) {
    let Some(own) = worker.own.known().await else {
        let detail = "nothing is known of this workload yet: is the controller reachable?";
        refused(&worker, from, dst, Reason::NotConfigured, detail);
        return reset(client);
    };
    let workload = own.workload.clone();
    let named = workload.ports.iter().find(|port| port.port == dst.port());
    let protocol = match worker.shared.config.is_opaque(dst.port()) {
        true => Protocol::Tcp,
        false => named.map_or(Protocol::Detect, |port| port.protocol),
    };
    let connection = Inbound {
        upstream: worker.local(dst, protocol, &workload.policy),
        protocol,
        mtls: worker.own.mtls(&workload),
        worker,
        workload,
        from,
        dst,
        open,
    };
    let opening = if connection.may_dial_at_once() {
        Box::pin(sniff::open(&mut client, connection.dial())).await
    } else {
        sniff::recognise(&mut client, &mut BytesMut::new())
            .await
            .map_err(sniff::client_gone)
    };
    match opening {
        Ok(Opening::Tls(bytes)) => connection.tls(client, bytes).await,
        Ok(Opening::Closed) | Err(OpenError::Client) => {}
        Err(OpenError::Upstream(error)) => {
            connection.refused(Reason::ConnectFailed, &error.to_string());
            reset(client);
        }
        Ok(_) if connection.mtls == MtlsMode::Strict => {
            connection.refused(Reason::PlaintextRefused, "the workload takes mesh TLS only");
            reset(client);
        }
        Ok(Opening::Opaque(..)) if connection.protocol.is_http() => {
            connection.refused(Reason::BadRequest, NOT_HTTP);
            answer_not_http(client).await;
        }
        Ok(opening) => connection.plaintext(client, opening).await,
    }
}

struct Inbound {
    worker: Rc<Worker>,
    upstream: Rc<Upstream>,
    workload: std::sync::Arc<Workload>,
    /// What somebody said that the port speaks.
    protocol: Protocol,
    /// How plaintext is met.
    mtls: MtlsMode,
    from: SocketAddr,
    dst: SocketAddr,
    open: OpenConnection,
}

impl Inbound {
    /// Nobody reaches the application before it is known that they may, and none who is to speak
    /// first gains by it.
    fn may_dial_at_once(&self) -> bool {
        self.mtls == MtlsMode::Permissive
            && !self.protocol.is_http()
            && self.worker.own.lets_pass(&self.bytes_of(None))
    }

    /// What an opaque connection is to the access rules.
    fn bytes_of<'a>(&self, caller: Option<&'a SpiffeId>) -> Call<'a> {
        Call {
            caller,
            port: self.port(),
            http: None,
        }
    }

    fn port(&self) -> u16 {
        self.dst.port()
    }

    /// Opens a byte stream to the application.
    async fn dial(&self) -> Result<Stream, super::dial::DialError> {
        let endpoint = Endpoint {
            addr: self.dst,
            weight: 1,
            zone: None,
            identity: None,
        };
        let timeout = self.workload.policy.timeouts.connect;
        within(
            timeout,
            self.dst,
            self.worker.pool.dialer().dial(&endpoint, Alpn::Tcp),
        )
        .await
    }

    async fn plaintext(self, client: TcpStream, opening: Opening) {
        let stream = |bytes| Stream::Plain(Rewind::new(bytes, client));
        let opening = match opening {
            // Bytes that happen to look like it.
            Opening::Http1(bytes) | Opening::Http2(bytes) if self.protocol == Protocol::Tcp => {
                Opening::Opaque(bytes, None)
            }
            opening => opening,
        };
        match opening {
            Opening::Http1(bytes) => self.http(stream(bytes), Version::H1, None).await,
            Opening::Http2(bytes) => self.http(stream(bytes), Version::H2, None).await,
            Opening::Opaque(bytes, server) => {
                Box::pin(self.opaque(stream(bytes), server, None)).await;
            }
            Opening::Tls(_) | Opening::Closed => {}
        }
    }

    /// TLS of the mesh is for this proxy; any other is the application's own.
    async fn tls(self, mut client: TcpStream, first: Bytes) {
        let mut read = BytesMut::from(&first[..]);
        let deadline = tokio::time::Instant::now() + HANDSHAKE_TIMEOUT;
        let hello = loop {
            match peek(&read) {
                Peek::Incomplete if read.len() < MAX_HELLO => {
                    let more = client.read_buf(&mut read);
                    match tokio::time::timeout_at(deadline, more).await {
                        Ok(Ok(n)) if n > 0 => {}
                        // The client is gone.
                        Ok(_) => return,
                        Err(_) => {
                            let detail = "the ClientHello did not end in time";
                            return self.refused(Reason::TlsFailed, detail);
                        }
                    }
                }
                Peek::Hello(hello) => break Some(hello),
                Peek::Incomplete | Peek::NotTls => break None,
            }
        };
        let bytes = read.freeze();
        match hello.and_then(|hello| hello.mesh) {
            Some(_) => self.mesh(client, bytes).await,
            None if self.mtls == MtlsMode::Strict => {
                self.refused(
                    Reason::PlaintextRefused,
                    "TLS, but not of the mesh, at a strict port",
                );
                reset(client);
            }
            None => {
                let client = Stream::Plain(Rewind::new(bytes, client));
                Box::pin(self.opaque(client, None, None)).await;
            }
        }
    }

    async fn mesh(self, client: TcpStream, bytes: Bytes) {
        let metrics = self.worker.shared.metrics.clone();
        let Some(credentials) = self.worker.shared.identity.current() else {
            self.refused(
                Reason::TlsFailed,
                "this proxy has no certificate yet: is the controller reachable?",
            );
            return reset(client);
        };
        let accept =
            TlsAcceptor::from(credentials.server_config()).accept(Rewind::new(bytes, client));
        let tls = match tokio::time::timeout(HANDSHAKE_TIMEOUT, accept).await {
            Ok(Ok(tls)) => tls,
            Ok(Err(error)) => {
                let failure = TlsFailure::of(&error);
                metrics
                    .connections()
                    .handshake(Direction::Inbound, failure.into());
                let (reason, detail) = (failure.as_str(), describe_tls_failure(&error));
                return self.refused(Reason::TlsFailed, &format!("{reason}: {detail}"));
            }
            Err(_) => {
                metrics
                    .connections()
                    .handshake(Direction::Inbound, HandshakeResult::Timeout);
                return self.refused(Reason::TlsFailed, "the handshake did not end in time");
            }
        };
        metrics
            .connections()
            .handshake(Direction::Inbound, HandshakeResult::Ok);
        let session = tls.get_ref().1;
        let caller = peer_id(session);
        let alpn = session.alpn_protocol().and_then(Alpn::from_bytes);
        let stream = Stream::Accepted(Box::new(Rewind::new(Bytes::new(), tls)));
        match alpn {
            Some(Alpn::H2) => self.http(stream, Version::H2, caller).await,
            Some(Alpn::H1) => self.http(stream, Version::H1, caller).await,
            Some(Alpn::Tcp) if self.protocol.is_http() => {
                Box::pin(self.bytes_at_http(stream, caller)).await;
            }
            Some(Alpn::Tcp) => Box::pin(self.opaque(stream, None, caller)).await,
            None => self.refused(Reason::TlsFailed, "no protocol of the mesh was agreed on"),
        }
    }

    /// A peer that says nothing of HTTP gains nothing by it at a port that speaks HTTP.
    async fn bytes_at_http(self, mut stream: Stream, caller: Option<SpiffeId>) {
        let opening = sniff::recognise(&mut stream, &mut BytesMut::new()).await;
        match opening {
            Ok(Opening::Http1(bytes)) => {
                self.http(stream.preceded_by(bytes), Version::H1, caller)
                    .await;
            }
            Ok(Opening::Http2(bytes)) => {
                self.http(stream.preceded_by(bytes), Version::H2, caller)
                    .await;
            }
            // The application's own, inside the mesh's.
            Ok(Opening::Tls(bytes)) => self.opaque(stream.preceded_by(bytes), None, caller).await,
            Ok(Opening::Opaque(..)) => {
                self.refused(Reason::BadRequest, NOT_HTTP);
                stream.reset();
            }
            Ok(Opening::Closed) => {}
            Err(error) => {
                tracing::debug!(%error, "the client left before it said what it wants");
            }
        }
    }

    async fn http(mut self, stream: Stream, version: Version, caller: Option<SpiffeId>) {
        self.open.speaks(version.into());
        let drain = self.worker.shared.drain.clone();
        let context = Context {
            worker: self.worker,
            direction: Direction::Inbound,
            upstream: self.upstream,
            caller,
            client: self.from,
        };
        server::serve(stream, version, Rc::new(context), drain).await;
    }

    async fn opaque(mut self, client: Stream, server: Option<Stream>, caller: Option<SpiffeId>) {
        self.open.speaks(ConnectionProtocol::Tcp);
        let call = self.bytes_of(caller.as_ref());
        let series = self.worker.tcp_series(Direction::Inbound, &self.upstream);
        match self.worker.own.decide(&call) {
            Verdict::Allowed => {}
            Verdict::Audited => series.audited.inc(),
            Verdict::Denied => {
                self.refused(Reason::AccessDenied, "no policy allows this caller");
                return client.reset();
            }
        }
        let server = match server {
            Some(server) => server,
            None => match self.dial().await {
                Ok(server) => server,
                Err(error) => {
                    series.failed(error.reason());
                    return self.refused(error.reason(), &error.to_string());
                }
            },
        };
        tokio::select! {
            biased;
            () = self.worker.own.until_denied(&call) => {
                self.refused(Reason::AccessDenied, "a changed policy no longer allows this caller");
            }
            () = join(&series, client, server) => {}
        }
    }

    fn refused(&self, reason: Reason, detail: &str) {
        refused(&self.worker, self.from, self.dst, reason, detail);
    }
}

fn refused(worker: &Worker, from: SocketAddr, to: SocketAddr, reason: Reason, detail: &str) {
    let connections = worker.shared.metrics.connections();
    connections.refused(Direction::Inbound, reason);
    tracing::info!(%from, %to, reason = reason.as_str(), detail, "connection refused");
}
