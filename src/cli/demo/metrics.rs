//! Reading numbers out of a proxy's `/metrics` page.

/// The sum of a metric's series that have all these labels; 0 where there is none.
pub fn sum(page: &str, metric: &str, labels: &[(&str, &str)]) -> f64 {
    page.lines()
        .filter_map(|line| {
            let rest = line.strip_prefix(metric)?;
            let (series, value) = match rest.strip_prefix('{') {
                Some(rest) => rest.rsplit_once("} ")?,
                None => ("", rest.strip_prefix(' ')?),
            };
            let has =
                |(name, value): &(&str, &str)| series.contains(&format!("{name}=\"{value}\""));
            labels.iter().all(has).then_some(value)
        })
        .filter_map(|value| value.split(' ').next()?.parse::<f64>().ok())
        // Not `sum`, whose sum of nothing is -0.
        .fold(0.0, |sum, value| sum + value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_the_series_with_the_labels() {
        let page = "# TYPE a gauge\na{x=\"1\",y=\"2\"} 3\na{x=\"1\",y=\"3\"} 4.5\na_total{x=\"1\"} 9\nb 7\n";
        assert_eq!(sum(page, "a", &[("x", "1")]), 7.5);
        assert_eq!(sum(page, "a", &[("x", "1"), ("y", "2")]), 3.0);
        assert_eq!(sum(page, "b", &[]), 7.0);
        assert_eq!(sum(page, "c", &[]), 0.0);
    }
}
