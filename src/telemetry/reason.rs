//! Why the proxy itself answered or ended an exchange: one bounded set of words for the
//! `outrigger-reason` header, the metric label, the span attribute and the access log.

use std::fmt;

use http::StatusCode;

/// Declares the enum and its table in one place, so that no reason can lack a column.
macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal, $grpc:ident, $advice:literal;)*) => {
        /// Why an exchange did not go the ordinary way.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// Every reason, in the order of their discriminants.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word used alike in header, label, span and log.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            const fn grpc(self) -> Grpc {
                match self { $(Self::$name => Grpc::$grpc,)* }
            }

            /// One sentence for whoever reads the response: what to do next.
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$name => $advice,)* }
            }
        }
    };
}

/// The gRPC status codes that the proxy answers with.
#[derive(Clone, Copy)]
enum Grpc {
    Cancelled = 1,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
}

reasons! {
    NoRoute = "no-route", 404, Unimplemented,
        "No route matches this host, path and method: compare the request with the routes in /config.";
    NoEndpoints = "no-endpoints", 503, Unavailable,
        "The service has no ready endpoint: check that its pods run and pass their readiness probes.";
    /// The Gateway API's answer where the request fell to a backend that cannot be used.
    NoBackend = "no-backend", 500, Unavailable,
        "Give the route a backend that exists, may be used and has a weight above 0; on Kubernetes the route's status says what is wrong with those it has.";
    ConnectFailed = "connect-failed", 502, Unavailable,
        "The endpoint refused the connection: check that the application listens on the port, on the pod's address.";
    ConnectTimeout = "connect-timeout", 504, Unavailable,
        "The endpoint did not accept in time: check that no NetworkPolicy blocks it and that the pod is not overloaded.";
    TlsFailed = "tls-failed", 502, Unavailable,
        "Mesh TLS with the endpoint failed: the logs of both proxies name the certificate and the rule it broke.";
    /// One endpoint or the whole service is cut off after failures.
    BreakerOpen = "breaker-open", 503, Unavailable,
        "The circuit breaker is open after failures of the upstream: repair the upstream and retry after the time in Retry-After.";
    BulkheadFull = "bulkhead-full", 503, ResourceExhausted,
        "As many exchanges are under way as the bulkhead allows and its queue is full: retry with back-off, or raise the limit.";
    BulkheadQueueTimeout = "bulkhead-queue-timeout", 503, ResourceExhausted,
        "No place in the bulkhead came free in time: retry with back-off, or raise the limit or the wait.";
    /// One caller identity holds its share of the bulkhead.
    CallerShare = "caller-share", 503, ResourceExhausted,
        "This caller already uses its share of the bulkhead: let it send fewer requests at once, or raise its share.";
    RequestTimeout = "request-timeout", 504, DeadlineExceeded,
        "The exchange took longer than its timeout: find out why the upstream is slow, or raise the timeout.";
    UpstreamReset = "upstream-reset", 502, Unavailable,
        "The upstream ended the exchange before its response was complete: look for a crash or restart in its log.";
    UpstreamProtocol = "upstream-protocol", 502, Internal,
        "The upstream answered with something that is not valid HTTP: check that the port speaks the protocol it is declared with.";
    /// Only beside a fallback: otherwise the upstream's own answer goes through.
    UpstreamFailed = "upstream-failed", 502, Unavailable,
        "The upstream answered with a server error: look into its log.";
    PlaintextRefused = "plaintext-refused", 403, PermissionDenied,
        "This port takes mesh TLS only: inject the caller's pod, or set the workload's mTLS mode to permissive.";
    AccessDenied = "access-denied", 403, PermissionDenied,
        "No access policy allows this caller this call: add a rule for it to an AccessPolicy of the workload, whose proxy's log names the policies in force.";
    /// The control plane has said nothing about the workload.
    NotConfigured = "not-configured", 503, Unavailable,
        "The proxy does not know yet who may call its workload: check that the controller runs and that the pod reaches it.";
    LoopDetected = "loop-detected", 508, Internal,
        "The request came back to the proxy that sent it: check for a route that points at itself.";
    BadRequest = "bad-request", 400, InvalidArgument,
        "The request is not valid HTTP: check the client, or anything that rewrites its requests.";
    /// The connection is cut: there is no request to answer.
    HeadTimeout = "head-timeout", 408, DeadlineExceeded,
        "The client began a request and did not finish its head in time: check the client and the network between.";
    /// The answer is the HTTP library's, without this word.
    HeadersTooLarge = "headers-too-large", 431, ResourceExhausted,
        "The request's headers are larger than the proxy allows: send fewer or smaller headers, often cookies.";
    /// Nobody is left to read the status.
    ClientCancelled = "client-cancelled", 499, Cancelled,
        "The client went away before the response was complete: compare its timeout with the request's duration.";
    Overloaded = "overloaded", 503, ResourceExhausted,
        "The proxy is at one of its own limits: retry with back-off; its metrics show which limit.";
}

impl Reason {
    /// How many there are, for arrays indexed by [`Reason::index`].
    pub const COUNT: usize = Self::ALL.len();

    pub const fn index(self) -> usize {
        self as usize
    }

    /// The reason with this word, None where there is none.
    pub fn from_word(word: &[u8]) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|reason| reason.as_str().as_bytes() == word)
    }

    /// The status of the response that the proxy makes for this reason.
    pub fn http_status(self) -> StatusCode {
        StatusCode::from_u16(self.status()).expect("the table holds valid statuses")
    }

    /// The `grpc-status` of the response to a gRPC call.
    pub const fn grpc_code(self) -> u8 {
        self.grpc() as u8
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, fs, path::Path};

    use super::*;

    #[test]
    fn every_reason_has_its_own_word_and_a_sentence() {
        let words: HashSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(words.len(), Reason::COUNT);
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index);
            assert!(
                reason.http_status().is_client_error() || reason.http_status().is_server_error()
            );
            assert!((1..=16).contains(&reason.grpc_code()));
            assert!(
                reason.advice().ends_with('.') && reason.advice().is_ascii(),
                "{reason}"
            );
            let word = |b: u8| b.is_ascii_lowercase() || b == b'-';
            assert!(reason.as_str().bytes().all(word), "{reason}");
            let word = reason.as_str().as_bytes();
            assert_eq!(Reason::from_word(word), Some(*reason));
        }
        assert_eq!(Reason::from_word(b""), None);
    }

    /// All Rust text under a directory, but for this file and for tests in files of their own.
    fn sources(dir: &Path, text: &mut String) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                sources(&path, text);
            } else if name.ends_with(".rs") && !name.ends_with("tests.rs") && name != "reason.rs" {
                text.push_str(&fs::read_to_string(&path).unwrap());
            }
        }
    }

    /// A dashboard or an alert on a reason that nothing gives would be quiet for ever.
    #[test]
    fn every_reason_is_given_by_the_proxy() {
        let mut text = String::new();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        sources(&root.join("src/proxy"), &mut text);
        for reason in Reason::ALL {
            assert!(text.contains(&format!("Reason::{reason:?}")), "{reason}");
        }
    }

    #[test]
    fn the_documentation_lists_every_reason() {
        let row = |reason: &Reason| {
            let (status, grpc) = (reason.status(), reason.grpc_code());
            format!("| `{reason}` | {status} | {grpc} | {} |", reason.advice())
        };
        let rows: Vec<_> = Reason::ALL.iter().map(row).collect();
        let documented = include_str!("../../docs/reasons.md").lines();
        let documented: Vec<_> = documented.filter(|line| line.starts_with("| `")).collect();
        let expected = rows.join("\n");
        assert_eq!(
            documented, rows,
            "the table in docs/reasons.md should be:\n{expected}"
        );
    }
}
