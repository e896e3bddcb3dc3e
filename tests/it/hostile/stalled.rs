//! Clients that stop in the middle, of a body or of an answer: each costs a bounded amount, and
//! nobody else their requests.

use std::{fs::File, io::Read};

use rustix::process::Signal;

use crate::harness::{
    MIB, Mesh, Wire, apps, free_addr,
    mesh::{Around, Plan},
    wait,
};

/// A few windows' worth of what a stalled exchange may hold, beside what a proxy has anyway.
const BOUND: u64 = 64 * MIB;

fn assert_bounded(mesh: &Mesh, rest: u64) {
    let grown = mesh.peak_memory() - rest;
    assert!(grown < BOUND, "a proxy grew by {} MiB", grown / MIB);
}

/// More than the windows between the proxies have room for.
#[test]
fn clients_that_do_not_read_hold_nobody_up() {
    const STALLED: usize = 40;
    let app = apps::go();
    let mesh = Plan::new(app.addr).protocol("http").start();
    assert_eq!(mesh.get("/echo").status, 200);
    let rest = mesh.peak_memory();
    let stalled: Vec<Wire> = (0..STALLED)
        .map(|_| {
            let mut wire = mesh.connect();
            wire.send("GET /download?n=67108864 HTTP/1.1\r\nHost: a.test\r\n\r\n");
            wire
        })
        .collect();
    wait::until_still("the application stops sending", || app.count("sent"));
    for _ in 0..5 {
        let answer = mesh.get("/download?n=3000000");
        assert_eq!((answer.status, answer.body.len()), (200, 3_000_000));
    }
    drop(stalled);
    assert_bounded(&mesh, rest);
}

/// Nobody waits for ever: what the policy says of idle connections holds for these too.
#[test]
fn a_client_that_takes_nothing_is_cut() {
    let app = apps::go();
    let short = "{timeouts: {idle: 1s}}";
    let mesh = Plan::new(app.addr).protocol("http").policy(short).start();
    let mut wire = mesh.connect();
    wire.send("GET /download?n=67108864&length=1 HTTP/1.1\r\nHost: a.test\r\n\r\n");
    wait::until("it is cut", || {
        mesh.client
            .process
            .log()
            .contains("takes nothing of its answer")
    });
    let got = wire.take_all().len();
    assert!(got < 67_108_864, "{got} bytes came");
    assert_eq!(mesh.get("/echo").status, 200);
}

#[test]
fn a_client_that_sends_nothing_of_its_body_is_cut() {
    let app = apps::go();
    let short = "{timeouts: {idle: 1s}}";
    let mesh = Plan::new(app.addr).protocol("http").policy(short).start();
    let mut wire = mesh.connect();
    wire.send("POST /echo HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nhalf");
    wait::until("it is cut", || {
        let log = mesh.client.process.log();
        log.contains("sends nothing of its request's body")
    });
    assert_eq!(wire.take_all(), b"", "no answer");
    assert_eq!(mesh.get("/echo").status, 200);
}

#[test]
fn bodies_that_never_end_hold_nobody_up() {
    const STALLED: usize = 100;
    let app = apps::go();
    let timed = "{timeouts: {request: 2s}, bulkhead: {maxInFlight: 500, maxInFlightPerRoute: 500, maxInFlightPerCaller: 500}, breaker: {enabled: false}}";
    let mesh = Plan::new(app.addr).protocol("http").policy(timed).start();
    assert_eq!(mesh.get("/echo").status, 200);
    let rest = mesh.peak_memory();
    let mut stalled: Vec<Wire> = (0..STALLED)
        .map(|_| {
            let mut wire = mesh.connect();
            wire.send(format!(
                "POST /upload HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000000\r\n\r\n{}",
                "a".repeat(100_000)
            ));
            wire
        })
        .collect();
    assert_eq!(mesh.get("/echo").status, 200, "others are served");
    for wire in &mut stalled {
        let answer = wire.response("POST");
        assert_eq!((answer.status, &*answer.reason()), (504, "request-timeout"));
    }
    assert_bounded(&mesh, rest);
}

/// One limit for both directions: who held all the places kept the application's own calls out.
#[test]
fn silent_callers_keep_no_call_of_the_application_out() {
    let app = apps::go();
    let mut mesh = Plan::new(app.addr).protocol("http").start();
    let inbound = free_addr();
    let forward = format!("inbound:{inbound}={}", app.addr);
    mesh.replace_client(&["--max-connections", "8", "--forward", &forward].map(str::to_owned));
    let waits = r#"outrigger_connection_limit_waits_total{direction="inbound"} 1"#;
    let silent: Vec<Wire> = (0..8).map(|_| Wire::connect(inbound)).collect();
    wait::until("all the places are taken", || {
        mesh.client.metrics().lines().any(|line| line == waits)
    });
    assert_eq!(mesh.get("/echo").status, 200);
    wait::until("it is logged", || {
        mesh.client
            .process
            .log()
            .contains("as --max-connections allows")
    });
    drop(silent);
    assert_eq!(Wire::connect(inbound).get("/echo").status, 200);
}

/// Traffic stood still with the first line that did not fit into the pipe, and SIGTERM was not
/// heard.
#[test]
fn a_stalled_reader_of_the_log_holds_nobody_up() {
    let app = apps::go();
    let dir = tempfile::tempdir().expect("a place for pipes");
    let pipe = |name: &str| {
        dir.path()
            .join(format!("{name}.pipe"))
            .display()
            .to_string()
    };
    let script = format!(r#"mkfifo "{0}" && exec "$@" 2<>"{0}""#, pipe("NAME"));
    let around = Around {
        inside: ["sh", "-c", &script, "sh"].map(str::to_owned).into(),
        ..Around::default()
    };
    // Each request for anything else is a line at the server's proxy.
    let access = "{policies: [{name: it/reads, rules: [{from: [{anyone: true}], to: [{paths: [{exact: /echo}]}]}]}]}";
    let plan = Plan::new(app.addr).protocol("http").access(access);
    let mut mesh = plan.around(around).args(["--log", "debug"]).start();
    let dropped = || {
        let page = mesh.server.metrics();
        let count = page
            .lines()
            .find_map(|line| line.strip_prefix("outrigger_log_dropped_lines_total{} "));
        count.expect("it is shown").to_owned()
    };
    // Many at a time: the queue has room for megabytes.
    let mut wire = mesh.connect();
    wait::until("lines are dropped", || {
        const DENIED: &str = "GET /other HTTP/1.1\r\nHost: app.test\r\n\r\n";
        wire.send(DENIED.repeat(200));
        for _ in 0..200 {
            assert_eq!(wire.response("GET").status, 403);
        }
        dropped() != "0"
    });
    assert_eq!(mesh.get("/echo").status, 200);

    // Once it reads again, it is told what it missed.
    let mut reader = File::open(pipe("server")).expect("the proxy holds it open");
    let (mut told, mut piece) = (String::new(), vec![0; 1 << 16]);
    while !told.contains("log lines were dropped") {
        let n = reader.read(&mut piece).expect("there is more to come");
        told += &String::from_utf8_lossy(&piece[..n]);
        // Something to say, when it has read all.
        assert_eq!(mesh.get("/other").status, 403);
    }
    mesh.server.process.signal(Signal::TERM);
    assert!(mesh.server.process.wait().success(), "it ends by itself");
}
