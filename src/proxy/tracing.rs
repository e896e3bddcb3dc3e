//! Beginning a span for an exchange, and handing its context on.

use std::sync::Arc;

use http::HeaderMap;

use crate::telemetry::{
    context::{Sampler, TraceContext, TraceId},
    span::{ActiveSpan, SpanKind, SpanSink},
};

/// Where spans go and how many there are. Cheap to clone.
#[derive(Clone)]
pub struct Tracer {
    sink: SpanSink,
    sampler: Sampler,
}

/// An exchange's place in its trace.
pub struct Traced {
    context: Option<TraceContext>,
    pub span: ActiveSpan,
}

impl Tracer {
    pub fn new(sink: SpanSink, sampler: Sampler) -> Self {
        Self { sink, sampler }
    }

    /// Goes on with the trace that a request carries, or begins one.
    pub fn start(&self, headers: &HeaderMap, kind: SpanKind, name: &Arc<str>) -> Traced {
        let context = TraceContext::receive(headers, self.sampler);
        let span = self.sink.start(context.as_ref(), kind, name);
        Traced { context, span }
    }
}

impl Traced {
    /// For the access log, also where the trace is not recorded.
    pub fn trace_id(&self) -> Option<TraceId> {
        self.context.as_ref().map(|context| context.trace_id)
    }

    /// Makes the next one in the way a child of this span.
    pub fn inject(&self, headers: &mut HeaderMap) {
        if let Some(context) = &self.context {
            context.send(self.span.id(), headers);
        }
    }
}
