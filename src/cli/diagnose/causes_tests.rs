use std::time::{Duration, SystemTime};

use super::{Likely::*, *};
use crate::{
    cli::{
        cluster::{Condition, PROXY, Page, Policy},
        diagnose::{
            calls::Calls,
            facts::{Container, Injection},
        },
    },
    proxy::belief::Discovery,
};

pub const NOW: u64 = 1_800_000_000;

pub fn container(name: &str) -> Container {
    Container {
        name: name.into(),
        ready: true,
        state: "running".into(),
        ..Container::default()
    }
}

pub fn injected() -> Injection {
    Injection {
        injected: true,
        of_namespace: Ok(Some("enabled".into())),
        webhook: Ok(true),
        ..not_asked()
    }
}

pub fn not_asked() -> Injection {
    Injection {
        injected: false,
        of_pod: None,
        of_namespace: Ok(None),
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
        new_pods_refused: None,
        containers: vec![container(PROXY), container("app")],
        proxy: Some(ProxySays {
            belief: Ok(belief()),
            waits_for: Ok(Vec::new()),
            before: Ok(Page::default()),
            after: Ok(Page::default()),
        }),
        controller: Ok("0.1.0".into()),
        policies: Ok(Vec::new()),
        calls: Calls::default(),
        events: Ok(Vec::new()),
        log: Ok(Vec::new()),
        denials: Vec::new(),
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(NOW),
    }
}

pub fn after(change: impl FnOnce(&mut Facts)) -> Vec<Cause> {
    let mut facts = good();
    change(&mut facts);
    causes(&facts)
}

/// The only cause after a change, whose text has this in it.
pub fn only(expected: &str, change: impl FnOnce(&mut Facts)) -> Likely {
    let found = after(change);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].what.contains(expected), "{}", found[0].what);
    assert!(found[0].next.ends_with('.'), "{}", found[0].next);
    found[0].likely
}

pub fn told(change: impl FnOnce(&mut Belief)) -> impl FnOnce(&mut Facts) {
    |facts| change(facts.proxy.as_mut().unwrap().belief.as_mut().unwrap())
}

#[test]
fn nothing_is_the_matter_with_a_good_pod() {
    assert_eq!(causes(&good()), []);
}

#[test]
fn a_workload_whose_next_pods_are_refused() {
    let likely = only("violates PodSecurity", |facts| {
        facts.new_pods_refused = Some("forbidden: violates PodSecurity \"baseline\"".into());
    });
    assert_eq!(likely, Surely);
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

/// A counter of requests before and after the watch.
pub fn counting(
    direction: &str,
    service: &str,
    status: &str,
    reason: &str,
    (before, now): (u32, u32),
) -> impl FnOnce(&mut Facts) + use<> {
    let page = |count: u32| {
        Page::parse(&format!(
            "outrigger_requests_total{{direction=\"{direction}\",service=\"{service}\",status=\"{status}\",reason=\"{reason}\"}} {count}"
        ))
    };
    let (before, after) = (page(before), page(now));
    |facts| {
        let proxy = facts.proxy.as_mut().unwrap();
        (proxy.before, proxy.after) = (Ok(before), Ok(after));
    }
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
        counting("outbound", "shop/pay:80", "5xx", "connect-failed", (7, 7))(facts);
    });
    let likely: Vec<_> = found.iter().map(|cause| cause.likely).collect();
    assert_eq!(likely, [Surely, Probably, Perhaps, Earlier]);
}
