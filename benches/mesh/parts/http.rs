//! Requests over two hops, and over one.

use super::{Run, as_fast_as_it_goes, cases, named};
use crate::{
    client::at_rate,
    origin::LARGE,
    results::{Metric, Part},
    setup::{Options, Peer, Topology, Traffic, Way},
    stats::percentile,
};

/// Requests a second in the open loop.
const RATE: u32 = 1000;

const PROTOCOLS: [(Traffic, &str); 3] = [
    (Traffic::Http1, "HTTP/1.1"),
    (Traffic::Http2, "HTTP/2"),
    (Traffic::Grpc, "gRPC"),
];

/// Connections and bytes of each answer.
const LOADS: [(usize, usize); 6] = [
    (1, 1024),
    (32, 1024),
    (512, 1024),
    (1, LARGE),
    (32, LARGE),
    (512, LARGE),
];

pub fn throughput(run: &mut Run) -> anyhow::Result<()> {
    for (traffic, protocol) in PROTOCOLS {
        let setups = run.start(&Peer::HTTP, &Topology::two_hops(traffic));
        // All of it for one protocol; the others need not show once more what size does.
        let is_measured =
            |load: &&(usize, usize)| traffic == Traffic::Http1 || load.1 == 1024 || load.0 == 32;
        let loads: Vec<_> = LOADS.iter().filter(is_measured).collect();
        let rounds = run.scale.rounds;
        run.rounds(
            named(protocol, setups),
            rounds,
            |protocol, setup, scale, results| {
                for (connections, body) in &loads {
                    let target = setup.target(*body);
                    let case = cases::load(protocol, *connections, *body);
                    for (metric, value) in
                        as_fast_as_it_goes(setup, target, *connections, scale.duration)?
                    {
                        results.add(Part::Http, &case, setup.peer, metric, value);
                    }
                }
                Ok(())
            },
        );
    }
    Ok(())
}

pub fn latency(run: &mut Run) -> anyhow::Result<()> {
    for (traffic, protocol) in PROTOCOLS {
        // The copy loop is the floor: two processes in between, and TLS.
        let peers = [&Peer::HTTP[..], &[Peer::CopyLoop]].concat();
        let setups = run.start(&peers, &Topology::two_hops(traffic));
        let connections: &[u32] = match traffic {
            Traffic::Http1 => &[1, 32, 512],
            _ => &[32],
        };
        let rounds = run.scale.rounds;
        run.rounds(
            named(protocol, setups),
            rounds,
            |protocol, setup, scale, results| {
                for connections in connections {
                    let case = cases::load(protocol, *connections as usize, 1024);
                    let target = setup.target(1024);
                    let latencies = at_rate(target, *connections, RATE, scale.duration)?;
                    for (metric, percent) in
                        [(Metric::P50, 50), (Metric::P90, 90), (Metric::P99, 99)]
                    {
                        if let Some(latency) = percentile(&latencies, percent) {
                            let us = latency.as_secs_f64() * 1e6;
                            results.add(Part::Latency, &case, setup.peer, metric, us);
                        }
                    }
                }
                Ok(())
            },
        );
    }
    Ok(())
}

pub fn gateway(run: &mut Run) -> anyhow::Result<()> {
    for (traffic, protocol) in PROTOCOLS {
        let topology = Topology {
            traffic,
            way: Way::OneHop,
            options: Options::default(),
        };
        let setups = run.start(&Peer::HTTP, &topology);
        let rounds = run.scale.rounds;
        run.rounds(
            named(protocol, setups),
            rounds,
            |case, setup, scale, results| {
                for (metric, value) in
                    as_fast_as_it_goes(setup, setup.target(1024), 32, scale.duration)?
                {
                    results.add(Part::Gateway, case, setup.peer, metric, value);
                }
                Ok(())
            },
        );
    }
    Ok(())
}
