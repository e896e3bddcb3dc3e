//! The diagnosis of a workload that has no pods.

use std::time::SystemTime;

use serde::Serialize;

use super::{
    causes::{Cause, Likely, new_pods_refused},
    facts::Event,
    view,
};
use crate::{
    cli::cluster::{Fact, Report},
    proxy::belief::unix_seconds,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Absent {
    /// `namespace/kind/name`.
    workload: String,
    /// How many pods it should have; absent where it does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    wanted: Option<i32>,
    /// About pods that could not be created, the newest first.
    events: Vec<Event>,
    unknown: Vec<String>,
    causes: Vec<Cause>,
    #[serde(skip)]
    now: u64,
}

impl Absent {
    /// `refused`: what the workload's own status says.
    pub fn new(
        workload: String,
        wanted: Option<i32>,
        refused: Option<String>,
        events: Fact<Vec<Event>>,
    ) -> Self {
        let (events, unknown) = match events {
            Ok(events) => (events, Vec::new()),
            Err(why) => (Vec::new(), vec![format!("events: {why}")]),
        };
        let refused = refused.or_else(|| Some(events.first()?.message.clone()));
        let cause = match (wanted, refused) {
            (Some(0), _) => Cause {
                likely: Likely::Surely,
                what: "It is scaled to 0".into(),
                next: "`kubectl scale` it up; it may be an autoscaler that scaled it down.".into(),
            },
            (_, Some(message)) => {
                new_pods_refused(message.strip_prefix("Error creating: ").unwrap_or(&message))
            }
            (_, None) => Cause {
                likely: Likely::Perhaps,
                what: "It has no pods, and nothing says why".into(),
                next:
                    "`kubectl describe` it; pods that were created just now may follow in a moment."
                        .into(),
            },
        };
        Self {
            workload,
            wanted,
            events,
            unknown,
            causes: vec![cause],
            now: unix_seconds(SystemTime::now()),
        }
    }
}

impl Report for Absent {
    fn text(&self) -> String {
        let wanted = self.wanted.map(|wanted| format!(" of {wanted}"));
        let mut text = format!(
            "Workload     {}, 0{} pods\n",
            self.workload,
            wanted.unwrap_or_default()
        );
        let events = self
            .events
            .iter()
            .map(|event| view::event_line(event, self.now));
        text += &view::section("Last events", &events.collect::<String>());
        let unknown = self.unknown.iter().map(|line| format!("  {line}\n"));
        text += &view::section("Not looked at", &unknown.collect::<String>());
        text + &view::section("Likely causes", &view::likely(&self.causes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENIED: &str = "admission webhook \"injector.outrigger.dev\" denied the request: annotation outrigger.dev/inject of the namespace: \"true\": write enabled or disabled";

    fn event() -> Event {
        Event {
            at: None,
            warning: true,
            reason: "FailedCreate".into(),
            message: format!("Error creating: {DENIED}"),
            count: 14,
        }
    }

    fn shown(wanted: i32, refused: Option<&str>, events: Fact<Vec<Event>>) -> String {
        let refused = refused.map(str::to_owned);
        Absent::new("shop/deploy/cart".into(), Some(wanted), refused, events).text()
    }

    #[test]
    fn says_why_pods_are_refused() {
        insta::assert_snapshot!(shown(2, None, Ok(vec![event()])), @r#"
        Workload     shop/deploy/cart, 0 of 2 pods

        Last events
                   ago  FailedCreate  Error creating: admission webhook "injector.outrigger.dev" denied the request: annotation outrigger.dev/inject of the namespace: "true": write enabled or disabled (×14)

        Likely causes
          1. surely: New pods of the workload are refused: admission webhook "injector.outrigger.dev" denied the request: annotation outrigger.dev/inject of the namespace: "true": write enabled or disabled
             → Correct what the message names, in the pod template or on the namespace: docs/injection.md#annotations has the values.
        "#);
    }

    #[test]
    fn the_workloads_own_word_does_without_events() {
        let told = shown(2, Some(DENIED), Err("not allowed".into()));
        assert!(
            told.contains(&format!(
                "surely: New pods of the workload are refused: {DENIED}"
            )),
            "{told}"
        );
        assert!(told.contains("events: not allowed"), "{told}");
    }

    #[test]
    fn none_are_wanted_or_nothing_is_known() {
        assert!(shown(0, None, Ok(Vec::new())).contains("surely: It is scaled to 0"));
        assert!(shown(1, None, Ok(Vec::new())).contains("nothing says why"));
    }
}
