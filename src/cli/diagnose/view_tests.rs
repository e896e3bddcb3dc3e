use super::{super::causes::tests::good, *};
use crate::{
    cli::cluster::Page,
    proxy::belief::{Breaker, Bulkhead, Upstream},
};

#[test]
fn shows_a_good_pod() {
    insta::assert_snapshot!(Diagnosis::new(&good()).text(), @r#"
    Pod          shop/cart-1 of deploy/cart, Running
    Injection    has a proxy; its namespace says enabled
    Proxy        0.1.0, ready, connected to outrigger-controller:14030
    Identity     spiffe://cluster.local/ns/shop/sa/cart, certificate valid for 60 min, mTLS permissive

    Containers
      outrigger-proxy                running, ready, 0 restarts
      app                            running, ready, 0 restarts

    Likely causes
      None: nothing here explains a failure.
         → Look at who calls it: `outrigger diagnose` the client's pod, or `outrigger tap` this one.
    "#);
}

#[test]
fn shows_what_is_the_matter() {
    let mut facts = good();
    let proxy = facts.proxy.as_mut().unwrap();
    let open = Breaker {
        state: "open".into(),
        ..Breaker::default()
    };
    proxy.belief.as_mut().unwrap().upstreams.push(Upstream {
        upstream: "shop/pay:80".into(),
        breaker: open.clone(),
        bulkhead: Bulkhead {
            in_use: 1,
            queued: 0,
            limit: 256,
        },
        endpoints: [(([198, 18, 0, 1], 80).into(), open)].into(),
        ..Upstream::default()
    });
    proxy.after = Ok(Page::parse(
        "outrigger_requests_total{direction=\"outbound\",service=\"shop/pay:80\",status=\"5xx\",reason=\"connect-failed\"} 12",
    ));
    facts.log = Ok(vec!["2026-11-24T12:00:00Z WARN outrigger: refused".into()]);
    facts.policies = Err("not allowed".into());
    facts.events = Ok(vec![Event {
        at: Some(unix_seconds(facts.now) - 300),
        warning: true,
        reason: "Unhealthy".into(),
        message: "Readiness probe failed".into(),
        count: 3,
    }]);
    let shown = Diagnosis::new(&facts);
    insta::assert_snapshot!(shown.text(), @r#"
    Pod          shop/cart-1 of deploy/cart, Running
    Injection    has a proxy; its namespace says enabled
    Proxy        0.1.0, ready, connected to outrigger-controller:14030
    Identity     spiffe://cluster.local/ns/shop/sa/cart, certificate valid for 60 min, mTLS permissive

    Containers
      outrigger-proxy                running, ready, 0 restarts
      app                            running, ready, 0 restarts

    Sends to
      shop/pay:80                    breaker open, 1 of 1 endpoints out, bulkhead 1 of 256

    Refusals by reason: since it started, and while this watched
      connect-failed                 12     12  outbound shop/pay:80

    Last events
         5 min ago  Unhealthy  Readiness probe failed (×3)

    Last warnings and errors of the proxy
      2026-11-24T12:00:00Z WARN outrigger: refused

    Not looked at
      policies: not allowed

    Likely causes
      1. probably: The breaker of shop/pay:80 is open: its requests are refused or fall back
         → shop/pay:80 failed before: diagnose its pods. The breaker tries it again by itself.
      2. probably: connect-failed: 12 to shop/pay:80, 12 of them while this watched
         → The endpoint refused the connection: check that the application listens on the port, on the pod's address.
    "#);
    let json = serde_json::to_value(&shown).unwrap();
    assert_eq!(json["causes"][0]["likely"], "probably");
}
