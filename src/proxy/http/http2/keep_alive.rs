//! Asking a silent peer whether it is still there: one that vanished without a FIN, with its node
//! for example, would keep its exchanges waiting.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep};

/// Pings a connection's peer every so often.
pub struct KeepAlive {
    pings: PingPong,
    every: Duration,
    patience: Duration,
    timer: Pin<Box<Sleep>>,
    asked: bool,
}

impl KeepAlive {
    pub fn new(pings: PingPong, every: Duration, patience: Duration) -> Self {
        Self {
            pings,
            every,
            patience,
            timer: Box::pin(sleep(every)),
            asked: false,
        }
    }

    /// Ready once the peer did not answer a ping within the patience. Where it is not `wanted`
    /// when its time has come, the peer is not asked.
    pub fn poll_lost(&mut self, cx: &mut Context<'_>, wanted: impl Fn() -> bool) -> Poll<()> {
        loop {
            if self.asked && self.pings.poll_pong(cx).is_ready() {
                // A failure too: of that the connection itself hears.
                self.asked = false;
                self.wait(self.every);
            }
            ready!(self.timer.as_mut().poll(cx));
            if self.asked {
                return Poll::Ready(());
            }
            self.asked = wanted() && self.pings.send_ping(Ping::opaque()).is_ok();
            self.wait(if self.asked {
                self.patience
            } else {
                self.every
            });
        }
    }

    fn wait(&mut self, time: Duration) {
        self.timer.as_mut().reset(Instant::now() + time);
    }
}
