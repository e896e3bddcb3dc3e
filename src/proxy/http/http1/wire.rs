//! A connection's stream, with what was read of it and is not understood yet, and what is to be
//! written.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::proto::{Output, SLICES};
use crate::proxy::http::scratch;

pub struct Wire<S> {
    stream: S,
    pub read: BytesMut,
    pub out: Output,
    /// Something was written that may wait in the stream.
    unflushed: bool,
    /// How often the stream took something.
    writes: u32,
}

impl<S> Wire<S> {
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            read: BytesMut::new(),
            out: Output::default(),
            unflushed: false,
            writes: 0,
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

    /// How often the stream took something; wraps around.
    pub fn writes(&self) -> u32 {
        self.writes
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
