use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
    header::{CONNECTION, CONTENT_LENGTH, EXPECT, TE, TRANSFER_ENCODING},
    request, response,
};
use memchr::memchr;

use super::{Error, MAX_FIELDS, MAX_HEAD, Spelling, encode::may_trail};
use crate::proxy::head::{self, BadRequest, content_length, list_contains};

/// How long a message's body is (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    Empty,
    /// In bytes; never 0.
    Exact(u64),
    Chunked,
    /// A response's, up to the end of the connection.
    UntilClose,
}

impl Length {
    fn exact(length: u64) -> Self {
        match length {
            0 => Length::Empty,
            _ => Length::Exact(length),
        }
    }
}

/// Looks for the empty line that ends a head, in bytes that come bit by bit.
#[derive(Debug, Default)]
pub struct Search {
    /// Where the head begins: empty lines before a request are none of it (RFC 9112, section 2.2).
    begin: usize,
    /// Where the line begins that has not ended.
    line: usize,
    /// Up to here there is no other end of a line.
    seen: usize,
    bare_lf: bool,
}

/// Bytes that are a head as a whole, or that have grown by a line of one.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// How long it is.
    Head(usize),
    Line,
    Nothing,
}

impl Search {
    /// `bytes` are those of the last time and what came after them.
    ///
    /// # Errors
    /// When it is larger than a head may be.
    pub fn go_on(&mut self, bytes: &[u8]) -> Result<Found, Error> {
        let mut found = Found::Nothing;
        while let Some(more) = memchr(b'\n', &bytes[self.seen..]) {
            let end = self.seen + more;
            let begin = self.line;
            let line = &bytes[begin..end];
            self.bare_lf |= line.last() != Some(&b'\r');
            (self.seen, self.line) = (end + 1, end + 1);
            if end + 1 > MAX_HEAD {
                return Err(Error::HeadTooLarge);
            }
            if !matches!(line, b"" | b"\r") {
                found = Found::Line;
            } else if begin > self.begin {
                return Ok(Found::Head(end + 1));
            } else {
                self.begin = end + 1;
            }
        }
        self.seen = bytes.len();
        if bytes.len() > MAX_HEAD {
            return Err(Error::HeadTooLarge);
        }
        Ok(found)
    }

    /// Whether all that was looked at, which is as long, stands before the head. Then the bytes may
    /// be forgotten: it begins again with the next ones.
    pub fn skips(&mut self, length: usize) -> bool {
        let skips = length > 0 && self.begin == length;
        if skips {
            *self = Self {
                bare_lf: self.bare_lf,
                ..Self::default()
            };
        }
        skips
    }

    /// Whether nothing was looked at yet.
    pub fn is_new(&self) -> bool {
        self.seen == 0
    }

    /// Whether a line of it ended in a LF alone.
    pub fn had_bare_lf(&self) -> bool {
        self.bare_lf
    }
}

/// What a client asks, and how its connection goes on.
#[derive(Debug)]
pub struct RequestHead {
    pub parts: request::Parts,
    pub length: Length,
    /// The client may send another request after this one.
    pub persists: bool,
    /// The client waits for a word before it sends the body.
    pub expects_continue: bool,
    /// It asks for another protocol.
    pub upgrades: bool,
    /// The client reads trailers.
    pub takes_trailers: bool,
    /// Why it is to be refused, and nothing behind it to be read.
    pub fault: Option<BadRequest>,
    pub spelling: Spelling,
}

/// Reads what came of a request's head so far, for nothing but its faults.
///
/// # Errors
/// When no more bytes can make a request of it.
pub fn check_request(bytes: &[u8]) -> Result<(), Error> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    parsed.parse_with_uninit_headers(bytes, &mut fields)?;
    Ok(())
}

/// Reads a request's head, which is all of `bytes`.
///
/// # Errors
/// When it is none. One that is understood and must be refused has a [`RequestHead::fault`].
pub fn request(bytes: Bytes, search: &Search) -> Result<RequestHead, Error> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    let end = parsed.parse_with_uninit_headers(&bytes, &mut fields)?;
    let (true, Some(method), Some(target), Some(minor)) = (
        end == httparse::Status::Complete(bytes.len()),
        parsed.method,
        parsed.path,
        parsed.version,
    ) else {
        return Err(Error::Malformed("an incomplete request"));
    };
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method =
        Method::from_bytes(method.as_bytes()).map_err(|_| Error::Malformed("the method"))?;
    parts.uri = Uri::from_maybe_shared(bytes.slice_ref(target.as_bytes()))
        .map_err(|_| Error::Malformed("the request's target"))?;
    parts.version = version(minor);
    parts.headers = header_map(&bytes, parsed.headers)?;
    let named = Named::of(parsed.headers);
    let fault = if search.had_bare_lf() {
        Some(BadRequest::BareLineFeed)
    } else if memchr(b'#', target.as_bytes()).is_some() {
        Some(BadRequest::Fragment)
    } else {
        None
    };
    let length = match fault {
        Some(fault) => Err(fault),
        None if named.length || named.coding => request_length(&parts),
        None => Ok(Length::Empty),
    };
    let old = parts.version == Version::HTTP_10;
    let headers = &parts.headers;
    Ok(RequestHead {
        length: length.unwrap_or(Length::Empty),
        persists: length.is_ok()
            && if named.connection {
                persists(headers, old)
            } else {
                !old
            },
        expects_continue: named.expect && !old && list_contains(headers, &EXPECT, "100-continue"),
        upgrades: named.upgrade && !old && head::wanted_upgrade(headers).is_some(),
        takes_trailers: named.te && list_contains(headers, &TE, "trailers"),
        fault: length.err(),
        spelling: Spelling::of(bytes.slice(search.begin..)),
        parts,
    })
}

fn request_length(request: &request::Parts) -> Result<Length, BadRequest> {
    let headers = &request.headers;
    head::validate_framing(headers)?;
    if headers.contains_key(TRANSFER_ENCODING) {
        // An old server would take the chunks for something else.
        return match request.version {
            Version::HTTP_10 => Err(BadRequest::TransferEncoding),
            _ => Ok(Length::Chunked),
        };
    }
    match headers.get(CONTENT_LENGTH) {
        None => Ok(Length::Empty),
        Some(length) => content_length(length.as_bytes())
            .map(Length::exact)
            .ok_or(BadRequest::Unreadable),
    }
}

/// What an upstream answers, and how its connection goes on.
#[derive(Debug)]
pub struct ResponseHead {
    pub parts: response::Parts,
    pub length: Length,
    /// The connection can carry another exchange.
    pub persists: bool,
    pub spelling: Spelling,
}

/// Reads what came of a response's head so far, for nothing but its faults.
///
/// # Errors
/// When no more bytes can make a response of it.
pub fn check_response(bytes: &[u8]) -> Result<(), Error> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    config.parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields)?;
    Ok(())
}

/// Reads a response's head, which is all of `bytes`. `to_head`: it answers HEAD.
///
/// # Errors
/// When it is none, or nobody can say where its body ends.
pub fn response(bytes: Bytes, search: &Search, to_head: bool) -> Result<ResponseHead, Error> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let end = config.parse_response_with_uninit_headers(&mut parsed, &bytes, &mut fields)?;
    let (true, Some(code), Some(minor)) = (
        end == httparse::Status::Complete(bytes.len()),
        parsed.code,
        parsed.version,
    ) else {
        return Err(Error::Malformed("an incomplete response"));
    };
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = StatusCode::from_u16(code).map_err(|_| Error::Malformed("the status"))?;
    parts.version = version(minor);
    parts.headers = header_map(&bytes, parsed.headers)?;
    let named = Named::of(parsed.headers);
    let length = response_length(&mut parts, to_head, named)?;
    // With two framings something between may have read the other one (RFC 9112, section 6.3).
    let doubtful = named.coding && named.length;
    let old = parts.version == Version::HTTP_10;
    let stays = if named.connection {
        persists(&parts.headers, old)
    } else {
        !old
    };
    Ok(ResponseHead {
        length,
        persists: length != Length::UntilClose && stays && !doubtful,
        spelling: Spelling::of(bytes.slice(search.begin..)),
        parts,
    })
}

/// The rules of RFC 9112, section 6.3, in their order.
fn response_length(
    response: &mut response::Parts,
    to_head: bool,
    named: Named,
) -> Result<Length, Error> {
    let status = response.status;
    let headers = &mut response.headers;
    let bare = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if to_head || bare || status.is_informational() {
        return Ok(Length::Empty);
    }
    if !named.length && !named.coding {
        return Ok(Length::UntilClose);
    }
    if let Some(last) = headers.get_all(TRANSFER_ENCODING).iter().next_back() {
        if response.version == Version::HTTP_10 {
            return Err(Error::Malformed("Transfer-Encoding in HTTP/1.0"));
        }
        let last = last.as_bytes().rsplit(|byte| *byte == b',').next();
        let chunked = last.is_some_and(|it| it.trim_ascii().eq_ignore_ascii_case(b"chunked"));
        headers.remove(CONTENT_LENGTH);
        return Ok(match chunked {
            true => Length::Chunked,
            false => Length::UntilClose,
        });
    }
    Ok(same_lengths(headers)?.map_or(Length::UntilClose, Length::exact))
}

/// The same length several times over is that length, and said once.
fn same_lengths(headers: &mut HeaderMap) -> Result<Option<u64>, Error> {
    let mut length = None;
    let mut times = 0;
    for line in headers.get_all(CONTENT_LENGTH) {
        for one in line.as_bytes().split(|byte| *byte == b',') {
            let one = content_length(one.trim_ascii());
            if one.is_none() || (length.is_some() && length != one) {
                return Err(Error::Malformed("the Content-Length"));
            }
            (length, times) = (one, times + 1);
        }
    }
    if let Some(length) = length.filter(|_| times > 1) {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    Ok(length)
}

/// RFC 9112, section 9.3.
fn persists(headers: &HeaderMap, old: bool) -> bool {
    let named = |word| list_contains(headers, &CONNECTION, word);
    !named("close") && (!old || named("keep-alive"))
}

fn version(minor: u8) -> Version {
    match minor {
        0 => Version::HTTP_10,
        _ => Version::HTTP_11,
    }
}

/// Which of the fields that HTTP/1 itself reads are there: each search in a map costs a hash, and
/// most heads have none of them.
#[derive(Clone, Copy, Default)]
struct Named {
    te: bool,
    connection: bool,
    expect: bool,
    upgrade: bool,
    /// Content-Length.
    length: bool,
    /// Transfer-Encoding.
    coding: bool,
}

impl Named {
    fn of(fields: &[httparse::Header<'_>]) -> Self {
        let mut named = Self::default();
        for field in fields {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            match field.name.len() {
                2 => named.te |= is("te"),
                6 => named.expect |= is("expect"),
                7 => named.upgrade |= is("upgrade"),
                10 => named.connection |= is("connection"),
                14 => named.length |= is("content-length"),
                17 => named.coding |= is("transfer-encoding"),
                _ => {}
            }
        }
        named
    }
}

/// The values stay where they are, in `bytes`.
fn header_map(bytes: &Bytes, fields: &[httparse::Header<'_>]) -> Result<HeaderMap, Error> {
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes())
            .map_err(|_| Error::Malformed("a field's name"))?;
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value))
            .map_err(|_| Error::Malformed("a field's value"))?;
        map.append(name, value);
    }
    Ok(map)
}

/// Reads a trailer section, which is all of `bytes`. What a head decides is left out: in HTTP/2 it
/// would break the stream, and a reader that merges the two would believe it.
///
/// # Errors
/// When it is none.
pub fn trailers(bytes: &Bytes) -> Result<HeaderMap, Error> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let parsed = httparse::parse_headers(bytes, &mut fields)?;
    let httparse::Status::Complete((end, fields)) = parsed else {
        return Err(Error::Malformed("an incomplete trailer section"));
    };
    if end != bytes.len() {
        return Err(Error::Malformed("a trailer section that ends early"));
    }
    let mut trailers = header_map(bytes, fields)?;
    let decided = trailers.keys().filter(|name| !may_trail(name));
    for name in decided.cloned().collect::<Vec<_>>() {
        trailers.remove(name);
    }
    Ok(trailers)
}

impl From<httparse::Error> for Error {
    fn from(error: httparse::Error) -> Self {
        use httparse::Error as E;
        Error::Malformed(match error {
            E::TooManyHeaders => return Error::HeadTooLarge,
            E::HeaderName => "a field's name",
            E::HeaderValue => "a field's value",
            E::NewLine => "the end of a line",
            E::Status => "the status",
            E::Token => "the method or the target",
            E::Version => "the version",
        })
    }
}
