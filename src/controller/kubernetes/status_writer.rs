//! Writes statuses: the leader alone, no faster than the API server should bear, and nothing that
//! is there already.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use serde_json::json;
use tokio::sync::watch;

use super::{
    api::{AccessPolicy, GATEWAY_GROUP, ResiliencePolicy},
    findings::{Finding, Findings, ObjectKind, ObjectRef},
    objects::{is_conflict, is_not_found},
    replicas::Counts,
    status::next_status,
};
use crate::{controller::Live, telemetry::metrics::Figures};

/// How often counts are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How often an object's status may follow its counts, of proxies and of pods: a rollout of a thousand
/// must not become a thousand writes. What the object itself is about is written at once.
const FOLLOW: Duration = Duration::from_secs(10);
/// How often a status is read again, in case somebody else changed it.
const AGAIN: Duration = Duration::from_secs(600);
/// Between two objects.
const PACE: Duration = Duration::from_millis(20);

/// What was written last, and when: pure, the clock is passed in.
#[derive(Debug, Default)]
struct Written(HashMap<ObjectRef, Entry>);

#[derive(Debug)]
struct Entry {
    finding: Finding,
    live: Vec<Live>,
    at: Instant,
}

impl Written {
    fn is_due(&self, object: &ObjectRef, finding: &Finding, live: &[Live], now: Instant) -> bool {
        let Some(entry) = self.0.get(object) else {
            return true;
        };
        let age = now.saturating_duration_since(entry.at);
        let moved = entry.finding != *finding || entry.live != live;
        !entry.finding.is_alike(finding) || (moved && age >= FOLLOW) || age >= AGAIN
    }

    fn wrote(&mut self, object: ObjectRef, finding: Finding, live: Vec<Live>, at: Instant) {
        self.0.insert(object, Entry { finding, live, at });
    }

    /// The objects that were written about and are none of ours any more.
    fn gone(&self, findings: &Findings) -> Vec<ObjectRef> {
        let gone = self
            .0
            .keys()
            .filter(|object| !findings.contains_key(object));
        gone.cloned().collect()
    }
}

/// The API of a kind in a namespace.
pub(super) fn api(client: &Client, object: &ObjectRef) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), &object.namespace, &resource(object.kind))
}

pub(super) fn resource(kind: ObjectKind) -> ApiResource {
    let route = |kind: &str, plural: &str| ApiResource {
        group: GATEWAY_GROUP.into(),
        version: "v1".into(),
        api_version: format!("{GATEWAY_GROUP}/v1"),
        kind: kind.into(),
        plural: plural.into(),
    };
    match kind {
        ObjectKind::HttpRoute => route("HTTPRoute", "httproutes"),
        ObjectKind::GrpcRoute => route("GRPCRoute", "grpcroutes"),
        ObjectKind::ResiliencePolicy => ApiResource::erase::<ResiliencePolicy>(&()),
        ObjectKind::AccessPolicy => ApiResource::erase::<AccessPolicy>(&()),
    }
}

/// What the writer needs.
pub(super) struct StatusWriter {
    pub(super) client: Client,
    pub(super) findings: watch::Receiver<Arc<Findings>>,
    pub(super) counts: watch::Receiver<Arc<Counts>>,
    pub(super) figures: Arc<Figures>,
}

impl StatusWriter {
    /// Never returns.
    pub(super) async fn run(&self) {
        let mut written = Written::default();
        let mut findings = self.findings.clone();
        loop {
            let current = findings.borrow_and_update().clone();
            for object in written.gone(&current) {
                let nothing = Finding {
                    uid: "".into(),
                    generation: 0,
                    attachments: Vec::new(),
                };
                if self.write(&object, &nothing, &[]).await {
                    written.0.remove(&object);
                }
            }
            for (object, finding) in current.iter() {
                let live = self.counts.borrow().live(object, finding);
                if !written.is_due(object, finding, &live, Instant::now()) {
                    continue;
                }
                if self.write(object, finding, &live).await {
                    written.wrote(object.clone(), finding.clone(), live, Instant::now());
                }
                tokio::time::sleep(PACE).await;
            }
            tokio::select! {
                changed = findings.changed() => if changed.is_err() {
                    std::future::pending::<()>().await;
                },
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Whether the object has the status now, or is gone.
    async fn write(&self, object: &ObjectRef, finding: &Finding, live: &[Live]) -> bool {
        match self.try_write(object, finding, live).await {
            Ok(()) => true,
            Err(error) if is_not_found(&error) => true,
            Err(error) if is_conflict(&error) => false,
            Err(error) => {
                tracing::warn!(%object, %error, "a status is not written: trying again");
                false
            }
        }
    }

    async fn try_write(
        &self,
        object: &ObjectRef,
        finding: &Finding,
        live: &[Live],
    ) -> kube::Result<()> {
        let api = api(&self.client, object);
        let current = api.get(&object.name).await?;
        let value = serde_json::to_value(&current).map_err(kube::Error::SerdeError)?;
        let next = next_status(object.kind, &value, finding, live, Timestamp::now());
        let Some(next) = next else { return Ok(()) };
        // With the version that was read: the list is replaced as a whole, and must not take out
        // what another controller has just put in.
        let patch = json!({
            "metadata": { "resourceVersion": current.metadata.resource_version },
            "status": next,
        });
        let parameters = PatchParams::default();
        api.patch_status(&object.name, &parameters, &Patch::Merge(&patch))
            .await?;
        self.figures.status_writes.inc();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::findings::{Attachment, TargetRef, Verdict},
        *,
    };

    fn object() -> ObjectRef {
        ObjectRef {
            kind: ObjectKind::HttpRoute,
            namespace: "shop".into(),
            name: "cart".into(),
        }
    }

    fn finding(generation: i64) -> Finding {
        Finding {
            uid: "7d".into(),
            generation,
            attachments: Vec::new(),
        }
    }

    fn live(current: usize) -> Vec<Live> {
        vec![Live {
            subscribed: 9,
            current,
        }]
    }

    #[test]
    fn an_edit_is_told_at_once_and_counts_now_and_then() {
        let mut written = Written::default();
        let start = Instant::now();
        let due = |written: &Written, generation, current, after: Duration| {
            let now = start + after;
            written.is_due(&object(), &finding(generation), &live(current), now)
        };
        assert!(due(&written, 1, 0, Duration::ZERO));
        written.wrote(object(), finding(1), live(0), start);
        assert!(!due(&written, 1, 0, Duration::from_secs(1)));
        assert!(due(&written, 2, 0, Duration::from_secs(1)));
        assert!(!due(&written, 1, 5, Duration::from_secs(1)));
        assert!(due(&written, 1, 5, FOLLOW));
        assert!(!due(&written, 1, 0, FOLLOW));
        assert!(due(&written, 1, 0, AGAIN));
    }

    /// A rollout changes the number with each pod.
    #[test]
    fn words_follow_now_and_then_and_a_verdict_at_once() {
        let of = |accepted| Finding {
            attachments: vec![Attachment {
                target: TargetRef::service("cart"),
                accepted,
                resolved: Verdict::Good,
                resources: Vec::new(),
            }],
            ..finding(1)
        };
        let noted = |message: &str| {
            of(Verdict::Noted {
                message: message.into(),
            })
        };
        let bad = of(Verdict::Bad {
            reason: "ProtectsNothing",
            message: "all".into(),
        });
        let (mut written, start) = (Written::default(), Instant::now());
        written.wrote(object(), noted("2 pods"), live(0), start);
        let soon = start + Duration::from_secs(1);
        let due = |finding: &Finding, now| written.is_due(&object(), finding, &live(0), now);
        assert!(!due(&noted("1 pod"), soon));
        assert!(!due(&of(Verdict::Good), soon));
        assert!(due(&noted("1 pod"), start + FOLLOW));
        assert!(due(&bad, soon));
    }

    /// It may be there again before its end is seen, at the same generation.
    #[test]
    fn an_object_that_was_made_anew_is_told_at_once() {
        let mut written = Written::default();
        let now = Instant::now();
        written.wrote(object(), finding(1), live(0), now);
        let anew = Finding {
            uid: "8e".into(),
            ..finding(1)
        };
        assert!(!written.is_due(&object(), &finding(1), &live(0), now));
        assert!(written.is_due(&object(), &anew, &live(0), now));
    }

    #[test]
    fn what_is_no_more_ours_is_cleaned_up() {
        let mut written = Written::default();
        written.wrote(object(), finding(1), live(0), Instant::now());
        assert_eq!(written.gone(&Findings::new()), [object()]);
        assert_eq!(written.gone(&Findings::from([(object(), finding(1))])), []);
    }
}
