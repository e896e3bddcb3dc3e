//! Taps: somebody looks on at a proxy's exchanges for a while.
//!
//! While nobody does, an exchange pays one relaxed load for it. While somebody does, each exchange
//! that the tap's filter lets through is offered to a bounded queue at its end; what a slow reader
//! does not take is lost and counted, and traffic never waits. No header and no body is told, of
//! a path no query.

mod body;
mod filter;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::mpsc;

use super::access_log::Record;

pub use body::TapBody;
pub use filter::{Filter, InvalidQuery, Query};

/// Taps at a time.
pub const MAX_TAPS: usize = 4;
/// A tap ends by itself after this time at the latest: nobody forgets one.
pub const MAX_TIME: Duration = Duration::from_secs(240);
/// Exchanges that wait for a reader, for each tap; about 500 bytes each.
const QUEUE: usize = 256;

/// The taps of a proxy. Clones are the same taps.
#[derive(Clone, Debug, Default)]
pub struct Taps(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// How many there are, to be read without the lock.
    open: AtomicUsize,
    taps: Mutex<Vec<Sender>>,
}

#[derive(Debug)]
struct Sender {
    filter: Filter,
    queue: mpsc::Sender<Box<Record>>,
    lost: Arc<AtomicU64>,
}

impl Taps {
    /// Whether anybody looks on: where nobody does, no record needs to be built.
    pub fn is_on(&self) -> bool {
        self.0.open.load(Relaxed) > 0
    }

    /// Tells of an exchange that has ended.
    pub fn offer(&self, record: &Record) {
        if !self.is_on() {
            return;
        }
        for tap in self.lock().iter().filter(|tap| tap.filter.matches(record)) {
            if tap.queue.try_send(Box::new(record.clone())).is_err() {
                tap.lost.fetch_add(1, Relaxed);
            }
        }
    }

    /// One more, until it is dropped; `None` when there are [`MAX_TAPS`].
    pub fn open(&self, filter: Filter) -> Option<Tap> {
        let (queue, records) = mpsc::channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let mut taps = self.lock();
        if taps.len() >= MAX_TAPS {
            return None;
        }
        taps.push(Sender {
            filter,
            queue,
            lost: lost.clone(),
        });
        self.0.open.store(taps.len(), Relaxed);
        drop(taps);
        Some(Tap {
            taps: self.clone(),
            records,
            lost,
        })
    }

    /// Locks what no thread panics while holding.
    fn lock(&self) -> MutexGuard<'_, Vec<Sender>> {
        self.0.taps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reader's end.
#[derive(Debug)]
pub struct Tap {
    taps: Taps,
    records: mpsc::Receiver<Box<Record>>,
    lost: Arc<AtomicU64>,
}

impl Drop for Tap {
    fn drop(&mut self) {
        let mut taps = self.taps.lock();
        taps.retain(|tap| !Arc::ptr_eq(&tap.lost, &self.lost));
        self.taps.0.open.store(taps.len(), Relaxed);
    }
}

#[cfg(test)]
mod tests;
