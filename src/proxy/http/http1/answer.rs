//! An upstream's answer, which reads its connection, and the rest of the request that may still be
//! on its way there.

use std::{
    cell::RefCell,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    client::{Connection, Home},
    outgoing::Outgoing,
    proto::{Decoder, Error, Piece, ResponseHead, Spelling},
    wire::Wire,
};
use crate::proxy::{http::body::BoxError, io::Rewind};

/// What is left of an exchange when there is an answer.
pub fn receive<S, B>(
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
        wire.rest();
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
        let sent = upload.poll_send(cx, wire);
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
