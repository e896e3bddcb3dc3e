//! Dashboards and alert rules ask only for what there is: each metric and each label that a query
//! names is in docs/metrics.md, which another test holds to the code.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

use crate::telemetry::Reason;

/// What scraping adds to every series: see manifests/prometheus/scrape.yaml.
const SCRAPED: [&str; 7] = [
    "job",
    "instance",
    "namespace",
    "pod",
    "node",
    "workload",
    "le",
];
/// Series that Prometheus makes itself.
const MADE_BY_PROMETHEUS: [&str; 1] = ["up"];

static METRIC: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\b(up|(?:outrigger|process)_[a-z_]+)\b(?:\{([^}]*)\})?").unwrap()
});
static MATCHER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"([a-z_]+)\s*(?:=~|!~|!=|=)").unwrap());
static GROUPING: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\b(?:by|without|on)\s*\(([^)]*)\)").unwrap());
/// A metric with a matcher on its reasons, and what that asks for.
static REASON: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"\b(outrigger_[a-z_]+)\{[^}]*\breason\s*(?:=~|!~|!=|=)\s*"([^"]*)""#).unwrap()
});
static QUOTED: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#""[^"]*""#).unwrap());

/// Name to labels, a histogram under the names of its parts.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let mut metrics = BTreeMap::new();
    for row in include_str!("../../../docs/metrics.md").lines() {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let [_, name, kind, labels, ..] = cells[..] else {
            continue;
        };
        let Some(name) = name.strip_prefix('`').and_then(|n| n.strip_suffix('`')) else {
            continue;
        };
        let labels: BTreeSet<_> = labels
            .split_whitespace()
            .map(|label| label.trim_matches('`').to_owned())
            .collect();
        let suffixes: &[&str] = match kind {
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        for suffix in suffixes {
            metrics.insert(format!("{name}{suffix}"), labels.clone());
        }
    }
    metrics
}

/// Reasons that a query asks for and no proxy gives. The controller's are its own.
fn unknown_reasons(query: &str) -> Vec<String> {
    let proxies = REASON.captures_iter(query);
    let proxies = proxies.filter(|found| !found[1].starts_with("outrigger_controller_"));
    let words = proxies.flat_map(|found| found.extract::<2>().1[1].split('|'));
    let wrong =
        words.filter(|word| !word.is_empty() && Reason::from_word(word.as_bytes()).is_none());
    wrong.map(|word| format!("no reason {word}")).collect()
}

/// What a query names that there is not.
fn unknown(query: &str, documented: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut wrong = unknown_reasons(query);
    let query = QUOTED.replace_all(query, "\"\"");
    let mut known: BTreeSet<&str> = SCRAPED.into();
    let mut metrics = 0;
    for found in METRIC.captures_iter(&query) {
        let name = &found[1];
        metrics += 1;
        let own = match documented.get(name) {
            Some(labels) => labels.iter().map(String::as_str).collect(),
            None if MADE_BY_PROMETHEUS.contains(&name) => BTreeSet::new(),
            None => {
                wrong.push(format!("no metric {name}"));
                continue;
            }
        };
        for matcher in MATCHER.captures_iter(found.get(2).map_or("", |m| m.as_str())) {
            let label = &matcher[1];
            if !own.contains(label) && !SCRAPED.contains(&label) {
                wrong.push(format!("{name} has no label {label}"));
            }
        }
        known.extend(own);
    }
    if metrics == 0 {
        wrong.push("no metric at all".into());
    }
    for grouping in GROUPING.captures_iter(&query) {
        for label in grouping[1].split(',').map(str::trim) {
            if !label.is_empty() && !known.contains(label) {
                wrong.push(format!("grouped by {label}, which none of its metrics has"));
            }
        }
    }
    wrong
}

fn complain(file: &Path, queries: &[String]) -> Vec<String> {
    let documented = documented();
    assert!(!queries.is_empty(), "{}: no query found", file.display());
    queries
        .iter()
        .flat_map(|query| {
            unknown(query, &documented)
                .into_iter()
                .map(move |what| format!("{}: {what}, in {query}", file.display()))
        })
        .collect()
}

fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests")
}

/// Every query of a dashboard: of its panels, and of its variables.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                match inner {
                    Value::String(text) if name == "expr" => found.push(text.clone()),
                    Value::String(text) if text.starts_with("label_values(") => {
                        found.push(text.clone());
                    }
                    _ => queries(inner, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| queries(item, found)),
        _ => {}
    }
}

#[test]
fn dashboards_ask_for_metrics_that_exist() {
    let mut wrong = Vec::new();
    let mut dashboards = 0;
    for entry in fs::read_dir(manifests().join("grafana")).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        dashboards += 1;
        let board: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let mut found = Vec::new();
        queries(&board, &mut found);
        wrong.extend(complain(&file, &found));
    }
    assert_eq!(dashboards, 4);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    alert: String,
    expr: String,
    annotations: BTreeMap<String, String>,
}

#[test]
fn alerts_ask_for_metrics_that_exist_and_have_a_runbook() {
    let file = manifests().join("prometheus/alerts.yaml");
    let rules: Rules = serde_saphyr::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let rules: Vec<_> = rules.groups.into_iter().flat_map(|g| g.rules).collect();
    let expressions: Vec<_> = rules.iter().map(|rule| rule.expr.clone()).collect();
    let mut wrong = complain(&file, &expressions);

    let operations = include_str!("../../../docs/operations.md");
    for Rule {
        alert, annotations, ..
    } in &rules
    {
        if !operations.contains(&format!("\n### {alert}\n")) {
            wrong.push(format!("docs/operations.md has no section {alert}"));
        }
        let anchor = format!("docs/operations.md#{}", alert.to_lowercase());
        if !annotations["runbook_url"].ends_with(&anchor) {
            wrong.push(format!("{alert}: its runbook_url does not end in {anchor}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_wrong_query_is_found_out() {
    let documented = documented();
    let found = |query| unknown(query, &documented).join("; ");
    assert_eq!(
        found(r#"sum by (service) (rate(outrigger_requests_total{status="5xx"}[5m]))"#),
        ""
    );
    assert_eq!(
        found("outrigger_request_total"),
        "no metric outrigger_request_total"
    );
    assert_eq!(
        found(r#"outrigger_requests_total{state="open"}"#),
        "outrigger_requests_total has no label state"
    );
    assert_eq!(
        found("sum by (reasons) (outrigger_requests_total)"),
        "grouped by reasons, which none of its metrics has"
    );
    assert_eq!(
        found(r#"outrigger_requests_total{status="5xx", reason=~"no-route|too-late"}"#),
        "no reason too-late"
    );
    assert_eq!(found("1 + 1"), "no metric at all");
}
