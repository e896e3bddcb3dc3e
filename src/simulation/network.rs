//! The simulated network: who listens where, what is on its way, and what is cut or slow. Bytes
//! keep their order, as TCP's do; what is cut off waits, as TCP's retransmissions would.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard},
    task::Waker,
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::Notify, time::Instant};

use super::{process::Process, trace::Trace};

#[path = "delivery.rs"]
mod delivery;
#[path = "stream.rs"]
mod stream;

pub use self::stream::{Acceptor, Stream};

/// How long a peer may be gone without a word before its connections break: TCP keepalive's.
const KEEPALIVE: Duration = Duration::from_secs(120);

/// A machine, or a pod, with one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub name: Arc<str>,
    pub ip: IpAddr,
    /// Its clock is so far ahead, in milliseconds.
    pub skew_ms: i64,
    /// Where a sidecar takes what comes out and what comes in, if there is one.
    pub sidecar: Option<Sidecar>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sidecar {
    pub outbound: u16,
    pub inbound: u16,
}

/// Two addresses, the lower one first.
type Link = (IpAddr, IpAddr);

fn link(a: IpAddr, b: IpAddr) -> Link {
    (a.min(b), a.max(b))
}

pub struct Network {
    inner: Mutex<Inner>,
    sooner: Notify,
    started: Instant,
    pub trace: Trace,
}

struct Inner {
    luck: fastrand::Rng,
    ids: u64,
    /// What is on its way, in the order of its arrival.
    queue: BTreeMap<(Instant, u64), Packet>,
    /// What waits for a cut link.
    held: BTreeMap<u64, Packet>,
    connections: BTreeMap<u64, Connection>,
    listeners: BTreeMap<SocketAddr, Listener>,
    names: BTreeMap<String, SocketAddr>,
    /// The addresses that somebody has, with the sidecar there.
    up: BTreeMap<IpAddr, Option<Sidecar>>,
    cut: BTreeSet<Link>,
    slow: BTreeMap<Link, Duration>,
}

struct Listener {
    process: u64,
    queue: VecDeque<(u64, SocketAddr)>,
    waker: Option<Waker>,
}

struct Packet {
    connection: u64,
    /// The side that it goes to.
    to: usize,
    what: What,
}

enum What {
    /// Wants to be accepted at an address.
    Syn(SocketAddr),
    Accepted,
    Refused,
    Data(Bytes),
    Fin,
    Reset,
}

impl What {
    fn kind(&self) -> u64 {
        match self {
            Self::Syn(_) => 1,
            Self::Accepted => 2,
            Self::Refused => 3,
            Self::Data(_) => 4,
            Self::Fin => 5,
            Self::Reset => 6,
        }
    }
}

/// Side 0 dialled.
struct Connection {
    sides: [Side; 2],
    original_dst: SocketAddr,
}

struct Side {
    addr: SocketAddr,
    process: u64,
    dialled: Option<io::Result<()>>,
    arrived: VecDeque<Bytes>,
    fin: bool,
    broken: bool,
    closed: bool,
    /// Bytes sent that the other side has not read.
    unread: usize,
    /// What was sent last arrives then.
    last: Option<Instant>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Side {
    fn new(addr: SocketAddr, process: u64) -> Self {
        Self {
            addr,
            process,
            dialled: None,
            arrived: VecDeque::new(),
            fin: false,
            broken: false,
            closed: false,
            unread: 0,
            last: None,
            reader: None,
            writer: None,
        }
    }

    fn wake(&mut self) {
        let wakers = [self.reader.take(), self.writer.take()];
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

impl Network {
    pub fn new(seed: u64, trace: Trace) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner {
                luck: fastrand::Rng::with_seed(seed),
                ids: 0,
                queue: BTreeMap::new(),
                held: BTreeMap::new(),
                connections: BTreeMap::new(),
                listeners: BTreeMap::new(),
                names: BTreeMap::new(),
                up: BTreeMap::new(),
                cut: BTreeSet::new(),
                slow: BTreeMap::new(),
            }),
            sooner: Notify::new(),
            started: Instant::now(),
            trace,
        })
    }

    /// Simulated time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub fn next_id(&self) -> u64 {
        self.lock().next_id()
    }

    /// Delivers what is on its way when its time has come. Never returns.
    pub async fn run(&self) {
        loop {
            let next = self.lock().queue.first_key_value().map(|((at, _), _)| *at);
            match next {
                Some(at) if at <= Instant::now() => {
                    let packet = self.lock().queue.pop_first();
                    let ((_, id), packet) = packet.expect("there was one just now");
                    let delivered = self.lock().deliver(id, packet);
                    if let Some(what) = delivered {
                        self.trace.mix(self.elapsed(), what);
                    }
                }
                Some(at) => tokio::select! {
                    biased;
                    () = self.sooner.notified() => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => self.sooner.notified().await,
            }
        }
    }

    pub fn name(&self, name: &str, addr: SocketAddr) {
        self.lock().names.insert(name.to_owned(), addr);
    }

    pub fn lookup(&self, name: &str) -> io::Result<SocketAddr> {
        let found = self.lock().names.get(name).copied();
        found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such name"))
    }

    /// A machine comes up.
    pub fn bring_up(&self, place: &Place) {
        self.lock().up.insert(place.ip, place.sidecar);
    }

    /// A machine goes down: nothing is heard of it any more.
    pub fn take_down(&self, ip: IpAddr) {
        self.lock().up.remove(&ip);
    }

    /// Nothing passes between the two until they are joined again.
    pub fn cut(&self, a: IpAddr, b: IpAddr) {
        self.lock().cut.insert(link(a, b));
    }

    /// What takes longer between the two than usual.
    pub fn slow(&self, a: IpAddr, b: IpAddr, by: Duration) {
        self.lock().slow.insert(link(a, b), by);
    }

    /// Ends every cut and every delay.
    pub fn heal(&self) {
        let mut inner = self.lock();
        inner.cut.clear();
        inner.slow.clear();
        let now = Instant::now();
        while let Some((id, packet)) = inner.held.pop_first() {
            inner.queue.insert((now, id), packet);
        }
        drop(inner);
        self.sooner.notify_one();
    }

    /// Breaks some of the connections that leave a machine: each with this likelihood.
    pub fn break_some(&self, likelihood: f64) -> usize {
        let mut inner = self.lock();
        let ids: Vec<u64> = inner
            .connections
            .iter()
            .filter(|(_, c)| c.sides[0].addr.ip() != c.sides[1].addr.ip())
            .map(|(id, _)| *id)
            .collect();
        let mut broken = 0;
        for id in ids {
            if inner.luck.f64() < likelihood {
                inner.break_side(id, 0);
                inner.break_side(id, 1);
                broken += 1;
            }
        }
        broken
    }

    /// Connections that are not closed on both sides.
    pub fn connections(&self) -> usize {
        self.lock().connections.len()
    }

    /// What the kernel does when a process is killed. Of an address that is gone nothing is heard.
    pub fn process_died(&self, process: u64) {
        let mut inner = self.lock();
        let listeners: Vec<_> = inner
            .listeners
            .iter()
            .filter(|(_, listener)| listener.process == process)
            .map(|(addr, _)| *addr)
            .collect();
        for addr in listeners {
            inner.unlisten(addr, process);
        }
        let ends: Vec<_> = inner
            .connections
            .iter()
            .flat_map(|(id, c)| [(*id, 0, c.sides[0].process), (*id, 1, c.sides[1].process)])
            .filter(|(_, _, owner)| *owner == process)
            .collect();
        for (id, side, _) in ends {
            inner.close(id, side, true);
        }
        drop(inner);
        self.sooner.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics with it")
    }
}
