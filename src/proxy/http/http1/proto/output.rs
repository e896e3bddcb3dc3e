use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes};

/// Smaller parts are copied behind each other, in bytes: a slice of a system call's costs more.
const COPIED: usize = 4 * 1024;
/// What waits to be written before no more is asked for, in bytes; and as much may have been written
/// before what waits moves up.
const FULL: usize = 64 * 1024;
/// A larger buffer is given back once it is empty, in bytes.
const KEPT: usize = 16 * 1024;
/// Slices of one system call.
pub const SLICES: usize = 16;

/// What is to be written: parts that stay where they are, and small ones in a row behind them.
#[derive(Debug, Default)]
pub struct Output {
    parts: VecDeque<Bytes>,
    /// Of `parts`, in bytes.
    in_parts: usize,
    row: Vec<u8>,
    /// Of `row`, what was written.
    written: usize,
}

impl Output {
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.row.len() == self.written
    }

    pub fn is_full(&self) -> bool {
        self.in_parts + self.row.len() - self.written >= FULL
    }

    /// Where small things are written.
    pub fn row(&mut self) -> &mut Vec<u8> {
        &mut self.row
    }

    pub fn push(&mut self, part: Bytes) {
        if part.len() < COPIED {
            self.row.extend_from_slice(&part);
            return;
        }
        if self.row.len() > self.written {
            let mut row = Bytes::from(std::mem::take(&mut self.row));
            row.advance(self.written);
            self.in_parts += row.len();
            self.parts.push_back(row);
        }
        self.row.clear();
        self.written = 0;
        self.in_parts += part.len();
        self.parts.push_back(part);
    }

    /// All in one piece, where it is that: most messages are.
    pub fn only_row(&self) -> Option<&[u8]> {
        self.parts.is_empty().then(|| &self.row[self.written..])
    }

    /// As much as fits, in its order; how many slices are filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES]) -> usize {
        let row = &self.row[self.written..];
        let parts = self.parts.iter().map(|part| &**part);
        let all = parts.chain((!row.is_empty()).then_some(row));
        let filled = slices.iter_mut().zip(all);
        filled
            .map(|(slice, part)| *slice = IoSlice::new(part))
            .count()
    }

    /// `n` bytes went out.
    pub fn advance(&mut self, mut n: usize) {
        while n > 0
            && let Some(part) = self.parts.front_mut()
        {
            let of_part = n.min(part.len());
            part.advance(of_part);
            self.in_parts -= of_part;
            n -= of_part;
            if part.is_empty() {
                self.parts.pop_front();
            }
        }
        self.written += n;
        if self.written == self.row.len() {
            self.written = 0;
            if self.row.capacity() > KEPT {
                self.row = Vec::new();
            }
            self.row.clear();
        } else if self.written >= FULL {
            // A peer that reads slowly, and never all there is.
            self.row.drain(..self.written);
            self.written = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reader_does_not_make_the_buffer_grow() {
        let mut output = Output::default();
        let (mut sent, mut read) = (0_u32, Vec::new());
        for _ in 0..1000 {
            while !output.is_full() {
                output.push(Bytes::copy_from_slice(&sent.to_be_bytes()));
                sent += 1;
            }
            // It takes less than there is, each time.
            let taken = output.only_row().expect("small parts")[..20_000].to_vec();
            output.advance(taken.len());
            read.extend(taken);
            assert!(
                output.row.capacity() <= 4 * FULL,
                "{}",
                output.row.capacity()
            );
        }
        let expected = (0..sent).flat_map(u32::to_be_bytes);
        assert!(read.iter().copied().eq(expected.take(read.len())));
    }
}
