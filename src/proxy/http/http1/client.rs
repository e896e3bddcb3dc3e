//! The client's side: one exchange at a time on a connection, carried by whoever waits for it.

use std::{
    cell::RefCell,
    future::poll_fn,
    io, mem,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version,
    header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING},
    request,
};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    outgoing::Outgoing,
    proto::{
        self, Decoder, Encoder, Error, Found, Line, Piece, ResponseHead, Search, Spelling,
        write_head,
    },
    wire::Wire,
};
use crate::proxy::{
    head::{Http1Target, content_length},
    http::{body::BoxError, kind},
    io::Rewind,
};

/// A request's head as it is sent: what of it is known elsewhere is only looked at.
pub struct Head<'a> {
    pub method: &'a Method,
    /// As it stands in the first line.
    pub target: &'a str,
    pub version: Version,
    pub headers: &'a HeaderMap,
    /// Of the headers, those that are not sent.
    pub without: &'a [HeaderName],
    /// Sent beside the headers.
    pub with: Option<(&'a HeaderName, &'a [u8])>,
    /// How the client spelled the names.
    pub spelling: Option<&'a Spelling>,
}

/// What of a head only proxies read, what is written anew, and what is where another host is named.
static NOT_SENT: [HeaderName; 4] = [
    kind::ORIGINAL_VERSION,
    TRANSFER_ENCODING,
    CONTENT_LENGTH,
    HOST,
];

impl<'a> Head<'a> {
    /// Of a validated request.
    pub fn of(
        request: &'a request::Parts,
        target: &'a Http1Target<'a>,
        spelling: Option<&'a Spelling>,
    ) -> Self {
        Self {
            method: &request.method,
            target: &target.target,
            version: target.version,
            headers: &request.headers,
            without: match target.host {
                Some(_) => &NOT_SENT[..],
                None => &NOT_SENT[..3],
            },
            with: target.host.map(|host| (&HOST, host.as_bytes())),
            spelling,
        }
    }
}

/// Takes connections back.
pub trait Home<S> {
    /// Its exchange is over, and it can carry another one.
    fn keep(&self, connection: Connection<S>);
}

/// A connection on which no exchange is under way.
pub struct Connection<S>(Box<Wire<S>>);

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
    /// of the answer the connection goes to `home`, if it can be used again.
    ///
    /// # Errors
    /// When the connection breaks, or the answer cannot be read.
    pub async fn send<B>(
        self,
        head: Head<'_>,
        body: B,
        home: Option<Rc<dyn Home<S>>>,
    ) -> Result<Response<ResponseBody<S>>, Error>
    where
        B: Body<Data = Bytes, Error = BoxError> + Unpin + 'static,
    {
        let mut wire = self.0;
        let encoder = begin(&mut wire, &head, &body);
        let mut upload = Some(Outgoing::new(body, encoder, true));
        let mut search = Search::default();
        let mut begun = false;
        let to_head = head.method == Method::HEAD;
        let mut broken = false;
        let answered = poll_fn(|cx| {
            match upload.as_mut().map(|it| poll_upload(cx, it, &mut wire)) {
                Some(Poll::Ready(Err(error @ (Error::Body(_) | Error::OtherLength)))) => {
                    return Poll::Ready(Err(error));
                }
                // The peer may have answered before it stopped reading.
                Some(Poll::Ready(Err(_))) => (broken, upload) = (true, None),
                Some(Poll::Ready(Ok(()))) => upload = None,
                Some(Poll::Pending) | None => {}
            }
            poll_answer(cx, &mut wire, &mut search, &mut begun, to_head)
        });
        let answer = answered.await?;
        let home = home.filter(|_| !broken);
        Ok(receive(answer, wire, upload, home))
    }
}

/// Writes the head, and tells how the body is to be written.
fn begin<S>(wire: &mut Wire<S>, head: &Head<'_>, body: &impl Body) -> Encoder {
    let (encoder, said) = framing(head, body);
    let line = Line::Request {
        method: head.method.as_str(),
        target: head.target,
        version: head.version,
    };
    let said = said.as_ref().map(|(name, value)| (name, value.as_bytes()));
    let with = [head.with, said].into_iter().flatten();
    write_head(
        &mut wire.out,
        &line,
        head.headers,
        head.without,
        with,
        head.spelling,
    );
    encoder
}

/// How a request's body is written, and the field that says so where the head has none.
fn framing(head: &Head<'_>, body: &impl Body) -> (Encoder, Option<(HeaderName, HeaderValue)>) {
    let stated = head.headers.get(CONTENT_LENGTH);
    if let Some(length) = stated.and_then(|it| content_length(it.as_bytes())) {
        let said = (CONTENT_LENGTH, HeaderValue::from(length));
        return (Encoder::Exact(length), Some(said));
    }
    let exact = match body.is_end_stream() {
        true => Some(0),
        false => body.size_hint().exact(),
    };
    match exact {
        Some(0) => {
            // RFC 9110, section 8.6: of these a body is expected.
            let awaited = [Method::POST, Method::PUT, Method::PATCH].contains(head.method);
            let said = awaited.then(|| (CONTENT_LENGTH, HeaderValue::from(0)));
            (Encoder::None, said)
        }
        Some(length) => {
            let said = (CONTENT_LENGTH, HeaderValue::from(length));
            (Encoder::Exact(length), Some(said))
        }
        None => {
            let chunked = HeaderValue::from_static("chunked");
            (Encoder::Chunked, Some((TRANSFER_ENCODING, chunked)))
        }
    }
}

/// Ready when all is sent.
fn poll_upload<S, B>(
    cx: &mut Context<'_>,
    upload: &mut Outgoing<B>,
    wire: &mut Wire<S>,
) -> Poll<Result<(), Error>>
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: Body<Data = Bytes, Error = BoxError> + Unpin,
{
    loop {
        let waits = upload.take_on(cx, wire)?;
        ready!(wire.poll_flush(cx))?;
        if upload.is_taken() {
            return Poll::Ready(Ok(()));
        }
        if waits {
            return Poll::Pending;
        }
    }
}

/// The answer's head; interim ones (1xx) before it are passed over.
fn poll_answer<S: AsyncRead + AsyncWrite + Unpin>(
    cx: &mut Context<'_>,
    wire: &mut Wire<S>,
    search: &mut Search,
    begun: &mut bool,
    to_head: bool,
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

/// What is left of an exchange when there is an answer.
fn receive<S, B>(
    answer: ResponseHead,
    wire: Box<Wire<S>>,
    upload: Option<Outgoing<B>>,
    home: Option<Rc<dyn Home<S>>>,
) -> Response<ResponseBody<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    B: Body<Data = Bytes, Error = BoxError> + Unpin + 'static,
{
    let switched = answer.parts.status == StatusCode::SWITCHING_PROTOCOLS;
    let source = match upload {
        None => Source::Own(wire),
        Some(upload) => {
            let both = Both::new(wire);
            tokio::task::spawn_local(finish_upload(upload, both.clone()));
            Source::Shared(both)
        }
    };
    let mut body = ResponseBody {
        decoder: Decoder::new(answer.length),
        source: Some(source),
        home: home.filter(|_| answer.persists && !switched),
        spelling: answer.spelling,
    };
    if body.decoder.is_done() && !switched {
        body.finish();
    }
    Response::from_parts(answer.parts, body)
}

/// An answer's body, which reads its connection.
pub struct ResponseBody<S> {
    decoder: Decoder,
    /// None once it was read.
    source: Option<Source<S>>,
    home: Option<Rc<dyn Home<S>>>,
    spelling: Spelling,
}

enum Source<S> {
    Own(Box<Wire<S>>),
    Shared(Rc<RefCell<Both<S>>>),
}

/// A connection on which the answer comes while the request's body still goes out, by a task of
/// its own: an application may read on after it has begun to answer, or wait for that to answer on.
struct Both<S> {
    /// None once one side has given it up.
    wire: Option<Box<Wire<S>>>,
    uploaded: bool,
    /// The upload failed.
    broken: bool,
    /// The answer was read, and this is where the connection goes after the upload.
    read: Option<Option<Rc<dyn Home<S>>>>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl<S> Both<S> {
    fn new(wire: Box<Wire<S>>) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self {
            wire: Some(wire),
            uploaded: false,
            broken: false,
            read: None,
            reader: None,
            writer: None,
        }))
    }

    fn give_up(&mut self) {
        self.wire = None;
        let waiting = [self.reader.take(), self.writer.take()];
        waiting.into_iter().flatten().for_each(Waker::wake);
    }

    /// Once both are over.
    fn go_home(&mut self) {
        if self.uploaded
            && let Some(home) = self.read.take()
        {
            keep(self.wire.take(), home.filter(|_| !self.broken));
        }
    }
}

/// Gives a connection back if another exchange can go over it.
fn keep<S>(wire: Option<Box<Wire<S>>>, home: Option<Rc<dyn Home<S>>>) {
    if let (Some(mut wire), Some(home)) = (wire, home)
        && wire.read.is_empty()
        && !wire.is_unsent()
    {
        // The buffer of its last answer.
        wire.read = BytesMut::new();
        home.keep(Connection(wire));
    }
}

async fn finish_upload<S, B>(mut upload: Outgoing<B>, both: Rc<RefCell<Both<S>>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    B: Body<Data = Bytes, Error = BoxError> + Unpin,
{
    let sent = poll_fn(|cx| {
        let both = &mut *both.borrow_mut();
        both.writer = Some(cx.waker().clone());
        let Some(wire) = &mut both.wire else {
            return Poll::Ready(Err(Error::Incomplete));
        };
        let sent = poll_upload(cx, &mut upload, wire);
        // Nobody else looks any more whether the peer is still there.
        if sent.is_pending() && both.read.is_some() && wire.poll_fill(cx).is_ready() {
            return Poll::Ready(Err(Error::Incomplete));
        }
        sent
    });
    let sent = sent.await;
    let mut both = both.borrow_mut();
    both.uploaded = true;
    both.broken = sent.is_err();
    if let Err(error) = &sent {
        tracing::debug!(%error, "a request's body was not sent whole");
    }
    // Its reader must not take what came for the whole.
    if matches!(sent, Err(Error::Body(_) | Error::OtherLength)) {
        both.give_up();
    }
    both.go_home();
}

impl<S> ResponseBody<S> {
    /// As the upstream wrote the head.
    pub fn spelling(&self) -> &Spelling {
        &self.spelling
    }

    /// The connection, after `101 Switching Protocols`.
    pub fn into_upgraded(mut self) -> Option<Rewind<S>> {
        let Some(Source::Own(wire)) = self.source.take_if(|it| matches!(it, Source::Own(_))) else {
            return None;
        };
        let (stream, read) = wire.into_parts();
        Some(Rewind::new(read.freeze(), stream))
    }

    /// All of it was read.
    fn finish(&mut self) {
        let home = self.home.take();
        match self.source.take() {
            Some(Source::Own(wire)) => keep(Some(wire), home),
            Some(Source::Shared(both)) => {
                let mut both = both.borrow_mut();
                both.read = Some(home);
                both.go_home();
            }
            None => {}
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> ResponseBody<S> {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Error>> {
        let mut shared;
        let wire = match &mut self.source {
            Some(Source::Own(wire)) => wire,
            Some(Source::Shared(both)) => {
                shared = both.borrow_mut();
                shared.reader = Some(cx.waker().clone());
                match &mut shared.wire {
                    Some(wire) => wire,
                    None => return Poll::Ready(Err(Error::Incomplete)),
                }
            }
            None => return Poll::Ready(Ok(Piece::End)),
        };
        loop {
            match self.decoder.next(&mut wire.read)? {
                Piece::Missing => {}
                piece => return Poll::Ready(Ok(piece)),
            }
            if !ready!(wire.poll_fill(cx))? {
                // All that follows is the end.
                self.home = None;
                self.decoder.close()?;
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Body for ResponseBody<S> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let piece = ready!(self.poll_piece(cx));
        if self.decoder.is_done() && piece.is_ok() {
            self.finish();
        }
        Poll::Ready(match piece {
            Ok(Piece::Data(data)) => Some(Ok(Frame::data(data))),
            Ok(Piece::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Ok(Piece::End | Piece::Missing) => None,
            Err(error) => {
                self.drop_connection();
                Some(Err(error))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.decoder
            .left()
            .map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

impl<S> ResponseBody<S> {
    /// Its exchange is over, and not in order.
    fn drop_connection(&mut self) {
        if let Some(Source::Shared(both)) = self.source.take() {
            both.borrow_mut().give_up();
        }
    }
}

impl<S> Drop for ResponseBody<S> {
    fn drop(&mut self) {
        // Of an answer that nobody wants, a refusal above all, the rest has often come.
        while let Some(Source::Own(wire)) = &mut self.source {
            match self.decoder.next(&mut wire.read) {
                Ok(Piece::Missing) | Err(_) => break,
                Ok(_) if self.decoder.is_done() => self.finish(),
                Ok(_) => {}
            }
        }
        self.drop_connection();
    }
}
