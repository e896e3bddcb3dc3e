//! Messages of gRPC streams, and bytes of opaque TCP.

use super::{Run, cases, named};
use crate::{
    client,
    results::{Metric, Part},
    setup::{Options, Peer, Topology, Traffic, Way},
    stream,
};

/// gRPC streams at a time, on a connection each.
const STREAMS: usize = 4;

pub fn grpc(run: &mut Run) -> anyhow::Result<()> {
    let setups = run.start(&Peer::HTTP, &Topology::two_hops(Traffic::Grpc));
    let rounds = run.scale.rounds;
    let case = format!("{STREAMS} streams");
    run.rounds(
        named(&case, setups),
        rounds,
        |case, setup, scale, results| {
            client::messages(setup.entry, STREAMS, scale.duration / 5)?;
            let before = setup.cpu()?;
            let messages = client::messages(setup.entry, STREAMS, scale.duration)? as f64;
            let used = setup.cpu()? - before;
            let mut add =
                |metric, value| results.add(Part::Streaming, case, setup.peer, metric, value);
            if !setup.hops.is_empty() {
                add(Metric::CpuPerMessage, used.as_secs_f64() * 1e6 / messages);
            }
            add(
                Metric::MessagesPerSecond,
                messages / scale.duration.as_secs_f64(),
            );
            Ok(())
        },
    );
    Ok(())
}

pub fn tcp(run: &mut Run) -> anyhow::Result<()> {
    let ways = [
        (cases::MTLS, Way::TwoHops),
        (cases::PLAIN, Way::PlainTwoHops),
    ];
    for (case, way) in ways {
        let topology = Topology {
            traffic: Traffic::Stream,
            way,
            options: Options::default(),
        };
        let peers = Peer::TCP.into_iter();
        // The copy loop is there for its TLS.
        let peers = peers.filter(|peer| way == Way::TwoHops || *peer != Peer::CopyLoop);
        let peers: Vec<_> = peers.collect();
        let setups = run.start(&peers, &topology);
        let rounds = run.scale.rounds;
        run.rounds(
            named(case, setups),
            rounds,
            |case, setup, scale, results| {
                stream::drink(setup.entry, scale.duration / 5)?;
                let before = setup.cpu()?;
                let bytes = stream::drink(setup.entry, scale.duration)? as f64;
                let used = setup.cpu()? - before;
                let mut add =
                    |metric, value| results.add(Part::Tcp, case, setup.peer, metric, value);
                if !setup.hops.is_empty() {
                    add(Metric::CpuPerGigabyte, used.as_secs_f64() / (bytes / 1e9));
                }
                add(
                    Metric::MegabytesPerSecond,
                    bytes / 1e6 / scale.duration.as_secs_f64(),
                );
                Ok(())
            },
        );
    }
    Ok(())
}
