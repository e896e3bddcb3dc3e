//! Settings (RFC 9113, section 6.5): ours, and the peer's.

use super::{
    super::{
        flow::{DEFAULT_WINDOW, MAX_WINDOW},
        frame::{self, Head, MAX_PAYLOAD, flag, setting},
    },
    Connection, Fault, Greeting, Reason, Role,
};

/// The largest frame that a peer may ask for.
const LARGEST: u32 = (1 << 24) - 1;

/// What the peer allows.
#[derive(Clone, Copy, Debug)]
pub struct PeerSettings {
    /// Streams of ours that may be open at a time.
    pub max_streams: u32,
    /// Each stream's window, in bytes.
    pub window: u32,
}

impl PeerSettings {
    pub fn new(first_streams: u32) -> Self {
        Self {
            max_streams: first_streams,
            window: DEFAULT_WINDOW,
        }
    }
}

impl Connection {
    /// Our first frames.
    pub(super) fn greet(&mut self) {
        let config = &self.config;
        let out = self.out.buffer();
        let windows = [
            (setting::INITIAL_WINDOW_SIZE, config.stream_window),
            (setting::MAX_HEADER_LIST_SIZE, config.max_header_list),
        ];
        let of_role = match config.role {
            Role::Client => {
                out.extend_from_slice(frame::PREFACE);
                (setting::ENABLE_PUSH, 0)
            }
            Role::Server => (setting::MAX_CONCURRENT_STREAMS, config.max_streams),
        };
        frame::settings(out, &[of_role, windows[0], windows[1]]);
        let more = config.connection_window - DEFAULT_WINDOW;
        frame::window_update(out, 0, more);
    }

    pub(super) fn receive_settings(&mut self, head: &Head, payload: &[u8]) -> Result<(), Fault> {
        let bad = |reason| Err(Fault::Connection(reason));
        let acknowledges = head.has(flag::ACK);
        let (settings, rest) = payload.as_chunks::<6>();
        if head.stream != 0 {
            return bad(Reason::PROTOCOL_ERROR);
        }
        if !rest.is_empty() || (acknowledges && !payload.is_empty()) {
            return bad(Reason::FRAME_SIZE_ERROR);
        }
        if acknowledges {
            // Ours widen what a peer may do by itself: there is nothing to wait for.
            return Ok(());
        }
        let first = std::mem::replace(&mut self.greeting, Greeting::Done) != Greeting::Done;
        if first {
            // What they do not limit is not limited.
            self.peer.max_streams = u32::MAX;
        }
        // Set once: a frame has room for 2,730 of them, and each would pass through all streams.
        let mut window = None;
        for [n0, n1, value @ ..] in settings {
            let (name, value) = (u16::from_be_bytes([*n0, *n1]), u32::from_be_bytes(*value));
            match name {
                setting::HEADER_TABLE_SIZE => self.encoder.set_limit(value as usize),
                setting::ENABLE_PUSH if value > u32::from(self.config.role == Role::Server) => {
                    return bad(Reason::PROTOCOL_ERROR);
                }
                setting::MAX_CONCURRENT_STREAMS => self.peer.max_streams = value,
                setting::INITIAL_WINDOW_SIZE if value > MAX_WINDOW => {
                    return bad(Reason::FLOW_CONTROL_ERROR);
                }
                setting::INITIAL_WINDOW_SIZE => window = Some(value),
                setting::MAX_FRAME_SIZE if !(MAX_PAYLOAD as u32..=LARGEST).contains(&value) => {
                    return bad(Reason::PROTOCOL_ERROR);
                }
                // No frame of ours is larger than all peers take.
                _ => {}
            }
        }
        if let Some(window) = window {
            self.set_window(window)?;
        }
        frame::settings_ack(self.out.buffer());
        self.answered()
    }

    /// All streams' windows change by as much (section 6.9.2).
    fn set_window(&mut self, window: u32) -> Result<(), Fault> {
        let too_large = Fault::Connection(Reason::FLOW_CONTROL_ERROR);
        let change = i64::from(window) - i64::from(self.peer.window);
        self.peer.window = window;
        for key in self.streams.keys() {
            let stream = &mut self.streams[key];
            stream.outflow.grow(change).map_err(|_| too_large)?;
            if change > 0 {
                stream.wake_writer();
            }
        }
        Ok(())
    }

    /// An answer waits to be written, which must not be one of too many.
    pub(super) fn answered(&mut self) -> Result<(), Fault> {
        let calm = Fault::Connection(Reason::ENHANCE_YOUR_CALM);
        self.answers.count().map_err(|_| calm)
    }
}
