//! A body on its way into an HTTP/2 stream.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::Body;

use super::{
    handle::Writer,
    proto::{Error, Reason},
};
use crate::proxy::http::{body::BoxError, received::HttpError};

/// Sends a body, frame by frame as the peer's windows allow, up to the end of the stream. It keeps
/// one frame of the body at most.
pub struct Pipe<B> {
    body: B,
    stream: Writer,
    /// Waits for room: the data, and whether the stream ends with it.
    waiting: Option<(Bytes, bool)>,
    /// What the peer is told when the body breaks off for a reason that is not HTTP/2's.
    broken: Reason,
}

impl<B> Pipe<B> {
    pub fn new(body: B, stream: Writer, broken: Reason) -> Self {
        Self {
            body,
            stream,
            waiting: None,
            broken,
        }
    }
}

/// Why a body did not get through.
#[derive(Debug, thiserror::Error)]
pub enum PipeError {
    #[error("the stream failed: {0}")]
    Stream(#[from] Error),
    #[error("the body broke off: {0}")]
    Body(BoxError),
}

impl<B> Pipe<B>
where
    B: Body<Data = Bytes, Error = BoxError> + Unpin,
{
    /// Goes on until there is something to wait for.
    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PipeError>> {
        loop {
            if let Some((data, ends)) = &mut self.waiting {
                ready!(self.stream.poll_send(cx, data, *ends))?;
                if *ends {
                    return Poll::Ready(Ok(()));
                }
                self.waiting = None;
            }
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => {
                    self.waiting = Some((Bytes::new(), true));
                    continue;
                }
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Err(self.break_off(error))),
            };
            match frame.into_data() {
                Ok(data) => self.waiting = Some((data, self.body.is_end_stream())),
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        self.stream.send_trailers(&trailers)?;
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }

    /// The peer must not take what came for the whole.
    fn break_off(&mut self, error: BoxError) -> PipeError {
        let of_stream = error.downcast_ref::<HttpError>().and_then(HttpError::reset);
        // NO_ERROR would say that there is nothing more to come.
        let of_stream = of_stream.filter(|reason| *reason != Reason::NO_ERROR);
        self.stream.reset(of_stream.unwrap_or(self.broken));
        PipeError::Body(error)
    }
}

impl<B> Future for Pipe<B>
where
    B: Body<Data = Bytes, Error = BoxError> + Unpin,
{
    type Output = Result<(), PipeError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(sent) = self.advance(cx) {
            return Poll::Ready(sent);
        }
        // Whoever waits, for data or for room, waits in vain once the stream has ended.
        self.stream
            .poll_reset(cx)
            .map(|error| Err(PipeError::Stream(error)))
    }
}
