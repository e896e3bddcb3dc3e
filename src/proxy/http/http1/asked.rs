//! How an answer is framed, by what was asked.

use http::{StatusCode, Version, response};
use http_body::Body;
use tokio::sync::oneshot;

use super::{outgoing::known_length, proto::Encoder};
use crate::proxy::{head::stated_length, io::Rewind};

pub const SWITCHED: StatusCode = StatusCode::SWITCHING_PROTOCOLS;

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
    /// How an answer's body is written.
    pub fn encoder(&self, reply: &response::Parts, body: &impl Body) -> Encoder {
        if matches!(reply.status, StatusCode::NO_CONTENT | SWITCHED) {
            return Encoder::None(None);
        }
        let stated = stated_length(&reply.headers);
        if self.to_head || reply.status == StatusCode::NOT_MODIFIED {
            return Encoder::None(stated);
        }
        match stated.or_else(|| known_length(body)) {
            Some(length) => Encoder::Exact(length),
            None if self.version == Version::HTTP_10 => Encoder::UntilClose,
            None => Encoder::Chunked,
        }
    }
}
