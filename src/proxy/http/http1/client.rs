//! The client's side: one exchange at a time on a connection, carried by whoever waits for it.

use std::{
    future::poll_fn,
    io, mem,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http::{HeaderName, Method, Response, StatusCode, Version, header::HOST, request};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    answer::{ResponseBody, receive},
    outgoing::{Outgoing, known_length},
    proto::{self, Encoder, Error, Fields, Found, Line, ResponseHead, Search, Spelling},
    wire::Wire,
};
use crate::proxy::{
    head::{Http1Target, stated_length},
    http::{ahead::Ahead, body::BoxError, kind},
};

/// A request's head as it is sent: what of it is known elsewhere is only looked at.
pub struct Head<'a> {
    pub method: &'a Method,
    /// As it stands in the first line.
    pub target: &'a str,
    pub version: Version,
    pub fields: Fields<'a>,
}

/// What of a head only proxies read, and what is written anew where another host is named.
static NOT_SENT: [HeaderName; 2] = [kind::ORIGINAL_VERSION, HOST];

impl<'a> Head<'a> {
    /// Of a validated request.
    pub fn of(
        request: &'a request::Parts,
        target: &'a Http1Target<'a>,
        spelling: Option<&'a Spelling>,
    ) -> Self {
        let fields = Fields {
            headers: &request.headers,
            without: match target.host {
                Some(_) => &NOT_SENT[..],
                None => &NOT_SENT[..1],
            },
            with: target.host.map(|host| (&HOST, host.as_bytes())),
            spelling,
        };
        Self {
            method: &request.method,
            target: &target.target,
            version: target.version,
            fields,
        }
    }

    /// How the body is written.
    fn encoder(&self, body: &impl Body) -> Encoder {
        let stated = stated_length(self.fields.headers);
        // RFC 9110, section 8.6: with these one is expected.
        let awaited = [Method::POST, Method::PUT, Method::PATCH].contains(self.method);
        match stated.or_else(|| known_length(body)) {
            Some(0) if stated.is_none() && !awaited => Encoder::None(None),
            Some(length) => Encoder::Exact(length),
            None => Encoder::Chunked,
        }
    }
}

/// Takes connections back.
pub trait Home<S> {
    /// Its exchange is over, and it can carry another one.
    fn keep(&self, connection: Connection<S>);
}

/// A connection on which no exchange is under way.
pub struct Connection<S>(pub(super) Box<Wire<S>>);

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Connection<S> {
    pub fn new(stream: S) -> Self {
        Self(Box::new(Wire::new(stream)))
    }

    /// Whether the peer has closed it, or spoke though nobody asked: then it is of no use. Known
    /// without a system call where nothing has come.
    pub fn is_gone(&mut self) -> bool {
        if !self.0.read.is_empty() {
            return true;
        }
        // Outside of the task's budget, without which nothing would seem to have come.
        let filled = poll_fn(|cx| self.0.poll_fill(cx));
        let mut filled = pin!(tokio::task::unconstrained(filled));
        let mut cx = Context::from_waker(Waker::noop());
        filled.as_mut().poll(&mut cx).is_ready()
    }

    /// Sends a request, and gives the head of its answer and the body as it comes. Dropped before
    /// there is an answer, the exchange is cancelled and the connection closed. With the last byte
    /// of the answer the connection goes to `home`, if it can be used again. Interim answers go
    /// `ahead`.
    ///
    /// # Errors
    /// When the connection breaks, or the answer cannot be read.
    pub async fn send<B>(
        self,
        head: Head<'_>,
        body: B,
        home: Option<Rc<dyn Home<S>>>,
        ahead: &dyn Ahead,
    ) -> Result<Response<ResponseBody<S>>, Error>
    where
        B: Body<Data = Bytes, Error = BoxError> + Unpin + 'static,
    {
        let mut wire = self.0;
        let encoder = head.encoder(&body);
        let line = Line::Request {
            method: head.method.as_str(),
            target: head.target,
            version: head.version,
        };
        head.fields.write(&line, &encoder, &mut wire.out);
        let mut upload = Some(Outgoing::new(body, encoder, true));
        let mut search = Search::default();
        let mut begun = false;
        let to_head = head.method == Method::HEAD;
        let mut broken = false;
        let answered = poll_fn(|cx| {
            match upload.as_mut().map(|it| it.poll_send(cx, &mut wire)) {
                Some(Poll::Ready(Err(error @ (Error::Body(_) | Error::OtherLength)))) => {
                    return Poll::Ready(Err(error));
                }
                // The peer may have answered before it stopped reading.
                Some(Poll::Ready(Err(_))) => (broken, upload) = (true, None),
                Some(Poll::Ready(Ok(()))) => upload = None,
                Some(Poll::Pending) | None => {}
            }
            poll_answer(cx, &mut wire, &mut search, &mut begun, to_head, ahead)
        });
        let answer = answered.await?;
        let home = home.filter(|_| !broken);
        Ok(receive(answer, wire, upload, home))
    }
}

/// The answer's head.
fn poll_answer<S: AsyncRead + AsyncWrite + Unpin>(
    cx: &mut Context<'_>,
    wire: &mut Wire<S>,
    search: &mut Search,
    begun: &mut bool,
    to_head: bool,
    ahead: &dyn Ahead,
) -> Poll<Result<ResponseHead, Error>> {
    loop {
        match search.go_on(&wire.read)? {
            Found::Head(end) => {
                let bytes = wire.read.split_to(end).freeze();
                let answer = proto::response(bytes, &mem::take(search), to_head)?;
                let status = answer.parts.status;
                if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
                    return Poll::Ready(Ok(answer));
                }
                ahead.say(status, answer.parts.headers);
                continue;
            }
            // A server that speaks something else may wait for an answer.
            Found::Line => proto::check_response(&wire.read)?,
            Found::Nothing => {}
        }
        let ended = match ready!(wire.poll_fill(cx)) {
            Ok(true) => {
                *begun = true;
                continue;
            }
            Ok(false) => io::ErrorKind::UnexpectedEof.into(),
            Err(error) => error,
        };
        // Of a request to which not a byte came back the peer may have seen nothing.
        return Poll::Ready(Err(match *begun {
            false if is_end(&ended) => Error::Incomplete,
            _ => Error::Io(ended),
        }));
    }
}

/// Whether the peer has closed the connection, in whatever manner.
fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe)
}
