//! The parts of OTLP's trace messages that the demo reads (`opentelemetry/proto/trace/v1`).

#[derive(Clone, PartialEq, prost::Message)]
pub struct ExportTraces {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(fixed64, tag = "7")]
    start_nanos: u64,
    #[prost(fixed64, tag = "8")]
    end_nanos: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Value {
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
}

/// A span as the demo shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanRecord {
    /// Hexadecimal.
    pub trace: String,
    pub id: Vec<u8>,
    /// Empty for the first span of a trace.
    pub parent: Vec<u8>,
    /// The workload whose proxy made it.
    pub service: String,
    pub name: String,
    /// Nanoseconds since 1970.
    pub start: u64,
    pub end: u64,
}

fn text<'a>(attributes: &'a [Attribute], key: &str) -> Option<&'a str> {
    let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
    attribute.value.as_ref()?.text.as_deref()
}

impl ExportTraces {
    pub fn records(self) -> impl Iterator<Item = SpanRecord> {
        self.resource_spans.into_iter().flat_map(|resource_spans| {
            let resource = resource_spans.resource.unwrap_or_default();
            let service = text(&resource.attributes, "service.name")
                .unwrap_or("?")
                .to_owned();
            resource_spans
                .scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans)
                .map(move |span| span.record(service.clone()))
        })
    }
}

impl Span {
    fn record(self, service: String) -> SpanRecord {
        SpanRecord {
            trace: self
                .trace_id
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            id: self.span_id,
            parent: self.parent_span_id,
            service,
            name: self.name,
            start: self.start_nanos,
            end: self.end_nanos,
        }
    }
}
