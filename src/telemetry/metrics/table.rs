//! Series by label set, with a bound on how many there are.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

/// Label sets a table holds before new ones share the series `other`.
pub(super) const MAX_SERIES: usize = 2_000;

/// A label set that knows the one standing for all that found no room.
pub(super) trait Labels: Clone + Eq + Hash {
    fn other(&self) -> Self;
}

/// Looked up when a handle is resolved and when metrics are read, never for a request.
#[derive(Debug)]
pub(super) struct Table<L, S> {
    inner: Mutex<Inner<L, S>>,
    max: usize,
}

#[derive(Debug)]
struct Inner<L, S> {
    series: HashMap<L, Arc<S>>,
    /// Those of [`Labels::other`]: few, and never forgotten.
    others: HashMap<L, Arc<S>>,
    /// Label sets that found no room since room was last looked for.
    turned_away: usize,
}

impl<L: Labels, S: Default> Table<L, S> {
    pub fn new(max: usize) -> Self {
        let inner = Inner {
            series: HashMap::new(),
            others: HashMap::new(),
            turned_away: 0,
        };
        Self {
            inner: Mutex::new(inner),
            max,
        }
    }

    /// The series of a label set. A full table first forgets the series that nobody holds any
    /// more (a counter that comes back starts again from zero, which Prometheus expects); when
    /// that makes no room, the answer is the series of [`Labels::other`].
    pub fn resolve(&self, labels: L) -> Arc<S> {
        let mut inner = self.lock();
        if let Some(series) = inner.series.get(&labels) {
            return series.clone();
        }
        if inner.series.len() >= self.max {
            inner.make_room(self.max);
        }
        if inner.series.len() < self.max {
            inner.series.entry(labels).or_default().clone()
        } else {
            inner.others.entry(labels.other()).or_default().clone()
        }
    }

    /// Every series, for encoding.
    pub fn snapshot(&self) -> Vec<(L, Arc<S>)> {
        let inner = self.lock();
        let series = inner.series.iter().chain(&inner.others);
        series.map(|(l, s)| (l.clone(), s.clone())).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner<L, S>> {
        // No code that can panic runs with the map half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L, S> Inner<L, S> {
    /// Sweeps at most once for every `max` label sets turned away, so that a flood of them
    /// costs constant time each.
    fn make_room(&mut self, max: usize) {
        if self.turned_away == 0 {
            self.series
                .retain(|_, series| Arc::strong_count(series) > 1);
        }
        self.turned_away = (self.turned_away + 1) % max.max(1);
        if self.series.len() < max {
            self.turned_away = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Labels for u32 {
        fn other(&self) -> Self {
            u32::MAX
        }
    }

    #[test]
    fn a_million_label_sets_do_not_grow_it() {
        let table: Table<u32, super::super::Counter> = Table::new(100);
        let held: Vec<_> = (0..100).map(|label| table.resolve(label)).collect();
        for label in 0..1_000_000 {
            table.resolve(label).inc();
        }
        assert_eq!(
            table.snapshot().len(),
            101,
            "100 and the one for all others"
        );
        assert_eq!(table.resolve(u32::MAX).get(), 1_000_000 - 100);
        assert_eq!(held[7].get(), 1);
    }

    #[test]
    fn what_nobody_holds_makes_room() {
        let table: Table<u32, super::super::Counter> = Table::new(2);
        let held = table.resolve(1);
        table.resolve(2);
        let third = table.resolve(3);
        third.inc();
        let mut labels: Vec<_> = table.snapshot().into_iter().map(|(l, _)| l).collect();
        labels.sort();
        assert_eq!(labels, [1, 3]);
        drop(held);
    }
}
