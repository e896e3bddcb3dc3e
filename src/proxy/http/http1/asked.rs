//! How an answer is framed, by what was asked.

use http::{
    HeaderName, HeaderValue, StatusCode, Version,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
    response,
};
use http_body::Body;
use tokio::sync::oneshot;

use super::proto::Encoder;
use crate::proxy::{head::content_length, io::Rewind};

pub const SWITCHED: StatusCode = StatusCode::SWITCHING_PROTOCOLS;

/// Written anew, so that there is one of them at most.
pub static FRAMING: [HeaderName; 2] = [TRANSFER_ENCODING, CONTENT_LENGTH];

/// What is to be known of a request when it is answered.
pub struct Asked<S> {
    pub version: Version,
    pub to_head: bool,
    pub takes_trailers: bool,
    pub persists: bool,
    /// It is refused, and nothing behind it is read.
    pub faulty: bool,
    pub handover: Option<oneshot::Sender<Rewind<S>>>,
}

impl<S> Asked<S> {
    /// How an answer's body is written, and the field that says so.
    pub fn framing(
        &self,
        reply: &response::Parts,
        body: &impl Body,
    ) -> (Encoder, Option<(HeaderName, HeaderValue)>) {
        if matches!(reply.status, StatusCode::NO_CONTENT | SWITCHED) {
            return (Encoder::None, None);
        }
        let said = |length: u64| Some((CONTENT_LENGTH, HeaderValue::from(length)));
        let stated = reply.headers.get(CONTENT_LENGTH);
        let stated = stated.and_then(|length| content_length(length.as_bytes()));
        if self.to_head || reply.status == StatusCode::NOT_MODIFIED {
            return (Encoder::None, stated.and_then(said));
        }
        let exact = match body.is_end_stream() {
            true => Some(0),
            false => body.size_hint().exact(),
        };
        if let Some(length) = stated.or(exact) {
            return (Encoder::Exact(length), said(length));
        }
        if self.version == Version::HTTP_10 {
            return (Encoder::UntilClose, None);
        }
        let chunked = HeaderValue::from_static("chunked");
        (Encoder::Chunked, Some((TRANSFER_ENCODING, chunked)))
    }
}
