//! The byte streams of the data path: TCP with its first bytes read ahead, and mesh TLS over it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{client, server};

use crate::{
    host::net::{self, TcpStream},
    identity::{TlsFailure, describe_tls_failure},
};

/// A connection whose first bytes were already read to recognise its protocol: they are read
/// again first.
pub struct Rewind<S = TcpStream> {
    prefix: Bytes,
    inner: S,
}

impl<S> Rewind<S> {
    pub fn new(prefix: Bytes, inner: S) -> Self {
        Self { prefix, inner }
    }

    fn precede(&mut self, prefix: Bytes) {
        debug_assert!(self.prefix.is_empty(), "read before what follows it");
        self.prefix = prefix;
    }
}

impl Rewind {
    /// Waits until there is something to read, the connection's end included.
    async fn readable(&self) -> io::Result<()> {
        if !self.prefix.is_empty() {
            return Ok(());
        }
        self.inner.readable().await
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewind<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        let n = self.prefix.len().min(buf.remaining());
        buf.put_slice(&self.prefix[..n]);
        self.prefix.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewind<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

/// A connection on either side of the proxy. TLS states are boxed: most connections with
/// applications are plain and should not pay for the size of the others.
pub enum Stream {
    Plain(Rewind),
    Accepted(Box<Rewind<server::TlsStream<Rewind>>>),
    Dialled(Box<client::TlsStream<TcpStream>>),
}

impl Stream {
    /// The connection's end becomes a reset: whoever waits for an answer learns that none comes.
    pub fn reset(self) {
        let tcp = match &self {
            Stream::Plain(io) => &io.inner,
            Stream::Accepted(tls) => &tls.inner.get_ref().0.inner,
            Stream::Dialled(tls) => tls.get_ref().0,
        };
        if let Err(error) = net::reset_on_close(tcp) {
            tracing::debug!(%error, "closing without a reset");
        }
    }

    pub fn is_plain(&self) -> bool {
        matches!(self, Stream::Plain(_))
    }

    /// Waits, without a buffer, until there is something to read. For plain connections: of TLS
    /// nobody can say without reading.
    pub async fn readable(&self) -> io::Result<()> {
        match self {
            Stream::Plain(io) => io.readable().await,
            Stream::Accepted(_) | Stream::Dialled(_) => Ok(()),
        }
    }

    /// The stream again after `prefix` was read from it in vain. For connections that were accepted.
    pub fn preceded_by(mut self, prefix: Bytes) -> Self {
        match &mut self {
            Stream::Plain(io) => io.precede(prefix),
            Stream::Accepted(tls) => tls.precede(prefix),
            Stream::Dialled(_) => debug_assert!(prefix.is_empty(), "nobody reads ahead of these"),
        }
        self
    }
}

macro_rules! forward {
    ($self:ident, $method:ident $(, $arg:ident)*) => {
        match $self.get_mut() {
            Stream::Plain(io) => Pin::new(io).$method($($arg),*),
            Stream::Accepted(io) => Pin::new(&mut **io).$method($($arg),*),
            Stream::Dialled(io) => Pin::new(&mut **io).$method($($arg),*),
        }
    };
}

/// In TLS 1.3 a client is done before the server has looked at its certificate: that this was
/// refused comes with the first read, and HTTP above does not keep the reason.
fn say_if_refused(tls: &client::TlsStream<TcpStream>, error: &io::Error) {
    let failure = TlsFailure::of(error);
    if failure.is_peers_verdict() {
        let addr = tls.get_ref().0.peer_addr().ok();
        let (reason, detail) = (failure.as_str(), describe_tls_failure(error));
        tracing::warn!(
            addr = addr.map(tracing::field::display),
            reason,
            detail,
            "the endpoint's proxy refused this proxy's certificate"
        );
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        let pinned = Pin::new(&mut *stream);
        let read = forward!(pinned, poll_read, cx, buf);
        if let (Poll::Ready(Err(error)), Stream::Dialled(tls)) = (&read, stream) {
            say_if_refused(tls, error);
        }
        read
    }
}

impl AsyncWrite for Stream {
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
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        forward!(self, poll_write_vectored, cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Plain(io) => io.is_write_vectored(),
            Stream::Accepted(io) => io.is_write_vectored(),
            Stream::Dialled(io) => io.is_write_vectored(),
        }
    }
}
