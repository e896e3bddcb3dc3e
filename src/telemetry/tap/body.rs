//! A tap as a response's body: one JSON object a line.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::atomic::Ordering::Relaxed,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::{Sleep, sleep};

use super::Tap;

/// Exchanges in one frame at most.
const BATCH: usize = 64;

/// What the tap sees, then a last line `{"end": …}` that says why there is no more. A line
/// `{"lost": n}` stands where the reader was too slow for n exchanges.
pub struct TapBody {
    tap: Option<Tap>,
    left: u64,
    until: Pin<Box<Sleep>>,
}

impl TapBody {
    /// Ends after `max` exchanges, or after `time`.
    pub fn new(tap: Tap, max: u64, time: Duration) -> Self {
        Self {
            tap: Some(tap),
            left: max,
            until: Box::pin(sleep(time)),
        }
    }

    /// The last frame. The tap is closed with it.
    fn end(&mut self, why: &str) -> Bytes {
        self.tap = None;
        format!("{{\"end\":\"{why}\"}}\n").into()
    }
}

impl Body for TapBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        let Some(tap) = &mut this.tap else {
            return Poll::Ready(None);
        };
        let frame = |bytes| Poll::Ready(Some(Ok(Frame::data(bytes))));
        if this.left == 0 {
            return frame(this.end("as many as were asked for"));
        }
        if this.until.as_mut().poll(cx).is_ready() {
            return frame(this.end("the time is over"));
        }
        let lost = tap.lost.swap(0, Relaxed);
        if lost > 0 {
            return frame(format!("{{\"lost\":{lost}}}\n").into());
        }
        let most = usize::try_from(this.left).unwrap_or(BATCH).min(BATCH);
        let mut records = Vec::with_capacity(most);
        let got = ready!(tap.records.poll_recv_many(cx, &mut records, most));
        this.left -= got as u64;
        let mut lines = Vec::new();
        records
            .iter()
            .for_each(|record| record.write_line(&mut lines));
        frame(lines.into())
    }
}
