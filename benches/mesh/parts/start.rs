//! How long it takes from nothing to the first answer, and how large the binary is.

use std::{fs, path::Path};

use anyhow::{Context, ensure};

use super::Run;
use crate::{
    results::{Metric, Part},
    setup::{Peer, Topology, Traffic},
};

const CASE: &str = "HTTP/1.1";

pub fn run(run: &mut Run) -> anyhow::Result<()> {
    for _ in 0..run.scale.rounds {
        for setup in run.start(&Peer::HTTP[1..], &Topology::two_hops(Traffic::Http1)) {
            let ms = setup.answered_after.as_secs_f64() * 1e3;
            run.results
                .add(Part::Start, CASE, setup.peer, Metric::Started, ms);
        }
    }
    let loaded = loaded_bytes(&run.bench.outrigger)? as f64 / 1e6;
    let peer = Peer::Outrigger;
    run.results
        .add(Part::Start, "binary", peer, Metric::Loaded, loaded);
    Ok(())
}

/// What of an ELF file a process maps: its size without symbols and debug information.
fn loaded_bytes(program: &Path) -> anyhow::Result<u64> {
    const LOAD: u32 = 1;
    let file = fs::read(program)?;
    ensure!(
        file.starts_with(b"\x7fELF\x02\x01"),
        "{} is no 64-bit little-endian ELF file",
        program.display()
    );
    let number = |at: usize, bytes: usize| {
        let field = file.get(at..at + bytes).context("a short ELF file")?;
        let number = field
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        anyhow::Ok(number)
    };
    let headers = number(0x20, 8)? as usize;
    let (size, count) = (number(0x36, 2)? as usize, number(0x38, 2)? as usize);
    let mut loaded = 0;
    for header in (0..count).map(|nth| headers + nth * size) {
        if number(header, 4)? == u64::from(LOAD) {
            loaded += number(header + 0x20, 8)?;
        }
    }
    Ok(loaded)
}
