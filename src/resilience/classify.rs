//! What an ended call says about the one who answered it. What follows from that is the
//! breaker's and the adaptive limit's business.

use std::time::Duration;

/// How a call ended, as far as the health of its upstream is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallResult {
    Success,
    /// 5xx, connect error, timeout, reset; gRPC DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE.
    Failure,
    /// 429 or RESOURCE_EXHAUSTED: alive and asking for less, so only rates count it.
    Overload,
    /// The client gave up. A failure if that took longer than a slow call, else it says nothing.
    Cancelled,
}

/// One ended call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub result: CallResult,
    /// From sending the request to the head of the response, or to whatever ended the wait.
    pub latency: Duration,
    /// What the response's `Retry-After` asked for.
    pub retry_after: Option<Duration>,
}

/// The verdict on a response that is not gRPC.
pub fn http_status(status: u16) -> CallResult {
    match status {
        429 => CallResult::Overload,
        500..=599 => CallResult::Failure,
        _ => CallResult::Success,
    }
}

/// The verdict on a `grpc-status`. Codes that blame the request, such as NOT_FOUND, are successes.
pub fn grpc_status(code: u32) -> CallResult {
    match code {
        1 => CallResult::Cancelled,
        8 => CallResult::Overload,
        4 | 13 | 14 => CallResult::Failure,
        _ => CallResult::Success,
    }
}

/// Reads a `Retry-After` given in seconds. A date is ignored: it would need both clocks to agree.
pub fn retry_after(value: &str) -> Option<Duration> {
    value.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_5xx_fails_and_429_is_load() {
        for status in [500, 501, 502, 503, 504, 599] {
            assert_eq!(http_status(status), CallResult::Failure, "{status}");
        }
        for status in [101, 200, 204, 304, 400, 404, 408, 499] {
            assert_eq!(http_status(status), CallResult::Success, "{status}");
        }
        assert_eq!(http_status(429), CallResult::Overload);
    }

    #[test]
    fn grpc_4_13_14_fail_and_8_is_load() {
        let failures: Vec<u32> = (0..=16)
            .filter(|code| grpc_status(*code) == CallResult::Failure)
            .collect();
        assert_eq!(failures, [4, 13, 14]);
        assert_eq!(grpc_status(8), CallResult::Overload);
        assert_eq!(grpc_status(1), CallResult::Cancelled);
    }

    #[test]
    fn retry_after_in_seconds_only() {
        assert_eq!(retry_after(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Fri, 31 Dec 1999 23:59:59 GMT"), None);
        assert_eq!(retry_after("-1"), None);
    }
}
