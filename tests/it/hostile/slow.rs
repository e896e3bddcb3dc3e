//! Clients that take their time, and bytes that come one by one.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use crate::harness::{MIB, Mesh, Wire, apps, mesh::Plan, run, tools::command, wait};

/// A relay that cuts what the client says first into single bytes.
fn dribbling(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("bound");
    // Ends with the process: it holds nothing that anyone waits for.
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || relay(client, to));
        }
    });
    addr
}

/// More than a ClientHello with a post-quantum key share.
const DRIBBLED: usize = 3000;

fn relay(client: TcpStream, to: SocketAddr) -> Option<()> {
    let server = TcpStream::connect(to).ok()?;
    server.set_nodelay(true).ok()?;
    let (mut from_server, mut to_client) = (server.try_clone().ok()?, client.try_clone().ok()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(std::net::Shutdown::Write);
    });
    let (mut client, mut server) = (client, server);
    let (mut byte, mut left) = ([0], DRIBBLED);
    while left > 0 && client.read(&mut byte).ok()? == 1 {
        server.write_all(&byte).ok()?;
        left -= 1;
    }
    std::io::copy(&mut client, &mut server).ok()?;
    server.shutdown(std::net::Shutdown::Write).ok()
}

#[test]
fn mesh_tls_is_recognised_byte_by_byte() {
    let app = apps::go();
    let plan = Plan::new(app.addr);
    let through = dribbling(plan.inbound());
    let mesh = plan.detour(through).start();
    assert_eq!(mesh.get("/echo").status, 200);
}

#[test]
fn the_applications_own_tls_is_recognised_byte_by_byte() {
    let app = apps::nginx_tls("");
    let mesh = Mesh::in_front_of(app.addr);
    let authority = format!("app.test:{}", dribbling(mesh.addr).port());
    let mut curl = command("curl");
    curl.args(["-sS", "--max-time", "25", "--cacert"])
        .arg(app.file("app.crt"));
    curl.args([
        "--resolve",
        &format!("{authority}:127.0.0.1"),
        &format!("https://{authority}/"),
    ]);
    assert_eq!(run(&mut curl).success().text(), "over the app's own TLS\n");
}

/// An opaque connection would not get the header that tells the application who calls.
#[test]
fn http_is_recognised_byte_by_byte() {
    let app = apps::go();
    let mesh = Mesh::in_front_of(app.addr);
    let mut wire = mesh.connect();
    wire.send_slowly("GET /echo HTTP/1.1\r\nHost: app.test\r\n\r\n");
    let text = wire.response("GET").text();
    assert!(text.contains("Outrigger-Client-Id: spiffe://"), "{text}");
}

#[test]
fn heads_that_never_end_hold_nobody_up() {
    const SLOW: usize = 1000;
    let app = apps::go();
    let mesh = Plan::new(app.addr).protocol("http").start();
    mesh.get("/echo");
    let rest = mesh.peak_memory();
    let slow: Vec<Wire> = (0..SLOW)
        .map(|n| {
            let mut wire = mesh.connect();
            wire.send(format!(
                "GET /slow{n} HTTP/1.1\r\nHost: app.test\r\nX-Pad: {}",
                "a".repeat(1000)
            ));
            wire
        })
        .collect();
    assert_eq!(mesh.get("/echo").status, 200, "others are served");
    let grown = mesh.peak_memory() - rest;
    assert!(
        grown < 64 * MIB,
        "a proxy grew by {} KiB for each",
        grown / 1024 / SLOW as u64
    );
    drop(slow);
    assert_eq!(
        app.count("requests"),
        2,
        "none of them reached the application"
    );
}

/// Thirty seconds, as docs/reasons.md says of `head-timeout`; nothing else is waited for.
#[test]
fn a_head_that_does_not_end_is_cut() {
    let app = apps::go();
    let mesh = Plan::new(app.addr).protocol("http").start();
    let mut wire = Wire::connect_for(mesh.addr, Duration::from_secs(60));
    wire.send("GET /slow HTTP/1.1\r\nHost: app.test\r\nX-Pad: ");
    assert!(wire.take_all().is_empty(), "cut without an answer");
    let cut =
        "outrigger_connections_refused_total{direction=\"outbound\",reason=\"head-timeout\"} 1";
    assert!(mesh.client.metrics().lines().any(|line| line == cut));
    assert_eq!(app.count("requests"), 0);
}

/// Five seconds, as docs/protocols.md says; it was cut without a word.
#[test]
fn a_client_hello_that_does_not_end_is_cut_and_counted() {
    let app = apps::go();
    let mesh = Mesh::in_front_of(app.addr);
    let mut wire = Wire::connect_for(mesh.inbound, Duration::from_secs(30));
    // A record of 512 bytes, of which the first come.
    wire.send([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]);
    assert!(wire.take_all().is_empty(), "cut without an answer");
    let cut = "outrigger_connections_refused_total{direction=\"inbound\",reason=\"tls-failed\"} 1";
    assert!(mesh.server.metrics().lines().any(|line| line == cut));
    wait::until("it is logged", || {
        mesh.server
            .process
            .log()
            .contains("ClientHello did not end in time")
    });
}
