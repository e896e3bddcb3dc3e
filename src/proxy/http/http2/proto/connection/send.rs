//! What is sent. It is written at once where there is room for it: nothing is kept here for later
//! but the order of those that wait.

use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::{
    super::{
        flow::MAX_WINDOW,
        frame::{self, HEAD, MAX_PAYLOAD, flag, kind},
        hpack::{Encoder, RequestHead},
        output::{FULL, OVERFULL},
        streams::{Half, Key, Stream, Turn},
    },
    Connection, Error, Reason, Role, register,
};

impl Connection {
    /// Whether another stream can be opened now.
    pub fn has_place(&self) -> bool {
        self.places() > 0
    }

    /// How many streams can be opened now.
    pub fn places(&self) -> usize {
        if self.out.len() >= OVERFULL {
            return 0;
        }
        (self.peer.max_streams as usize).saturating_sub(self.streams.open())
    }

    /// Opens a stream with a request, whose body follows unless it `ends`.
    ///
    /// # Errors
    /// When no stream can be opened any more.
    pub fn request<'a>(
        &mut self,
        head: &RequestHead<'_>,
        fields: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>,
        ends: bool,
    ) -> Result<Key, Error> {
        if let Some(error) = self.failed.as_ref().or(self.gone.as_ref()) {
            return Err(error.clone());
        }
        let id = self.next_id;
        self.next_id += 2;
        if self.next_id > MAX_WINDOW {
            // Identifiers are used up: as if the peer had said that it takes no more.
            self.gone = Some(Error::GoAway {
                reason: Reason::NO_ERROR,
                side: super::Side::Peer,
            });
        }
        self.write_head(id, ends, |encoder, out| encoder.request(head, fields, out));
        let mut stream = Stream::new(id, self.config.stream_window, self.peer.window);
        stream.sending = if ends { Half::Ended } else { Half::Body };
        stream.writer = !ends;
        stream.is_head = head.method == Method::HEAD;
        Ok(self.streams.insert(stream))
    }

    /// Until there is room for a head: a peer that does not read must not make us keep many.
    pub fn poll_head_room(&mut self, key: Key, cx: &Context<'_>) -> Poll<Result<(), Error>> {
        self.check_sending(key)?;
        if self.out.len() < OVERFULL {
            return Poll::Ready(Ok(()));
        }
        if !self.heads.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.heads.push(cx.waker().clone());
        }
        // The stream's end is to be heard of too: with the connection's there is no room any more.
        register(&mut self.streams[key].write_waker, cx);
        Poll::Pending
    }

    /// Sends an answer's head.
    ///
    /// # Errors
    /// When the stream has ended.
    pub fn respond(
        &mut self,
        key: Key,
        status: StatusCode,
        headers: &HeaderMap,
        ends: bool,
    ) -> Result<(), Error> {
        self.check_sending(key)?;
        let id = self.streams[key].id;
        self.write_head(id, ends, |encoder, out| {
            encoder.response(status, headers.iter(), out);
        });
        self.sent(key, ends);
        Ok(())
    }

    /// Sends an interim answer (1xx), if the answer is still to come and no body waits for the room.
    pub fn inform(&mut self, key: Key, status: StatusCode, headers: &HeaderMap) {
        let stream = &self.streams[key];
        let comes = stream.error.is_none() && stream.sending == Half::Head;
        let others = !self.waiting.is_empty() || self.turns > 0;
        if comes && !others && self.out.len() < FULL {
            let id = stream.id;
            self.write_head(id, false, |encoder, out| {
                encoder.response(status, headers.iter(), out);
            });
        }
    }

    /// Sends what there is room for, and takes it from `data`. Ready when all of it is sent.
    pub fn poll_send(
        &mut self,
        key: Key,
        cx: &Context<'_>,
        data: &mut Bytes,
        ends: bool,
    ) -> Poll<Result<(), Error>> {
        loop {
            self.check_sending(key)?;
            if data.is_empty() {
                if ends {
                    self.write_data(key, &[], true);
                }
                return Poll::Ready(Ok(()));
            }
            let stream = &mut self.streams[key];
            let of_stream = stream.outflow.room();
            if of_stream == 0 {
                // Nobody else need wait for its turn.
                register(&mut stream.write_waker, cx);
                self.end_turn(key);
                return Poll::Pending;
            }
            let others = !self.waiting.is_empty() || self.turns > 0;
            let has_turn = self.streams[key].turn == Turn::Has;
            let room = self.outflow.room();
            if room == 0 || self.out.len() >= FULL || (others && !has_turn) {
                // One that waits already keeps its place.
                if has_turn {
                    self.end_turn(key);
                }
                self.wait(key, cx);
                return Poll::Pending;
            }
            let length = data.len().min(of_stream).min(room).min(MAX_PAYLOAD);
            let last = ends && length == data.len();
            self.streams[key].outflow.went(length);
            self.outflow.went(length);
            self.write_data(key, &data[..length], last);
            data.advance(length);
            self.end_turn(key);
            if last {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Ends a stream with trailers.
    ///
    /// # Errors
    /// When it has ended before.
    pub fn send_trailers(&mut self, key: Key, trailers: &HeaderMap) -> Result<(), Error> {
        self.check_sending(key)?;
        let id = self.streams[key].id;
        self.write_head(id, true, |encoder, out| {
            encoder.trailers(trailers.iter(), out);
        });
        self.sent(key, true);
        Ok(())
    }

    fn check_sending(&self, key: Key) -> Result<(), Error> {
        self.streams[key].error.clone().map_or(Ok(()), Err)
    }

    fn write_data(&mut self, key: Key, data: &[u8], ends: bool) {
        let flags = if ends { flag::END_STREAM } else { 0 };
        let id = self.streams[key].id;
        let out = self.out.room_for(HEAD + data.len());
        frame::head(out, data.len(), kind::DATA, flags, id);
        out.extend_from_slice(data);
        self.sent(key, ends);
    }

    /// A part of a message was written.
    fn sent(&mut self, key: Key, ends: bool) {
        self.streams[key].sending = if ends { Half::Ended } else { Half::Body };
        self.wake_driver();
        if !ends {
            return;
        }
        let stream = &self.streams[key];
        if self.config.role == Role::Server && stream.receiving != Half::Ended && !stream.reader {
            // The answer did not need the rest of the request (RFC 9113, section 8.1).
            return self.reset(key, Reason::NO_ERROR);
        }
        self.settle(key);
    }

    /// Writes a block that `encode` makes, in as many frames as it needs.
    pub(super) fn write_head(
        &mut self,
        id: u32,
        ends: bool,
        encode: impl FnOnce(&mut Encoder, &mut Vec<u8>),
    ) {
        let end_stream = if ends { flag::END_STREAM } else { 0 };
        let out = self.out.buffer();
        let start = out.len();
        out.extend_from_slice(&[0; HEAD]);
        encode(&mut self.encoder, out);
        let length = out.len() - start - HEAD;
        if length <= MAX_PAYLOAD {
            let flags = end_stream | flag::END_HEADERS;
            let head = frame::head_bytes(length, kind::HEADERS, flags, id);
            out[start..start + HEAD].copy_from_slice(&head);
        } else {
            let block = out.split_off(start + HEAD);
            out.truncate(start);
            let parts = block.len().div_ceil(MAX_PAYLOAD);
            for (part, bytes) in (1..).zip(block.chunks(MAX_PAYLOAD)) {
                let last = if part == parts { flag::END_HEADERS } else { 0 };
                let (kind, flags) = match part {
                    1 => (kind::HEADERS, end_stream),
                    _ => (kind::CONTINUATION, 0),
                };
                frame::head(out, bytes.len(), kind, flags | last, id);
                out.extend_from_slice(bytes);
            }
        }
        self.wake_driver();
    }

    /// Waits for room in the connection, behind all others.
    fn wait(&mut self, key: Key, cx: &Context<'_>) {
        let stream = &mut self.streams[key];
        register(&mut stream.write_waker, cx);
        if stream.turn == Turn::None {
            stream.turn = Turn::Waits;
            self.waiting.push_back(key);
        }
        self.give_turns();
    }

    /// A stream has used its turn, or needs it no more.
    pub(super) fn end_turn(&mut self, key: Key) {
        let stream = &mut self.streams[key];
        match std::mem::replace(&mut stream.turn, Turn::None) {
            Turn::None => return,
            Turn::Waits => self.waiting.retain(|waiting| *waiting != key),
            Turn::Has => self.turns -= 1,
        }
        self.give_turns();
    }

    /// Tells those that there is room for: one frame each.
    pub(super) fn give_turns(&mut self) {
        while !self.waiting.is_empty() {
            let room = self.outflow.room().min(FULL.saturating_sub(self.out.len()));
            let first = self.turns == 0 && room > 0;
            if !first && room < (self.turns + 1) * MAX_PAYLOAD {
                return;
            }
            let Some(key) = self.waiting.pop_front() else {
                return;
            };
            self.turns += 1;
            let stream = &mut self.streams[key];
            stream.turn = Turn::Has;
            stream.wake_writer();
        }
    }
}
