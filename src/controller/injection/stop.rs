//! Lets an application outlive the news of its end. Kubernetes asks it to end in the moment in
//! which it begins to tell others not to call it; one that ends at once loses what it was still
//! sent, and what it was working on. A container without a `preStop` hook is given one that waits.

use std::{ops::RangeInclusive, time::Duration};

use serde_json::{Map, Value, json};

use crate::units;

/// The longest delay that can be asked for: the kubelet counts it into the pod's grace period.
const BOUNDS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(300);

/// What Kubernetes takes for a pod that says nothing, in seconds.
const DEFAULT_GRACE: u64 = 30;

/// The rest of the grace period is the application's.
const LARGEST_SHARE: u64 = 4;

/// A delay in whole seconds, which is what the kubelet counts in.
///
/// # Errors
/// When it is none, or longer than five minutes.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let delay = units::duration::parse(text)?;
    if !BOUNDS.contains(&delay) || delay.subsec_millis() != 0 {
        return Err("write whole seconds from 0s to 5m, like 3s; 0s for none".to_owned());
    }
    Ok(delay)
}

/// As [`parse`], for the configuration.
pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    let text = <std::borrow::Cow<'_, str> as serde::Deserialize>::deserialize(d)?;
    parse(&text).map_err(serde::de::Error::custom)
}

/// Has the containers without a `preStop` hook wait for `delay`, and for no more than a quarter of
/// the pod's grace period.
pub(super) fn add(containers: &mut [Value], grace: &Value, delay: Duration) {
    let grace = match grace {
        Value::Null => DEFAULT_GRACE,
        // Negative ones mean a second.
        grace => grace.as_u64().unwrap_or_default(),
    };
    let seconds = delay.as_secs().min(grace / LARGEST_SHARE);
    if seconds == 0 {
        return;
    }
    for container in containers.iter_mut().filter_map(Value::as_object_mut) {
        let lifecycle = container.entry("lifecycle").or_insert(Value::Null);
        if lifecycle.is_null() {
            *lifecycle = Map::new().into();
        }
        if let Some(hooks) = lifecycle.as_object_mut() {
            let pre_stop = hooks.entry("preStop").or_insert(Value::Null);
            if pre_stop.is_null() {
                *pre_stop = json!({"sleep": {"seconds": seconds}});
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(container: Value, grace: Value, seconds: u64) -> Value {
        let mut containers = [container];
        add(&mut containers, &grace, Duration::from_secs(seconds));
        let [container] = containers;
        container["lifecycle"].clone()
    }

    #[test]
    fn who_has_no_hook_waits() {
        let waits = json!({"preStop": {"sleep": {"seconds": 3}}});
        assert_eq!(added(json!({"name": "app"}), Value::Null, 3), waits);
        let empty = json!({"name": "app", "lifecycle": null});
        assert_eq!(added(empty, json!(30), 3), waits);
        let started = json!({"lifecycle": {"postStart": {"exec": {"command": ["a"]}}}});
        let lifecycle = added(started, json!(30), 3);
        assert_eq!(lifecycle["preStop"], waits["preStop"]);
        assert!(lifecycle["postStart"].is_object(), "{lifecycle}");
    }

    #[test]
    fn a_hook_that_is_there_stays_and_a_second_time_changes_nothing() {
        for hook in [
            json!({"exec": {"command": ["a"]}}),
            json!({"sleep": {"seconds": 9}}),
        ] {
            let lifecycle = json!({"preStop": hook});
            let container = json!({"lifecycle": lifecycle});
            assert_eq!(added(container, json!(30), 3), lifecycle);
        }
    }

    #[test]
    fn most_of_the_grace_period_stays_the_applications() {
        for (grace, asked, given) in [(30, 20, 7), (10, 3, 2), (4, 3, 1), (300, 60, 60)] {
            let lifecycle = added(json!({}), json!(grace), asked);
            let seconds = &lifecycle["preStop"]["sleep"]["seconds"];
            assert_eq!(*seconds, given, "{asked} of {grace}");
        }
        for (grace, asked) in [(3, 3), (0, 3), (-1, 3), (30, 0)] {
            assert_eq!(added(json!({}), json!(grace), asked), Value::Null);
        }
    }

    #[test]
    fn delays_are_whole_seconds() {
        assert_eq!(parse("0s"), Ok(Duration::ZERO));
        assert_eq!(parse("1m"), Ok(Duration::from_secs(60)));
        for wrong in ["500ms", "6m", "3", "soon"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
