//! A body that comes in, whichever HTTP it comes by.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{
    http1::{self, Spelling},
    http2::{self, Reason, ReceivedBody},
};
use crate::proxy::io::Stream;

/// The body of a client's request, or of an upstream's response.
pub enum Received {
    H1Request(http1::RequestBody),
    H1Response(http1::ResponseBody<Stream>),
    H2(ReceivedBody),
}

/// How the other side's HTTP, or the connection under it, failed.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error(transparent)]
    H1(#[from] http1::Error),
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

impl Received {
    /// How an HTTP/1 upstream spelled the head.
    pub fn spelling(&self) -> Option<&Spelling> {
        match self {
            Received::H1Response(body) => Some(body.spelling()),
            Received::H1Request(_) | Received::H2(_) => None,
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
            Received::H1Request(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Received::H1Response(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Received::H2(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Received::H1Request(body) => body.is_end_stream(),
            Received::H1Response(body) => body.is_end_stream(),
            Received::H2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Received::H1Request(body) => body.size_hint(),
            Received::H1Response(body) => body.size_hint(),
            Received::H2(body) => body.size_hint(),
        }
    }
}
