//! A body that comes by an HTTP/2 stream.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};

/// Gives the stream's window back as its reader takes the data.
pub struct ReceivedBody {
    stream: RecvStream,
    /// What `Content-Length` says is still to come, in bytes; h2 holds the peer to it.
    left: Option<u64>,
    data_ended: bool,
    /// The exchange is under way, for the connection's keep-alive.
    _under_way: Option<Rc<()>>,
}

impl ReceivedBody {
    pub(super) fn new(stream: RecvStream, headers: &HeaderMap, under_way: Option<Rc<()>>) -> Self {
        let length = headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        Self {
            stream,
            left: length,
            data_ended: false,
            _under_way: under_way,
        }
    }
}

/// RST_STREAM with NO_ERROR stops an upload that the answer did not need (RFC 9113 8.1): the end
/// of what is wanted, and no failure.
fn unless_stopped<T>(error: h2::Error) -> Poll<Option<Result<T, h2::Error>>> {
    match error.reason() {
        Some(Reason::NO_ERROR) => Poll::Ready(None),
        _ => Poll::Ready(Some(Err(error))),
    }
}

impl Body for ReceivedBody {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.data_ended {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // It fails where the stream has ended, and there is no window to give back.
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    let came = data.len() as u64;
                    self.left = self.left.map(|left| left.saturating_sub(came));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return unless_stopped(error),
                None => self.data_ended = true,
            }
        }
        match ready!(self.stream.poll_trailers(cx)) {
            Ok(trailers) => Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers)))),
            Err(error) => unless_stopped(error),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}
