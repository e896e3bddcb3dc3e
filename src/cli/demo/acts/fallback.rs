//! While the breaker is open, callers get the fallback instead of an error.

use std::time::Instant;

use super::{Seen, Stage, breaker::stock_call};

pub const ACT: (&str, &str) = (
    "fallback",
    "while stock fails, each of 10 requests gets the static fallback: status 200 and \
     outrigger-fallback: static",
);

const REQUESTS: usize = 10;

pub async fn play(stage: &mut Stage) -> anyhow::Result<Seen> {
    let started = Instant::now();
    let mut served = 0;
    let mut other = String::new();
    for _ in 0..REQUESTS {
        let call = stock_call(&mut stage.mesh).await?;
        if call.status == 200 && call.fallback.as_deref() == Some("static") {
            served += 1;
        } else {
            other = format!(
                ", another {} with fallback {:?}",
                call.status, call.fallback
            );
        }
    }
    let each = started.elapsed().as_secs_f64() * 1000.0 / REQUESTS as f64;
    Ok(Seen {
        seen: format!("{served} of {REQUESTS} by the static fallback{other}; {each:.1} ms each"),
        ok: served == REQUESTS,
    })
}
