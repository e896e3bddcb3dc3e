//! A request's body between the task that serves its connection, which reads, and whoever takes it.

use std::{
    cell::{RefCell, RefMut},
    collections::VecDeque,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::proto::Error;

/// What may wait to be taken before no more is read: in bytes, and in parts, each of which costs
/// memory of its own.
const FULL: usize = 64 * 1024;
const MOST_PARTS: usize = 64;

/// What has come, and who waits for whom.
#[derive(Default)]
pub struct Inbox {
    frames: VecDeque<Frame<Bytes>>,
    /// Of `frames`, in bytes.
    size: usize,
    /// What the whole body will have beside what was taken, in bytes.
    left: Option<u64>,
    end: Option<Result<(), Error>>,
    /// Whoever takes found nothing.
    wanted: bool,
    taker: Option<Waker>,
    server: Option<Waker>,
    abandoned: bool,
}

/// The side that fills an inbox. When it is dropped before the body's end the body breaks off: its
/// taker may be a task that nothing else would end.
pub struct Filler(Rc<RefCell<Inbox>>);

impl Filler {
    /// For a body of this length, in bytes, where that is known.
    pub fn new(length: Option<u64>) -> Self {
        Self(Rc::new(RefCell::new(Inbox {
            left: length,
            ..Inbox::default()
        })))
    }

    pub fn inbox(&self) -> RefMut<'_, Inbox> {
        self.0.borrow_mut()
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        self.inbox().end(Err(Error::Incomplete));
    }
}

impl Inbox {
    /// Whether more should be read than has been.
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    pub fn is_full(&self) -> bool {
        self.size >= FULL || self.frames.len() >= MOST_PARTS
    }

    /// Nobody takes any of it any more.
    pub fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    pub fn push(&mut self, frame: Frame<Bytes>) {
        self.size += frame.data_ref().map_or(0, Bytes::len);
        self.frames.push_back(frame);
        self.tell_taker();
    }

    /// Nothing more comes, or not all that was to come.
    pub fn end(&mut self, how: Result<(), Error>) {
        self.end.get_or_insert(how);
        self.tell_taker();
    }

    fn tell_taker(&mut self) {
        self.wanted = false;
        if let Some(taker) = self.taker.take() {
            taker.wake();
        }
    }

    /// Wakes the serving task when something is taken, wanted or given up.
    pub fn serves(&mut self, cx: &Context<'_>) {
        match &mut self.server {
            Some(server) => server.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }

    /// `by` is the task that does so; where that serves the connection too, it looks anyway.
    fn tell_server(&mut self, by: Option<&Waker>) {
        let server = self.server.take();
        if let Some(server) = server.filter(|it| by.is_none_or(|by| !by.will_wake(it))) {
            server.wake();
        }
    }
}

/// A request's body, as it comes.
pub struct RequestBody(Option<Rc<RefCell<Inbox>>>);

impl RequestBody {
    pub fn empty() -> Self {
        Self(None)
    }

    pub(super) fn new(filler: &Filler) -> Self {
        Self(Some(filler.0.clone()))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(inbox) = &self.0 else {
            return Poll::Ready(None);
        };
        let mut inbox = inbox.borrow_mut();
        if let Some(frame) = inbox.frames.pop_front() {
            let size = frame.data_ref().map_or(0, Bytes::len);
            inbox.size -= size;
            inbox.left = inbox.left.map(|left| left.saturating_sub(size as u64));
            return Poll::Ready(Some(Ok(frame)));
        }
        if inbox.end.is_some() {
            return match inbox.end.replace(Ok(())) {
                Some(Err(error)) => Poll::Ready(Some(Err(error))),
                Some(Ok(())) | None => Poll::Ready(None),
            };
        }
        inbox.wanted = true;
        inbox.taker = Some(cx.waker().clone());
        inbox.tell_server(Some(cx.waker()));
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|inbox| {
            let inbox = inbox.borrow();
            inbox.frames.is_empty() && matches!(inbox.end, Some(Ok(())))
        })
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            None => SizeHint::with_exact(0),
            Some(inbox) => inbox
                .borrow()
                .left
                .map_or_else(SizeHint::new, SizeHint::with_exact),
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(inbox) = &self.0 {
            let mut inbox = inbox.borrow_mut();
            inbox.abandoned = true;
            inbox.wanted = false;
            inbox.frames.clear();
            inbox.tell_server(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a body in chunks of a byte a single read holds thousands.
    #[test]
    fn many_small_parts_fill_it_too() {
        let filler = Filler::new(None);
        for _ in 0..MOST_PARTS {
            assert!(!filler.inbox().is_full());
            filler.inbox().push(Frame::data(Bytes::from_static(b"x")));
        }
        assert!(filler.inbox().is_full());
    }
}
