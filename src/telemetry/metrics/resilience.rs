//! The state of breakers and bulkheads.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use super::{
    Counter, Gauge,
    page::Page,
    table::{Labels, Table},
};
use crate::resilience::{RejectCause, State, Transition, TripCause};

/// Declares a label's possible values: an enum, all of it, and its texts.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$value_doc])* $value,)* }

        impl $name {
            /// Every value, in the order of their discriminants.
            pub const ALL: &[Self] = &[$(Self::$value,)*];
            pub const COUNT: usize = Self::ALL.len();

            /// The label's text.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$value => $text,)* }
            }
        }
    };
}
pub(super) use label;

label! {
    /// What a breaker stands before.
    BreakerScope {
        Endpoint = "endpoint",
        Service = "service",
    }
}

label! {
    /// What a bulkhead limits.
    BulkheadScope {
        /// An upstream service, or the workload itself for what comes in.
        Upstream = "upstream",
        Route = "route",
        /// All callers of a workload together: identities are no labels, there are too many.
        Caller = "caller",
    }
}

type ByScope<T> = [T; BreakerScope::COUNT];

/// The breakers of one service: its own, and those of its endpoints, which are counted together
/// so that the number of series does not follow the number of pods.
#[derive(Debug, Default)]
pub struct BreakerSeries {
    states: ByScope<[Gauge; State::ALL.len()]>,
    trips: ByScope<[Counter; TripCause::ALL.len()]>,
}

impl BreakerSeries {
    /// Counts one more breaker, closed, until it is dropped.
    pub fn track(self: &Arc<Self>, scope: BreakerScope) -> TrackedBreaker {
        let state = State::Closed as usize;
        self.states[scope as usize][state].add(1);
        TrackedBreaker {
            series: self.clone(),
            scope,
            state: AtomicUsize::new(state),
        }
    }
}

/// One breaker's place in the count of breakers by state. It belongs with the breaker.
#[derive(Debug)]
pub struct TrackedBreaker {
    series: Arc<BreakerSeries>,
    scope: BreakerScope,
    /// A [`State`]'s discriminant.
    state: AtomicUsize,
}

impl TrackedBreaker {
    /// Counts a change of state, and what tripped the breaker where something did.
    pub fn moved(&self, transition: &Transition) {
        let states = &self.series.states[self.scope as usize];
        let to = transition.to as usize;
        states[to].add(1);
        states[self.state.swap(to, Relaxed)].add(-1);
        if let Some(cause) = transition.cause {
            self.series.trips[self.scope as usize][cause as usize].inc();
        }
    }
}

impl Drop for TrackedBreaker {
    fn drop(&mut self) {
        let state = *self.state.get_mut();
        self.series.states[self.scope as usize][state].add(-1);
    }
}

/// What breakers are counted under: the service, as `namespace/name:port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ServiceLabel(pub Arc<str>);

impl Labels for ServiceLabel {
    fn other(&self) -> Self {
        Self("other".into())
    }
}

/// What a bulkhead is counted under.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BulkheadLabels {
    pub scope: BulkheadScope,
    /// The service or route from configuration.
    pub name: Arc<str>,
}

impl Labels for BulkheadLabels {
    fn other(&self) -> Self {
        Self {
            scope: self.scope,
            name: "other".into(),
        }
    }
}

/// The gauges of one bulkhead. Several workers with a bulkhead each `add` to them; only one that
/// is alone may `set`.
#[derive(Debug, Default)]
pub struct BulkheadSeries {
    pub in_use: Gauge,
    pub limit: Gauge,
    pub queued: Gauge,
    rejections: [Counter; RejectCause::ALL.len()],
}

impl BulkheadSeries {
    pub fn rejected(&self, cause: RejectCause) {
        self.rejections[cause as usize].inc();
    }
}

pub(super) fn encode_breakers(
    table: &Table<ServiceLabel, BreakerSeries>,
    page: &mut Page,
) -> fmt::Result {
    let all = table.snapshot();
    let scopes = || {
        let scopes =
            |(service, series)| BreakerScope::ALL.iter().map(move |s| (service, series, *s));
        all.iter().map(|(l, s)| (&*l.0, s)).flat_map(scopes)
    };
    let states = scopes().flat_map(|(service, series, scope)| {
        State::ALL.iter().map(move |state| {
            let value = series.states[scope as usize][*state as usize].get();
            let place = [("service", service), ("scope", scope.as_str())];
            ([place[0], place[1], ("state", state.as_str())], value)
        })
    });
    page.gauges(
        ("breakers", None),
        "Circuit breakers by state: one for a service and one for each of its endpoints",
        states,
    )?;
    let trips = scopes().flat_map(|(service, series, scope)| {
        TripCause::ALL.iter().map(move |cause| {
            let value = series.trips[scope as usize][*cause as usize].get();
            let place = [("service", service), ("scope", scope.as_str())];
            ([place[0], place[1], ("cause", cause.as_str())], value)
        })
    });
    page.counters(
        ("breaker_trips", None),
        "Times a circuit breaker opened, by cause",
        trips.filter(|(_, count)| *count > 0),
    )
}

pub(super) fn encode_bulkheads(
    table: &Table<BulkheadLabels, BulkheadSeries>,
    page: &mut Page,
) -> fmt::Result {
    let all = table.snapshot();
    let row = |labels: &BulkheadLabels| labels.scope.as_str();
    let gauges = |read: fn(&BulkheadSeries) -> &Gauge| {
        all.iter().map(move |(labels, series)| {
            let row = [("scope", row(labels)), ("name", &*labels.name)];
            (row, read(series).get())
        })
    };
    page.gauges(
        ("bulkhead_in_use", None),
        "Places of a bulkhead that are taken",
        gauges(|series| &series.in_use),
    )?;
    page.gauges(
        ("bulkhead_limit", None),
        "Places that a bulkhead has",
        gauges(|series| &series.limit),
    )?;
    page.gauges(
        ("bulkhead_queued", None),
        "Requests that wait for a place in a bulkhead",
        gauges(|series| &series.queued),
    )?;
    let rejections = all.iter().flat_map(|(labels, series)| {
        RejectCause::ALL.iter().map(move |cause| {
            let place = [("scope", labels.scope.as_str()), ("name", &*labels.name)];
            let value = series.rejections[*cause as usize].get();
            ([place[0], place[1], ("cause", cause.as_str())], value)
        })
    });
    page.counters(
        ("bulkhead_rejections", None),
        "Requests that a bulkhead turned away, by cause",
        rejections,
    )
}
