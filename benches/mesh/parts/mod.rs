//! The measurements: each part starts its setups, measures them in interleaved rounds, and notes
//! what it saw.

pub mod cases;
mod connections;
mod features;
mod http;
mod memory;
mod start;
mod stream;

use std::time::{Duration, Instant};

use anyhow::Context;

use crate::{
    client::{Load, Target},
    control,
    results::{Metric, Part, Results},
    setup::{Bench, NotStarted, Peer, Setup, Topology},
};

/// How much to measure.
#[derive(Clone)]
pub struct Scale {
    pub rounds: u32,
    /// Of each measurement.
    pub duration: Duration,
    /// Leave out what takes thousands of connections.
    pub quick: bool,
    /// Peers to measure; empty: all.
    pub peers: Vec<Peer>,
}

/// A run under way.
pub struct Run<'a> {
    pub bench: &'a Bench,
    pub scale: Scale,
    pub results: Results,
}

impl<'a> Run<'a> {
    pub fn new(bench: &'a Bench, scale: Scale) -> Self {
        Self {
            bench,
            scale,
            results: Results::default(),
        }
    }

    /// Measures one part; what fails is noted.
    pub fn part(&mut self, part: Part) {
        let began = Instant::now();
        eprintln!("{}", part.title());
        let measured = match part {
            Part::Http => http::throughput(self),
            Part::Latency => http::latency(self),
            Part::Gateway => http::gateway(self),
            Part::Streaming => stream::grpc(self),
            Part::Tcp => stream::tcp(self),
            Part::Connections => connections::run(self),
            Part::Memory => memory::run(self),
            Part::Features => features::run(self),
            Part::Workers => features::workers(self),
            Part::Start => start::run(self),
            Part::Control => control::run(self),
        };
        if let Err(error) = measured {
            self.failed(format!("{part:?}: {error:#}"));
        }
        eprintln!("  {:.0} s", began.elapsed().as_secs_f64());
    }

    fn failed(&mut self, what: String) {
        eprintln!("  failed: {what}");
        self.results.failures.push(what);
    }

    /// Starts those of the peers that are there.
    fn start(&mut self, peers: &[Peer], topology: &Topology) -> Vec<Setup> {
        let chosen = self.scale.peers.clone();
        let is_chosen = |peer: &&Peer| chosen.is_empty() || chosen.contains(peer);
        let started = peers.iter().filter(is_chosen);
        started
            .filter_map(|peer| self.start_one(*peer, topology))
            .collect()
    }

    fn start_one(&mut self, peer: Peer, topology: &Topology) -> Option<Setup> {
        match self.bench.start(peer, topology) {
            Ok(setup) => {
                let versions = &mut self.results.versions;
                versions.insert(peer, setup.version.clone());
                Some(setup)
            }
            Err(NotStarted::Missing(why)) => {
                if self.results.skipped.insert(peer, why.clone()).is_none() {
                    eprintln!("  skipped: {peer}: {why}");
                }
                None
            }
            Err(NotStarted::Failed(error)) => {
                self.failed(format!("{peer}: {error:#}"));
                None
            }
        }
    }

    /// Measures each setup once a round. One that fails is not measured again. Returns those that
    /// did not.
    fn rounds(
        &mut self,
        mut setups: Vec<(String, Setup)>,
        rounds: u32,
        mut measure: impl FnMut(&str, &Setup, &Scale, &mut Results) -> anyhow::Result<()>,
    ) -> Vec<(String, Setup)> {
        for _ in 0..rounds {
            let mut failures = Vec::new();
            setups.retain(|(case, setup)| {
                let measured = measure(case, setup, &self.scale, &mut self.results);
                let failure = measured.err();
                failures.extend(failure.as_ref().map(|error| {
                    let peer = setup.peer;
                    format!("{peer}, {case}: {error:#}")
                }));
                failure.is_none()
            });
            failures
                .into_iter()
                .for_each(|failure| self.failed(failure));
        }
        setups
    }
}

/// All setups measured under one name.
fn named(case: &str, setups: Vec<Setup>) -> Vec<(String, Setup)> {
    let named = setups.into_iter().map(|setup| (case.to_owned(), setup));
    named.collect()
}

/// Requests as fast as they are answered, after a warm-up on the same connections: how many a
/// second, and what each cost the hops.
fn as_fast_as_it_goes(
    setup: &Setup,
    target: Target,
    connections: usize,
    duration: Duration,
) -> anyhow::Result<Vec<(Metric, f64)>> {
    let mut load = Load::connect(target, connections)?;
    load.run(duration / 5)?;
    let before = setup.cpu()?;
    let began = Instant::now();
    let requests = load.run(duration).context("under load")? as f64;
    let elapsed = began.elapsed();
    let used = setup.cpu()? - before;
    let mut measured = vec![(Metric::RequestsPerSecond, requests / elapsed.as_secs_f64())];
    if !setup.hops.is_empty() {
        let each = used.as_secs_f64() * 1e6 / requests;
        measured.insert(0, (Metric::CpuPerRequest, each));
    }
    Ok(measured)
}
