use std::io;

use crate::proxy::http::body::BoxError;

/// Why a message could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The peer does not keep to HTTP/1.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    #[error("more than {} KiB, or more than {} fields", super::MAX_HEAD / 1024, super::MAX_FIELDS)]
    HeadTooLarge,
    /// The peer closed the connection before the message's end.
    #[error("the connection was closed before the message's end")]
    Incomplete,
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// What was to be sent came to no end.
    #[error("the body broke off: {0}")]
    Body(BoxError),
    #[error("the body is not as long as its Content-Length says")]
    OtherLength,
}

impl Error {
    /// Whether the peer broke HTTP's rules.
    pub fn is_breach(&self) -> bool {
        matches!(self, Error::Malformed(_) | Error::HeadTooLarge)
    }
}
