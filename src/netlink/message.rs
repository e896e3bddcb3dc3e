//! One netlink request: a header, the family's fixed part, then attributes, each padded to four
//! bytes (`linux/netlink.h`).

const HEADER: usize = 16;
const NESTED: u16 = 1 << 15;

/// The `NLM_F_*` flags used here.
pub mod flags {
    pub const REQUEST: u16 = 0x1;
    pub const ACK: u16 = 0x4;
    /// Refuses an object that exists.
    pub const EXCL: u16 = 0x200;
    pub const CREATE: u16 = 0x400;
    pub const APPEND: u16 = 0x800;
}

/// A request under construction; its length and sequence number are set when it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A request of the given kind; [`flags::REQUEST`] is implied.
    pub fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | flags::REQUEST).to_ne_bytes());
        Self { bytes }
    }

    /// Asks the kernel to say when it is done, not only when it refuses.
    #[must_use]
    pub fn acknowledged(mut self) -> Self {
        let flags = self.flags() | flags::ACK;
        self.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        self
    }

    /// Appends the family's fixed part.
    #[must_use]
    pub fn fixed(mut self, part: &[u8]) -> Self {
        self.bytes.extend_from_slice(part);
        self.pad();
        self
    }

    /// Appends an attribute.
    #[must_use]
    pub fn attr(self, kind: u16, payload: &[u8]) -> Self {
        self.within(kind, |mut message| {
            message.bytes.extend_from_slice(payload);
            message
        })
    }

    /// Appends a text attribute, which the kernel wants to end in NUL.
    #[must_use]
    pub fn text(self, kind: u16, text: &str) -> Self {
        self.attr(kind, &[text.as_bytes(), &[0]].concat())
    }

    /// Appends an attribute that holds what `fill` appends.
    #[must_use]
    pub fn nested(self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        self.within(kind | NESTED, fill)
    }

    fn within(mut self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self = fill(self);
        // The length leaves the padding out.
        let len = u16::try_from(self.bytes.len() - start).expect("attributes are short");
        self.bytes[start..start + 2].copy_from_slice(&len.to_ne_bytes());
        self.pad();
        self
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// The finished request.
    pub(super) fn finish(mut self, sequence: u32) -> Vec<u8> {
        let len = u32::try_from(self.bytes.len()).expect("requests are short");
        self.bytes[..4].copy_from_slice(&len.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }

    pub(super) fn wants_ack(&self) -> bool {
        self.flags() & flags::ACK != 0
    }

    fn flags(&self) -> u16 {
        u16::from_ne_bytes([self.bytes[6], self.bytes[7]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_their_lengths_are_not() {
        let bytes = Message::new(0x10, flags::ACK)
            .fixed(&[9])
            .nested(1, |m| m.text(2, "lo").attr(3, &[7; 4]))
            .finish(5);
        let len = bytes.len() as u32;
        assert_eq!(len % 4, 0);
        assert_eq!(bytes[..4], len.to_ne_bytes());
        assert_eq!(bytes[4..6], 0x10u16.to_ne_bytes());
        assert_eq!(bytes[6..8], 0x5u16.to_ne_bytes());
        assert_eq!(bytes[8..12], 5u32.to_ne_bytes());
        assert_eq!(bytes[16..20], [9, 0, 0, 0]);
        assert_eq!(bytes[20..22], 20u16.to_ne_bytes(), "nested: 4 + 8 + 8");
        assert_eq!(bytes[22..24], 0x8001u16.to_ne_bytes());
        assert_eq!(bytes[24..26], 7u16.to_ne_bytes(), "text: 4 + 2 + NUL");
        assert_eq!(bytes[28..32], *b"lo\0\0");
        assert_eq!(bytes[32..34], 8u16.to_ne_bytes());
    }
}
