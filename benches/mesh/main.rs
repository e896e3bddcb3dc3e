//! Outrigger measured beside what people would use instead, in interleaved rounds of one run: two
//! hops with mTLS on loopback, one hop, opaque TCP, memory, and the control plane.
//!
//! What counts is the CPU time of the proxies per request; throughput on a machine that other
//! things share says little. Clients and origin live in this process.

#![forbid(unsafe_code)]

mod certificates;
mod client;
mod control;
mod machine;
mod origin;
mod parts;
mod process;
mod report;
mod results;
mod setup;
mod stats;
mod stream;

use std::{env, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};

use crate::{
    machine::Machine,
    parts::{Run, Scale},
    report::Report,
    results::Part,
    setup::Peer,
};

/// As in the product, one of whose roles this program plays: the controller's memory counts.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures Outrigger beside Envoy, HAProxy, nginx, and no proxy at all: about 15 minutes.
#[derive(Parser)]
struct Args {
    /// Three minutes: one round, and nothing with 10,000 connections.
    #[arg(long)]
    quick: bool,
    /// Only these parts, for example: --only http,control
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Only these peers, for example: --peers outrigger,envoy
    #[arg(long, value_delimiter = ',')]
    peers: Vec<Peer>,
    /// Rounds; in each, every setup is measured once [default: 3; 1 with --quick].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Seconds of each measurement, 0.1 to 10 [default: 1.2; 0.6 with --quick].
    #[arg(long, value_parser = seconds)]
    seconds: Option<f64>,
    /// Where to write the numbers.
    #[arg(long, default_value = concat!(env!("CARGO_TARGET_TMPDIR"), "/bench.json"))]
    json: PathBuf,
    /// Where to write the page and its plots [default: docs/benchmarks, for a run that is whole].
    #[arg(long)]
    page: Option<PathBuf>,
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
    /// The controller, with a cluster that changes when it is told to.
    #[command(hide = true)]
    Controller(control::server::Args),
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: Option<f64> = text.parse().ok();
    let seconds = seconds.filter(|seconds| (0.1..=10.0).contains(seconds));
    seconds.ok_or_else(|| "write a number from 0.1 to 10".into())
}

fn main() -> ExitCode {
    let args = Args::parse();
    process::raise_descriptor_limit();
    let result = match &args.role {
        Some(Role::CopyLoop {
            hop,
            listen,
            to,
            certificates,
        }) => stream::copy_loop(*hop, *listen, *to, certificates).map(|()| true),
        Some(Role::Controller(args)) => control::server::run(args).map(|()| true),
        None => run(&args),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Says whether everything could be measured.
fn run(args: &Args) -> anyhow::Result<bool> {
    let (rounds, seconds) = if args.quick { (1, 0.6) } else { (3, 1.2) };
    let (rounds, seconds) = (
        args.rounds.unwrap_or(rounds),
        args.seconds.unwrap_or(seconds),
    );
    let machine = Machine::look();
    let bench = setup::Bench::new(args.outrigger.clone())?;
    let scale = Scale {
        rounds,
        duration: Duration::from_secs_f64(seconds),
        quick: args.quick,
        peers: args.peers.clone(),
    };
    let mut run = Run::new(&bench, scale);
    let is_meant = |part: &&Part| args.only.is_empty() || args.only.contains(part);
    for part in Part::value_variants().iter().filter(is_meant) {
        run.part(*part);
    }
    let report = Report::new(command(args), machine, rounds, seconds, run.results);
    report.print();
    report.write_json(&args.json)?;
    let is_whole_run = args.only.is_empty() && args.peers.is_empty() && !args.quick;
    let page = args.page.clone().or_else(|| {
        let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/benchmarks");
        is_whole_run.then(|| docs.into())
    });
    if let Some(page) = page {
        report.write_page(&page)?;
    }
    Ok(report.is_whole())
}

/// What was typed, without where things are on this machine.
fn command(args: &Args) -> String {
    let mut words = Vec::new();
    if args.quick {
        words.push("--quick".to_owned());
    }
    words.extend(args.rounds.map(|rounds| format!("--rounds {rounds}")));
    words.extend(args.seconds.map(|seconds| format!("--seconds {seconds}")));
    if words.is_empty() {
        return "make bench".into();
    }
    format!("make bench ARGS=\"{}\"", words.join(" "))
}
