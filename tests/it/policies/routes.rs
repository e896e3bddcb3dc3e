//! Routes: where a request goes, and what becomes of it on the way.

use super::{
    origin::Origin,
    setup::{Place, service, until},
};

#[test]
fn by_header_to_weighted_backends() {
    let [app, one, two, none] = ["app", "one", "two", "none"].map(Origin::start);
    let routes = "routes: [
        {name: it/canary, matches: [{headers: [{name: x-canary, value: \"yes\"}]}], backends: [
            {service: \"it/one:80\", weight: 3}, {service: \"it/two:80\", weight: 1},
            {service: \"it/none:80\", weight: 0}]},
        {name: it/rest}]";
    let services = service("app", &[app.addr], routes)
        + &service("one", &[one.addr], "")
        + &service("two", &[two.addr], "")
        + &service("none", &[none.addr], "");
    let mesh = Place::new().start(&services);
    assert_eq!(mesh.get("/").text(), "app");
    assert_eq!(mesh.send("GET", "/", "x-canary: no\r\n").text(), "app");
    for _ in 0..200 {
        assert_eq!(mesh.send("GET", "/", "X-Canary: yes\r\n").status, 200);
    }
    assert_eq!((app.count(), none.count()), (2, 0));
    assert_eq!(one.count() + two.count(), 200);
    // Nine standard deviations from 50: never by chance.
    assert!((1..=105).contains(&two.count()), "{}", two.count());
}

#[test]
fn a_route_without_a_usable_backend_says_so_once() {
    let app = Origin::start("app");
    let routes = "routes: [{name: it/none, backends: [{service: \"it/app:80\", weight: 0}]}]";
    let mesh = Place::new().start(&service("app", &[app.addr], routes));
    let answer = mesh.get("/");
    assert_eq!((answer.status, &*answer.reason()), (500, "no-backend"));
    let text = answer.text();
    assert!(text.contains("route it/none has no backend"), "{text}");
    // A registry file has no statuses: only on Kubernetes is there one to look at.
    assert_eq!(text.matches("status").count(), 1, "{text}");
    assert!(text.contains("on Kubernetes the route's status"), "{text}");
}

#[test]
fn filters_redirects_and_no_route() {
    let app = Origin::start("app");
    let routes = "routes: [
        {name: it/old, matches: [{path: {prefix: /old}}],
         filters: [{redirect: {path: {prefix: /new}, status: 301}}]},
        {name: it/edit, matches: [{path: {prefix: /edit}}], filters: [
            {requestHeaders: {set: [[x-set, mesh]], add: [[x-added, mesh]], remove: [x-secret]}},
            {responseHeaders: {remove: [x-from], set: [[x-to, client]]}},
            {rewrite: {path: {prefix: /inner}}}]}]";
    let mesh = Place::new().start(&service("app", &[app.addr], routes));

    let moved = mesh.get("/old/page?q=1");
    assert_eq!(moved.status, 301, "{moved:?}");
    let location = moved.header("location").unwrap_or_default();
    assert!(location.ends_with("/new/page?q=1"), "{location}");

    let answer = mesh.send(
        "GET",
        "/edit/a",
        "x-set: client\r\nx-secret: s\r\nx-added: client\r\n",
    );
    assert_eq!(
        (
            answer.header("x-from").as_deref(),
            answer.header("x-to").as_deref()
        ),
        (None, Some("client"))
    );
    let seen = app.seen().pop().expect("it arrived");
    assert_eq!(seen.uri.path(), "/inner/a");
    assert_eq!(seen.headers["x-set"], "mesh");
    assert!(!seen.headers.contains_key("x-secret"));
    assert_eq!(seen.headers.get_all("x-added").iter().count(), 2);

    let lost = mesh.get("/nowhere");
    assert_eq!((lost.status, &*lost.reason()), (404, "no-route"));
    assert_eq!(app.count(), 1);
}

#[test]
fn a_mirror_gets_a_copy_and_changes_nothing() {
    let (app, mirror) = (Origin::start("app"), Origin::start("mirror"));
    mirror.answer(500);
    let routes = "routes: [{name: it/all, filters: [{mirror: {service: \"it/mirror:80\"}}]}]";
    let services = service("app", &[app.addr], routes) + &service("mirror", &[mirror.addr], "");
    let mesh = Place::new().start(&services);
    let answer = mesh.send("PUT", "/thing", "Content-Length: 0\r\n");
    assert_eq!((answer.status, &*answer.text()), (200, "app"));
    until("the copy arrives", || (mirror.count() == 1).then_some(()));
    let copy = mirror.seen().pop().expect("one came");
    assert_eq!((copy.method.as_str(), copy.uri.path()), ("PUT", "/thing"));
}

#[test]
fn a_route_with_its_own_policy_has_its_own_breaker() {
    let app = Origin::start("app");
    app.answer(500);
    let routes = "policy: {retry: {attempts: 0}, breaker: {enabled: false}}, routes: [
        {name: it/own, matches: [{path: {prefix: /own}}], policy: {retry: {attempts: 0},
         breaker: {consecutiveFailures: 1, openFor: 60s, openForMax: 60s}}},
        {name: it/rest}]";
    let mesh = Place::new().start(&service("app", &[app.addr], routes));
    let asked = |path: &str| {
        let answer = mesh.get(path);
        (answer.status, answer.reason().to_owned())
    };
    assert_eq!(asked("/own"), (500, String::new()));
    assert_eq!(asked("/own"), (503, "breaker-open".into()));
    app.answer(200);
    assert_eq!(
        asked("/"),
        (200, String::new()),
        "the service's has seen no failure"
    );
    assert_eq!(asked("/own"), (503, "breaker-open".into()));
}

#[test]
fn a_route_with_its_own_policy_has_its_own_retry_budget() {
    let app = Origin::start("app");
    app.answer(503);
    let routes = "policy: {breaker: {enabled: false}}, routes: [
        {name: it/own, policy: {breaker: {enabled: false},
         retry: {attempts: 3, budgetRatio: 0.5, budgetMinPerSecond: 0}}}]";
    let mesh = Place::new().start(&service("app", &[app.addr], routes));
    (0..10).for_each(|_| assert_eq!(mesh.get("/").status, 503));
    assert_eq!(app.count(), 15, "ten requests and half as many retries");
}
