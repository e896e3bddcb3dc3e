//! The plain rustls copy loop: this program as both hops.

use std::{env, process::Command};

use super::{Bench, Kind, NotStarted, Setup};
use crate::process::{Process, free_address};

pub fn start(bench: &Bench) -> Result<Setup, NotStarted> {
    let (entry, between) = (free_address()?, free_address()?);
    let program = env::current_exe()?;
    let hop = |name: &str, listen: String, to: String| {
        let mut command = Command::new(&program);
        command
            .args(["copy-loop", name, &listen, &to])
            .arg(bench.dir.path());
        Process::start(&mut command, &bench.path(&format!("copy-loop-{name}.log")))
    };
    Ok(Setup {
        kind: Kind::CopyLoop,
        version: String::new(),
        entry,
        hops: vec![
            hop("client", entry.to_string(), between.to_string())?,
            hop(
                "server",
                between.to_string(),
                bench.origin(Kind::CopyLoop).to_string(),
            )?,
        ],
        _others: Vec::new(),
    })
}
