//! HTTP/2 frames by hand: what no library would send.

use std::{io, net::SocketAddr};

use super::Wire;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;

pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// A GET for `/` of `app.test` in HPACK: three entries of the static table and one literal.
pub const GET: &[u8] = b"\x82\x86\x84\x01\x08app.test";

#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub payload: Vec<u8>,
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame's payload is small");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A literal header that enters no table.
pub fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        bytes.push(
            u8::try_from(text.len())
                .ok()
                .filter(|n| *n < 127)
                .expect("a short text"),
        );
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// A client connection that has said its preface.
pub struct Http2 {
    pub wire: Wire,
}

impl Http2 {
    pub fn connect(addr: SocketAddr) -> Self {
        Self::over(Wire::connect(addr))
    }

    /// On a connection on which nothing was said.
    pub fn over(mut wire: Wire) -> Self {
        wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        wire.send(frame(SETTINGS, 0, 0, &[]));
        Self { wire }
    }

    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        self.wire.try_send(frame(kind, flags, stream, payload))
    }

    /// The next frame; settings and pings are acknowledged on the way.
    pub fn next(&mut self) -> io::Result<Frame> {
        let head = self.wire.try_take(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let payload = self.wire.try_take(length as usize)?;
        let frame = Frame {
            kind: head[3],
            flags: head[4],
            payload,
        };
        if matches!(frame.kind, SETTINGS | PING) && frame.flags & ACK == 0 {
            let echoed = if frame.kind == PING {
                &frame.payload[..]
            } else {
                &[]
            };
            self.send(frame.kind, ACK, 0, echoed)?;
        }
        Ok(frame)
    }

    /// The next frame of a kind.
    pub fn next_of(&mut self, kind: u8) -> io::Result<Frame> {
        loop {
            let frame = self.next()?;
            if frame.kind == kind {
                return Ok(frame);
            }
        }
    }
}
