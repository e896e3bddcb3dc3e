//! Upgrades and tunnels: nothing goes ahead of the answer, and what was not switched stays HTTP.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use crate::harness::{apps, mesh::Plan, recorder::Recorder, wait};

const UPGRADE: &str =
    "GET /up HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

const SWITCHED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Answers its one connection with 101 when it is told to, and keeps every byte.
struct Switching {
    addr: SocketAddr,
    heard: Arc<Mutex<Vec<u8>>>,
    go: Sender<()>,
}

impl Switching {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("a bound listener has one");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (go, told) = channel();
        let kept = heard.clone();
        // Ends with the process: it holds nothing that anyone waits for.
        thread::spawn(move || switch(&listener, &kept, &told));
        Self { addr, heard, go }
    }

    fn heard(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().expect("no writer panics")).into_owned()
    }
}

fn switch(listener: &TcpListener, heard: &Mutex<Vec<u8>>, told: &Receiver<()>) {
    let mut chunk = [0; 4096];
    let keep = |bytes: &[u8]| {
        let mut heard = heard.lock().expect("no reader panics");
        heard.extend_from_slice(bytes);
    };
    // A connection over which nothing comes is not the one.
    let (mut stream, n) = listener
        .incoming()
        .flatten()
        .find_map(|mut stream| Some((stream.try_clone().ok()?, stream.read(&mut chunk).ok()?)))
        .expect("the proxy connects");
    keep(&chunk[..n]);
    let mut writer = stream.try_clone().expect("a socket can be opened twice");
    thread::scope(|scope| {
        scope.spawn(|| {
            while let Ok(n @ 1..) = stream.read(&mut chunk) {
                keep(&chunk[..n]);
            }
        });
        // Otherwise the test has ended before it said anything.
        if told.recv().is_ok() {
            let _ = writer.write_all(SWITCHED);
        }
    });
}

#[test]
fn bytes_wait_for_the_101() {
    let app = Switching::start();
    let mesh = Plan::new(app.addr).protocol("http").start();
    let mut wire = mesh.connect();
    wire.send(UPGRADE);
    wire.send("EARLY");
    wait::until("the application has the head", || {
        let heard = app.heard();
        assert!(!heard.contains("EARLY"), "{heard}");
        heard.ends_with("\r\n\r\n")
    });
    // The proxies have answered others since: they had every occasion to pass the bytes on.
    for _ in 0..50 {
        assert!(mesh.client.metrics().contains("outrigger_build_info"));
        assert!(mesh.server.metrics().contains("outrigger_build_info"));
    }
    assert!(!app.heard().contains("EARLY"), "{}", app.heard());
    app.go.send(()).expect("the application waits");
    assert_eq!(wire.response("GET").status, 101);
    wait::until("the bytes follow the answer", || {
        app.heard().ends_with("EARLY")
    });
}

/// The body is the request's and nobody's next request, whatever the header `Upgrade` suggests.
#[test]
fn an_upgrade_with_a_body_is_one_request() {
    let app = apps::go();
    let mesh = Plan::new(app.addr).protocol("http").start();
    let inner = "GET /status?code=201 HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let mut wire = mesh.connect();
    wire.send(format!(
        "POST /echo HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Content-Length: {}\r\n\r\n{inner}",
        inner.len()
    ));
    let answer = wire.response("POST");
    assert!([200, 400].contains(&answer.status), "{answer:?}");
    if answer.status == 200 {
        assert!(answer.text().ends_with(inner), "{answer:?}");
    }
    assert!(app.count("requests") <= 1);
}

/// A tunnel through a sidecar leads nowhere: what follows the head is not sent on as requests.
#[test]
fn connect_opens_no_tunnel_to_smuggle_through() {
    let app = Recorder::start();
    let mesh = Plan::new(app.addr).protocol("http").start();
    let head = "CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\n\r\n";
    for entrance in [mesh.addr, mesh.inbound] {
        let mut wire = crate::harness::Wire::connect(entrance);
        let _ = wire.try_send(format!(
            "{head}GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"
        ));
        let said = String::from_utf8_lossy(&wire.take_all()).into_owned();
        assert!(said.matches("HTTP/1.1 ").count() <= 1, "{said}");
    }
    assert!(!app.heard().contains("smuggled"), "{}", app.heard());
    assert_eq!(mesh.get("/good").status, 200);
}
