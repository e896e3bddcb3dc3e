//! One kind of object, followed for ever: listed, watched, and listed again where the API server
//! no longer has what was missed. Errors are waited out here and never end the stream.

use std::{fmt::Debug, sync::Arc, time::Duration};

use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use kube::{
    Api, Client, Resource,
    runtime::watcher::{self, Event, watcher},
};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::{
    controller::kubernetes::lower::{
        object::{Kind, Name, Object},
        read::{self, Read},
    },
    telemetry::metrics::Figures,
};

/// Objects in one answer to a list: bounds what is in memory before it is trimmed.
const PAGE: u32 = 250;
/// Seconds. The server ends a watch then, and a connection that went silent is given up 5 s later.
const WATCH_FOR: u32 = 55;
/// How often a kind is looked for that the cluster does not have.
const ABSENT_EVERY: Duration = Duration::from_secs(10);
const BASE: Duration = Duration::from_millis(200);
const MAX: Duration = Duration::from_secs(10);
/// An error that goes on is told again after so long.
const REMIND: Duration = Duration::from_secs(60);

/// What happened to one kind.
#[derive(Debug)]
pub(super) enum Change {
    /// A list begins: what it does not name is gone when it is complete.
    Listing(Kind),
    Listed(Kind, Name, Option<Object>),
    Complete(Kind),
    /// `None`: it means nothing any more.
    Applied(Kind, Name, Option<Object>),
    Deleted(Kind, Name),
    /// The cluster does not have the kind.
    Absent(Kind),
}

/// Whether the mesh can do without a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Required,
    /// Waited for until its CRD is installed.
    Optional,
}

/// What a type must be to be watched.
pub(super) trait Watched:
    Resource<DynamicType = ()> + Read + Clone + Debug + DeserializeOwned + Send + 'static
{
}

impl<K> Watched for K where
    K: Resource<DynamicType = ()> + Read + Clone + Debug + DeserializeOwned + Send + 'static
{
}

/// Follows every object of a type in the cluster.
pub(super) fn watch<K: Watched>(
    client: Client,
    kind: Kind,
    need: Need,
    figures: Arc<Figures>,
) -> BoxStream<'static, Change> {
    let state = Watch {
        api: Api::<K>::all(client),
        kind,
        need,
        figures,
        events: None,
        failures: 0,
        told: None,
        absent: false,
    };
    stream::unfold(state, |mut watch| async move {
        let change = watch.next().await;
        Some((change, watch))
    })
    .boxed()
}

struct Watch<K> {
    api: Api<K>,
    kind: Kind,
    need: Need,
    figures: Arc<Figures>,
    events: Option<BoxStream<'static, watcher::Result<Event<K>>>>,
    failures: u32,
    /// When the current trouble was last put into the log.
    told: Option<Instant>,
    absent: bool,
}

impl<K: Watched> Watch<K> {
    async fn next(&mut self) -> Change {
        loop {
            let api = &self.api;
            let events = self.events.get_or_insert_with(|| {
                let config = watcher::Config::default()
                    .page_size(PAGE)
                    .timeout(WATCH_FOR);
                watcher(api.clone(), config).boxed()
            });
            match events.next().await {
                Some(Ok(event)) => {
                    // A list that only begins proves nothing.
                    if !matches!(event, Event::Init) {
                        self.recovered();
                    }
                    return self.change(event);
                }
                Some(Err(error)) if self.need == Need::Optional && is_absent(&error) => {
                    self.events = None;
                    if !std::mem::replace(&mut self.absent, true) {
                        tracing::info!(
                            kind = ?self.kind,
                            "the cluster does not have this kind: going on without it until its CRD is installed"
                        );
                        return Change::Absent(self.kind);
                    }
                    tokio::time::sleep(jittered(ABSENT_EVERY)).await;
                }
                Some(Err(error)) => self.failed(&error).await,
                None => self.events = None,
            }
        }
    }

    fn change(&self, event: Event<K>) -> Change {
        let kind = self.kind;
        match event {
            Event::Init => Change::Listing(kind),
            Event::InitApply(object) => Change::Listed(kind, read::name(&object), object.read()),
            Event::InitDone => Change::Complete(kind),
            Event::Apply(object) => Change::Applied(kind, read::name(&object), object.read()),
            Event::Delete(object) => Change::Deleted(kind, read::name(&object)),
        }
    }

    fn recovered(&mut self) {
        if self.told.take().is_some() {
            tracing::info!(kind = ?self.kind, "the watch goes on");
        }
        if std::mem::take(&mut self.absent) {
            tracing::info!(kind = ?self.kind, "the cluster has this kind now");
        }
        self.failures = 0;
    }

    async fn failed(&mut self, error: &watcher::Error) {
        let delay = BASE.saturating_mul(1 << self.failures.min(10)).min(MAX);
        self.failures += 1;
        self.figures.watch_restarts.inc();
        let now = Instant::now();
        // The first one is the rule when an API server restarts.
        let due = match self.told {
            None => self.failures > 1,
            Some(told) => now.duration_since(told) >= REMIND,
        };
        if due {
            self.told = Some(now);
            tracing::warn!(
                kind = ?self.kind, %error, advice = advice(error),
                "the watch is interrupted: what is known stays in force"
            );
        } else {
            tracing::debug!(kind = ?self.kind, %error, "the watch is interrupted");
        }
        tokio::time::sleep(jittered(delay)).await;
    }
}

/// ± 50 %: two controllers that lost the same API server come back apart.
fn jittered(delay: Duration) -> Duration {
    delay.mul_f64(0.5 + fastrand::f64())
}

fn status(error: &watcher::Error) -> Option<u16> {
    use watcher::Error::{InitialListFailed, WatchError, WatchFailed, WatchStartFailed};
    match error {
        InitialListFailed(kube::Error::Api(status))
        | WatchStartFailed(kube::Error::Api(status))
        | WatchFailed(kube::Error::Api(status)) => Some(status.code),
        WatchError(status) => Some(status.code),
        _ => None,
    }
}

/// 404 for a whole collection: nobody serves it.
fn is_absent(error: &watcher::Error) -> bool {
    status(error) == Some(404)
}

fn advice(error: &watcher::Error) -> &'static str {
    match status(error) {
        Some(401) => "the controller's token is not accepted: was its service account deleted?",
        Some(403) => "the ClusterRole of the controller lacks list or watch: upgrade the chart",
        Some(404) => "the API server does not serve this kind: is it older than 1.29?",
        Some(410) => "the API server no longer has what was missed: listing again",
        Some(_) => "the API server answers with an error: trying again",
        None => "is the API server reachable? Trying again",
    }
}
