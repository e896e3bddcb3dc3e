//! A span of ours as OpenTelemetry's, with attributes by its semantic conventions for HTTP.

use std::borrow::Cow;

use http::{Method, Version};
use opentelemetry::{
    InstrumentationScope, KeyValue, StringValue,
    trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::telemetry::span::{Span, SpanKind as Kind};

pub(super) fn span_data(span: Span) -> SpanData {
    SpanData {
        span_context: SpanContext::new(
            span.trace_id.get().into(),
            span.span_id.get().into(),
            TraceFlags::SAMPLED,
            false,
            TraceState::default(),
        ),
        parent_span_id: span.parent.map_or(SpanId::INVALID, |id| id.get().into()),
        parent_span_is_remote: span.kind == Kind::Server && span.parent.is_some(),
        span_kind: match span.kind {
            Kind::Server => SpanKind::Server,
            Kind::Client => SpanKind::Client,
        },
        name: Cow::Owned(span.name.to_string()),
        start_time: span.start,
        end_time: span.end,
        attributes: attributes(&span),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: status(&span),
        instrumentation_scope: InstrumentationScope::builder("outrigger")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build(),
    }
}

/// A client's mistake is an error of the client's span, not of the server's.
fn status(span: &Span) -> Status {
    let grpc_failed = span.grpc_status.is_some_and(|code| match span.kind {
        Kind::Client => code != 0,
        // Unknown, deadline exceeded, unimplemented, internal, unavailable, data loss.
        Kind::Server => matches!(code, 2 | 4 | 12 | 13 | 14 | 15),
    });
    let http_failed = match (span.status, span.kind) {
        (Some(status), Kind::Client) => status.is_client_error() || status.is_server_error(),
        (Some(status), Kind::Server) => status.is_server_error(),
        (None, _) => span.reason.is_some(),
    };
    if !grpc_failed && !http_failed {
        return Status::Unset;
    }
    let description = span.reason.map_or("", |reason| reason.as_str());
    Status::error(description)
}

fn attributes(span: &Span) -> Vec<KeyValue> {
    let mut all = Vec::with_capacity(16);
    let mut text = |key: &'static str, value: StringValue| all.push(KeyValue::new(key, value));
    if let Some(method) = &span.method {
        text("http.request.method", known_method(method).into());
    }
    if let Some(version) = span.version {
        text("network.protocol.name", "http".into());
        text("network.protocol.version", protocol_version(version).into());
    }
    if let Some(host) = span.authority.as_ref().map(|authority| authority.host()) {
        text("server.address", host.to_owned().into());
    }
    if let Some(path) = &span.path {
        text("url.path", path.path().to_owned().into());
    }
    if let Some(peer) = span.peer_addr {
        text("network.peer.address", peer.ip().to_string().into());
    }
    if let Some(service) = &span.service {
        text("outrigger.service", service.clone().into());
    }
    if let Some(peer) = &span.peer {
        text("outrigger.peer.id", peer.to_string().into());
    }
    if let Some(reason) = span.reason {
        text("outrigger.reason", reason.as_str().into());
    }
    if status(span) != Status::Unset {
        text("error.type", error_type(span).into());
    }
    let mut number = |key: &'static str, value: i64| all.push(KeyValue::new(key, value));
    if let Some(status) = span.status {
        number("http.response.status_code", status.as_u16().into());
    }
    if let Some(port) = span
        .authority
        .as_ref()
        .and_then(|authority| authority.port_u16())
    {
        number("server.port", port.into());
    }
    if let Some(peer) = span.peer_addr {
        number("network.peer.port", peer.port().into());
    }
    if span.resend > 0 {
        number("http.request.resend_count", span.resend.into());
    }
    all
}

/// The most particular of what is known about a failure.
fn error_type(span: &Span) -> String {
    match (span.reason, span.grpc_status, span.status) {
        (Some(reason), _, _) => reason.as_str().to_owned(),
        (None, Some(code), _) if code != 0 => code.to_string(),
        (None, _, Some(status)) => status.as_str().to_owned(),
        (None, _, None) => "_OTHER".to_owned(),
    }
}

/// The conventions ask for `_OTHER` in place of what is no known method.
fn known_method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "CONNECT" => "CONNECT",
        "OPTIONS" => "OPTIONS",
        "TRACE" => "TRACE",
        "PATCH" => "PATCH",
        "QUERY" => "QUERY",
        _ => "_OTHER",
    }
}

fn protocol_version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    }
}
