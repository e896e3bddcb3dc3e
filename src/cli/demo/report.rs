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

pub fn print(outcome: &Outcome) {
    let mark = if outcome.ok { "ok    " } else { "FAILED" };
    println!("{mark} {}", outcome.name);
    println!("       expected: {}", outcome.expected);
    println!("       seen:     {}", outcome.seen);
}
