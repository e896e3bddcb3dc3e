//! Idle HTTP/1 connections: parked, and in use again without losing or inventing a byte.

use crate::harness::{Mesh, Wire, apps, mesh::Plan, wait};

/// Idle connections that the client's proxy holds without buffers.
fn parked(mesh: &Mesh) -> u64 {
    let metrics = mesh.client.metrics();
    let line = metrics.lines().find_map(|line| {
        line.strip_prefix(r#"outrigger_connections_parked{direction="outbound"} "#)
    });
    line.and_then(|value| value.parse().ok())
        .expect("a number of parked connections")
}

fn until_parked(mesh: &Mesh, connections: u64) {
    wait::until("connections are parked", || parked(mesh) == connections);
}

#[test]
fn a_parked_connection_serves_on() {
    let app = apps::go();
    let mesh = Mesh::in_front_of(app.addr);
    let mut wire = mesh.connect();
    assert_eq!(wire.get("/echo").status, 200);
    until_parked(&mesh, 1);
    assert_eq!(wire.get("/echo").status, 200);
    until_parked(&mesh, 1);
    wire.send("POST /echo HTTP/1.1\r\nHost: app.test\r\nContent-Length: 4\r\n\r\nbody");
    let text = wire.response("POST").text();
    assert!(text.ends_with("\n\nbody"), "{text}");
    until_parked(&mesh, 1);
    let request = |n| format!("GET /echo?n={n} HTTP/1.1\r\nHost: app.test\r\n\r\n");
    wire.send((0..3).map(request).collect::<String>());
    for n in 0..3 {
        let text = wire.response("GET").text();
        assert!(text.starts_with(&format!("GET /echo?n={n} ")), "{text}");
    }
    until_parked(&mesh, 1);
    drop(wire);
    until_parked(&mesh, 0);
}

/// Were it parked, what is left of the body would be read as a request.
#[test]
fn a_connection_with_half_a_body_is_not_parked() {
    let app = apps::go();
    let mesh = Mesh::in_front_of(app.addr);
    let mut half = mesh.connect();
    let mut idle = mesh.connect();
    // Answered before its body has come.
    half.send("POST /refuse HTTP/1.1\r\nHost: app.test\r\nContent-Length: 60\r\n\r\n");
    assert_eq!(half.response("POST").status, 417);
    assert_eq!(idle.get("/echo").status, 200);
    until_parked(&mesh, 1);
    // The one that is parked is the other.
    assert_eq!(idle.get("/echo").status, 200);
    let before = app.count("requests");
    let _ = half.try_send("GET /echo HTTP/1.1\r\nHost: app.test\r\nX-Pad: 0123456789\r\n\r\n");
    let rest = half.try_take_all().unwrap_or_default();
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    assert_eq!(app.count("requests"), before, "a body became a request");
}

#[test]
fn half_a_head_takes_a_connection_out_of_the_park() {
    let app = apps::go();
    let mesh = Mesh::in_front_of(app.addr);
    let mut wire = mesh.connect();
    assert_eq!(wire.get("/echo").status, 200);
    until_parked(&mesh, 1);
    wire.send("GET /echo?half HTTP/1.1\r\nHo");
    until_parked(&mesh, 0);
    let mut other = mesh.connect();
    assert_eq!(other.get("/echo").status, 200);
    until_parked(&mesh, 1);
    wire.send("st: app.test\r\n\r\n");
    let text = wire.response("GET").text();
    assert!(text.starts_with("GET /echo?half "), "{text}");
}

/// Were fewer connections to the application kept than there are requests at a time, each wave of
/// them would dial some anew.
#[test]
fn a_wave_of_requests_goes_by_the_connections_of_the_last_one() {
    const WAVE: usize = 300;
    let app = apps::go();
    let mesh = Plan::new(app.addr)
        .policy("{bulkhead: {maxInFlight: 1024}}")
        .start();
    let mut control = Wire::connect(app.addr);
    let mut ask = |path: &str| control.get(&format!("/control/{path}")).text();
    let mut wires: Vec<_> = (0..WAVE).map(|_| mesh.connect()).collect();
    let mut wave = |gate: &str| {
        for wire in &mut wires {
            wire.send(format!(
                "GET /hold?gate={gate} HTTP/1.1\r\nHost: app.test\r\n\r\n"
            ));
        }
        wait::until("the wave has come", || {
            ask(&format!("waiting?gate={gate}")) == WAVE.to_string()
        });
        ask(&format!("open?gate={gate}"));
        for wire in &mut wires {
            assert_eq!(wire.response("GET").status, 200);
        }
        ask("connections")
    };
    assert_eq!(wave("first"), wave("second"));
}
