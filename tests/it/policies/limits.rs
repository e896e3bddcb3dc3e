//! Retries and their budget, bulkheads, timeouts.

use super::{
    origin::Origin,
    setup::{Mesh, Place, meshed_service, service, until},
};

const NO_BREAKER: &str = "breaker: {enabled: false}";

fn mesh_of(origin: &Origin, policy: &str) -> Mesh {
    let policy = format!("policy: {{{NO_BREAKER}, {policy}}}");
    Place::new().start(&service("app", &[origin.addr], &policy))
}

#[test]
fn a_get_is_tried_again_and_a_post_is_not() {
    let origin = Origin::start("app");
    origin.answer(503);
    let mesh = mesh_of(&origin, "retry: {attempts: 2, budgetMinPerSecond: 100}");
    assert_eq!(mesh.get("/").status, 503);
    assert_eq!(origin.count(), 3);
    assert_eq!(mesh.send("POST", "/", "Content-Length: 0\r\n").status, 503);
    assert_eq!(origin.count(), 4);
    origin.answer(500);
    assert_eq!(mesh.get("/").status, 500);
    assert_eq!(origin.count(), 5, "500 is not among the statuses");
}

#[test]
fn no_retry_without_budget() {
    let origin = Origin::start("app");
    origin.answer(503);
    let retry = "retry: {attempts: 3, budgetRatio: 0.5, budgetMinPerSecond: 0}";
    let mesh = mesh_of(&origin, retry);
    (0..10).for_each(|_| assert_eq!(mesh.get("/").status, 503));
    assert_eq!(origin.count(), 15, "ten requests and half as many retries");
    let metrics = mesh.metrics();
    let denied = metrics
        .lines()
        .find(|line| line.starts_with("outrigger_retries_denied_total{"));
    let denied = denied.and_then(|line| line.rsplit(' ').next());
    assert_eq!(
        denied,
        Some("10"),
        "each request once in the end: {metrics}"
    );
}

#[test]
fn only_the_callers_proxy_tries_again() {
    let (origin, place) = (Origin::start("app"), Place::new());
    origin.answer(503);
    let app = meshed_service(place.inbound(), "server", "");
    let mesh = place.start_meshed(&app, origin.addr, "");
    assert_eq!(mesh.get("/").status, 503);
    assert_eq!(origin.count(), 2);
}

#[test]
fn a_full_bulkhead_refuses_until_the_body_ends_or_the_client_goes() {
    let origin = Origin::start("app");
    let mesh = mesh_of(&origin, "bulkhead: {maxInFlight: 1, queue: 0}");
    let refused = || {
        let answer = mesh.get("/");
        assert_eq!((answer.status, &*answer.reason()), (503, "bulkhead-full"));
        assert_eq!(answer.header("retry-after").as_deref(), Some("1"));
    };
    let free_again = || {
        until("the place is free again", || {
            (mesh.get("/").status == 200).then_some(())
        });
    };
    let mut half_way = mesh.begin("/trickle");
    half_way.wait_for("app");
    refused();
    drop(half_way);
    free_again();

    let before = origin.count();
    let unanswered = mesh.begin("/hold");
    until("it arrives", || (origin.count() > before).then_some(()));
    refused();
    drop(unanswered);
    free_again();

    let mut whole = mesh.begin("/trickle");
    whole.wait_for("app");
    refused();
    origin.release();
    whole.ended();
    free_again();
    let metrics = mesh.metrics();
    let counted =
        "outrigger_bulkhead_rejections_total{scope=\"upstream\",name=\"it/app:80\",cause=\"full\"}";
    assert!(
        metrics.lines().any(|line| line.starts_with(counted)),
        "{metrics}"
    );
}

#[test]
fn who_waits_in_the_queue_gets_the_place_or_a_reason() {
    let origin = Origin::start("app");
    let waits = |wait: &str| format!("bulkhead: {{maxInFlight: 1, queue: 4, queueWait: {wait}}}");

    let patient = mesh_of(&origin, &waits("1m"));
    let first = patient.begin("/trickle");
    until("it is under way", || (origin.count() == 1).then_some(()));
    let queued = patient.begin("/");
    patient.until_metric(r#"outrigger_bulkhead_queued{scope="upstream",name="it/app:80"} 1"#);
    assert_eq!(origin.count(), 1, "the other waits");
    origin.release();
    first.ended();
    assert_eq!(queued.response().status, 200, "the place was handed on");

    let origin = Origin::start("app");
    let impatient = mesh_of(&origin, &waits("50ms"));
    let first = impatient.begin("/trickle");
    until("it is under way", || (origin.count() == 1).then_some(()));
    let answer = impatient.get("/");
    assert_eq!(
        (answer.status, &*answer.reason()),
        (503, "bulkhead-queue-timeout")
    );
    drop(first);
}

#[test]
fn what_matters_less_is_refused_first() {
    let origin = Origin::start("app");
    let mesh = mesh_of(
        &origin,
        "bulkhead: {maxInFlight: 2, queue: 0}, priorityHeader: x-priority",
    );
    let first = mesh.begin("/trickle");
    until("it is under way", || (origin.count() == 1).then_some(()));
    let of = |priority: &str| mesh.send("GET", "/", &format!("x-priority: {priority}\r\n"));
    // Of two places batch may use one, and so does the first request.
    let batch = of("batch");
    assert_eq!((batch.status, &*batch.reason()), (503, "bulkhead-full"));
    assert_eq!(of("critical").status, 200);
    origin.release();
    first.ended();
    assert_eq!(of("batch").status, 200);
}

#[test]
fn a_caller_gets_its_share_and_no_more() {
    let (origin, place) = (Origin::start("app"), Place::new());
    let app = meshed_service(place.inbound(), "server", "policy: {retry: {attempts: 0}}");
    let workload = "policy: {bulkhead: {maxInFlightPerCaller: 1, queue: 0}}";
    let mesh = place.start_meshed(&app, origin.addr, workload);
    let mut first = mesh.begin("/trickle");
    first.wait_for("app");
    let second = mesh.get("/");
    assert_eq!(
        (second.status, &*second.reason()),
        (503, "caller-share"),
        "{second:?}"
    );
    drop(first);
    until("its place is free again", || {
        (mesh.get("/").status == 200).then_some(())
    });
}

#[test]
fn a_route_has_a_bulkhead_of_its_own() {
    let origin = Origin::start("app");
    let more = "policy: {bulkhead: {queue: 0}}, routes: [
        {name: it/narrow, matches: [{path: {prefix: /trickle}}],
         policy: {bulkhead: {maxInFlightPerRoute: 1, queue: 0}}},
        {name: it/rest}]";
    let mesh = Place::new().start(&service("app", &[origin.addr], more));
    let mut first = mesh.begin("/trickle");
    first.wait_for("app");
    let second = mesh.get("/trickle");
    assert_eq!(
        (second.status, &*second.reason()),
        (503, "bulkhead-full"),
        "{second:?}"
    );
    assert_eq!(mesh.get("/").status, 200);
}

#[test]
fn a_request_has_its_time() {
    let origin = Origin::start("app");
    let mesh = mesh_of(&origin, "timeouts: {request: 50ms}");
    let answer = mesh.get("/hold");
    assert_eq!(
        (answer.status, &*answer.reason()),
        (504, "request-timeout"),
        "{answer:?}"
    );
    assert_eq!(origin.count(), 1, "what took too long is not tried again");
    assert_eq!(mesh.get("/").status, 200);
}

#[test]
fn a_refused_connection_says_so() {
    let place = Place::new();
    let nobody = place.nobody();
    let mesh = place.start(&service("app", &[nobody], ""));
    let answer = mesh.get("/");
    assert_eq!(
        (answer.status, &*answer.reason()),
        (502, "connect-failed"),
        "{answer:?}"
    );
    assert!(answer.text().contains(&nobody.to_string()), "{answer:?}");
}

#[test]
fn the_time_of_a_request_runs_while_it_waits() {
    let origin = Origin::start("app");
    let more = "policy: {bulkhead: {maxInFlight: 1, queueWait: 60s}}, routes: [
        {name: it/timed, matches: [{path: {prefix: /timed}}], timeouts: {request: 50ms}},
        {name: it/rest}]";
    let mesh = Place::new().start(&service("app", &[origin.addr], more));
    // For its body, which a retry might need.
    let slow = mesh.send("PUT", "/timed", "Content-Length: 5\r\n");
    assert_eq!((slow.status, &*slow.reason()), (504, "request-timeout"));
    assert!(slow.text().contains("body"), "{slow:?}");
    // For a place in the bulkhead.
    let mut first = mesh.begin("/trickle");
    first.wait_for("app");
    let queued = mesh.get("/timed");
    assert_eq!((queued.status, &*queued.reason()), (504, "request-timeout"));
    assert!(queued.text().contains("bulkhead"), "{queued:?}");
    assert_eq!(origin.count(), 1, "neither arrived");
}
