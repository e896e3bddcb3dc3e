//! A body that comes by an HTTP/2 stream.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::{handle::Reader, proto::Error};
use crate::proxy::head::stated_length;

/// Gives the stream's window back as its reader takes the data.
pub struct ReceivedBody {
    stream: Reader,
    /// What `Content-Length` says is still to come, in bytes; the peer is held to it.
    left: Option<u64>,
}

impl ReceivedBody {
    pub(super) fn new(stream: Reader, headers: &HeaderMap) -> Self {
        Self {
            stream,
            left: stated_length(headers),
        }
    }
}

impl Body for ReceivedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Poll::Ready(match ready!(self.stream.poll_data(cx)) {
            Some(Ok(data)) => {
                let came = data.len() as u64;
                self.left = self.left.map(|left| left.saturating_sub(came));
                Some(Ok(Frame::data(data)))
            }
            Some(Err(error)) => Some(Err(error)),
            None => self
                .stream
                .take_trailers()
                .map(|it| Ok(Frame::trailers(it))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_read()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}
