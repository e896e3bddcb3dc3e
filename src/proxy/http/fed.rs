//! A body whose frames a test sends when it likes.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use super::{
    body::BoxError,
    http1::{ReplyBody, Spelling},
};

pub struct Fed {
    frames: mpsc::UnboundedReceiver<Result<Frame<Bytes>, BoxError>>,
    length: Option<u64>,
    /// Frames that were asked for and there.
    pub taken: Rc<Cell<usize>>,
}

/// It is over when this is dropped.
pub type Feed = mpsc::UnboundedSender<Result<Frame<Bytes>, BoxError>>;

impl Fed {
    pub fn new() -> (Feed, Self) {
        let (feed, frames) = mpsc::unbounded_channel();
        let fed = Self {
            frames,
            length: None,
            taken: Rc::default(),
        };
        (feed, fed)
    }

    /// All there, with its length known.
    pub fn whole(text: &'static str) -> Self {
        let (feed, mut fed) = Self::new();
        if !text.is_empty() {
            feed.send(data(text)).expect("its reader is there");
        }
        fed.length = Some(text.len() as u64);
        fed
    }
}

pub fn data(text: &'static str) -> Result<Frame<Bytes>, BoxError> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

impl Body for Fed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = self.frames.poll_recv(cx);
        self.taken
            .update(|taken| taken + usize::from(frame.is_ready()));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.length == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

impl ReplyBody for Fed {
    fn spelling(&self) -> Option<&Spelling> {
        None
    }
}
