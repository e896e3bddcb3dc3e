//! The measurement itself: a mesh inside callgrind, traffic, the counts of each hop.

use std::{env, fs, net::SocketAddr, path::Path};

use super::{
    baseline::{Baseline, Cost, judge},
    callgrind::{self, Counted},
    traffic::{self, Exchange, Grpc, Http1},
};
use crate::harness::mesh::{Around, Plan, Proxy};

/// Pools, tables and the peers' header tables fill up.
const WARM_UP: u32 = 100;
const REQUESTS: u32 = 500;

#[test]
#[ignore = "counts in an optimised build: make cost"]
fn http1() {
    let plan = Plan::new(traffic::http1_origin()).protocol("http");
    keeps_to_the_baseline("http1", plan, Http1::connect);
}

#[test]
#[ignore = "counts in an optimised build: make cost"]
fn grpc() {
    let plan = Plan::new(traffic::grpc_origin()).protocol("http2");
    keeps_to_the_baseline("grpc", plan, Grpc::connect);
}

fn keeps_to_the_baseline<E: Exchange>(
    protocol: &str,
    plan: Plan,
    connect: impl Fn(SocketAddr) -> E,
) {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("cost")
        .join(protocol);
    // What an earlier run left has the same names.
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("the target folder is ours");
    let binary = env::var_os("OUTRIGGER_COST").expect("run it by `make cost`, which builds it");
    let around = Around {
        inside: callgrind::inside(&dir),
        binary: Some(binary.into()),
        ..Around::default()
    };
    // The share of traces that users record who say nothing.
    let mesh = plan.around(around).args(["--trace-ratio", "0.01"]).start();
    let mut client = connect(mesh.addr);
    (0..WARM_UP).for_each(|_| client.exchange());
    let hops = [
        ("outbound", "client", &mesh.client),
        ("inbound", "server", &mesh.server),
    ];
    hops.iter()
        .for_each(|(_, _, proxy)| callgrind::begin(&proxy.process));
    (0..REQUESTS).for_each(|_| client.exchange());
    let costs = hops.map(|(hop, name, proxy)| {
        let (cost, dump) = cost(proxy, name, &dir);
        println!("{protocol}, {hop}, per request: {cost} (callgrind_annotate {dump})");
        (hop, cost)
    });
    if Baseline::update(protocol, &costs) {
        return;
    }
    let baseline = Baseline::load();
    let judged = |(hop, cost): &(&str, Cost)| {
        let judged = judge(*cost, baseline.of(protocol, hop));
        judged
            .err()
            .map(|error| format!("{protocol}, {hop}, per request: {error}"))
    };
    let errors: Vec<String> = costs.iter().filter_map(judged).collect();
    assert!(errors.is_empty(), "{}", errors.join("\n"));
}

/// What one request cost a proxy, and where the dump is that tells more.
fn cost(proxy: &Proxy, name: &str, dir: &Path) -> (Cost, String) {
    let (counted, dump) = callgrind::end(&proxy.process, dir, name);
    let Counted {
        instructions,
        allocations,
    } = counted;
    let cost = Cost {
        instructions: instructions / u64::from(REQUESTS),
        allocations: (allocations as f64 / f64::from(REQUESTS) * 10.0).round() / 10.0,
    };
    (cost, dump.display().to_string())
}
