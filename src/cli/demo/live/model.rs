//! What the view shows, made of the proxies' metrics and the spans that came in.

use std::time::Instant;

use crate::cli::demo::{
    collector::Collector,
    mesh::Mesh,
    metrics::sum,
    otlp::SpanRecord,
    plan::{PodPlan, Service},
};

/// One pod, as its proxy sees it. Rates are per second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    pub pod: String,
    pub address: String,
    /// Requests that came in, and how many of them failed.
    pub requests: f64,
    pub errors: f64,
    /// Requests to the service it calls that the mesh answered itself.
    pub refused: f64,
    /// The breaker of the service that it calls, and how many of its endpoints are out.
    pub breaker: &'static str,
    pub endpoints_out: f64,
    /// Before the application: requests under way, the limit, and how many are turned away.
    pub in_flight: f64,
    pub limit: f64,
    pub turned_away: f64,
}

/// Counters at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    requests: f64,
    errors: f64,
    refused: f64,
    turned_away: f64,
}

pub struct Model {
    pub rows: Vec<Row>,
    /// The last request's spans, by their begin.
    pub trace: Vec<SpanRecord>,
    counters: Vec<Counters>,
    looked: Instant,
}

impl Model {
    pub fn new(mesh: &Mesh) -> Self {
        let rows = mesh.replicas.iter().map(|replica| Row {
            pod: replica.plan.name.clone(),
            address: replica.pod.v4.to_string(),
            ..Row::default()
        });
        Self {
            rows: rows.collect(),
            trace: Vec::new(),
            counters: vec![Counters::default(); mesh.replicas.len()],
            looked: Instant::now(),
        }
    }

    /// What a view of just this looks like.
    #[cfg(test)]
    pub fn showing(rows: Vec<Row>, trace: Vec<SpanRecord>, looked: Instant) -> Self {
        Self {
            counters: vec![Counters::default(); rows.len()],
            rows,
            trace,
            looked,
        }
    }

    pub async fn look(
        &mut self,
        mesh: &Mesh,
        collector: &Collector,
        now: Instant,
    ) -> anyhow::Result<()> {
        let seconds = now.duration_since(self.looked).as_secs_f64().max(0.001);
        self.looked = now;
        for (number, replica) in mesh.replicas.iter().enumerate() {
            let page = mesh.admin(replica, "/metrics").await?.body;
            let page = String::from_utf8_lossy(&page);
            let counters = counters(&page, &replica.plan);
            let before = std::mem::replace(&mut self.counters[number], counters);
            update(&mut self.rows[number], &page, &replica.plan);
            let row = &mut self.rows[number];
            row.requests = (counters.requests - before.requests) / seconds;
            row.errors = (counters.errors - before.errors) / seconds;
            row.refused = (counters.refused - before.refused) / seconds;
            row.turned_away = (counters.turned_away - before.turned_away) / seconds;
        }
        let trace = collector.last_trace(&[Service::Web.name(), Service::Orders.name()]);
        if !trace.is_empty() {
            self.trace = trace;
        }
        Ok(())
    }
}

fn counters(page: &str, plan: &PodPlan) -> Counters {
    let requests = "outrigger_requests_total";
    let inbound = ("direction", "inbound");
    let outbound = ("direction", "outbound");
    let refused = plan.service.calls().map_or(0.0, |called| {
        let key = called.key();
        let all = sum(page, requests, &[outbound, ("service", &key)]);
        all - sum(
            page,
            requests,
            &[outbound, ("service", &key), ("reason", "")],
        )
    });
    Counters {
        requests: sum(page, requests, &[inbound]),
        errors: sum(page, requests, &[inbound, ("status", "5xx")]),
        refused,
        turned_away: sum(
            page,
            "outrigger_bulkhead_rejections_total",
            &[("name", "local")],
        ),
    }
}

fn update(row: &mut Row, page: &str, plan: &PodPlan) {
    row.breaker = "";
    if let Some(called) = plan.service.calls() {
        let key = called.key();
        let breakers = |scope, state| {
            let labels = [
                ("service", key.as_str()),
                ("scope", scope),
                ("state", state),
            ];
            sum(page, "outrigger_breakers", &labels)
        };
        row.breaker = ["open", "half-open"]
            .into_iter()
            .find(|state| breakers("service", state) > 0.0)
            .unwrap_or("closed");
        row.endpoints_out = breakers("endpoint", "open");
    }
    let local = [("scope", "upstream"), ("name", "local")];
    row.in_flight = sum(page, "outrigger_bulkhead_in_use", &local);
    row.limit = sum(page, "outrigger_bulkhead_limit", &local);
}
