//! What comes of a run: tables in the terminal, the numbers as JSON, and a page with plots.

mod page;
mod plots;
mod svg;
mod table;
mod targets;

use std::{fs, path::Path};

use anyhow::Context;
use serde::Serialize;

use self::{table::Table, targets::Target};
use crate::{machine::Machine, results::Results};

/// A finished run.
#[derive(Serialize)]
pub struct Report {
    /// What was typed.
    command: String,
    machine: Machine,
    rounds: u32,
    seconds: f64,
    results: Results,
    targets: Vec<Target>,
}

impl Report {
    pub fn new(
        command: String,
        machine: Machine,
        rounds: u32,
        seconds: f64,
        results: Results,
    ) -> Self {
        Self {
            command,
            targets: targets::judge(&results, machine.cores),
            machine,
            rounds,
            seconds,
            results,
        }
    }

    pub fn is_whole(&self) -> bool {
        self.results.failures.is_empty()
    }

    pub fn print(&self) {
        println!(
            "Median (lowest–highest) of {} rounds of {} s\n",
            self.rounds, self.seconds
        );
        for table in Table::all(&self.results) {
            println!("{}", table.text());
        }
        println!("Targets");
        for target in &self.targets {
            println!("{target}");
        }
        for failure in &self.results.failures {
            println!("not measured: {failure}");
        }
    }

    pub fn write_json(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
        eprintln!("numbers: {}", path.display());
        Ok(())
    }

    /// Writes README.md and the plots that it shows.
    pub fn write_page(&self, dir: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(dir)?;
        let plots = plots::all(&self.results);
        for plot in &plots {
            fs::write(dir.join(&plot.file), &plot.svg)?;
        }
        fs::write(dir.join("README.md"), page::markdown(self, &plots))
            .with_context(|| format!("writing into {}", dir.display()))?;
        eprintln!("page and plots: {}", dir.display());
        Ok(())
    }
}
