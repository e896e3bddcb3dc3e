//! The scripted scenario: each act makes something happen and measures whether it did.

mod breaker;
mod bulkhead;
mod fallback;
mod mtls;
mod recovery;
mod trace;

use std::ops::ControlFlow;

use serde::Serialize;

use super::{collector::Collector, mesh::Mesh};
use crate::failure;

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

/// Plays all of it, telling each outcome as it comes, until nobody listens any more.
///
/// # Errors
/// When an outcome cannot be told.
pub async fn play(
    stage: &mut Stage,
    mut tell: impl FnMut(&Outcome) -> anyhow::Result<ControlFlow<()>>,
) -> anyhow::Result<ControlFlow<(), Vec<Outcome>>> {
    let mut outcomes = Vec::new();
    let mut note = |(name, expected): (&'static str, &str), played: anyhow::Result<Seen>| {
        let Seen { seen, ok } = played.unwrap_or_else(|error| Seen {
            seen: failure::in_full(&error),
            ok: false,
        });
        let expected = expected.to_owned();
        let outcome = Outcome {
            name,
            expected,
            seen,
            ok,
        };
        let told = tell(&outcome);
        outcomes.push(outcome);
        told
    };
    macro_rules! acts {
        ($($act:ident),*) => {
            $(if note($act::ACT, $act::play(stage).await)?.is_break() {
                return Ok(ControlFlow::Break(()));
            })*
        };
    }
    acts!(mtls, trace, breaker, fallback, recovery, bulkhead);
    Ok(ControlFlow::Continue(outcomes))
}

/// A word that occurs in nothing but the requests it was made for.
fn marker() -> String {
    format!("marker-{:016x}", fastrand::u64(..))
}
