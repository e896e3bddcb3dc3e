use std::time::{Duration, SystemTime};

use super::{Likely::*, *};
use crate::{
    cli::cluster::{Condition, Page, Policy},
    proxy::belief::{Breaker, Bulkhead, Discovery},
};

const NOW: u64 = 1_800_000_000;

fn container(name: &str) -> Container {
    Container {
        name: name.into(),
        ready: true,
        restarts: 0,
        state: "running".into(),
        before: None,
    }
}

fn injected() -> Injection {
    Injection {
        injected: true,
        of_namespace: Some("enabled".into()),
        webhook: Ok(true),
        ..not_asked()
    }
}

fn not_asked() -> Injection {
    Injection {
        injected: false,
        of_pod: None,
        of_namespace: None,
        hidden_namespace: false,
        host_network: false,
        proxys_user: false,
        privileged: false,
        windows: false,
        other_mesh: false,
        webhook: Ok(true),
    }
}

fn belief() -> Belief {
    Belief {
        version: "0.1.0".into(),
        identity: "spiffe://cluster.local/ns/shop/sa/cart".into(),
        certificate_not_after: Some(NOW + 3_600),
        discovery: Discovery {
            controller: "outrigger-controller:14030".into(),
            connected: true,
            ..Discovery::default()
        },
        ..Belief::default()
    }
}

/// A pod with which nothing is the matter.
pub fn good() -> Facts {
    Facts {
        pod: "shop/cart-1".into(),
        workload: "deploy/cart".into(),
        phase: "Running".into(),
        injection: injected(),
        containers: vec![container(PROXY), container("app")],
        proxy: Some(ProxySays {
            belief: Ok(belief()),
            waits_for: Ok(Vec::new()),
            before: Ok(Page::default()),
            after: Ok(Page::default()),
        }),
        controller: Ok("0.1.0".into()),
        policies: Ok(Vec::new()),
        events: Ok(Vec::new()),
        log: Ok(Vec::new()),
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(NOW),
    }
}

fn after(change: impl FnOnce(&mut Facts)) -> Vec<Cause> {
    let mut facts = good();
    change(&mut facts);
    causes(&facts)
}

/// The only cause after a change, whose text has this in it.
fn only(expected: &str, change: impl FnOnce(&mut Facts)) -> Likely {
    let found = after(change);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].what.contains(expected), "{}", found[0].what);
    assert!(found[0].next.ends_with('.'), "{}", found[0].next);
    found[0].likely
}

fn told(change: impl FnOnce(&mut Belief)) -> impl FnOnce(&mut Facts) {
    |facts| change(facts.proxy.as_mut().unwrap().belief.as_mut().unwrap())
}

#[test]
fn nothing_is_the_matter_with_a_good_pod() {
    assert_eq!(causes(&good()), []);
}

#[test]
fn says_why_a_pod_has_no_proxy() {
    let asked = || Injection {
        injected: false,
        ..injected()
    };
    let cases: [(&str, Injection); 9] = [
        ("neither it nor its namespace", not_asked()),
        (
            "says disabled",
            Injection {
                of_pod: Some("disabled".into()),
                ..asked()
            },
        ),
        (
            "never shown to the webhook",
            Injection {
                hidden_namespace: true,
                ..asked()
            },
        ),
        (
            "node's network",
            Injection {
                host_network: true,
                ..asked()
            },
        ),
        (
            "user 14014",
            Injection {
                proxys_user: true,
                ..asked()
            },
        ),
        (
            "privileged",
            Injection {
                privileged: true,
                ..asked()
            },
        ),
        (
            "another mesh",
            Injection {
                other_mesh: true,
                ..asked()
            },
        ),
        (
            "no webhook",
            Injection {
                webhook: Ok(false),
                ..asked()
            },
        ),
        ("created before", asked()),
    ];
    for (expected, injection) in cases {
        only(expected, |facts| {
            facts.injection = injection;
            facts.proxy = None;
        });
    }
    // Nobody asked for a proxy: that alone breaks nothing.
    let likely = only("neither", |facts| facts.injection = not_asked());
    assert_eq!(likely, Perhaps);
}

#[test]
fn containers_that_fail_come_first() {
    let state = |name: &'static str, state: &'static str| {
        move |facts: &mut Facts| {
            facts.containers.push(Container {
                ready: false,
                state: state.into(),
                ..container(name)
            });
        }
    };
    assert_eq!(
        only(
            "CrashLoopBackOff",
            state("app2", "waiting: CrashLoopBackOff")
        ),
        Surely
    );
    assert_eq!(
        only(
            "interception rules",
            state(INIT, "terminated: Error, exit 1")
        ),
        Surely
    );
    assert_eq!(only("not ready", state("app2", "running")), Probably);
    assert_eq!(after(state("app2", "waiting: PodInitializing")), []);
    assert_eq!(after(state(INIT, "terminated: Completed, exit 0")), []);
    let killed = only("ran out of memory", |facts| {
        facts.containers[0].before = Some("OOMKilled, exit 137".into());
    });
    assert_eq!(killed, Surely);
    let restarted = only("restarted 9 times", |facts| {
        facts.containers[1].restarts = 9
    });
    assert_eq!(restarted, Perhaps);
}

#[test]
fn the_proxys_standing() {
    let waits = only("no certificate yet", |facts| {
        facts.proxy.as_mut().unwrap().waits_for = Ok(vec!["no certificate yet".into()]);
    });
    assert_eq!(waits, Surely);
    assert_eq!(
        only("expired", told(|b| b.certificate_not_after = Some(NOW))),
        Surely
    );
    assert_eq!(
        only(
            "lost the controller",
            told(|b| b.discovery.connected = false)
        ),
        Probably
    );
    let refused = |b: &mut Belief| {
        b.discovery.nacks = 3;
        b.discovery.last_refusal = Some("route a has no name".into());
    };
    assert_eq!(only("route a has no name", told(refused)), Perhaps);
    assert_eq!(
        only("version 0.0.9", told(|b| b.version = "0.0.9".into())),
        Perhaps
    );
    let silent = |facts: &mut Facts| {
        facts.proxy.as_mut().unwrap().belief = Err("no right".into());
    };
    assert_eq!(only("no right", silent), Perhaps);
}

#[test]
fn what_policies_hold_back() {
    let open = || Breaker {
        state: "open".into(),
        ..Breaker::default()
    };
    let upstream = |change: fn(&mut Upstream, Breaker)| {
        let mut upstream = Upstream {
            upstream: "shop/pay:80".into(),
            breaker: Breaker {
                state: "closed".into(),
                ..Breaker::default()
            },
            ..Upstream::default()
        };
        change(&mut upstream, open());
        told(move |belief: &mut Belief| belief.upstreams.push(upstream))
    };
    assert_eq!(
        only(
            "breaker of shop/pay:80",
            upstream(|u, open| u.breaker = open)
        ),
        Probably
    );
    let endpoint = |u: &mut Upstream, open| {
        u.endpoints.insert(([198, 18, 0, 1], 80).into(), open);
    };
    assert_eq!(only("198.18.0.1:80", upstream(endpoint)), Perhaps);
    let full = |u: &mut Upstream, _| {
        u.bulkhead = Bulkhead {
            in_use: 8,
            queued: 2,
            limit: 8,
        };
    };
    assert_eq!(only("8 of 8, 2 queued", upstream(full)), Probably);
}

fn refusing(
    direction: &str,
    service: &str,
    reason: &str,
    before: u32,
    now: u32,
) -> impl FnOnce(&mut Facts) {
    let page = |count: u32| {
        Page::parse(&format!(
            "outrigger_requests_total{{direction=\"{direction}\",service=\"{service}\",status=\"5xx\",reason=\"{reason}\"}} {count}"
        ))
    };
    let (before, after) = (page(before), page(now));
    |facts| {
        let proxy = facts.proxy.as_mut().unwrap();
        (proxy.before, proxy.after) = (Ok(before), Ok(after));
    }
}

#[test]
fn refusals_by_reason_with_what_to_do() {
    let plaintext = refusing("inbound", "local", "plaintext-refused", 1, 4);
    assert_eq!(
        only("plaintext-refused: 4 of what came in, 3 of them", plaintext),
        Probably
    );
    let old = refusing("outbound", "shop/pay:80", "connect-failed", 7, 7);
    assert_eq!(only("connect-failed: 7 to shop/pay:80", old), Perhaps);
}

#[test]
fn policies_that_are_not_in_force() {
    let policy = Policy {
        kind: "AccessPolicy".into(),
        namespace: "shop".into(),
        name: "p".into(),
        targets: Vec::new(),
        conditions: vec![Condition {
            type_: "Accepted".into(),
            status: "False".into(),
            reason: "Invalid".into(),
            message: "no rule".into(),
        }],
    };
    assert_eq!(
        only("no rule", |facts| facts.policies = Ok(vec![policy])),
        Perhaps
    );
}

#[test]
fn the_most_likely_comes_first() {
    let found = after(|facts| {
        told(|belief| belief.version = "0.0.9".into())(facts);
        told(|belief| belief.discovery.connected = false)(facts);
        facts.containers[1].state = "waiting: ImagePullBackOff".into();
    });
    let likely: Vec<_> = found.iter().map(|cause| cause.likely).collect();
    assert_eq!(likely, [Surely, Probably, Perhaps]);
}
