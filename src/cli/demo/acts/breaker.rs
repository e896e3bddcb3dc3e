//! When every replica of a service fails, its circuit breaker opens and the failing is over.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::{Seen, Stage};
use crate::cli::demo::{
    mesh::{Mesh, pause},
    metrics,
    plan::Service,
};
use crate::cli::sample_app::Call;

pub const ACT: (&str, &str) = (
    "breaker",
    "all replicas of stock answer 500: within 5 s orders refuses by itself, with the reason \
     breaker-open, and the service's breaker is open in its metrics",
);

const PATIENCE: Duration = Duration::from_secs(5);

pub async fn play(stage: &mut Stage) -> anyhow::Result<Seen> {
    let mesh = &mut stage.mesh;
    mesh.fault(Service::Stock, "status=500").await?;
    let started = Instant::now();
    let (mut asked, mut refused) = (0, false);
    loop {
        asked += 1;
        let call = stock_call(mesh).await?;
        refused |= call.reason.as_deref() == Some("breaker-open");
        let open = open_breakers(mesh).await?;
        let elapsed = started.elapsed();
        let ok = refused && open > 0.0;
        if ok || elapsed > PATIENCE {
            return Ok(Seen {
                seen: format!(
                    "after {asked} requests and {} ms: last reason {}, {open} of {} proxies of \
                     orders with the breaker open",
                    elapsed.as_millis(),
                    call.reason.as_deref().unwrap_or("none"),
                    Service::Orders.replicas(),
                ),
                ok,
            });
        }
        pause().await;
    }
}

/// A request by way of `web` and `orders`, and what became of its call to `stock`.
pub async fn stock_call(mesh: &mut Mesh) -> anyhow::Result<Call> {
    let answer = mesh.ask("/").await?;
    let orders = answer.calls.first().context("web called nobody")?;
    let stock = orders.answer["calls"][0].clone();
    serde_json::from_value(stock)
        .with_context(|| format!("orders did not say what stock answered: {}", orders.answer))
}

/// Proxies of `orders` whose breaker for the service `stock` is not closed.
pub async fn open_breakers(mesh: &Mesh) -> anyhow::Result<f64> {
    let mut open = 0.0;
    for replica in mesh.of(Service::Orders) {
        let page = mesh.admin(replica, "/metrics").await?.body;
        let page = String::from_utf8_lossy(&page);
        for state in ["open", "half-open"] {
            let key = Service::Stock.key();
            let labels = [
                ("service", key.as_str()),
                ("scope", "service"),
                ("state", state),
            ];
            open += metrics::sum(&page, "outrigger_breakers", &labels);
        }
    }
    Ok(open)
}
