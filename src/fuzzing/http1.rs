pub(super) mod wire;

use std::{cell::RefCell, pin::pin, rc::Rc};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use http_body::{Body, SizeHint};
use http_body_util::BodyExt;

use super::strict::{self, Message, Not};
use crate::proxy::{
    head::{self, Http1Target},
    http::{
        http1::{Client, RequestBody, carry},
        kind::{Kind, kind},
    },
};
use wire::{Replayed, Unhurried, Wire, poll_once, send};

/// A connection's requests, as the proxy serves them and sends them on. Never two readings: what
/// goes on is one request by the letter of RFC 9112, with the method, target, host and body that
/// the proxy saw; a strict reader of the same bytes finds the same requests in them; what it
/// cannot frame the proxy refuses; and how the bytes are cut into reads changes nothing.
pub fn http1(data: &[u8]) {
    let Some((pieces, bytes)) = data.split_first() else {
        return;
    };
    let whole = serve(bytes, usize::MAX);
    let cut = serve(bytes, usize::from(*pieces) + 1);
    assert_eq!(whole.accepted, cut.accepted, "read in pieces");
    compare(bytes, &whole);
}

/// What the proxy saw on one connection.
#[derive(Debug, PartialEq)]
struct Served {
    accepted: Vec<Seen>,
    /// Whether it reads no further.
    ended: bool,
}

#[derive(Debug, PartialEq)]
struct Seen {
    method: Method,
    target: String,
    host: Option<String>,
    body: Vec<u8>,
}

fn serve(bytes: &[u8], piece: usize) -> Served {
    let accepted = Rc::new(RefCell::new(Vec::new()));
    let wire = Wire::new(bytes, piece);
    let ended = {
        let mut clock = Unhurried;
        let answer = |request, client: Client<Wire>| {
            Box::pin(answer(request, client.fault.is_some(), accepted.clone()))
        };
        let mut connection = pin!(carry(wire.clone(), answer, &mut clock));
        wire.until_still(|| poll_once(connection.as_mut()).is_ready())
    };
    let accepted = accepted.take();
    Served { accepted, ended }
}

/// What the proxy does with a request, up to its choice of an endpoint.
async fn answer(
    request: Request<RequestBody>,
    faulty: bool,
    accepted: Rc<RefCell<Vec<Seen>>>,
) -> Response<Replayed> {
    let (mut parts, body) = request.into_parts();
    let mut response = Response::new(Replayed::new(Bytes::new(), None, SizeHint::with_exact(0)));
    if faulty || head::validate(&parts).is_err() {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
        return response;
    }
    let host = head::host(&parts).map(str::to_owned);
    let target = parts
        .uri
        .path_and_query()
        .map(ToString::to_string)
        .unwrap_or_default();
    let method = parts.method.clone();
    let hint = body.size_hint();
    let Ok(collected) = body.collect().await else {
        return response;
    };
    let trailers = collected.trailers().cloned();
    let body = collected.to_bytes();
    prepare(&mut parts);
    check_sent(
        parts,
        Replayed::new(body.clone(), trailers, hint),
        host.as_deref(),
        &body,
    );
    accepted.borrow_mut().push(Seen {
        method,
        target,
        host,
        body: body.to_vec(),
    });
    response
}

fn prepare(parts: &mut Parts) {
    let kind = kind(parts);
    let upgrade = match kind {
        Kind::Upgrade => head::Upgrade::Keep,
        Kind::Plain | Kind::Old => head::Upgrade::Strip,
    };
    head::strip_hop_by_hop(&mut parts.headers, upgrade);
}

/// By the strict reader, what goes on is this request and nothing more.
fn check_sent(parts: Parts, replayed: Replayed, host: Option<&str>, body: &[u8]) {
    let method = parts.method.clone();
    let target = Http1Target::of(&parts).target;
    let sent = send(&parts, replayed);
    let mut rest = &sent[..];
    let text = sent.escape_ascii();
    let read = strict::request(&mut rest).unwrap_or_else(|not| panic!("{not:?}: {text}"));
    assert!(rest.is_empty(), "more than one request: {text}");
    assert_eq!(read.method, method.as_str().as_bytes());
    assert_eq!(read.target, target.as_bytes(), "{text}");
    assert_eq!(read.body, body, "{text}");
    let hosts: Vec<_> = read.all("host").collect();
    assert!(hosts.len() <= 1, "{text}");
    // HTTP/1.0 stays as it came, and may name the host in the target alone.
    let named = host.filter(|_| method != Method::CONNECT && read.version_1_1);
    if let Some(host) = named {
        assert_eq!(hosts, [host.as_bytes()], "{text}");
    }
    for name in ["keep-alive", "proxy-connection", "http2-settings"] {
        assert!(read.all(name).next().is_none(), "{name}: {text}");
    }
    assert!(read.all("te").all(|te| te == b"trailers"), "{text}");
}

fn compare(mut bytes: &[u8], served: &Served) {
    for seen in &served.accepted {
        match strict::request(&mut bytes) {
            Ok(message) => same(&message, seen),
            // Lenient where it is harmless: what goes on was read strictly.
            Err(Not::Grammar) => return,
            Err(not) => panic!("{not:?}, but accepted: {seen:?}"),
        }
    }
    if strict::request(&mut bytes).is_ok() {
        assert!(served.ended, "a request is left lying");
    }
}

fn same(message: &Message, seen: &Seen) {
    assert_eq!(message.method, seen.method.as_str().as_bytes());
    assert_eq!(message.body, seen.body);
    let target = String::from_utf8_lossy(&message.target).into_owned();
    let host = message.all("host").next();
    let host = host.map(|host| String::from_utf8_lossy(host).into_owned());
    // Absolute form: the host is in it.
    let (host, target) = match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let (host, path) = rest.split_at(end);
            let root = if path.starts_with('/') { "" } else { "/" };
            (Some(host.to_owned()), format!("{root}{path}"))
        }
        _ => (host, target),
    };
    if seen.method != Method::CONNECT {
        assert_eq!(target, seen.target);
        assert_eq!(host, seen.host);
    }
}
