//! Limits of the system, reached.

use std::net::SocketAddr;

use super::{load::Load, row::row};
use crate::harness::{
    MIB, Wire, apps,
    mesh::{Around, Plan},
    wait,
};

const HALF: &str = "GET /ec";
const STALLED: &str = "GET /download?n=67108864 HTTP/1.1\r\nHost: a.test\r\n\r\n";

/// Three hundred connections that say one of these in turn, and no more.
fn press(addr: SocketAddr, requests: &[&str]) -> Vec<Wire> {
    let requests = requests.iter().cycle().take(300);
    requests
        .filter_map(|request| {
            let mut wire = Wire::try_connect(addr).ok()?;
            wire.try_send(request).ok()?;
            Some(wire)
        })
        .collect()
}

#[test]
fn no_descriptors_are_left() {
    let app = apps::go();
    let mesh = Plan::new(app.addr).protocol("http").open_files(96).start();
    let load = Load::start(mesh.addr);
    let pressing = press(mesh.addr, &[HALF]);
    wait::until("no descriptor is left", || {
        mesh.client.process.open_files() >= 95
    });
    load.more(200);
    drop(pressing);
    wait::until("new connections are taken again", || {
        mesh.get("/echo").status == 200
    });
    let got = load.stop();
    assert_eq!(got.failed(), 0, "open connections are served: {got}");
    let failures = "outrigger_accept_failures_total{} ";
    let page = mesh.client.metrics();
    let counted = page.lines().find_map(|line| line.strip_prefix(failures));
    let counted: u64 = counted.expect("it is shown").parse().expect("a number");
    assert!(counted > 0);
    row(
        "09",
        "No descriptors (limit 96, 300 connections)",
        "limits.rs::no_descriptors_are_left",
        "open connections are served; new ones wait until there are descriptors",
        &format!("{got}; {counted} failed accepts counted"),
    );
}

/// What it asks for is a hundred times as much: the caps keep it below.
#[test]
fn a_flood_stays_below_the_memory_limit() {
    const LIMIT: u64 = 2048 * MIB;
    /// The chart's limit for a proxy.
    const RESIDENT: u64 = 128 * MIB;
    let app = apps::go();
    let around = Around {
        address_space: Some(LIMIT),
        ..Around::default()
    };
    let mesh = Plan::new(app.addr).protocol("http").around(around).start();
    let load = Load::start(mesh.addr);
    let pressing = press(mesh.addr, &[HALF, STALLED]);
    load.more(300);
    drop(pressing);
    load.more(300);
    let got = load.stop();
    let peak = mesh.peak_memory();
    assert!(peak < RESIDENT, "{} MiB", peak / MIB);
    assert_eq!(got.failed(), 0, "{got}");
    row(
        "10",
        "A flood against a memory limit (150 half heads, 150 stalled downloads of 64 MiB)",
        "limits.rs::a_flood_stays_below_the_memory_limit",
        "nothing: the caps hold below the limit. A proxy that is killed for its memory all the same: as `kill -9`",
        &format!("{got}; at most {} MiB resident", peak / MIB),
    );
}
