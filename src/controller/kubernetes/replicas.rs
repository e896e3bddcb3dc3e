//! In how many proxies each object is live, over all replicas. A replica knows its own streams
//! only, so each publishes its counts in an annotation of a Lease of its own, and adds up what the
//! others publish. The Lease is the pod's, and goes with it.
//!
//! What is too much for an annotation is left out: those objects are then counted in the
//! leader's proxies alone.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::{
        coordination::v1::{Lease, LeaseSpec},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference},
    jiff::Timestamp,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, ObjectMeta, Patch, PatchParams},
};
use tokio::sync::watch;

use super::{
    findings::{Finding, Findings, ObjectRef},
    objects::{LABELS, MANAGER},
};
use crate::controller::{Live, Store};

const ANNOTATION: &str = "outrigger.dev/live";
const LABEL: (&str, &str) = ("outrigger.dev/lease", "replica");
/// The API server allows 256 KiB for all annotations together.
const MAX_BYTES: usize = 200_000;

/// How often counts are taken, published where they have changed, and the others' read.
const PERIOD: Duration = Duration::from_secs(4);
/// How often a replica says that it is there, changes or not.
const RENEW: Duration = Duration::from_secs(20);
/// A replica that has not said so for this long does not count.
const STALE: Duration = Duration::from_secs(60);

/// By object: current and subscribed streams, for each of its attachments.
type Numbers = BTreeMap<String, Vec<(usize, usize)>>;

/// What all replicas count together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts(Numbers);

impl Counts {
    /// For each attachment of an object.
    pub(super) fn live(&self, object: &ObjectRef, finding: &Finding) -> Vec<Live> {
        let numbers = self.0.get(&object.to_string());
        let number = |n: usize| numbers.and_then(|numbers| numbers.get(n).copied());
        (0..finding.attachments.len())
            .map(|n| {
                let (current, subscribed) = number(n).unwrap_or_default();
                Live {
                    subscribed,
                    current,
                }
            })
            .collect()
    }

    fn sum<'a>(all: impl IntoIterator<Item = &'a Numbers>) -> Self {
        let mut sum = Numbers::new();
        for (object, numbers) in all.into_iter().flatten() {
            let total = sum.entry(object.clone()).or_default();
            total.resize(total.len().max(numbers.len()), (0, 0));
            for (total, (current, subscribed)) in total.iter_mut().zip(numbers) {
                total.0 += current;
                total.1 += subscribed;
            }
        }
        Self(sum)
    }
}

fn count(store: &Store, findings: &Findings) -> Numbers {
    let counted = findings.iter().map(|(object, finding)| {
        let numbers = finding.attachments.iter().map(|attachment| {
            let live = store.live(&attachment.resources, &object.namespace);
            (live.current, live.subscribed)
        });
        (object.to_string(), numbers.collect::<Vec<_>>())
    });
    // Nobody subscribes to most objects of a large cluster on most replicas.
    let used =
        |(_, numbers): &(String, Vec<_>)| numbers.iter().any(|(_, subscribed)| *subscribed > 0);
    counted.filter(used).collect()
}

/// As JSON, as far as there is room.
fn annotation(numbers: &Numbers) -> String {
    let mut json = String::from("{");
    for (object, numbers) in numbers {
        let entry = format!(
            "{}{}:{}",
            if json.len() > 1 { "," } else { "" },
            serde_json::Value::from(object.as_str()),
            serde_json::json!(numbers),
        );
        if json.len() + entry.len() >= MAX_BYTES {
            break;
        }
        json.push_str(&entry);
    }
    json.push('}');
    json
}

/// The other replicas, as they were seen: pure, the clock is passed in.
#[derive(Debug, Default)]
struct Others(HashMap<String, (Lease, Instant)>);

impl Others {
    fn see(&mut self, leases: Vec<Lease>, me: &str, now: Instant) {
        let mut seen = HashMap::new();
        for lease in leases {
            let name = lease.name_any();
            if name == me {
                continue;
            }
            let before = self.0.remove(&name);
            let since = before
                .filter(|(before, _)| before.resource_version() == lease.resource_version())
                .map_or(now, |(_, since)| since);
            seen.insert(name, (lease, since));
        }
        self.0 = seen;
    }

    fn numbers(&self, now: Instant) -> Vec<Numbers> {
        let fresh = self
            .0
            .values()
            .filter(|(_, since)| now.saturating_duration_since(*since) < STALE);
        fresh
            .filter_map(|(lease, _)| {
                let json = lease.annotations().get(ANNOTATION)?;
                serde_json::from_str(json).ok()
            })
            .collect()
    }
}

/// Publishes and adds up.
pub(super) struct Replicas {
    leases: Api<Lease>,
    pods: Api<Pod>,
    pod: String,
    store: Arc<Store>,
    findings: watch::Receiver<Arc<Findings>>,
    counts: watch::Sender<Arc<Counts>>,
}

impl Replicas {
    pub(super) fn new(
        client: &Client,
        namespace: &str,
        pod: &str,
        store: Arc<Store>,
        findings: watch::Receiver<Arc<Findings>>,
    ) -> Self {
        Self {
            leases: Api::namespaced(client.clone(), namespace),
            pods: Api::namespaced(client.clone(), namespace),
            pod: pod.to_owned(),
            store,
            findings,
            counts: watch::Sender::default(),
        }
    }

    pub(super) fn counts(&self) -> watch::Receiver<Arc<Counts>> {
        self.counts.subscribe()
    }

    /// Never returns.
    pub(super) async fn run(self) {
        let mut others = Others::default();
        let mut published: Option<(String, Instant)> = None;
        let owner = self.owner().await;
        loop {
            let own = count(&self.store, &self.findings.borrow().clone());
            let json = annotation(&own);
            let due = published
                .as_ref()
                .is_none_or(|(before, at)| *before != json || at.elapsed() >= RENEW);
            if due {
                match self.publish(&json, owner.clone()).await {
                    Ok(()) => published = Some((json, Instant::now())),
                    Err(error) => {
                        tracing::debug!(%error, "this replica's counts are not published");
                    }
                }
            }
            let (key, value) = LABEL;
            let parameters = ListParams::default().labels(&format!("{key}={value}"));
            match self.leases.list(&parameters).await {
                Ok(leases) => others.see(leases.items, &self.name(), Instant::now()),
                Err(error) => tracing::debug!(%error, "the other replicas' counts are not read"),
            }
            let others = others.numbers(Instant::now());
            let sum = Counts::sum(others.iter().chain([&own]));
            self.counts.send_if_modified(|counts| {
                let changed = **counts != sum;
                if changed {
                    *counts = Arc::new(sum);
                }
                changed
            });
            tokio::time::sleep(PERIOD).await;
        }
    }

    fn name(&self) -> String {
        format!(
            "{MANAGER}-{}",
            self.pod.trim_start_matches("outrigger-controller-")
        )
    }

    async fn publish(&self, json: &str, owner: Option<OwnerReference>) -> kube::Result<()> {
        let name = self.name();
        let labels = LABELS.into_iter().chain([LABEL]);
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                labels: Some(
                    labels
                        .map(|(key, value)| (key.into(), value.into()))
                        .collect(),
                ),
                annotations: Some(BTreeMap::from([(ANNOTATION.into(), json.into())])),
                owner_references: owner.map(|owner| vec![owner]),
                ..Default::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.pod.clone()),
                lease_duration_seconds: i32::try_from(STALE.as_secs()).ok(),
                renew_time: Some(MicroTime(Timestamp::now())),
                ..Default::default()
            }),
        };
        let parameters = PatchParams::apply(MANAGER).force();
        self.leases
            .patch(&name, &parameters, &Patch::Apply(&lease))
            .await?;
        Ok(())
    }

    /// Where the controller does not run in a pod, its Lease stays when it ends.
    async fn owner(&self) -> Option<OwnerReference> {
        let pod = self.pods.get_opt(&self.pod).await.ok()??;
        Some(OwnerReference {
            api_version: "v1".into(),
            kind: "Pod".into(),
            name: self.pod.clone(),
            uid: pod.metadata.uid?,
            ..Default::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(object: &str, counts: &[(usize, usize)]) -> Numbers {
        Numbers::from([(object.to_owned(), counts.to_vec())])
    }

    fn lease(name: &str, version: &str, numbers: &Numbers) -> Lease {
        Lease {
            metadata: ObjectMeta {
                name: Some(name.into()),
                resource_version: Some(version.into()),
                annotations: Some(BTreeMap::from([(ANNOTATION.into(), annotation(numbers))])),
                ..Default::default()
            },
            spec: None,
        }
    }

    #[test]
    fn the_replicas_counts_add_up() {
        let (a, b) = (numbers("x", &[(1, 2)]), numbers("x", &[(3, 3), (0, 1)]));
        let sum = Counts::sum([&a, &b, &numbers("y", &[(1, 1)])]);
        assert_eq!(sum.0["x"], [(4, 5), (0, 1)]);
        assert_eq!(sum.0["y"], [(1, 1)]);
    }

    #[test]
    fn a_replica_that_says_nothing_any_more_does_not_count() {
        let start = Instant::now();
        let mut others = Others::default();
        let x = numbers("x", &[(1, 2)]);
        let all = |version| vec![lease("me", "1", &x), lease("b", version, &x)];
        others.see(all("1"), "me", start);
        assert_eq!(others.numbers(start), std::slice::from_ref(&x));
        others.see(all("1"), "me", start + STALE);
        assert_eq!(others.numbers(start + STALE), [] as [Numbers; 0]);
        others.see(all("2"), "me", start + STALE);
        assert_eq!(others.numbers(start + STALE), [x]);
        others.see(Vec::new(), "me", start + STALE);
        assert_eq!(others.numbers(start + STALE), [] as [Numbers; 0]);
    }

    #[test]
    fn the_annotation_is_read_back_and_bounded() {
        let many: Numbers = (0..20_000)
            .map(|n| (format!("HttpRoute shop/route-{n}"), vec![(1, 2)]))
            .collect();
        let json = annotation(&many);
        assert!(json.len() <= MAX_BYTES);
        let read: Numbers = serde_json::from_str(&json).unwrap();
        assert!(read.len() > 4_000);
        assert!(read.iter().all(|(object, counts)| many[object] == *counts));
        assert_eq!(annotation(&Numbers::new()), "{}");
    }
}
