//! A connection in memory, polled by hand: no runtime, no clock, the same every time.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, request::Parts};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::proxy::{
    head::Http1Target,
    http::{
        ahead::Untold,
        body::BoxError,
        http1::{Connection, Doing, Head, Next, ReplyBody, Spelling, Upkeep},
    },
};

/// Rounds of polling in which no byte moves, after which nothing will.
const STILL: u32 = 4;

/// Reads what was put in, a piece at a time, and then waits for ever, or ends where it answers; keeps
/// what is written.
#[derive(Clone)]
pub struct Wire(Rc<RefCell<Ends>>);

struct Ends {
    input: VecDeque<u8>,
    piece: usize,
    output: Vec<u8>,
    /// Nothing is read before something was written, and then it ends.
    answers: bool,
}

impl Wire {
    pub fn new(input: &[u8], piece: usize) -> Self {
        let input = input.iter().copied().collect();
        Self(Rc::new(RefCell::new(Ends {
            input,
            piece,
            output: Vec::new(),
            answers: false,
        })))
    }

    /// The other side of a client: answers its first bytes, and closes.
    pub fn answering(input: &[u8]) -> Self {
        let wire = Self::new(input, usize::MAX);
        wire.0.borrow_mut().answers = true;
        wire
    }

    /// What was written so far.
    pub fn output(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.borrow_mut().output)
    }

    /// Polls until it is over, which is true, or no byte moves any more.
    pub fn until_still(&self, mut poll: impl FnMut() -> bool) -> bool {
        let moved = || (self.0.borrow().input.len(), self.0.borrow().output.len());
        let (mut before, mut still) = (moved(), 0);
        while still < STILL {
            if poll() {
                return true;
            }
            still = if moved() == before { still + 1 } else { 0 };
            before = moved();
        }
        false
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut ends = self.0.borrow_mut();
        if ends.answers && ends.output.is_empty() {
            return Poll::Pending;
        }
        let most = ends.piece.min(buf.remaining()).min(ends.input.len());
        if most == 0 && !ends.answers {
            return Poll::Pending;
        }
        let taken: Vec<u8> = ends.input.drain(..most).collect();
        buf.put_slice(&taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().output.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A body that was read, to be sent as the first one would be.
pub struct Replayed {
    frames: VecDeque<Frame<Bytes>>,
    hint: SizeHint,
}

impl Replayed {
    pub fn new(data: Bytes, trailers: Option<HeaderMap>, hint: SizeHint) -> Self {
        let data = (!data.is_empty()).then(|| Frame::data(data));
        let frames = data
            .into_iter()
            .chain(trailers.map(Frame::trailers))
            .collect();
        Self { frames, hint }
    }
}

impl Body for Replayed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.frames.pop_front().map(Ok))
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

impl ReplyBody for Replayed {
    fn spelling(&self) -> Option<&Spelling> {
        None
    }
}

/// The bytes that are sent for a request.
pub fn send(parts: &Parts, body: Replayed) -> Vec<u8> {
    let wire = Wire::new(&[], 0);
    let target = Http1Target::of(parts);
    let head = Head::of(parts, &target, None);
    let mut sending = pin!(Connection::new(wire.clone()).send(head, body, None, &Untold));
    wire.until_still(|| poll_once(sending.as_mut()).is_ready());
    wire.output()
}

/// Gives a connection all the time there is.
pub struct Unhurried;

impl Upkeep for Unhurried {
    fn poll(&mut self, _: &mut Context<'_>, _: Doing) -> Poll<Next> {
        Poll::Pending
    }

    fn is_over(&self) -> bool {
        false
    }
}

pub fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}
