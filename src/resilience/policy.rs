//! What a user may set about resilience, and the defaults.

use std::{sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounds;
use crate::{discovery::model::ServiceKey, units};

/// The policies of a service, a route or a workload. Every field has a default that suits a
/// service nobody has looked at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ResiliencePolicy {
    pub breaker: BreakerPolicy,
    pub bulkhead: BulkheadPolicy,
    pub retry: RetryPolicy,
    pub timeouts: TimeoutPolicy,
    /// Tried in order when the upstream cannot answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fallback: Vec<Fallback>,
    /// The request header that names a request's priority: `critical`, `default` or `batch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_header: Option<Arc<str>>,
}

impl ResiliencePolicy {
    /// Whether a breaker, a bulkhead or a retry budget under this policy cannot be one with that
    /// under `other`. Bulkheads of routes are apart anyway.
    pub fn counts_apart_from(&self, other: &Self) -> bool {
        let bulkhead = |policy: &Self| {
            let BulkheadPolicy {
                max_in_flight,
                max_in_flight_per_route: _,
                max_in_flight_per_caller,
                queue,
                queue_wait,
                adaptive,
            } = policy.bulkhead;
            (
                max_in_flight,
                max_in_flight_per_caller,
                queue,
                queue_wait,
                adaptive,
            )
        };
        let budget = |policy: &Self| {
            let RetryPolicy {
                budget_ratio,
                budget_min_per_second,
                ..
            } = policy.retry;
            (budget_ratio, budget_min_per_second)
        };
        self.breaker != other.breaker
            || bulkhead(self) != bulkhead(other)
            || budget(self) != budget(other)
    }
}

/// When an endpoint or a service counts as broken, and how it comes back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct BreakerPolicy {
    pub enabled: bool,
    pub window: Window,
    /// Trips an endpoint after this many failures in a row; 0 never. The service as a whole trips
    /// by its rates and by `minHealthy`.
    pub consecutive_failures: u32,
    /// Trips at this share of failures in the window, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub failure_rate: f64,
    /// Trips at this share of slow calls in the window, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub slow_call_rate: f64,
    /// The least a slow call takes; the threshold is the larger of this and 3 × the median.
    #[serde(with = "units::duration")]
    #[schemars(schema_with = "bounds::to_an_hour_schema")]
    pub slow_call_min: Duration,
    /// Rates mean nothing below this many calls in the window.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub min_requests: u32,
    /// The first time open; doubles each time it trips again before it has recovered.
    #[serde(with = "units::duration")]
    #[schemars(schema_with = "bounds::to_an_hour_schema")]
    pub open_for: Duration,
    #[serde(with = "units::duration")]
    #[schemars(schema_with = "bounds::to_an_hour_schema")]
    pub open_for_max: Duration,
    /// Calls let through while half-open; all must succeed.
    #[schemars(range(min = 1, max = 100))]
    pub half_open_probes: u32,
    /// After the probes, traffic grows from 10 % to 100 % over this time.
    #[serde(with = "units::duration")]
    #[schemars(schema_with = "bounds::ramp_schema")]
    pub ramp: Duration,
    /// The share of a service's endpoints that may be out at once, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_ejection: f64,
    /// With less than this share of endpoints healthy, 0 to 1, the service breaker opens.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_healthy: f64,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            window: Window::Time(Duration::from_secs(10)),
            consecutive_failures: 5,
            failure_rate: 0.5,
            slow_call_rate: 0.8,
            slow_call_min: Duration::from_secs(1),
            min_requests: 20,
            open_for: Duration::from_secs(5),
            open_for_max: Duration::from_secs(60),
            half_open_probes: 3,
            ramp: Duration::from_secs(10),
            max_ejection: 0.5,
            min_healthy: 0.2,
        }
    }
}

/// What the breaker's rates are taken over.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Window {
    /// The last so long, in ten buckets: `100ms` to `1h`.
    Time(
        #[serde(with = "units::duration")]
        #[schemars(schema_with = "bounds::window_schema")]
        Duration,
    ),
    /// The last so many calls: 1 to 10,000.
    Count(#[schemars(range(min = 1, max = 10_000))] u32),
}

/// How many exchanges may be under way at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct BulkheadPolicy {
    /// Per upstream service, or per workload for what comes in.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_in_flight: u32,
    /// Per route.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_in_flight_per_route: u32,
    /// Per caller identity; absent: a fair share of `maxInFlight` among the active callers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_in_flight_per_caller: Option<u32>,
    /// Requests that may wait for a place.
    #[schemars(range(max = 1_024))]
    pub queue: u32,
    /// The longest that one waits.
    #[serde(with = "units::duration")]
    #[schemars(schema_with = "bounds::queue_wait_schema")]
    pub queue_wait: Duration,
    /// Find the limit from latency instead (gradient2), between 4 and 1,000.
    pub adaptive: bool,
}

impl Default for BulkheadPolicy {
    fn default() -> Self {
        Self {
            max_in_flight: 256,
            max_in_flight_per_route: 128,
            max_in_flight_per_caller: None,
            queue: 32,
            queue_wait: Duration::from_millis(100),
            adaptive: false,
        }
    }
}

/// When a request is sent again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// Further tries after the first, for idempotent methods.
    #[schemars(range(max = 10))]
    pub attempts: u32,
    /// Retry other methods too: only where the application makes them safe to repeat.
    pub non_idempotent: bool,
    /// Statuses that are tried again.
    #[schemars(length(max = 32), inner(range(min = 400, max = 599)))]
    pub statuses: Vec<u16>,
    /// Bodies up to this many bytes are kept for another try; larger ones are never retried.
    #[schemars(range(max = 16_777_216))]
    pub max_body_bytes: u32,
    /// Retries may add this share of the requests, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub budget_ratio: f64,
    /// ... and always this many per second.
    #[schemars(range(max = 10_000))]
    pub budget_min_per_second: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 1,
            non_idempotent: false,
            statuses: vec![502, 503, 504],
            max_body_bytes: 64 * 1024,
            budget_ratio: 0.2,
            budget_min_per_second: 3,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct TimeoutPolicy {
    /// The whole exchange; absent: none.
    #[serde(
        with = "units::duration::option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(schema_with = "bounds::to_a_day_schema")]
    pub request: Option<Duration>,
    /// TCP, TLS and HTTP/2 together.
    #[serde(with = "units::duration")]
    #[schemars(schema_with = "bounds::to_an_hour_schema")]
    pub connect: Duration,
    /// An HTTP connection without an exchange. Byte streams have no such limit.
    #[serde(with = "units::duration")]
    #[schemars(schema_with = "bounds::to_a_day_schema")]
    pub idle: Duration,
}

impl Default for TimeoutPolicy {
    fn default() -> Self {
        Self {
            request: None,
            connect: Duration::from_secs(2),
            idle: Duration::from_secs(300),
        }
    }
}

/// One link of the fallback chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fallback {
    /// The last good response to the same GET or HEAD, at most this old (≤ 5m).
    Stale(#[serde(with = "units::duration")] Duration),
    /// Another service answers. Idempotent methods only.
    Service(ServiceKey),
    Static(StaticResponse),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StaticResponse {
    /// 200 to 599.
    pub status: u16,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    #[serde(default)]
    pub body: Arc<str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_every_field_of_the_breaker_with_its_default() {
        let page = include_str!("../../docs/resilience.md").replace('`', "");
        let fields = serde_json::to_value(BreakerPolicy::default()).unwrap();
        for (name, default) in fields.as_object().unwrap() {
            let default = match default {
                serde_json::Value::String(text) => text.clone(),
                serde_json::Value::Object(window) => {
                    let (kind, length) = window.iter().next().unwrap();
                    format!("{kind}: {}", length.as_str().unwrap())
                }
                other => other.to_string(),
            };
            let row = format!("\n| {name} | {default} |");
            assert!(page.contains(&row), "docs/resilience.md lacks {row:?}");
        }
    }

    #[test]
    fn only_what_is_counted_is_counted_apart() {
        let service = ResiliencePolicy::default();
        let apart = |change: fn(&mut ResiliencePolicy)| {
            let mut route = service.clone();
            change(&mut route);
            route.counts_apart_from(&service)
        };
        assert!(!apart(|policy| policy.retry.attempts = 3));
        assert!(!apart(|policy| policy.bulkhead.max_in_flight_per_route = 3));
        assert!(!apart(
            |policy| policy.timeouts.request = Some(Duration::from_secs(1))
        ));
        assert!(apart(|policy| policy.retry.budget_ratio = 0.5));
        assert!(apart(|policy| policy.bulkhead.queue = 0));
        assert!(apart(|policy| policy.breaker.failure_rate = 0.9));
    }
}
