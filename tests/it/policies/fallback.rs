//! What clients get instead of an answer.

use super::{
    origin::Origin,
    setup::{Place, service},
};

const QUIET: &str = "retry: {attempts: 0}, breaker: {enabled: false}";

#[test]
fn a_static_answer_while_the_breaker_is_open_and_before() {
    let origin = Origin::start("app");
    origin.answer(500);
    let policy = "policy: {retry: {attempts: 0},
        breaker: {consecutiveFailures: 2, openFor: 60s, openForMax: 60s},
        fallback: [{static: {status: 203, headers: [[x-kind, tea]], body: instead}}]}";
    let mesh = Place::new().start(&service("app", &[origin.addr], policy));
    for reason in [
        "upstream-failed",
        "upstream-failed",
        "breaker-open",
        "breaker-open",
    ] {
        let answer = mesh.send("POST", "/", "Content-Length: 0\r\n");
        assert_eq!(
            (answer.status, &*answer.text()),
            (203, "instead"),
            "{answer:?}"
        );
        assert_eq!(
            answer.header("outrigger-fallback").as_deref(),
            Some("static")
        );
        assert_eq!(answer.header("x-kind").as_deref(), Some("tea"));
        assert_eq!(&*answer.reason(), reason);
    }
    assert_eq!(origin.count(), 2);
}

#[test]
fn the_last_good_answer_as_the_client_got_it() {
    let origin = Origin::start("app");
    let more = format!(
        "policy: {{{QUIET}, fallback: [{{stale: 1m}}]}},
         routes: [{{name: it/all, filters: [{{responseHeaders: {{set: [[x-route, all]]}}}}]}}]"
    );
    let mesh = Place::new().start(&service("app", &[origin.addr], &more));
    assert_eq!(mesh.get("/a").status, 200);
    origin.answer(500);
    let stale = mesh.get("/a");
    assert_eq!((stale.status, &*stale.text()), (200, "app"), "{stale:?}");
    assert_eq!(stale.header("outrigger-fallback").as_deref(), Some("stale"));
    assert_eq!(stale.header("x-route").as_deref(), Some("all"));
    // Nothing is kept for this one: the upstream's own error goes through, filters and all.
    let fresh = mesh.get("/b");
    assert_eq!(
        (fresh.status, fresh.header("x-route").as_deref()),
        (500, Some("all")),
        "{fresh:?}"
    );
    assert_eq!(fresh.header("outrigger-fallback").as_deref(), None);
}

#[test]
fn another_service_for_idempotent_methods_only() {
    let (origin, spare) = (Origin::start("app"), Origin::start("spare"));
    origin.answer(500);
    let policy = format!("policy: {{{QUIET}, fallback: [{{service: \"it/spare:80\"}}]}}");
    let services = service("app", &[origin.addr], &policy) + &service("spare", &[spare.addr], "");
    let mesh = Place::new().start(&services);
    let answer = mesh.get("/");
    assert_eq!(
        (answer.status, &*answer.text()),
        (200, "spare"),
        "{answer:?}"
    );
    assert_eq!(
        answer.header("outrigger-fallback").as_deref(),
        Some("service")
    );
    let answer = mesh.send("POST", "/", "Content-Length: 0\r\n");
    assert_eq!((answer.status, spare.count()), (500, 1), "{answer:?}");
}

#[test]
fn a_kept_answer_is_for_the_headers_that_it_varies_by() {
    let origin = Origin::start("app");
    let more = format!(
        "policy: {{{QUIET}, fallback: [{{stale: 1m}}]}},
         routes: [{{name: it/all, filters: [{{responseHeaders: {{set: [[vary, accept-language]]}}}}]}}]"
    );
    let mesh = Place::new().start(&service("app", &[origin.addr], &more));
    let status = |language: &str| {
        let header = format!("Accept-Language: {language}\r\n");
        mesh.send("GET", "/", &header).status
    };
    assert_eq!(status("de"), 200);
    origin.answer(500);
    assert_eq!(status("de"), 200);
    assert_eq!(status("en"), 500, "it was made for another language");
}
