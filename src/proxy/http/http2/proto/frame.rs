//! Frames (RFC 9113, sections 4 and 6): their heads, and what each kind must look like by itself.

use super::error::Reason;

pub const HEAD: usize = 9;
/// The largest payload that we take, and that any peer takes (`SETTINGS_MAX_FRAME_SIZE`'s default).
pub const MAX_PAYLOAD: usize = 16_384;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

pub mod flag {
    pub const ACK: u8 = 1;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PADDED: u8 = 8;
    pub const PRIORITY: u8 = 0x20;
}

pub mod setting {
    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const ENABLE_PUSH: u16 = 2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    pub const MAX_FRAME_SIZE: u16 = 5;
    pub const MAX_HEADER_LIST_SIZE: u16 = 6;
}

/// The highest bit of stream identifiers, windows and increments is reserved, and ignored.
const RESERVED: u32 = 1 << 31;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Of the payload, in bytes.
    pub length: usize,
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
}

impl Head {
    /// None where it is not whole.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let [l0, l1, l2, kind, flags, stream @ ..] = bytes.first_chunk::<HEAD>()?;
        Some(Self {
            length: u32::from_be_bytes([0, *l0, *l1, *l2]) as usize,
            kind: *kind,
            flags: *flags,
            stream: u32::from_be_bytes(*stream) & !RESERVED,
        })
    }

    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Appends a frame's head; the payload follows.
pub fn head(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    out.extend_from_slice(&head_bytes(length, kind, flags, stream));
}

pub fn head_bytes(length: usize, kind: u8, flags: u8, stream: u32) -> [u8; HEAD] {
    debug_assert!(length <= MAX_PAYLOAD, "a frame of {length} bytes");
    let [_, l0, l1, l2] = (length as u32).to_be_bytes();
    let [s0, s1, s2, s3] = stream.to_be_bytes();
    [l0, l1, l2, kind, flags, s0, s1, s2, s3]
}

/// A frame whose payload is one number.
fn number(out: &mut Vec<u8>, kind: u8, stream: u32, number: u32) {
    head(out, 4, kind, 0, stream);
    out.extend_from_slice(&number.to_be_bytes());
}

pub fn reset(out: &mut Vec<u8>, stream: u32, reason: Reason) {
    number(out, kind::RST_STREAM, stream, reason.0);
}

pub fn window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    number(out, kind::WINDOW_UPDATE, stream, increment);
}

pub fn ping(out: &mut Vec<u8>, flags: u8, payload: &[u8; 8]) {
    head(out, 8, kind::PING, flags, 0);
    out.extend_from_slice(payload);
}

pub fn go_away(out: &mut Vec<u8>, last: u32, reason: Reason) {
    head(out, 8, kind::GOAWAY, 0, 0);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&reason.0.to_be_bytes());
}

pub fn settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    head(out, settings.len() * 6, kind::SETTINGS, 0, 0);
    for (name, value) in settings {
        out.extend_from_slice(&name.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

pub fn settings_ack(out: &mut Vec<u8>) {
    head(out, 0, kind::SETTINGS, flag::ACK, 0);
}

/// The payload of a frame that has always as much of it.
///
/// # Errors
/// `FRAME_SIZE_ERROR` where it has not.
pub fn exact<const N: usize>(payload: &[u8]) -> Result<&[u8; N], Reason> {
    payload.try_into().map_err(|_| Reason::FRAME_SIZE_ERROR)
}

/// A payload without its padding (section 6.1).
///
/// # Errors
/// When there is more padding than payload: PROTOCOL_ERROR.
pub fn without_padding<'a>(head: &Head, payload: &'a [u8]) -> Result<&'a [u8], Reason> {
    if !head.has(flag::PADDED) {
        return Ok(payload);
    }
    let (length, rest) = payload.split_first().ok_or(Reason::FRAME_SIZE_ERROR)?;
    let left = rest.len().checked_sub(usize::from(*length));
    left.map(|left| &rest[..left]).ok_or(Reason::PROTOCOL_ERROR)
}

/// What a PRIORITY frame, or the beginning of a HEADERS frame, says that its stream depends on.
pub fn dependency(priority: &[u8; 5]) -> u32 {
    let [stream @ .., _weight] = *priority;
    u32::from_be_bytes(stream) & !RESERVED
}

/// A window's increment (section 6.9).
pub fn increment(payload: &[u8; 4]) -> u32 {
    u32::from_be_bytes(*payload) & !RESERVED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_is_written() {
        let mut out = Vec::new();
        head(&mut out, 0x3456, kind::DATA, flag::END_STREAM, 0x7654_3210);
        let read = Head {
            length: 0x3456,
            kind: 0,
            flags: 1,
            stream: 0x7654_3210,
        };
        assert_eq!(Head::read(&out), Some(read));
        out[5] |= 0x80;
        assert_eq!(Head::read(&out), Some(read), "the reserved bit");
        assert_eq!(Head::read(&out[..8]), None);
    }

    #[test]
    fn padding_is_taken_off_and_never_more_than_there_is() {
        let padded = Head {
            length: 0,
            kind: kind::DATA,
            flags: flag::PADDED,
            stream: 1,
        };
        let taken = |payload: &'static [u8]| without_padding(&padded, payload);
        assert_eq!(taken(b"\x02abcd"), Ok(&b"ab"[..]));
        assert_eq!(taken(b"\x04abcd"), Ok(&b""[..]));
        assert_eq!(taken(b"\x05abcd"), Err(Reason::PROTOCOL_ERROR));
        assert_eq!(taken(b""), Err(Reason::FRAME_SIZE_ERROR));
    }
}
