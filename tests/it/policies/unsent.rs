//! A request that no application has begun to work on goes to another endpoint, whatever its
//! method: so a rollout without preStop hooks loses none.

use super::{
    origin::Origin,
    setup::{Place, service, until},
};

/// A service `app` with two endpoints: one whose own proxy finds nobody behind it, as while its
/// pod ends, and one more.
fn one_is_leaving(place: &Place, other: &str) -> String {
    // As many tries as it takes: how many there may be is not the matter here.
    let policy = "policy: {retry: {budgetMinPerSecond: 100}}";
    service("app", &[], policy).replace(
        "endpoints: []",
        &format!(
            "endpoints: [{{addr: \"{}\", serviceAccount: server}}{other}]",
            place.inbound()
        ),
    )
}

/// The ways in which a body goes by: its length known before, not known, and a gRPC call's.
const BODIES: [&str; 3] = [
    "x-read: 1\r\ncontent-length: 7\r\n\r\nhello",
    "x-read: 1\r\ntransfer-encoding: chunked\r\n\r\n7\r\nhello\r\n\r\n0\r\n",
    "x-read: 1\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n7\r\nhello\r\n\r\n0\r\n",
];

#[test]
fn what_the_endpoints_proxy_could_not_deliver_is_sent_to_another() {
    let (origin, place) = (Origin::start("app"), Place::new());
    let nobody = place.nobody();
    let other = format!(", {{addr: \"{}\"}}", origin.addr);
    let services = one_is_leaving(&place, &other);
    let mesh = place.start_meshed(&services, nobody, "");
    for round in 0..4 {
        for body in BODIES {
            let answer = mesh.send("POST", "/", body);
            assert_eq!(answer.status, 200, "round {round}: {answer:?}");
            assert_eq!(answer.header("outrigger-reason"), None, "{answer:?}");
        }
    }
    let seen = origin.seen();
    assert_eq!(seen.len(), 12, "each of them once");
    for request in &seen {
        assert_eq!(request.body, "hello\r\n");
    }
    let tried_again = mesh.metrics().lines().any(|line| {
        let is_count = line.contains("retries_total") && !line.starts_with('#');
        is_count && !line.ends_with(" 0")
    });
    assert!(
        tried_again,
        "some went to the other endpoint first: {}",
        mesh.metrics()
    );
}

#[test]
fn where_there_is_no_other_the_client_hears_why() {
    let place = Place::new();
    let nobody = place.nobody();
    let services = one_is_leaving(&place, "");
    let mesh = place.start_meshed(&services, nobody, "");
    let answer = mesh.send("POST", "/", BODIES[1]);
    assert_eq!((answer.status, &*answer.reason()), (502, "connect-failed"));
    until("the caller's metrics have the reason too", || {
        let metrics = mesh.metrics();
        let mut requests = metrics
            .lines()
            .filter(|line| line.contains("requests_total"));
        requests.find_map(|line| {
            let outbound = line.contains("direction=\"outbound\"");
            (outbound && line.contains("reason=\"connect-failed\"")).then_some(())
        })
    });
    assert_eq!(
        answer.header("outrigger-unsent"),
        None,
        "between proxies only"
    );
}

/// Only the proxy beside the application may say that nothing was sent, and why: an application
/// that passes on what it was told would have its requests repeated, and be taken for refused.
#[test]
fn an_application_cannot_speak_for_its_proxy() {
    let (origin, place) = (Origin::start("app"), Place::new());
    origin.answer(502);
    let services = one_is_leaving(&place, "");
    let mesh = place.start_meshed(&services, origin.addr, "");
    let answer = mesh.send("POST", "/says-unsent", "content-length: 0\r\n");
    assert_eq!(answer.status, 502);
    assert_eq!(answer.header("outrigger-unsent"), None);
    assert_eq!(answer.header("outrigger-reason"), None);
    assert_eq!(origin.count(), 1);
}
