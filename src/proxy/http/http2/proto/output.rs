//! What is to be written: gathered while a connection is polled, so that it leaves in one system
//! call, and over TLS in as few records as it fits into.

/// With so many bytes waiting no body goes on: four full TLS records.
pub const FULL: usize = 64 * 1024;
/// With so many no head does.
pub const OVERFULL: usize = 4 * FULL;
/// A larger buffer is given back once it is empty, in bytes: a quiet connection costs no memory.
const KEPT: usize = 16 * 1024;

#[derive(Default)]
pub struct Output {
    bytes: Vec<u8>,
    /// How many of them are written.
    written: usize,
}

impl Output {
    pub fn pending(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    pub fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the buffer holds on to, in bytes, more than it may.
    #[cfg(test)]
    pub fn kept(&self) -> usize {
        self.bytes.capacity().saturating_sub(KEPT)
    }

    /// Where frames are appended.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The same, before `bytes` of a body. Where there are many, more will come.
    pub fn room_for(&mut self, bytes: usize) -> &mut Vec<u8> {
        let spare = self.bytes.capacity() - self.bytes.len();
        if spare < bytes {
            let whole = if bytes > KEPT / 2 { FULL } else { 0 };
            self.bytes.reserve(whole + bytes);
        }
        &mut self.bytes
    }

    /// `bytes` of what was pending are written.
    pub fn advance(&mut self, bytes: usize) {
        self.written += bytes;
        if self.written < self.bytes.len() {
            // A peer that reads slowly must not make the buffer grow with what it has read.
            if self.written >= FULL {
                self.bytes.drain(..self.written);
                self.written = 0;
            }
            return;
        }
        self.written = 0;
        if self.bytes.capacity() > KEPT {
            self.bytes = Vec::new();
        } else {
            self.bytes.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reader_does_not_make_the_buffer_grow() {
        let mut output = Output::default();
        output.buffer().extend([1; 10]);
        for byte in 0..100_u8 {
            output.room_for(FULL).extend([byte; FULL]);
            let next = output.pending()[..10].to_vec();
            output.advance(FULL);
            assert_eq!(output.len(), 10);
            assert!(output.buffer().capacity() <= 4 * FULL);
            let before = byte.saturating_sub(1);
            assert_eq!(next, [if byte == 0 { 1 } else { before }; 10]);
        }
        output.advance(10);
        assert_eq!(output.kept(), 0);
    }
}
