use std::{cell::RefCell, future::ready, pin::pin, task::Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, SizeHint};
use http_body_util::BodyExt;

use super::{
    http1::wire::{Replayed, Unhurried, Wire, poll_once},
    strict::{self, Not},
};
use crate::proxy::{
    head::{Http1Target, Upgrade, strip_hop_by_hop},
    http::{
        ahead::Untold,
        http1::{Client, Connection, Head, RequestBody, carry},
    },
};

/// What an upstream answers, as the proxy takes it and passes it on. The first byte says to which
/// request: its lowest bit for HEAD, the next one for a client of HTTP/1.0. Never two readings:
/// what goes on is one response by the letter of RFC 9112, with the status and the body that the
/// proxy saw; and so does a strict reader of the upstream's bytes see it.
pub fn http1_response(data: &[u8]) {
    let Some((flags, bytes)) = data.split_first() else {
        return;
    };
    let (head, old) = (flags & 1 != 0, flags & 2 != 0);
    let Some(answer) = receive(bytes, head) else {
        return;
    };
    let (status, body) = (answer.status().as_u16(), answer.body().bytes.clone());
    match strict::response(&mut &*bytes, head) {
        Ok(read) => {
            assert_eq!(read.status, status);
            assert_eq!(read.body, body);
        }
        Err(Not::Complete | Not::Framing) => panic!("accepted: {}", bytes.escape_ascii()),
        Err(Not::Grammar | Not::TwoFramings) => {}
    }
    let sent = pass_on(answer, head, old);
    let text = sent.escape_ascii();
    let mut rest = &sent[..];
    let read = strict::response(&mut rest, head).unwrap_or_else(|not| panic!("{not:?}: {text}"));
    assert!(rest.is_empty(), "more than one response: {text}");
    assert_eq!((read.status, &read.body[..]), (status, &body[..]), "{text}");
    for name in [&b"keep-alive"[..], b"proxy-connection", b"upgrade"] {
        assert!(read.fields.iter().all(|(known, _)| known != name), "{text}");
    }
}

/// A response that came whole.
struct Whole {
    bytes: Bytes,
    replayed: Replayed,
}

/// `None` where it is refused, or its end never comes.
fn receive(bytes: &[u8], head: bool) -> Option<Response<Whole>> {
    let wire = Wire::answering(bytes);
    let method = if head { "HEAD" } else { "GET" };
    let request = Request::builder()
        .method(method)
        .uri("/")
        .header("host", "shop");
    let (request, ()) = request.body(()).expect("a request").into_parts();
    let target = Http1Target::of(&request);
    let mut receiving = pin!(async {
        let nothing = Replayed::new(Bytes::new(), None, SizeHint::with_exact(0));
        let connection = Connection::new(wire.clone());
        let sent = connection.send(Head::of(&request, &target, None), nothing, None, &Untold);
        let (parts, body) = sent.await.ok()?.into_parts();
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            return None;
        }
        let hint = body.size_hint();
        let collected = body.collect().await.ok()?;
        let trailers = collected.trailers().cloned();
        let bytes = collected.to_bytes();
        let replayed = Replayed::new(bytes.clone(), trailers, hint);
        Some(Response::from_parts(parts, Whole { bytes, replayed }))
    });
    let mut received = None;
    wire.until_still(|| match poll_once(receiving.as_mut()) {
        Poll::Ready(response) => {
            received = response;
            true
        }
        Poll::Pending => false,
    });
    received
}

/// The bytes that the client gets.
fn pass_on(answer: Response<Whole>, head: bool, old: bool) -> Vec<u8> {
    let (mut parts, whole) = answer.into_parts();
    strip_hop_by_hop(&mut parts.headers, Upgrade::Strip);
    parts.version = http::Version::HTTP_11;
    let body = match head {
        true => Replayed::new(Bytes::new(), None, SizeHint::with_exact(0)),
        false => whole.replayed,
    };
    let response = RefCell::new(Some(Response::from_parts(parts, body)));
    let (method, version) = (if head { "HEAD" } else { "GET" }, u8::from(!old));
    let request = format!("{method} / HTTP/1.{version}\r\nhost: shop\r\n\r\n");
    let wire = Wire::new(request.as_bytes(), usize::MAX);
    let mut clock = Unhurried;
    let answer = |_: Request<RequestBody>, _: Client<Wire>| {
        ready(response.take().expect("there is one request"))
    };
    let mut connection = pin!(carry(wire.clone(), answer, &mut clock));
    wire.until_still(|| poll_once(connection.as_mut()).is_ready());
    wire.output()
}
