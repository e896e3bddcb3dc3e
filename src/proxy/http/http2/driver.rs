//! Reads and writes for a connection. What it says while it is polled once leaves in one system
//! call, and over TLS in as few records as it fits into: with 32 exchanges on one connection a
//! record, a system call and a wake-up of the peer for each would cost more than the exchanges.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
};

use super::proto::{Accepted, Connection, Error, FULL};
use crate::proxy::http::scratch;

pub type Shared = Rc<RefCell<Connection>>;

/// A larger buffer for a part of a frame is given back once the frame is whole, in bytes.
const KEPT: usize = 1024;

/// A connection's stream. Whoever has it polls it as long as the connection lasts.
pub struct Driver<S> {
    stream: S,
    connection: Shared,
    /// Of a frame that has not come whole.
    partial: Vec<u8>,
    /// Something was written that may wait in the stream.
    unflushed: bool,
    /// Tells those who wait until they may open a stream.
    places: Rc<Notify>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    pub fn new(stream: S, connection: Connection) -> Self {
        Self {
            stream,
            connection: Rc::new(RefCell::new(connection)),
            partial: Vec::new(),
            unflushed: false,
            places: Rc::default(),
        }
    }

    pub fn connection(&self) -> &Shared {
        &self.connection
    }

    pub fn places(&self) -> &Rc<Notify> {
        &self.places
    }

    /// Ready when the connection has ended; with an error where that is not how it was to end. Gives
    /// requests that come to `accept`.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut accept: impl FnMut(Accepted),
    ) -> Poll<Result<(), Error>> {
        self.connection.borrow_mut().drives(cx);
        let polled = self.go_on(cx, &mut accept);
        self.connection.borrow_mut().rests();
        for _ in 0..self.connection.borrow().to_tell() {
            self.places.notify_one();
        }
        polled
    }

    fn go_on(
        &mut self,
        cx: &mut Context<'_>,
        accept: &mut impl FnMut(Accepted),
    ) -> Poll<Result<(), Error>> {
        self.read(cx, accept);
        let over = self.connection.borrow().is_over();
        if over {
            self.connection.borrow_mut().say_goodbye();
        }
        match self.poll_flush(cx) {
            Poll::Ready(Err(error)) if !over => self.broke(error),
            // Whoever broke the rules need not read what is said to that.
            Poll::Pending if !self.connection.borrow().has_failed() => return Poll::Pending,
            _ => {}
        }
        if !self.connection.borrow().is_over() {
            return Poll::Pending;
        }
        // Whether the peer also sees an orderly end is its matter.
        let ended = Pin::new(&mut self.stream).poll_shutdown(cx);
        if ended.is_pending() && !self.connection.borrow().has_failed() {
            return Poll::Pending;
        }
        Poll::Ready(self.connection.borrow().outcome())
    }

    /// Takes all that has come.
    fn read(&mut self, cx: &mut Context<'_>, accept: &mut impl FnMut(Accepted)) {
        scratch::lend(|buffer| self.read_into(buffer, cx, accept));
    }

    fn read_into(
        &mut self,
        buffer: &mut [u8],
        cx: &mut Context<'_>,
        accept: &mut impl FnMut(Accepted),
    ) {
        while !self.connection.borrow().has_failed() {
            let kept = self.partial.len();
            buffer[..kept].copy_from_slice(&self.partial);
            let mut room = ReadBuf::new(&mut buffer[kept..]);
            let read = Pin::new(&mut self.stream).poll_read(cx, &mut room);
            let came = room.filled().len();
            match read {
                Poll::Pending => break,
                Poll::Ready(Ok(())) if came > 0 => self.take(&buffer[..kept + came]),
                Poll::Ready(Ok(())) => self.broke(io::ErrorKind::UnexpectedEof.into()),
                Poll::Ready(Err(error)) => self.broke(error),
            }
            loop {
                let accepted = self.connection.borrow_mut().accept();
                let Some(accepted) = accepted else { break };
                accept(accepted);
            }
            let full = self.connection.borrow().pending().len() >= FULL;
            if full && let Poll::Ready(Err(error)) = self.poll_flush(cx) {
                self.broke(error);
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let taken = self.connection.borrow_mut().receive(bytes);
        self.partial.clear();
        self.partial.extend_from_slice(&bytes[taken..]);
        if self.partial.is_empty() && self.partial.capacity() > KEPT {
            self.partial = Vec::new();
        }
    }

    /// Writes all there is, and hands it to the network.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut connection = self.connection.borrow_mut();
            let pending = connection.pending();
            if pending.is_empty() {
                break;
            }
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, pending))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            connection.wrote(written);
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// The connection is lost.
    fn broke(&mut self, error: io::Error) {
        self.connection.borrow_mut().lose(error);
    }
}

impl<S> Drop for Driver<S> {
    /// Nobody reads or writes any more: whoever waits must not wait for ever.
    fn drop(&mut self) {
        let ended = io::Error::from(io::ErrorKind::ConnectionAborted);
        self.connection.borrow_mut().lose(ended);
        self.places.notify_waiters();
    }
}
