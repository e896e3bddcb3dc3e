//! When the service is well again, so are its callers, by themselves.

use std::time::{Duration, Instant};

use super::{
    Seen, Stage,
    breaker::{open_breakers, stock_call},
};
use crate::cli::demo::{mesh::pause, plan::Service};

pub const ACT: (&str, &str) = (
    "recovery",
    "the faults are off: within 10 s all breakers for stock are closed and 10 requests in a row \
     reach it",
);

const PATIENCE: Duration = Duration::from_secs(10);
const IN_A_ROW: usize = 10;

pub async fn play(stage: &mut Stage) -> anyhow::Result<Seen> {
    let mesh = &mut stage.mesh;
    mesh.fault(Service::Stock, "").await?;
    let started = Instant::now();
    let mut good = 0;
    loop {
        let call = stock_call(mesh).await?;
        let reached = call.status == 200 && call.fallback.is_none();
        good = if reached { good + 1 } else { 0 };
        let open = open_breakers(mesh).await?;
        let elapsed = started.elapsed();
        let ok = good >= IN_A_ROW && open == 0.0;
        if ok || elapsed > PATIENCE {
            let after = elapsed.as_millis();
            return Ok(Seen {
                seen: format!(
                    "after {after} ms: {good} in a row reached stock, {open} breakers open"
                ),
                ok,
            });
        }
        pause().await;
    }
}
