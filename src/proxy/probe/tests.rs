//! What is asked and answered at the port itself; real applications answer in the tests of the
//! whole program.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::discovery::probe::HttpCheck;

/// An application that reads one request, gives it back and answers with these bytes.
async fn app(answer: &'static str) -> (u16, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    });
    (port, served)
}

async fn ask(check: Check, path: &str) -> (u16, String) {
    ask_at("/probe/app/live", check, path).await
}

/// Asks a probe port that has this one check, by this path.
async fn ask_at(of_check: &str, check: Check, path: &str) -> (u16, String) {
    let timeout = Some(Duration::from_secs(10));
    let probes = [(of_check.to_owned(), Probe { check, timeout })];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let port = tokio::spawn(ProbePort::new(probes.into(), Arc::default()).serve(listener));
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: a\r\nuser-agent: kube-probe/1\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    port.abort();
    let status = response.split(' ').nth(1).unwrap().parse().unwrap();
    let body = response.split_once("\r\n\r\n").unwrap().1.to_owned();
    (status, body)
}

fn http(port: u16, headers: &[(&str, &str)]) -> Check {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Check::Http(HttpCheck {
        port,
        tls: false,
        path: "/live?full=1".into(),
        headers: headers.iter().map(owned).collect(),
    })
}

#[tokio::test]
async fn asks_the_application_as_the_platform_would() {
    let (port, served) = app("HTTP/1.1 204 No Content\r\n\r\n").await;
    let headers = [("Host", "app.test"), ("X-Twice", "a"), ("X-Twice", "b")];
    let (status, _) = ask(http(port, &headers), "/probe/app/live").await;
    assert_eq!(status, 204);
    let request = served.await.unwrap().to_lowercase();
    assert!(
        request.starts_with("get /live?full=1 http/1.1\r\n"),
        "{request}"
    );
    for line in [
        "host: app.test",
        "user-agent: kube-probe/1",
        "accept: */*",
        "x-twice: a",
        "x-twice: b",
    ] {
        assert_eq!(
            request.matches(&format!("\r\n{line}\r\n")).count(),
            1,
            "{line}: {request}"
        );
    }
}

#[tokio::test]
async fn answers_as_the_application_does() {
    let (port, _served) = app("HTTP/1.1 500 Internal Server Error\r\n\r\n").await;
    assert_eq!(ask(http(port, &[]), "/probe/app/live").await.0, 500);
    let elsewhere = "HTTP/1.1 302 Found\r\nlocation: http://login.test/\r\n\r\n";
    let (port, _served) = app(elsewhere).await;
    assert_eq!(ask(http(port, &[]), "/probe/app/live").await.0, 200);
}

#[tokio::test]
async fn an_application_that_is_not_there_fails() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let service = String::new();
    for check in [
        http(port, &[]),
        Check::Tcp { port },
        Check::Grpc { port, service },
    ] {
        let (status, body) = ask(check.clone(), "/probe/app/live").await;
        assert_eq!(status, 503, "{check:?}");
        assert!(body.contains("cannot connect"), "{body}");
    }
}

#[tokio::test]
async fn only_the_checks_that_were_named_are_made() {
    let (status, _) = ask(Check::Tcp { port: 1 }, "/probe/app/ready").await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_hook_is_run_for_who_knows_its_word() {
    let word = "0123456789abcdef0123456789abcdef";
    let path = format!("/probe/app/pre-stop/{word}");
    let ask = async |asked: &str| {
        let (port, served) = app("HTTP/1.1 200 OK\r\n\r\n").await;
        let (status, _) = ask_at(&path, http(port, &[]), asked).await;
        (status, served)
    };
    for wrong in [
        "/probe/app/pre-stop",
        "/probe/app/pre-stop/",
        "/probe/app/pre-stop/0123456789abcdef0123456789abcdee",
    ] {
        let (status, served) = ask(wrong).await;
        assert_eq!(status, 404, "{wrong}");
        assert!(!served.is_finished(), "the application is not asked");
    }
    assert_eq!(ask(&path).await.0, 200);
    assert_eq!(without_word(&path), "/probe/app/pre-stop");
    assert_eq!(without_word("/probe/app/live"), "/probe/app/live");
}

#[tokio::test]
async fn a_check_ends_at_its_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Asked {
        ip: "127.0.0.1".parse().unwrap(),
        user_agent: None,
    };
    let probe = Probe {
        check: http(port, &[]),
        timeout: Some(Duration::from_millis(10)),
    };
    let verdict = asked.make(&probe).await;
    assert_eq!(verdict.status, StatusCode::GATEWAY_TIMEOUT);
}
