use std::{pin::Pin, task::Poll};

use proptest::prelude::*;

use super::*;

type Entering = Pin<Box<dyn Future<Output = Result<Pass, RejectCause>>>>;

async fn poll_once(entering: &mut Entering) -> Poll<Result<Pass, RejectCause>> {
    std::future::poll_fn(|cx| Poll::Ready(entering.as_mut().poll(cx))).await
}

/// Everybody at a gate.
struct Crowd {
    gate: Arc<Gate>,
    waiting: Vec<Entering>,
    held: Vec<Pass>,
}

impl Crowd {
    async fn poll(&mut self, mut entering: Entering) {
        match poll_once(&mut entering).await {
            Poll::Ready(Ok(pass)) => self.held.push(pass),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.waiting.push(entering),
        }
    }

    async fn step(&mut self, what: u8, n: usize) {
        match what {
            0 => {
                let gate = self.gate.clone();
                let enter = async move { gate.enter(Priority::Critical, None).await };
                self.poll(Box::pin(enter)).await;
            }
            1 if !self.waiting.is_empty() => {
                let one = self.waiting.swap_remove(n % self.waiting.len());
                self.poll(one).await;
            }
            // Where it waits, or where it was woken and did not run again.
            2 if !self.waiting.is_empty() => drop(self.waiting.swap_remove(n % self.waiting.len())),
            3 if !self.held.is_empty() => drop(self.held.swap_remove(n % self.held.len())),
            _ => {}
        }
    }
}

proptest! {
    /// Whoever goes at whatever point gives its place back, and who was woken keeps it.
    #[test]
    fn places_come_back_wherever_their_owner_is_dropped(
        steps in proptest::collection::vec((0u8..4, 0usize..8), 0..120),
        limit in 1u32..5,
        queue in 0u32..6,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        runtime.block_on(async {
            let policy = BulkheadPolicy {
                max_in_flight: limit,
                queue,
                queue_wait: Duration::from_secs(60),
                ..BulkheadPolicy::default()
            };
            let mut crowd = Crowd {
                gate: Gate::new(&policy),
                waiting: Vec::new(),
                held: Vec::new(),
            };
            for (what, n) in steps {
                crowd.step(what, n).await;
                let (in_use, queued, limit) = crowd.gate.usage();
                prop_assert!(in_use <= limit && queued <= queue as usize);
                prop_assert!(in_use >= crowd.held.len());
                prop_assert_eq!(in_use + queued, crowd.held.len() + crowd.waiting.len());
            }
            let Crowd { gate, waiting, held } = crowd;
            drop(held);
            drop(waiting);
            prop_assert_eq!(gate.usage(), (0, 0, limit as usize));
            Ok(())
        })?;
    }
}
