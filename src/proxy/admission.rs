//! Waiting at a bulkhead: the asynchronous side of the pure [`Bulkhead`].

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::host;
use crate::resilience::{
    Bulkhead, BulkheadPolicy, CallerKey, Entry, Outcome, Place, Priority, RejectCause, Ticket,
    Woken,
};

/// A bulkhead shared by all workers, so that its limit holds for the whole proxy.
///
/// The lock is held for a few dozen instructions and never across an await; with one worker
/// nobody ever waits for it.
pub struct Gate {
    inner: Mutex<Inner>,
}

struct Inner {
    bulkhead: Bulkhead,
    waiting: HashMap<Ticket, oneshot::Sender<Place>>,
    queue_wait: Duration,
}

impl Gate {
    /// Before one upstream, or before the own workload.
    pub fn new(policy: &BulkheadPolicy) -> Arc<Self> {
        Self::around(Bulkhead::new(policy), policy)
    }

    /// Before one route.
    pub fn for_route(policy: &BulkheadPolicy) -> Arc<Self> {
        Self::around(Bulkhead::for_route(policy), policy)
    }

    fn around(bulkhead: Bulkhead, policy: &BulkheadPolicy) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner {
                bulkhead,
                waiting: HashMap::new(),
                queue_wait: policy.queue_wait,
            }),
        })
    }

    /// Takes new limits without losing count of what is under way.
    pub fn update(&self, policy: &BulkheadPolicy) {
        self.change(policy, Bulkhead::update);
    }

    /// As [`update`](Self::update), for a route's.
    pub fn update_route(&self, policy: &BulkheadPolicy) {
        self.change(policy, Bulkhead::update_route);
    }

    fn change(&self, policy: &BulkheadPolicy, update: fn(&mut Bulkhead, &BulkheadPolicy)) {
        let mut inner = self.lock();
        update(&mut inner.bulkhead, policy);
        inner.queue_wait = policy.queue_wait;
        let now = host::now();
        let woken = inner.bulkhead.wake(now);
        inner.grant(now, woken);
    }

    /// In use, waiting, and the limit.
    pub fn usage(&self) -> (usize, usize, usize) {
        let inner = self.lock();
        (
            inner.bulkhead.in_use() as usize,
            inner.bulkhead.queued() as usize,
            inner.bulkhead.limit() as usize,
        )
    }

    /// A place at once, after at most the policy's queue time, or a reason why not.
    pub async fn enter(
        self: &Arc<Self>,
        priority: Priority,
        caller: Option<CallerKey>,
    ) -> Result<Pass, RejectCause> {
        let (ticket, granted, wait) = {
            let now = host::now();
            let mut inner = self.lock();
            match inner.bulkhead.enter(now, priority, caller) {
                Entry::Admitted(place) => return Ok(self.pass(place)),
                Entry::Rejected(cause) => return Err(cause),
                Entry::Queued(ticket) => {
                    let (grant, granted) = oneshot::channel();
                    inner.waiting.insert(ticket, grant);
                    (ticket, granted, inner.queue_wait)
                }
            }
        };
        let mut waiting = Waiting {
            gate: self,
            ticket,
            granted,
        };
        match tokio::time::timeout(wait, &mut waiting.granted).await {
            Ok(Ok(place)) => Ok(self.pass(place)),
            Ok(Err(_)) | Err(_) => Err(RejectCause::QueueTimeout),
        }
    }

    fn pass(self: &Arc<Self>, place: Place) -> Pass {
        Pass {
            gate: self.clone(),
            place: Some(place),
            outcome: None,
        }
    }

    fn leave(&self, place: Place, outcome: Option<&Outcome>) {
        let now = host::now();
        let mut inner = self.lock();
        let woken = inner.bulkhead.leave(now, place, outcome);
        inner.grant(now, woken);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Hands free places to those whose turn it is.
    fn grant(&mut self, now: Instant, mut woken: Option<Woken>) {
        while let Some(Woken { ticket, place }) = woken {
            let granted = match self.waiting.remove(&ticket) {
                Some(grant) => grant.send(place),
                None => Err(place),
            };
            woken = match granted {
                Ok(()) => self.bulkhead.wake(now),
                // Gone in the meantime: the place is free for the next one.
                Err(place) => self.bulkhead.leave(now, place, None),
            };
        }
    }
}

/// A place in the queue. Dropped by timeout or because the client has gone, it is given up, and
/// so is a place that was granted in that very moment.
struct Waiting<'a> {
    gate: &'a Gate,
    ticket: Ticket,
    granted: oneshot::Receiver<Place>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let now = host::now();
        let mut inner = self.gate.lock();
        if inner.waiting.remove(&self.ticket).is_some() {
            inner.bulkhead.abandon(self.ticket);
            let woken = inner.bulkhead.wake(now);
            inner.grant(now, woken);
        } else if let Ok(place) = self.granted.try_recv() {
            let woken = inner.bulkhead.leave(now, place, None);
            inner.grant(now, woken);
        }
    }
}

/// The right to be under way; dropping it lets the next one in.
pub struct Pass {
    gate: Arc<Gate>,
    place: Option<Place>,
    outcome: Option<Outcome>,
}

impl Pass {
    /// How the exchange went, for the adaptive limit.
    pub fn judge(&mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.gate.leave(place, self.outcome.as_ref());
        }
    }
}

#[cfg(test)]
#[path = "admission_tests.rs"]
mod tests;
