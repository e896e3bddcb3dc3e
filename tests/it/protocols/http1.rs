//! HTTP/1.1 as curl, nginx, Go and Python speak it.

use crate::harness::{
    Mesh, apps, run,
    wire::{Response, Wire},
};

/// What the Go origin's `/echo` says it got.
fn echoed(wire: &mut Wire, request: &str) -> String {
    wire.send(request);
    wire.response("GET").text()
}

/// The response after any provisional ones.
fn final_response(wire: &mut Wire) -> Response {
    loop {
        let answer = wire.response("GET");
        if answer.status >= 200 {
            return answer;
        }
    }
}

#[test]
fn keep_alive_carries_many_requests_on_one_connection() {
    let app = apps::nginx("", &[("index.html", b"hello from nginx\n")]);
    let mesh = Mesh::in_front_of(app.addr);
    let mut curl = mesh.curl(&["-w", "%{num_connects} %{http_version}\n"], "/");
    for _ in 0..4 {
        curl.arg(mesh.url("/"));
    }
    let got = run(&mut curl).success().text();
    let expected = "hello from nginx\n1 1.1\n".to_owned() + &"hello from nginx\n0 1.1\n".repeat(4);
    assert_eq!(got, expected);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let app = apps::go();
    let mesh = Mesh::in_front_of(app.addr);
    let mut wire = mesh.connect();
    let request = |n| format!("GET /echo?n={n} HTTP/1.1\r\nHost: app.test\r\n\r\n");
    wire.send((0..50).map(request).collect::<String>());
    for n in 0..50 {
        let text = wire.response("GET").text();
        assert!(
            text.starts_with(&format!("GET /echo?n={n} HTTP/")),
            "{n}: {text}"
        );
    }
}

#[test]
fn chunked_bodies_keep_their_bytes() {
    let app = apps::go();
    let mesh = Mesh::in_front_of(app.addr);
    let mut wire = mesh.connect();
    wire.send("POST /echo HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    wire.send("5\r\nhello\r\n1\r\n \r\n5;ext=1\r\nworld\r\n0\r\n\r\n");
    let answer = wire.response("POST");
    assert!(answer.text().ends_with("\n\nhello world"), "{answer:?}");
    assert_eq!(
        wire.get("/echo").status,
        200,
        "the connection can be used again"
    );
}

/// Some clients drop the body of a GET whose length nobody says.
#[test]
fn a_get_in_chunks_keeps_its_body() {
    let app = apps::go();
    let mesh = Mesh::in_front_of(app.addr);
    let mut wire = mesh.connect();
    wire.send("GET /echo HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    wire.send("5\r\nhello\r\n0\r\n\r\n");
    let answer = wire.response("GET");
    assert!(answer.text().ends_with("\n\nhello"), "{answer:?}");
    assert_eq!(wire.get("/echo").status, 200);
}

#[test]
fn trailers_pass_in_both_directions() {
    let app = apps::go();
    let mesh = Mesh::in_front_of(app.addr);
    let mut wire = mesh.connect();
    wire.send("POST /trailers HTTP/1.1\r\nHost: app.test\r\nTE: trailers\r\nTrailer: X-Sum\r\n");
    wire.send("Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 42\r\n\r\n");
    let answer = wire.response("POST");
    assert_eq!(answer.text(), "body");
    let lower = |(name, value): &(String, String)| (name.to_lowercase(), value.clone());
    let mut trailers: Vec<_> = answer.trailers.iter().map(lower).collect();
    trailers.sort();
    let expected =
        [("x-origin", "was here"), ("x-sum", "42")].map(|(n, v)| (n.to_owned(), v.to_owned()));
    assert_eq!(trailers, expected, "{answer:?}");
}

/// The proxy asks for the body itself, as HTTP/2 between the proxies has no word for it; what
/// the application answers without reading the body still reaches the client.
#[test]
fn expect_continue_is_answered() {
    let app = apps::go();
    let mesh = Mesh::in_front_of(app.addr);
    let mut wire = mesh.connect();
    let head = |path| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: app.test\r\nContent-Length: 4\r\n\
             Expect: 100-continue\r\n\r\n"
        )
    };
    wire.send(head("/echo"));
    assert_eq!(wire.response("POST").status, 100, "no body was sent yet");
    wire.send("body");
    assert!(wire.response("POST").text().ends_with("\n\nbody"));

    let mut wire = mesh.connect();
    wire.send(head("/refuse"));
    assert_eq!(
        final_response(&mut wire).status,
        417,
        "before the application has the body"
    );
}

#[test]
fn early_hints_come_before_the_answer() {
    let app = apps::go();
    let mesh = Mesh::in_front_of(app.addr);
    let mut wire = mesh.connect();
    wire.send("GET /early-hints HTTP/1.1\r\nHost: app.test\r\n\r\n");
    let hints = wire.response("GET");
    assert_eq!(hints.status, 103);
    let link = hints.header("link");
    assert_eq!(link.as_deref(), Some("</style.css>; rel=preload"));
    let answer = wire.response("GET");
    assert_eq!((answer.status, &*answer.text()), (200, "after the hints\n"));
    assert_eq!(
        answer.header("link"),
        None,
        "hints are not the answer's headers"
    );
}

#[test]
fn head_tells_the_length_and_sends_no_body() {
    let app = apps::nginx("", &[("index.html", b"0123456789")]);
    let mesh = Mesh::in_front_of(app.addr);
    let mut wire = mesh.connect();
    wire.send("HEAD / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    let answer = wire.response("HEAD");
    assert_eq!(
        (answer.status, answer.header("content-length").as_deref()),
        (200, Some("10"))
    );
    assert_eq!(
        wire.get("/").text(),
        "0123456789",
        "nothing but the next answer follows"
    );
}

#[test]
fn answers_without_a_body_end_at_their_head() {
    let app = apps::go();
    let mesh = Mesh::in_front_of(app.addr);
    let mut wire = mesh.connect();
    for code in [204, 304] {
        let answer = wire.get(&format!("/status?code={code}"));
        assert_eq!(
            (answer.status, answer.header("transfer-encoding")),
            (code, None),
            "{answer:?}"
        );
    }
    assert_eq!(wire.get("/echo").status, 200);
}

#[test]
fn http_1_0_clients_get_an_answer_they_can_read() {
    let app = apps::go();
    let mesh = Mesh::in_front_of(app.addr);
    let got = run(&mut mesh.curl(&["--http1.0"], "/download?n=100000")).success();
    assert_eq!(got.stdout.len(), 100_000);

    let mut wire = mesh.connect();
    wire.send("GET /download?n=70000 HTTP/1.0\r\n\r\n");
    let answer = wire.response("GET");
    assert_eq!((answer.status, answer.body.len()), (200, 70_000));
    assert_eq!(
        answer.header("transfer-encoding"),
        None,
        "HTTP/1.0 knows no chunks"
    );
    assert!(wire.take_all().is_empty(), "closed at the end of the body");
}

#[test]
fn http_1_0_keep_alive_is_kept() {
    let app = apps::nginx("", &[("index.html", b"hello\n")]);
    let mesh = Mesh::in_front_of(app.addr);
    let mut wire = mesh.connect();
    for _ in 0..3 {
        wire.send("GET / HTTP/1.0\r\nHost: app.test\r\nConnection: keep-alive\r\n\r\n");
        let answer: Response = wire.response("GET");
        assert_eq!(answer.text(), "hello\n");
        assert_eq!(
            answer
                .header("connection")
                .map(|c| c.to_lowercase())
                .as_deref(),
            Some("keep-alive")
        );
    }
}

/// Header names travel in lower case between the proxies, as HTTP/2 wants it; an HTTP/1.0 client
/// takes the way that keeps them. Values and the order of same-named headers always survive.
#[test]
fn header_values_and_their_order_survive() {
    let app = apps::python_app("head_echo.py");
    let mesh = Mesh::in_front_of(app.addr);
    let request = "GET /p?q=%2F;a HTTP/1.1\r\nhOST: app.test\r\nX-b: 2\r\nX-A: one\r\nx-a:  two\t\r\nX-A: caf\u{e9}\r\n\r\n";
    let mut wire = mesh.connect();
    wire.send(request.chars().map(|c| c as u8).collect::<Vec<_>>());
    let answer = wire.response("GET");
    let text: String = answer.body.iter().map(|b| *b as char).collect();
    assert!(text.starts_with("GET /p?q=%2F;a HTTP/1.1\n"), "{text}");
    let of_a: Vec<_> = text
        .lines()
        .filter(|line| line.to_lowercase().starts_with("x-a:"))
        .map(|l| &l[5..])
        .collect();
    assert_eq!(of_a, ["one", "two", "caf\u{e9}"], "{text}");
    assert_eq!(answer.header("x-odd-case").as_deref(), Some("kept"));
}

#[test]
fn an_http_1_0_clients_headers_keep_their_case() {
    let app = apps::python_app("head_echo.py");
    let mesh = Mesh::in_front_of(app.addr);
    let mut wire = mesh.connect();
    wire.send("GET /p HTTP/1.0\r\nhOST: app.test\r\nX-mIxEd: one\r\n\r\n");
    let answer = wire.response("GET");
    assert!(answer.text().contains("\nX-mIxEd: one\n"), "{answer:?}");
    assert!(
        answer
            .head
            .contains("\r\nX-oDd-CaSe: kept\r\nx-lower: kept\r\n"),
        "{answer:?}"
    );
}

#[test]
fn hop_by_hop_headers_end_at_the_hop() {
    let app = apps::go();
    let mesh = Mesh::in_front_of(app.addr);
    let text = echoed(
        &mut mesh.connect(),
        "GET /echo HTTP/1.1\r\nHost: app.test\r\nConnection: X-Mine, keep-alive\r\nX-Mine: secret\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\nX-Theirs: seen\r\n\r\n",
    )
    .to_lowercase();
    assert!(text.contains("x-theirs: seen"), "{text}");
    for gone in ["x-mine", "keep-alive", "proxy-connection", "te: gzip"] {
        assert!(!text.contains(gone), "{gone} went through: {text}");
    }
    let answer = mesh.get("/hop-by-hop");
    assert_eq!(answer.header("x-end").as_deref(), Some("for the client"));
    assert_eq!(
        (answer.header("x-hop"), answer.header("keep-alive")),
        (None, None),
        "{answer:?}"
    );
}

#[test]
fn an_offer_to_upgrade_to_h2c_is_not_passed_on() {
    let app = apps::go();
    let mesh = Mesh::in_front_of(app.addr);
    let text = echoed(
        &mut mesh.connect(),
        "GET /echo HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade, HTTP2-Settings\r\n\
         Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    )
    .to_lowercase();
    assert!(text.starts_with("get /echo"), "{text}");
    for gone in ["upgrade", "http2-settings", "h2c"] {
        assert!(!text.contains(gone), "{gone} went through: {text}");
    }
}
