//! Disks on which nothing can be written, and names that do not resolve.

use super::{load::Load, row::row};
use crate::harness::{
    apps,
    mesh::{Around, Disk, Plan},
    wait,
};

fn on(disk: Disk, order: &str, fault: &str, test: &str) {
    let app = apps::go();
    let around = Around {
        disk,
        ..Around::default()
    };
    let mut mesh = Plan::new(app.addr).protocol("http").around(around).start();
    let load = Load::start(mesh.addr);
    wait::until("the log says so", || {
        mesh.client
            .process
            .log()
            .contains("the identity is not kept")
    });
    mesh.controller.kill();
    load.more(500);
    let got = load.stop();
    assert_eq!(got.failed(), 0, "{got}");
    let seen = "nothing; a warning in the log, and a proxy that starts while the controller is away has no identity";
    row(order, fault, test, seen, &got.to_string());
}

#[test]
fn the_snapshots_disk_is_full() {
    on(
        Disk::Full,
        "11",
        "Full disk under the snapshot",
        "disks.rs::the_snapshots_disk_is_full",
    );
}

#[test]
fn the_snapshots_disk_is_read_only() {
    on(
        Disk::ReadOnly,
        "12",
        "Read-only disk under the snapshot",
        "disks.rs::the_snapshots_disk_is_read_only",
    );
}

#[test]
fn the_access_logs_disk_is_full() {
    let app = apps::go();
    let mesh = Plan::new(app.addr)
        .protocol("http")
        .args(["--access-log", "/dev/full"])
        .start();
    let load = Load::start(mesh.addr);
    load.more(500);
    let got = load.stop();
    assert_eq!(got.failed(), 0, "{got}");
    let dropped = || {
        let page = mesh.client.metrics();
        let name = "outrigger_access_log_dropped_lines_total{} ";
        let n = page
            .lines()
            .find_map(|line| line.strip_prefix(name)?.parse::<u64>().ok());
        n.unwrap_or_default()
    };
    wait::until("lines that could not be written are counted", || {
        dropped() > 0
    });
    row(
        "13",
        "Full disk under the access log",
        "disks.rs::the_access_logs_disk_is_full",
        "nothing; lines are dropped and counted",
        &got.to_string(),
    );
}

#[test]
fn names_do_not_resolve() {
    let app = apps::go();
    let mut mesh = Plan::new(app.addr).protocol("http").start();
    assert_eq!(mesh.get("/echo").status, 200);
    mesh.client.until_saved();
    let nowhere = ["--controller", "controller.invalid:14030"].map(str::to_owned);
    mesh.replace_client(&nowhere);
    let load = Load::start(mesh.addr);
    load.more(500);
    let got = load.stop();
    assert_eq!(got.failed(), 0, "{got}");
    row(
        "15",
        "DNS down: the controller's name does not resolve, and the proxy starts",
        "disks.rs::names_do_not_resolve",
        "nothing: it goes on from its snapshot. Applications' own look-ups are theirs: the mesh resolves no name of theirs",
        &got.to_string(),
    );
}
