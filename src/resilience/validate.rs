//! Refuses policies that cannot mean what their author meant, each fault with its place. The
//! bounds are wide: they keep out mistakes of unit and overflow, not taste.

use std::{fmt::Display, ops::RangeInclusive, time::Duration};

use super::{bounds, policy::*};
use crate::units;

const MAX_CONCURRENCY: u32 = 1_000_000;

/// One field of a policy that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct FieldError {
    /// As in the configuration: `breaker.failureRate`, `fallback[1].static.status`.
    pub path: String,
    pub reason: String,
}

impl ResiliencePolicy {
    /// # Errors
    /// Every field that is out of its range or contradicts another one.
    pub fn validate(&self) -> Result<(), Vec<FieldError>> {
        let mut faults = Faults(Vec::new());
        check_breaker(&self.breaker, &mut faults);
        check_bulkhead(&self.bulkhead, &mut faults);
        check_retry(&self.retry, &mut faults);
        check_timeouts(&self.timeouts, &mut faults);
        check_fallback(&self.fallback, &mut faults);
        if let Some(name) = &self.priority_header
            && http::HeaderName::from_bytes(name.as_bytes()).is_err()
        {
            faults.add("priorityHeader", format!("{name:?} is not a header name"));
        }
        if faults.0.is_empty() {
            Ok(())
        } else {
            Err(faults.0)
        }
    }
}

struct Faults(Vec<FieldError>);

impl Faults {
    fn add(&mut self, path: impl Into<String>, reason: impl Into<String>) {
        self.0.push(FieldError {
            path: path.into(),
            reason: reason.into(),
        });
    }

    fn check(&mut self, fine: bool, path: &str, reason: impl Display) {
        if !fine {
            self.add(path, reason.to_string());
        }
    }

    fn range<T>(&mut self, path: &str, value: T, range: RangeInclusive<T>)
    where
        T: PartialOrd + Display,
    {
        let (least, most) = (range.start(), range.end());
        let reason = format!("{value} is not between {least} and {most}");
        self.check(range.contains(&value), path, reason);
    }

    fn duration(&mut self, path: &str, value: Duration, range: RangeInclusive<Duration>) {
        let (least, most) = (range.start(), range.end());
        let [shown, least, most] = [value, *least, *most].map(units::duration::format);
        let reason = format!("{shown} is not between {least} and {most}");
        self.check(range.contains(&value), path, reason);
    }
}

fn check_breaker(breaker: &BreakerPolicy, faults: &mut Faults) {
    for (path, rate) in [
        ("breaker.failureRate", breaker.failure_rate),
        ("breaker.slowCallRate", breaker.slow_call_rate),
        ("breaker.maxEjection", breaker.max_ejection),
        ("breaker.minHealthy", breaker.min_healthy),
    ] {
        faults.range(path, rate, 0.0..=1.0);
    }
    match breaker.window {
        Window::Time(length) => {
            faults.duration("breaker.window.time", length, bounds::WINDOW);
        }
        Window::Count(calls) => {
            faults.range("breaker.window.count", calls, 1..=10_000);
            let reason = format!(
                "{} is more than the window of {calls} calls ever holds: no rate would count",
                breaker.min_requests
            );
            faults.check(breaker.min_requests <= calls, "breaker.minRequests", reason);
        }
    }
    faults.range("breaker.minRequests", breaker.min_requests, 1..=1_000_000);
    faults.range("breaker.halfOpenProbes", breaker.half_open_probes, 1..=100);
    faults.duration(
        "breaker.slowCallMin",
        breaker.slow_call_min,
        bounds::TO_AN_HOUR,
    );
    faults.duration("breaker.openFor", breaker.open_for, bounds::TO_AN_HOUR);
    faults.duration(
        "breaker.openForMax",
        breaker.open_for_max,
        bounds::TO_AN_HOUR,
    );
    let ordered = breaker.open_for <= breaker.open_for_max;
    faults.check(ordered, "breaker.openForMax", "is less than openFor");
    faults.duration("breaker.ramp", breaker.ramp, bounds::RAMP);
}

fn check_bulkhead(bulkhead: &BulkheadPolicy, faults: &mut Faults) {
    let limits = 1..=MAX_CONCURRENCY;
    faults.range(
        "bulkhead.maxInFlight",
        bulkhead.max_in_flight,
        limits.clone(),
    );
    let per_route = bulkhead.max_in_flight_per_route;
    faults.range("bulkhead.maxInFlightPerRoute", per_route, limits.clone());
    if let Some(per_caller) = bulkhead.max_in_flight_per_caller {
        faults.range("bulkhead.maxInFlightPerCaller", per_caller, limits);
    }
    faults.range("bulkhead.queue", bulkhead.queue, 0..=1_024);
    let wait = bulkhead.queue_wait;
    faults.duration("bulkhead.queueWait", wait, bounds::QUEUE_WAIT);
    let waits = bulkhead.queue == 0 || !wait.is_zero();
    faults.check(
        waits,
        "bulkhead.queueWait",
        "is 0 with a queue: set queue to 0 instead",
    );
}

fn check_retry(retry: &RetryPolicy, faults: &mut Faults) {
    faults.range("retry.attempts", retry.attempts, 0..=10);
    for (n, status) in retry.statuses.iter().enumerate() {
        faults.range(&format!("retry.statuses[{n}]"), *status, 400..=599);
    }
    faults.range("retry.maxBodyBytes", retry.max_body_bytes, 0..=16 << 20);
    faults.range("retry.budgetRatio", retry.budget_ratio, 0.0..=1.0);
    faults.range(
        "retry.budgetMinPerSecond",
        retry.budget_min_per_second,
        0..=10_000,
    );
}

fn check_timeouts(timeouts: &TimeoutPolicy, faults: &mut Faults) {
    if let Some(request) = timeouts.request {
        faults.duration("timeouts.request", request, bounds::TO_A_DAY);
    }
    faults.duration("timeouts.connect", timeouts.connect, bounds::TO_AN_HOUR);
    faults.duration("timeouts.idle", timeouts.idle, bounds::TO_A_DAY);
}

fn check_fallback(chain: &[Fallback], faults: &mut Faults) {
    for (n, link) in chain.iter().enumerate() {
        match link {
            Fallback::Stale(oldest) => {
                let path = format!("fallback[{n}].stale");
                faults.duration(&path, *oldest, bounds::STALE);
            }
            Fallback::Service(_) => {}
            Fallback::Static(response) => {
                let path = format!("fallback[{n}].static");
                check_static(response, &path, faults);
                let reason = "always answers: the links after it are never reached";
                faults.check(n + 1 == chain.len(), &path, reason);
            }
        }
    }
}

fn check_static(response: &StaticResponse, path: &str, faults: &mut Faults) {
    faults.range(&format!("{path}.status"), response.status, 200..=599);
    for (n, (name, value)) in response.headers.iter().enumerate() {
        let path = format!("{path}.headers[{n}]");
        match http::HeaderName::from_bytes(name.as_bytes()) {
            Err(_) => faults.add(&path, format!("{name:?} is not a header name")),
            Ok(name) => {
                let reason = format!("{name} belongs to the connection, not to the response");
                faults.check(!is_framing(&name), &path, reason);
            }
        }
        let fine = http::HeaderValue::from_str(value).is_ok();
        faults.check(
            fine,
            &path,
            format_args!("{value:?} cannot be a header value"),
        );
    }
}

/// Headers that whoever writes the message must set, or it would be framed wrongly.
fn is_framing(name: &http::HeaderName) -> bool {
    use http::header::*;
    [
        CONNECTION,
        CONTENT_LENGTH,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ]
    .contains(name)
        || ["keep-alive", "proxy-connection"].contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(json: serde_json::Value) -> Vec<String> {
        let policy: ResiliencePolicy = serde_json::from_value(json).expect("well-formed");
        let faults = policy.validate().err().unwrap_or_default();
        faults.into_iter().map(|fault| fault.path).collect()
    }

    #[test]
    fn the_defaults_are_fine() {
        assert_eq!(ResiliencePolicy::default().validate(), Ok(()));
    }

    #[test]
    fn every_fault_is_named() {
        let found = faults(serde_json::json!({
            "breaker": {
                "failureRate": 1.5, "minHealthy": -0.1, "halfOpenProbes": 0,
                "window": {"count": 10}, "openFor": "2m"
            },
            "bulkhead": {"maxInFlight": 0, "queueWait": "0ms"},
            "retry": {"statuses": [503, 200], "budgetRatio": 2.0},
            "timeouts": {"connect": "0ms"},
            "priorityHeader": "not a header"
        }));
        assert_eq!(
            found,
            [
                "breaker.failureRate",
                "breaker.minHealthy",
                "breaker.minRequests",
                "breaker.halfOpenProbes",
                "breaker.openForMax",
                "bulkhead.maxInFlight",
                "bulkhead.queueWait",
                "retry.statuses[1]",
                "retry.budgetRatio",
                "timeouts.connect",
                "priorityHeader",
            ]
        );
    }

    #[test]
    fn not_a_number_is_not_a_rate() {
        let mut policy = ResiliencePolicy::default();
        policy.breaker.failure_rate = f64::NAN;
        let faults = policy.validate().unwrap_err();
        assert_eq!(
            faults[0].to_string(),
            "breaker.failureRate: NaN is not between 0 and 1"
        );
    }

    #[test]
    fn fallback_chains() {
        let found = faults(serde_json::json!({"fallback": [
            {"stale": "6m"},
            {"static": {"status": 100, "headers": [["Content-Length", "3"], ["x y", "\n"]]}},
            {"service": "shop/cart:80"}
        ]}));
        assert_eq!(
            found,
            [
                "fallback[0].stale",
                "fallback[1].static.status",
                "fallback[1].static.headers[0]",
                "fallback[1].static.headers[1]",
                "fallback[1].static.headers[1]",
                "fallback[1].static",
            ]
        );
    }
}
