use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode, Version,
    header::{
        AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
        CONTENT_TYPE, COOKIE, EXPECT, HOST, MAX_FORWARDS, PROXY_AUTHORIZATION, RANGE, SET_COOKIE,
        TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    },
};

use super::{Error, Output, Spelling};

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

/// Writes a head. Of `headers` those in `without` stay out; `with` comes behind them. Names are
/// written as in `spelling` where they occur there.
pub fn write_head<'a>(
    out: &mut Output,
    line: &Line<'_>,
    headers: &HeaderMap,
    without: &[HeaderName],
    with: impl IntoIterator<Item = (&'a HeaderName, &'a [u8])>,
    spelling: Option<&Spelling>,
) {
    let out = out.row();
    write_line(out, line, spelling);
    let mut names = spelling.map(Spelling::names);
    let mut field = |name: &HeaderName, value: &[u8]| {
        let spelled = names.as_mut().and_then(|names| names.find(name));
        out.extend_from_slice(spelled.unwrap_or(name.as_str().as_bytes()));
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    };
    let mut cookies_written = false;
    for (name, value) in headers {
        if *name == COOKIE {
            // In one line, into however many HTTP/2 has cut it (RFC 9113, section 8.2.3).
            if !std::mem::replace(&mut cookies_written, true) {
                let lines = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
                field(name, &lines.collect::<Vec<_>>().join(&b"; "[..]));
            }
        } else if !without.contains(name) {
            field(name, value.as_bytes());
        }
    }
    for (name, value) in with {
        field(name, value);
    }
    out.extend_from_slice(b"\r\n");
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
    out.extend_from_slice(b"\r\n");
}

/// Writes a body as its head announced it.
#[derive(Debug)]
pub enum Encoder {
    /// Nothing is written, whatever comes.
    None,
    /// This many bytes are missing.
    Exact(u64),
    Chunked,
    UntilClose,
}

impl Encoder {
    /// # Errors
    /// When it is more than was announced: the reader would take the rest for another message.
    pub fn data(&mut self, data: Bytes, out: &mut Output) -> Result<(), Error> {
        if data.is_empty() {
            return Ok(());
        }
        match self {
            Encoder::None => {}
            Encoder::UntilClose => out.push(data),
            Encoder::Exact(left) => {
                let more = left.checked_sub(data.len() as u64);
                *left = more.ok_or(Error::OtherLength)?;
                out.push(data);
            }
            Encoder::Chunked => {
                write_size(data.len(), out.row());
                out.push(data);
                out.row().extend_from_slice(b"\r\n");
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
                    write_field(out, name, value);
                }
                out.extend_from_slice(b"\r\n");
            }
            Encoder::None | Encoder::Exact(0) | Encoder::UntilClose => {}
        }
        Ok(())
    }
}

fn write_field(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// In hexadecimal, with its CRLF.
fn write_size(size: usize, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    let digit = |at| DIGITS[(size >> (4 * at)) & 0xf];
    out.extend((0..digits).rev().map(digit));
    out.extend_from_slice(b"\r\n");
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
