//! A body that comes in, whichever HTTP it comes by.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::http2::{self, Reason, ReceivedBody};

/// The body of a client's request, or of an upstream's response.
pub enum Received {
    H1(Incoming),
    H2(ReceivedBody),
}

/// How the other side's HTTP, or the connection under it, failed.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error(transparent)]
    H1(#[from] hyper::Error),
    #[error(transparent)]
    H2(#[from] http2::Error),
}

impl HttpError {
    /// The reason that the peer gave, in HTTP/2.
    pub fn reset(&self) -> Option<Reason> {
        match self {
            HttpError::H1(_) => None,
            HttpError::H2(error) => error.reason(),
        }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        match self.get_mut() {
            Received::H1(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Received::H2(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Received::H1(body) => body.is_end_stream(),
            Received::H2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Received::H1(body) => body.size_hint(),
            Received::H2(body) => body.size_hint(),
        }
    }
}
