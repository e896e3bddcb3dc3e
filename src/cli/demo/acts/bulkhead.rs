//! A noisy neighbour floods a slow service; a bulkhead per caller keeps the quiet caller's
//! latency.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::{Seen, Stage};
use crate::cli::demo::{
    flood::{FLOOD, Flood},
    http,
    mesh::{Mesh, pause},
    metrics,
    plan::Service,
    registry::Bulkhead,
};

pub const ACT: (&str, &str) = (
    "bulkhead",
    "batch floods a slow stock with 120 requests at a time: with a bulkhead per caller, the p99 of \
     web's requests is at most half of what it is without, and batch is refused",
);

/// What one request takes a replica of `stock`, which works on eight at a time.
const SLOW: &str = "delay=100ms";
const QUIET_REQUESTS: usize = 60;
const QUIET_AT_A_TIME: usize = 4;
const PATIENCE: Duration = Duration::from_secs(5);

pub async fn play(stage: &mut Stage) -> anyhow::Result<Seen> {
    let mesh = &mut stage.mesh;
    mesh.fault(Service::Stock, SLOW).await?;
    let calm = quiet_p99(mesh).await?;
    let flood = Flood::start(mesh)?;
    let measured = under_flood(mesh, &flood).await;
    let refused = flood.stop().await?;
    mesh.fault(Service::Stock, "").await?;
    let (without, with) = measured?;
    Ok(Seen {
        seen: format!(
            "p99 of web's requests: {} ms in calm, {} ms in the flood, {} ms in the flood with \
             the bulkhead; batch was refused {refused} times",
            calm.as_millis(),
            without.as_millis(),
            with.as_millis()
        ),
        ok: with * 2 <= without && refused > 0,
    })
}

async fn under_flood(mesh: &mut Mesh, flood: &Flood) -> anyhow::Result<(Duration, Duration)> {
    until(|| flood.answered() >= FLOOD as u64).await;
    let without = quiet_p99(mesh).await?;
    mesh.write_registry(Bulkhead::On)?;
    let deadline = Instant::now() + PATIENCE;
    while rejections(mesh).await? == 0.0 && Instant::now() < deadline {
        pause().await;
    }
    // What had been let in before the bulkhead was there.
    let answered = flood.answered();
    until(|| flood.answered() >= answered + 2 * FLOOD as u64).await;
    Ok((without, quiet_p99(mesh).await?))
}

async fn until(done: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() && Instant::now() < deadline {
        pause().await;
    }
}

async fn rejections(mesh: &Mesh) -> anyhow::Result<f64> {
    let mut all = 0.0;
    for replica in mesh.of(Service::Stock) {
        let page = mesh.admin(replica, "/metrics").await?.body;
        let page = String::from_utf8_lossy(&page);
        all += metrics::sum(&page, "outrigger_bulkhead_rejections_total", &[]);
    }
    Ok(all)
}

/// The 99th percentile of the visitor's requests, which all end at `stock`.
async fn quiet_p99(mesh: &mut Mesh) -> anyhow::Result<Duration> {
    let mut under_way = JoinSet::new();
    let mut took = Vec::with_capacity(QUIET_REQUESTS);
    for _ in 0..QUIET_REQUESTS {
        if under_way.len() == QUIET_AT_A_TIME
            && let Some(ended) = under_way.join_next().await
        {
            took.push(ended??);
        }
        let stream = mesh.visit()?;
        let started = Instant::now();
        under_way.spawn(async move {
            http::get(stream, "/").await?;
            anyhow::Ok(started.elapsed())
        });
    }
    while let Some(ended) = under_way.join_next().await {
        took.push(ended??);
    }
    Ok(percentile(took, 99))
}

/// By the nearest rank.
fn percentile(mut values: Vec<Duration>, percent: usize) -> Duration {
    values.sort_unstable();
    let rank = (values.len() * percent).div_ceil(100);
    values
        .get(rank.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_go_by_rank() {
        let values: Vec<_> = (1..=60).map(Duration::from_millis).collect();
        assert_eq!(percentile(values.clone(), 99), Duration::from_millis(60));
        assert_eq!(percentile(values, 50), Duration::from_millis(30));
        assert_eq!(percentile(Vec::new(), 99), Duration::ZERO);
    }
}
