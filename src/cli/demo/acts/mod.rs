//! The scripted scenario: each act makes something happen and measures whether it did.

mod breaker;
mod bulkhead;
mod fallback;
mod mtls;
mod recovery;
mod trace;

use serde::Serialize;

use super::{collector::Collector, mesh::Mesh};

/// What an act was to show, and what it measured.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    pub name: &'static str,
    pub expected: String,
    pub seen: String,
    pub ok: bool,
}

/// What an act measured.
pub struct Seen {
    pub seen: String,
    pub ok: bool,
}

/// What the acts play with.
pub struct Stage {
    pub mesh: Mesh,
    pub collector: Collector,
}

/// Plays all of it, telling each outcome as it comes.
pub async fn play(stage: &mut Stage, mut tell: impl FnMut(&Outcome)) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut note = |(name, expected): (&'static str, &str), played: anyhow::Result<Seen>| {
        let Seen { seen, ok } = played.unwrap_or_else(|error| Seen {
            seen: format!("{error:#}"),
            ok: false,
        });
        let expected = expected.to_owned();
        let outcome = Outcome {
            name,
            expected,
            seen,
            ok,
        };
        tell(&outcome);
        outcomes.push(outcome);
    };
    note(mtls::ACT, mtls::play(stage).await);
    note(trace::ACT, trace::play(stage).await);
    note(breaker::ACT, breaker::play(stage).await);
    note(fallback::ACT, fallback::play(stage).await);
    note(recovery::ACT, recovery::play(stage).await);
    note(bulkhead::ACT, bulkhead::play(stage).await);
    outcomes
}

/// A word that occurs in nothing but the requests it was made for.
fn marker() -> String {
    format!("marker-{:016x}", fastrand::u64(..))
}
