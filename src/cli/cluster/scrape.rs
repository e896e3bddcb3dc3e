//! A proxy's `/metrics` page, taken apart: the OpenMetrics text format as far as it is ours.

use std::collections::BTreeMap;

/// One line of the page.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Sample {
    /// A label's value, empty where there is none.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// All samples of one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    samples: Vec<Sample>,
}

impl Page {
    /// Lines that are not samples are left out: a newer proxy may say more than is known here.
    pub fn parse(text: &str) -> Self {
        Self {
            samples: text.lines().filter_map(sample).collect(),
        }
    }

    pub fn named(&self, name: &str) -> impl Iterator<Item = &Sample> {
        self.samples
            .iter()
            .filter(move |sample| sample.name == name)
    }
}

fn sample(line: &str) -> Option<Sample> {
    if line.starts_with('#') {
        return None;
    }
    let name_len = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(name_len);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let value = rest.trim_start().split(' ').next()?.parse().ok()?;
    Some(Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// What stands between the braces, and what follows them.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let (value, after) = unquote(quoted)?;
        labels.insert(name.to_owned(), value);
        rest = after;
    }
}

/// A value up to its closing quote, without its escapes, and what follows the quote.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sum of a metric's samples that have all these labels; `None` where there is none.
    fn sum(page: &Page, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |sample: &&Sample| {
            labels
                .iter()
                .all(|(name, value)| sample.label(name) == *value)
        };
        let values = page.named(name).filter(has).map(|sample| sample.value);
        values.reduce(|sum, value| sum + value)
    }

    #[test]
    fn reads_names_labels_and_values() {
        let page = Page::parse(concat!(
            "# TYPE a counter\n",
            "a_total{x=\"1\",y=\"{b}, \\\"c\\\" \\\\ \\n\"} 3\n",
            "a_total{x=\"2\",y=\"\"} 4.5\n",
            "b 7 1700000000\n",
            "c_bucket{le=\"+Inf\"} 2\n",
            "broken{x=\"1\n",
            "# EOF\n"
        ));
        assert_eq!(page.samples.len(), 4);
        assert_eq!(page.samples[0].label("y"), "{b}, \"c\" \\ \n");
        assert_eq!(sum(&page, "a_total", &[]), Some(7.5));
        assert_eq!(sum(&page, "a_total", &[("x", "2")]), Some(4.5));
        assert_eq!(sum(&page, "b", &[]), Some(7.0));
        assert_eq!(sum(&page, "a_total", &[("x", "3")]), None);
        assert_eq!(sum(&page, "nothing", &[]), None);
    }

    #[test]
    fn reads_the_page_that_the_proxy_writes() {
        let metrics = crate::telemetry::Metrics::new();
        let page = Page::parse(&metrics.encode());
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        assert_eq!(sum(&page, "outrigger_build_info", &version), Some(1.0));
    }
}
