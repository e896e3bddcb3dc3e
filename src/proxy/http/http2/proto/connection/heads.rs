//! Heads and trailers that come (RFC 9113, sections 6.2, 6.10 and 8.1).

use http::StatusCode;

use super::{
    super::{
        frame::{self, Head, flag, kind},
        section::{BadBlock, Message, Section},
        streams::{Half, Key, Stream},
    },
    Accepted, Connection, Ending, Fault, Reason, Role,
};

/// CONTINUATION frames that one head may have: with full ones, more than a head may be.
const MAX_PARTS: usize = 16;
/// How many fields a head is expected to have at most.
const MAX_EXPECTED: usize = 32;

/// A block that is not whole.
pub struct Block {
    id: u32,
    ends: bool,
    /// The stream is said to depend on itself.
    on_itself: bool,
    bytes: Vec<u8>,
    parts: usize,
}

impl Connection {
    pub(super) fn receive_headers(&mut self, head: &Head, payload: &[u8]) -> Result<(), Fault> {
        if head.stream == 0 {
            return Err(Fault::Connection(Reason::PROTOCOL_ERROR));
        }
        let mut payload = frame::without_padding(head, payload).map_err(Fault::Connection)?;
        let mut on_itself = false;
        if head.has(flag::PRIORITY) {
            let (priority, rest) = payload
                .split_first_chunk()
                .ok_or(Fault::Connection(Reason::FRAME_SIZE_ERROR))?;
            on_itself = frame::dependency(priority) == head.stream;
            payload = rest;
        }
        let ends = head.has(flag::END_STREAM);
        if head.has(flag::END_HEADERS) {
            return self.receive_block(head.stream, ends, on_itself, payload);
        }
        self.block = Some(Block {
            id: head.stream,
            ends,
            on_itself,
            bytes: payload.to_vec(),
            parts: 0,
        });
        Ok(())
    }

    pub(super) fn receive_continuation(
        &mut self,
        head: &Head,
        payload: &[u8],
    ) -> Result<(), Fault> {
        debug_assert_eq!(head.kind, kind::CONTINUATION);
        let block = self.block.as_mut().filter(|block| block.id == head.stream);
        let block = block.ok_or(Fault::Connection(Reason::PROTOCOL_ERROR))?;
        block.parts += 1;
        if block.parts > MAX_PARTS {
            return Err(Fault::Connection(Reason::ENHANCE_YOUR_CALM));
        }
        block.bytes.extend_from_slice(payload);
        if !head.has(flag::END_HEADERS) {
            return Ok(());
        }
        match self.block.take() {
            Some(block) => self.receive_block(block.id, block.ends, block.on_itself, &block.bytes),
            None => Ok(()),
        }
    }

    /// Whatever becomes of the stream, the block is decoded: those after it depend on it.
    fn receive_block(
        &mut self,
        id: u32,
        ends: bool,
        on_itself: bool,
        block: &[u8],
    ) -> Result<(), Fault> {
        let max = self.config.max_header_list as usize;
        let known = self.streams.find(id);
        let is_head = known.is_none_or(|key| self.streams[key].receiving == Half::Head);
        let expected = if is_head { self.fields } else { 0 };
        let section = Section::decode(&mut self.decoder, block, expected, max);
        let section = section.map_err(|bad| {
            Fault::Connection(match bad {
                BadBlock::Undecodable => Reason::COMPRESSION_ERROR,
                BadBlock::Abuse => Reason::ENHANCE_YOUR_CALM,
            })
        })?;
        let of_stream = |reason| Fault::Stream(id, reason);
        match (known, self.config.role) {
            (None, Role::Server) => self.receive_request(id, ends, on_itself, section),
            _ if on_itself => Err(of_stream(Reason::PROTOCOL_ERROR)),
            (Some(key), _) => match self.streams[key].receiving {
                Half::Head => self.receive_response(key, ends, section).map_err(of_stream),
                Half::Body => self.receive_trailers(key, ends, section).map_err(of_stream),
                Half::Ended => Err(of_stream(Reason::STREAM_CLOSED)),
            },
            (None, Role::Client) if self.is_idle(id) => {
                Err(Fault::Connection(Reason::PROTOCOL_ERROR))
            }
            (None, Role::Client) if self.is_ignored(id) => Ok(()),
            (None, Role::Client) => Err(of_stream(Reason::STREAM_CLOSED)),
        }
    }

    fn receive_request(
        &mut self,
        id: u32,
        ends: bool,
        on_itself: bool,
        section: Section,
    ) -> Result<(), Fault> {
        if id.is_multiple_of(2) {
            return Err(Fault::Connection(Reason::PROTOCOL_ERROR));
        }
        if id <= self.last_peer {
            // Trailers may have been under way to a stream that we reset.
            return match self.is_ignored(id) {
                true => Ok(()),
                false => Err(Fault::Connection(Reason::PROTOCOL_ERROR)),
            };
        }
        if self.ending == Ending::Told {
            // The peer knows by now that nothing will be done about it, nor about what may follow
            // (section 6.8).
            self.ignore(id);
            return Ok(());
        }
        self.last_peer = id;
        let of_stream = |reason| Err(Fault::Stream(id, reason));
        if self.streams.open() >= self.config.max_streams as usize {
            self.answered()?;
            return of_stream(Reason::REFUSED_STREAM);
        }
        if section.is_larger_than(self.config.max_header_list as usize) {
            return self.refuse_large(id, ends);
        }
        self.fields = section.fields().min(MAX_EXPECTED);
        let Ok(Message { head, length }) = section.into_request() else {
            return of_stream(Reason::PROTOCOL_ERROR);
        };
        if on_itself || (ends && length.is_some_and(|length| length > 0)) {
            return of_stream(Reason::PROTOCOL_ERROR);
        }
        let mut stream = Stream::new(id, self.config.stream_window, self.peer.window);
        stream.receiving = if ends { Half::Ended } else { Half::Body };
        stream.length = length;
        let key = self.streams.insert(stream);
        self.accepted.push_back(Accepted { key, head });
        Ok(())
    }

    /// Answers a request whose head is too large to be looked at.
    fn refuse_large(&mut self, id: u32, ends: bool) -> Result<(), Fault> {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        self.write_head(id, true, |encoder, out| {
            encoder.response(status, std::iter::empty(), out);
        });
        self.answered()?;
        if ends {
            self.ignore(id);
            return Ok(());
        }
        Err(Fault::Stream(id, Reason::NO_ERROR))
    }

    fn receive_response(&mut self, key: Key, ends: bool, section: Section) -> Result<(), Reason> {
        let bad = Reason::PROTOCOL_ERROR;
        let large = section.is_larger_than(self.config.max_header_list as usize);
        let fields = section.fields().min(MAX_EXPECTED);
        let Ok(Message { head, length }) = section.into_response() else {
            return Err(bad);
        };
        let status = head.0;
        if status.is_informational() {
            // HTTP/2 knows no upgrade (section 8.6).
            if ends || status == StatusCode::SWITCHING_PROTOCOLS {
                return Err(bad);
            }
            // Nobody depends on a hint.
            if !large {
                self.streams[key].hears_ahead(head);
            }
            return Ok(());
        }
        if large {
            return Err(bad);
        }
        self.fields = fields;
        let stream = &mut self.streams[key];
        let bodiless = stream.is_head
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        // Of these the length is another answer's (RFC 9110, section 8.6).
        let length = length.filter(|_| !bodiless);
        if ends && length.is_some_and(|length| length > 0) {
            return Err(bad);
        }
        stream.length = length;
        stream.receiving = if ends { Half::Ended } else { Half::Body };
        if stream.reader {
            stream.answer = Some(head);
            stream.wake_reader();
        }
        self.settle(key);
        Ok(())
    }

    fn receive_trailers(&mut self, key: Key, ends: bool, section: Section) -> Result<(), Reason> {
        let bad = Reason::PROTOCOL_ERROR;
        let large = section.is_larger_than(self.config.max_header_list as usize);
        let trailers = section.into_trailers().map_err(|_| bad)?;
        let stream = &mut self.streams[key];
        if large || !ends || stream.length.is_some_and(|left| left > 0) {
            return Err(bad);
        }
        stream.receiving = Half::Ended;
        if stream.reader {
            stream.trailers = Some(trailers);
            stream.wake_reader();
        }
        self.settle(key);
        Ok(())
    }
}
