//! Reads an HTTP/1 client's bytes along with hyper, to refuse what hyper would repair unseen: a
//! line that ends in a bare LF, Content-Length twice or beside Transfer-Encoding, a fragment in the
//! target. RFC 9112 (2.2, 3.2, 6.3) allows the repair and names the danger: what stands before us
//! may have read it otherwise.
//!
//! hyper does not tell where in its buffer a head begins, so bodies are followed here too. Nothing
//! but a refusal depends on that: no byte is changed, and where this reading is at its end, so is
//! the connection.

use std::io;

use memchr::memchr;

use crate::proxy::head::BadRequest;

/// The bytes of a line that are kept: the two fields that frame a message fit, with blanks.
const KEPT: usize = 64;

/// What is wrong with a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The first head of the connection is 1.
    pub head: u32,
    pub why: BadRequest,
}

/// What was found in the bytes of one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The first head in them that is to be refused.
    pub fault: Option<Fault>,
    /// How many of them may be read on. Not all where a trailer's line ends in a bare LF: its
    /// request is under way, and only breaking the connection is left.
    pub sound: usize,
}

/// Where in a connection's bytes the reading is.
#[derive(Debug, Default)]
pub struct Framing {
    state: State,
    line: Line,
    size: ChunkSize,
    /// Heads that are whole.
    heads: u32,
    head: Head,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    /// This many bytes of a body with a length are missing.
    Body(u64),
    ChunkSize,
    /// This many bytes of a chunk are missing, the CRLF after it included.
    Chunk(u64),
    Trailers,
    /// hyper refuses what came here.
    End,
    /// Nothing is to be read from here on.
    Broken,
}

/// What the lines of a head have said so far.
#[derive(Debug, Default)]
struct Head {
    lines: usize,
    in_target: bool,
    fragment: bool,
    bare_lf: bool,
    length: Option<u64>,
    repeated: bool,
    encoded: bool,
    chunked: bool,
    unreadable: bool,
}

impl Framing {
    /// Fails once nothing more is to be read, also where nothing more comes.
    pub fn check(&self) -> io::Result<()> {
        if self.state != State::Broken {
            return Ok(());
        }
        let why = "a trailer's line ends in a bare LF";
        Err(io::Error::new(io::ErrorKind::InvalidData, why))
    }

    /// Follows `bytes`, which come after those that it followed before.
    pub fn follow(&mut self, bytes: &[u8]) -> Found {
        let (mut at, mut fault) = (0, None);
        while at < bytes.len() && self.state != State::End {
            if self.state == State::Broken {
                return Found { fault, sound: at };
            }
            let rest = &bytes[at..];
            at += match &mut self.state {
                State::Body(left) | State::Chunk(left) => {
                    let n = usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                    *left -= n as u64;
                    if *left == 0 {
                        let in_chunk = matches!(self.state, State::Chunk(_));
                        self.state = if in_chunk {
                            State::ChunkSize
                        } else {
                            State::Head
                        };
                    }
                    n
                }
                _ => match memchr(b'\n', rest) {
                    None => {
                        self.extend_line(rest);
                        rest.len()
                    }
                    Some(n) => {
                        self.extend_line(&rest[..n]);
                        fault = fault.or(self.end_line());
                        self.line.clear();
                        // What breaks a connection is its last byte, and not read itself.
                        n + usize::from(self.state != State::Broken)
                    }
                },
            };
        }
        Found {
            fault,
            sound: bytes.len(),
        }
    }

    fn extend_line(&mut self, bytes: &[u8]) {
        match self.state {
            State::Head if self.head.lines == 0 => self.head.read_request_line(bytes),
            State::ChunkSize => self.size.read(bytes),
            _ => {}
        }
        self.line.extend(bytes);
    }

    fn end_line(&mut self) -> Option<Fault> {
        match self.state {
            State::Head => return self.end_head_line(),
            State::ChunkSize => {
                self.state = match std::mem::take(&mut self.size).value {
                    Some(0) => State::Trailers,
                    Some(size) => size.checked_add(2).map_or(State::End, State::Chunk),
                    None => State::End,
                };
            }
            State::Trailers if !self.line.ends_in_cr() => self.state = State::Broken,
            State::Trailers if self.line.is_empty() => self.state = State::Head,
            _ => {}
        }
        None
    }

    fn end_head_line(&mut self) -> Option<Fault> {
        self.head.bare_lf |= !self.line.ends_in_cr();
        if !self.line.is_empty() {
            if self.head.lines > 0 {
                self.head.read(&self.line);
            }
            self.head.lines += 1;
            return None;
        }
        // Empty lines before a request are skipped (RFC 9112 2.2).
        if self.head.lines == 0 {
            return None;
        }
        let head = std::mem::take(&mut self.head);
        self.heads += 1;
        self.state = head.body();
        let why = head.fault()?;
        Some(Fault {
            head: self.heads,
            why,
        })
    }
}

impl Head {
    /// `#` may be part of a method.
    fn read_request_line(&mut self, mut piece: &[u8]) {
        if !self.in_target {
            let Some(blank) = memchr(b' ', piece) else {
                return;
            };
            self.in_target = true;
            piece = &piece[blank..];
        }
        self.fragment |= memchr(b'#', piece).is_some();
    }

    fn read(&mut self, line: &Line) {
        let text = line.text();
        let Some(colon) = text.iter().position(|byte| *byte == b':') else {
            return;
        };
        let (name, value) = (&text[..colon], text[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let digits = std::str::from_utf8(value).ok();
            let length = digits.and_then(|digits| digits.parse().ok());
            self.unreadable |= line.is_cut() || length.is_none();
            self.repeated |= self.length.is_some();
            self.length = Some(length.unwrap_or(0));
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.unreadable |= line.is_cut();
            self.encoded = true;
            self.chunked = value.eq_ignore_ascii_case(b"chunked");
        }
    }

    /// Where the message goes on. Whatever is not framed in one of these ways is answered 400 by
    /// hyper or by `head::validate`, and its connection closed.
    fn body(&self) -> State {
        match (self.encoded, self.chunked, self.length) {
            (true, true, _) => State::ChunkSize,
            (true, false, _) => State::End,
            (false, _, Some(length @ 1..)) => State::Body(length),
            (false, ..) => State::Head,
        }
    }

    fn fault(&self) -> Option<BadRequest> {
        if self.bare_lf {
            Some(BadRequest::BareLineFeed)
        } else if self.encoded && self.length.is_some() {
            Some(BadRequest::TwoLengths)
        } else if self.repeated {
            Some(BadRequest::SeveralLengths)
        } else if self.fragment {
            Some(BadRequest::Fragment)
        } else if self.unreadable {
            Some(BadRequest::Unreadable)
        } else {
            None
        }
    }
}

/// A line as far as it has come: its beginning, and its last byte.
#[derive(Debug)]
struct Line {
    kept: [u8; KEPT],
    len: usize,
    last: Option<u8>,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            kept: [0; KEPT],
            len: 0,
            last: None,
        }
    }
}

impl Line {
    fn clear(&mut self) {
        (self.len, self.last) = (0, None);
    }

    fn extend(&mut self, bytes: &[u8]) {
        if self.len < KEPT {
            let n = bytes.len().min(KEPT - self.len);
            self.kept[self.len..self.len + n].copy_from_slice(&bytes[..n]);
        }
        self.len = self.len.saturating_add(bytes.len());
        self.last = bytes.last().copied().or(self.last);
    }

    fn ends_in_cr(&self) -> bool {
        self.last == Some(b'\r')
    }

    fn is_cut(&self) -> bool {
        self.len > KEPT
    }

    /// Its beginning, without the CR at its end.
    fn text(&self) -> &[u8] {
        let kept = &self.kept[..self.len.min(KEPT)];
        kept.strip_suffix(b"\r").unwrap_or(kept)
    }

    fn is_empty(&self) -> bool {
        self.text().is_empty()
    }
}

/// The size that a chunk's line announces, as far as the line has come. Zeros before it are without
/// a bound, as they are to hyper.
#[derive(Debug, Default)]
struct ChunkSize {
    /// In bytes. `None` without a digit, and where it does not fit: hyper refuses both.
    value: Option<u64>,
    ended: bool,
}

impl ChunkSize {
    fn read(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.ended {
                return;
            }
            let Some(digit) = char::from(*byte).to_digit(16) else {
                self.ended = true;
                return;
            };
            let more = self.value.unwrap_or(0).checked_mul(16);
            self.value = more.and_then(|value| value.checked_add(digit.into()));
            self.ended = self.value.is_none();
        }
    }
}

#[cfg(test)]
mod tests;
