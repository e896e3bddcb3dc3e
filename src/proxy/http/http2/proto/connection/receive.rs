//! Frames that come (RFC 9113, section 6). Heads are in [`super::heads`].

use super::{
    super::{
        error::{Error, Reason, Side},
        frame::{self, HEAD, Head, MAX_PAYLOAD, PREFACE, flag, kind},
        streams::{Half, Key},
    },
    Connection, Ending, Fault, Greeting, Role,
};

/// What our pings carry: of the keep-alive, and of the one that shows that the peer knows of the
/// end.
pub const PING: [u8; 8] = *b"are you ";
pub const LAST_PING: [u8; 8] = *b"goodbye ";

impl Connection {
    /// Takes what came, and says how much of it: the rest is part of a frame, to be given again
    /// with what comes next.
    pub fn receive(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        if self.greeting == Greeting::Preface {
            let start = &bytes[..bytes.len().min(PREFACE.len())];
            if !PREFACE.starts_with(start) {
                self.fail(Reason::PROTOCOL_ERROR);
                return bytes.len();
            }
            if start.len() < PREFACE.len() {
                return 0;
            }
            self.greeting = Greeting::Settings;
            at = PREFACE.len();
        }
        while self.failed.is_none()
            && let Some(head) = Head::read(&bytes[at..])
        {
            if head.length > MAX_PAYLOAD {
                self.fail(Reason::FRAME_SIZE_ERROR);
                break;
            }
            let Some(payload) = bytes[at + HEAD..].get(..head.length) else {
                break;
            };
            at += HEAD + head.length;
            match self.frame(&head, payload) {
                Ok(()) => {}
                Err(Fault::Connection(reason)) => self.fail(reason),
                Err(Fault::Stream(id, reason)) => self.fail_stream(id, reason),
            }
        }
        at
    }

    fn frame(&mut self, head: &Head, payload: &[u8]) -> Result<(), Fault> {
        let early = self.greeting != Greeting::Done && head.kind != kind::SETTINGS;
        let late = self.block.is_some() && head.kind != kind::CONTINUATION;
        if early || late {
            return Err(Fault::Connection(Reason::PROTOCOL_ERROR));
        }
        match head.kind {
            kind::DATA => self.receive_data(head, payload),
            kind::HEADERS => self.receive_headers(head, payload),
            kind::CONTINUATION => self.receive_continuation(head, payload),
            kind::PRIORITY => receive_priority(head, payload),
            kind::RST_STREAM => self.receive_reset(head, payload),
            kind::SETTINGS => self.receive_settings(head, payload),
            // Nobody may push to us.
            kind::PUSH_PROMISE => Err(Fault::Connection(Reason::PROTOCOL_ERROR)),
            kind::PING => self.receive_ping(head, payload),
            kind::GOAWAY => self.receive_go_away(head, payload),
            kind::WINDOW_UPDATE => self.receive_window_update(head, payload),
            // Section 5.5.
            _ => Ok(()),
        }
    }

    fn receive_data(&mut self, head: &Head, payload: &[u8]) -> Result<(), Fault> {
        let id = head.stream;
        // At most MAX_PAYLOAD.
        let length = payload.len() as u32;
        if self.is_idle(id) {
            return Err(Fault::Connection(Reason::PROTOCOL_ERROR));
        }
        let data = frame::without_padding(head, payload).map_err(Fault::Connection)?;
        let overflow = self.inflow.came(length).is_err();
        if overflow {
            return Err(Fault::Connection(Reason::FLOW_CONTROL_ERROR));
        }
        let ends = head.has(flag::END_STREAM);
        let taken = match self.streams.find(id) {
            Some(key) => self.take_data(key, length, data, ends),
            None if self.is_ignored(id) => Ok(0),
            None => Err(Reason::STREAM_CLOSED),
        };
        // What nobody will read is read now.
        let unread = payload.len() - taken.unwrap_or(0);
        if unread > 0 {
            self.was_read(None, unread);
        }
        taken.map_err(|reason| Fault::Stream(id, reason))?;
        if !data.is_empty() || ends {
            self.empty.forgive();
            return Ok(());
        }
        let calm = Fault::Connection(Reason::ENHANCE_YOUR_CALM);
        self.empty.count().map_err(|_| calm)
    }

    /// Gives data to a stream, whose reader will say when it took them. How many bytes it will.
    fn take_data(
        &mut self,
        key: Key,
        length: u32,
        data: &[u8],
        ends: bool,
    ) -> Result<usize, Reason> {
        let stream = &mut self.streams[key];
        match stream.receiving {
            Half::Body => {}
            Half::Head => return Err(Reason::PROTOCOL_ERROR),
            Half::Ended => return Err(Reason::STREAM_CLOSED),
        }
        let overflow = stream.inflow.came(length).is_err();
        if overflow {
            return Err(Reason::FLOW_CONTROL_ERROR);
        }
        if let Some(left) = &mut stream.length {
            *left = left
                .checked_sub(data.len() as u64)
                .ok_or(Reason::PROTOCOL_ERROR)?;
            if ends && *left > 0 {
                return Err(Reason::PROTOCOL_ERROR);
            }
        }
        if ends {
            stream.receiving = Half::Ended;
        }
        let kept = stream.reader && !data.is_empty();
        if kept {
            stream.push(data);
        }
        let padding = length as usize - data.len();
        if kept || ends {
            stream.wake_reader();
        }
        if padding > 0
            && !ends
            && let Some(increment) = stream.inflow.was_read(padding as u32)
        {
            frame::window_update(self.out.buffer(), stream.id, increment);
        }
        self.settle(key);
        Ok(if kept { data.len() } else { 0 })
    }

    fn receive_reset(&mut self, head: &Head, payload: &[u8]) -> Result<(), Fault> {
        let code = frame::exact(payload).map_err(Fault::Connection)?;
        let reason = Reason(u32::from_be_bytes(*code));
        if self.is_idle(head.stream) {
            return Err(Fault::Connection(Reason::PROTOCOL_ERROR));
        }
        let Some(key) = self.streams.find(head.stream) else {
            return Ok(());
        };
        let unanswered = self.streams[key].sending == Half::Head;
        let side = Side::Peer;
        self.end_stream(key, Error::Reset { reason, side });
        // Requests that are taken back cost their sender nothing, and us what they cost.
        if unanswered && self.config.role == Role::Server {
            let calm = Fault::Connection(Reason::ENHANCE_YOUR_CALM);
            let now = (self.config.clock)();
            self.resets.count(now).map_err(|_| calm)?;
        }
        Ok(())
    }

    fn receive_ping(&mut self, head: &Head, payload: &[u8]) -> Result<(), Fault> {
        let data = frame::exact::<8>(payload).map_err(Fault::Connection)?;
        if head.stream != 0 {
            return Err(Fault::Connection(Reason::PROTOCOL_ERROR));
        }
        if !head.has(flag::ACK) {
            frame::ping(self.out.buffer(), flag::ACK, data);
            return self.answered();
        }
        match *data {
            PING => self.pong = true,
            LAST_PING if self.ending == Ending::Announced => self.tell_end(),
            // One of nobody's.
            _ => {}
        }
        Ok(())
    }

    fn receive_go_away(&mut self, head: &Head, payload: &[u8]) -> Result<(), Fault> {
        if head.stream != 0 {
            return Err(Fault::Connection(Reason::PROTOCOL_ERROR));
        }
        let (numbers, _debug_data) = payload
            .split_first_chunk::<8>()
            .ok_or(Fault::Connection(Reason::FRAME_SIZE_ERROR))?;
        let [l0, l1, l2, l3, reason @ ..] = *numbers;
        let last = u32::from_be_bytes([l0 & 0x7f, l1, l2, l3]);
        let error = Error::GoAway {
            reason: Reason(u32::from_be_bytes(reason)),
            side: Side::Peer,
        };
        if self.config.role == Role::Client {
            // Those it will do nothing about.
            for key in self.streams.keys() {
                if self.streams[key].id > last {
                    self.end_stream(key, error.clone());
                }
            }
        }
        self.gone = Some(error);
        Ok(())
    }

    fn receive_window_update(&mut self, head: &Head, payload: &[u8]) -> Result<(), Fault> {
        let increment = frame::increment(frame::exact(payload).map_err(Fault::Connection)?);
        if head.stream == 0 {
            let bad = |reason| Err(Fault::Connection(reason));
            if increment == 0 {
                return bad(Reason::PROTOCOL_ERROR);
            }
            if self.outflow.grow(increment.into()).is_err() {
                return bad(Reason::FLOW_CONTROL_ERROR);
            }
            self.give_turns();
            return Ok(());
        }
        if self.is_idle(head.stream) {
            return Err(Fault::Connection(Reason::PROTOCOL_ERROR));
        }
        // It may still come for a stream that has ended (section 6.9).
        let Some(key) = self.streams.find(head.stream) else {
            return Ok(());
        };
        let stream = &mut self.streams[key];
        if increment == 0 {
            return Err(Fault::Stream(head.stream, Reason::PROTOCOL_ERROR));
        }
        // Nothing is sent any more, so that no window counts.
        if stream.sending == Half::Ended {
            return Ok(());
        }
        if stream.outflow.grow(increment.into()).is_err() {
            return Err(Fault::Stream(head.stream, Reason::FLOW_CONTROL_ERROR));
        }
        stream.wake_writer();
        Ok(())
    }

    /// Nobody has opened it yet (section 5.1).
    pub(super) fn is_idle(&self, id: u32) -> bool {
        if id == 0 {
            return true;
        }
        let ours = (id % 2 == 1) == (self.config.role == Role::Client);
        if ours {
            id >= self.next_id
        } else {
            id > self.last_peer && !self.is_ignored(id)
        }
    }

    /// We reset it, or told the peer that we would not look at it.
    pub(super) fn is_ignored(&self, id: u32) -> bool {
        self.reset.contains(&id)
    }
}

/// Priorities (section 5.3) mean nothing here; what cannot be one is an error all the same.
fn receive_priority(head: &Head, payload: &[u8]) -> Result<(), Fault> {
    if head.stream == 0 {
        return Err(Fault::Connection(Reason::PROTOCOL_ERROR));
    }
    let of_stream = |reason| Fault::Stream(head.stream, reason);
    let priority = frame::exact(payload).map_err(of_stream)?;
    if frame::dependency(priority) == head.stream {
        return Err(of_stream(Reason::PROTOCOL_ERROR));
    }
    Ok(())
}
