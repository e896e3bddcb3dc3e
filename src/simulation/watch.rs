//! Tokio's `watch`, as far as it is used here, but that those who wait are woken in the order in
//! which they began to: Tokio draws that order from dice that nobody can seed.

use std::{
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
};

use tokio::sync::Notify;

#[derive(Debug, Default)]
struct Shared<T> {
    value: Mutex<T>,
    version: AtomicU64,
    closed: AtomicBool,
    receivers: AtomicUsize,
    changed: Notify,
    /// The last receiver has gone.
    deserted: Notify,
}

#[derive(Debug, Default)]
pub struct Sender<T>(Arc<Shared<T>>);

#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

/// The sender is gone.
#[derive(Debug)]
pub struct Closed;

pub struct Ref<'a, T>(MutexGuard<'a, T>);

impl<T> Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let sender = Sender::new(value);
    let receiver = sender.subscribe();
    (sender, receiver)
}

impl<T> Shared<T> {
    fn value(&self) -> Ref<'_, T> {
        Ref(self.value.lock().expect("nothing panics with it"))
    }
}

impl<T> Sender<T> {
    pub fn new(value: T) -> Self {
        Self(Arc::new(Shared {
            value: Mutex::new(value),
            version: AtomicU64::default(),
            closed: AtomicBool::default(),
            receivers: AtomicUsize::default(),
            changed: Notify::new(),
            deserted: Notify::new(),
        }))
    }

    pub fn subscribe(&self) -> Receiver<T> {
        self.0.receivers.fetch_add(1, SeqCst);
        Receiver {
            shared: self.0.clone(),
            seen: self.0.version.load(SeqCst),
        }
    }

    pub fn borrow(&self) -> Ref<'_, T> {
        self.0.value()
    }

    pub fn send_if_modified(&self, modify: impl FnOnce(&mut T) -> bool) -> bool {
        let modified = modify(&mut self.0.value().0);
        if modified {
            self.0.version.fetch_add(1, SeqCst);
            self.0.changed.notify_waiters();
        }
        modified
    }

    pub fn send_replace(&self, value: T) -> T {
        let mut value = value;
        self.send_if_modified(|current| {
            std::mem::swap(current, &mut value);
            true
        });
        value
    }

    pub fn receiver_count(&self) -> usize {
        self.0.receivers.load(SeqCst)
    }

    pub async fn closed(&self) {
        loop {
            let deserted = self.0.deserted.notified();
            if self.receiver_count() == 0 {
                return;
            }
            deserted.await;
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.closed.store(true, SeqCst);
        self.0.changed.notify_waiters();
    }
}

impl<T> Receiver<T> {
    pub fn borrow(&self) -> Ref<'_, T> {
        self.shared.value()
    }

    pub fn has_changed(&self) -> Result<bool, Closed> {
        match self.shared.closed.load(SeqCst) {
            true => Err(Closed),
            false => Ok(self.shared.version.load(SeqCst) != self.seen),
        }
    }

    pub fn mark_unchanged(&mut self) {
        self.seen = self.shared.version.load(SeqCst);
    }

    pub async fn changed(&mut self) -> Result<(), Closed> {
        loop {
            let changed = self.shared.changed.notified();
            let version = self.shared.version.load(SeqCst);
            if version != self.seen {
                self.seen = version;
                return Ok(());
            }
            if self.shared.closed.load(SeqCst) {
                return Err(Closed);
            }
            changed.await;
        }
    }

    pub async fn wait_for(&mut self, mut is: impl FnMut(&T) -> bool) -> Result<Ref<'_, T>, Closed> {
        loop {
            let changed = self.shared.changed.notified();
            self.seen = self.shared.version.load(SeqCst);
            let value = self.shared.value();
            if is(&value) {
                return Ok(value);
            }
            drop(value);
            if self.shared.closed.load(SeqCst) {
                return Err(Closed);
            }
            changed.await;
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.shared.receivers.fetch_add(1, SeqCst);
        Self {
            shared: self.shared.clone(),
            seen: self.seen,
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        if self.shared.receivers.fetch_sub(1, SeqCst) == 1 {
            self.shared.deserted.notify_waiters();
        }
    }
}
