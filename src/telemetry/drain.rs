//! Draining: told to finish, everything that carries traffic finishes, and the drain is done
//! when the last holder of a [`Watch`] has dropped it.
//!
//! How long to wait is the caller's: wrap [`Signal::drain`] in a timeout.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::host::watch;

/// Starts a drain and waits for its end.
pub struct Signal {
    tx: watch::Sender<()>,
    started: Arc<AtomicBool>,
}

/// Held by whatever must finish before the process may leave; usable from any thread.
#[derive(Clone)]
pub struct Watch {
    rx: watch::Receiver<()>,
    started: Arc<AtomicBool>,
}

/// A signal, and the first watch, from which all others are cloned.
pub fn channel() -> (Signal, Watch) {
    let (tx, rx) = watch::channel(());
    let started = Arc::new(AtomicBool::new(false));
    let signal = Signal {
        tx,
        started: started.clone(),
    };
    (signal, Watch { rx, started })
}

impl Signal {
    /// Tells every watch to finish, without waiting.
    pub fn start(&self) {
        self.started.store(true, Ordering::Release);
        self.tx.send_replace(());
    }

    /// Tells every watch to finish, and completes when all are dropped. Dropping the future
    /// stops the waiting, not the drain.
    pub async fn drain(&self) {
        self.start();
        self.tx.closed().await;
    }

    /// How many watches are still held.
    pub fn remaining(&self) -> usize {
        self.tx.receiver_count()
    }
}

impl Watch {
    /// Whether a drain has started: an atomic load.
    pub fn is_draining(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    /// Completes when a drain starts, at once if it has. A lost [`Signal`] counts as a drain:
    /// nobody is left who could start one.
    pub async fn draining(&self) {
        let mut rx = self.rx.clone();
        while !self.is_draining() {
            if rx.changed().await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::pin, task::Poll};

    use super::*;

    async fn is_pending(future: std::pin::Pin<&mut impl Future<Output = ()>>) -> bool {
        let mut future = future;
        std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
    }

    #[tokio::test]
    async fn ends_when_the_last_watch_is_dropped() {
        let (signal, first) = channel();
        let second = first.clone();
        assert!(!second.is_draining());

        let mut drain = pin!(signal.drain());
        assert!(is_pending(drain.as_mut()).await);
        second.draining().await;
        assert!(first.is_draining());
        drop(first);
        assert!(is_pending(drain.as_mut()).await);
        assert_eq!(signal.remaining(), 1);
        drop(second);
        drain.await;
    }

    #[tokio::test]
    async fn reaches_watches_on_other_threads() {
        let (signal, watch) = channel();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let watch = watch.clone();
                std::thread::spawn(move || {
                    tokio::runtime::Builder::new_current_thread()
                        .build()
                        .unwrap()
                        .block_on(watch.draining());
                })
            })
            .collect();
        drop(watch);
        signal.drain().await;
        for thread in threads {
            thread.join().unwrap();
        }
    }

    #[tokio::test]
    async fn a_lost_signal_is_a_drain() {
        let (signal, watch) = channel();
        drop(signal);
        watch.draining().await;
    }
}
