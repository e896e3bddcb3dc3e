//! Clients that stop in the middle, of a body or of an answer: each costs a bounded amount, and
//! nobody else their requests.

use crate::harness::{
    MIB, Mesh, Wire, apps, free_addr,
    mesh::Plan,
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
