//! The two sides of a stream that others hold: the one that takes what comes, and the one that sends.
//! Dropped before its end, each of them cancels what nobody wants any more.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::{
    driver::Shared,
    proto::{Error, Key, Reason},
};
use crate::proxy::http::ahead::Ahead;

/// Takes what comes.
pub struct Reader {
    connection: Shared,
    key: Key,
}

impl Reader {
    /// The one of this stream.
    pub fn new(connection: Shared, key: Key) -> Self {
        Self { connection, key }
    }

    pub fn poll_answer(&self, cx: &Context<'_>) -> Poll<Result<(StatusCode, HeaderMap), Error>> {
        self.connection.borrow_mut().poll_answer(self.key, cx)
    }

    pub fn poll_data(&self, cx: &Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        self.connection.borrow_mut().poll_data(self.key, cx)
    }

    pub fn take_trailers(&self) -> Option<HeaderMap> {
        self.connection.borrow_mut().take_trailers(self.key)
    }

    pub fn is_read(&self) -> bool {
        self.connection.borrow().is_read(self.key)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.connection.borrow_mut().drop_reader(self.key);
    }
}

/// Sends.
pub struct Writer {
    connection: Shared,
    key: Key,
}

impl Writer {
    /// The one of this stream.
    pub fn new(connection: Shared, key: Key) -> Self {
        Self { connection, key }
    }

    pub fn poll_head_room(&self, cx: &Context<'_>) -> Poll<Result<(), Error>> {
        self.connection.borrow_mut().poll_head_room(self.key, cx)
    }

    pub fn respond(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        ends: bool,
    ) -> Result<(), Error> {
        let mut connection = self.connection.borrow_mut();
        connection.respond(self.key, status, headers, ends)
    }

    pub fn poll_send(
        &self,
        cx: &Context<'_>,
        data: &mut Bytes,
        ends: bool,
    ) -> Poll<Result<(), Error>> {
        let mut connection = self.connection.borrow_mut();
        connection.poll_send(self.key, cx, data, ends)
    }

    pub fn send_trailers(&self, trailers: &HeaderMap) -> Result<(), Error> {
        let mut connection = self.connection.borrow_mut();
        connection.send_trailers(self.key, trailers)
    }

    pub fn poll_reset(&self, cx: &Context<'_>) -> Poll<Error> {
        self.connection.borrow_mut().poll_reset(self.key, cx)
    }

    pub fn reset(&self, reason: Reason) {
        self.connection.borrow_mut().reset(self.key, reason);
    }
}

impl Ahead for Writer {
    fn say(&self, status: StatusCode, headers: HeaderMap) {
        self.connection
            .borrow_mut()
            .inform(self.key, status, &headers);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.connection.borrow_mut().drop_writer(self.key);
    }
}
