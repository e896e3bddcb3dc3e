//! A row of the table in docs/reliability.md.

use std::{env, fs, path::PathBuf};

/// Writes a row where somebody collects them. `order` sorts the table.
pub fn row(order: &str, fault: &str, test: &str, seen: &str, measured: &str) {
    let line = format!("| {fault} | {seen} | {measured} | `tests/it/faults/{test}` |\n");
    println!("{line}");
    if let Some(dir) = env::var_os("OUTRIGGER_RELIABILITY") {
        let file = PathBuf::from(dir).join(order);
        fs::write(file, line).expect("the folder for the rows is there");
    }
}

/// How long a process is stopped for: `OUTRIGGER_PAUSE` seconds, or two.
pub fn pause() -> std::time::Duration {
    let seconds = env::var("OUTRIGGER_PAUSE").ok();
    let seconds = seconds.and_then(|seconds| seconds.parse().ok());
    std::time::Duration::from_secs(seconds.unwrap_or(2))
}
