//! Results for docs/conformance.md: each test leaves a part of it where `make conformance` asks
//! for one, and scripts/conformance puts the parts together.

use std::{env, fmt::Write, fs, path::Path};

/// A part of the document, `title` and what comes below. Parts are ordered by `file`.
pub fn write(file: &str, title: &str, text: &str) {
    add(file, &format!("## {title}\n\n{text}"));
}

/// More text below the part before it.
pub fn add(file: &str, text: &str) {
    let Some(dir) = env::var_os("OUTRIGGER_CONFORMANCE_DIR") else {
        return;
    };
    let path = Path::new(&dir).join(format!("{file}.md"));
    fs::write(&path, text.trim_end().to_owned() + "\n")
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// A table in Markdown. Cells may hold anything.
pub fn table<R: AsRef<[String]>>(head: &[&str], rows: impl IntoIterator<Item = R>) -> String {
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        let cells: Vec<_> = row
            .as_ref()
            .iter()
            .map(|cell| cell.replace('|', "\\|"))
            .collect();
        writeln!(text, "| {} |", cells.join(" | ")).expect("a String takes all");
    }
    text
}
