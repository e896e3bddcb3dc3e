//! Spans as the data path builds them: plain data, nothing at all where a trace is not
//! recorded. Turning them into OTLP is [`otlp`](super::otlp)'s.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use http::{
    Method, StatusCode, Version,
    uri::{Authority, PathAndQuery},
};
use tokio::sync::mpsc;

use super::{
    Reason,
    context::{SpanId, TraceContext, TraceId},
};
use crate::host;
use crate::identity::SpiffeId;

/// Which end of an exchange a span describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// An exchange that came in.
    Server,
    /// One try at an upstream.
    Client,
}

/// One finished span. Fields that nobody filled are not exported.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub trace_id: TraceId,
    pub span_id: SpanId,
    pub parent: Option<SpanId>,
    /// The route, never the raw path.
    pub name: Arc<str>,
    pub kind: SpanKind,
    pub start: SystemTime,
    pub end: SystemTime,
    pub method: Option<Method>,
    pub status: Option<StatusCode>,
    /// The `grpc-status` of a gRPC call.
    pub grpc_status: Option<u32>,
    pub version: Option<Version>,
    /// The host and port that the request names.
    pub authority: Option<Authority>,
    /// Exported without its query, which may hold secrets.
    pub path: Option<PathAndQuery>,
    /// The service that was asked for.
    pub service: Option<Arc<str>>,
    /// The endpoint that a client span talked to, or the client of a server span.
    pub peer_addr: Option<SocketAddr>,
    pub peer: Option<SpiffeId>,
    /// Which try this was; 0 is the first.
    pub resend: u32,
    pub reason: Option<Reason>,
}

/// Where finished spans go: a bounded channel that never blocks. What does not fit is counted.
#[derive(Clone)]
pub struct SpanSink {
    tx: mpsc::Sender<Box<Span>>,
    dropped: Arc<AtomicU64>,
    now: fn() -> SystemTime,
}

/// Spans that may wait for the exporter; about 300 bytes each.
pub const QUEUE: usize = 4096;

impl SpanSink {
    /// `dropped` counts the spans that found the queue full.
    pub fn new(dropped: Arc<AtomicU64>) -> (Self, mpsc::Receiver<Box<Span>>) {
        Self::with_clock(dropped, QUEUE, host::wall_clock)
    }

    /// As [`SpanSink::new`], with the queue's length and the clock that ends spans.
    pub fn with_clock(
        dropped: Arc<AtomicU64>,
        queue: usize,
        now: fn() -> SystemTime,
    ) -> (Self, mpsc::Receiver<Box<Span>>) {
        let (tx, rx) = mpsc::channel(queue);
        (Self { tx, dropped, now }, rx)
    }

    /// Begins a span; without a recorded trace that is nothing, and allocates nothing.
    pub fn start(
        &self,
        context: Option<&TraceContext>,
        kind: SpanKind,
        name: &Arc<str>,
    ) -> ActiveSpan {
        let sampled = context.filter(|context| context.sampled);
        ActiveSpan(sampled.map(|context| self.open(context.trace_id, context.parent, kind, name)))
    }

    fn open(
        &self,
        trace_id: TraceId,
        parent: Option<SpanId>,
        kind: SpanKind,
        name: &Arc<str>,
    ) -> Open {
        let start = (self.now)();
        Open {
            sink: self.clone(),
            span: Some(Box::new(Span {
                trace_id,
                span_id: SpanId::random(),
                parent,
                name: name.clone(),
                kind,
                start,
                end: start,
                method: None,
                status: None,
                grpc_status: None,
                version: None,
                authority: None,
                path: None,
                service: None,
                peer_addr: None,
                peer: None,
                resend: 0,
                reason: None,
            })),
        }
    }
}

/// A span under way. It ends when it is dropped: keep it with the body whose end it waits for.
#[must_use = "a span ends when it is dropped"]
pub struct ActiveSpan(Option<Open>);

struct Open {
    sink: SpanSink,
    /// Taken by `Drop` alone.
    span: Option<Box<Span>>,
}

impl ActiveSpan {
    /// A span of nothing.
    pub const NONE: Self = Self(None);

    /// What the request that goes on must name as its parent; None where nothing is recorded.
    pub fn id(&self) -> Option<SpanId> {
        self.span().map(|span| span.span_id)
    }

    /// Begins a span below this one.
    pub fn child(&self, kind: SpanKind, name: &Arc<str>) -> Self {
        Self(self.0.as_ref().and_then(|open| {
            let parent = open.span.as_ref()?;
            Some(
                open.sink
                    .open(parent.trace_id, Some(parent.span_id), kind, name),
            )
        }))
    }

    /// Fills in fields; not called where nothing is recorded.
    pub fn record(&mut self, fill: impl FnOnce(&mut Span)) {
        if let Some(span) = self.0.as_mut().and_then(|open| open.span.as_mut()) {
            fill(span);
        }
    }

    fn span(&self) -> Option<&Span> {
        self.0.as_ref().and_then(|open| open.span.as_deref())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(mut span) = self.span.take() {
            // The wall clock may have been set back meanwhile; a span never ends before it began.
            span.end = (self.sink.now)().max(span.start);
            if self.sink.tx.try_send(span).is_err() {
                self.sink.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderMap;

    use super::*;
    use crate::telemetry::context::Sampler;

    fn noon() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(43_200)
    }

    fn context(ratio: f64) -> Option<TraceContext> {
        TraceContext::receive(&HeaderMap::new(), Sampler::ratio(ratio))
    }

    #[test]
    fn a_client_span_is_the_child_of_its_server_span() {
        let (sink, mut rx) = SpanSink::with_clock(Arc::default(), 8, noon);
        let context = context(1.0).unwrap();
        let name: Arc<str> = "shop/cart".into();
        let mut server = sink.start(Some(&context), SpanKind::Server, &name);
        let client = server.child(SpanKind::Client, &name);
        server.record(|span| span.reason = Some(Reason::RequestTimeout));
        let (server_id, client_id) = (server.id(), client.id());
        drop(client);
        drop(server);

        let client = rx.try_recv().unwrap();
        assert_eq!(
            (Some(client.span_id), client.parent),
            (client_id, server_id)
        );
        assert_eq!(client.trace_id, context.trace_id);
        let server = rx.try_recv().unwrap();
        assert_eq!((Some(server.span_id), server.parent), (server_id, None));
        assert_eq!(server.reason, Some(Reason::RequestTimeout));
        assert_eq!((server.start, server.end), (noon(), noon()));
    }

    #[test]
    fn an_unsampled_trace_makes_no_span() {
        let (sink, mut rx) = SpanSink::new(Arc::default());
        let name: Arc<str> = "shop/cart".into();
        let mut span = sink.start(context(1e-300).as_ref(), SpanKind::Server, &name);
        span.record(|_| panic!("not recorded"));
        assert_eq!(span.child(SpanKind::Client, &name).id(), None);
        drop(span);
        assert!(rx.try_recv().is_err());
    }

    #[test]
    fn a_full_queue_counts_what_it_drops() {
        let dropped = Arc::new(AtomicU64::new(0));
        let (sink, _rx) = SpanSink::with_clock(dropped.clone(), 2, noon);
        for _ in 0..5 {
            drop(sink.start(context(1.0).as_ref(), SpanKind::Server, &"r".into()));
        }
        assert_eq!(dropped.load(Ordering::Relaxed), 3);
    }
}
