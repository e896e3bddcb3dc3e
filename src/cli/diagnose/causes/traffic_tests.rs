use super::super::{
    Likely::*,
    tests::{after, counting, only, told},
};
use crate::{
    cli::diagnose::{denials::Denial, facts::Facts},
    proxy::belief::{Belief, Breaker, Bulkhead, Service, Upstream},
};

fn open() -> Breaker {
    Breaker {
        state: "open".into(),
        ..Breaker::default()
    }
}

fn pay() -> Upstream {
    Upstream {
        upstream: "shop/pay:80".into(),
        ..Upstream::default()
    }
}

/// A proxy with these upstreams, whose service has so many endpoints.
fn holding(upstreams: Vec<Upstream>, endpoints: usize) -> impl FnOnce(&mut Facts) {
    told(move |belief: &mut Belief| {
        belief.upstreams = upstreams;
        belief.services = vec![Service {
            service: "shop/pay:80".into(),
            endpoints,
            ..Service::default()
        }];
    })
}

#[test]
fn what_policies_hold_back() {
    let with_open = |used: bool, endpoints: usize| {
        let sent = counting(
            "outbound",
            "shop/pay:80",
            "2xx",
            "",
            (4, 4 + u32::from(used)),
        );
        move |facts: &mut Facts| {
            let upstream = Upstream {
                breaker: open(),
                ..pay()
            };
            holding(vec![upstream], endpoints)(facts);
            sent(facts);
        }
    };
    let breaker = "breaker of shop/pay:80";
    assert_eq!(only(breaker, with_open(true, 1)), Probably);
    assert_eq!(only(breaker, with_open(false, 1)), Earlier);
    assert_eq!(only("it has no pods now", with_open(false, 0)), Past);
    let endpoint = |spared| {
        let mut upstream = pay();
        let breaker = Breaker { spared, ..open() };
        upstream
            .endpoints
            .insert(([198, 18, 0, 1], 80).into(), breaker);
        holding(vec![upstream], 1)
    };
    only("1 of 1 endpoints of shop/pay:80 are out", endpoint(false));
    only(
        "1 of 1 endpoints of shop/pay:80 failed, and are in use",
        endpoint(true),
    );
    let full = Upstream {
        bulkhead: Bulkhead {
            in_use: 8,
            queued: 2,
            limit: 8,
        },
        ..pay()
    };
    assert_eq!(only("8 of 8, 2 queued", holding(vec![full], 1)), Probably);
}

#[test]
fn the_breakers_of_a_service_and_of_its_route_are_told_apart() {
    let breaker = |route: Option<&str>| Upstream {
        breaker: open(),
        route: route.map(str::to_owned),
        ..pay()
    };
    let found = after(holding(vec![breaker(None), breaker(Some("shop/r"))], 1));
    assert_eq!(found.len(), 2);
    assert!(found[0].what.contains("breaker of shop/pay:80 is"));
    assert!(
        found[1]
            .what
            .contains("breaker of shop/pay:80 by shop/r is")
    );
}

#[test]
fn refusals_by_reason_with_what_to_do() {
    let plaintext = counting("inbound", "local", "5xx", "plaintext-refused", (1, 4));
    assert_eq!(
        only("plaintext-refused: 4 of what came in, 3 of them", plaintext),
        Probably
    );
    let old = counting("outbound", "shop/pay:80", "5xx", "connect-failed", (7, 7));
    assert_eq!(only("connect-failed: 7 to shop/pay:80", old), Earlier);
}

#[test]
fn a_denial_names_the_caller_and_the_policy() {
    let denied = counting("inbound", "local", "4xx", "access-denied", (1, 4));
    let likely = only("web at port 8080 (by shop/cart)", |facts| {
        denied(facts);
        facts.denials = vec![Denial {
            caller: "spiffe://cluster.local/ns/shop/sa/web".into(),
            port: "8080".into(),
            policies: "shop/cart".into(),
        }];
    });
    assert_eq!(likely, Probably);
}

#[test]
fn the_same_failure_is_told_once() {
    let refused = counting("outbound", "shop/pay:80", "5xx", "breaker-open", (1, 4));
    let found = after(|facts| {
        let upstream = Upstream {
            breaker: open(),
            ..pay()
        };
        holding(vec![upstream], 1)(facts);
        refused(facts);
    });
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].likely, Probably);
    let full = counting("inbound", "local", "5xx", "bulkhead-full", (1, 4));
    only("bulkhead of local is full", |facts| {
        let upstream = Upstream {
            upstream: "local".into(),
            bulkhead: Bulkhead {
                in_use: 8,
                queued: 0,
                limit: 8,
            },
            ..Upstream::default()
        };
        holding(vec![upstream], 1)(facts);
        full(facts);
    });
}

#[test]
fn an_application_that_answers_5xx_is_a_cause() {
    let own = |seen| counting("inbound", "local", "5xx", "", seen);
    let now = only(
        "The application itself answers 5xx: 3 of 3 requests while this watched, 10 of 10 since",
        own((7, 10)),
    );
    assert_eq!(now, Surely);
    let quiet = only(
        "10 of 10 since the proxy started; it was not asked",
        own((10, 10)),
    );
    assert_eq!(quiet, Perhaps);
    let called = counting("outbound", "shop/pay:80", "5xx", "", (7, 10));
    assert_eq!(
        only("shop/pay:80 itself answers 5xx: 3 of 3", called),
        Probably
    );
    let good = counting("inbound", "local", "2xx", "", (7, 10));
    assert_eq!(after(good), []);
}
