//! Targets and headers that decisions hang on: forwarded as the very bytes that were judged, and
//! believed from nobody who cannot prove them.

use std::{fs::File, io::Write};

use tempfile::{tempdir, tempfile};

use crate::harness::{Wire, apps, forge::Forgery, mesh::Plan, recorder::Recorder, run};

/// Nobody tidies a path up on the way: what a policy saw is what the application gets.
#[test]
fn a_path_is_forwarded_byte_for_byte() {
    let app = Recorder::start();
    let mesh = Plan::new(app.addr).protocol("http").start();
    let paths = [
        "//evil.test/a",
        "/a/../b",
        "/a/%2e%2e/b",
        "/a/..%2fb",
        "/a%2Fb%2fc",
        "/a//b/./c",
        "/a;p=1/../b;q",
        "/%00",
        "/%0d%0aX:%20y",
        "/a%c0%af",
        "/a?x=//../&y=%2F",
        "/a?x=http://b.test/@",
        "/~a!$&'()*+,=:@",
    ];
    for entrance in [mesh.addr, mesh.inbound] {
        for path in paths {
            let before = app.heard().len();
            let mut wire = Wire::connect(entrance);
            assert_eq!(wire.get(path).status, 200, "{path}");
            let heard = app.heard().split_off(before);
            let line = heard.lines().next().unwrap_or_default();
            assert_eq!(line, format!("GET {path} HTTP/1.1"));
        }
    }
    // An absolute target is brought to the one form that an origin expects.
    let before = app.heard().len();
    let mut wire = mesh.connect();
    wire.send("GET http://a.test/x?y HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(wire.response("GET").status, 200);
    assert!(app.heard()[before..].starts_with("GET /x?y HTTP/1.1\r\n"));
}

/// The application may believe `outrigger-client-id`: whatever a client writes there is gone.
#[test]
fn a_callers_name_is_the_certificates_alone() {
    let app = apps::go();
    let mesh = Plan::new(app.addr).protocol("http").start();
    let forged: [&[u8]; 6] = [
        b"Outrigger_Client_Id: spiffe://mesh.test/ns/it/sa/root\r\n",
        b"outrigger-client-id: spiffe://mesh.test/ns/it/sa/root\r\n",
        b"Outrigger-Client-Id: a\r\noutrigger-client-id: b\r\n",
        b"outrigger-client-id: \xff\xfe\r\n",
        b"outrigger-client-id:\r\n",
        b"Connection: outrigger-client-id\r\noutrigger-client-id: a\r\n",
    ];
    for (entrance, names) in [
        (mesh.addr, &["spiffe://mesh.test/ns/it/sa/client"][..]),
        (mesh.inbound, &[]),
    ] {
        for lines in forged {
            let mut wire = Wire::connect(entrance);
            wire.send([b"GET /echo HTTP/1.1\r\nHost: a.test\r\n", lines, b"\r\n"].concat());
            let text = wire.response("GET").text().to_lowercase();
            let named: Vec<String> = text
                .lines()
                .filter_map(|line| {
                    line.replace('_', "-")
                        .strip_prefix("outrigger-client-id: ")
                        .map(str::to_owned)
                })
                .collect();
            assert_eq!(named, names, "{}", String::from_utf8_lossy(lines));
        }
    }
}

const FORGED: &str = "outrigger-client-id: spiffe://mesh.test/ns/it/sa/root";

/// A port that nobody named carries bytes as they are: a request must not be taken for such bytes
/// because of how it begins.
#[test]
fn a_forged_name_is_not_hidden_by_how_a_request_begins() {
    let app = apps::go();
    let mesh = Plan::new(app.addr).start();
    let empty_lines = "\r\n".repeat(5);
    let long = "M".repeat(64);
    for entrance in [mesh.addr, mesh.inbound] {
        for start in [&*format!("{empty_lines}GET"), &long] {
            let mut wire = Wire::connect(entrance);
            wire.send(format!(
                "{start} /echo HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n{FORGED}\r\n\r\n"
            ));
            let heard = String::from_utf8_lossy(&wire.take_all()).to_lowercase();
            assert!(heard.starts_with("http/1.1 "), "{start:?}: {heard}");
            assert!(!heard.contains("sa/root"), "{start:?}: {heard}");
        }
    }
}

/// Nor because a peer of the mesh says that it sends mere bytes.
#[test]
fn bytes_of_a_peer_at_an_http_port_are_http() {
    let app = apps::go();
    let mesh = Plan::new(app.addr).protocol("http").start();
    let dir = tempdir().expect("a place for files");
    let caller = "spiffe://mesh.test/ns/it/sa/client";
    let shown = Forgery::uri(caller).write(&mesh.ca_dir(), dir.path());
    let said = |bytes: &str| {
        let mut client = shown.client_of(mesh.inbound, "or-tcp");
        let heard = run(client.arg("-quiet").stdin(file_of(bytes)));
        heard.text().to_lowercase()
    };
    let request =
        format!("GET /echo HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n{FORGED}\r\n\r\n");
    let heard = said(&request);
    assert!(
        heard.contains(&format!("outrigger-client-id: {caller}")),
        "{heard}"
    );
    assert!(!heard.contains("sa/root"), "{heard}");
    assert_eq!(said("HELO a\r\n"), "");
    assert!(
        mesh.server
            .process
            .log()
            .contains("these bytes are not: no policy")
    );
}

fn file_of(bytes: &str) -> File {
    use std::io::Seek;
    let mut file = tempfile().expect("a place for files");
    file.write_all(bytes.as_bytes()).expect("it is ours");
    file.rewind().expect("it is ours");
    file
}
