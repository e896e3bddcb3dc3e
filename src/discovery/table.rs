//! Every resource that this process has asked for: who holds it, what is known of it, and what
//! the stream has yet to be told. Shared by all threads; its lock is never held across a wait.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{
    resource::{Named, Resource, ResourceName, version},
    session::{Change, Update},
    subscription::{Known, Lease},
};
use crate::host::{self, watch};

#[derive(Debug)]
pub(super) struct Table {
    inner: Mutex<Inner>,
    max_entries: usize,
    /// What an unknown name is until somebody says more.
    unknown: Known,
    refused: AtomicU64,
    /// The stream has wishes to send.
    pub(super) wishes: Notify,
    /// The snapshot is out of date.
    pub(super) stale_snapshot: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<ResourceName, Entry>,
    changes: Vec<(ResourceName, Change)>,
}

#[derive(Debug)]
struct Entry {
    known: watch::Sender<Known>,
    version: Option<String>,
    leases: usize,
    /// Since when nobody holds it.
    idle_since: Option<Instant>,
}

impl Entry {
    fn new(known: Known, version: Option<String>) -> Self {
        Self {
            known: watch::Sender::new(known),
            version,
            leases: 0,
            idle_since: Some(host::now()),
        }
    }

    fn set(&mut self, known: Known, version: Option<String>) -> bool {
        self.version = version;
        self.known.send_if_modified(|current| {
            let changed = *current != known;
            *current = known;
            changed
        })
    }
}

impl Table {
    /// `resources` are at hand already; `unknown` is what every other is at first.
    pub(super) fn new(
        resources: impl IntoIterator<Item = Named>,
        unknown: Known,
        max_entries: usize,
    ) -> Arc<Self> {
        let entries = resources
            .into_iter()
            .take(max_entries)
            .map(|(name, value)| {
                let version = version(&value.to_json());
                (name, Entry::new(Known::Present(value), Some(version)))
            });
        Arc::new(Self {
            inner: Mutex::new(Inner {
                entries: entries.collect(),
                changes: Vec::new(),
            }),
            max_entries,
            unknown,
            refused: AtomicU64::new(0),
            wishes: Notify::new(),
            stale_snapshot: Notify::new(),
        })
    }

    /// `None` when there are too many subscriptions.
    pub(super) fn acquire(
        self: &Arc<Self>,
        name: &ResourceName,
    ) -> Option<(watch::Receiver<Known>, Lease)> {
        let mut inner = self.lock();
        let Inner { entries, changes } = &mut *inner;
        if !entries.contains_key(name) {
            if entries.len() >= self.max_entries {
                self.refused.fetch_add(1, Relaxed);
                return None;
            }
            entries.insert(name.clone(), Entry::new(self.unknown.clone(), None));
            changes.push((name.clone(), Change::Subscribe(None)));
            self.wishes.notify_one();
        }
        let entry = entries.get_mut(name).expect("it was there or just made");
        entry.leases += 1;
        entry.idle_since = None;
        let lease = Lease::new(self.clone(), name.clone());
        Some((entry.known.subscribe(), lease))
    }

    pub(super) fn release(&self, name: &ResourceName) {
        let mut inner = self.lock();
        let Some(entry) = inner.entries.get_mut(name) else {
            return;
        };
        entry.leases -= 1;
        if entry.leases == 0 {
            entry.idle_since = Some(host::now());
        }
    }

    /// Forgets what nobody has held for `idle`.
    pub(super) fn forget_idle(&self, now: Instant, idle: Duration) {
        let mut inner = self.lock();
        let Inner { entries, changes } = &mut *inner;
        let before = changes.len();
        entries.retain(|name, entry| {
            let keep = entry
                .idle_since
                .is_none_or(|since| now.saturating_duration_since(since) < idle);
            if !keep {
                changes.push((name.clone(), Change::Unsubscribe));
            }
            keep
        });
        if changes.len() > before {
            self.wishes.notify_one();
            self.stale_snapshot.notify_one();
        }
    }

    /// Everything asked for, with versions: what a new stream starts with. Takes the wishes that
    /// were waiting, which it contains.
    pub(super) fn restart(&self) -> Vec<(ResourceName, Change)> {
        let mut inner = self.lock();
        inner.changes.clear();
        let all = inner.entries.iter();
        all.map(|(name, entry)| (name.clone(), Change::Subscribe(entry.version.clone())))
            .collect()
    }

    /// The wishes since the last call or [`restart`](Self::restart).
    pub(super) fn take_changes(&self) -> Vec<(ResourceName, Change)> {
        std::mem::take(&mut self.lock().changes)
    }

    /// What is no longer asked for is ignored.
    pub(super) fn apply(&self, updates: Vec<Update>) {
        let mut inner = self.lock();
        let mut changed = false;
        for update in updates {
            let (name, known, version) = match update {
                Update::Present {
                    name,
                    version,
                    resource,
                } => (name, Known::Present(resource), Some(version)),
                Update::Absent(name) => (name, Known::Absent, None),
            };
            if let Some(entry) = inner.entries.get_mut(&name) {
                changed |= entry.set(known, version);
            }
        }
        if changed {
            self.stale_snapshot.notify_one();
        }
    }

    /// Sets one resource whether or not it is asked for.
    pub(super) fn publish(&self, name: ResourceName, resource: Option<Resource>) {
        let known = resource.map_or(Known::Absent, Known::Present);
        let mut inner = self.lock();
        let entry = inner.entries.entry(name);
        entry
            .or_insert_with(|| Entry::new(Known::Absent, None))
            .set(known, None);
    }

    /// The resources at hand, in order of their names.
    pub(super) fn present(&self) -> Vec<Named> {
        let inner = self.lock();
        let entries = inner.entries.iter();
        let mut present: Vec<_> = entries
            .filter_map(|(name, entry)| match &*entry.known.borrow() {
                Known::Present(resource) => Some((name.clone(), resource.clone())),
                Known::Pending | Known::Absent => None,
            })
            .collect();
        drop(inner);
        present.sort_by(|(a, _), (b, _)| a.cmp(b));
        present
    }

    pub(super) fn len(&self) -> usize {
        self.lock().entries.len()
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// No holder of the lock leaves the table between two states, so a poisoned one is whole.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
