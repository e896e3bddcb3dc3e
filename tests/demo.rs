//! The demo's scripted scenario, as a person runs it: the whole mesh on the wire.
//!
//! A binary of its own, so that cargo runs it when no other test does: the bulkhead act compares
//! latencies, which tests beside it would blur.

use std::process::Command;

#[test]
fn every_act_of_the_demo_happens() {
    let output = Command::new(env!("CARGO_BIN_EXE_outrigger"))
        .args(["demo", "--once", "--output", "json"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let report: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    let acts = report["acts"].as_array().unwrap();
    let failed: Vec<_> = acts.iter().filter(|act| act["ok"] != true).collect();
    assert!(failed.is_empty(), "{failed:#?} {said}");
    let names: Vec<_> = acts.iter().filter_map(|act| act["name"].as_str()).collect();
    assert_eq!(
        names,
        [
            "mtls", "trace", "breaker", "fallback", "recovery", "bulkhead"
        ]
    );
    assert!(output.status.success());
}
