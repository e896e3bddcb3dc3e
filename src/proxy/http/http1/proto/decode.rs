use std::mem;

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use memchr::memchr;

use super::{
    Error, Length, MAX_HEAD,
    head::{self, Found, Search},
};

/// The lines that announce chunks may have this much beside their sizes in one body, in bytes.
const MAX_EXTENSIONS: usize = 16 * 1024;
/// A line with a size.
const MAX_SIZE_LINE: usize = 4 * 1024;

/// Reads a body out of a connection's bytes.
#[derive(Debug)]
pub struct Decoder(State);

#[derive(Debug)]
enum State {
    /// This many bytes are missing.
    Exact(u64),
    Chunked {
        at: Chunk,
        /// Bytes in lines that were not their sizes.
        extensions: usize,
    },
    UntilClose,
    Done,
}

#[derive(Debug)]
enum Chunk {
    Size,
    /// This many bytes are missing.
    Data(u64),
    /// The CRLF behind the data.
    End,
    Trailers(Search),
}

/// What was read.
#[derive(Debug)]
pub enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
    /// Nothing: the body is over.
    End,
    /// Nothing, before more bytes have come.
    Missing,
}

impl Decoder {
    pub fn new(length: Length) -> Self {
        Self(match length {
            Length::Empty => State::Done,
            Length::Exact(length) => State::Exact(length),
            Length::UntilClose => State::UntilClose,
            Length::Chunked => State::Chunked {
                at: Chunk::Size,
                extensions: 0,
            },
        })
    }

    /// Whether all of it was read.
    pub fn is_done(&self) -> bool {
        matches!(self.0, State::Done)
    }

    /// What is still to come, in bytes, where that is known.
    pub fn left(&self) -> Option<u64> {
        match self.0 {
            State::Exact(left) => Some(left),
            State::Done => Some(0),
            State::Chunked { .. } | State::UntilClose => None,
        }
    }

    /// Takes the next piece out of `read`.
    ///
    /// # Errors
    /// When the body is malformed; then nothing behind it can be read either.
    pub fn next(&mut self, read: &mut BytesMut) -> Result<Piece, Error> {
        match &mut self.0 {
            State::Done => Ok(Piece::End),
            State::UntilClose if read.is_empty() => Ok(Piece::Missing),
            State::UntilClose => Ok(Piece::Data(read.split().freeze())),
            State::Exact(left) => {
                let Some(data) = take(left, read) else {
                    return Ok(Piece::Missing);
                };
                if *left == 0 {
                    self.0 = State::Done;
                }
                Ok(Piece::Data(data))
            }
            State::Chunked { at, extensions } => {
                let piece = at.next(extensions, read)?;
                let last = match &piece {
                    Piece::Data(_) => at.end_at_once(read),
                    Piece::Trailers(_) | Piece::End => true,
                    Piece::Missing => false,
                };
                if last {
                    self.0 = State::Done;
                }
                Ok(piece)
            }
        }
    }

    /// The connection has ended.
    ///
    /// # Errors
    /// When the body has not.
    pub fn close(&mut self) -> Result<(), Error> {
        match mem::replace(&mut self.0, State::Done) {
            State::Done | State::UntilClose => Ok(()),
            State::Exact(_) | State::Chunked { .. } => Err(Error::Incomplete),
        }
    }
}

/// As much as there is of the bytes that are `left`.
fn take(left: &mut u64, read: &mut BytesMut) -> Option<Bytes> {
    let n = usize::try_from(*left).map_or(read.len(), |left| left.min(read.len()));
    if n == 0 {
        return None;
    }
    *left -= n as u64;
    Some(read.split_to(n).freeze())
}

impl Chunk {
    fn next(&mut self, extensions: &mut usize, read: &mut BytesMut) -> Result<Piece, Error> {
        loop {
            match self {
                Chunk::Size => {
                    let Some(line) = size_line(read)? else {
                        return Ok(Piece::Missing);
                    };
                    let (size, beside) = size(&line)?;
                    *extensions += beside;
                    if *extensions > MAX_EXTENSIONS {
                        return Err(Error::Malformed("too much beside the sizes of chunks"));
                    }
                    *self = match size {
                        0 => Chunk::Trailers(Search::default()),
                        size => Chunk::Data(size),
                    };
                }
                Chunk::Data(left) => {
                    let Some(data) = take(left, read) else {
                        return Ok(Piece::Missing);
                    };
                    if *left == 0 {
                        *self = Chunk::End;
                    }
                    return Ok(Piece::Data(data));
                }
                Chunk::End => match read[..] {
                    [b'\r', b'\n', ..] => {
                        read.advance(2);
                        *self = Chunk::Size;
                    }
                    [] | [b'\r'] => return Ok(Piece::Missing),
                    _ => return Err(Error::Malformed("a chunk is longer than its size")),
                },
                Chunk::Trailers(search) => return trailers(search, read),
            }
        }
    }

    /// Whether nothing follows the data but the end, which it takes.
    fn end_at_once(&self, read: &mut BytesMut) -> bool {
        const END: &[u8] = b"\r\n0\r\n\r\n";
        let ends = matches!(self, Chunk::End) && read.starts_with(END);
        if ends {
            read.advance(END.len());
        }
        ends
    }
}

/// Up to its CRLF, which is left out.
fn size_line(read: &mut BytesMut) -> Result<Option<BytesMut>, Error> {
    let end = memchr(b'\n', read);
    if end.unwrap_or(read.len()) > MAX_SIZE_LINE {
        return Err(Error::Malformed("a chunk's size is too long"));
    }
    let Some(end) = end else { return Ok(None) };
    let mut line = read.split_to(end + 1);
    line.truncate(end);
    if line.last() != Some(&b'\r') {
        return Err(Error::Malformed("a chunk's size ends in LF without CR"));
    }
    line.truncate(end - 1);
    Ok(Some(line))
}

/// The size that a line says, and the length of the rest of it.
fn size(line: &[u8]) -> Result<(u64, usize), Error> {
    const MALFORMED: Error = Error::Malformed("a chunk's size");
    let mut size = 0u64;
    let mut digits = 0;
    for byte in line {
        let Some(digit) = char::from(*byte).to_digit(16) else {
            break;
        };
        // Zeros before it are without a bound but the line's.
        size = size.checked_mul(16).ok_or(MALFORMED)? | u64::from(digit);
        digits += 1;
    }
    let blanks = line[digits..].iter().take_while(|it| b" \t".contains(it));
    let extensions = &line[digits + blanks.count()..];
    let begins = matches!(extensions, [] | [b';', ..]);
    let printable = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
    if digits == 0 || !begins || !extensions.iter().all(printable) {
        return Err(MALFORMED);
    }
    Ok((size, line.len() - digits))
}

fn trailers(search: &mut Search, read: &mut BytesMut) -> Result<Piece, Error> {
    // Without any, the section is the empty line that would end it.
    if search.is_new() {
        match read[..] {
            [b'\r', b'\n', ..] => {
                read.advance(2);
                return Ok(Piece::End);
            }
            [] | [b'\r'] => return Ok(Piece::Missing),
            _ => {}
        }
    }
    let found = search.go_on(read)?;
    if search.had_bare_lf() {
        return Err(Error::Malformed("a trailer's line ends in LF without CR"));
    }
    match found {
        Found::Head(end) => {
            let section = read.split_to(end).freeze();
            Ok(Piece::Trailers(head::trailers(&section)?))
        }
        Found::Line | Found::Nothing if read.len() < MAX_HEAD => Ok(Piece::Missing),
        Found::Line | Found::Nothing => Err(Error::HeadTooLarge),
    }
}
