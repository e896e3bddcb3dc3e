//! A connection in memory, polled by hand: no runtime, no clock, the same every time.

use std::{
    cell::RefCell,
    collections::VecDeque,
    convert::Infallible,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, Request, request::Parts};
use hyper::{
    body::{Body, Frame, SizeHint},
    client::conn::http1,
    rt::{Read, ReadBufCursor, Write},
};

use crate::proxy::http::{
    body::frame,
    framing::{Fault, Framing},
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
    /// What the proxy reads along with hyper, and the first fault that it has found.
    framing: Framing,
    fault: Option<Fault>,
}

impl Wire {
    pub fn new(input: &[u8], piece: usize) -> Self {
        let input = input.iter().copied().collect();
        Self(Rc::new(RefCell::new(Ends {
            input,
            piece,
            output: Vec::new(),
            answers: false,
            framing: Framing::default(),
            fault: None,
        })))
    }

    /// The other side of a client: answers its first bytes, and closes.
    pub fn answering(input: &[u8]) -> Self {
        let wire = Self::new(input, usize::MAX);
        wire.0.borrow_mut().answers = true;
        wire
    }

    /// Whether the connection's head of this number, the first being 1, is to be refused.
    pub fn is_faulty(&self, head: u32) -> bool {
        let fault = self.0.borrow().fault;
        fault.is_some_and(|fault| fault.head <= head)
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

impl Read for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut ends = self.0.borrow_mut();
        if !ends.answers {
            ends.framing.check()?;
        }
        let most = ends.piece.min(buf.remaining()).min(ends.input.len());
        if ends.answers && ends.output.is_empty() {
            return Poll::Pending;
        }
        if most == 0 {
            return match ends.answers {
                true => Poll::Ready(Ok(())),
                false => Poll::Pending,
            };
        }
        let mut taken: Vec<u8> = ends.input.drain(..most).collect();
        if !ends.answers {
            let found = ends.framing.follow(&taken);
            ends.fault = ends.fault.or(found.fault);
            taken.truncate(found.sound);
            if taken.is_empty() {
                ends.framing.check()?;
            }
        }
        buf.put_slice(&taken);
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire {
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
        let frames = data.into_iter().chain(trailers.map(Frame::trailers)).collect();
        Self { frames, hint }
    }
}

impl Body for Replayed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.frames.pop_front().map(Ok))
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

/// The bytes that hyper's client writes for a request.
pub fn send(parts: Parts, body: Replayed) -> Vec<u8> {
    let wire = Wire::new(&[], 0);
    let builder = {
        let mut builder = http1::Builder::new();
        builder.preserve_header_case(true);
        builder
    };
    let handshake = pin!(builder.handshake::<_, Replayed>(wire.clone()));
    let Poll::Ready(Ok((mut sender, mut connection))) = poll_once(handshake) else {
        unreachable!("HTTP/1 has no handshake to wait for");
    };
    let mut request = Request::from_parts(parts, body);
    frame(&mut request);
    let mut sending = pin!(sender.send_request(request));
    wire.until_still(|| {
        let answered = poll_once(sending.as_mut()).is_ready();
        answered || poll_once(Pin::new(&mut connection)).is_ready()
    });
    wire.output()
}

pub fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}
