//! The demo's scripted scenario, as a person runs it: the whole mesh on the wire.
//!
//! A binary of its own, so that cargo runs it when no other test does: the bulkhead act compares
//! latencies, which tests beside it would blur.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    sync::Mutex,
};

use rustix::process::{Pid, Signal, kill_process_group};

/// One demo at a time.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn a_reader_that_leaves_ends_the_demo_and_nothing_is_left() {
    let _alone = ALONE.lock();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let files = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_outrigger"))
        .args(["demo", "--once"])
        .env("TMPDIR", files.path())
        .stdout(writer)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    assert_eq!(fs::read_dir(files.path()).unwrap().count(), 0);
}

/// As Ctrl-C sends it: to all processes in the foreground.
#[test]
fn an_interrupt_ends_the_demo_and_nothing_is_left() {
    let _alone = ALONE.lock();
    let files = tempfile::tempdir().unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_outrigger"))
        .args(["demo", "--once"])
        .env("TMPDIR", files.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut first = String::new();
    let mut out = BufReader::new(demo.stdout.take().unwrap());
    out.read_line(&mut first).unwrap();
    assert!(first.contains("mtls"), "{first}");
    kill_process_group(Pid::from_child(&demo), Signal::INT).unwrap();
    let output = demo.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said, "outrigger: interrupted\n");
    assert!(!output.status.success());
    assert_eq!(fs::read_dir(files.path()).unwrap().count(), 0);
}

#[test]
fn every_act_of_the_demo_happens() {
    let _alone = ALONE.lock();
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
