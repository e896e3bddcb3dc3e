//! One stream's view of the store: what it subscribed to, what it was told, what it answered.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use tokio::sync::Notify;

use super::{Backlog, Delta, Inner, Standing, Store, Stored, by_host};
use crate::{
    discovery::resource::{Kind, ResourceName},
    telemetry::metrics::GaugeGuard,
};

/// What one stream subscribed to and has been told. Dropping it ends its subscriptions.
#[derive(Debug)]
pub struct View {
    pub(super) store: Arc<Store>,
    pub(super) id: u64,
    pub(super) ready: Arc<Notify>,
    pub(super) known: HashMap<ResourceName, Known>,
    pub(super) _counted: GaugeGuard,
}

/// What the other side knows of a name.
#[derive(Debug)]
pub(super) struct Known {
    told: Told,
    answer: Answer,
}

/// What it said to what it was told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Nothing,
    Acknowledged,
    Refused,
}

/// What the other side was told last.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Absent,
    Version(String),
}

impl Told {
    fn of(value: Option<&Arc<Stored>>) -> Self {
        value.map_or(Self::Absent, |value| Self::Version(value.version.clone()))
    }
}

impl View {
    pub fn len(&self) -> usize {
        self.known.len()
    }

    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// `at_hand` is the version that the other side has; unless it is the current one, the
    /// resource is news. Subscribing again asks for it again.
    pub fn subscribe(&mut self, name: ResourceName, at_hand: Option<String>) {
        let mut inner = self.store.lock();
        let subscribers = inner.subscribers.entry(name.clone()).or_default();
        subscribers.insert(self.id, Standing::Behind(None));
        if let Some(backlog) = inner.streams.get_mut(&self.id) {
            backlog.dirty.insert(name.clone());
            backlog.ready.notify_one();
        }
        drop(inner);
        // What is at hand was acknowledged on a stream before.
        let known = Known {
            told: at_hand.map_or(Told::Nothing, Told::Version),
            answer: Answer::Acknowledged,
        };
        if self.known.insert(name, known).is_none() {
            self.store.figures.subscriptions.add(1);
        }
        self.store.standings.fetch_add(1, Relaxed);
    }

    pub fn unsubscribe(&mut self, name: &ResourceName) {
        if self.known.remove(name).is_some() {
            self.store.figures.subscriptions.add(-1);
        }
        self.store.lock().forget(self.id, name);
        self.store.standings.fetch_add(1, Relaxed);
    }

    /// Takes the other side's answer to news of a kind: it has them all, but for the `refused`.
    pub fn answered(
        &mut self,
        kind: Kind,
        deltas: &[Delta],
        refused: &[ResourceName],
        now: Instant,
    ) {
        let mut inner = self.store.lock();
        for (name, value) in deltas {
            let name = ResourceName::new(kind, name.clone());
            let Some(known) = self.known.get_mut(&name) else {
                continue;
            };
            // Older than what it was told since: that answer is still to come.
            if known.told != Told::of(value.as_ref()) {
                continue;
            }
            known.answer = match refused.contains(&name) {
                true => Answer::Refused,
                false => Answer::Acknowledged,
            };
            if let Some(since) = inner.answered(self.id, &name, known.answer) {
                let age = now.saturating_duration_since(since);
                self.store.figures.propagation.observe(age);
            }
        }
        drop(inner);
        self.store.standings.fetch_add(1, Relaxed);
    }

    /// Waits for something to [`take`](Self::take).
    pub async fn changed(&self) {
        self.ready.notified().await;
    }

    /// Takes news of one kind: at most `max_names`, and no more once `max_bytes` are exceeded.
    /// `None` when there are none.
    pub fn take(&mut self, max_names: usize, max_bytes: usize) -> Option<(Kind, Vec<Delta>)> {
        let mut inner = self.store.lock();
        let Inner {
            resources,
            hosts,
            streams,
            subscribers,
        } = &mut *inner;
        let Backlog {
            namespace, dirty, ..
        } = streams.get_mut(&self.id)?;
        let mut kind = None;
        let mut deltas = Vec::new();
        let mut bytes = 0;
        while deltas.len() < max_names && bytes < max_bytes {
            let Some(name) = dirty.first() else { break };
            if kind.is_some_and(|kind| kind != name.kind) {
                break;
            }
            let name = dirty.pop_first().expect("it was first");
            let Some(known) = self.known.get_mut(&name) else {
                continue;
            };
            let current = resources.get(&name);
            let current = current.map(|value| value.of(namespace).clone());
            let current = current.or_else(|| by_host(hosts, &name));
            let now = Told::of(current.as_ref());
            if known.told == now {
                // It has this already, or its answer is on the way.
                let standing = subscribers.get_mut(&name);
                if let Some(standing) = standing.and_then(|all| all.get_mut(&self.id)) {
                    standing.settle(known.answer);
                }
            } else {
                known.told = now;
                known.answer = Answer::Nothing;
                kind = Some(name.kind);
                bytes += name.name.len() + current.as_ref().map_or(0, |value| value.json.len());
                deltas.push((name.name, current));
            }
        }
        kind.map(|kind| (kind, deltas))
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let mut inner = self.store.lock();
        for name in self.known.keys() {
            inner.forget(self.id, name);
        }
        inner.streams.remove(&self.id);
        drop(inner);
        let subscriptions = i64::try_from(self.known.len()).unwrap_or(i64::MAX);
        self.store.figures.subscriptions.add(-subscriptions);
        self.store.standings.fetch_add(1, Relaxed);
    }
}

impl Inner {
    /// Settles a stream's standing. Returns since when it had lagged behind a change.
    fn answered(&mut self, stream: u64, name: &ResourceName, answer: Answer) -> Option<Instant> {
        let standing = self.subscribers.get_mut(name)?.get_mut(&stream)?;
        let since = match *standing {
            Standing::Behind(since) => since.filter(|_| answer == Answer::Acknowledged),
            _ => None,
        };
        standing.settle(answer);
        since
    }
}

impl Standing {
    fn settle(&mut self, answer: Answer) {
        match answer {
            Answer::Nothing => {}
            Answer::Acknowledged => *self = Self::Current,
            Answer::Refused => *self = Self::Refused,
        }
    }
}
