//! Accepting connections, bounded in number, and going on when descriptors run out.

use std::{cell::RefCell, io, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{inbound, outbound, worker::Worker};
use crate::{
    host::{
        self,
        net::{self, TcpListener, TcpStream},
    },
    telemetry::{Direction, Reason, metrics::Connections, seldom::Seldom},
};

/// How long to leave the kernel alone when it has no descriptor to give.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(20);
/// That connections wait for a place is logged once in so long.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// How the original destination of an accepted connection is known.
#[derive(Clone, Copy, Debug)]
pub enum Origin {
    /// Asked of the kernel, which redirected the connection here.
    Redirected,
    Fixed(SocketAddr),
}

/// A bound listener, ready to be moved to its worker.
pub struct Bound {
    pub listener: net::Bound,
    pub direction: Direction,
    pub origin: Origin,
}

/// The places for connections in one direction: what strangers hold keeps the application's own
/// calls out of none.
pub struct Places {
    direction: Direction,
    free: Arc<Semaphore>,
    connections: Arc<Connections>,
    seldom: RefCell<Seldom>,
    count: usize,
}

impl Places {
    pub fn new(direction: Direction, count: usize, connections: Arc<Connections>) -> Rc<Self> {
        Rc::new(Self {
            direction,
            free: Arc::new(Semaphore::new(count)),
            connections,
            seldom: RefCell::new(Seldom::new(LOG_EVERY)),
            count,
        })
    }

    /// Waits for a free place, and says so.
    async fn take(&self) -> OwnedSemaphorePermit {
        if let Ok(place) = self.free.clone().try_acquire_owned() {
            return place;
        }
        self.connections.waited(self.direction);
        let due = self.seldom.borrow_mut().due(host::now());
        if let Some(times) = due {
            tracing::warn!(
                direction = self.direction.as_str(),
                limit = self.count,
                times,
                "as many connections as --max-connections allows are open: further ones wait in the kernel"
            );
        }
        let place = self.free.clone().acquire_owned().await;
        place.expect("never closed")
    }

    /// Waits until every connection has ended.
    pub async fn all_free(&self) {
        let all = u32::try_from(self.count).unwrap_or(u32::MAX);
        // Never closed, and every place back means that every connection has ended.
        let _ = self.free.acquire_many(all).await;
    }
}

/// Accepts until the drain's minimum time is over. New connections are taken while draining:
/// those who still see this pod in their endpoint lists must not be turned away.
pub async fn serve(worker: Rc<Worker>, bound: Bound, places: Rc<Places>) -> io::Result<()> {
    let listener = TcpListener::from_std(bound.listener)?;
    let drain = worker.shared.drain.clone();
    let drain_min = worker.shared.config.drain_min;
    let mut closing = std::pin::pin!(async move {
        drain.draining().await;
        tokio::time::sleep(drain_min).await;
    });
    loop {
        let next = async { (places.take().await, listener.accept().await) };
        let (permit, accepted) = tokio::select! {
            biased;
            () = &mut closing => return Ok(()),
            next = next => next,
        };
        match accepted {
            Ok((tcp, from)) => {
                let (worker, freed) = (worker.clone(), worker.freed.clone());
                tokio::task::spawn_local(async move {
                    let _permit = permit;
                    connection(worker, tcp, from, bound.direction, bound.origin).await;
                    freed.notify_one();
                });
            }
            Err(error) => {
                worker.shared.metrics.connections().accept_failures.inc();
                tracing::warn!(%error, "cannot accept; raise the limit on open files if this goes on");
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

async fn connection(
    worker: Rc<Worker>,
    tcp: TcpStream,
    from: SocketAddr,
    direction: Direction,
    origin: Origin,
) {
    if let Err(error) = net::tune(&tcp) {
        return tracing::debug!(%error, "connection ended before it began");
    }
    let dst = match origin {
        Origin::Fixed(dst) => dst,
        Origin::Redirected => match redirected_from(&worker, &tcp) {
            Ok(dst) => dst,
            Err(reason) => {
                tracing::info!(%from, reason = reason.as_str(), "connection refused");
                worker
                    .shared
                    .metrics
                    .connections()
                    .refused(direction, reason);
                return outbound::reset(tcp);
            }
        },
    };
    let open = worker.shared.metrics.connections().opened(direction);
    match direction {
        Direction::Outbound => outbound::handle(worker, tcp, from, dst, open).await,
        // Boxed, so that the application's connections, of which there are many, stay small.
        Direction::Inbound => Box::pin(inbound::handle(worker, tcp, from, dst, open)).await,
    }
}

/// Where the connection was going. One that was going to the proxy itself would come back here
/// for ever.
fn redirected_from(worker: &Worker, tcp: &TcpStream) -> Result<SocketAddr, Reason> {
    let dst = net::original_dst(tcp).map_err(|_| Reason::LoopDetected)?;
    let ports = worker.shared.config.intercept;
    let own = ports.is_some_and(|ports| [ports.inbound, ports.outbound].contains(&dst.port()));
    let here = tcp
        .local_addr()
        .is_ok_and(|local| local.ip().to_canonical() == dst.ip());
    if own && here {
        Err(Reason::LoopDetected)
    } else {
        Ok(dst)
    }
}

/// What an idle connection costs, in bytes, beside its socket: there may be tens of thousands. A
/// future that is too large has something in it that an idle connection does not need: box that.
const BUDGET: usize = 1536;
const _: () = assert!(future_size(connection as fn(_, _, _, _, _) -> _) <= BUDGET);

const fn future_size<A, B, C, D, E, F>(_: fn(A, B, C, D, E) -> F) -> usize {
    size_of::<F>()
}
