//! Findings as conditions of the Gateway API: pure. Only entries under our name are made, changed
//! or taken out; what other controllers wrote about the same object stays byte for byte.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::findings::{Attachment, Finding, ObjectKind, TargetRef, Verdict};
use crate::controller::Live;

/// Under whose name entries stand.
pub(super) const CONTROLLER_NAME: &str = "outrigger.dev/controller";

const ACCEPTED: &str = "Accepted";
const RESOLVED_REFS: &str = "ResolvedRefs";
const LIVE: &str = "outrigger.dev/Live";

/// The Gateway API's limit on a policy's ancestors.
const MAX_ANCESTORS: usize = 16;
/// And on a condition's message, which is shortened to it.
const MAX_MESSAGE: usize = 32_768;

/// How a kind calls its entries.
struct Layout {
    list: &'static str,
    reference: &'static str,
}

impl Layout {
    fn of(kind: ObjectKind) -> Self {
        match kind {
            ObjectKind::HttpRoute | ObjectKind::GrpcRoute => Self {
                list: "parents",
                reference: "parentRef",
            },
            ObjectKind::ResiliencePolicy | ObjectKind::AccessPolicy => Self {
                list: "ancestors",
                reference: "ancestorRef",
            },
        }
    }
}

/// The status that the object should have, or `None` where it has it. `live` has an entry for each
/// attachment.
pub(super) fn next_status(
    kind: ObjectKind,
    object: &Value,
    finding: &Finding,
    live: &[Live],
    now: Timestamp,
) -> Option<Value> {
    let layout = Layout::of(kind);
    let present = object["status"][layout.list].as_array();
    let present = present.map_or(&[][..], Vec::as_slice);
    let (ours, theirs): (Vec<_>, Vec<_>) = present
        .iter()
        .cloned()
        .partition(|entry| entry["controllerName"] == CONTROLLER_NAME);
    let wanted = finding.attachments.iter().zip(live).map(|(at, live)| {
        let reference = reference(&at.target);
        let before = ours
            .iter()
            .find(|entry| entry[layout.reference] == reference);
        let conditions = conditions(kind, at, *live)
            .into_iter()
            .map(|condition| condition.write(before, finding.generation, now));
        json!({
            layout.reference: reference,
            "controllerName": CONTROLLER_NAME,
            "conditions": conditions.collect::<Vec<_>>(),
        })
    });
    let mut list: Vec<_> = theirs.into_iter().chain(wanted).collect();
    if layout.list == "ancestors" {
        list.truncate(MAX_ANCESTORS);
    }
    (list != present).then(|| json!({ layout.list: list }))
}

/// As the object's own spec states it: the group is said even where it is the core's, which is
/// another than the default.
fn reference(target: &TargetRef) -> Value {
    let mut reference = Map::new();
    let mut put = |key: &str, value: Value| drop(reference.insert(key.to_owned(), value));
    put("group", target.group.as_str().into());
    put("kind", target.kind.as_str().into());
    if let Some(namespace) = &target.namespace {
        put("namespace", namespace.as_str().into());
    }
    put("name", target.name.as_str().into());
    if let Some(section) = &target.section_name {
        put("sectionName", section.as_str().into());
    }
    if let Some(port) = target.port {
        put("port", port.into());
    }
    Value::Object(reference)
}

/// One condition before it has its times.
#[derive(Debug, PartialEq, Eq)]
struct Condition {
    kind: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
}

fn conditions(object: ObjectKind, at: &Attachment, live: Live) -> Vec<Condition> {
    let mut conditions = vec![
        verdict(ACCEPTED, "Accepted", &at.accepted),
        verdict(RESOLVED_REFS, "ResolvedRefs", &at.resolved),
    ];
    if !matches!(at.accepted, Verdict::Bad { .. }) && !at.resources.is_empty() {
        conditions.push(live_condition(object, live));
    }
    conditions
}

fn verdict(kind: &'static str, good: &'static str, verdict: &Verdict) -> Condition {
    let (status, reason, message) = match verdict {
        Verdict::Good => ("True", good, ""),
        Verdict::Noted { message } => ("True", good, &**message),
        Verdict::Bad { reason, message } => ("False", *reason, &**message),
    };
    Condition {
        kind,
        status,
        reason,
        message: message[..message.floor_char_boundary(MAX_MESSAGE)].to_owned(),
    }
}

fn live_condition(object: ObjectKind, live: Live) -> Condition {
    let Live {
        subscribed,
        current,
    } = live;
    let (status, reason) = match (subscribed, current) {
        (0, _) => ("Unknown", "NoProxies"),
        _ if current >= subscribed => ("True", "Live"),
        _ => ("False", "Pending"),
    };
    let message = match (subscribed, object) {
        (0, ObjectKind::AccessPolicy) => {
            "not known to be live: no proxy of its workloads was connected at the last count, which this follows every 10 s at most".into()
        }
        (0, _) => {
            "not known to be live: no proxy used it at the last count, which this follows every 10 s at most; a proxy does once its application dials".into()
        }
        _ => format!("live in {current} of {subscribed} proxies"),
    };
    Condition {
        kind: LIVE,
        status,
        reason,
        message,
    }
}

impl Condition {
    /// The time of the last transition is the one before, unless the status is another now.
    fn write(self, before: Option<&Value>, generation: i64, now: Timestamp) -> Value {
        let before = before.and_then(|entry| entry["conditions"].as_array());
        let before = before.and_then(|conditions| {
            let mut conditions = conditions.iter();
            conditions.find(|condition| condition["type"] == self.kind)
        });
        let since = before
            .filter(|condition| condition["status"] == self.status)
            .and_then(|condition| condition["lastTransitionTime"].as_str());
        let seconds = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let since = since.map_or_else(|| seconds.to_string(), ToOwned::to_owned);
        json!({
            "type": self.kind,
            "status": self.status,
            "reason": self.reason,
            "message": self.message,
            "observedGeneration": generation,
            "lastTransitionTime": since,
        })
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
