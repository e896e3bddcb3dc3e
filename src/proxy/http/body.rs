//! The bodies that pass through, and what is settled when they end.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant as Deadline, Sleep};

use super::{
    held::Held,
    http1::{ReplyBody, Spelling},
    kind,
    received::Received,
    replay::ReplayBody,
};
use crate::host;

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What to send upstream.
pub enum RequestBody {
    Empty,
    /// Kept whole so that it can be sent again.
    Kept(Option<Bytes>),
    Streamed(ClientBody),
    Replayed(ReplayBody<ClientBody>),
}

/// What is to be known of a body from the client, also after it has gone its way.
#[derive(Default)]
pub struct Upload {
    /// The client broke it off: what fails then is not the upstream's fault.
    pub broke_off: Cell<bool>,
    pub bytes: Cell<u64>,
    /// Where it goes by a connection that others share.
    pub held: RefCell<Option<Held>>,
}

/// A body on its way from the client.
pub struct ClientBody {
    body: Received,
    upload: Rc<Upload>,
}

impl ClientBody {
    pub fn new(body: Received) -> Self {
        Self {
            body,
            upload: Rc::default(),
        }
    }

    pub fn upload(&self) -> Rc<Upload> {
        self.upload.clone()
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Poll::Ready(mut frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            if let Some(held) = &*self.upload.held.borrow() {
                held.is_asked_for();
            }
            return Poll::Pending;
        };
        if let Some(trailers) = frame
            .as_mut()
            .and_then(|it| it.as_mut().ok()?.trailers_mut())
        {
            // Some servers add them to the headers.
            kind::unname(trailers);
        }
        let ended = match &frame {
            Some(Err(_)) => {
                self.upload.broke_off.set(true);
                false
            }
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.upload.bytes.update(|before| before + bytes);
                if let Some(held) = &mut *self.upload.held.borrow_mut() {
                    held.went_on(bytes, host::now);
                }
                self.body.is_end_stream()
            }
            None => true,
        };
        if ended {
            self.upload.held.take();
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            RequestBody::Empty => Poll::Ready(None),
            RequestBody::Kept(bytes) => whole_frame(bytes),
            RequestBody::Streamed(client) => Pin::new(client).poll_frame(cx),
            RequestBody::Replayed(client) => Pin::new(client).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            RequestBody::Empty => true,
            RequestBody::Kept(bytes) => bytes.is_none(),
            RequestBody::Streamed(client) => client.is_end_stream(),
            RequestBody::Replayed(client) => client.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            RequestBody::Empty => SizeHint::with_exact(0),
            RequestBody::Kept(bytes) => whole_size(bytes),
            RequestBody::Streamed(client) => client.size_hint(),
            RequestBody::Replayed(client) => client.size_hint(),
        }
    }
}

type WholeFrame = Poll<Option<Result<Frame<Bytes>, BoxError>>>;

/// The one frame of a body that is there as a whole.
fn whole_frame(bytes: &mut Option<Bytes>) -> WholeFrame {
    Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))))
}

fn whole_size(bytes: &Option<Bytes>) -> SizeHint {
    SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
}

/// Watches a response body go by. Dropped when the body has ended or nobody wants it any more.
pub trait Observer {
    fn data(&mut self, bytes: &Bytes);
    /// The client asked for more than has come.
    fn waits(&mut self);
    fn trailers(&mut self, trailers: &HeaderMap);
    fn failed(&mut self);
    /// The exchange's deadline passed.
    fn timed_out(&mut self);
    /// The last byte or the trailers went by.
    fn ended(&mut self);
}

/// What the client gets.
pub enum ResponseBody<O> {
    Local(Option<Bytes>),
    /// None, in an answer that an HTTP/1 upstream spelled in this way.
    Ended(Spelling),
    Streamed {
        body: Received,
        /// When the whole exchange must be over.
        deadline: Option<Pin<Box<Sleep>>>,
        /// Boxed, since an answer is moved from hand to hand.
        observer: Option<Box<O>>,
    },
}

impl<O> ResponseBody<O> {
    pub fn local(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        ResponseBody::Local((!bytes.is_empty()).then_some(bytes))
    }
}

impl<O> ResponseBody<O> {
    /// Nothing of a body, whatever is in it.
    pub fn ended(body: &Received) -> Self {
        match body.spelling() {
            Some(spelling) => ResponseBody::Ended(spelling.clone()),
            None => ResponseBody::Local(None),
        }
    }
}

impl<O: Observer + Unpin> ReplyBody for ResponseBody<O> {
    fn spelling(&self) -> Option<&Spelling> {
        match self {
            ResponseBody::Local(_) => None,
            ResponseBody::Ended(spelling) => Some(spelling),
            ResponseBody::Streamed { body, .. } => body.spelling(),
        }
    }
}

impl<O: Observer + Unpin> ResponseBody<O> {
    /// A body that is over before it starts settles at once.
    pub fn streamed(body: Received, deadline: Option<Deadline>, mut observer: Box<O>) -> Self {
        if body.is_end_stream() {
            observer.ended();
            return Self::ended(&body);
        }
        ResponseBody::Streamed {
            body,
            deadline: deadline.map(|at| Box::pin(tokio::time::sleep_until(at))),
            observer: Some(observer),
        }
    }
}

impl<O: Observer + Unpin> Body for ResponseBody<O> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            ResponseBody::Local(bytes) => whole_frame(bytes),
            ResponseBody::Ended(_) => Poll::Ready(None),
            ResponseBody::Streamed {
                body,
                deadline,
                observer,
            } => {
                let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) else {
                    if let Some(watching) = observer {
                        watching.waits();
                    }
                    let Some(deadline) = deadline else {
                        return Poll::Pending;
                    };
                    ready!(deadline.as_mut().poll(cx));
                    if let Some(mut watching) = observer.take() {
                        watching.timed_out();
                    }
                    return Poll::Ready(Some(Err("the request's time is over".into())));
                };
                let Some(watching) = observer else {
                    return Poll::Ready(frame.map(|f| f.map_err(Into::into)));
                };
                match &frame {
                    None => watching.ended(),
                    Some(Err(_)) => watching.failed(),
                    Some(Ok(frame)) => {
                        if let Some(data) = frame.data_ref() {
                            watching.data(data);
                        } else if let Some(trailers) = frame.trailers_ref() {
                            watching.trailers(trailers);
                        }
                        if body.is_end_stream() {
                            watching.ended();
                        }
                    }
                }
                // Permits go back with the last frame, not when the client's next request comes.
                if body.is_end_stream() || !matches!(frame, Some(Ok(_))) {
                    *observer = None;
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ResponseBody::Local(bytes) => bytes.is_none(),
            ResponseBody::Ended(_) => true,
            ResponseBody::Streamed { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Local(bytes) => whole_size(bytes),
            ResponseBody::Ended(_) => SizeHint::with_exact(0),
            ResponseBody::Streamed { body, .. } => body.size_hint(),
        }
    }
}
