//! How an answer is shown: as text for people, or as one JSON document for programs.

use std::fmt::Write as _;

use serde::Serialize;

use crate::cli::stdout;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    #[default]
    Text,
    Json,
}

/// What a command found out: its fields are the JSON, `text` is the view.
pub trait Report: Serialize {
    fn text(&self) -> String;
}

impl Output {
    /// # Errors
    /// When standard output cannot be written to, unless its reader merely left.
    pub fn print(self, report: &impl Report) -> anyhow::Result<()> {
        let text = match self {
            Self::Text => report.text(),
            Self::Json => format!("{:#}\n", serde_json::to_value(report)?),
        };
        stdout::finish(&text)
    }
}

/// A duration in the unit that a person would use.
pub fn age(duration: std::time::Duration) -> String {
    match duration.as_secs() {
        s if s < 120 => format!("{s} s"),
        s if s < 7_200 => format!("{} min", s / 60),
        s if s < 172_800 => format!("{} h", s / 3_600),
        s => format!("{} days", s / 86_400),
    }
}

/// Rows under headings, each column as wide as its widest cell.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(headings: &[&str]) -> Self {
        let headings = headings.iter().map(|heading| (*heading).to_owned());
        Self {
            rows: vec![headings.collect()],
        }
    }

    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.rows[0].len(), "a cell for each heading");
        self.rows.push(cells.into());
    }

    /// Whether there is nothing under the headings.
    pub fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..self.rows[0].len()).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                write!(line, "{:<width$}   ", cell, width = *width)?;
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_in_the_unit_of_people() {
        for (seconds, expected) in [
            (90, "90 s"),
            (600, "10 min"),
            (7_200, "2 h"),
            (172_800, "2 days"),
        ] {
            assert_eq!(age(std::time::Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["POD", "STATE"]);
        assert!(table.is_empty());
        table.row(["shop/cart-1".into(), "ready".into()]);
        table.row(["a".into(), String::new()]);
        assert_eq!(
            table.to_string(),
            "POD           STATE\nshop/cart-1   ready\na\n"
        );
    }
}
