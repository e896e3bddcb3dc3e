//! Memory of fresh processes: idle, with many silent connections, and after these have gone.

use std::{thread, time::Duration};

use super::{Run, cases, named};
use crate::{
    client::Load,
    results::{Metric, Part},
    setup::{Peer, Topology, Traffic},
};

/// Until the buffers of many first requests have been given back.
const SETTLE: Duration = Duration::from_secs(2);
/// Until what the start, or a burst, needed has been given back: allocators do so in steps, and
/// Outrigger only when nothing goes on.
const QUIET: Duration = Duration::from_secs(16);

pub fn run(run: &mut Run) -> anyhow::Result<()> {
    let counts: &[usize] = match run.scale.quick {
        true => &[1000],
        false => &[1000, 10_000],
    };
    let setups = run.start(&Peer::HTTP[1..], &Topology::two_hops(Traffic::Http1));
    thread::sleep(QUIET);
    let setups = run.rounds(named("", setups), 1, |_, setup, _, results| {
        let (idle, own) = (setup.resident()? as f64, setup.anonymous()? as f64);
        let mut add = |case: &str, metric, value| {
            results.add(Part::Memory, case, setup.peer, metric, value);
        };
        add(cases::IDLE, Metric::Resident, idle / 1e6);
        add(cases::IDLE, Metric::Anonymous, own / 1e6);
        for count in counts {
            let connections = Load::connect(setup.target(1024), *count)?;
            thread::sleep(SETTLE);
            let resident = setup.resident()? as f64;
            let anonymous = setup.anonymous()? as f64;
            drop(connections);
            let case = cases::connections(*count);
            add(&case, Metric::Resident, resident / 1e6);
            add(&case, Metric::Anonymous, anonymous / 1e6);
            // What is resident of the program itself comes and goes with what it does.
            let each = (anonymous - own) / 1e3 / *count as f64;
            add(&case, Metric::PerConnection, each);
        }
        Ok(())
    });
    thread::sleep(QUIET);
    run.rounds(setups, 1, |_, setup, _, results| {
        let resident = setup.resident()? as f64 / 1e6;
        let case = cases::AFTER_BURST;
        results.add(Part::Memory, case, setup.peer, Metric::Resident, resident);
        let anonymous = setup.anonymous()? as f64 / 1e6;
        results.add(Part::Memory, case, setup.peer, Metric::Anonymous, anonymous);
        Ok(())
    });
    Ok(())
}
