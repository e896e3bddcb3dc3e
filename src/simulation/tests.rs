//! Seeds. `make sim SEEDS=n SEED=first` runs more of them; SEEDS=1 prints the log as well.

use std::{
    env,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use super::run::{Report, run};

/// What CI runs.
const SEEDS: u64 = 200;

fn number(name: &str, otherwise: u64) -> u64 {
    match env::var(name) {
        Ok(text) if !text.is_empty() => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} is {text:?}: write a number")),
        _ => otherwise,
    }
}

fn on_own_thread(seed: u64, aloud: bool) -> Report {
    let running = thread::spawn(move || run(seed, aloud));
    running
        .join()
        .unwrap_or_else(|_| panic!("seed {seed} panicked; {}", replay(seed)))
}

fn replay(seed: u64) -> String {
    format!("to replay it with its log: make sim SEEDS=1 SEED={seed}")
}

#[test]
fn every_seed_keeps_every_promise() {
    let (first, count) = (number("SEED", 1), number("SEEDS", SEEDS));
    let next = AtomicU64::new(first);
    let failed = Mutex::new(Vec::new());
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    let report = on_own_thread(seed, count == 1);
                    if count == 1 {
                        report.log.iter().for_each(|line| println!("{line}"));
                        println!("{:?}", report.outcomes);
                    }
                    if !report.violations.is_empty() {
                        failed.lock().unwrap().push((seed, report.violations));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    for (seed, violations) in &failed {
        println!("seed {seed}; {}", replay(*seed));
        violations
            .iter()
            .take(5)
            .for_each(|what| println!("  {what}"));
    }
    assert!(
        failed.is_empty(),
        "{} of {count} seeds failed",
        failed.len()
    );
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [3, 4] {
        let (once, again) = (on_own_thread(seed, false), on_own_thread(seed, false));
        let differs = once.log.iter().zip(&again.log).find(|(a, b)| a != b);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(once.hash, again.hash, "seed {seed}");
    }
}
