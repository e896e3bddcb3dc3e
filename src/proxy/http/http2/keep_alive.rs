//! Asking a silent peer whether it is still there: one that vanished without a FIN, with its node
//! for example, would keep its exchanges waiting.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

use super::driver::Shared;

/// Pings a connection's peer every so often.
pub struct KeepAlive {
    every: Duration,
    patience: Duration,
    timer: Pin<Box<Sleep>>,
    asked: bool,
}

impl KeepAlive {
    pub fn new(every: Duration, patience: Duration) -> Self {
        Self {
            every,
            patience,
            timer: Box::pin(sleep(every)),
            asked: false,
        }
    }

    /// Ready once the peer did not answer a ping within the patience. Where it is not `wanted`
    /// when its time has come, the peer is not asked.
    pub fn poll_lost(
        &mut self,
        cx: &mut Context<'_>,
        connection: &Shared,
        wanted: impl Fn() -> bool,
    ) -> Poll<()> {
        loop {
            if self.asked && connection.borrow().has_answered() {
                self.asked = false;
                self.wait(self.every);
            }
            ready!(self.timer.as_mut().poll(cx));
            if self.asked {
                return Poll::Ready(());
            }
            self.asked = wanted() && connection.borrow_mut().ping();
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::{
        io::{DuplexStream, duplex},
        time::timeout,
    };

    use super::{
        super::{client, driver::Driver, proto::Connection},
        *,
    };

    const EVERY: Duration = Duration::from_secs(20);
    const PATIENCE: Duration = Duration::from_secs(10);

    /// Until the peer at the other end is lost.
    async fn lost(stream: DuplexStream, wanted: bool) {
        let mut driver = Driver::new(stream, Connection::new(client::config()));
        let connection = driver.connection().clone();
        let mut keep_alive = KeepAlive::new(EVERY, PATIENCE);
        poll_fn(|cx| {
            let lost = keep_alive.poll_lost(cx, &connection, || wanted);
            assert!(driver.poll(cx, |_| {}).is_pending());
            lost
        })
        .await;
    }

    async fn answering(stream: DuplexStream) {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while connection.accept().await.is_some() {}
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_answer_is_lost() {
        let (near, _far) = duplex(4096);
        let started = Instant::now();
        lost(near, true).await;
        assert_eq!(started.elapsed(), EVERY + PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_answers_stays() {
        let (near, far) = duplex(4096);
        let serving = tokio::spawn(answering(far));
        assert!(timeout(10 * EVERY, lost(near, true)).await.is_err());
        serving.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_asked_without_need() {
        let (near, _far) = duplex(4096);
        assert!(timeout(10 * EVERY, lost(near, false)).await.is_err());
    }
}
