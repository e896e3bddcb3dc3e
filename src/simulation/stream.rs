//! The ends of simulated connections, and where they are accepted.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Connection, Listener, Network, Process, Side, What};

/// Bytes that may be on their way, or wait to be read, before a writer waits.
const WINDOW: usize = 256 * 1024;

pub struct Stream {
    network: Arc<Network>,
    connection: u64,
    side: usize,
    local: SocketAddr,
    peer: SocketAddr,
    original_dst: SocketAddr,
    reset_on_close: AtomicBool,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {} of {}", self.connection, self.local)
    }
}

impl Stream {
    /// What an application dials goes to its sidecar, and what the network sends to a pod goes to
    /// the sidecar there. The proxy's own connections, which are marked, are left alone.
    pub async fn connect(
        process: &Arc<Process>,
        addr: SocketAddr,
        mark: Option<u32>,
    ) -> io::Result<Self> {
        let network = process.network.clone();
        let (from, sidecar) = (process.place.ip, process.place.sidecar);
        let to = match sidecar {
            Some(sidecar) if mark.is_none() => SocketAddr::new(from, sidecar.outbound),
            _ if addr.ip() == from => addr,
            _ => SocketAddr::new(addr.ip(), network.inbound_port(addr)),
        };
        let stream = {
            let mut inner = network.lock();
            let connection = inner.next_id();
            let port = u16::try_from(32_768 + connection % 28_000).expect("below 65,536");
            let local = SocketAddr::new(from, port);
            let mut there = Side::new(to, 0);
            there.closed = true;
            let sides = [Side::new(local, process.id), there];
            inner.connections.insert(
                connection,
                Connection {
                    sides,
                    original_dst: addr,
                },
            );
            inner.send(connection, 1, What::Syn(to));
            drop(inner);
            Self {
                network: network.clone(),
                connection,
                side: 0,
                local,
                peer: addr,
                original_dst: addr,
                reset_on_close: AtomicBool::new(false),
            }
        };
        network.sooner.notify_one();
        std::future::poll_fn(|cx| {
            stream.with(|side, _| match side.dialled.take() {
                Some(dialled) => Poll::Ready(dialled),
                None => {
                    side.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
            })
        })
        .await?;
        Ok(stream)
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    pub fn original_dst(&self) -> SocketAddr {
        self.original_dst
    }

    pub fn reset_on_close(&self) {
        self.reset_on_close.store(true, Relaxed);
    }

    pub async fn readable(&self) -> io::Result<()> {
        std::future::poll_fn(|cx| {
            self.with(|side, _| {
                if side.arrived.is_empty() && !side.fin && !side.broken {
                    side.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Poll::Ready(Ok(()))
            })
        })
        .await
    }

    /// This side and the other one.
    fn with<T>(
        &self,
        f: impl FnOnce(&mut Side, &mut Side) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut inner = self.network.lock();
        let Some(connection) = inner.connections.get_mut(&self.connection) else {
            // The process was killed, and the kernel closed it.
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let [dialler, acceptor] = &mut connection.sides;
        match self.side {
            0 => f(dialler, acceptor),
            _ => f(acceptor, dialler),
        }
    }

    fn send(&self, what: What) {
        let to = 1 - self.side;
        self.network.lock().send(self.connection, to, what);
        self.network.sooner.notify_one();
    }
}

impl Network {
    /// Where a pod takes what comes from the network.
    fn inbound_port(&self, addr: SocketAddr) -> u16 {
        let inner = self.lock();
        let sidecar = inner.up.get(&addr.ip()).copied().flatten();
        sidecar.map_or(addr.port(), |sidecar| sidecar.inbound)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.with(|side, other| {
            if side.broken {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            let Some(first) = side.arrived.front_mut() else {
                if side.fin {
                    return Poll::Ready(Ok(()));
                }
                side.reader = Some(cx.waker().clone());
                return Poll::Pending;
            };
            let n = first.len().min(buf.remaining());
            buf.put_slice(&first[..n]);
            first.advance(n);
            if first.is_empty() {
                side.arrived.pop_front();
            }
            other.unread -= n;
            if let Some(writer) = other.writer.take() {
                writer.wake();
            }
            Poll::Ready(Ok(()))
        })
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let room = self.with(|side, _| {
            if side.broken {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            let room = WINDOW.saturating_sub(side.unread).min(buf.len());
            if room == 0 && !buf.is_empty() {
                side.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            side.unread += room;
            Poll::Ready(Ok(room))
        });
        if let Poll::Ready(Ok(n)) = room
            && n > 0
        {
            self.send(What::Data(Bytes::copy_from_slice(&buf[..n])));
        }
        room
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let open = self.with(|side, _| match side.broken {
            true => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            false => Poll::Ready(Ok(())),
        });
        if let Poll::Ready(Ok(())) = open {
            self.send(What::Fin);
        }
        open
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let abruptly = self.reset_on_close.load(Relaxed);
        let mut inner = self.network.lock();
        inner.close(self.connection, self.side, abruptly);
        drop(inner);
        self.network.sooner.notify_one();
    }
}

/// Where a process listens.
pub struct Acceptor {
    network: Arc<Network>,
    process: u64,
    addr: SocketAddr,
}

impl Acceptor {
    /// # Errors
    /// When the port is taken.
    pub fn bind(process: &Arc<Process>, addr: SocketAddr) -> io::Result<Self> {
        let network = process.network.clone();
        // There is one address to listen on.
        let addr = SocketAddr::new(process.place.ip, addr.port());
        let mut inner = network.lock();
        if inner.listeners.contains_key(&addr) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let listener = Listener {
            process: process.id,
            queue: Default::default(),
            waker: None,
        };
        inner.listeners.insert(addr, listener);
        drop(inner);
        Ok(Self {
            network,
            process: process.id,
            addr,
        })
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub async fn accept(&self) -> (Stream, SocketAddr) {
        std::future::poll_fn(|cx| {
            let mut inner = self.network.lock();
            // A process that was killed accepts nothing until it is dropped.
            let own = inner.listeners.get_mut(&self.addr);
            let Some(listener) = own.filter(|l| l.process == self.process) else {
                return Poll::Pending;
            };
            let Some((connection, from)) = listener.queue.pop_front() else {
                listener.waker = Some(cx.waker().clone());
                return Poll::Pending;
            };
            let Some(known) = inner.connections.get(&connection) else {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            };
            let stream = Stream {
                network: self.network.clone(),
                connection,
                side: 1,
                local: self.addr,
                peer: from,
                original_dst: known.original_dst,
                reset_on_close: AtomicBool::new(false),
            };
            Poll::Ready((stream, from))
        })
        .await
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.network.lock().unlisten(self.addr, self.process);
        self.network.sooner.notify_one();
    }
}
