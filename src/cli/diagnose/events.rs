//! The last events about a pod, and the last lines of its proxy that tell of trouble.

use k8s_openapi::api::core::v1::{Event as KubeEvent, Pod};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, LogParams},
};

use super::{
    denials::{Denial, denials},
    facts::Event,
};
use crate::cli::cluster::{Fact, PROXY, explain, list};

/// Events that are told.
const EVENTS: usize = 8;
/// Lines of the log that are looked at, and of those the bad ones that are told.
const LOG_LINES: i64 = 500;
const BAD_LINES: usize = 8;

pub async fn events(client: &Client, pod: &Pod) -> Fact<Vec<Event>> {
    let namespace = pod.namespace().unwrap_or_default();
    let of_pod = format!(
        "involvedObject.kind=Pod,involvedObject.name={}",
        pod.name_any()
    );
    let api: Api<KubeEvent> = Api::namespaced(client.clone(), &namespace);
    let found = list(api, ListParams::default().fields(&of_pod)).await?;
    Ok(newest(found))
}

/// The events about pods of a workload (`kind/name`) that could not be created: they are the
/// workload's, of a Deployment its ReplicaSets'.
pub async fn refused_pods(client: &Client, namespace: &str, workload: &str) -> Fact<Vec<Event>> {
    let api: Api<KubeEvent> = Api::namespaced(client.clone(), namespace);
    let failed = ListParams::default().fields("reason=FailedCreate");
    let mut found = list(api, failed).await?;
    found.retain(|event| is_of(event, workload));
    Ok(newest(found))
}

fn is_of(event: &KubeEvent, workload: &str) -> bool {
    let object = &event.involved_object;
    let named = object.name.as_deref().unwrap_or_default();
    let (kind, name) = workload.split_once('/').unwrap_or(("", workload));
    match (kind, object.kind.as_deref().unwrap_or_default()) {
        // The name of a ReplicaSet ends with a hash, in which there is no dash.
        ("deploy", "ReplicaSet") => {
            let of_deployment = named
                .strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('-'));
            of_deployment.is_some_and(|hash| !hash.contains('-'))
        }
        ("sts", "StatefulSet") | ("ds", "DaemonSet") | ("job", "Job") => named == name,
        _ => false,
    }
}

fn newest(found: Vec<KubeEvent>) -> Vec<Event> {
    let mut events: Vec<_> = found.into_iter().map(event).collect();
    events.sort_by_key(|event| std::cmp::Reverse(event.at));
    events.truncate(EVENTS);
    events
}

fn event(event: KubeEvent) -> Event {
    let series = event
        .series
        .as_ref()
        .and_then(|series| series.last_observed_time.as_ref());
    let seen = series.map(|time| time.0);
    let seen = seen.or(event.event_time.map(|time| time.0));
    let last = event
        .last_timestamp
        .or(event.first_timestamp)
        .map(|time| time.0);
    let at = last.or(seen).map(|time| time.as_second());
    Event {
        at: at.and_then(|second| u64::try_from(second).ok()),
        warning: event.type_.as_deref() == Some("Warning"),
        reason: event.reason.unwrap_or_default(),
        message: event.message.unwrap_or_default(),
        count: event.count.unwrap_or(1),
    }
}

/// What the proxy's log tells of trouble.
#[derive(Default)]
pub struct Log {
    /// Warnings and errors, the newest last.
    pub bad: Vec<String>,
    pub denials: Vec<Denial>,
}

pub async fn log(client: &Client, pod: &Pod) -> Fact<Log> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let params = LogParams {
        container: Some(PROXY.to_owned()),
        tail_lines: Some(LOG_LINES),
        ..LogParams::default()
    };
    let text = api.logs(&pod.name_any(), &params).await;
    let text = text.map_err(|error| explain(&error))?;
    let plain: Vec<_> = text.lines().map(without_escapes).collect();
    Ok(Log {
        bad: bad_lines(&plain),
        denials: denials(plain.iter().map(String::as_str)),
    })
}

/// The last lines that are warnings or errors, in both of the log's formats.
fn bad_lines(plain: &[String]) -> Vec<String> {
    let bad = plain.iter().filter(|line| {
        let level = |level: &str| {
            line.contains(&format!("\"level\":\"{level}\""))
                || line.split_whitespace().take(3).any(|word| word == level)
        };
        level("WARN") || level("ERROR")
    });
    let bad: Vec<_> = bad.cloned().collect();
    bad[bad.len().saturating_sub(BAD_LINES)..].to_vec()
}

/// Without what would move the cursor or change colours.
fn without_escapes(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            // A control sequence ends with a letter.
            '\u{1b}' => {
                let _ = chars.find(char::is_ascii_alphabetic);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_a_replica_set_is_its_deployments() {
        let event = |kind: &str, name: &str| -> KubeEvent {
            serde_json::from_value(serde_json::json!({
                "metadata": {}, "involvedObject": { "kind": kind, "name": name },
            }))
            .unwrap()
        };
        assert!(is_of(&event("ReplicaSet", "cart-5d4f"), "deploy/cart"));
        assert!(!is_of(&event("ReplicaSet", "cart-db-5d4f"), "deploy/cart"));
        assert!(!is_of(&event("Pod", "cart-5d4f"), "deploy/cart"));
        assert!(is_of(&event("StatefulSet", "db"), "sts/db"));
    }

    #[test]
    fn picks_the_lines_that_tell_of_trouble() {
        let bad_lines = |log: &str| {
            let plain: Vec<_> = log.lines().map(without_escapes).collect();
            bad_lines(&plain)
        };
        let log = "\u{1b}[2m2026-11-24T12:00:00Z\u{1b}[0m \u{1b}[33m WARN\u{1b}[0m outrigger: lost the controller
2026-11-24T12:00:01Z  INFO outrigger: an ERROR in a message
{\"timestamp\":\"x\",\"level\":\"ERROR\",\"fields\":{}}
2026-11-24T12:00:02Z ERROR worker: gone
";
        let lines = bad_lines(log);
        assert_eq!(lines.len(), 3);
        assert!(
            lines[0].starts_with("2026-11-24T12:00:00Z  WARN outrigger"),
            "{lines:?}"
        );
        let many = "x ERROR y\n".repeat(50);
        assert_eq!(bad_lines(&many).len(), BAD_LINES);
    }
}
