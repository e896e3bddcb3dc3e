//! Where a redirected connection was going before the kernel's rules turned it to the proxy.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
};

use rustix::fd::AsFd;
use socket2::{SockAddr, SockRef};

/// The address a client dialled. An IPv4 address is never written as an IPv6 one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OrigDst(SocketAddr);

impl OrigDst {
    pub fn addr(self) -> SocketAddr {
        self.0
    }
}

impl From<SocketAddr> for OrigDst {
    fn from(addr: SocketAddr) -> Self {
        Self(SocketAddr::new(addr.ip().to_canonical(), addr.port()))
    }
}

impl fmt::Display for OrigDst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Asks the kernel where an accepted connection was going.
///
/// A connection that no rule redirected gives the address it arrived at; it is the caller who
/// knows whether that is its own listener.
///
/// # Errors
/// When the socket is not a connected TCP socket.
pub fn original_dst(socket: &impl AsFd) -> io::Result<OrigDst> {
    let socket = SockRef::from(socket);
    let local = inet(&socket.local_addr()?)?;
    // A dual-stack listener shows IPv4 clients under mapped addresses; their translation is
    // nonetheless filed under IPv4.
    let translated = match local.ip().to_canonical() {
        IpAddr::V4(_) => socket.original_dst_v4(),
        IpAddr::V6(_) => socket.original_dst_v6(),
    };
    match translated {
        Ok(addr) => Ok(inet(&addr)?.into()),
        // Not tracked: nothing was translated.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(local.into()),
        Err(error) if error.raw_os_error() == Some(NO_SUCH_OPTION) => Ok(local.into()),
        Err(error) => Err(error),
    }
}

/// What a kernel answers that has no connection tracking in this namespace.
const NO_SUCH_OPTION: i32 = rustix::io::Errno::NOPROTOOPT.raw_os_error();

fn inet(addr: &SockAddr) -> io::Result<SocketAddr> {
    addr.as_socket().ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "the original destination was asked of a socket that is not TCP over IP",
        )
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_that_nothing_redirected_was_going_where_it_arrived() {
        for listen in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(listen).unwrap();
            let addr = listener.local_addr().unwrap();
            let _client = TcpStream::connect(addr).unwrap();
            let (accepted, _) = listener.accept().unwrap();
            assert_eq!(original_dst(&accepted).unwrap().addr(), addr);
        }
    }

    #[test]
    fn mapped_addresses_become_ipv4() {
        let mapped: SocketAddr = "[::ffff:192.0.2.7]:80".parse().unwrap();
        assert_eq!(OrigDst::from(mapped).to_string(), "192.0.2.7:80");
    }
}
