//! HTTP/1 heads and bodies that two readers could understand differently: refused on the way in
//! from an application and on the way in from the network.

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
};

use crate::harness::{Mesh, Wire, mesh::Plan, recorder::Recorder, wait};

const GOOD: &str = "GET /good HTTP/1.1\r\nHost: app.test\r\n\r\n";

/// Each asks for /smuggled, and none may get there.
const REFUSED: &[(&str, &[u8])] = &[
    ("two hosts", b"GET /smuggled HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n"),
    ("no host", b"GET /smuggled HTTP/1.1\r\nAccept: */*\r\n\r\n"),
    ("an empty host", b"GET /smuggled HTTP/1.1\r\nHost:\r\n\r\n"),
    ("a user in the host", b"GET /smuggled HTTP/1.1\r\nHost: me@a.test\r\n\r\n"),
    ("another host in the target", b"GET http://b.test/smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"),
    ("no leading slash", b"GET smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"),
    ("a folded line", b"GET /smuggled HTTP/1.1\r\nHost: a.test\r\nX-A: one\r\n two\r\n\r\n"),
    ("a space before the colon", b"GET /smuggled HTTP/1.1\r\nHost : a.test\r\n\r\n"),
    ("a bare CR", b"GET /smuggled HTTP/1.1\r\nHost: a.test\r\nX-A: a\rX-B: b\r\n\r\n"),
    ("a NUL", b"GET /smuggled HTTP/1.1\r\nHost: a.test\r\nX-A: a\0b\r\n\r\n"),
    ("two lengths", b"POST /smuggled HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
    ("an empty length", b"POST /smuggled HTTP/1.1\r\nHost: a.test\r\nContent-Length:\r\n\r\n"),
    ("a signed length", b"POST /smuggled HTTP/1.1\r\nHost: a.test\r\nContent-Length: +2\r\n\r\nab"),
    ("a list of lengths", b"POST /smuggled HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2, 3\r\n\r\nab"),
    ("a length beyond numbers", b"POST /smuggled HTTP/1.1\r\nHost: a.test\r\nContent-Length: 99999999999999999999\r\n\r\n"),
    ("chunked twice", b"POST /smuggled HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("not chunked last", b"POST /smuggled HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    ("a coding before chunked", b"POST /smuggled HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("almost chunked", b"POST /smuggled HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("HTTP/1.0 with chunks", b"POST /smuggled HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a length before chunks", b"POST /smuggled HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a length after chunks", b"POST /smuggled HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"),
    ("the same length twice", b"POST /smuggled HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab"),
    ("a fragment", b"GET /smuggled#b HTTP/1.1\r\nHost: a.test\r\n\r\n"),
    ("a bare LF", b"GET /smuggled HTTP/1.1\r\nHost: a.test\nX-A: b\r\n\r\n"),
    ("bare LFs", b"GET /smuggled HTTP/1.1\nHost: a.test\n\n"),
    ("HTTP/1.9", b"GET /smuggled HTTP/1.9\r\nHost: a.test\r\n\r\n"),
];

/// Both ways into a proxy.
fn entrances(mesh: &Mesh) -> [(&'static str, Wire); 2] {
    [
        ("outbound", mesh.connect()),
        ("inbound", Wire::connect(mesh.inbound)),
    ]
}

fn mesh_before(app: &Recorder) -> Mesh {
    Plan::new(app.addr).protocol("http").start()
}

fn is_refused(case: &str, mut wire: Wire, request: &[u8], with: &[u16]) -> Result<(), String> {
    // A peer that has refused already may have closed.
    let _ = wire.try_send(request);
    let answer = wire
        .try_response("GET")
        .map_err(|error| format!("{case}: {error}"))?;
    if !with.contains(&answer.status) {
        return Err(format!("{case}: {}", answer.head));
    }
    match wire.try_take_all() {
        Ok(rest) if rest.is_empty() => Ok(()),
        Ok(rest) => Err(format!(
            "{case}: more came: {:?}",
            String::from_utf8_lossy(&rest)
        )),
        Err(error) => Err(format!("{case}: not closed: {error}")),
    }
}

#[test]
fn ambiguous_heads_are_refused() {
    let app = Recorder::start();
    let mesh = mesh_before(&app);
    let mut wrong = Vec::new();
    for (case, request) in REFUSED {
        for (entrance, wire) in entrances(&mesh) {
            wrong.extend(
                is_refused(&format!("{case}, {entrance}"), wire, request, &[400, 505]).err(),
            );
        }
    }
    for (_, mut wire) in entrances(&mesh) {
        wire.send(GOOD);
        assert_eq!(wire.response("GET").status, 200);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Those that are refused before there is a request, too.
    let counted =
        "outrigger_connections_refused_total{direction=\"outbound\",reason=\"bad-request\"} ";
    wait::until("they are counted", || {
        mesh.client.metrics().contains(counted)
    });
    assert!(!app.heard().contains("smuggled"), "{}", app.heard());
    assert_eq!(
        app.heard().matches("GET /good HTTP/1.1\r\n").count(),
        2,
        "{}",
        app.heard()
    );
}

#[test]
fn a_broken_chunk_ends_the_connection() {
    let app = Recorder::start();
    let mesh = mesh_before(&app);
    let sizes = ["zz", "-1", "+2", "", "0x2", "11111111111111111", "2 2"];
    for size in sizes {
        for (entrance, mut wire) in entrances(&mesh) {
            wire.send("POST /body HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n");
            let _ = wire.try_send(format!(
                "{size}\r\nab\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"
            ));
            let rest = wire
                .try_take_all()
                .unwrap_or_else(|error| panic!("{size:?}, {entrance}: not closed: {error}"));
            let answers = String::from_utf8_lossy(&rest).matches("HTTP/1.1 ").count();
            assert!(
                answers <= 1,
                "{size:?}, {entrance}: {}",
                String::from_utf8_lossy(&rest)
            );
        }
    }
    for (_, mut wire) in entrances(&mesh) {
        wire.send(GOOD);
        assert_eq!(wire.response("GET").status, 200);
    }
    assert!(!app.heard().contains("GET /smuggled"), "{}", app.heard());
}

#[test]
fn more_headers_than_fit_are_refused() {
    let app = Recorder::start();
    let mesh = mesh_before(&app);
    let many: String = (0..40_000).map(|n| format!("x{n}:\r\n")).collect();
    let long = format!("x: {}\r\n", "a".repeat(1 << 20));
    for headers in [many, long] {
        let request = format!("GET /smuggled HTTP/1.1\r\nHost: a.test\r\n{headers}\r\n");
        for (entrance, mut wire) in entrances(&mesh) {
            let _ = wire.try_send(&request);
            // Closing on unread bytes is a reset, which may overtake the answer.
            let rest = wire
                .try_take_all()
                .unwrap_or_else(|error| panic!("{entrance}: not closed: {error}"));
            let rest = String::from_utf8_lossy(&rest);
            assert!(
                rest.is_empty() || rest.starts_with("HTTP/1.1 431 "),
                "{entrance}: {rest}"
            );
        }
    }
    for (_, mut wire) in entrances(&mesh) {
        wire.send(GOOD);
        assert_eq!(wire.response("GET").status, 200);
    }
    assert!(!app.heard().contains("smuggled"));
    let counted = "outrigger_connections_refused_total{direction=\"outbound\",reason=\"headers-too-large\"} 2";
    wait::until("they are counted", || {
        mesh.client.metrics().lines().any(|line| line == counted)
    });
}

#[test]
fn an_upgrade_sends_no_byte_ahead_of_its_answer() {
    let app = Recorder::start();
    let mesh = mesh_before(&app);
    let mut wire = mesh.connect();
    wire.send(
        "GET /up HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    wire.send("GET /smuggled HTTP/1.1\r\nHost: b.test\r\nHost: c.test\r\n\r\n");
    let answer = wire.response("GET");
    assert_eq!(
        answer.status, 200,
        "the application did not switch: {answer:?}"
    );
    let rest = String::from_utf8_lossy(&wire.take_all()).into_owned();
    assert!(
        rest.is_empty() || rest.starts_with("HTTP/1.1 400 "),
        "{rest}"
    );
    assert!(!app.heard().contains("smuggled"), "{}", app.heard());
}

/// A lenient application would take these for requests that no policy has seen.
#[test]
fn a_port_named_http_carries_nothing_else() {
    let app = Recorder::start();
    let mesh = mesh_before(&app);
    for bytes in [
        "GET /smuggled\r\n",
        "EHLO a.test\r\n",
        "\0\0\0\x08\x04\x03\0\0",
    ] {
        for (entrance, mut wire) in entrances(&mesh) {
            let _ = wire.try_send(bytes);
            let rest = wire.try_take_all();
            let rest =
                rest.unwrap_or_else(|error| panic!("{bytes:?}, {entrance}: not closed: {error}"));
            let rest = String::from_utf8_lossy(&rest);
            assert!(
                rest.starts_with("HTTP/1.1 400 ") && rest.contains("\r\noutrigger-reason: "),
                "{bytes:?}, {entrance}: {rest:?}"
            );
        }
    }
    assert!(app.heard().is_empty(), "{}", app.heard());
}

/// Without the word the client would take the coded bytes for the answer.
#[test]
fn an_answer_in_a_coding_of_its_connection_is_not_passed_on() {
    let origin = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = origin.local_addr().expect("it is bound");
    thread::spawn(move || {
        for mut stream in origin.incoming().flatten() {
            let coded = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n";
            let mut head = [0; 1024];
            if stream.read(&mut head).is_ok_and(|read| read > 0) {
                // It may have gone.
                let _ = stream.write_all(coded);
            }
        }
    });
    let mesh = Plan::new(addr).protocol("http").start();
    for (entrance, mut wire) in entrances(&mesh) {
        let answer = wire.get("/");
        let told = (answer.status, &*answer.reason());
        assert_eq!(told, (502, "upstream-protocol"), "{entrance}");
    }
}
