//! Who may call what, enforced by the proxy of the workload that is called.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::harness::{Mesh, Wire, apps, free_addr, mesh::Plan, run, tools::command, wait};

/// The client's account may GET below /echo; nobody may do anything else.
const CLIENT_READS: &str = "{policies: [{name: it/reads, rules: [{from: [{serviceAccounts: [it/client]}], \
     to: [{methods: [GET], paths: [{prefix: /echo}]}]}]}]}";

fn reason(answer: &crate::harness::Response) -> (u16, Option<String>) {
    (answer.status, answer.header("outrigger-reason"))
}

fn denied() -> (u16, Option<String>) {
    (403, Some("access-denied".into()))
}

#[test]
fn a_request_passes_by_caller_method_and_path() {
    let app = apps::go();
    let mesh = Plan::new(app.addr).access(CLIENT_READS).start();
    let before = app.count("requests");
    let mut client = mesh.connect();
    assert_eq!(reason(&client.get("/echo")), (200, None));
    // The application has nothing there, and says so itself.
    let below = client.get("/echo/a%2Fb?q=/../x");
    assert_eq!(reason(&below), (404, None));
    let passed = app.count("requests");
    assert_eq!(passed, before + 2);

    client.send("POST /echo HTTP/1.1\r\nHost: app.test\r\nContent-Length: 0\r\n\r\n");
    let answer = client.response("POST");
    assert_eq!(reason(&answer), denied());
    let caller = "spiffe://mesh.test/ns/it/sa/client may not do this";
    assert!(answer.text().contains(caller), "{}", answer.text());
    for path in [
        "/",
        "/echoes",
        "//echo",
        "/echo/../secret",
        "/echo/..;/secret",
        "/echo/%2e%2e/secret",
        "/echo/%252e%252e/secret",
        "/echo/..%5csecret",
        "/echo%2f..%2fsecret",
        "/echo/%c0%ae%c0%ae/secret",
        "/secret/../echo",
    ] {
        assert_eq!(reason(&mesh.get(path)), denied(), "{path}");
    }
    // By HTTP/2 with prior knowledge, through both proxies.
    let by_h2 = |path: &str| {
        let args = [
            "--http2-prior-knowledge",
            "--path-as-is",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
        ];
        run(&mut mesh.curl(&args, path)).success().text()
    };
    assert_eq!(by_h2("/echo"), "200");
    assert_eq!(by_h2("/echo/../secret"), "403");
    assert_eq!(app.count("requests"), passed + 1, "nothing refused arrived");
    wait::until("the log names the policy", || {
        let log = mesh.server.process.log();
        log.contains("access denied") && log.contains("it/reads")
    });
}

#[test]
fn plaintext_is_nobody_in_particular() {
    let app = apps::go();
    let open = "{otherwise: deny, policies: [{name: it/open, rules: [{from: [{unauthenticated: true}], \
         to: [{paths: [{exact: /echo}]}]}]}]}";
    let mesh = Plan::new(app.addr).access(open).start();
    let plaintext = |path: &str| reason(&Wire::connect(mesh.inbound).get(path));
    assert_eq!(plaintext("/echo"), (200, None));
    assert_eq!(plaintext("/echo/x"), denied());
    assert_eq!(
        reason(&mesh.get("/echo")),
        denied(),
        "a caller with an identity is another"
    );
}

#[test]
fn a_grpc_call_is_refused_in_grpcs_own_words() {
    let app = apps::grpc_interop();
    let access = "{policies: [{name: it/calls, rules: [{from: [{namespaces: [it]}], \
         to: [{paths: [{exact: /grpc.testing.TestService/EmptyCall}]}]}]}]}";
    let mesh = Plan::new(app.addr).protocol("http2").access(access).start();
    let call = |case: &str| {
        let mut client = command("grpc-interop-client");
        client
            .arg("--server_host=127.0.0.1")
            .arg(format!("--server_port={}", mesh.addr.port()))
            .arg(format!("--test_case={case}"));
        run(&mut client)
    };
    assert_eq!(call("empty_unary").code(), Some(0));
    let refused = call("large_unary");
    assert_ne!(refused.code(), Some(0));
    let said = refused.to_string();
    assert!(
        said.contains("PermissionDenied") && said.contains("access-denied"),
        "{said}"
    );
}

/// Greets every connection, then echoes; counts the connections.
fn greeter() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(free_addr()).expect("a free port");
    let addr = listener.local_addr().expect("a bound listener has one");
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    // Ends with the process: nothing waits for it.
    thread::spawn(move || {
        for connection in listener.incoming() {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut connection = connection.expect("connections come");
            thread::spawn(move || {
                let mut chunk = [0; 1024];
                let mut send = connection.write_all(b"220 hello\r\n");
                while send.is_ok() {
                    send = match connection.read(&mut chunk) {
                        Ok(n) if n > 0 => connection.write_all(&chunk[..n]),
                        _ => return,
                    };
                }
            });
        }
    });
    (addr, count)
}

/// Whether nothing comes but the end.
fn is_cut(client: &mut Wire) -> bool {
    match client.try_take_all() {
        Ok(read) => read.is_empty(),
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

fn speaks(client: &mut Wire) {
    assert_eq!(client.take_until("\r\n"), "220 hello\r\n");
    client.send("ping\r\n");
    assert_eq!(client.take_until("\r\n"), "ping\r\n");
}

#[test]
fn opaque_bytes_pass_by_caller_alone() {
    let (app, count) = greeter();
    let access =
        "{policies: [{name: it/bytes, rules: [{from: [{serviceAccounts: [it/client]}]}]}]}";
    let mesh = Plan::new(app).protocol("tcp").access(access).start();
    speaks(&mut mesh.connect());
    let before = count.load(Ordering::SeqCst);

    let mut plaintext = Wire::connect(mesh.inbound);
    plaintext.send("EHLO x\r\n");
    assert!(is_cut(&mut plaintext));
    assert_eq!(
        count.load(Ordering::SeqCst),
        before,
        "the application saw nothing of it"
    );
    let refused =
        "outrigger_connections_refused_total{direction=\"inbound\",reason=\"access-denied\"} 1";
    wait::until("it is counted", || {
        metrics(&mesh).lines().any(|line| line == refused)
    });
}

#[test]
fn a_rule_that_asks_for_http_lets_no_bytes_pass() {
    let (app, count) = greeter();
    let access = "{policies: [{name: it/http, rules: [{from: [{anyone: true}], to: [{paths: [{prefix: /a}]}]}]}]}";
    let mesh = Plan::new(app).protocol("tcp").access(access).start();
    for mut client in [mesh.connect(), Wire::connect(mesh.inbound)] {
        client.send("EHLO x\r\n");
        assert!(is_cut(&mut client));
    }
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[test]
fn an_audit_lets_everything_pass_and_says_so() {
    let app = apps::go();
    let audit = CLIENT_READS.replace("name: it/reads,", "name: it/reads, mode: audit,");
    let mesh = Plan::new(app.addr).access(&audit).start();
    assert_eq!(reason(&mesh.get("/echo")), (200, None));
    assert_ne!(mesh.get("/other").status, 403);
    let audited = |n: u8| {
        let line = format!(
            "outrigger_requests_audited_total{{direction=\"inbound\",service=\"local\",route=\"default\",protocol=\"http2\"}} {n}"
        );
        metrics(&mesh).lines().any(|l| l == line)
    };
    wait::until("it is counted", || audited(1));
    wait::until("it is logged", || {
        mesh.server.process.log().contains("access would be denied")
    });
}

#[test]
fn a_change_holds_for_open_connections() {
    let (app, _) = greeter();
    let bytes = "{policies: [{name: it/p, rules: [{from: [{serviceAccounts: [it/client]}]}]}]}";
    let mesh = Plan::new(app).protocol("tcp").access(bytes).start();
    let mut open = mesh.connect();
    speaks(&mut open);

    let web = apps::go();
    let http = Plan::new(web.addr).access(CLIENT_READS).start();
    let mut kept = http.connect();
    assert_eq!(reason(&kept.get("/echo")), (200, None));

    for mesh in [&mesh, &http] {
        mesh.edit_registry("it/client", "it/somebody-else");
    }
    assert!(is_cut(&mut open));
    wait::until("the kept connection is refused", || {
        reason(&kept.get("/echo")) == denied()
    });
}

#[test]
fn plaintext_that_was_let_in_ends_when_the_workload_gets_strict() {
    let strict = |mesh: &Mesh| {
        mesh.edit_registry(
            "serviceAccount: server, token",
            "serviceAccount: server, mtls: strict, token",
        );
    };
    let (app, _) = greeter();
    let bytes = Plan::new(app).protocol("tcp").start();
    let mut open = Wire::connect(bytes.inbound);
    speaks(&mut open);
    let mut of_the_mesh = bytes.connect();
    speaks(&mut of_the_mesh);
    strict(&bytes);
    assert!(is_cut(&mut open));
    of_the_mesh.send("ping\r\n");
    assert_eq!(of_the_mesh.take_until("\r\n"), "ping\r\n");

    let web = apps::go();
    let http = Plan::new(web.addr).start();
    let mut kept = Wire::connect(http.inbound);
    assert_eq!(reason(&kept.get("/echo")), (200, None));
    strict(&http);
    let refused = (403, Some("plaintext-refused".into()));
    wait::until("the kept connection is refused", || {
        reason(&kept.get("/echo")) == refused
    });
}

#[test]
fn an_upgraded_connection_ends_when_its_request_is_no_longer_allowed() {
    let app = apps::python_app("websocket_server.py");
    let access = CLIENT_READS.replace("prefix: /echo", "prefix: /chat");
    let mesh = Plan::new(app.addr).protocol("http").access(&access).start();
    let mut wire = mesh.connect();
    wire.send(
        "GET /chat HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let head = wire.take_until("\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    mesh.edit_registry("prefix: /chat", "prefix: /other");
    assert!(is_cut(&mut wire));
}

fn metrics(mesh: &Mesh) -> String {
    mesh.server
        .admin("/metrics")
        .map(|page| page.text())
        .unwrap_or_default()
}
