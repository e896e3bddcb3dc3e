//! The control plane: how fast a change reaches many proxies, what it costs, and what happens when
//! all of them come back at once.

mod controller;
mod fleet;
pub mod server;
mod storm;
mod world;

use std::{thread, time::Duration};

use crate::{
    parts::{Run, cases::thousands},
    results::{Metric, Part, Results},
    stats::percentile,
};

use self::{controller::Controller, fleet::Fleet};

/// What stands in the results where a proxy's name would.
pub const SETUP: &str = "controller";

/// How many services there are in the clusters that a change is measured in.
pub const SERVICES: [usize; 4] = [10, 100, 1000, 10_000];

/// In the cluster of the large fleets: 10,000 endpoints.
const LARGE: (usize, usize) = (1000, 10);
/// Proxies in the growing cluster; all of them watch the same service.
const WATCHERS: usize = 100;

pub fn proxies(count: usize) -> String {
    format!("one change, {} proxies", thousands(count))
}

pub fn storm(count: usize) -> String {
    format!("storm, {} proxies", thousands(count))
}

pub fn change(services: usize, is_watched: bool) -> String {
    let services = thousands(services);
    format!("one of {services} services, {}", watched(is_watched))
}

pub fn watched(is_watched: bool) -> &'static str {
    if is_watched {
        "watched by 100 proxies"
    } else {
        "watched by nobody"
    }
}

/// What a change costs that nobody watches, in the largest cluster against the smallest.
pub fn unwatched_growth(results: &Results) -> Option<f64> {
    let cost = |services| {
        let metric = Metric::CpuPerChange;
        results.median(Part::Control, &change(services, false), SETUP, metric)
    };
    Some(cost(SERVICES[3])? / cost(SERVICES[0])?)
}

pub fn run(run: &mut Run) -> anyhow::Result<()> {
    for services in SERVICES {
        growth(run, services)?;
    }
    large(run, 1000, 40)?;
    if !run.scale.quick {
        large(run, 10_000, 10)?;
    }
    Ok(())
}

fn add(run: &mut Run, case: &str, metric: Metric, value: f64) {
    run.results.add(Part::Control, case, SETUP, metric, value);
}

/// The cost of a change in a cluster of this size.
fn growth(run: &mut Run, services: usize) -> anyhow::Result<()> {
    let place = run.bench.place()?;
    let mut controller = Controller::start(&place, (services, 2))?;
    let fleet = Fleet::connect(&controller, WATCHERS)?;
    for _ in 0..run.scale.rounds {
        let unwatched = controller.change(1, 2000, Duration::ZERO)?;
        let cost = unwatched.cpu.as_secs_f64() * 1e6 / 2000.0;
        add(run, &change(services, false), Metric::CpuPerChange, cost);

        // Far enough apart that none is sent together with the next.
        let watched = controller.change(0, 20, Duration::from_millis(25))?;
        fleet.all_know(watched.generation)?;
        let cost = watched.cpu.as_secs_f64() * 1e6 / 20.0;
        add(run, &change(services, true), Metric::CpuPerChange, cost);
    }
    Ok(())
}

/// Propagation to many proxies, what the controller needs for them, and their storm.
fn large(run: &mut Run, count: usize, changes: usize) -> anyhow::Result<()> {
    let place = run.bench.place()?;
    let mut controller = Controller::start(&place, LARGE)?;
    if count == 1000 {
        let case = "10,000 endpoints, no proxies";
        let process = &controller.process;
        let (resident, cpu) = (
            process.resident()? as f64 / 1e6,
            process.cpu()?.as_secs_f64(),
        );
        add(run, case, Metric::Resident, resident);
        add(run, case, Metric::ControllerCpu, cpu);
    }
    let fleet = Fleet::connect(&controller, count)?;
    thread::sleep(Duration::from_secs(1));
    let case = proxies(count);
    let mut latencies = Vec::with_capacity(count * changes);
    let before = controller.process.cpu()?;
    for _ in 0..changes {
        let change = controller.change(0, 1, Duration::ZERO)?;
        latencies.extend(fleet.all_know(change.generation)?.since(change.at));
    }
    let used = controller.process.cpu()? - before;
    latencies.sort_unstable();
    for (metric, percent) in [(Metric::PropagationP50, 50), (Metric::PropagationP99, 99)] {
        if let Some(latency) = percentile(&latencies, percent) {
            add(run, &case, metric, latency.as_secs_f64() * 1e3);
        }
    }
    let cost = used.as_secs_f64() * 1e6 / changes as f64;
    add(run, &case, Metric::CpuPerChange, cost);
    let resident = controller.process.resident()? as f64 / 1e6;
    add(run, &case, Metric::Resident, resident);

    let storm_seen = storm::measure(&mut controller, &fleet)?;
    let case = storm(count);
    add(run, &case, Metric::Served, storm_seen.served.as_secs_f64());
    add(
        run,
        &case,
        Metric::ControllerCpu,
        storm_seen.cpu.as_secs_f64(),
    );
    add(
        run,
        &case,
        Metric::Resident,
        storm_seen.most_resident as f64 / 1e6,
    );
    add(run, &case, Metric::LostRequests, storm_seen.lost as f64);
    eprintln!(
        "  {} of {} requests lost in the storm",
        storm_seen.lost, storm_seen.requests
    );
    Ok(())
}
