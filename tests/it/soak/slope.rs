//! Whether a series rises: least squares, with the slope's standard error.

use std::fmt;

/// A straight line through points.
#[derive(Clone, Copy, Debug)]
pub struct Trend {
    /// Per second.
    pub slope: f64,
    pub error: f64,
    /// From the first point to the last, along the line.
    pub rise: f64,
}

impl Trend {
    /// Of (seconds, value). No trend where there are fewer than three.
    pub fn of(points: &[(f64, f64)]) -> Self {
        let n = points.len() as f64;
        let none = Self {
            slope: 0.0,
            error: 0.0,
            rise: 0.0,
        };
        if points.len() < 3 {
            return none;
        }
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
        let (x, y) = (mean(|p| p.0), mean(|p| p.1));
        let xx: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
        let xy: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
        let slope = xy / xx;
        let left = |p: &(f64, f64)| (p.1 - y - slope * (p.0 - x)).powi(2);
        let error = (points.iter().map(left).sum::<f64>() / (n - 2.0) / xx).sqrt();
        let length = points[points.len() - 1].0 - points[0].0;
        Self {
            slope,
            error,
            rise: slope * length,
        }
    }

    pub fn is_above_zero(&self) -> bool {
        self.slope > 3.0 * self.error
    }
}

impl fmt::Display for Trend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_hour = 3600.0;
        write!(
            f,
            "{:+.3e} ± {:.1e} an hour, {:+.3e} over the run",
            self.slope * per_hour,
            self.error * per_hour,
            self.rise
        )
    }
}

#[test]
fn a_leak_is_told_from_noise() {
    let noise = |n: usize| [3.0, -2.0, 1.0, -1.0, 2.0, -3.0][n % 6];
    let with = |slope: f64| -> Vec<(f64, f64)> {
        let point = |n: usize| (n as f64, 100.0 + slope * n as f64 + noise(n));
        (0..200).map(point).collect()
    };
    let (still, leaking) = (Trend::of(&with(0.0)), Trend::of(&with(0.1)));
    assert!(!still.is_above_zero(), "{still}");
    assert!(leaking.is_above_zero(), "{leaking}");
    assert!((leaking.rise - 19.9).abs() < 1.0, "{leaking}");
}
