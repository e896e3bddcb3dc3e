//! A proxy's refusal as an Event on the objects that the refused resource was made of.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::sync::{broadcast, watch};

use super::{
    findings::{Findings, ObjectRef},
    objects::MANAGER,
    status_writer::{api, resource},
};
use crate::{controller::Refused, telemetry::metrics::Figures};

/// An Event of an object with the same reason is not written again for so long: a thousand proxies
/// refuse the same resource for the same reason.
const QUIET: Duration = Duration::from_secs(600);
/// Objects and reasons remembered.
const MAX_REMEMBERED: usize = 1_000;
/// Between two Events.
const PACE: Duration = Duration::from_millis(200);
/// The API server's limit on a note is 1 KiB.
const MAX_NOTE: usize = 1_000;

/// Which Events were written lately: pure, the clock is passed in.
#[derive(Debug, Default)]
struct Lately(HashMap<(ObjectRef, String), Instant>);

impl Lately {
    /// Whether it is news.
    fn is_news(&mut self, object: &ObjectRef, reason: &str, now: Instant) -> bool {
        self.0
            .retain(|_, at| now.saturating_duration_since(*at) < QUIET);
        let key = (object.clone(), reason.to_owned());
        if self.0.contains_key(&key) || self.0.len() >= MAX_REMEMBERED {
            return false;
        }
        self.0.insert(key, now);
        true
    }
}

/// The objects that any of the refused resources was made of.
fn concerned<'a>(
    findings: &'a Findings,
    refused: &'a Refused,
) -> impl Iterator<Item = &'a ObjectRef> {
    let concerned = findings.iter().filter(|(_, finding)| {
        let attachments = finding.attachments.iter();
        let mut resources = attachments.flat_map(|attachment| &attachment.resources);
        resources.any(|name| refused.names.contains(name))
    });
    concerned.map(|(object, _)| object)
}

/// Writes Events: every replica those of its own proxies.
pub(super) struct Events {
    pub(super) client: Client,
    pub(super) pod: String,
    pub(super) findings: watch::Receiver<Arc<Findings>>,
    pub(super) figures: Arc<Figures>,
}

impl Events {
    /// Never returns.
    pub(super) async fn run(self, mut refusals: broadcast::Receiver<Arc<Refused>>) {
        let reporter = Reporter {
            controller: MANAGER.into(),
            instance: Some(self.pod.clone()),
        };
        let recorder = Recorder::new(self.client.clone(), reporter);
        let mut lately = Lately::default();
        loop {
            let refused = match refusals.recv().await {
                Ok(refused) => refused,
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "more refusals than Events can be written");
                    continue;
                }
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            };
            let findings = self.findings.borrow().clone();
            for object in concerned(&findings, &refused) {
                if !lately.is_news(object, &refused.reason, Instant::now()) {
                    continue;
                }
                if let Err(error) = self.write(&recorder, object, &refused).await {
                    tracing::warn!(%object, %error, "an Event is not written");
                }
                tokio::time::sleep(PACE).await;
            }
        }
    }

    async fn write(
        &self,
        recorder: &Recorder,
        object: &ObjectRef,
        refused: &Refused,
    ) -> kube::Result<()> {
        let current = api(&self.client, object).get(&object.name).await?;
        let event = Event {
            type_: EventType::Warning,
            reason: "RefusedByProxy".into(),
            note: Some(note(refused)),
            action: "Distribute".into(),
            secondary: None,
        };
        let reference = current.object_ref(&resource(object.kind));
        recorder.publish(&event, &reference).await?;
        self.figures.events.inc();
        Ok(())
    }
}

fn note(refused: &Refused) -> String {
    let mut note = format!(
        "the proxy {} keeps what it had: {}: is it older than the controller? Restart its pod",
        refused.node, refused.reason
    );
    note.truncate(note.floor_char_boundary(MAX_NOTE));
    note
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        controller::kubernetes::findings::{Attachment, Finding, ObjectKind, TargetRef, Verdict},
        discovery::resource::{Kind, ResourceName},
    };

    fn object(name: &str) -> ObjectRef {
        ObjectRef {
            kind: ObjectKind::HttpRoute,
            namespace: "shop".into(),
            name: name.into(),
        }
    }

    fn name(service: &str) -> ResourceName {
        ResourceName::new(Kind::Service, service)
    }

    fn made_of(resource: &str) -> Finding {
        Finding {
            uid: "7d".into(),
            generation: 1,
            attachments: vec![Attachment {
                target: TargetRef::service("cart"),
                accepted: Verdict::Good,
                resolved: Verdict::Good,
                resources: vec![name(resource)],
            }],
        }
    }

    #[test]
    fn a_refusal_concerns_the_objects_that_the_resource_was_made_of() {
        let findings = Findings::from([
            (object("a"), made_of("shop/cart:80")),
            (object("b"), made_of("shop/till:80")),
        ]);
        let refused = Refused {
            node: "cart-0".into(),
            reason: "é".repeat(900),
            names: vec![name("shop/cart:80")],
        };
        let objects: Vec<_> = concerned(&findings, &refused).collect();
        assert_eq!(objects, [&object("a")]);
        assert!(note(&refused).len() <= MAX_NOTE);
    }

    #[test]
    fn the_same_is_said_once_in_a_while_and_never_without_bound() {
        let mut lately = Lately::default();
        let start = Instant::now();
        assert!(lately.is_news(&object("a"), "x", start));
        assert!(!lately.is_news(&object("a"), "x", start + QUIET / 2));
        assert!(lately.is_news(&object("a"), "y", start));
        assert!(lately.is_news(&object("b"), "x", start));
        assert!(lately.is_news(&object("a"), "x", start + QUIET));
        let news = (0..2_000)
            .filter(|n| lately.is_news(&object("a"), &n.to_string(), start + QUIET))
            .count();
        assert_eq!(news, MAX_REMEMBERED - 1);
    }
}
