//! One worker's connections to endpoints: HTTP/1.1 connections that carry one exchange at a time,
//! and one HTTP/2 connection per endpoint that carries them all.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::{Rc, Weak},
    time::{Duration, Instant},
};

use foldhash::HashMap;
use tokio::sync::Notify;

use super::{held::Holders, http1, http2};
use crate::{
    discovery::model::Endpoint,
    host,
    identity::{Alpn, SpiffeId},
    proxy::{
        dial::{DialError, Dialer, within},
        io::Stream,
    },
    resilience::CallResult,
    telemetry::{Reason, metrics::ConnectionProtocol},
};

type H1 = http1::Connection<Stream>;
type H2 = http2::Sender;

/// Idle HTTP/1.1 connections kept for one endpoint: as many as exchanges may be under way at a
/// time, or each wave of them would dial a part of its connections anew.
const MAX_IDLE: usize = 1024;
/// Connections to one endpoint that are left to stalled readers: each costs up to its window, in
/// memory. With more of them the newest is shared with whoever stalls it.
const MAX_LEFT: usize = 8;
/// What all the names and values of a head may take together, in bytes.
pub const MAX_HEADER_LIST: u32 = 64 * 1024;

/// A connection that can carry an exchange.
pub enum Connection {
    H1(PooledH1),
    H2(SharedH2),
}

/// An HTTP/2 connection that many exchanges use at a time.
#[derive(Clone)]
pub struct SharedH2 {
    pub sender: H2,
    /// It goes to another proxy.
    pub meshed: bool,
    /// For [`Pool::gone`].
    pub generation: u64,
    /// Bodies on it that nobody reads.
    pub holders: Rc<Holders>,
}

/// Which HTTP the endpoint is spoken to in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    H1,
    H2,
}

impl From<Version> for ConnectionProtocol {
    fn from(version: Version) -> Self {
        match version {
            Version::H1 => ConnectionProtocol::Http1,
            Version::H2 => ConnectionProtocol::Http2,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    addr: SocketAddr,
    identity: Option<SpiffeId>,
}

struct Idle {
    connection: H1,
    since: Instant,
}

#[derive(Default)]
struct Peer {
    idle: RefCell<Vec<Idle>>,
    shared: RefCell<Option<SharedH2>>,
    /// Earlier ones, left to bodies that nobody reads.
    left: RefCell<Vec<Weak<Holders>>>,
    dials: Cell<u64>,
    /// Somebody is dialling the shared connection; the others wait for it.
    dialling: Cell<bool>,
    /// How the last dial failed: those who waited for it share the failure instead of dialling
    /// one after the other.
    failed: Cell<Option<(Reason, CallResult)>>,
    dialled: Notify,
}

impl Peer {
    /// The newest idle connection, so that the oldest can age out.
    fn take_idle(&self) -> Option<H1> {
        let mut idle = self.idle.borrow_mut();
        loop {
            let mut connection = idle.pop()?.connection;
            if !connection.is_gone() {
                return Some(connection);
            }
        }
    }

    fn take_shared(&self) -> Option<SharedH2> {
        let mut shared = self.shared.borrow_mut();
        let current = shared.as_ref()?;
        if current.sender.is_closed() || self.leaves(&current.holders) {
            *shared = None;
        }
        shared.clone()
    }

    /// Whether a connection is left to those who do not read from it.
    fn leaves(&self, holders: &Rc<Holders>) -> bool {
        if !holders.are_in_the_way(host::now) {
            return false;
        }
        let mut left = self.left.borrow_mut();
        left.retain(|holders| holders.strong_count() > 0);
        let leaves = left.len() < MAX_LEFT;
        if leaves {
            tracing::debug!("a connection is left to bodies that nobody reads");
            left.push(Rc::downgrade(holders));
        }
        leaves
    }
}

/// The pool of one worker.
pub struct Pool {
    dialer: Dialer,
    peers: RefCell<HashMap<Key, Rc<Peer>>>,
}

impl http1::Home<Stream> for Peer {
    fn keep(&self, connection: H1) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= MAX_IDLE {
            idle.retain_mut(|it| !it.connection.is_gone());
        }
        if idle.len() < MAX_IDLE {
            let since = host::now();
            idle.push(Idle { connection, since });
        }
    }
}

/// An HTTP/1.1 connection on loan.
pub struct PooledH1 {
    pub connection: H1,
    /// An earlier exchange went over it: it may have been closed from afar in the meantime.
    pub reused: bool,
    /// Where it goes with the last byte of its answer.
    pub home: Rc<dyn http1::Home<Stream>>,
}

impl Pool {
    pub fn new(dialer: Dialer) -> Self {
        Self {
            dialer,
            peers: RefCell::default(),
        }
    }

    pub fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// A connection from the pool, or a new one within `timeout`.
    // Dials are boxed: they are rare, and every request would have room for one.
    pub async fn get(
        &self,
        endpoint: &Endpoint,
        version: Version,
        timeout: Duration,
        fresh: bool,
    ) -> Result<Connection, DialError> {
        let peer = self.peer(endpoint);
        match version {
            Version::H1 => self
                .get_h1(endpoint, peer, timeout, fresh)
                .await
                .map(Connection::H1),
            Version::H2 => self
                .get_h2(endpoint, peer, timeout)
                .await
                .map(Connection::H2),
        }
    }

    fn peer(&self, endpoint: &Endpoint) -> Rc<Peer> {
        let key = Key {
            addr: endpoint.addr,
            identity: endpoint.identity.clone(),
        };
        self.peers.borrow_mut().entry(key).or_default().clone()
    }

    async fn get_h1(
        &self,
        endpoint: &Endpoint,
        peer: Rc<Peer>,
        timeout: Duration,
        fresh: bool,
    ) -> Result<PooledH1, DialError> {
        if !fresh && let Some(connection) = peer.take_idle() {
            return Ok(PooledH1 {
                connection,
                reused: true,
                home: peer,
            });
        }
        let dialled = Box::pin(self.dialer.dial(endpoint, Alpn::H1));
        let stream = within(timeout, endpoint.addr, dialled).await?;
        Ok(PooledH1 {
            connection: H1::new(stream),
            reused: false,
            home: peer,
        })
    }

    async fn get_h2(
        &self,
        endpoint: &Endpoint,
        peer: Rc<Peer>,
        timeout: Duration,
    ) -> Result<SharedH2, DialError> {
        loop {
            if let Some(sender) = peer.take_shared() {
                return Ok(sender);
            }
            if !peer.dialling.get() {
                break;
            }
            peer.dialled.notified().await;
            if let Some((reason, verdict)) = peer.failed.get() {
                return Err(DialError::Shared {
                    addr: endpoint.addr,
                    reason,
                    verdict,
                });
            }
        }
        let _turn = Turn::take(&peer);
        match within(timeout, endpoint.addr, Box::pin(self.dial_h2(endpoint))).await {
            Ok(sender) => {
                let generation = peer.dials.get() + 1;
                peer.dials.set(generation);
                let shared = SharedH2 {
                    sender,
                    meshed: endpoint.identity.is_some(),
                    generation,
                    holders: Holders::new(),
                };
                *peer.shared.borrow_mut() = Some(shared.clone());
                Ok(shared)
            }
            Err(error) => {
                peer.failed.set(Some((error.reason(), error.verdict())));
                Err(error)
            }
        }
    }

    async fn dial_h2(&self, endpoint: &Endpoint) -> Result<H2, DialError> {
        let stream = self.dialer.dial(endpoint, Alpn::H2).await?;
        // An application may take pings for an attack (gRPC servers allow one in five minutes).
        // TCP's keep-alive finds those that vanish.
        let pings = endpoint.identity.is_some();
        http2::connect(stream, pings)
            .await
            .map_err(|source| DialError::Http {
                addr: endpoint.addr,
                source: source.into(),
            })
    }

    /// The peer takes no more exchanges on a shared connection (GOAWAY): the next one dials. Those
    /// under way finish on the old one.
    pub fn gone(&self, endpoint: &Endpoint, generation: u64) {
        let peer = self.peer(endpoint);
        let mut shared = peer.shared.borrow_mut();
        if shared
            .as_ref()
            .is_some_and(|current| current.generation == generation)
        {
            *shared = None;
        }
    }

    /// Closes what has been idle for `longer_than` and forgets the endpoints that leaves bare.
    pub fn sweep(&self, now: Instant, longer_than: Duration) {
        self.peers.borrow_mut().retain(|_, peer| {
            let mut idle = peer.idle.borrow_mut();
            let stays = |it: &mut Idle| now.duration_since(it.since) < longer_than;
            idle.retain_mut(|it| stays(it) && !it.connection.is_gone());
            let shared = peer
                .shared
                .borrow()
                .as_ref()
                .is_some_and(|shared| !shared.sender.is_closed());
            !idle.is_empty() || shared || peer.dialling.get()
        });
    }
}

/// The right to dial an endpoint's shared connection: dropping it lets the next one look.
struct Turn {
    peer: Rc<Peer>,
}

impl Turn {
    fn take(peer: &Rc<Peer>) -> Self {
        peer.dialling.set(true);
        peer.failed.set(None);
        Self { peer: peer.clone() }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.peer.dialling.set(false);
        self.peer.dialled.notify_waiters();
    }
}
