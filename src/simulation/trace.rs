//! What happened, and when: a log for people and a hash that two runs of a seed must share.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use tracing::subscriber::DefaultGuard;

use super::process;

#[derive(Clone, Debug, Default)]
pub struct Trace(Arc<Mutex<Recorded>>);

#[derive(Debug, Default)]
struct Recorded {
    lines: Vec<String>,
    hash: u64,
}

impl Recorded {
    /// FNV-1a.
    fn mix(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl Trace {
    /// Writes a line into the log.
    pub fn note(&self, at: Duration, what: impl AsRef<str>) {
        let line = format!("{:>9.3} {}", at.as_secs_f64(), what.as_ref());
        let mut recorded = self.0.lock().expect("nothing panics with it");
        recorded.mix(line.as_bytes());
        recorded.lines.push(line);
    }

    /// What is too frequent for the log.
    pub fn mix<const N: usize>(&self, at: Duration, what: [u64; N]) {
        let mut recorded = self.0.lock().expect("nothing panics with it");
        recorded.mix(&at.as_micros().to_le_bytes());
        for number in what {
            recorded.mix(&number.to_le_bytes());
        }
    }

    /// Takes what the product logs on this thread into the log, but not into the hash: it names
    /// what may differ from run to run, such as keys.
    pub fn listen(&self) -> DefaultGuard {
        let trace = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .without_time()
            .with_writer(move || Logged(trace.clone()))
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    pub fn hash(&self) -> u64 {
        self.0.lock().expect("nothing panics with it").hash
    }

    pub fn lines(&self) -> Vec<String> {
        self.0.lock().expect("nothing panics with it").lines.clone()
    }
}

/// Writes the product's own lines, with the process that they are of.
struct Logged(Trace);

impl io::Write for Logged {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let (at, name) = process::current().map_or_else(
            || (Duration::ZERO, "-".into()),
            |process| (process.network.elapsed(), process.place.name.clone()),
        );
        let said = String::from_utf8_lossy(text);
        let line = format!("{:>9.3}     {name}: {}", at.as_secs_f64(), said.trim());
        let mut recorded = self.0.0.lock().expect("nothing panics with it");
        recorded.lines.push(line);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
