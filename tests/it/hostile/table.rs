//! The tables in the documentation name tests: each of them exists.

use std::{collections::BTreeSet, fs, path::Path};

/// The names in backquotes that look like `path.rs::function`.
fn named(text: &str) -> BTreeSet<(&str, &str)> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .filter_map(|name| name.split_once("::"))
        .filter(|(path, _)| path.ends_with(".rs") && path.contains('/'))
        .collect()
}

#[test]
fn every_test_that_the_documentation_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let mut missing = Vec::new();
    let mut found = 0;
    for page in ["docs/security.md", "docs/reliability.md"] {
        let text = read(page);
        for (path, name) in named(&text) {
            let source = read(path);
            match source.contains(&format!("fn {name}(")) && source.contains("test") {
                true => found += 1,
                false => missing.push(format!("{page}: {path}::{name}")),
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    assert!(
        found >= 80,
        "only {found} tests are named: was the table cut?"
    );
}
