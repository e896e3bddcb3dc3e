//! Who may talk to whom, by certificate.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use super::{
    origin::Origin,
    setup::{Place, meshed_service},
};

#[test]
fn a_strict_workload_takes_mesh_tls_only() {
    let (origin, place) = (Origin::start("app"), Place::new());
    let app = meshed_service(place.inbound(), "server", "");
    let mesh = place.start_meshed(&app, origin.addr, "mtls: strict");
    let answer = mesh.get("/");
    assert_eq!((answer.status, &*answer.text()), (200, "app"), "{answer:?}");
    let seen = origin.seen().pop().expect("it arrived");
    assert_eq!(
        seen.headers["outrigger-client-id"],
        "spiffe://mesh.test/ns/it/sa/client"
    );

    let mut plaintext = TcpStream::connect(mesh.inbound()).expect("it listens");
    plaintext
        .write_all(b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n")
        .expect("taken so far");
    let mut answer = Vec::new();
    // A reset or an orderly end; never a byte.
    let ended = plaintext.read_to_end(&mut answer);
    assert!(answer.is_empty(), "{ended:?} {answer:?}");
    assert_eq!(origin.count(), 1);
}

#[test]
fn an_endpoint_with_the_certificate_of_another_is_refused() {
    let (origin, place) = (Origin::start("app"), Place::new());
    let app = meshed_service(place.inbound(), "other", "");
    let mesh = place.start_meshed(&app, origin.addr, "");
    let answer = mesh.get("/");
    assert_eq!(
        (answer.status, &*answer.reason()),
        (502, "tls-failed"),
        "{answer:?}"
    );
    assert!(
        answer.text().contains("sa/other"),
        "it says who was expected: {answer:?}"
    );
    assert_eq!(origin.count(), 0);
}
