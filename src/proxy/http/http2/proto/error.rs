//! Why a stream or a connection failed.

use std::{fmt, io, sync::Arc};

/// An error code (RFC 9113, section 7).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Reason(pub u32);

impl Reason {
    pub const NO_ERROR: Self = Self(0);
    pub const PROTOCOL_ERROR: Self = Self(1);
    pub const INTERNAL_ERROR: Self = Self(2);
    pub const FLOW_CONTROL_ERROR: Self = Self(3);
    pub const STREAM_CLOSED: Self = Self(5);
    pub const FRAME_SIZE_ERROR: Self = Self(6);
    pub const REFUSED_STREAM: Self = Self(7);
    pub const CANCEL: Self = Self(8);
    pub const COMPRESSION_ERROR: Self = Self(9);
    pub const ENHANCE_YOUR_CALM: Self = Self(11);

    fn name(self) -> Option<&'static str> {
        const NAMES: [&str; 14] = [
            "NO_ERROR",
            "PROTOCOL_ERROR",
            "INTERNAL_ERROR",
            "FLOW_CONTROL_ERROR",
            "SETTINGS_TIMEOUT",
            "STREAM_CLOSED",
            "FRAME_SIZE_ERROR",
            "REFUSED_STREAM",
            "CANCEL",
            "COMPRESSION_ERROR",
            "CONNECT_ERROR",
            "ENHANCE_YOUR_CALM",
            "INADEQUATE_SECURITY",
            "HTTP_1_1_REQUIRED",
        ];
        NAMES.get(self.0 as usize).copied()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "error code {}", self.0),
        }
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whose error it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// This end found it.
    Ours,
    /// The peer said it.
    Peer,
}

/// Why a stream ended before its end.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error("the stream was reset{}: {reason}", by(*side))]
    Reset { reason: Reason, side: Side },
    /// The whole connection ends, or the stream came too late on it.
    #[error("the connection goes away{}: {reason}", by(*side))]
    GoAway { reason: Reason, side: Side },
    #[error("the connection broke: {0}")]
    Io(#[source] Arc<io::Error>),
}

fn by(side: Side) -> &'static str {
    match side {
        Side::Ours => "",
        Side::Peer => " by the peer",
    }
}

impl Error {
    /// The code, where there is one.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Error::Reset { reason, .. } | Error::GoAway { reason, .. } => Some(*reason),
            Error::Io(_) => None,
        }
    }

    /// The peer ends the connection: what it had not begun it will not do (RFC 9113, section 6.8).
    pub fn is_go_away(&self) -> bool {
        let side = Side::Peer;
        matches!(self, Error::GoAway { side: of, .. } if *of == side)
    }

    /// The peer broke a rule, by what this end found.
    pub fn is_breach(&self) -> bool {
        match self {
            Error::Reset { side, .. } | Error::GoAway { side, .. } => *side == Side::Ours,
            Error::Io(_) => false,
        }
    }

    /// The peer did not begin to work on the stream.
    pub fn is_refused(&self) -> bool {
        match self.reason() {
            Some(Reason::REFUSED_STREAM) => true,
            Some(Reason::NO_ERROR) => self.is_go_away(),
            _ => false,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Error::Io(Arc::new(error))
    }
}
