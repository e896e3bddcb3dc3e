//! Who has what: how a stream stands to each resource that it subscribes to.

use std::{collections::HashMap, time::Instant};

/// How one stream stands to one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has acknowledged the current version.
    Current,
    /// It has refused the current version, and goes on with what it had.
    Refused,
    /// It has not answered to the current version; `Some`: which is of this time, and newer than
    /// the subscription.
    Behind(Option<Instant>),
}

/// How many streams have something, of how many that want it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    pub subscribed: usize,
    pub current: usize,
}

/// Each stream counts once, and is current when it is so with all that it subscribes to.
pub(super) fn live<'a>(standings: impl IntoIterator<Item = (&'a u64, &'a Standing)>) -> Live {
    let mut streams = HashMap::new();
    for (stream, standing) in standings {
        *streams.entry(*stream).or_insert(true) &= *standing == Standing::Current;
    }
    Live {
        subscribed: streams.len(),
        current: streams.values().filter(|current| **current).count(),
    }
}
