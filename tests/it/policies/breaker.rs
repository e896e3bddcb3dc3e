//! Breakers trip, refuse, say so, and recover.

use super::{
    origin::Origin,
    setup::{Mesh, Place, service, until},
};

/// Trips at three in a row; what it trips stays so for the length of a test.
const STAYS_OPEN: &str = "breaker: {consecutiveFailures: 3, openFor: 60s, openForMax: 60s}";
const NO_RETRY: &str = "retry: {attempts: 0}";

fn mesh_of(origin: &Origin, policy: &str) -> Mesh {
    let app = service("app", &[origin.addr], &format!("policy: {{{policy}}}"));
    Place::new().start(&app)
}

/// It trips at the first failure: were that counted against the service too, the service would
/// be held back with it.
#[test]
fn a_failing_endpoint_leaves_the_balancer_and_the_service_stays() {
    let (bad, good) = (Origin::start("bad"), Origin::start("good"));
    bad.answer(500);
    let trips_at_once = STAYS_OPEN.replace("consecutiveFailures: 3", "consecutiveFailures: 1");
    let policy = format!("policy: {{{trips_at_once}, {NO_RETRY}}}");
    let mesh = Place::new().start(&service("app", &[bad.addr, good.addr], &policy));
    let address = bad.addr.to_string();
    until("the failing endpoint is ejected", || {
        mesh.get("/");
        (mesh.upstream("it/app:80")?["endpoints"][&address]["state"] == "open").then_some(())
    });
    for _ in 0..20 {
        let answer = mesh.get("/");
        assert_eq!(
            (answer.status, &*answer.text()),
            (200, "good"),
            "{answer:?}"
        );
    }
    assert_eq!(bad.count(), 1);
    let app = mesh.upstream("it/app:80").expect("it is in use");
    assert_eq!(app["breaker"]["state"], "closed");
}

#[test]
fn while_one_endpoint_recovers_the_others_take_its_share() {
    let (bad, good) = (Origin::start("bad"), Origin::start("good"));
    bad.answer(500);
    let policy = "breaker: {consecutiveFailures: 1, openFor: 50ms, halfOpenProbes: 1, ramp: 10m}";
    let policy = format!("policy: {{{policy}, {NO_RETRY}}}");
    let mesh = Place::new().start(&service("app", &[bad.addr, good.addr], &policy));
    let address = bad.addr.to_string();
    let state = || {
        mesh.upstream("it/app:80")
            .map(|app| app["endpoints"][&address]["state"].clone())
    };
    until("one endpoint trips", || {
        mesh.get("/");
        (state()? != "closed").then_some(())
    });
    bad.answer(200);
    until("its probe succeeds", || {
        mesh.get("/");
        (state()? == "closed").then_some(())
    });
    let before = bad.count();
    for _ in 0..200 {
        let answer = mesh.get("/");
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let took = bad.count() - before;
    assert!(took < 60, "{took} of 200: a tenth was its share");
}

#[test]
fn with_every_endpoint_failing_the_service_is_held_back() {
    let origin = Origin::start("app");
    origin.answer(500);
    let mesh = mesh_of(&origin, &format!("{STAYS_OPEN}, {NO_RETRY}"));
    for _ in 0..3 {
        let answer = mesh.get("/");
        assert_eq!((answer.status, &*answer.reason()), (500, ""), "{answer:?}");
    }
    let answer = mesh.get("/");
    assert_eq!((answer.status, &*answer.reason()), (503, "breaker-open"));
    let wait: u64 = answer
        .header("retry-after")
        .and_then(|w| w.parse().ok())
        .expect("seconds");
    assert!((40..=72).contains(&wait), "{wait}");
    assert_eq!(origin.count(), 3);
    let app = mesh.upstream("it/app:80").expect("it is in use");
    assert_eq!(app["breaker"]["state"], "open");
    mesh.until_metric(
        "outrigger_breakers{service=\"it/app:80\",scope=\"service\",state=\"open\"} 1",
    );
}

#[test]
fn it_recovers_through_half_open() {
    let origin = Origin::start("app");
    origin.answer(500);
    let policy = "breaker: {consecutiveFailures: 3, openFor: 200ms, halfOpenProbes: 1, ramp: 0ms}";
    let mesh = mesh_of(&origin, &format!("{policy}, {NO_RETRY}"));
    until("the breaker opens", || {
        (mesh.get("/").reason() == "breaker-open").then_some(())
    });
    origin.answer(200);
    until("a probe goes through", || {
        (mesh.get("/").status == 200).then_some(())
    });
    until("both breakers are closed", || {
        assert_eq!(
            mesh.get("/").status,
            200,
            "after the probe nothing is refused"
        );
        let app = mesh.upstream("it/app:80")?;
        let endpoint = &app["endpoints"][origin.addr.to_string()];
        (app["breaker"]["state"] == "closed" && endpoint["state"] == "closed").then_some(())
    });
}

#[test]
fn requests_that_clients_give_up_on_trip_it() {
    let origin = Origin::start("app");
    let slow = "breaker: {consecutiveFailures: 3, slowCallMin: 1ms, openFor: 60s, openForMax: 60s}";
    let mesh = mesh_of(&origin, slow);
    until("the breaker opens", || {
        let known = origin.count();
        let request = mesh.begin("/hold");
        // Where it was given up within its first millisecond, the next one counts.
        let arrived = until("it arrives or is refused", || {
            let open = mesh
                .upstream("it/app:80")
                .is_some_and(|app| app["breaker"]["state"] == "open");
            (open || origin.count() > known).then_some(!open)
        });
        if !arrived {
            return Some(());
        }
        drop(request);
        until("the proxy notices that its client has gone", || {
            let in_use = &mesh.upstream("it/app:80")?["bulkhead"]["inUse"];
            (in_use == 0).then_some(())
        });
        None
    });
    let answer = mesh.get("/");
    assert_eq!((answer.status, &*answer.reason()), (503, "breaker-open"));
}

#[test]
fn a_refused_grpc_call_has_a_status() {
    let place = Place::new();
    let mesh = place.start(&service("app", &[], ""));
    let answer = mesh.send("POST", "/pkg.Svc/Do", "Content-Type: application/grpc\r\n");
    assert_eq!((answer.status, &*answer.reason()), (200, "no-endpoints"));
    assert_eq!(answer.header("grpc-status").as_deref(), Some("14"));
    assert_eq!(
        answer.header("content-type").as_deref(),
        Some("application/grpc")
    );
}
