//! The table that is printed, the targets, and the file with the numbers.

use std::{fmt, fs, path::Path};

use anyhow::Context;
use serde_json::json;

use crate::{
    measure::{IDLE_CONNECTIONS, RATE, Samples},
    setup::{Kind, Traffic},
    stats::Spread,
};

pub struct Report {
    rounds: u32,
    seconds: u64,
    samples: Vec<Samples>,
}

impl Report {
    pub fn new(rounds: u32, seconds: u64, samples: Vec<Samples>) -> Self {
        Self {
            rounds,
            seconds,
            samples,
        }
    }

    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let targets = self.targets();
        let value = json!({
            "rounds": self.rounds,
            "seconds": self.seconds,
            "setups": self.samples,
            "targets": targets.iter().map(Target::json).collect::<Vec<_>>(),
        });
        let text = serde_json::to_string_pretty(&value)?;
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
        eprintln!("numbers: {}", path.display());
        Ok(())
    }

    fn of(&self, kind: Kind) -> Option<&Samples> {
        self.samples.iter().find(|samples| samples.kind == kind)
    }

    fn median(&self, kind: Kind, what: fn(&Samples) -> &[f64]) -> Option<f64> {
        Some(Spread::of(what(self.of(kind)?))?.median)
    }

    /// Those targets for which everything was measured.
    fn targets(&self) -> Vec<Target> {
        let ratio = |what: fn(&Samples) -> &[f64], ours, theirs| {
            Some(self.median(ours, what)? / self.median(theirs, what)?)
        };
        let mb =
            |what: fn(&Samples) -> Option<u64>| Some(what(self.of(Kind::Outrigger)?)? as f64 / 1e6);
        let connections = format!("MB resident with {IDLE_CONNECTIONS} idle connections");
        let measured = [
            (
                "CPU per request ÷ Envoy's".into(),
                ratio(|s| &s.cpu_us_per_request, Kind::Outrigger, Kind::Envoy),
                Bound::AtMost(0.40),
            ),
            (
                "p50 ÷ Envoy's".into(),
                ratio(|s| &s.p50_us, Kind::Outrigger, Kind::Envoy),
                Bound::AtMost(0.50),
            ),
            (
                "MB resident, idle".into(),
                mb(|s| s.resident_idle),
                Bound::AtMost(15.0),
            ),
            (
                connections,
                mb(|s| s.resident_connections),
                Bound::AtMost(30.0),
            ),
            (
                "opaque TCP ÷ rustls copy loop".into(),
                ratio(|s| &s.mb_per_second, Kind::OutriggerTcp, Kind::CopyLoop),
                Bound::AtLeast(0.70),
            ),
        ];
        let target = |(name, measured, bound)| {
            Some(Target {
                name,
                measured: measured?,
                bound,
            })
        };
        measured.into_iter().filter_map(target).collect()
    }
}

enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

struct Target {
    name: String,
    measured: f64,
    bound: Bound,
}

impl Target {
    fn is_met(&self) -> bool {
        match self.bound {
            Bound::AtMost(bound) => self.measured <= bound,
            Bound::AtLeast(bound) => self.measured >= bound,
        }
    }

    fn json(&self) -> serde_json::Value {
        let bound = match self.bound {
            Bound::AtMost(bound) => json!({ "atMost": bound }),
            Bound::AtLeast(bound) => json!({ "atLeast": bound }),
        };
        json!({ "name": self.name, "measured": self.measured, "bound": bound, "met": self.is_met() })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, bound) = match self.bound {
            Bound::AtMost(bound) => ("at most", bound),
            Bound::AtLeast(bound) => ("at least", bound),
        };
        let verdict = if self.is_met() { "met" } else { "missed" };
        write!(
            f,
            "{:<42} {:>7.2}  ({word} {bound:.2}: {verdict})",
            self.name, self.measured
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rounds, seconds, ..
        } = self;
        writeln!(
            f,
            "Two hops with mTLS: median (lowest–highest) of {rounds} rounds of {seconds} s\n"
        )?;
        let rows = |traffic| {
            self.samples
                .iter()
                .filter(move |samples| samples.kind.traffic() == traffic)
        };
        let columns = [
            "CPU µs/request",
            "requests/s",
            "p50 µs",
            "p99 µs",
            "MB idle",
            "MB 1k conns",
        ];
        if rows(Traffic::Http).next().is_some() {
            write_row(
                f,
                &format!("HTTP/1.1 (latency at {RATE}/s)"),
                &columns.map(String::from),
            )?;
        }
        for samples in rows(Traffic::Http) {
            let mb = |bytes: Option<u64>| {
                bytes.map_or("-".into(), |bytes| format!("{:.1}", bytes as f64 / 1e6))
            };
            let cells = [
                cell(&samples.cpu_us_per_request, 1),
                cell(&samples.requests_per_second, 0),
                cell(&samples.p50_us, 0),
                cell(&samples.p99_us, 0),
                mb(samples.resident_idle),
                mb(samples.resident_connections),
            ];
            write_row(f, &name(samples), &cells)?;
        }
        if rows(Traffic::Stream).next().is_some() {
            writeln!(f)?;
            write_row(
                f,
                "opaque TCP, 1 connection",
                &["CPU s/GB", "MB/s"].map(String::from),
            )?;
        }
        for samples in rows(Traffic::Stream) {
            write_row(
                f,
                &name(samples),
                &[
                    cell(&samples.cpu_s_per_gb, 2),
                    cell(&samples.mb_per_second, 0),
                ],
            )?;
        }
        writeln!(f)?;
        self.targets()
            .iter()
            .try_for_each(|target| writeln!(f, "{target}"))
    }
}

fn name(samples: &Samples) -> String {
    format!("{} {}", samples.kind, samples.version)
        .trim_end()
        .to_owned()
}

fn cell(runs: &[f64], decimals: usize) -> String {
    Spread::of(runs).map_or("-".into(), |Spread { median, min, max }| {
        format!("{median:.decimals$} ({min:.decimals$}–{max:.decimals$})")
    })
}

fn write_row(f: &mut fmt::Formatter<'_>, name: &str, cells: &[String]) -> fmt::Result {
    write!(f, "{name:<26}")?;
    // Wide enough for a median and its spread; the last two columns have none.
    for (cell, width) in cells.iter().zip([19, 21, 18, 19, 8, 12]) {
        write!(f, " {cell:>width$}")?;
    }
    writeln!(f)
}
