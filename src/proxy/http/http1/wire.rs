//! A connection's stream, with what was read of it and is not understood yet, and what is to be
//! written.

use std::{
    io::{self, IoSlice},
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::proto::{Output, SLICES};
use crate::proxy::http::scratch;

/// Of what an exchange has read at a time a connection at rest keeps the buffer up to here, in
/// bytes: most find room in the one of the exchange before.
const KEPT: usize = 4 * 1024;

pub struct Wire<S> {
    stream: S,
    pub read: BytesMut,
    /// The most that was in `read` since the connection last rested, in bytes.
    most_read: usize,
    pub out: Output,
    /// Something was written that may wait in the stream.
    unflushed: bool,
    /// How often the stream took something, and how often something came.
    writes: u32,
    reads: u32,
}

impl<S> Wire<S> {
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            read: BytesMut::new(),
            most_read: 0,
            out: Output::default(),
            unflushed: false,
            writes: 0,
            reads: 0,
        }
    }

    /// The stream, and what was read ahead of it.
    pub fn into_parts(self) -> (S, BytesMut) {
        (self.stream, self.read)
    }

    /// Whether something waits to be written, or for the stream to hand it on.
    pub fn is_unsent(&self) -> bool {
        self.unflushed || !self.out.is_empty()
    }

    /// An exchange is over: what only a large one needs is given back.
    pub fn rest(&mut self) {
        if mem::take(&mut self.most_read) > KEPT {
            self.read = BytesMut::new();
        }
    }

    /// How often the stream took something; wraps around.
    pub fn writes(&self) -> u32 {
        self.writes
    }

    /// How often something came; wraps around.
    pub fn reads(&self) -> u32 {
        self.reads
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Reads on, once. False at the stream's end.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        scratch::lend(|buffer| {
            let mut room = ReadBuf::new(buffer);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut room))?;
            let came = room.filled();
            self.read.extend_from_slice(came);
            self.most_read = self.most_read.max(self.read.len());
            self.reads = self.reads.wrapping_add(1);
            Poll::Ready(Ok(!came.is_empty()))
        })
    }

    /// Writes all there is, and hands it to the network.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let stream = Pin::new(&mut self.stream);
            let written = match self.out.only_row() {
                Some(row) => stream.poll_write(cx, row),
                None => {
                    let mut slices = [IoSlice::new(&[]); SLICES];
                    let filled = self.out.slices(&mut slices);
                    stream.poll_write_vectored(cx, &slices[..filled])
                }
            };
            let written = ready!(written)?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(written);
            self.writes = self.writes.wrapping_add(1);
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncWriteExt, DuplexStream};

    use super::*;

    /// An answer of `size` bytes comes and is taken, and the connection rests.
    async fn exchange(wire: &mut Wire<DuplexStream>, peer: &mut DuplexStream, size: usize) {
        peer.write_all(&vec![b'x'; size]).await.unwrap();
        while wire.read.len() < size {
            assert!(poll_fn(|cx| wire.poll_fill(cx)).await.unwrap());
        }
        drop(wire.read.split_to(size).freeze());
        wire.rest();
    }

    #[tokio::test]
    async fn at_rest_it_keeps_the_buffer_of_a_small_answer_and_gives_a_large_one_back() {
        let (stream, mut peer) = tokio::io::duplex(64 * 1024);
        let mut wire = Wire::new(stream);
        exchange(&mut wire, &mut peer, 1024).await;
        assert!(wire.read.try_reclaim(1024));
        exchange(&mut wire, &mut peer, 60 * 1024).await;
        assert!(!wire.read.try_reclaim(1));
        exchange(&mut wire, &mut peer, 1024).await;
        assert!(wire.read.try_reclaim(1024));
    }
}
