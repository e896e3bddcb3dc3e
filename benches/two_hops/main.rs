//! Two hops with mTLS on loopback: client → proxy → (mTLS, HTTP/2) → proxy → origin, one worker
//! each, measured beside peers in interleaved rounds of one run.
//!
//! What counts is the CPU time of the two proxy processes per request; throughput on a machine
//! that other things share says little. Client and origin live in this process.

#![forbid(unsafe_code)]

mod certificates;
mod http;
mod measure;
mod origin;
mod process;
mod report;
mod setup;
mod stats;
mod stream;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context;
use clap::{Parser, Subcommand};

/// Measures two hops with mTLS: Outrigger, Envoy, HAProxy, and no proxy at all.
#[derive(Parser)]
struct Args {
    /// Rounds; in each, every setup is measured once.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Only these, for example: --only outrigger,envoy
    #[arg(long, value_delimiter = ',')]
    only: Vec<setup::Kind>,
    /// Where to write the numbers.
    #[arg(long, default_value = concat!(env!("CARGO_TARGET_TMPDIR"), "/two_hops.json"))]
    json: PathBuf,
    /// Another build to measure.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_outrigger"))]
    outrigger: PathBuf,
    /// `cargo bench` passes this to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What this program starts itself as.
#[derive(Subcommand)]
enum Role {
    /// One hop of the plain rustls copy loop that opaque TCP is compared with.
    #[command(hide = true)]
    CopyLoop {
        hop: stream::Hop,
        listen: SocketAddr,
        to: SocketAddr,
        certificates: PathBuf,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = match &args.role {
        Some(Role::CopyLoop {
            hop,
            listen,
            to,
            certificates,
        }) => stream::copy_loop(*hop, *listen, *to, certificates),
        None => run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    process::raise_descriptor_limit();
    let bench = setup::Bench::new(args.outrigger.clone())?;
    let kinds = if args.only.is_empty() {
        setup::Kind::ALL.to_vec()
    } else {
        args.only.clone()
    };
    let mut started = Vec::new();
    for kind in kinds {
        match bench.start(kind) {
            Ok(setup) => started.push(setup),
            Err(setup::NotStarted::Missing(why)) => eprintln!("skipped: {kind}: {why}"),
            Err(setup::NotStarted::Failed(error)) => return Err(error),
        }
    }
    let mut samples = Vec::new();
    for setup in &started {
        eprintln!("memory: {}", setup.kind);
        samples.push(measure::memory(setup).with_context(|| setup.kind.to_string())?);
    }
    let duration = Duration::from_secs(args.seconds);
    for round in 1..=args.rounds {
        for (setup, samples) in started.iter().zip(&mut samples) {
            eprintln!("round {round} of {}: {}", args.rounds, setup.kind);
            measure::round(setup, duration, samples).with_context(|| setup.kind.to_string())?;
        }
    }
    let report = report::Report::new(args.rounds, args.seconds, samples);
    print!("{report}");
    report.write(&args.json)
}
