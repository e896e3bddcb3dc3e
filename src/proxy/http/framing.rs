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
        if self.state == State::Head && self.head.lines == 0 {
            self.head.read_request_line(bytes);
        }
        self.line.extend(bytes);
    }

    fn end_line(&mut self) -> Option<Fault> {
        match self.state {
            State::Head => return self.end_head_line(),
            State::ChunkSize => {
                self.state = match self.line.chunk_size() {
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

    /// The size of the chunk that the line announces, in bytes.
    fn chunk_size(&self) -> Option<u64> {
        let text = self.text();
        let digits = text.iter().take_while(|byte| byte.is_ascii_hexdigit());
        let digits = std::str::from_utf8(&text[..digits.count()]).ok()?;
        u64::from_str_radix(digits, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The faults of a connection, read in pieces of every size: all the same.
    fn faults(bytes: &[u8]) -> Vec<Fault> {
        let read = |size| {
            let mut framing = Framing::default();
            let pieces = bytes.chunks(size);
            let found = pieces.filter_map(|piece| framing.follow(piece).fault);
            found.collect::<Vec<_>>()
        };
        let one_by_one = read(1);
        for size in 2..=bytes.len() {
            assert_eq!(read(size).first(), one_by_one.first(), "{size} at a time");
        }
        one_by_one
    }

    fn fault(head: u32, why: BadRequest) -> Option<Fault> {
        Some(Fault { head, why })
    }

    #[test]
    fn clean_messages_have_no_fault_whatever_their_bodies_hold() {
        let clean: [&[u8]; 7] = [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n\n\n\n\nGET / HTTP/1.1\r\n\r\n",
            b"POST / HTTP/1.1\r\ncontent-LENGTH:\t 4 \r\n\r\n\n\n\n\nGET / HTTP/1.1\r\n\r\n",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n2;a=b\r\n\n\n\r\n0\r\nA: b\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            b"GET /content-length:1 HTTP/1.1\r\nX-Content-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ];
        for bytes in clean {
            assert_eq!(faults(bytes), [], "{:?}", bytes.escape_ascii().to_string());
        }
    }

    #[test]
    fn a_bare_lf_is_a_fault_of_its_head_wherever_it_stands() {
        let heads: [&[u8]; 5] = [
            b"GET / HTTP/1.1\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\nB: c\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\n",
            b"GET / HTTP/1.1\nHost: a\n\n",
            b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ];
        for bytes in heads {
            let found = faults(bytes);
            assert_eq!(found.first().copied(), fault(1, BadRequest::BareLineFeed));
        }
    }

    #[test]
    fn two_lengths_are_a_fault_in_either_order() {
        for lengths in [
            "Content-Length: 4\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 4",
            "TRANSFER-encoding: chunked\r\nX: y\r\ncontent-length: 0",
            "Transfer-Encoding: gzip\r\nContent-Length: 4",
        ] {
            let request = format!("POST / HTTP/1.1\r\n{lengths}\r\n\r\n0\r\n\r\n");
            assert_eq!(
                faults(request.as_bytes()).first().copied(),
                fault(1, BadRequest::TwoLengths)
            );
        }
    }

    #[test]
    fn a_fragment_is_a_fault_and_a_hash_in_a_method_is_none() {
        let found = faults(b"GET /a?b#c HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(found.first().copied(), fault(1, BadRequest::Fragment));
        assert_eq!(faults(b"A#B /a HTTP/1.1\r\nX: #\r\n\r\n"), []);
    }

    #[test]
    fn a_repeated_length_is_a_fault_though_both_say_the_same() {
        let bytes = b"POST / HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(
            faults(bytes).first().copied(),
            fault(1, BadRequest::SeveralLengths)
        );
    }

    #[test]
    fn the_faulty_head_is_the_one_that_is_named() {
        let bytes = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc\
            POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
            GET / HTTP/1.1\n\r\n";
        assert_eq!(faults(bytes), [fault(3, BadRequest::BareLineFeed).unwrap()]);
    }

    /// Blanks before a value are endless; what is kept of a line is not.
    #[test]
    fn a_framing_field_that_is_cut_is_a_fault() {
        let blanks = " ".repeat(KEPT);
        let request = format!("POST / HTTP/1.1\r\nContent-Length:{blanks}5\r\n\r\n");
        assert_eq!(
            faults(request.as_bytes()).first().copied(),
            fault(1, BadRequest::Unreadable)
        );
    }

    /// What came before it is read on, however the bytes are cut: a request that was whole is
    /// answered.
    #[test]
    fn a_bare_lf_in_a_trailer_breaks_the_connection_there() {
        let before = b"GET / HTTP/1.1\r\n\r\n\
            POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b";
        let bytes = [&before[..], b"\nC: d\r\n\r\n"].concat();
        for size in 1..=bytes.len() {
            let mut framing = Framing::default();
            let pieces = bytes.chunks(size);
            let sound: usize = pieces.map(|piece| framing.follow(piece).sound).sum();
            assert_eq!(sound, before.len(), "{size} at a time");
        }
    }

    #[test]
    fn nothing_is_followed_beyond_what_hyper_refuses() {
        let mut framing = Framing::default();
        let bytes =
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nGET / HTTP/1.1\n\n";
        let found = framing.follow(bytes);
        assert_eq!((found.fault, found.sound), (None, bytes.len()));
        assert_eq!(framing.state, State::End);
    }
}
