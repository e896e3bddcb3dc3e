//! One table a part: a line for each case and setup, a column for each metric.

use crate::{
    results::{Metric, Part, Results},
    stats::Spread,
};

use clap::ValueEnum;

pub struct Table {
    pub part: Part,
    headings: Vec<&'static str>,
    /// Case, setup, and a cell for each heading.
    lines: Vec<(String, String, Vec<String>)>,
}

impl Table {
    /// Of every part that was measured.
    pub fn all(results: &Results) -> Vec<Self> {
        let parts = Part::value_variants().iter();
        let tables = parts.map(|part| Self::of(results, *part));
        tables.filter(|table| !table.lines.is_empty()).collect()
    }

    fn of(results: &Results, part: Part) -> Self {
        let mut metrics: Vec<Metric> = Vec::new();
        let mut rows: Vec<(&str, &str)> = Vec::new();
        for entry in results.of(part) {
            if !metrics.contains(&entry.metric) {
                metrics.push(entry.metric);
            }
            let row = (entry.case.as_str(), entry.setup.as_str());
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
        // Setups of one case together, in the order in which each came up first.
        let cases: Vec<&str> = rows.iter().map(|row| row.0).collect();
        rows.sort_by_key(|row| cases.iter().position(|case| *case == row.0));
        metrics.sort_by_key(|metric| *metric as usize);
        let cell = |(case, setup): (&str, &str), metric: Metric| {
            let spread = results.spread(part, case, setup, metric);
            spread.map_or("–".into(), |spread| cell(spread, metric.form().1))
        };
        Self {
            part,
            headings: metrics.iter().map(|metric| metric.form().0).collect(),
            lines: rows
                .into_iter()
                .map(|row| {
                    let cells = metrics.iter().map(|metric| cell(row, *metric));
                    (row.0.to_owned(), row.1.to_owned(), cells.collect())
                })
                .collect(),
        }
    }

    fn grid(&self) -> Vec<Vec<String>> {
        let mut head = vec![String::new(), String::new()];
        head.extend(self.headings.iter().map(|heading| (*heading).to_owned()));
        let lines = self
            .lines
            .iter()
            .enumerate()
            .map(|(at, (case, setup, cells))| {
                let is_new = at == 0 || self.lines[at - 1].0 != *case;
                let mut line = vec![
                    if is_new { case.clone() } else { String::new() },
                    setup.clone(),
                ];
                line.extend(cells.iter().cloned());
                line
            });
        std::iter::once(head).chain(lines).collect()
    }

    /// For a terminal.
    pub fn text(&self) -> String {
        let grid = self.grid();
        let width = |column: usize| {
            let cells = grid.iter().map(|line| line[column].chars().count());
            cells.max().unwrap_or_default()
        };
        let widths: Vec<_> = (0..grid[0].len()).map(width).collect();
        let mut text = format!("{}\n", self.part.title());
        for line in &grid {
            for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
                text += &match column {
                    0 | 1 => format!("{cell:<width$}  "),
                    _ => format!("{cell:>width$}  "),
                };
            }
            text.truncate(text.trim_end().len());
            text += "\n";
        }
        text
    }

    pub fn markdown(&self) -> String {
        let mut text = String::new();
        for (nth, line) in self.grid().iter().enumerate() {
            text += &format!("| {} |\n", line.join(" | "));
            if nth == 0 {
                text += &format!("|---|---{}|\n", "|--:".repeat(line.len() - 2));
            }
        }
        text
    }
}

fn cell(Spread { median, min, max }: Spread, decimals: usize) -> String {
    if min == max {
        return format!("{median:.decimals$}");
    }
    format!("{median:.decimals$} ({min:.decimals$}–{max:.decimals$})")
}
