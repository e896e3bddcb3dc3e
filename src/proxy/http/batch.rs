//! Writes of an HTTP/2 connection, gathered: what it writes while it is polled once leaves in one
//! system call, and over TLS in as few records as it fits into.
//!
//! h2 flushes after every DATA frame of 256 bytes and more. With 32 exchanges on one connection
//! that is a TLS record, a system call and a wake-up of the peer for each, where one would do for
//! all of them. So a flush in the middle of a poll only promises: [`Flushed`] keeps the promise
//! when the poll ends.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is gathered before it is written without waiting for the end of the poll, in bytes: four
/// full TLS records.
const FULL: usize = 64 * 1024;
/// A larger buffer is given back once it is empty, in bytes: a quiet connection costs no memory.
const KEPT: usize = 16 * 1024;

struct Inner<S> {
    stream: S,
    gathered: BytesMut,
    /// The promised flush failed: the next call of the connection hears of it.
    failed: Option<io::Error>,
}

type Shared<S> = Rc<RefCell<Inner<S>>>;

impl<S: AsyncWrite + Unpin> Inner<S> {
    /// Hands all that was gathered to the stream.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        while !self.gathered.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.gathered))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.gathered.advance(written);
        }
        if self.gathered.capacity() > KEPT {
            self.gathered = BytesMut::new();
        } else {
            self.gathered.clear();
        }
        Poll::Ready(Ok(()))
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}

/// The stream as the connection sees it. Whoever polls the connection wraps it with
/// [`Batched::flushed`], or nothing would ever leave.
pub struct Batched<S>(Shared<S>);

impl<S> Clone for Batched<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S> Batched<S> {
    pub fn new(stream: S) -> Self {
        Self(Rc::new(RefCell::new(Inner {
            stream,
            gathered: BytesMut::new(),
            failed: None,
        })))
    }

    /// `future`, which polls the connection that writes here, with a flush after each poll.
    pub fn flushed<F: Future>(&self, future: F) -> Flushed<F, S> {
        Flushed {
            future: Box::pin(future),
            inner: self.0.clone(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Batched<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Batched<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.0.borrow_mut();
        if inner.gathered.len() >= FULL || inner.failed.is_some() {
            ready!(inner.drain(cx))?;
        }
        inner.gathered.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.0.borrow_mut();
        if inner.gathered.len() >= FULL || inner.failed.is_some() {
            ready!(inner.drain(cx))?;
        }
        let before = inner.gathered.len();
        bufs.iter()
            .for_each(|buf| inner.gathered.extend_from_slice(buf));
        Poll::Ready(Ok(inner.gathered.len() - before))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Promises.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.borrow_mut().failed.take().map_or(Ok(()), Err))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        ready!(inner.flush(cx))?;
        Pin::new(&mut inner.stream).poll_shutdown(cx)
    }
}

/// A future with a flush after each poll.
pub struct Flushed<F, S> {
    future: Pin<Box<F>>,
    inner: Shared<S>,
}

impl<F: Future, S: AsyncWrite + Unpin> Future for Flushed<F, S> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let polled = self.future.as_mut().poll(cx);
        let mut inner = self.inner.borrow_mut();
        if let Poll::Ready(Err(error)) = inner.flush(cx) {
            inner.failed = Some(error);
            // For the connection to hear of it.
            cx.waker().wake_by_ref();
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    fn pair(room: usize) -> (Batched<DuplexStream>, DuplexStream) {
        let (near, far) = duplex(room);
        (Batched::new(near), far)
    }

    #[tokio::test]
    async fn what_one_poll_writes_leaves_together_and_in_order() {
        let (mut batched, mut far) = pair(1024);
        let handle = batched.clone();
        let write = handle.flushed(poll_fn(move |cx| {
            let mut batched = Pin::new(&mut batched);
            for word in [&b"one "[..], b"two "] {
                assert!(batched.as_mut().poll_write(cx, word).is_ready());
                assert!(batched.as_mut().poll_flush(cx).is_ready());
            }
            let slices = [io::IoSlice::new(b"three "), io::IoSlice::new(b"four")];
            assert!(batched.as_mut().poll_write_vectored(cx, &slices).is_ready());
            // Nothing leaves before the poll is over.
            assert_eq!(&*batched.0.borrow().gathered, b"one two three four");
            Poll::Ready(())
        }));
        write.await;
        let mut read = [0; 64];
        let len = far.read(&mut read).await.unwrap();
        assert_eq!(&read[..len], b"one two three four");
    }

    #[tokio::test]
    async fn the_end_of_the_poll_keeps_the_promise() {
        let (mut batched, mut far) = pair(1024);
        let handle = batched.clone();
        handle
            .flushed(async move {
                batched.write_all(b"hello, ").await.unwrap();
                batched.write_all(b"mesh").await.unwrap();
            })
            .await;
        let mut read = [0; 11];
        far.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"hello, mesh");
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_waited_for() {
        let (mut batched, mut far) = pair(1024);
        let handle = batched.clone();
        let data = vec![7; 4 * FULL];
        let sent = data.clone();
        let write = async move {
            for piece in sent.chunks(4096) {
                batched.write_all(piece).await.unwrap();
            }
            batched.shutdown().await.unwrap();
        };
        let mut write = std::pin::pin!(handle.flushed(write));
        poll_fn(|cx| {
            assert!(write.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        assert!(handle.0.borrow().gathered.len() <= FULL + 4096);
        let mut read = Vec::new();
        let (_, got) = tokio::join!(write, far.read_to_end(&mut read));
        assert_eq!(got.unwrap(), data.len());
        assert_eq!(read, data);
    }

    #[tokio::test]
    async fn a_connection_hears_that_its_peer_has_gone() {
        let (mut batched, far) = pair(1024);
        let handle = batched.clone();
        drop(far);
        let failed = handle.flushed(async move {
            loop {
                if let Err(error) = batched.write_all(b"hello").await {
                    return error;
                }
                tokio::task::yield_now().await;
            }
        });
        assert_eq!(failed.await.kind(), io::ErrorKind::BrokenPipe);
    }
}
