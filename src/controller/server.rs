//! Serves discovery and identity over TLS.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt, stream::Map};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, service::Routes};
use tower_service::Service;

use super::{
    authority::Authority,
    certificate_limit::BURST,
    connection_limit::{Entry, Peers},
    store::Store,
    stream::{MAX_IN_FLIGHT, Refusal, Stream},
};
use crate::{
    discovery::proto::{
        DeltaDiscoveryRequest, DeltaDiscoveryResponse,
        aggregated_discovery_service_server::{
            AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
        },
        identity::identity_server::IdentityServer,
    },
    host::{
        self,
        net::{TcpListener, TcpStream},
    },
    identity::{IdentityStore, SpiffeId, peer_id, peer_not_after},
    telemetry::{
        metrics::{CertificateRefusal, Figures},
        seldom::Seldom,
    },
};

/// Connections beyond this wait to be accepted.
const MAX_CONNECTIONS: usize = 20_000;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections of one address at a time that show no certificate: as many as may ask for one at once.
/// They can do nothing else, and that takes a moment.
const MAX_STRANGERS: usize = BURST as usize;
const STRANGER_TIME: Duration = Duration::from_secs(30);

/// That there are more is logged once in so long.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// After an accept fails, as it does when file descriptors run out.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A proxy that is gone without a word is noticed after the two together.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// One discovery stream and a certificate now and then.
const MAX_STREAMS_PER_CONNECTION: u32 = 16;

/// The control plane's server: one port, TLS, two services.
pub struct Server {
    listener: TcpListener,
    identity: IdentityStore,
    routes: Routes,
    strangers: Arc<Strangers>,
}

/// The identity that the client of a connection proved, and until when it holds, if it showed a
/// certificate.
#[derive(Clone)]
struct Peer(Option<(SpiffeId, SystemTime)>);

/// Who is connected without a certificate.
struct Strangers {
    peers: Arc<Peers>,
    figures: Arc<Figures>,
    seldom: Mutex<Seldom>,
}

impl Strangers {
    fn new(figures: Arc<Figures>) -> Arc<Self> {
        Arc::new(Self {
            peers: Peers::new(MAX_STRANGERS),
            figures,
            seldom: Mutex::new(Seldom::new(LOG_EVERY)),
        })
    }

    /// `None`, with a word to the log, where the address has all that it may have.
    fn enter(&self, from: IpAddr) -> Option<Entry> {
        let entry = self.peers.enter(from);
        if entry.is_none() {
            self.figures
                .certificate_refused(CertificateRefusal::RateLimited);
            let mut seldom = self.seldom.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(times) = seldom.due(host::now()) {
                tracing::warn!(
                    %from,
                    times,
                    "closed: the address has {MAX_STRANGERS} connections without a certificate"
                );
            }
        }
        entry
    }
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct PeerAddress(pub(super) IpAddr);

impl Server {
    /// `identity` must hold a certificate by the time the server runs.
    pub fn new(
        listener: impl Into<TcpListener>,
        identity: IdentityStore,
        store: Arc<Store>,
        authority: Authority,
    ) -> Self {
        let strangers = Strangers::new(store.figures().clone());
        let discovery = AggregatedDiscoveryServiceServer::new(Discovery { store });
        let authority = IdentityServer::new(authority).max_decoding_message_size(64 << 10);
        Self {
            listener: listener.into(),
            identity,
            routes: Routes::new(discovery).add_service(authority).prepare(),
            strangers,
        }
    }

    /// # Errors
    /// When the socket has no address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until it is dropped, which closes every connection.
    pub async fn run(self) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let place = places.clone().acquire_owned().await;
            let place = place.expect("the semaphore is never closed");
            let (stream, from) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "no connection accepted");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            };
            let credentials = self.identity.ready().await;
            let acceptor = TlsAcceptor::from(credentials.control_server_config());
            let (routes, strangers) = (self.routes.clone(), self.strangers.clone());
            connections.spawn(host::here(async move {
                let _place = place;
                let served = serve_connection(stream, from.ip(), acceptor, routes, &strangers);
                if let Err(error) = served.await {
                    tracing::debug!(%from, %error, "the connection ended");
                }
            }));
        }
    }
}

async fn serve_connection(
    tcp: TcpStream,
    from: IpAddr,
    acceptor: TlsAcceptor,
    routes: Routes,
    strangers: &Strangers,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    tcp.set_nodelay(true)?;
    let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(tcp)).await??;
    let connection = stream.get_ref().1;
    let peer = Peer(peer_id(connection).zip(peer_not_after(connection)));
    let stranger = match peer.0 {
        Some(_) => None,
        None => match strangers.enter(from) {
            Some(place) => Some(place),
            None => return Ok(()),
        },
    };
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        let extensions = request.extensions_mut();
        extensions.insert(peer.clone());
        extensions.insert(PeerAddress(from.to_canonical()));
        routes.clone().call(request)
    });
    let connection = http2::Builder::new(host::Executor)
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS_PER_CONNECTION)
        .serve_connection(TokioIo::new(stream), service);
    match stranger {
        None => connection.await?,
        Some(_place) => tokio::time::timeout(STRANGER_TIME, connection).await??,
    }
    Ok(())
}

struct Discovery {
    store: Arc<Store>,
}

type Answer = Result<DeltaDiscoveryResponse, Status>;
/// Boxed: a channel keeps room for 32 at a time, and most streams have none to send.
type Responses = mpsc::Sender<Box<Answer>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Discovery {
    type DeltaAggregatedResourcesStream =
        Map<ReceiverStream<Box<Answer>>, fn(Box<Answer>) -> Answer>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let peer = request.extensions().get::<Peer>();
        let (peer, not_after) = peer.and_then(|peer| peer.0.clone()).ok_or_else(|| {
            Status::unauthenticated("discovery needs a certificate of the mesh: certify first")
        })?;
        let valid_for = not_after.duration_since(host::wall_clock());
        // One place more for the status that ends the stream.
        let (responses, outbound) = mpsc::channel(MAX_IN_FLIGHT + 1);
        let stream = Stream::new(&self.store, peer);
        host::spawn(follow(
            stream,
            request.into_inner(),
            responses,
            self.store.clone(),
            // One that expired since the handshake ends at once.
            valid_for.unwrap_or_default(),
        ));
        let unboxed: fn(Box<Answer>) -> Answer = |answer| *answer;
        Ok(Response::new(ReceiverStream::new(outbound).map(unboxed)))
    }
}

/// Runs one stream until either side ends it.
async fn follow(
    mut stream: Stream,
    mut requests: Streaming<DeltaDiscoveryRequest>,
    responses: Responses,
    store: Arc<Store>,
    valid_for: Duration,
) {
    let mut expired = pin!(tokio::time::sleep(valid_for));
    loop {
        tokio::select! {
            // What comes, and may come without a pause, is last.
            biased;
            () = responses.closed() => return,
            () = &mut expired => {
                let message = "the certificate of this connection has expired: connect with the next";
                return end(&responses, Status::unauthenticated(message));
            }
            () = stream.changed() => {}
            request = requests.message() => match request {
                Ok(Some(request)) => {
                    if let Err(refusal) = take(&mut stream, request, &store) {
                        tracing::warn!(proxy = stream.node(), peer = %stream.peer(), %refusal, "stream broken off");
                        return end(&responses, status(&refusal));
                    }
                }
                Ok(None) | Err(_) => return,
            },
        }
        while let Some(response) = stream.next_response() {
            // Never full: the channel has a place for every response in flight.
            if responses.try_send(Box::new(Ok(response))).is_err() {
                return;
            }
            store.figures().responses.inc();
        }
    }
}

/// The last that a stream is told; the other side may be gone already.
fn end(responses: &Responses, status: Status) {
    let _ = responses.try_send(Box::new(Err(status)));
}

fn status(refusal: &Refusal) -> Status {
    let message = refusal.to_string();
    match refusal {
        Refusal::UnknownType(_) | Refusal::LongName(_) => Status::invalid_argument(message),
        Refusal::TooManySubscriptions => Status::resource_exhausted(message),
        Refusal::ForeignWorkload(_) => Status::permission_denied(message),
    }
}

fn take(stream: &mut Stream, request: DeltaDiscoveryRequest, store: &Store) -> Result<(), Refusal> {
    if let Some(refused) = stream.request(request, host::now())? {
        tracing::warn!(
            proxy = stream.node(),
            peer = %stream.peer(),
            reason = refused.reason,
            "a proxy refused a response: it goes on with what it had"
        );
        store.refused(refused);
    }
    Ok(())
}
