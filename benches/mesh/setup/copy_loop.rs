//! The plain rustls copy loop: this program as both hops, with TLS between them always.

use std::{env, process::Command, time::Instant};

use super::{Hops, NotStarted, Place, Topology};
use crate::process::free_address;

pub fn start(place: &Place, topology: &Topology) -> Result<Hops, NotStarted> {
    let (entry, between) = (free_address()?, free_address()?);
    let origin = place.origin(topology.traffic);
    let program = env::current_exe()?;
    let began = Instant::now();
    let hop = |name: &str, listen: String, to: String| {
        let mut command = Command::new(&program);
        command
            .args(["copy-loop", name, &listen, &to])
            .arg(place.bench.dir.path());
        place.run(name, &mut command)
    };
    let client = hop("client", entry.to_string(), between.to_string())?;
    let server = hop("server", between.to_string(), origin.to_string())?;
    Ok(Hops {
        version: String::new(),
        entry,
        processes: vec![client, server],
        others: Vec::new(),
        began,
    })
}
