//! Each process killed, and each stopped for a while.

use std::{
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{
    load::{Got, Load},
    row::{pause, row},
};
use crate::harness::{
    Mesh, Process, apps,
    mesh::{Around, Plan},
    wait,
};

/// No breaker: what is measured is the fault, not the five seconds that a breaker stays open.
const PLAIN: &str = "{breaker: {enabled: false}}";

fn only_502_with_a_reason(got: &Got) {
    let ours = |kind: &String| *kind == "200" || kind.starts_with("502 ");
    assert!(
        got.by_kind.keys().all(ours),
        "every failure has a reason: {got}"
    );
}

fn mesh(app: &apps::App) -> Mesh {
    Plan::new(app.addr).protocol("http").policy(PLAIN).start()
}

#[test]
fn the_controller_is_killed() {
    let app = apps::go();
    let mut mesh = mesh(&app);
    let load = Load::start(mesh.addr);
    mesh.controller.kill();
    load.more(1000);
    mesh.restart_controller();
    load.more(500);
    let got = load.stop();
    assert_eq!(got.failed(), 0, "{got}");
    row(
        "01",
        "Controller: kill -9, and a new one",
        "processes.rs::the_controller_is_killed",
        KNOWN,
        &got.to_string(),
    );
}

#[test]
fn the_callers_proxy_is_killed() {
    let app = apps::go();
    let mut mesh = mesh(&app);
    let load = Load::start(mesh.addr);
    mesh.client.until_saved();
    let killed = Instant::now();
    mesh.client.process.kill();
    mesh.client.restart();
    load.more(200);
    let failing = load.failing_for(killed);
    let got = load.stop();
    assert!(got.failed() > 0 && got.by_kind.len() <= 3, "{got}");
    let seen = "its own pod's calls fail until the kubelet has started it again";
    row(
        "02",
        "Caller's proxy: kill -9",
        "processes.rs::the_callers_proxy_is_killed",
        seen,
        &format!(
            "{got}; failures for {} ms, the start included",
            failing.as_millis()
        ),
    );
}

#[test]
fn the_servers_proxy_is_killed() {
    let app = apps::go();
    let mut mesh = mesh(&app);
    mesh.server.until_certified();
    let load = Load::start(mesh.addr);
    let killed = Instant::now();
    mesh.server.process.kill();
    wait::until("callers notice", || load.failed() > 0);
    mesh.server.restart();
    load.more(200);
    let failing = load.failing_for(killed);
    let got = load.stop();
    only_502_with_a_reason(&got);
    let seen = "with one replica, 502 with a reason until it is back; with more, see `e2e/zero_loss/mod.rs::deleted_and_killed_pods_lose_no_request`";
    row(
        "03",
        "Server's proxy: kill -9",
        "processes.rs::the_servers_proxy_is_killed",
        seen,
        &format!(
            "{got}; failures for {} ms, the start included",
            failing.as_millis()
        ),
    );
}

#[test]
fn the_application_is_killed() {
    let mut app = apps::go();
    let mesh = mesh(&app);
    let load = Load::start(mesh.addr);
    app.process.kill();
    wait::until("callers notice", || load.failed() > 0);
    let addr = app.addr;
    drop(app);
    let killed = Instant::now();
    let _app = apps::go_at(addr);
    load.more(200);
    let failing = load.failing_for(killed);
    let got = load.stop();
    only_502_with_a_reason(&got);
    assert!(failing < Duration::from_secs(5), "{failing:?}");
    row(
        "04",
        "Application: kill -9",
        "processes.rs::the_application_is_killed",
        "with one replica, 502 with a reason until it listens again",
        &got.to_string(),
    );
}

/// Stops a process, and tells what clients got.
fn stopped(mesh: &Mesh, process: &Process) -> Got {
    let load = Load::start(mesh.addr);
    process.signal(Signal::STOP);
    thread::sleep(pause());
    process.signal(Signal::CONT);
    load.more(500);
    load.stop()
}

fn stopped_row(order: &str, who: &str, test: &str, seen: &str, got: &Got) {
    let fault = format!("{who}: stopped for {} s", pause().as_secs());
    row(order, &fault, test, seen, &got.to_string());
}

#[test]
fn the_controller_is_stopped() {
    let app = apps::go();
    let mesh = mesh(&app);
    let got = stopped(&mesh, &mesh.controller);
    assert_eq!(got.failed(), 0, "{got}");
    assert!(got.longest < pause(), "nobody waits for it: {got}");
    stopped_row(
        "05",
        "Controller",
        "processes.rs::the_controller_is_stopped",
        KNOWN,
        &got,
    );
}

/// What else there is, the text beside the table says.
const KNOWN: &str = "nothing, for destinations that the proxies know (below)";
const WAIT: &str = "requests wait, and are answered when it goes on; a request timeout in the policy ends the wait";

#[test]
fn the_callers_proxy_is_stopped() {
    let app = apps::go();
    let mesh = mesh(&app);
    let got = stopped(&mesh, &mesh.client.process);
    assert_eq!(got.failed(), 0, "{got}");
    stopped_row(
        "06",
        "Caller's proxy",
        "processes.rs::the_callers_proxy_is_stopped",
        WAIT,
        &got,
    );
}

const GIVEN_UP: &str =
    "requests wait; after 30 s the connection is given up, and they are 502 `upstream-reset`";

/// Longer than the keepalive between proxies, the connection is given up, and the requests on it
/// are told so.
#[test]
fn the_servers_proxy_is_stopped() {
    let app = apps::go();
    let mesh = mesh(&app);
    let got = stopped(&mesh, &mesh.server.process);
    if pause() < Duration::from_secs(10) {
        assert_eq!(got.failed(), 0, "{got}");
    }
    let ours = |kind: &String| *kind == "200" || kind.starts_with("50");
    assert!(
        got.by_kind.keys().all(ours),
        "every failure has a reason: {got}"
    );
    stopped_row(
        "07",
        "Server's proxy",
        "processes.rs::the_servers_proxy_is_stopped",
        GIVEN_UP,
        &got,
    );
}

#[test]
fn the_application_is_stopped() {
    let app = apps::go();
    let mesh = mesh(&app);
    let got = stopped(&mesh, &app.process);
    assert_eq!(got.failed(), 0, "{got}");
    stopped_row(
        "08",
        "Application",
        "processes.rs::the_application_is_stopped",
        WAIT,
        &got,
    );
}

/// A jump of a day: certificates look expired to the one whose clock is off, and nothing is wrong
/// any more once it is right.
#[test]
fn a_clock_jumps_under_load() {
    let app = apps::go();
    let around = Around {
        own_clock: true,
        ..Around::default()
    };
    let mesh = Plan::new(app.addr)
        .protocol("http")
        .policy(PLAIN)
        .around(around)
        .start();
    let load = Load::start(mesh.addr);
    mesh.set_clock("server", "+26h");
    load.more(300);
    let open = load.failed();
    mesh.set_clock("server", "-1h");
    load.more(300);
    mesh.set_clock("server", "+0s");
    load.more(300);
    let got = load.stop();
    assert_eq!((open, got.failed()), (0, 0), "{got}");
    let seen = "nothing on open connections; new ones between two proxies are refused with `expired` or `not_yet_valid` until the clock is right (`tests/it/hostile/skew.rs::a_clock_that_jumps_is_noticed_and_forgiven`)";
    row(
        "16",
        "Clock of one node: + 26 h, - 1 h, back",
        "processes.rs::a_clock_jumps_under_load",
        seen,
        &got.to_string(),
    );
}
