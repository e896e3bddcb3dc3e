//! A body on its way into an HTTP/2 stream.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;

use crate::proxy::http::{body::BoxError, received::HttpError};

/// Sends a body, frame by frame as the peer's windows allow, up to the end of the stream.
pub struct Pipe<B> {
    body: B,
    stream: SendStream<Bytes>,
    /// Waits for the window: the data, and whether the stream ends with it.
    waiting: Option<(Bytes, bool)>,
    /// What the peer is told when the body breaks off for a reason that is not HTTP/2's.
    broken: Reason,
}

impl<B> Pipe<B> {
    pub fn new(body: B, stream: SendStream<Bytes>, broken: Reason) -> Self {
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
    Stream(#[from] h2::Error),
    #[error("the peer reset the stream: {0}")]
    Reset(Reason),
    #[error("the stream takes no more data")]
    Closed,
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
            if self.waiting.is_some() {
                ready!(self.room(cx))?;
            }
            if let Some((data, ends)) = self.waiting.take() {
                // What exceeds the room waits in h2: the rest of one frame at most.
                self.stream.send_data(data, ends)?;
                if ends {
                    return Poll::Ready(Ok(()));
                }
            }
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => {
                    self.stream.send_data(Bytes::new(), true)?;
                    return Poll::Ready(Ok(()));
                }
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Err(self.break_off(error))),
            };
            match frame.into_data() {
                Ok(data) => self.waiting = Some((data, self.body.is_end_stream())),
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        self.stream.send_trailers(trailers)?;
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }

    /// Until the peer takes at least a byte of what waits. Asked for only once there is data: room
    /// that is set aside for a body that does not come is missing to the connection's other
    /// streams.
    fn room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PipeError>> {
        let empty = self
            .waiting
            .as_ref()
            .is_none_or(|(data, _)| data.is_empty());
        if empty || self.stream.capacity() > 0 {
            return Poll::Ready(Ok(()));
        }
        self.stream.reserve_capacity(1);
        while self.stream.capacity() == 0 {
            ready!(self.stream.poll_capacity(cx)).ok_or(PipeError::Closed)??;
        }
        Poll::Ready(Ok(()))
    }

    /// The peer must not take what came for the whole.
    fn break_off(&mut self, error: BoxError) -> PipeError {
        let of_stream = error.downcast_ref::<HttpError>().and_then(HttpError::reset);
        self.stream.send_reset(of_stream.unwrap_or(self.broken));
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
        // Whoever waits, for data or for room, waits in vain once the peer has reset the stream.
        self.stream
            .poll_reset(cx)
            .map(|reset| Err(PipeError::Reset(reset?)))
    }
}
