//! The known name that somebody most likely meant.

/// The nearest of `known` by the number of edits, the first of equals.
pub(super) fn nearest<'a>(
    written: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    known
        .into_iter()
        .min_by_key(|candidate| distance(written, candidate))
}

/// How many characters must be inserted, removed, replaced or swapped with their neighbour.
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().collect();
    let to: Vec<char> = to.chars().collect();
    let mut rows = vec![vec![0; to.len() + 1]; from.len() + 1];
    rows[0] = (0..=to.len()).collect();
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for i in 1..=from.len() {
        for j in 1..=to.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        for (from, to, edits) in [
            ("", "", 0),
            ("mtls", "mtls", 0),
            ("mlts", "mtls", 1),
            ("mtl", "mtls", 1),
            ("mtlss", "mtls", 1),
            ("", "mtls", 4),
            ("loglevel", "log-level", 1),
        ] {
            assert_eq!(distance(from, to), edits, "{from} {to}");
            assert_eq!(distance(to, from), edits, "{to} {from}");
        }
    }

    #[test]
    fn finds_the_nearest() {
        let known = ["inject", "skip-inbound-ports", "skip-outbound-ports"];
        assert_eq!(
            nearest("skip-inbond-port", known),
            Some("skip-inbound-ports")
        );
        assert_eq!(nearest("injct", known), Some("inject"));
        assert_eq!(nearest("injct", []), None);
    }
}
