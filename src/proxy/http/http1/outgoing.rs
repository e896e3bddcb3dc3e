//! A body on its way into a connection.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    proto::{Encoder, Error},
    wire::Wire,
};
use crate::proxy::http::body::BoxError;

/// How long a body is, in bytes, where it knows.
pub fn known_length(body: &impl Body) -> Option<u64> {
    match body.is_end_stream() {
        true => Some(0),
        false => body.size_hint().exact(),
    }
}

pub struct Outgoing<B> {
    body: B,
    encoder: Encoder,
    with_trailers: bool,
    /// All of it is in the connection's output.
    is_taken: bool,
}

impl<B> Outgoing<B>
where
    B: Body<Data = Bytes, Error = BoxError> + Unpin,
{
    /// `with_trailers`: their reader knows what to do with them.
    pub fn new(body: B, encoder: Encoder, with_trailers: bool) -> Self {
        Self {
            with_trailers,
            is_taken: matches!(encoder, Encoder::None(_)),
            body,
            encoder,
        }
    }

    pub fn is_taken(&self) -> bool {
        self.is_taken
    }

    /// Whether nothing but the connection's end ends it.
    pub fn ends_with_connection(&self) -> bool {
        matches!(self.encoder, Encoder::UntilClose)
    }

    /// Takes of the body what there is and fits. Whether it waits for more of it.
    ///
    /// # Errors
    /// When the body breaks off, or is not what its head announced.
    pub fn take_on<S>(&mut self, cx: &mut Context<'_>, wire: &mut Wire<S>) -> Result<bool, Error> {
        while !self.is_taken && !wire.out.is_full() {
            let frame = match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => return Ok(true),
                Poll::Ready(None) => None,
                Poll::Ready(Some(frame)) => Some(frame.map_err(Error::Body)?),
            };
            let trailers = match frame.map(Frame::into_data) {
                Some(Ok(data)) => {
                    self.encoder.data(data, &mut wire.out)?;
                    if !self.body.is_end_stream() {
                        continue;
                    }
                    None
                }
                Some(Err(frame)) => frame.into_trailers().ok(),
                None => None,
            };
            let trailers = trailers.as_ref().filter(|_| self.with_trailers);
            self.encoder.end(trailers, &mut wire.out)?;
            self.is_taken = true;
        }
        Ok(false)
    }

    /// Ready when all is sent.
    ///
    /// # Errors
    /// As [`Self::take_on`], and when the connection breaks.
    pub fn poll_send<S>(
        &mut self,
        cx: &mut Context<'_>,
        wire: &mut Wire<S>,
    ) -> Poll<Result<(), Error>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            let waits = self.take_on(cx, wire)?;
            ready!(wire.poll_flush(cx))?;
            if self.is_taken {
                return Poll::Ready(Ok(()));
            }
            if waits {
                return Poll::Pending;
            }
        }
    }
}
