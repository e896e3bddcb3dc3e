//! The measurements: what is done to a setup, and what is noted.

use std::{thread, time::Duration};

use serde::Serialize;

use crate::{
    http,
    setup::{Kind, Setup, Traffic},
    stats::percentile,
    stream,
};

const CONNECTIONS: u32 = 32;
/// Requests a second in the open loop.
pub const RATE: u32 = 1000;
pub const IDLE_CONNECTIONS: usize = 1000;
const WARM_UP: Duration = Duration::from_millis(500);
/// Until buffers of the start or of a burst have been given back.
const SETTLE: Duration = Duration::from_secs(2);

/// What has been measured of one setup: one entry a round, but for memory.
#[derive(Serialize)]
pub struct Samples {
    pub kind: Kind,
    pub version: String,
    /// Resident memory of the larger of the two hops, in bytes.
    pub resident_idle: Option<u64>,
    /// The same with [`IDLE_CONNECTIONS`] keep-alive connections that are silent.
    pub resident_connections: Option<u64>,
    /// CPU time of both hops, in microseconds.
    pub cpu_us_per_request: Vec<f64>,
    pub requests_per_second: Vec<f64>,
    pub p50_us: Vec<f64>,
    pub p99_us: Vec<f64>,
    pub mb_per_second: Vec<f64>,
    /// CPU time of both hops, in seconds.
    pub cpu_s_per_gb: Vec<f64>,
}

/// Memory, before anything else has used any: idle, then with many silent connections.
pub fn memory(setup: &Setup) -> anyhow::Result<Samples> {
    let mut samples = Samples {
        kind: setup.kind,
        version: setup.version.clone(),
        resident_idle: None,
        resident_connections: None,
        cpu_us_per_request: Vec::new(),
        requests_per_second: Vec::new(),
        p50_us: Vec::new(),
        p99_us: Vec::new(),
        mb_per_second: Vec::new(),
        cpu_s_per_gb: Vec::new(),
    };
    if setup.kind.traffic() == Traffic::Http && !setup.hops.is_empty() {
        thread::sleep(SETTLE);
        samples.resident_idle = Some(resident(setup)?);
        let idle = http::idle(setup.entry, IDLE_CONNECTIONS)?;
        thread::sleep(SETTLE);
        samples.resident_connections = Some(resident(setup)?);
        drop(idle);
    }
    Ok(samples)
}

/// One round: warm up, then as fast as it goes, then at a fixed rate.
pub fn round(setup: &Setup, duration: Duration, samples: &mut Samples) -> anyhow::Result<()> {
    match setup.kind.traffic() {
        Traffic::Http => http_round(setup, duration, samples),
        Traffic::Stream => stream_round(setup, duration, samples),
    }
}

fn http_round(setup: &Setup, duration: Duration, samples: &mut Samples) -> anyhow::Result<()> {
    let closed = |duration| http::closed_loop(setup.entry, CONNECTIONS as usize, duration);
    closed(WARM_UP)?;
    let before = cpu(setup)?;
    let requests = closed(duration)? as f64;
    let used = cpu(setup)? - before;
    samples
        .requests_per_second
        .push(requests / duration.as_secs_f64());
    if !setup.hops.is_empty() {
        samples
            .cpu_us_per_request
            .push(used.as_secs_f64() * 1e6 / requests);
    }
    let latencies = http::open_loop(setup.entry, CONNECTIONS, RATE, duration)?;
    let us = |percent| percentile(&latencies, percent).map(|latency| latency.as_secs_f64() * 1e6);
    samples.p50_us.extend(us(50));
    samples.p99_us.extend(us(99));
    Ok(())
}

fn stream_round(setup: &Setup, duration: Duration, samples: &mut Samples) -> anyhow::Result<()> {
    stream::drink(setup.entry, WARM_UP)?;
    let before = cpu(setup)?;
    let bytes = stream::drink(setup.entry, duration)? as f64;
    let used = cpu(setup)? - before;
    samples
        .mb_per_second
        .push(bytes / 1e6 / duration.as_secs_f64());
    samples
        .cpu_s_per_gb
        .push(used.as_secs_f64() / (bytes / 1e9));
    Ok(())
}

fn cpu(setup: &Setup) -> anyhow::Result<Duration> {
    setup.hops.iter().map(|hop| hop.cpu()).sum()
}

fn resident(setup: &Setup) -> anyhow::Result<u64> {
    let each = setup.hops.iter().map(|hop| hop.resident());
    Ok(each
        .collect::<anyhow::Result<Vec<_>>>()?
        .into_iter()
        .max()
        .unwrap_or_default())
}
