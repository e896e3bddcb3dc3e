//! New connections through two hops of opaque TCP: each is a full handshake between them.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use super::{Run, cases, named};
use crate::{
    results::{Metric, Part},
    setup::{Peer, Topology, Traffic, first_byte},
};

/// Clients that each open one connection after another: [`cases::CLIENTS`].
const CLIENTS: usize = 8;

pub fn run(run: &mut Run) -> anyhow::Result<()> {
    let setups = run.start(&Peer::TCP, &Topology::two_hops(Traffic::Greeting));
    let rounds = run.scale.rounds;
    run.rounds(
        named(cases::CLIENTS, setups),
        rounds,
        |case, setup, scale, results| {
            open(setup.entry, scale.duration / 5)?;
            let before = setup.cpu()?;
            let opened = open(setup.entry, scale.duration)? as f64;
            let used = setup.cpu()? - before;
            let mut add =
                |metric, value| results.add(Part::Connections, case, setup.peer, metric, value);
            if !setup.hops.is_empty() {
                add(Metric::CpuPerConnection, used.as_secs_f64() * 1e6 / opened);
            }
            add(
                Metric::ConnectionsPerSecond,
                opened / scale.duration.as_secs_f64(),
            );
            Ok(())
        },
    );
    Ok(())
}

/// Connections that got their first byte in `duration`.
fn open(addr: SocketAddr, duration: Duration) -> anyhow::Result<u64> {
    let end = Instant::now() + duration;
    let opened = AtomicU64::new(0);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    while Instant::now() < end {
                        first_byte(addr)?;
                        opened.fetch_add(1, Relaxed);
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        let mut ends = clients.into_iter().map(|client| {
            let ended = client.join();
            ended.unwrap_or_else(|_| Err(anyhow::anyhow!("a client panicked")))
        });
        ends.try_for_each(|ended| ended)
    })?;
    Ok(opened.into_inner())
}
