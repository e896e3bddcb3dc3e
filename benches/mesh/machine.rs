//! What the numbers were measured on.

use std::fs;

use serde::Serialize;

/// The machine, without its name.
#[derive(Serialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    pub memory_gb: f64,
    pub kernel: String,
    /// Processes that were running or waiting for a core at the start, on average over a minute:
    /// not measured by this program, but sharing the cores with what is.
    pub load_at_start: f64,
}

impl Machine {
    pub fn look() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let value = |text: &str, name: &str| {
            let mut lines = text.lines();
            let line = lines.find_map(|line| line.strip_prefix(name));
            let value = line.map(|line| line.trim_start_matches([' ', '\t', ':']));
            value.unwrap_or("unknown").to_owned()
        };
        let memory = value(&read("/proc/meminfo"), "MemTotal");
        let kib: f64 = first(&memory);
        Self {
            cpu: value(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gb: kib * 1024.0 / 1e9,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_at_start: first(&read("/proc/loadavg")),
        }
    }
}

/// The number that a text begins with.
fn first(text: &str) -> f64 {
    let word = text.split_whitespace().next();
    word.and_then(|word| word.parse().ok()).unwrap_or_default()
}
