//! What Outrigger's own features cost, each against the same process without it; and what a
//! second worker brings.

use std::{thread, time::Instant};

use anyhow::anyhow;

use super::{
    Run, as_fast_as_it_goes,
    cases::{BARE, DEFAULT, MANY_ROUTES, ONE_ROUTE},
};
use crate::{
    client::Load,
    results::{Metric, Part},
    setup::{Options, Peer, Setup, Topology, Traffic},
};

/// The differences are small: more rounds than elsewhere.
const MORE_ROUNDS: u32 = 3;
const CONNECTIONS: usize = 32;

fn variants() -> Vec<(&'static str, Options)> {
    let usual = Options::default;
    let routes = |routes| Options { routes, ..usual() };
    let traces = |trace_ratio| Options {
        trace_ratio,
        ..usual()
    };
    let bare = Options {
        breaker: false,
        ..traces(0.0)
    };
    let no_breaker = Options {
        breaker: false,
        ..usual()
    };
    let access_log = Options {
        access_log: true,
        ..usual()
    };
    vec![
        (BARE, bare),
        (DEFAULT, usual()),
        ("no breakers", no_breaker),
        ("no traces", traces(0.0)),
        ("every trace", traces(1.0)),
        ("access log", access_log),
        (ONE_ROUTE, routes(1)),
        ("10 routes", routes(10)),
        (MANY_ROUTES, routes(1000)),
    ]
}

pub fn run(run: &mut Run) -> anyhow::Result<()> {
    let setups = start(run, variants());
    let rounds = run.scale.rounds * MORE_ROUNDS;
    run.rounds(setups, rounds, |case, setup, scale, results| {
        let target = setup.target(1024);
        let duration = scale.duration / 2;
        for (metric, value) in as_fast_as_it_goes(setup, target, CONNECTIONS, duration)? {
            results.add(Part::Features, case, setup.peer, metric, value);
        }
        Ok(())
    });
    Ok(())
}

pub fn workers(run: &mut Run) -> anyhow::Result<()> {
    let workers = |workers| Options {
        workers,
        ..Options::default()
    };
    let setups = start(
        run,
        vec![("1 worker", workers(1)), ("2 workers", workers(2))],
    );
    let rounds = run.scale.rounds;
    run.rounds(setups, rounds, |case, setup, scale, results| {
        let half = || Load::connect(setup.target(1024), CONNECTIONS / 2);
        let mut halves = [half()?, half()?];
        let began = Instant::now();
        let requests = thread::scope(|scope| {
            let threads = halves
                .each_mut()
                .map(|half| scope.spawn(|| half.run(scale.duration)));
            let mut requests = 0;
            for thread in threads {
                requests += thread.join().map_err(|_| anyhow!("a client panicked"))??;
            }
            anyhow::Ok(requests)
        })?;
        let rate = requests as f64 / began.elapsed().as_secs_f64();
        results.add(
            Part::Workers,
            case,
            setup.peer,
            Metric::RequestsPerSecond,
            rate,
        );
        Ok(())
    });
    Ok(())
}

fn start(run: &mut Run, variants: Vec<(&str, Options)>) -> Vec<(String, Setup)> {
    let started = variants.into_iter().filter_map(|(name, options)| {
        let topology = Topology {
            options,
            ..Topology::two_hops(Traffic::Http1)
        };
        Some((name.to_owned(), run.start_one(Peer::Outrigger, &topology)?))
    });
    started.collect()
}
