//! Draws by weight in constant time: the alias method, in Vose's form
//! ("A Linear Algorithm for Generating Random Numbers with a Given Distribution", 1991).

use super::EndpointId;

#[derive(Debug, Default)]
pub(super) struct Alias {
    ids: Vec<EndpointId>,
    columns: Vec<Column>,
}

/// One of the equally likely columns: below the threshold it stands for its own id, else for the
/// one at `other`.
#[derive(Clone, Copy, Debug)]
struct Column {
    threshold: f64,
    other: usize,
}

impl Alias {
    /// Weights are finite and not negative. One of zero is never drawn.
    pub fn new(weighted: Vec<(EndpointId, f64)>) -> Self {
        let total: f64 = weighted.iter().map(|(_, weight)| weight).sum();
        if total <= 0.0 {
            return Self::default();
        }
        let scale = weighted.len() as f64 / total;
        let mut left: Vec<f64> = weighted.iter().map(|(_, weight)| weight * scale).collect();
        let (mut small, mut large): (Vec<_>, Vec<_>) =
            (0..left.len()).partition(|at| left[*at] < 1.0);
        let own = |at| Column {
            threshold: 1.0,
            other: at,
        };
        let mut columns: Vec<_> = (0..left.len()).map(own).collect();
        while let (Some(lesser), Some(&greater)) = (small.pop(), large.last()) {
            columns[lesser] = Column {
                threshold: left[lesser],
                other: greater,
            };
            left[greater] -= 1.0 - left[lesser];
            if left[greater] < 1.0 {
                large.pop();
                small.push(greater);
            }
        }
        let ids = weighted.into_iter().map(|(id, _)| id).collect();
        Self { ids, columns }
    }

    pub fn draw(&self, rng: &mut fastrand::Rng) -> Option<EndpointId> {
        if self.ids.is_empty() {
            return None;
        }
        let at = rng.usize(..self.ids.len());
        let Column { threshold, other } = self.columns[at];
        Some(self.ids[if rng.f64() < threshold { at } else { other }])
    }

    pub fn ids(&self) -> &[EndpointId] {
        &self.ids
    }
}
