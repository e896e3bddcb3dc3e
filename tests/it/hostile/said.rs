//! What clients say and others read: it ends no line of a log, drives no terminal, and makes no
//! series of a metric.

use crate::harness::{Mesh, Wire, h2, h2::Http2, mesh::Plan, recorder::Recorder};

/// ESC, a line's end and a byte that is no text, where each may stand raw or encoded.
const PATH: &str = "/\u{1b}[2J";

fn with_access_log(app: &Recorder) -> Mesh {
    Plan::new(app.addr)
        .protocol("http")
        .args(["--access-log", "-", "--log", "debug"])
        .start()
}

/// A ClientHello of the application's own TLS with a server name of `name`.
fn client_hello(name: &[u8]) -> Vec<u8> {
    let len = |n: usize| u16::try_from(n).expect("a short name").to_be_bytes();
    let entry = [&[0][..], &len(name.len()), name].concat();
    let list = [&len(entry.len())[..], &entry].concat();
    let sni = [&[0, 0][..], &len(list.len()), &list].concat();
    let hello = [
        &[3, 3][..],
        &[7; 32],
        &[0],
        &[0, 2, 0x13, 1],
        &[1, 0],
        &len(sni.len()),
        &sni,
    ]
    .concat();
    let message = [&[1, 0][..], &len(hello.len()), &hello].concat();
    [&[22, 3, 1][..], &len(message.len()), &message].concat()
}

/// Every way in for a text of the client's: path, query, host, header, method, SNI.
fn say_everything(mesh: &Mesh) {
    for entrance in [mesh.addr, mesh.inbound] {
        let heads: [&[u8]; 6] = [
            b"GET /\x1b[2J HTTP/1.1\r\nHost: a.test\r\n\r\n",
            b"GET /%1b%0d%0aforged?\x9b31m HTTP/1.1\r\nHost: a.test\r\n\r\n",
            b"GET /a HTTP/1.1\r\nHost: a\x1b[31m.test\r\n\r\n",
            b"GET /a HTTP/1.1\r\nHost: a.test\r\nUser-Agent: \x1b[31m\x9b\xff\r\ntraceparent: \x1b\r\n\r\n",
            b"G\x1bT /a HTTP/1.1\r\nHost: a.test\r\n\r\n",
            b"GET /\xe2\x80\xae\xc2\x85 HTTP/1.1\r\nHost: a.test\r\n\r\n",
        ];
        for head in heads {
            let mut wire = Wire::connect(entrance);
            let _ = wire.try_send(head);
            let _ = wire.try_response("GET");
        }
        let mut wire = Wire::connect(entrance);
        let _ = wire.try_send(client_hello(b"a\x1b[31m\r\nforged.test"));
        wire.finish();
        let _ = wire.try_take_all();
    }
    let mut wire = Http2::connect(mesh.addr);
    let head = [h2::GET, &h2::literal("user-agent", "\u{1b}[2J")].concat();
    let _ = wire.send(h2::HEADERS, h2::END_HEADERS | h2::END_STREAM, 1, &head);
    let _ = wire.next_of(h2::HEADERS);
}

#[test]
fn logs_hold_no_control_characters_of_a_clients() {
    let app = Recorder::start();
    let mesh = with_access_log(&app);
    say_everything(&mesh);
    assert_eq!(mesh.get("/last").status, 200);
    for (name, proxy) in [("client", &mesh.client), ("server", &mesh.server)] {
        crate::harness::wait::until("the last line is written", || {
            proxy.process.log().contains("/last")
        });
        let log = proxy.process.log();
        let raw = |c: char| c.is_control() && c != '\n' || ('\u{202a}'..='\u{202e}').contains(&c);
        let bad = log.lines().find(|line| line.contains(raw));
        assert_eq!(bad, None, "the {name}'s log");
        assert!(!log.lines().any(|line| line.starts_with("forged")), "{log}");
        assert!(!log.contains(PATH));
    }
}

/// How many series a page of metrics has.
fn series(page: &str) -> usize {
    page.lines().filter(|line| !line.starts_with('#')).count()
}

/// As many as the label sets of a family may be, twice over: were one of them a label, each
/// would be a series.
const DISTINCT: usize = 4000;

#[test]
fn distinct_hosts_and_paths_make_no_series() {
    let app = Recorder::start();
    let mesh = Plan::new(app.addr).protocol("http").start();
    // Warm: every series that a request and a refusal make is there.
    let mut wire = mesh.connect();
    let ask = |wire: &mut Wire, n: usize| {
        wire.send(format!(
            "GET /p{n}?q{n} HTTP/1.1\r\nHost: h{n}.test\r\nUser-Agent: u{n}\r\nX-{n}: {n}\r\n\r\n"
        ));
        assert_eq!(wire.response("GET").status, 200);
    };
    ask(&mut wire, 0);
    let before = [&mesh.client, &mesh.server].map(|proxy| series(&proxy.metrics()));
    for n in 1..=DISTINCT {
        ask(&mut wire, n);
    }
    let after = [&mesh.client, &mesh.server].map(|proxy| series(&proxy.metrics()));
    for ((name, before), after) in ["client", "server"].iter().zip(before).zip(after) {
        // What the sampling of the proxy's own state adds once, not what requests add.
        assert!(
            after <= before + 4,
            "{name}: {before} series became {after}"
        );
    }
    for proxy in [&mesh.client, &mesh.server] {
        let page = proxy.metrics();
        let told = page
            .lines()
            .find(|l| l.contains("h77.test") || l.contains("/p77"));
        assert_eq!(told, None);
    }
}
