//! HTTP/2 floods: each costs the proxy a bounded amount and nobody else their requests.

use std::{io, thread};

use crate::harness::{
    MIB, Mesh, Wire, apps,
    h2::{self, Http2},
    mesh::Plan,
    recorder::Recorder,
    wait,
};

/// How much more memory than before a flood may have cost at its worst.
const BOUND: u64 = 48 * MIB;

fn assert_bounded(mesh: &Mesh, rest: u64) {
    let grown = mesh.peak_memory() - rest;
    assert!(grown < BOUND, "a proxy grew by {} MiB", grown / MIB);
}

/// Sends `total` streams by `burst`, on as many connections as the proxy makes that take.
fn flood(mesh: &Mesh, total: u32, mut burst: impl FnMut(&mut Http2, u32) -> io::Result<()>) -> u32 {
    let (mut sent, mut connections) = (0, 0);
    while sent < total {
        connections += 1;
        let mut connection = Http2::connect(mesh.addr);
        let mut stream = 1;
        // The proxy may give up on such a client at any point.
        while sent < total && burst(&mut connection, stream).is_ok() {
            sent += 1;
            stream += 2;
        }
        assert!(stream > 1, "not a single stream was taken");
    }
    connections
}

#[test]
fn rapid_resets_cost_nobody_anything() {
    let app = apps::go();
    let mesh = Plan::new(app.addr).protocol("http").start();
    let mut neighbour = mesh.connect();
    assert_eq!(neighbour.get("/echo").status, 200);
    let rest = mesh.peak_memory();
    flood(&mesh, 100_000, |connection, stream| {
        let mut frames = h2::frame(
            h2::HEADERS,
            h2::END_HEADERS | h2::END_STREAM,
            stream,
            h2::GET,
        );
        frames.extend(h2::frame(h2::RST_STREAM, 0, stream, &h2::CANCEL));
        connection.wire.try_send(frames)
    });
    assert_eq!(
        neighbour.get("/echo").status,
        200,
        "the neighbour's connection still stands"
    );
    assert_eq!(mesh.get("/echo").status, 200);
    assert_bounded(&mesh, rest);
}

/// The same, with resets that the proxy itself is made to send (CVE-2025-8671).
#[test]
fn provoked_resets_cost_nobody_anything() {
    let app = apps::go();
    let mesh = Plan::new(app.addr).protocol("http").start();
    let mut neighbour = mesh.connect();
    assert_eq!(neighbour.get("/echo").status, 200);
    let rest = mesh.peak_memory();
    flood(&mesh, 100_000, |connection, stream| {
        let mut frames = h2::frame(h2::HEADERS, h2::END_HEADERS, stream, h2::GET);
        // A window update of zero is a stream error.
        frames.extend(h2::frame(8, 0, stream, &[0; 4]));
        connection.wire.try_send(frames)
    });
    assert_eq!(
        neighbour.get("/echo").status,
        200,
        "the neighbour's connection still stands"
    );
    assert_bounded(&mesh, rest);
}

#[test]
fn headers_that_never_end_are_cut() {
    let app = Recorder::start();
    let mesh = Plan::new(app.addr).protocol("http").start();
    let rest = mesh.peak_memory();
    let mut connection = Http2::connect(mesh.addr);
    let mut first = h2::GET.to_vec();
    first.extend(h2::literal("x-a", "b"));
    let more = h2::literal("x-more", &"c".repeat(100)).repeat(100);
    connection
        .send(h2::HEADERS, h2::END_STREAM, 1, &first)
        .expect("a new connection");
    let limit = 256 * MIB / more.len() as u64;
    let sent = (0..limit)
        .take_while(|_| connection.send(h2::CONTINUATION, 0, 1, &more).is_ok())
        .count() as u64;
    assert!(
        sent < limit,
        "all of {} MiB was taken",
        limit * more.len() as u64 / MIB
    );
    assert_bounded(&mesh, rest);
    assert_eq!(mesh.get("/").status, 200, "others are served");
}

#[test]
fn more_headers_than_fit_are_refused() {
    let app = Recorder::start();
    let mesh = Plan::new(app.addr).protocol("http").start();
    let mut connection = Http2::connect(mesh.addr);
    // Frames of at most 16 KiB, in all some 40,000 headers.
    let part = h2::literal("x", "").repeat(4000);
    let mut frames = h2::frame(h2::HEADERS, h2::END_STREAM, 1, h2::GET);
    for _ in 0..9 {
        frames.extend(h2::frame(h2::CONTINUATION, 0, 1, &part));
    }
    frames.extend(h2::frame(h2::CONTINUATION, h2::END_HEADERS, 1, &part));
    let _ = connection.wire.try_send(frames);
    assert!(is_refused(&mut connection), "the proxy took it");
    assert_eq!(mesh.get("/good").status, 200);
    assert_eq!(
        app.heard().matches("GET /").count(),
        1,
        "{}",
        app.heard().len()
    );
}

#[test]
fn empty_frames_nobody_reads_cost_nothing() {
    let app = apps::go();
    let mesh = Plan::new(app.addr).protocol("http").start();
    let rest = mesh.peak_memory();
    let mut connection = Http2::connect(mesh.addr);
    let head = [&b"\x83\x86\x44\x0f/upload?gate=no"[..], b"\x01\x08app.test"].concat();
    connection
        .send(h2::HEADERS, h2::END_HEADERS, 1, &head)
        .expect("a new connection");
    wait::until("the upload waits", || app.count("waiting?gate=no") == 1);
    let burst = h2::frame(h2::DATA, 0, 1, &[]).repeat(10_000);
    // A proxy that has enough of it closes.
    for _ in 0..200 {
        if connection.wire.try_send(&burst).is_err() {
            break;
        }
    }
    assert_eq!(mesh.get("/echo").status, 200, "others are served");
    assert_bounded(&mesh, rest);
}

/// All of them travel on the one connection between the proxies: the limits that protect against
/// rapid resets must not take it for an attack.
#[test]
fn many_clients_may_cancel_at_once() {
    const CANCELLING: usize = 500;
    const STAYING: usize = 20;
    let app = apps::go();
    let roomy = "{bulkhead: {maxInFlight: 2000, maxInFlightPerRoute: 2000, maxInFlightPerCaller: 2000}, breaker: {enabled: false}}";
    let mesh = Plan::new(app.addr).protocol("http").policy(roomy).start();
    let hold = |gate: &str| {
        let mut wire = mesh.connect();
        wire.send(format!(
            "GET /hold?gate={gate} HTTP/1.1\r\nHost: app.test\r\n\r\n"
        ));
        wire
    };
    let mut staying: Vec<Wire> = (0..STAYING).map(|_| hold("stay")).collect();
    let cancelling: Vec<Wire> = (0..CANCELLING).map(|_| hold("cancel")).collect();
    let waiting = |gate: &str| app.count(&format!("waiting?gate={gate}"));
    wait::until("all are with the application", || {
        waiting("stay") == STAYING as u64 && waiting("cancel") == CANCELLING as u64
    });
    drop(cancelling);
    wait::until("the application knows that they left", || {
        app.count("left?gate=cancel") == CANCELLING as u64
    });
    let answered = thread::scope(|scope| {
        let others: Vec<_> = (0..STAYING)
            .map(|_| scope.spawn(|| mesh.get("/echo").status))
            .collect();
        app.control("open?gate=stay");
        let held = staying
            .iter_mut()
            .map(|wire| wire.response("GET").status)
            .collect::<Vec<_>>();
        let others = others
            .into_iter()
            .map(|other| other.join().expect("a client ends"));
        held.into_iter().chain(others).collect::<Vec<_>>()
    });
    assert_eq!(answered, vec![200; 2 * STAYING]);
}

/// One large entry of the table, and thousands of references to it that take a byte each.
#[test]
fn headers_that_unfold_to_more_than_fit_are_refused() {
    let app = Recorder::start();
    let mesh = Plan::new(app.addr).protocol("http").start();
    let rest = mesh.peak_memory();
    // `x`, entered into the table, with a value of 127 + 3873 bytes.
    let mut entry = vec![0x40, 1, b'x', 0x7f, 0xa1, 0x1e];
    entry.extend([b'a'; 4000]);
    let bomb = [h2::GET, &entry, &[0xbe; 10_000]].concat();
    for _ in 0..20 {
        let mut connection = Http2::connect(mesh.addr);
        for stream in [1, 3, 5, 7, 9] {
            let flags = h2::END_HEADERS | h2::END_STREAM;
            if connection.send(h2::HEADERS, flags, stream, &bomb).is_err() {
                break;
            }
        }
        assert!(is_refused(&mut connection), "the proxy took it");
    }
    assert_bounded(&mesh, rest);
    assert!(
        app.heard().is_empty(),
        "{} bytes went through",
        app.heard().len()
    );
    assert_eq!(mesh.get("/good").status, 200);
}

/// What would become another request if it were written as HTTP/1.
#[test]
fn heads_that_mean_something_else_in_http1_are_refused() {
    let app = Recorder::start();
    let mesh = Plan::new(app.addr).protocol("http").start();
    let path = |path: &str| [&b"\x82\x86\x04"[..], &text(path), b"\x01\x08app.test"].concat();
    let header = |name: &str, value: &str| [h2::GET, &h2::literal(name, value)].concat();
    let cases = [
        path("/a HTTP/1.1\r\nHost: b"),
        path("a"),
        path(""),
        header("X-Upper", "a"),
        header("x-a", "b\r\nx-c: d"),
        header("x-a", "b\0c"),
        header("x a", "b"),
        header("x:a", "b"),
        header("connection", "close"),
        header("transfer-encoding", "chunked"),
        header("te", "gzip"),
        header("host", "other.test"),
        header(":path", "/b"),
        header("content-length", "+1"),
    ];
    for head in cases {
        let mut connection = Http2::connect(mesh.addr);
        let flags = h2::END_HEADERS | h2::END_STREAM;
        connection
            .send(h2::HEADERS, flags, 1, &head)
            .expect("a new connection");
        let shown = String::from_utf8_lossy(&head).into_owned();
        assert!(is_refused(&mut connection), "the proxy took {shown:?}");
        assert!(app.heard().is_empty(), "{shown:?} went through");
    }
    assert_eq!(mesh.get("/good").status, 200);
}

/// A text as HPACK writes it.
fn text(text: &str) -> Vec<u8> {
    h2::literal("", text)[2..].to_vec()
}

/// Whether the first thing that happens to a stream is a reset, an end or anything but a 200,
/// which is an entry of HPACK's static table.
fn is_refused(connection: &mut Http2) -> bool {
    loop {
        match connection.next() {
            Err(_) => return true,
            Ok(frame) if matches!(frame.kind, h2::RST_STREAM | h2::GOAWAY) => return true,
            Ok(frame) if frame.kind == h2::HEADERS => return frame.payload.first() != Some(&0x88),
            Ok(_) => {}
        }
    }
}
