//! The exchanges of one connection, one after the other, whoever answers them.

use std::{
    future::poll_fn,
    mem,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Method, Request, Response, Version, header::CONNECTION, response};
use http_body::{Body, Frame};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::oneshot,
};

use super::{
    OnUpgrade,
    asked::{Asked, SWITCHED},
    early::Early,
    inbox::{Filler, RequestBody},
    outgoing::Outgoing,
    patience::{Doing, Next},
    proto::{
        self, Decoder, Encoder, Error, Fields, Found, Length, Line, Piece, RequestHead, Search,
        Spelling,
    },
    wire::Wire,
};
use crate::proxy::{
    head::{BadRequest, list_contains},
    http::body::BoxError,
    io::Rewind,
};

/// What of a request's body that nobody takes is read past, in bytes, so that the connection can
/// be used again.
const READ_PAST: usize = 256 * 1024;

/// What a request's connection has to say beside it.
pub struct Client<S> {
    /// Why the request is to be refused; nothing behind it is read.
    pub fault: Option<BadRequest>,
    pub spelling: Spelling,
    /// Where the request asks for an upgrade: the stream, after 101 was sent.
    pub upgrade: Option<OnUpgrade<S>>,
    /// Takes interim answers.
    pub early: Rc<Early>,
}

/// An answer's body.
pub trait ReplyBody: Body<Data = Bytes, Error = BoxError> + Unpin {
    /// How the upstream spelled the answer's head, where that was HTTP/1 too.
    fn spelling(&self) -> Option<&Spelling>;
}

/// Decides how long a connection may go on; with a clock, which there is none of here.
pub trait Upkeep {
    /// Ready with anything but [`Next::Go`]. Polled whenever the connection is.
    fn poll(&mut self, cx: &mut Context<'_>, doing: Doing) -> Poll<Next>;
    /// Whether the exchange under way is the last.
    fn is_over(&self) -> bool;
}

/// How a connection came to its end, or to rest.
pub enum Ended<S> {
    /// Nothing goes on on it.
    Parked(S),
    Closed,
    /// Everything is said, and the client may still be sending: were it closed at once, the
    /// answer could be lost with what is not read.
    Unread(Wire<S>),
    /// What was sent is not all, and its reader could not tell.
    CutOff(S),
    /// What came is no request.
    Refused(Error, Wire<S>),
    /// A head did not end in time.
    SlowHead,
    /// The client took nothing of its answer.
    Stalled,
    /// The client sent nothing of its request's body.
    Silent,
}

impl<S> Ended<S> {
    fn of(next: Next) -> Self {
        match next {
            Next::Go | Next::Park | Next::Close => Ended::Closed,
            Next::Cut => Ended::SlowHead,
            Next::Stalled => Ended::Stalled,
            Next::Silent => Ended::Silent,
        }
    }
}

/// Carries exchanges until the connection ends or rests. `answer` is called for each in turn.
pub async fn carry<S, A, F, B, U>(stream: S, mut answer: A, upkeep: &mut U) -> Ended<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: FnMut(Request<RequestBody>, Client<S>) -> F,
    F: Future<Output = Response<B>> + Unpin,
    B: ReplyBody,
    U: Upkeep,
{
    let mut serving = Serving::new(Wire::new(stream));
    loop {
        let head = match poll_fn(|cx| serving.poll_head(cx, upkeep)).await {
            Ok(head) => head,
            Err(NoRequest::Unreadable(error)) => return Ended::Refused(error, serving.wire),
            Err(NoRequest::Ended(Next::Park)) => {
                return Ended::Parked(serving.wire.into_parts().0);
            }
            Err(NoRequest::Ended(next)) => return Ended::of(next),
        };
        let (request, client, mut asked) = serving.begin(head);
        let mut answering = answer(request, client);
        let answered = poll_fn(|cx| {
            let polled = Pin::new(&mut answering).poll(cx);
            serving.early.write(asked.version, &mut serving.wire.out);
            match polled {
                Poll::Ready(reply) => Poll::Ready(Ok(reply)),
                Poll::Pending => serving.poll_meanwhile(cx, upkeep).map(Err),
            }
        });
        let reply = match answered.await {
            Ok(reply) => reply,
            Err(next) => return Ended::of(next),
        };
        drop(answering);
        let (parts, body) = reply.into_parts();
        asked.persists &= !upkeep.is_over();
        let mut sending = serving.begin_reply(&mut asked, &parts, body);
        match poll_fn(|cx| serving.poll_reply(cx, &mut sending, upkeep)).await {
            Sent::Whole => {}
            Sent::CutOff if sending.ends_with_connection() => {
                return Ended::CutOff(serving.wire.into_parts().0);
            }
            Sent::CutOff => return Ended::Closed,
            Sent::Ended(next) => return Ended::of(next),
        }
        drop(sending);
        if parts.status == SWITCHED {
            let (stream, read) = serving.wire.into_parts();
            if let Some(handover) = asked.handover {
                // Whoever waited for it may have gone.
                let _ = handover.send(Rewind::new(read.freeze(), stream));
            }
            return Ended::Closed;
        }
        let rest = poll_fn(|cx| serving.poll_rest(cx, asked.persists, upkeep)).await;
        match rest {
            Rest::Read if asked.persists && !upkeep.is_over() => serving.inbox = None,
            Rest::Read if serving.wire.read.is_empty() && !asked.faulty => {
                poll_fn(|cx| serving.poll_shutdown(cx, upkeep)).await;
                return Ended::Closed;
            }
            Rest::Read | Rest::TooMuch => return Ended::Unread(serving.wire),
            Rest::Ended(next) => return Ended::of(next),
        }
    }
}

/// Why there is no next request.
enum NoRequest {
    /// What came is none.
    Unreadable(Error),
    Ended(Next),
}

/// How the sending of an answer ended.
enum Sent {
    Whole,
    /// The body broke off, or is not what its head announced.
    CutOff,
    Ended(Next),
}

/// What became of what is left of a request when it was answered.
enum Rest {
    Read,
    /// Reading past it is not worth the connection.
    TooMuch,
    Ended(Next),
}

struct Serving<S> {
    wire: Wire<S>,
    search: Search,
    decoder: Decoder,
    inbox: Option<Filler>,
    early: Rc<Early>,
    /// The client waits to be asked for the body.
    expects_continue: bool,
    /// It was never asked for it.
    unasked: bool,
    /// Of a body that nobody takes, what was read past.
    read_past: usize,
    /// The client's bytes can no longer be read.
    unreadable: bool,
    /// The answer to the last request has begun.
    replied: bool,
    heads: u32,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Serving<S> {
    fn new(wire: Wire<S>) -> Self {
        Self {
            wire,
            search: Search::default(),
            decoder: Decoder::new(Length::Empty),
            inbox: None,
            early: Rc::default(),
            expects_continue: false,
            unasked: false,
            read_past: 0,
            unreadable: false,
            replied: false,
            heads: 0,
        }
    }

    fn doing(&self, exchanging: bool, in_head: bool) -> Doing {
        Doing {
            heads: self.heads,
            exchanging,
            in_head,
            unsent: self.wire.is_unsent(),
            writes: self.wire.writes(),
            awaits: exchanging && !self.replied && self.is_wanted(),
            reads: self.wire.reads(),
        }
    }

    /// The next request's head.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        upkeep: &mut impl Upkeep,
    ) -> Poll<Result<RequestHead, NoRequest>> {
        loop {
            if let Some(head) = self.take_head().map_err(NoRequest::Unreadable)? {
                return Poll::Ready(Ok(head));
            }
            match self.wire.poll_fill(cx) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false) | Err(_)) => {
                    return Poll::Ready(Err(NoRequest::Ended(Next::Close)));
                }
                Poll::Pending => break,
            }
        }
        let doing = self.doing(false, !self.wire.read.is_empty());
        upkeep
            .poll(cx, doing)
            .map(|next| Err(NoRequest::Ended(next)))
    }

    /// A head, if all of it has come.
    fn take_head(&mut self) -> Result<Option<RequestHead>, Error> {
        match self.search.go_on(&self.wire.read)? {
            Found::Head(end) => {
                let bytes = self.wire.read.split_to(end).freeze();
                return proto::request(bytes, &mem::take(&mut self.search)).map(Some);
            }
            // A client that speaks something else may wait for an answer.
            Found::Line => proto::check_request(&self.wire.read)?,
            Found::Nothing => {}
        }
        if self.search.skips(self.wire.read.len()) {
            self.wire.read.clear();
        }
        Ok(None)
    }

    /// Ends the stream in order. Whether the client sees that is its matter, and it must not take
    /// for ever.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>, upkeep: &mut impl Upkeep) -> Poll<()> {
        if self.wire.poll_shutdown(cx).is_ready() {
            return Poll::Ready(());
        }
        let doing = Doing {
            unsent: true,
            ..self.doing(true, false)
        };
        upkeep.poll(cx, doing).map(drop)
    }

    fn begin(&mut self, head: RequestHead) -> (Request<RequestBody>, Client<S>, Asked<S>) {
        self.heads = self.heads.wrapping_add(1);
        self.read_past = 0;
        self.replied = false;
        self.decoder = Decoder::new(head.length);
        let body = if self.decoder.is_done() {
            RequestBody::empty()
        } else {
            let inbox = self.inbox.insert(Filler::new(self.decoder.left()));
            let body = RequestBody::new(inbox);
            self.unpack();
            body
        };
        // Whoever has sent it all has not waited.
        self.expects_continue = head.expects_continue && !self.decoder.is_done();
        let (handover, upgrade) = head.upgrades.then(oneshot::channel).unzip();
        let asked = Asked {
            version: head.parts.version,
            to_head: head.parts.method == Method::HEAD,
            takes_trailers: head.takes_trailers,
            persists: head.persists,
            faulty: head.fault.is_some(),
            handover,
        };
        let client = Client {
            fault: head.fault,
            spelling: head.spelling,
            upgrade,
            early: self.early.clone(),
        };
        (Request::from_parts(head.parts, body), client, asked)
    }

    /// Puts what has come of the body into its inbox. True where more must come first.
    fn unpack(&mut self) -> bool {
        let Some(inbox) = &self.inbox else {
            return false;
        };
        let mut inbox = inbox.inbox();
        while !inbox.is_full() && !self.decoder.is_done() {
            match self.decoder.next(&mut self.wire.read) {
                Ok(Piece::Data(data)) => inbox.push(Frame::data(data)),
                Ok(Piece::Trailers(trailers)) => inbox.push(Frame::trailers(trailers)),
                Ok(Piece::End) => {}
                Ok(Piece::Missing) => return true,
                Err(error) => {
                    self.unreadable = true;
                    inbox.end(Err(error));
                    return false;
                }
            }
        }
        if self.decoder.is_done() {
            inbox.end(Ok(()));
        }
        false
    }

    /// Reads on in the request's body as far as somebody wants it.
    fn read_body(&mut self, cx: &mut Context<'_>) {
        while !self.decoder.is_done() && !self.unreadable {
            let Some(filler) = &self.inbox else { return };
            let mut inbox = filler.inbox();
            inbox.serves(cx);
            if inbox.is_abandoned() || !inbox.is_wanted() {
                return;
            }
            drop(inbox);
            if !self.unpack() || !self.is_wanted() {
                continue;
            }
            if mem::take(&mut self.expects_continue) {
                let word = b"HTTP/1.1 100 Continue\r\n\r\n";
                self.wire.out.row().extend_from_slice(word);
            }
            match self.wire.poll_fill(cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => self.break_off(Error::Incomplete),
                Poll::Ready(Err(error)) => self.break_off(error.into()),
            }
        }
    }

    fn is_wanted(&self) -> bool {
        let inbox = self.inbox.as_ref();
        inbox.is_some_and(|inbox| inbox.inbox().is_wanted())
    }

    /// No more of the client's bytes can be read.
    fn break_off(&mut self, why: Error) {
        self.unreadable = true;
        if let Some(inbox) = &self.inbox {
            inbox.inbox().end(Err(why));
        }
    }

    /// What goes on while the answer is not there, or not ready to be sent on. Ready when the
    /// exchange is to be given up.
    fn poll_meanwhile(&mut self, cx: &mut Context<'_>, upkeep: &mut impl Upkeep) -> Poll<Next> {
        self.read_body(cx);
        if self.wire.is_unsent() && matches!(self.wire.poll_flush(cx), Poll::Ready(Err(_))) {
            return Poll::Ready(Next::Close);
        }
        // A client that closed has given up, and its request must end with it.
        let all_read = self.decoder.is_done() && self.wire.read.is_empty() && !self.unreadable;
        if all_read && matches!(self.wire.poll_fill(cx), Poll::Ready(Ok(false) | Err(_))) {
            return Poll::Ready(Next::Close);
        }
        let doing = self.doing(true, false);
        upkeep.poll(cx, doing)
    }

    fn begin_reply<B: ReplyBody>(
        &mut self,
        asked: &mut Asked<S>,
        reply: &response::Parts,
        body: B,
    ) -> Outgoing<B> {
        self.replied = true;
        let says = reply.headers.get(CONNECTION);
        let says_close = says.is_some() && list_contains(&reply.headers, &CONNECTION, "close");
        // Whoever has its answer is not asked for the body any more, and may send it or not.
        self.unasked = mem::take(&mut self.expects_continue);
        asked.persists &= !says_close && !self.unreadable && !self.unasked;
        let encoder = asked.encoder(reply, &body);
        asked.persists &= !matches!(encoder, Encoder::UntilClose);
        let connection: Option<&[u8]> = match asked.persists {
            _ if says.is_some() => None,
            true if asked.version == Version::HTTP_10 => Some(b"keep-alive"),
            true => None,
            false => Some(b"close"),
        };
        let fields = Fields {
            headers: &reply.headers,
            without: &[],
            with: connection.map(|word| (&CONNECTION, word)),
            spelling: body.spelling(),
        };
        let line = Line::Response {
            status: reply.status,
            version: asked.version,
        };
        fields.write(&line, &encoder, &mut self.wire.out);
        Outgoing::new(body, encoder, asked.takes_trailers)
    }

    fn poll_reply<B: ReplyBody>(
        &mut self,
        cx: &mut Context<'_>,
        sending: &mut Outgoing<B>,
        upkeep: &mut impl Upkeep,
    ) -> Poll<Sent> {
        loop {
            let waits = match sending.take_on(cx, &mut self.wire) {
                Ok(waits) => waits,
                Err(error) => {
                    tracing::debug!(%error, "an answer was not sent whole");
                    // What is there is true; whether it gets through changes nothing.
                    let _ = self.wire.poll_flush(cx);
                    return Poll::Ready(Sent::CutOff);
                }
            };
            match self.wire.poll_flush(cx) {
                Poll::Ready(Ok(())) if sending.is_taken() => return Poll::Ready(Sent::Whole),
                Poll::Ready(Ok(())) if !waits => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Sent::Ended(Next::Close)),
                Poll::Ready(Ok(())) | Poll::Pending => break,
            }
        }
        if sending.is_taken() {
            // Nothing more is asked of the client but to take what there is.
            self.read_body(cx);
            let doing = self.doing(true, false);
            return upkeep.poll(cx, doing).map(Sent::Ended);
        }
        self.poll_meanwhile(cx, upkeep).map(Sent::Ended)
    }

    /// The request was answered: what is left of its body is for whoever takes it, or read past.
    fn poll_rest(
        &mut self,
        cx: &mut Context<'_>,
        persists: bool,
        upkeep: &mut impl Upkeep,
    ) -> Poll<Rest> {
        loop {
            if self.decoder.is_done() {
                return Poll::Ready(Rest::Read);
            }
            let taken = self.inbox.as_ref();
            if self.unreadable || taken.is_none() {
                return Poll::Ready(Rest::TooMuch);
            }
            if !taken.is_some_and(|inbox| inbox.inbox().is_abandoned()) {
                let polled = self.poll_meanwhile(cx, upkeep).map(Rest::Ended);
                let over = self.decoder.is_done() || self.unreadable;
                match polled {
                    Poll::Pending if over => continue,
                    polled => return polled,
                }
            }
            if self.unasked || !persists || self.read_past > READ_PAST {
                return Poll::Ready(Rest::TooMuch);
            }
            match self.decoder.next(&mut self.wire.read) {
                Ok(Piece::Data(data)) => self.read_past += data.len(),
                Ok(Piece::Trailers(_) | Piece::End) => {}
                Err(_) => return Poll::Ready(Rest::TooMuch),
                Ok(Piece::Missing) => match self.wire.poll_fill(cx) {
                    Poll::Ready(Ok(true)) => {}
                    Poll::Ready(Ok(false) | Err(_)) => {
                        return Poll::Ready(Rest::Ended(Next::Close));
                    }
                    Poll::Pending => {
                        let doing = self.doing(false, true);
                        return upkeep.poll(cx, doing).map(Rest::Ended);
                    }
                },
            }
        }
    }
}
