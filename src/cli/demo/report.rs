//! How outcomes are told: to a person, and as one JSON object.

use serde::Serialize;

use super::acts::Outcome;

#[derive(Serialize)]
struct Report<'a> {
    acts: &'a [Outcome],
}

pub fn json(acts: &[Outcome]) -> serde_json::Result<String> {
    serde_json::to_string_pretty(&Report { acts })
}

pub fn text(outcome: &Outcome) -> String {
    let Outcome {
        name,
        expected,
        seen,
        ok,
    } = outcome;
    let mark = if *ok { "ok    " } else { "FAILED" };
    format!("{mark} {name}\n       expected: {expected}\n       seen:     {seen}\n")
}
