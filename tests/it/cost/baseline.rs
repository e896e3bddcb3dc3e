//! What a request may cost, as it is committed, and the judgement of what was measured.

use std::{
    collections::BTreeMap,
    env, fmt, fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

/// A share by which instructions may differ: what a change that nobody meant stays below, and
/// what another libc or processor makes of the same build.
const TOLERANCE: f64 = 0.05;
/// Allocations per request by which they may differ. One more in each request is too many; one
/// in every third, where a buffer grows, is not seen.
const ALLOCATIONS: f64 = 0.5;

/// What a request costs one hop.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    pub instructions: u64,
    pub allocations: f64,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} instructions, {} allocations",
            self.instructions, self.allocations
        )
    }
}

/// The costs by protocol and hop, and what they are the costs of: another compiler or another
/// profile makes other instructions of the same source.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Baseline {
    rustc: String,
    target: String,
    profile: String,
    per_request: BTreeMap<String, BTreeMap<String, Cost>>,
}

impl Baseline {
    fn path() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/cost/baseline.json")
    }

    /// # Panics
    /// When the file is not as it was written.
    pub fn load() -> Self {
        let text = fs::read_to_string(Self::path()).expect("committed");
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{:?}: {error}; git restores it", Self::path()))
    }

    /// # Panics
    /// When nobody measured it yet.
    pub fn of(&self, protocol: &str, hop: &str) -> Cost {
        let cost = self
            .per_request
            .get(protocol)
            .and_then(|hops| hops.get(hop));
        *cost.unwrap_or_else(|| panic!("{protocol} {hop} has no baseline. {TAKE_IN}"))
    }

    /// Takes in what was measured, where `UPDATE_COST` says so.
    pub fn update(protocol: &str, measured: &[(&str, Cost)]) -> bool {
        static FILE: Mutex<()> = Mutex::new(());
        let of = |name: &str| env::var(name).expect("scripts/cost says it");
        if env::var_os("UPDATE_COST").is_none() {
            return false;
        }
        let _one_at_a_time = FILE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut baseline = Self::load();
        baseline.rustc = of("OUTRIGGER_COST_RUSTC");
        baseline.target = of("OUTRIGGER_COST_TARGET");
        let hops = measured
            .iter()
            .map(|(hop, cost)| ((*hop).to_owned(), *cost));
        baseline
            .per_request
            .insert(protocol.to_owned(), hops.collect());
        let text = serde_json::to_string_pretty(&baseline).expect("plain data");
        fs::write(Self::path(), text + "\n").expect("an own checkout");
        true
    }
}

const TAKE_IN: &str = "Take it in by: UPDATE_COST=1 make cost";

/// Compares what a request costs with what it may cost.
///
/// # Errors
/// Says what differs, and what to do.
pub fn judge(measured: Cost, baseline: Cost) -> Result<(), String> {
    let (now, before) = (measured.allocations, baseline.allocations);
    let differ = format!("{now} allocations, {before} in the baseline");
    judge_change(now - before, ALLOCATIONS, &differ)?;
    let (now, before) = (measured.instructions, baseline.instructions);
    let change = now as f64 / before as f64 - 1.0;
    let percent = 100.0 * change;
    let differ = format!("{now} instructions, {before} in the baseline ({percent:+.1} %)");
    judge_change(change, TOLERANCE, &differ)
}

fn judge_change(change: f64, tolerance: f64, differ: &str) -> Result<(), String> {
    if change > tolerance {
        return Err(format!(
            "{differ}. Find what was added, or, where it is worth its price, say so in the commit. \
             {TAKE_IN}"
        ));
    }
    if change < -tolerance {
        return Err(format!(
            "{differ}: a gain, which the next change could lose. {TAKE_IN}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASELINE: Cost = Cost {
        instructions: 60_000,
        allocations: 20.0,
    };

    fn with(instructions: u64, allocations: f64) -> Result<(), String> {
        let measured = Cost {
            instructions,
            allocations,
        };
        judge(measured, BASELINE)
    }

    #[test]
    fn five_percent_either_way_is_the_same() {
        assert_eq!(with(62_990, 20.4), Ok(()));
        assert_eq!(with(57_010, 19.6), Ok(()));
    }

    #[test]
    fn a_dearer_request_is_refused() {
        let error = with(63_010, 20.0).expect_err("5.02 % more");
        assert!(
            error.starts_with("63010 instructions, 60000 in the baseline (+5.0 %)"),
            "{error}"
        );
        let error = with(60_000, 21.0).expect_err("one more allocation");
        assert!(
            error.starts_with("21 allocations, 20 in the baseline"),
            "{error}"
        );
    }

    #[test]
    fn a_gain_must_be_taken_in() {
        for gain in [with(56_990, 20.0), with(60_000, 19.0)] {
            let error = gain.expect_err("it is no baseline any more");
            assert!(
                error.ends_with("Take it in by: UPDATE_COST=1 make cost"),
                "{error}"
            );
        }
    }
}
