use std::{
    net::SocketAddr,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;
use crate::telemetry::port::{MAX_CONNECTIONS, MAX_HEADER_BYTES};

const TOKEN: &str = "0123456789abcdef";

struct Port {
    addr: SocketAddr,
    readiness: Readiness,
    drains: Arc<AtomicUsize>,
    displaced: Arc<Counter>,
}

async fn port(token_file: Option<&Path>) -> Port {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let readiness = Readiness::default();
    let drains = Arc::new(AtomicUsize::new(0));
    let drained = drains.clone();
    let admin = Admin {
        metrics: {
            let metrics = Metrics::new();
            Box::new(move || metrics.encode())
        },
        readiness: readiness.clone(),
        log_level: LogLevel::for_tests(),
        config: Box::new(|| serde_json::json!({ "routes": ["shop/cart"] })),
        taps: Taps::default(),
        drain: Box::new(move || {
            drained.fetch_add(1, Ordering::SeqCst);
        }),
        token_file: token_file.map(Path::to_owned),
        displaced: Arc::default(),
    };
    let displaced = admin.displaced.clone();
    tokio::spawn(admin.serve(listener));
    Port {
        addr,
        readiness,
        drains,
        displaced,
    }
}

fn token_file() -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, format!("{TOKEN}\n").as_bytes()).unwrap();
    file
}

impl Port {
    /// The status, and the whole response as it came.
    async fn send(&self, request: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        let status = response.split(' ').nth(1).expect("a status line");
        (status.parse().unwrap(), response)
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.send(&format!(
            "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
        ))
        .await
    }

    async fn post(&self, path: &str, authorization: &str, body: &str) -> (u16, String) {
        let length = body.len();
        self.send(&format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{authorization}content-length: {length}\r\n\r\n{body}"
        ))
        .await
    }
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

#[tokio::test]
async fn shows_health_metrics_and_configuration() {
    let port = port(None).await;
    assert_eq!(port.get("/live").await.0, 200);
    let (status, page) = port.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(
        page.contains("content-type: application/openmetrics-text"),
        "{page}"
    );
    assert!(page.ends_with("# EOF\n"));
    let (status, page) = port.get("/config").await;
    assert!(status == 200 && page.contains("shop/cart"));
    assert_eq!(port.get("/nowhere").await.0, 404);
}

#[tokio::test]
async fn a_tap_streams_lines_and_ends_in_time() {
    let port = port(None).await;
    let (status, page) = port.get("/tap?time=1ms&status=5xx").await;
    assert_eq!(status, 200);
    assert!(page.contains("the time is over"), "{page}");
    let (status, page) = port.get("/tap?status=red").await;
    assert_eq!(status, 400);
    assert!(page.contains("5xx"), "{page}");
}

#[tokio::test]
async fn names_what_it_is_not_ready_for() {
    let port = port(None).await;
    let block = port.readiness.block("certificate");
    let (status, page) = port.get("/ready").await;
    assert_eq!(status, 503);
    assert!(page.contains("  certificate\n"), "{page}");
    drop(block);
    assert_eq!(port.get("/ready").await.0, 200);
}

#[tokio::test]
async fn changes_state_for_who_has_the_token() {
    let file = token_file();
    let port = port(Some(file.path())).await;
    for wrong in [
        "",
        "authorization: Basic abc\r\n",
        &bearer("0123456789abcdeX"),
        &bearer(""),
    ] {
        assert_eq!(port.post("/drain", wrong, "").await.0, 401, "{wrong:?}");
    }
    assert_eq!(port.drains.load(Ordering::SeqCst), 0);
    assert_eq!(port.post("/drain", &bearer(TOKEN), "").await.0, 202);
    assert_eq!(port.drains.load(Ordering::SeqCst), 1);

    assert_eq!(
        port.post("/log-level", &bearer(TOKEN), "debug\n").await.0,
        200
    );
    assert_eq!(
        port.post("/log-level", &bearer(TOKEN), "a=b=c=d").await.0,
        400
    );
    let long = "x".repeat(MAX_BODY_BYTES + 1);
    assert_eq!(port.post("/log-level", &bearer(TOKEN), &long).await.0, 400);
}

#[tokio::test]
async fn changes_nothing_without_a_token_file() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    for file in [None, Some(empty.path()), Some(Path::new("/no/such/file"))] {
        let port = port(file).await;
        let (status, page) = port.post("/drain", &bearer(""), "").await;
        assert_eq!(status, 403);
        assert!(page.contains("token file"), "{page}");
        assert_eq!(port.drains.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test]
async fn reading_never_changes_state() {
    let port = port(None).await;
    for path in ["/drain", "/log-level"] {
        let (status, page) = port.get(path).await;
        assert_eq!(status, 405);
        assert!(page.contains("allow: POST"), "{page}");
    }
    assert_eq!(port.post("/metrics", "", "").await.0, 405);
}

#[tokio::test]
async fn bounds_headers() {
    let port = port(None).await;
    let cookie = "x".repeat(MAX_HEADER_BYTES);
    let request = format!("GET /live HTTP/1.1\r\nhost: a\r\ncookie: {cookie}\r\n\r\n");
    assert_eq!(port.send(&request).await.0, 431);
}

/// A neighbour that held them all kept the kubelet out, which then ended the application.
#[tokio::test]
async fn idle_connections_keep_no_probe_out() {
    let port = port(None).await;
    let mut held = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut stream = TcpStream::connect(port.addr).await.unwrap();
        stream
            .write_all(b"GET /live HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        // An answer shows that the connection has its place.
        assert_eq!(stream.read_u8().await.unwrap(), b'H');
        held.push(stream);
    }
    assert_eq!(port.displaced.get(), 0);
    // The next one gets in, and the oldest is closed for it.
    assert_eq!(port.get("/live").await.0, 200);
    assert_eq!(port.displaced.get(), 1);
    assert!(is_closed(&mut held[0]).await);
}

/// Whether the other side has closed, whatever it had sent before.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest).await {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}
