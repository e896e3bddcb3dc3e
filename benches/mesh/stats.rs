//! Medians, percentiles and spreads.

use std::time::Duration;

use serde::Serialize;

/// The middle of several runs, and their extremes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// Of no run, nothing.
    pub fn of(runs: &[f64]) -> Option<Self> {
        let mut runs = runs.to_vec();
        runs.sort_by(f64::total_cmp);
        let (&min, &max) = (runs.first()?, runs.last()?);
        let middle = runs.len() / 2;
        let median = if runs.len() % 2 == 1 {
            runs[middle]
        } else {
            (runs[middle - 1] + runs[middle]) / 2.0
        };
        Some(Self { median, min, max })
    }
}

/// The smallest latency that `percent` of all did not exceed (nearest rank); `sorted` is.
pub fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}
