//! The responses that the proxy itself makes: who answered, why, and what to do next.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Response, header};

use super::{body::ResponseBody, kind};
use crate::telemetry::Reason;

/// The bounded reason of a refusal, the same word as in metrics, spans and logs.
pub const REASON: HeaderName = HeaderName::from_static("outrigger-reason");

/// Why this proxy does not pass on an exchange.
#[derive(Debug)]
pub struct Refusal {
    pub reason: Reason,
    /// What exactly went wrong; never anything that the client sent.
    pub detail: Option<String>,
    /// When to come back.
    pub retry_after: Option<Duration>,
    /// The application saw nothing of the request, and its caller's proxy may know.
    pub unsent: bool,
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            detail: None,
            retry_after: None,
            unsent: false,
        }
    }
}

impl Refusal {
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..reason.into()
        }
    }

    fn text(&self) -> String {
        let reason = self.reason.as_str();
        match &self.detail {
            Some(detail) => format!("outrigger: {reason}: {detail}; {}", self.reason.advice()),
            None => format!("outrigger: {reason}; {}", self.reason.advice()),
        }
    }

    /// The last bytes of a connection that is no HTTP/1 and was to be: a client that believes it
    /// is can read why.
    pub fn into_http1(self) -> String {
        let (status, text) = (self.reason.http_status(), self.text());
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\n{REASON}: {}\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{text}\n",
            self.reason.as_str(),
            text.len() + 1,
        )
    }

    /// A plain response, or for a gRPC call its status in a trailers-only response.
    pub fn into_response<O>(self, grpc: bool) -> Response<ResponseBody<O>> {
        let text = self.text();
        let mut response = if grpc {
            let mut response = Response::new(ResponseBody::Local(None));
            let headers = response.headers_mut();
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/grpc"),
            );
            headers.insert(
                "grpc-status",
                HeaderValue::from(u16::from(self.reason.grpc_code())),
            );
            if let Ok(message) = HeaderValue::from_str(&percent_encoded(&text)) {
                headers.insert("grpc-message", message);
            }
            response
        } else {
            let mut response = Response::new(ResponseBody::local(text + "\n"));
            *response.status_mut() = self.reason.http_status();
            let text = HeaderValue::from_static("text/plain; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, text);
            response
        };
        mark(response.headers_mut(), self.reason);
        if self.unsent {
            let yes = HeaderValue::from_static("1");
            response.headers_mut().insert(kind::UNSENT, yes);
        }
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

pub fn mark(headers: &mut HeaderMap, reason: Reason) {
    headers.insert(REASON, HeaderValue::from_static(reason.as_str()));
}

/// As the gRPC protocol wants `grpc-message`: everything outside printable ASCII, and `%`.
fn percent_encoded(text: &str) -> String {
    use std::fmt::Write;
    text.bytes()
        .fold(String::with_capacity(text.len()), |mut out, byte| {
            match byte {
                b' '..=b'~' if byte != b'%' => out.push(byte.into()),
                _ => write!(out, "%{byte:02X}").expect("a String takes every write"),
            }
            out
        })
}
