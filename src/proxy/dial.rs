//! Opening a connection to an endpoint: TCP, and mesh TLS where the endpoint has an identity,
//! under one deadline, so that a stalled handshake cannot hold a pool.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio_rustls::TlsConnector;

use super::{
    http::received::HttpError,
    io::{Rewind, Stream},
};
use crate::{
    discovery::model::Endpoint,
    host::net::{self, TcpStream},
    identity::{
        Alpn, IdentityStore, SpiffeId, TlsFailure, describe_tls_failure, tls_failure_reason,
    },
    resilience::CallResult,
    telemetry::{
        Direction, Reason,
        metrics::{HandshakeResult, Metrics},
    },
};

/// Dials that are repeated because plaintext came in place of a handshake. A permissive peer takes
/// a client that is silent at first for one to which its application is to speak first, and a
/// ClientHello may be late: a packet was lost, or this proxy's share of the CPU was used up. That a
/// second one is late is rare, and a peer without TLS should not cost much.
const LATE_HELLOS: u32 = 2;
/// How long a request waits for this proxy's first certificate: the proxy of a pod that has long
/// been running may start again.
const FIRST_CERTIFICATE: Duration = Duration::from_secs(1);

/// Why an endpoint was not reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error(
        "{addr} did not answer within {within:?}: it may be gone, overloaded, or cut off by a NetworkPolicy"
    )]
    Timeout { addr: SocketAddr, within: Duration },
    #[error("cannot connect to {addr}: {source}")]
    Connect { addr: SocketAddr, source: io::Error },
    #[error("mesh TLS with {addr} failed ({reason}): {source}")]
    Tls {
        addr: SocketAddr,
        reason: &'static str,
        source: io::Error,
    },
    #[error("HTTP with {addr} failed: {source}")]
    Http { addr: SocketAddr, source: HttpError },
    #[error("cannot reach {addr}: the connection that this request waited for failed")]
    Shared {
        addr: SocketAddr,
        reason: Reason,
        verdict: CallResult,
    },
    #[error("this proxy has no certificate yet: is the controller reachable?")]
    NoIdentity,
}

impl DialError {
    pub fn reason(&self) -> Reason {
        match self {
            DialError::Shared { reason, .. } => *reason,
            DialError::Timeout { .. } => Reason::ConnectTimeout,
            DialError::Connect { source, .. } if is_own_limit(source) => Reason::Overloaded,
            DialError::Connect { .. } | DialError::Http { .. } => Reason::ConnectFailed,
            DialError::Tls { .. } | DialError::NoIdentity => Reason::TlsFailed,
        }
    }
}

impl DialError {
    fn is_not_tls(&self) -> bool {
        matches!(self, DialError::Tls { source, .. } if TlsFailure::of(source) == TlsFailure::NotTls)
    }

    /// What it says of the endpoint's health: nothing, where this proxy could not even ask.
    pub fn verdict(&self) -> CallResult {
        match self {
            DialError::Shared { verdict, .. } => *verdict,
            DialError::NoIdentity => CallResult::Cancelled,
            _ if self.reason() == Reason::Overloaded => CallResult::Cancelled,
            _ => CallResult::Failure,
        }
    }
}

/// Whether this side had no descriptor, port or memory for a connection.
fn is_own_limit(error: &io::Error) -> bool {
    use rustix::io::Errno;
    const LIMITS: [Errno; 5] = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::ADDRNOTAVAIL,
    ];
    Errno::from_io_error(error).is_some_and(|errno| LIMITS.contains(&errno))
}

/// Dials on behalf of one worker.
#[derive(Clone)]
pub struct Dialer {
    identity: IdentityStore,
    metrics: Metrics,
    /// Set on every socket, so that the interception rules let the proxy's own traffic pass.
    mark: Option<u32>,
}

impl Dialer {
    pub fn new(identity: IdentityStore, metrics: Metrics, mark: Option<u32>) -> Self {
        Self {
            identity,
            metrics,
            mark,
        }
    }

    /// Plain TCP, or mesh TLS that speaks `alpn` where the endpoint is meshed.
    pub async fn dial(&self, endpoint: &Endpoint, alpn: Alpn) -> Result<Stream, DialError> {
        let Some(expected) = &endpoint.identity else {
            let tcp = self.connect(endpoint.addr).await?;
            return Ok(Stream::Plain(Rewind::new(Bytes::new(), tcp)));
        };
        let certified = tokio::time::timeout(FIRST_CERTIFICATE, self.identity.ready());
        let credentials = certified.await.map_err(|_| DialError::NoIdentity)?;
        let config = credentials.client_config(expected, alpn);
        let mut late = 0;
        loop {
            let tcp = self.connect(endpoint.addr).await?;
            match self.secure(tcp, endpoint.addr, expected, &config).await {
                Err(error) if error.is_not_tls() && late < LATE_HELLOS => late += 1,
                done => return done,
            }
        }
    }

    async fn connect(&self, addr: SocketAddr) -> Result<TcpStream, DialError> {
        let connected = net::connect(addr, self.mark).await;
        connected
            .and_then(|tcp| net::tune(&tcp).map(|()| tcp))
            .map_err(|source| DialError::Connect { addr, source })
    }

    async fn secure(
        &self,
        tcp: TcpStream,
        addr: SocketAddr,
        expected: &SpiffeId,
        config: &Arc<ClientConfig>,
    ) -> Result<Stream, DialError> {
        // The name is not sent: the peer is known by its SPIFFE ID, which the verifier compares.
        let name = ServerName::IpAddress(addr.ip().into());
        let shaken = TlsConnector::from(config.clone()).connect(name, tcp).await;
        let failure = shaken.as_ref().err().map(TlsFailure::of);
        let result = failure.map_or(HandshakeResult::Ok, HandshakeResult::from);
        let connections = self.metrics.connections();
        connections.handshake(Direction::Outbound, result);
        let tls = shaken.map_err(|source| {
            let (reason, detail) = (tls_failure_reason(&source), describe_tls_failure(&source));
            tracing::warn!(%addr, %expected, reason, detail, "mesh TLS with an endpoint failed");
            DialError::Tls {
                addr,
                reason,
                source,
            }
        })?;
        Ok(Stream::Dialled(Box::new(tls)))
    }
}

/// Runs a whole dial, protocol handshakes included, within the policy's connect timeout.
pub async fn within<T>(
    timeout: Duration,
    addr: SocketAddr,
    dial: impl Future<Output = Result<T, DialError>>,
) -> Result<T, DialError> {
    match tokio::time::timeout(timeout, dial).await {
        Ok(result) => result,
        Err(_) => Err(DialError::Timeout {
            addr,
            within: timeout,
        }),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::identity::testing::{TestCa, id};

    /// An endpoint that greets its first `greeted` clients in plaintext, as a permissive peer does
    /// to which a ClientHello came late; how often it was dialled, and whether in the end with
    /// success.
    async fn dial_greeted(greeted: u32) -> (u32, bool) {
        let ca = TestCa::new();
        let dialer = Dialer::new(ca.store("cart"), Metrics::new(), None);
        let listener = net::TcpListener::bind(([127, 0, 0, 1], 0).into())
            .await
            .unwrap();
        let endpoint = meshed(listener.local_addr().unwrap());
        let dialled = std::cell::Cell::new(0);
        let mut serve = std::pin::pin!(async {
            let server = ca.store("mail").current().unwrap().server_config();
            let mut open = Vec::new();
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                dialled.set(dialled.get() + 1);
                if dialled.get() <= greeted {
                    client.write_all(b"220 mail\r\n").await.unwrap();
                    open.push(client);
                } else {
                    let mut tls = TlsAcceptor::from(server.clone())
                        .accept(client)
                        .await
                        .unwrap();
                    tls.write_all(b"220 mail\r\n").await.unwrap();
                    std::future::pending::<()>().await;
                }
            }
        });
        let mut call = std::pin::pin!(async {
            let mut stream = dialer.dial(&endpoint, Alpn::Tcp).await.ok()?;
            let mut greeting = [0; 10];
            stream.read_exact(&mut greeting).await.ok()?;
            Some(greeting)
        });
        let greeting = tokio::select! {
            greeting = call.as_mut() => greeting,
            () = serve.as_mut() => unreachable!("serves for ever"),
        };
        (dialled.get(), greeting == Some(*b"220 mail\r\n"))
    }

    #[tokio::test]
    async fn a_greeting_that_overtakes_the_handshake_is_dialled_past() {
        assert_eq!(dial_greeted(1).await, (2, true));
    }

    #[tokio::test]
    async fn an_endpoint_without_tls_is_given_up() {
        assert_eq!(dial_greeted(u32::MAX).await, (1 + LATE_HELLOS, false));
    }

    fn meshed(addr: SocketAddr) -> Endpoint {
        Endpoint {
            addr,
            weight: 1,
            zone: None,
            identity: Some(id("mail")),
        }
    }

    /// Where nobody is to be dialled.
    fn unused() -> Endpoint {
        meshed("198.18.0.1:80".parse().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_certificate_the_endpoint_is_not_to_blame() {
        let dialer = Dialer::new(IdentityStore::new(), Metrics::new(), None);
        let error = dialer.dial(&unused(), Alpn::H2).await.err().unwrap();
        assert!(matches!(error, DialError::NoIdentity), "{error}");
        assert_eq!(error.verdict(), CallResult::Cancelled);
    }

    #[tokio::test]
    async fn a_dial_waits_for_the_first_certificate() {
        let (ca, store) = (TestCa::new(), IdentityStore::new());
        let dialer = Dialer::new(store.clone(), Metrics::new(), None);
        let listener = net::TcpListener::bind(([127, 0, 0, 1], 0).into())
            .await
            .unwrap();
        let endpoint = meshed(listener.local_addr().unwrap());
        let server = ca.store("mail").current().unwrap().server_config();
        let mut call = std::pin::pin!(dialer.dial(&endpoint, Alpn::H2));
        assert!(call.as_mut().now_or_never().is_none());
        store.set(ca.svid(&id("cart")), &ca.bundle()).unwrap();
        let serve = async {
            let (client, _) = listener.accept().await.unwrap();
            TlsAcceptor::from(server).accept(client).await.unwrap()
        };
        let (dialled, _served) = tokio::join!(call, serve);
        assert!(dialled.is_ok());
    }

    fn failed(errno: rustix::io::Errno) -> DialError {
        DialError::Connect {
            addr: "198.18.0.1:80".parse().unwrap(),
            source: errno.into(),
        }
    }

    /// Else a proxy without descriptors would open the breakers of everything it talks to.
    #[test]
    fn an_own_limit_is_not_the_endpoints_failure() {
        use rustix::io::Errno;
        for errno in [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL] {
            let error = failed(errno);
            assert_eq!(error.reason(), Reason::Overloaded, "{error}");
            assert_eq!(error.verdict(), CallResult::Cancelled, "{error}");
        }
        for errno in [Errno::CONNREFUSED, Errno::HOSTUNREACH] {
            let error = failed(errno);
            assert_eq!(error.reason(), Reason::ConnectFailed, "{error}");
            assert_eq!(error.verdict(), CallResult::Failure, "{error}");
        }
    }
}
