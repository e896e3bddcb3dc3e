//! The sockets that [`crate::host::net`] has in tests: a simulated network's within a simulated
//! process, the operating system's for every other test.

use std::{
    io::{self, IoSlice},
    net::{Ipv6Addr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    network::{Acceptor, Stream},
    process,
};
use crate::host::os;

#[derive(Debug)]
pub enum TcpStream {
    Os(os::TcpStream),
    Simulated(Box<Stream>),
}

pub enum Bound {
    Os(os::Bound),
    Simulated(Acceptor),
}

pub enum TcpListener {
    Os(os::TcpListener),
    Simulated(Acceptor),
}

pub fn listen(addr: SocketAddr, sharing: os::Sharing) -> io::Result<Bound> {
    Ok(match process::current() {
        Some(process) => Bound::Simulated(Acceptor::bind(&process, addr)?),
        None => Bound::Os(os::listen(addr, sharing)?),
    })
}

pub fn listen_any(port: u16, sharing: os::Sharing) -> io::Result<Bound> {
    match process::is_simulated() {
        true => listen((Ipv6Addr::UNSPECIFIED, port).into(), sharing),
        false => os::listen_any(port, sharing).map(Bound::Os),
    }
}

pub async fn connect(addr: SocketAddr, mark: Option<u32>) -> io::Result<TcpStream> {
    Ok(match process::current() {
        Some(process) => {
            TcpStream::Simulated(Box::new(Stream::connect(&process, addr, mark).await?))
        }
        None => TcpStream::Os(os::connect(addr, mark).await?),
    })
}

pub async fn lookup(name: &str) -> io::Result<std::vec::IntoIter<SocketAddr>> {
    let found: Vec<_> = match process::current() {
        Some(process) => vec![process.network.lookup(name)?],
        None => os::lookup(name).await?.collect(),
    };
    Ok(found.into_iter())
}

pub fn tune(tcp: &TcpStream) -> io::Result<()> {
    match tcp {
        TcpStream::Os(tcp) => os::tune(tcp),
        TcpStream::Simulated(_) => Ok(()),
    }
}

pub fn reset_on_close(tcp: &TcpStream) -> io::Result<()> {
    match tcp {
        TcpStream::Os(tcp) => os::reset_on_close(tcp),
        TcpStream::Simulated(tcp) => {
            tcp.reset_on_close();
            Ok(())
        }
    }
}

pub fn original_dst(tcp: &TcpStream) -> io::Result<SocketAddr> {
    match tcp {
        TcpStream::Os(tcp) => os::original_dst(tcp),
        TcpStream::Simulated(tcp) => Ok(tcp.original_dst()),
    }
}

impl From<os::TcpListener> for TcpListener {
    fn from(listener: os::TcpListener) -> Self {
        Self::Os(listener)
    }
}

impl TcpListener {
    pub fn from_std(bound: Bound) -> io::Result<Self> {
        Ok(match bound {
            Bound::Os(listener) => Self::Os(os::TcpListener::from_std(listener)?),
            Bound::Simulated(acceptor) => Self::Simulated(acceptor),
        })
    }

    pub async fn bind(addr: SocketAddr) -> io::Result<Self> {
        Ok(match process::current() {
            Some(process) => Self::Simulated(Acceptor::bind(&process, addr)?),
            None => Self::Os(os::TcpListener::bind(addr).await?),
        })
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Os(listener) => listener.local_addr(),
            Self::Simulated(acceptor) => Ok(acceptor.addr()),
        }
    }

    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        match self {
            Self::Os(listener) => {
                let (tcp, from) = listener.accept().await?;
                Ok((TcpStream::Os(tcp), from))
            }
            Self::Simulated(acceptor) => {
                let (tcp, from) = acceptor.accept().await;
                Ok((TcpStream::Simulated(Box::new(tcp)), from))
            }
        }
    }
}

impl TcpStream {
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        match self {
            Self::Os(tcp) => tcp.set_nodelay(nodelay),
            Self::Simulated(_) => Ok(()),
        }
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Os(tcp) => tcp.local_addr(),
            Self::Simulated(tcp) => Ok(tcp.local_addr()),
        }
    }

    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Os(tcp) => tcp.peer_addr(),
            Self::Simulated(tcp) => Ok(tcp.peer_addr()),
        }
    }

    pub async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Os(tcp) => tcp.readable().await,
            Self::Simulated(tcp) => tcp.readable().await,
        }
    }
}

macro_rules! forward {
    ($self:ident, $method:ident $(, $arg:ident)*) => {
        match $self.get_mut() {
            TcpStream::Os(tcp) => Pin::new(tcp).$method($($arg),*),
            TcpStream::Simulated(tcp) => Pin::new(&mut **tcp).$method($($arg),*),
        }
    };
}

impl AsyncRead for TcpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        forward!(self, poll_read, cx, buf)
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        forward!(self, poll_write, cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, poll_flush, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, poll_shutdown, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        forward!(self, poll_write_vectored, cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Os(tcp) => tcp.is_write_vectored(),
            Self::Simulated(tcp) => tcp.is_write_vectored(),
        }
    }
}
