//! The sample service's own calls.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Uri, header::HOST};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;

use crate::failure;

/// A downstream that is silent for so long is given up.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The headers that carry a trace from one service to the next.
const TRACE_HEADERS: [&str; 3] = ["traceparent", "tracestate", "b3"];

/// What became of a call, as the caller saw it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Call {
    pub to: String,
    /// 0 where there was no response.
    pub status: u16,
    /// The mesh's reason, where it answered instead of the service.
    pub reason: Option<String>,
    /// Which fallback answered.
    pub fallback: Option<String>,
    /// The answer, or what went wrong.
    pub answer: serde_json::Value,
}

/// Calls a service with the incoming request's path and trace headers.
pub async fn call(service: &Uri, path: &str, incoming: &HeaderMap) -> Call {
    let to = service.to_string();
    match tokio::time::timeout(TIMEOUT, exchange(service, path, incoming)).await {
        Ok(Ok(call)) => Call { to, ..call },
        Ok(Err(error)) => failed(to, &failure::in_full(&error)),
        Err(_) => failed(to, "no answer in time"),
    }
}

fn failed(to: String, what: &str) -> Call {
    Call {
        to,
        answer: what.into(),
        ..Call::default()
    }
}

/// On a connection of its own: the proxy beside the service is what pools.
async fn exchange(service: &Uri, path: &str, incoming: &HeaderMap) -> anyhow::Result<Call> {
    let authority = service.authority().expect("checked on the command line");
    let port = authority.port_u16().unwrap_or(80);
    let host = authority.host().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, port)).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driving = tokio::spawn(connection);
    let mut request = Request::get(path).header(HOST, authority.as_str());
    for name in TRACE_HEADERS {
        for value in incoming.get_all(name) {
            request = request.header(name, value);
        }
    }
    let response = sender
        .send_request(request.body(Empty::<Bytes>::new())?)
        .await?;
    let (head, body) = response.into_parts();
    let text = |name: &str| Some(head.headers.get(name)?.to_str().ok()?.to_owned());
    let body = body.collect().await?.to_bytes();
    driving.abort();
    Ok(Call {
        to: String::new(),
        status: head.status.as_u16(),
        reason: text("outrigger-reason"),
        fallback: text("outrigger-fallback"),
        answer: serde_json::from_slice(&body)
            .unwrap_or_else(|_| String::from_utf8_lossy(&body).into_owned().into()),
    })
}
