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
        // What rounding leaves over goes to the heaviest, so that no small weight grows by it.
        let heaviest = (0..left.len()).max_by(|one, other| left[*one].total_cmp(&left[*other]));
        let other = heaviest.unwrap_or(0);
        let mut columns = vec![
            Column {
                threshold: 1.0,
                other
            };
            left.len()
        ];
        while let (Some(&lesser), Some(&greater)) = (small.last(), large.last()) {
            small.pop();
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
        for at in small.into_iter().chain(large) {
            columns[at].threshold = left[at];
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::balance::members::test_id;

    /// What each id is drawn with, from the columns themselves.
    fn parts(weights: &[f64]) -> Vec<f64> {
        let ids = (0..).map(test_id).zip(weights.iter().copied());
        let alias = Alias::new(ids.collect());
        let mut parts = vec![0.0; weights.len()];
        for (at, column) in alias.columns.iter().enumerate() {
            let own = column.threshold.min(1.0);
            parts[at] += own / weights.len() as f64;
            parts[column.other] += (1.0 - own) / weights.len() as f64;
        }
        parts
    }

    #[test]
    fn each_has_its_part_exactly_and_zero_has_none() {
        let many = vec![0.1; 1_000];
        let mixed: Vec<_> = (0..999).map(|n| f64::from(n % 3) / 3.0).collect();
        let cases = [
            &[1.0][..],
            &[1.0, 0.0],
            &[0.0, 3.0, 0.1],
            &[1e9, 1.0],
            &many,
            &mixed,
        ];
        for weights in cases {
            let total: f64 = weights.iter().sum();
            for (part, weight) in parts(weights).iter().zip(weights) {
                assert!((part - weight / total).abs() < 1e-12, "{part} {weight}");
                assert!(*weight > 0.0 || *part == 0.0);
            }
        }
    }

    #[test]
    fn nothing_is_drawn_from_nothing() {
        let mut rng = fastrand::Rng::with_seed(1);
        assert_eq!(Alias::new(vec![]).draw(&mut rng), None);
        assert_eq!(Alias::new(vec![(test_id(0), 0.0)]).draw(&mut rng), None);
    }
}
