//! Replays `fuzz/corpus` on stable Rust, so that what was once found stays found without a
//! nightly compiler.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// What all corpora together may weigh in the repository, in bytes.
const MAX_TOTAL: u64 = 500 * 1024;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("the directory can be read").path())
        .collect();
    files.sort();
    files
}

/// How often each file is changed at random; `FUZZ_CHANGES` in its place makes a search of it for
/// machines without a nightly compiler.
const CHANGES: u32 = 20;

/// Feeds a target nothing, each file of its corpus, and each changed at random: by the same chance
/// every time.
pub fn replay(name: &str, target: fn(&[u8])) {
    target(&[]);
    let files = files(&corpora().join(name));
    assert!(!files.is_empty(), "{name} has no corpus");
    let read = |file: &PathBuf| fs::read(file).expect("a corpus file can be read");
    let inputs: Vec<_> = files.iter().map(read).collect();
    let changes = std::env::var("FUZZ_CHANGES").ok();
    let changes = changes.map_or(CHANGES, |n| n.parse().expect("FUZZ_CHANGES is a number"));
    let mut rng = fastrand::Rng::with_seed(7);
    for (file, input) in files.iter().zip(&inputs) {
        // Both shown by the test's output where the target panics.
        println!("{}", file.display());
        target(input);
        for _ in 0..changes {
            let other = &inputs[rng.usize(..inputs.len())];
            let changed = changed(input, other, &mut rng);
            let shown = Shown(&changed);
            target(&changed);
            std::mem::forget(shown);
        }
    }
}

/// Prints what was fed when a panic drops it.
struct Shown<'a>(&'a [u8]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        println!("changed: b\"{}\"", self.0.escape_ascii());
    }
}

fn changed(input: &[u8], other: &[u8], rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..rng.usize(1..6) {
        let at = rng.usize(..=bytes.len());
        let end = rng.usize(at..=bytes.len().min(at + 16));
        match rng.u8(..6) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => bytes.insert(at, rng.u8(..)),
            3 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            4 => {
                let from = rng.usize(..=other.len());
                let to = rng.usize(from..=other.len().min(from + 32));
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << rng.u8(..8);
                }
            }
        }
    }
    bytes
}

#[test]
fn every_target_has_a_corpus_a_binary_and_no_other_has() {
    let names = |of: &Path| -> BTreeSet<String> {
        let stem = |path: &PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into());
        files(of).iter().filter_map(stem).collect()
    };
    let targets: BTreeSet<_> = super::replay::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(names(&corpora()), targets);
    assert_eq!(names(&corpora().join("../fuzz_targets")), targets);
}

#[test]
fn the_corpora_stay_small() {
    let all = files(&corpora());
    let sizes = all.iter().flat_map(|of| files(of)).map(|file| {
        let data = fs::metadata(&file).expect("a corpus file can be read");
        data.len()
    });
    let total: u64 = sizes.sum();
    assert!(total <= MAX_TOTAL, "{total} bytes: run `make fuzz-corpus`");
}
