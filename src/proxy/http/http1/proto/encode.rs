use std::mem;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, StatusCode, Version,
    header::{
        AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
        CONTENT_TYPE, COOKIE, EXPECT, HOST, MAX_FORWARDS, PROXY_AUTHORIZATION, RANGE, SET_COOKIE,
        TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    },
};

use super::{Error, Output, Spelling, spelling::Names};

/// A message's first line.
pub enum Line<'a> {
    Request {
        method: &'a str,
        target: &'a str,
        version: Version,
    },
    Response {
        status: StatusCode,
        version: Version,
    },
}

/// The fields of a head as it is written. Those that frame its body are the [`Encoder`]'s to say.
pub struct Fields<'a> {
    pub headers: &'a HeaderMap,
    /// Of the headers, those that are not written.
    pub without: &'a [HeaderName],
    /// Written behind the headers.
    pub with: Option<(&'a HeaderName, &'a [u8])>,
    /// Names are written as in here, where they occur.
    pub spelling: Option<&'a Spelling>,
}

impl Fields<'_> {
    /// Writes a head whose body is written by `body`.
    pub fn write(&self, line: &Line<'_>, body: &Encoder, out: &mut Output) {
        let out = out.row();
        write_line(out, line, self.spelling);
        let mut names = self.spelling.map(Spelling::names);
        let mut length = body.length();
        let mut cookies_written = false;
        for (name, value) in self.headers {
            if *name == CONTENT_LENGTH {
                // Where it stood, and once.
                if let Some(length) = length.take() {
                    write_name(out, name, names.as_mut());
                    write_number::<10>(length, out);
                    out.extend_from_slice(CRLF);
                }
            } else if *name == COOKIE {
                if !mem::replace(&mut cookies_written, true) {
                    write_name(out, name, names.as_mut());
                    self.write_cookies(out);
                }
            } else if *name != TRANSFER_ENCODING && !self.without.contains(name) {
                write_name(out, name, names.as_mut());
                write_value(out, value.as_bytes());
            }
        }
        if let Some(length) = length {
            write_name(out, &CONTENT_LENGTH, None);
            write_number::<10>(length, out);
            out.extend_from_slice(CRLF);
        }
        if let Encoder::Chunked = body {
            write_name(out, &TRANSFER_ENCODING, names.as_mut());
            write_value(out, b"chunked");
        }
        if let Some((name, value)) = self.with {
            write_name(out, name, names.as_mut());
            write_value(out, value);
        }
        out.extend_from_slice(CRLF);
    }

    /// In one line, into however many HTTP/2 has cut it (RFC 9113, section 8.2.3).
    fn write_cookies(&self, out: &mut Vec<u8>) {
        for (at, line) in self.headers.get_all(COOKIE).iter().enumerate() {
            let between: &[u8] = if at == 0 { b"" } else { b"; " };
            out.extend_from_slice(between);
            out.extend_from_slice(line.as_bytes());
        }
        out.extend_from_slice(CRLF);
    }
}

const CRLF: &[u8] = b"\r\n";

fn write_name(out: &mut Vec<u8>, name: &HeaderName, spelled: Option<&mut Names<'_>>) {
    let spelled = spelled.and_then(|names| names.find(name));
    out.extend_from_slice(spelled.unwrap_or(name.as_str().as_bytes()));
    out.extend_from_slice(b": ");
}

fn write_value(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(value);
    out.extend_from_slice(CRLF);
}

/// In digits, without a sign.
fn write_number<const RADIX: u64>(mut number: u64, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // As many as the largest has in decimal.
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = DIGITS[(number % RADIX) as usize];
        number /= RADIX;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn write_line(out: &mut Vec<u8>, line: &Line<'_>, spelling: Option<&Spelling>) {
    let text = |version: Version| match version {
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    };
    let words: [&[u8]; 5] = match line {
        Line::Request {
            method,
            target,
            version,
        } => [
            method.as_bytes(),
            b" ",
            target.as_bytes(),
            b" ",
            text(*version).as_bytes(),
        ],
        Line::Response { status, version } => {
            let phrase = spelling.and_then(|spelling| spelling.reason(status.as_str()));
            let known = || status.canonical_reason().unwrap_or_default().as_bytes();
            [
                text(*version).as_bytes(),
                b" ",
                status.as_str().as_bytes(),
                b" ",
                phrase.unwrap_or_else(known),
            ]
        }
    };
    words.iter().for_each(|word| out.extend_from_slice(word));
    out.extend_from_slice(CRLF);
}

/// Writes a body as its head announced it.
#[derive(Debug)]
pub enum Encoder {
    /// Nothing is written, whatever comes; this is what the head says of what would have been.
    None(Option<u64>),
    /// This many bytes are missing.
    Exact(u64),
    Chunked,
    UntilClose,
}

impl Encoder {
    /// What the head says of the length, in bytes.
    fn length(&self) -> Option<u64> {
        match self {
            Encoder::None(length) => *length,
            Encoder::Exact(length) => Some(*length),
            Encoder::Chunked | Encoder::UntilClose => None,
        }
    }

    /// # Errors
    /// When it is more than was announced: the reader would take the rest for another message.
    pub fn data(&mut self, data: Bytes, out: &mut Output) -> Result<(), Error> {
        if data.is_empty() {
            return Ok(());
        }
        match self {
            Encoder::None(_) => {}
            Encoder::UntilClose => out.push(data),
            Encoder::Exact(left) => {
                let more = left.checked_sub(data.len() as u64);
                *left = more.ok_or(Error::OtherLength)?;
                out.push(data);
            }
            Encoder::Chunked => {
                let size = out.row();
                write_number::<16>(data.len() as u64, size);
                size.extend_from_slice(CRLF);
                out.push(data);
                out.row().extend_from_slice(CRLF);
            }
        }
        Ok(())
    }

    /// # Errors
    /// When something is missing.
    pub fn end(&mut self, trailers: Option<&HeaderMap>, out: &mut Output) -> Result<(), Error> {
        match self {
            Encoder::Exact(1..) => return Err(Error::OtherLength),
            Encoder::Chunked => {
                let out = out.row();
                out.extend_from_slice(b"0\r\n");
                let fields = trailers.into_iter().flatten();
                for (name, value) in fields.filter(|(name, _)| may_trail(name)) {
                    write_name(out, name, None);
                    write_value(out, value.as_bytes());
                }
                out.extend_from_slice(CRLF);
            }
            Encoder::None(_) | Encoder::Exact(0) | Encoder::UntilClose => {}
        }
        Ok(())
    }
}

/// What a head decides stays there (RFC 9110, section 6.5.1), and what concerns a connection or is
/// the mesh's own word.
pub(super) fn may_trail(name: &HeaderName) -> bool {
    static NEVER: [HeaderName; 20] = [
        AUTHORIZATION,
        CACHE_CONTROL,
        CONNECTION,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_RANGE,
        CONTENT_TYPE,
        COOKIE,
        EXPECT,
        HOST,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        MAX_FORWARDS,
        PROXY_AUTHORIZATION,
        RANGE,
        SET_COOKIE,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ];
    !NEVER.contains(name) && !name.as_str().starts_with("outrigger-")
}
