//! The head of a message between two connections: which requests are refused, what belongs to
//! one connection only, and how a host is written in HTTP/1 and in HTTP/2.
//!
//! What is done before us, where the bytes are read, so that it is not done twice:
//! * HTTP/1 (`http/http1/proto/`) refuses obs-fold, bare CR and bare LF, whitespace before the colon,
//!   a fragment, and every framing but one Content-Length or one Transfer-Encoding that is `chunked`.
//! * HTTP/2 (`http/http2/proto/`) refuses connection headers, TE other than `trailers`, repeated or
//!   late pseudo headers, and a malformed `:authority` or `:path`.
//! * Neither looks at `Host`: that is done here.

use std::borrow::Cow;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri, Version,
    header::{self, HOST},
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};

/// Why a request is answered 400 (and its HTTP/1 connection closed).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    #[error("more than one Host header")]
    SeveralHosts,
    #[error("no Host header, which HTTP/1.1 requires")]
    NoHost,
    #[error("the host is empty or malformed")]
    InvalidHost,
    #[error("the Host header names another host than the request's target")]
    HostMismatch,
    #[error("a user name or password in the request's target")]
    UserInfo,
    #[error("the path does not start with a slash")]
    RelativePath,
    #[error("a tunnel (CONNECT) would carry what no policy sees")]
    Tunnel,
    #[error("both Content-Length and Transfer-Encoding")]
    TwoLengths,
    #[error("more than one Content-Length header")]
    SeveralLengths,
    #[error("a fragment in the request's target")]
    Fragment,
    #[error("a line that ends in LF without CR")]
    BareLineFeed,
    #[error("a Content-Length or Transfer-Encoding that is not readable")]
    Unreadable,
    #[error("a Transfer-Encoding other than chunked, once")]
    TransferEncoding,
}

/// Refuses what two readers could understand differently.
///
/// # Errors
/// The first reason found; the answer is 400.
pub fn validate(request: &Parts) -> Result<(), BadRequest> {
    validate_host(request)?;
    validate_target(request)
}

fn validate_host(request: &Parts) -> Result<(), BadRequest> {
    let mut hosts = request.headers.get_all(HOST).iter();
    let header = hosts.next();
    if hosts.next().is_some() {
        return Err(BadRequest::SeveralHosts);
    }
    // Also with an absolute target (RFC 9112 3.2).
    if header.is_none() && request.version == Version::HTTP_11 {
        return Err(BadRequest::NoHost);
    }
    if let Some(target) = request.uri.authority() {
        validate_authority(target)?;
    }
    let Some(header) = header else { return Ok(()) };
    let header = Authority::try_from(header.as_bytes()).map_err(|_| BadRequest::InvalidHost)?;
    validate_authority(&header)?;
    // RFC 9112 would have us believe the target; whoever sends two different hosts hopes that
    // two readers believe different ones.
    match request.uri.authority() {
        Some(target) if !same_host(target, &header, request.uri.scheme()) => {
            Err(BadRequest::HostMismatch)
        }
        _ => Ok(()),
    }
}

fn validate_authority(authority: &Authority) -> Result<(), BadRequest> {
    let text = authority.as_str();
    if text.contains('@') {
        return Err(BadRequest::UserInfo);
    }
    let port = &text[without_port(text).len()..];
    let valid_port = port.is_empty() || authority.port_u16().is_some();
    let valid_host = !authority.host().is_empty() && text.is_ascii();
    (valid_host && valid_port)
        .then_some(())
        .ok_or(BadRequest::InvalidHost)
}

fn same_host(one: &Authority, other: &Authority, scheme: Option<&Scheme>) -> bool {
    let default = match scheme {
        Some(scheme) if *scheme == Scheme::HTTPS => Some(443),
        Some(scheme) if *scheme == Scheme::HTTP => Some(80),
        _ => None,
    };
    let port = |authority: &Authority| authority.port_u16().or(default);
    one.host().eq_ignore_ascii_case(other.host()) && port(one) == port(other)
}

fn validate_target(request: &Parts) -> Result<(), BadRequest> {
    if request.method == Method::CONNECT {
        return Err(BadRequest::Tunnel);
    }
    let path = request.uri.path();
    let relative = match request.method {
        // `GET shop HTTP/1.1` is read as a target that is an authority alone.
        _ if request.uri.authority().is_some() && request.uri.scheme().is_none() => true,
        Method::OPTIONS if path == "*" => false,
        _ => !path.starts_with('/'),
    };
    if relative {
        Err(BadRequest::RelativePath)
    } else {
        Ok(())
    }
}

/// Refuses a message whose end two readers could see in different places, or in a coding that would
/// reach the application as if it were the body. In HTTP/1 that is read with the head.
///
/// # Errors
/// The first reason found; the answer is 400.
pub fn validate_framing(headers: &HeaderMap) -> Result<(), BadRequest> {
    let mut encodings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.next().is_some() {
        return Err(BadRequest::SeveralLengths);
    }
    let Some(encoding) = encodings.next() else {
        return Ok(());
    };
    if length.is_some() {
        return Err(BadRequest::TwoLengths);
    }
    // Other codings would reach the application as if they were the body.
    let chunked = encoding.as_bytes().eq_ignore_ascii_case(b"chunked");
    let once = encodings.next().is_none();
    (chunked && once)
        .then_some(())
        .ok_or(BadRequest::TransferEncoding)
}

/// The number that a `Content-Length` says, in bytes: nothing but digits, no sign above all, not
/// more of them than are needed, and one that every reader has room for.
pub fn content_length(value: &[u8]) -> Option<u64> {
    const MOST_DIGITS: usize = i64::MAX.ilog10() as usize + 1;
    let all = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok()?;
    let number: i64 = text.parse().ok()?;
    (all && value.len() <= MOST_DIGITS).then_some(number.unsigned_abs())
}

/// What `Content-Length` says of a message's body, in bytes.
pub fn stated_length(headers: &HeaderMap) -> Option<u64> {
    content_length(headers.get(header::CONTENT_LENGTH)?.as_bytes())
}

/// The host that a request is for, with its port if it has one: the target's authority, else
/// the `Host` header.
pub fn host(request: &Parts) -> Option<&str> {
    let header = || {
        request
            .headers
            .get(HOST)
            .and_then(|host| host.to_str().ok())
    };
    request
        .uri
        .authority()
        .map(Authority::as_str)
        .or_else(header)
}

/// `cart.shop:80` to `cart.shop`, `[::1]:80` to `[::1]`.
pub fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => authority,
    }
}

/// Headers that concern one connection (RFC 9110 7.6.1), whether or not `Connection` names them.
static HOP_BY_HOP: [HeaderName; 6] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    // The settings that came with an h2c upgrade mean nothing on another connection.
    HeaderName::from_static("http2-settings"),
];

/// Never removed because `Connection` names them (RFC 9110 7.6.1 forbids to name such fields):
/// a client could take from a request what its next reader decides by.
static END_TO_END: [HeaderName; 7] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::AUTHORIZATION,
    header::COOKIE,
    header::CACHE_CONTROL,
    crate::proxy::http::kind::CLIENT_ID,
];

/// Whether a message's upgrade goes on to the next connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// `Upgrade` and the `Connection: upgrade` that goes with it are written anew.
    Keep,
    Strip,
}

/// Removes what belongs to the connection that a message came by: what `Connection` names, and
/// the well-known ones. `TE: trailers` stays, for gRPC needs it. `Via` is not added: a sidecar
/// is not to be seen.
pub fn strip_hop_by_hop(headers: &mut HeaderMap, upgrade: Upgrade) {
    // Most heads have none of them: one look at each name costs less than nine searches.
    if !headers.keys().any(concerns_connection) {
        return;
    }
    let trailers = list_contains(headers, &header::TE, "trailers");
    let upgrade = match upgrade {
        Upgrade::Keep => wanted_upgrade(headers).cloned(),
        Upgrade::Strip => None,
    };
    if headers.contains_key(header::CONNECTION) {
        let lines: Vec<_> = headers
            .get_all(header::CONNECTION)
            .iter()
            .cloned()
            .collect();
        headers.remove(header::CONNECTION);
        for line in &lines {
            remove_named(headers, line);
        }
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        // It was not what framed the message (RFC 9112 6.3), and would frame the next one wrongly.
        headers.remove(header::CONTENT_LENGTH);
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = upgrade {
        headers.insert(header::UPGRADE, protocol);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

/// Whether it is `Connection` or one of [`HOP_BY_HOP`]: told apart by their lengths first, where
/// comparing names one by one would cost each head as much as reading it.
fn concerns_connection(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "te" | "upgrade"
            | "connection"
            | "keep-alive"
            | "http2-settings"
            | "proxy-connection"
            | "transfer-encoding"
    )
}

fn remove_named(headers: &mut HeaderMap, line: &HeaderValue) {
    let names = line.as_bytes().split(|byte| *byte == b',');
    // What is no header name cannot name a header.
    let names = names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
    for name in names.filter(|name| !END_TO_END.contains(name)) {
        headers.remove(name);
    }
}

/// Whether a body is coded on its way in a manner that only the connection that it came by knows of
/// (RFC 9112 7): without that it cannot be read.
pub fn is_coded(headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(header::TRANSFER_ENCODING).iter();
    encodings.any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"chunked"))
}

/// The protocol that an HTTP/1.1 message switches to, `websocket` for example. Never `h2c`: a
/// connection that became HTTP/2 behind our back would carry requests that no policy sees.
pub fn wanted_upgrade(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut protocols = headers.get_all(header::UPGRADE).iter();
    let only = protocols.next().filter(|_| protocols.next().is_none())?;
    let wanted = list_contains(headers, &header::CONNECTION, "upgrade")
        && !list_contains(headers, &header::UPGRADE, "h2c");
    wanted.then_some(only)
}

/// Whether a comma-separated header has an element, in any case; parameters are not looked at.
pub fn list_contains(headers: &HeaderMap, name: &HeaderName, element: &str) -> bool {
    let elements = |line: &HeaderValue| {
        let mut elements = line.as_bytes().split(|byte| *byte == b',');
        elements.any(|found| found.trim_ascii().eq_ignore_ascii_case(element.as_bytes()))
    };
    headers.get_all(name).iter().any(elements)
}

/// A request's first line and host as HTTP/1 has them.
#[derive(Debug, PartialEq, Eq)]
pub struct Http1Target<'a> {
    pub version: Version,
    /// From its path on; an HTTP/1.0 request's as it came.
    pub target: Cow<'a, str>,
    /// Written in place of the `Host` that the headers have, if any.
    pub host: Option<&'a str>,
}

impl<'a> Http1Target<'a> {
    /// Of a validated request.
    pub fn of(request: &'a Parts) -> Self {
        let authority = request.uri.authority();
        if request.version == Version::HTTP_10 {
            return Self {
                version: Version::HTTP_10,
                target: match authority {
                    Some(_) => Cow::Owned(request.uri.to_string()),
                    None => path(&request.uri),
                },
                host: None,
            };
        }
        let host = match authority {
            Some(authority) => Some(authority.as_str()),
            None if request.headers.contains_key(HOST) => None,
            // HTTP/1.1 may leave the host empty, but not out.
            None => Some(""),
        };
        Self {
            version: Version::HTTP_11,
            target: path(&request.uri),
            host,
        }
    }
}

/// With its query.
fn path(uri: &Uri) -> Cow<'_, str> {
    match uri.path_and_query().map(PathAndQuery::as_str) {
        // `http://shop?a` has an empty path, which would be written as nothing.
        Some(query) if query.starts_with('?') => Cow::Owned(format!("/{query}")),
        Some(path) => Cow::Borrowed(path),
        None => Cow::Borrowed("/"),
    }
}

/// A request's target as HTTP/2 has it; there the `Host` header is left out.
#[derive(Debug, PartialEq, Eq)]
pub struct Http2Target<'a> {
    pub authority: &'a str,
    /// With its query.
    pub path: Cow<'a, str>,
}

impl<'a> Http2Target<'a> {
    /// Of a validated request. One that names no host (HTTP/1.0) is for `default_host`.
    pub fn of(request: &'a Parts, default_host: &'a Authority) -> Self {
        let named = host(request).filter(|host| !host.is_empty());
        Self {
            authority: named.unwrap_or(default_host.as_str()),
            path: path(&request.uri),
        }
    }
}

#[cfg(test)]
mod tests;
