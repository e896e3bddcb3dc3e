//! The operating system's sockets.

pub use std::net::TcpListener as Bound;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpSocket;
pub use tokio::net::{TcpListener, TcpStream};

use super::original_dst;

const BACKLOG: i32 = 1024;

/// Who may listen on an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// This listener and no other.
    Alone,
    /// Each worker has a listener of its own (SO_REUSEPORT). The kernel lets any process of the
    /// same user join in.
    Workers,
}

/// Listens.
///
/// # Errors
/// When the address cannot be listened on.
pub fn listen(addr: SocketAddr, sharing: Sharing) -> io::Result<Bound> {
    let socket = socket(addr)?;
    if addr.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(sharing == Sharing::Workers)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Listens on every address of both families; IPv4 alone where the kernel has no IPv6.
///
/// # Errors
/// When the port cannot be listened on.
pub fn listen_any(port: u16, sharing: Sharing) -> io::Result<Bound> {
    listen((Ipv6Addr::UNSPECIFIED, port).into(), sharing)
        .or_else(|_| listen((Ipv4Addr::UNSPECIFIED, port).into(), sharing))
}

/// Connects. `mark` is SO_MARK, by which the interception rules know the proxy's own traffic and
/// let it pass.
///
/// # Errors
/// When there is no socket to be had, or nobody answers.
pub async fn connect(addr: SocketAddr, mark: Option<u32>) -> io::Result<TcpStream> {
    let socket = socket(addr)?;
    if let Some(mark) = mark {
        socket.set_mark(mark)?;
    }
    TcpSocket::from_std_stream(socket.into())
        .connect(addr)
        .await
}

fn socket(addr: SocketAddr) -> io::Result<Socket> {
    Socket::new(
        Domain::for_address(addr),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )
}

/// The addresses of `host:port`.
///
/// # Errors
/// When the name is not known, or nobody can be asked.
pub async fn lookup(name: &str) -> io::Result<impl Iterator<Item = SocketAddr>> {
    tokio::net::lookup_host(name).await
}

/// Small messages leave at once, and a peer that vanished is noticed within two minutes.
///
/// # Errors
/// When the connection has ended already.
pub fn tune(tcp: &TcpStream) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4);
    SockRef::from(tcp).set_tcp_keepalive(&keepalive)?;
    tcp.set_nodelay(true)
}

/// The connection's end becomes a reset.
///
/// # Errors
/// When the connection has ended already.
pub fn reset_on_close(tcp: &TcpStream) -> io::Result<()> {
    SockRef::from(tcp).set_linger(Some(Duration::ZERO))
}

/// Where an accepted connection was going before the kernel's rules turned it to the proxy.
///
/// # Errors
/// When the kernel does not say.
pub fn original_dst(tcp: &TcpStream) -> io::Result<SocketAddr> {
    Ok(original_dst::original_dst(tcp)?.addr())
}
