//! One request is one trace: the services' proxies report spans that form one tree.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use super::{Seen, Stage};
use crate::cli::demo::{mesh::pause, otlp::SpanRecord, plan::Service};

pub const ACT: (&str, &str) = (
    "trace",
    "one trace with spans of web, orders and stock in one tree, each below its caller's",
);

/// A proxy sends its spans at least every second.
const PATIENCE: Duration = Duration::from_secs(5);

pub async fn play(stage: &mut Stage) -> anyhow::Result<Seen> {
    let answer = stage.mesh.ask("/").await?;
    let id = answer.trace.context("web was told of no trace")?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let spans = stage.collector.trace(&id);
        let ok = is_whole(&spans);
        if ok || Instant::now() > deadline {
            return Ok(Seen {
                seen: describe(&spans),
                ok,
            });
        }
        pause().await;
    }
}

fn is_whole(spans: &[SpanRecord]) -> bool {
    let ancestry = [Service::Stock, Service::Orders, Service::Web].map(Service::name);
    let roots = spans
        .iter()
        .filter(|span| parent(spans, span).is_none())
        .count();
    roots == 1 && spans.iter().any(|span| lineage(spans, span) == ancestry)
}

fn parent<'a>(spans: &'a [SpanRecord], span: &SpanRecord) -> Option<&'a SpanRecord> {
    spans
        .iter()
        .find(|other| other.id == span.parent && other.id != span.id)
}

/// The services on the way from a span up to the root, each once.
fn lineage<'a>(spans: &'a [SpanRecord], span: &'a SpanRecord) -> Vec<&'a str> {
    let mut services = vec![span.service.as_str()];
    let mut at = span;
    // No lineage is longer than all spans, however crooked the links are.
    for _ in spans {
        let Some(above) = parent(spans, at) else {
            break;
        };
        if services.last() != Some(&above.service.as_str()) {
            services.push(&above.service);
        }
        at = above;
    }
    services
}

fn describe(spans: &[SpanRecord]) -> String {
    let Some(first) = spans.first() else {
        return "no trace arrived".to_owned();
    };
    let services: BTreeSet<&str> = spans.iter().map(|span| span.service.as_str()).collect();
    let services: Vec<&str> = services.into_iter().collect();
    let start = spans.iter().map(|span| span.start).min().unwrap_or(0);
    let end = spans.iter().map(|span| span.end).max().unwrap_or(start);
    format!(
        "trace {}: {} spans of {}, over {:.1} ms",
        first.trace,
        spans.len(),
        services.join(", "),
        Duration::from_nanos(end - start).as_secs_f64() * 1000.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(id: u8, parent: u8, service: Service) -> SpanRecord {
        SpanRecord {
            trace: "t".to_owned(),
            id: vec![id],
            parent: if parent == 0 {
                Vec::new()
            } else {
                vec![parent]
            },
            service: service.name().to_owned(),
            name: String::new(),
            start: 0,
            end: 1,
        }
    }

    #[test]
    fn a_tree_has_one_root_and_the_three_services_in_a_row() {
        let mut spans = vec![
            span(3, 2, Service::Orders),
            span(1, 0, Service::Web),
            span(2, 1, Service::Web),
            span(5, 4, Service::Stock),
            span(4, 3, Service::Orders),
        ];
        assert!(is_whole(&spans));
        spans[3].parent = vec![1];
        assert!(!is_whole(&spans), "stock below web");
        spans[3].parent = vec![9];
        assert!(!is_whole(&spans), "two roots");
        assert!(!is_whole(&[]));
    }
}
