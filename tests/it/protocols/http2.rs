//! HTTP/2 with prior knowledge: curl, and nghttp2's client and server.

use crate::harness::{
    Mesh, Wire, apps,
    h2::{self, Http2},
    mesh::Plan,
    run,
    tools::command,
};

#[test]
fn curl_speaks_http2_with_prior_knowledge() {
    let app = apps::go();
    let mesh = Mesh::in_front_of(app.addr);
    let prior = "--http2-prior-knowledge";
    let got = run(&mut mesh.curl(&[prior, "-w", "%{http_version}"], "/echo?a=b"))
        .success()
        .text();
    assert!(got.starts_with("GET /echo?a=b HTTP/2.0\n"), "{got}");
    assert!(got.ends_with('2'), "{got}");
    let posted = run(&mut mesh.curl(&[prior, "-d", "a=1&b=2"], "/echo"))
        .success()
        .text();
    assert!(posted.ends_with("\n\na=1&b=2"), "{posted}");
}

#[test]
fn early_hints_come_before_the_answer() {
    let app = apps::go();
    let mesh = Mesh::in_front_of(app.addr);
    let mut curl = mesh.curl(&["--http2-prior-knowledge", "-i"], "/early-hints");
    let got = run(&mut curl).success().text().replace('\r', "");
    assert!(
        got.starts_with("HTTP/2 103 \nlink: </style.css>; rel=preload\n\nHTTP/2 200 \n"),
        "{got}"
    );
    assert!(got.ends_with("\n\nafter the hints\n"), "{got}");
    assert_eq!(got.matches("link:").count(), 1, "{got}");
}

#[test]
fn http1_and_http2_clients_share_a_service() {
    let app = apps::nginx("", &[("index.html", b"from nginx over HTTP/1\n")]);
    let mesh = Mesh::in_front_of(app.addr);
    assert_eq!(mesh.get("/").text(), "from nginx over HTTP/1\n");
    let mut curl = mesh.curl(&["--http1.1"], "/");
    assert_eq!(run(&mut curl).success().text(), "from nginx over HTTP/1\n");
}

#[test]
fn nghttp2_serves_many_streams_at_once() {
    let body = vec![b'x'; 10_000];
    let app = apps::nghttpd(&[("file", &body)]);
    let mesh = Plan::new(app.addr).protocol("http2").start();
    let mut h2load = command("h2load");
    h2load
        .args(["-n", "2000", "-c", "4", "-m", "25"])
        .arg(mesh.url("/file"));
    let told = run(&mut h2load).success().text();
    assert!(
        told.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"),
        "{told}"
    );
    assert!(told.contains("2000 2xx"), "{told}");
}

#[test]
fn http2_trailers_reach_the_client() {
    let app = apps::go();
    let mesh = Mesh::in_front_of(app.addr);
    let mut nghttp = command("nghttp");
    let told = run(nghttp
        .args(["-v", "-d", "/dev/null"])
        .arg(mesh.url("/trailers")))
    .success()
    .text();
    assert!(told.contains("x-origin: was here"), "{told}");
}

/// A server of HTTP/2 sends its settings at once; on a port named HTTP that is no sign of a
/// protocol in which servers speak first.
#[test]
fn a_client_may_be_slower_than_the_servers_settings() {
    let app = apps::nghttpd(&[("index.html", b"hello\n")]);
    let mesh = Plan::new(app.addr).protocol("http2").start();
    let slow = [mesh.addr, mesh.inbound].map(Wire::connect);
    let url = format!("http://{}/index.html", mesh.inbound);
    for _ in 0..5 {
        let mut curl = command("curl");
        curl.args(["-sS", "--max-time", "25", "--http2-prior-knowledge", &url]);
        assert_eq!(run(&mut curl).success().text(), "hello\n");
    }
    for wire in slow {
        let mut client = Http2::over(wire);
        client
            .send(h2::HEADERS, h2::END_HEADERS | h2::END_STREAM, 1, h2::GET)
            .expect("the connection stands");
        client.next_of(h2::HEADERS).expect("an answer");
    }
}
