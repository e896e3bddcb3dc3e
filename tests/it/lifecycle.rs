//! Start, drain and survival: what happens to requests while processes come and go.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
};

use rustix::{
    fs::{CWD, Mode, mkfifoat},
    process::Signal,
};

use crate::harness::{
    Mesh, Wire, apps,
    h2::{self, Http2},
    mesh::Plan,
    wait,
};

/// Keeps asking until it is told that the connection ends; every request must have an answer.
fn ask_until_closed(mut wire: Wire, asked: &AtomicU32) {
    loop {
        let answer = wire.get("/echo");
        asked.fetch_add(1, Ordering::Relaxed);
        assert_eq!(answer.status, 200, "{answer:?}");
        if answer
            .header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
        {
            assert!(wire.take_all().is_empty());
            return;
        }
    }
}

fn drained_plan(app: &apps::App) -> Plan {
    Plan::new(app.addr)
        .protocol("http")
        .args(["--drain-min", "300ms", "--drain-max", "20s"])
}

#[test]
fn a_draining_proxy_loses_no_request() {
    let app = apps::go();
    let mut mesh = drained_plan(&app).start();
    let asked = AtomicU32::new(0);
    let mut held = mesh.connect();
    held.send("GET /hold?gate=drain HTTP/1.1\r\nHost: app.test\r\n\r\n");
    thread::scope(|scope| {
        let clients: Vec<_> = (0..8).map(|_| mesh.connect()).collect();
        for client in clients {
            let asked = &asked;
            scope.spawn(move || ask_until_closed(client, asked));
        }
        wait::until("requests are under way", || {
            asked.load(Ordering::Relaxed) > 50 && app.count("waiting?gate=drain") == 1
        });
        mesh.client.process.signal(Signal::TERM);
    });
    assert!(
        mesh.client.process.exited().is_none(),
        "a request is still under way"
    );
    app.control("open?gate=drain");
    let answer = held.response("GET");
    assert_eq!((answer.status, &*answer.text()), (200, "held\n"));
    assert!(mesh.client.process.wait().success());
}

/// Listeners that workers share any process of the same user may join: it would take its share of
/// the connections, with or without a word.
#[test]
fn a_second_proxy_on_the_same_ports_does_not_start() {
    let app = apps::go();
    let mesh = Plan::new(app.addr).protocol("http").start();
    let mut second = mesh.client.another();
    assert!(!second.wait().success());
    let log = second.log();
    assert!(log.contains("cannot listen on"), "{log}");
    assert_eq!(mesh.connect().get("/echo").status, 200);
}

#[test]
fn a_draining_proxy_still_takes_connections_for_a_while() {
    let app = apps::go();
    let mesh = Plan::new(app.addr)
        .protocol("http")
        .args(["--drain-min", "20s", "--drain-max", "25s"])
        .start();
    mesh.client.process.signal(Signal::TERM);
    let draining = || {
        mesh.client
            .admin("/ready")
            .is_none_or(|answer| answer.status != 200)
    };
    wait::until("the proxy is no longer ready", draining);
    let answer = mesh.get("/echo");
    assert_eq!(
        (answer.status, answer.header("connection").as_deref()),
        (200, Some("close"))
    );
}

#[test]
fn http2_clients_are_told_to_go_away() {
    let app = apps::go();
    let mut mesh = drained_plan(&app).start();
    let mut connection = Http2::connect(mesh.addr);
    connection
        .send(h2::HEADERS, h2::END_HEADERS | h2::END_STREAM, 1, h2::GET)
        .expect("a new connection");
    connection.next_of(h2::HEADERS).expect("an answer");
    mesh.client.process.signal(Signal::TERM);
    let told = connection
        .next_of(h2::GOAWAY)
        .expect("told before the connection ends");
    assert_eq!(told.payload[4..8], [0; 4], "without an error");
    assert!(mesh.client.process.wait().success());
}

/// The client's proxy must move on from a connection that its peer ends, without losing any of
/// what goes over it.
#[test]
fn a_draining_peer_loses_no_request() {
    let app = apps::go();
    let mut mesh = drained_plan(&app).start();
    let mut held: Vec<Wire> = (0..10)
        .map(|_| {
            let mut wire = mesh.connect();
            wire.send("GET /hold?gate=peer HTTP/1.1\r\nHost: app.test\r\n\r\n");
            wire
        })
        .collect();
    wait::until("requests are under way", || {
        app.count("waiting?gate=peer") == 10
    });
    mesh.server.process.signal(Signal::TERM);
    let draining = || {
        mesh.server
            .admin("/ready")
            .is_none_or(|answer| answer.status != 200)
    };
    wait::until("the peer is no longer ready", draining);
    app.control("open?gate=peer");
    for wire in &mut held {
        assert_eq!(wire.response("GET").status, 200);
    }
    assert!(mesh.server.process.wait().success());
}

#[test]
fn a_drain_ends_at_its_deadline() {
    let app = apps::go();
    let mut mesh = Plan::new(app.addr)
        .args(["--drain-min", "0s", "--drain-max", "1s"])
        .start();
    let mut held = mesh.connect();
    held.send("GET /hold?gate=never HTTP/1.1\r\nHost: app.test\r\n\r\n");
    wait::until("a request is under way", || {
        app.count("waiting?gate=never") == 1
    });
    mesh.client.process.signal(Signal::TERM);
    mesh.client.process.wait();
    assert_eq!(
        String::from_utf8_lossy(&held.take_all()),
        "",
        "cut, not answered"
    );
}

#[test]
fn traffic_goes_on_without_a_controller() {
    let app = apps::go();
    let mut mesh = Mesh::in_front_of(app.addr);
    assert_eq!(mesh.get("/echo").status, 200);
    mesh.controller.kill();
    let mut kept = mesh.connect();
    for _ in 0..20 {
        assert_eq!(kept.get("/echo").status, 200);
        assert_eq!(mesh.get("/echo").status, 200);
    }
}

#[test]
fn a_proxy_starts_from_its_snapshot() {
    let app = apps::go();
    let mut mesh = Mesh::in_front_of(app.addr);
    assert_eq!(mesh.get("/echo").status, 200);
    mesh.client.until_saved();
    mesh.controller.kill();
    mesh.client.restart();
    let answer = mesh.get("/echo");
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Puts a pipe that nobody writes where a file was.
fn replace_by_pipe(file: &Path) {
    let pipe = file.with_extension("pipe");
    mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).expect("an own folder");
    fs::rename(pipe, file).expect("an own folder");
}

/// The controller waited for a writer for ever, and took no edit any more.
#[test]
fn a_registry_that_becomes_a_pipe_is_left_alone() {
    let app = apps::go();
    let mesh = Plan::new(app.addr).protocol("http").start();
    let file = mesh.file("registry.yaml");
    let text = fs::read_to_string(&file).expect("it was written");
    replace_by_pipe(&file);
    wait::until("the log names what it is", || {
        let log = mesh.controller.log();
        log.contains("registry.yaml") && log.contains("is a FIFO, and must be a regular file")
    });
    assert_eq!(mesh.get("/echo").status, 200, "the last good state stays");
    let new = file.with_extension("new");
    let edited = text.replace("trustDomain", "# Edited.\ntrustDomain");
    fs::write(&new, edited).expect("an own folder");
    fs::rename(&new, &file).expect("an own folder");
    wait::until("the edit is taken", || {
        mesh.controller.log().contains("the registry has changed")
    });
}

#[test]
fn a_proxy_whose_snapshot_is_a_pipe_starts_without() {
    let app = apps::go();
    let mut mesh = Plan::new(app.addr).protocol("http").start();
    assert_eq!(mesh.get("/echo").status, 200);
    mesh.client.until_saved();
    mesh.client.process.kill();
    replace_by_pipe(&mesh.file("client-snapshot/discovery.json"));
    replace_by_pipe(&mesh.file("client-snapshot/identity.json"));
    mesh.client.restart();
    assert_eq!(mesh.get("/echo").status, 200);
    let log = mesh.client.process.log();
    assert!(log.contains("the snapshot cannot be read"), "{log}");
    assert!(log.contains("the kept identity is unusable"), "{log}");
}

#[test]
fn a_proxy_survives_running_out_of_descriptors() {
    let app = apps::go();
    let mesh = Plan::new(app.addr).protocol("http").open_files(96).start();
    assert_eq!(mesh.get("/echo").status, 200);
    let flooding = AtomicBool::new(true);
    thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let mut open: Vec<Wire> = Vec::new();
            while flooding.load(Ordering::Relaxed) && open.len() < 300 {
                let mut wire = mesh.connect();
                wire.send("GET /ec");
                open.push(wire);
            }
            open
        });
        wait::until("no descriptor is left", || {
            mesh.client.process.open_files() >= 95
        });
        flooding.store(false, Ordering::Relaxed);
        drop(flood.join().expect("the kernel takes the connections"));
    });
    wait::until("it recovers by itself", || mesh.get("/echo").status == 200);
}

#[test]
fn the_metrics_tell_how_the_proxy_stands_with_the_controller() {
    let app = apps::go();
    let mesh = Plan::new(app.addr).protocol("http").start();
    assert_eq!(mesh.get("/echo").status, 200);
    let value = |name: &str| -> f64 {
        let page = mesh.client.admin("/metrics").expect("an answer").text();
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix("{} "));
        let line = line.unwrap_or_else(|| panic!("no {name} in {page}"));
        line.parse().expect("a number")
    };
    // Brought up to date once a second.
    wait::until("the page says that the stream is up", || {
        value("outrigger_discovery_connected") == 1.0
    });
    assert!(value("outrigger_discovery_updates_total") >= 1.0);
    assert!(value("outrigger_discovery_last_update_timestamp_seconds") > 1e9);
    assert_eq!(value("outrigger_certificate_renewals_total"), 1.0);
    assert_eq!(value("outrigger_certificate_renewal_failures_total"), 0.0);
    assert!(value("outrigger_certificate_expiry_timestamp_seconds") > 1e9);
}
