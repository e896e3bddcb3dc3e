use super::*;
use crate::cli::check::line::Verdict::{self, Failed, Good, Warning};

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// Valid since an hour ago, for so many days from now.
fn for_days(days: u64) -> Validity {
    Validity {
        not_before: now() - Duration::from_secs(3_600),
        not_after: now() + Duration::from_secs(days * 86_400),
    }
}

fn install(version: &str) -> Install {
    Install {
        namespace: "mesh".into(),
        version: version.into(),
    }
}

fn good() -> Facts {
    let version = env!("CARGO_PKG_VERSION");
    Facts {
        installs: Ok(vec![install(version)]),
        controller: Ok(Controller {
            namespace: "mesh".into(),
            version: version.into(),
            desired: 2,
            ready: 2,
            updated: 2,
            troubles: Vec::new(),
        }),
        issuer: Ok(for_days(365)),
        roots: Ok(vec![for_days(3_650)]),
        webhook: Ok(Webhook {
            configured: true,
            trusts_secret: Some(true),
            serving: Some(for_days(90)),
            endpoints: 2,
        }),
        crds: Ok(vec![crd(CrdState::Good)]),
        policies: Ok(Vec::new()),
        pods: Ok(Pods {
            injected: 3,
            without: Vec::new(),
        }),
        proxies: Vec::new(),
    }
}

fn crd(state: CrdState) -> Crd {
    Crd {
        name: "accesspolicies.outrigger.dev".into(),
        state,
    }
}

/// The verdict of one check after a change to a good install.
fn after(check: Check, change: impl FnOnce(&mut Facts)) -> Verdict {
    let mut facts = good();
    change(&mut facts);
    let lines = conclude(&facts, now());
    let line = lines.iter().find(|line| line.check == check);
    let line = line.expect("every check has a line");
    assert_eq!(line.verdict == Good, line.next.is_none(), "{line}");
    line.verdict
}

#[test]
fn a_good_install_fails_nothing() {
    for line in conclude(&good(), now()) {
        assert_eq!(line.verdict, Good, "{line}");
    }
}

#[test]
fn without_an_install_nothing_else_is_said() {
    for installs in [Vec::new(), vec![install("1"), install("2")]] {
        let mut facts = good();
        facts.installs = Ok(installs);
        let lines = conclude(&facts, now());
        assert_eq!((lines.len(), lines[0].verdict), (1, Failed));
    }
    let other = |facts: &mut Facts| facts.installs = Ok(vec![install("0.0.1")]);
    assert_eq!(after(Check::Installed, other), Warning);
}

#[test]
fn controllers_that_are_not_ready() {
    let with = |ready, updated| {
        after(Check::Controller, |facts| {
            let controller = facts.controller.as_mut().unwrap();
            (controller.ready, controller.updated) = (ready, updated);
        })
    };
    assert_eq!(with(0, 2), Failed);
    assert_eq!(with(1, 2), Warning);
    assert_eq!(with(2, 1), Warning);
}

#[test]
fn a_controller_that_is_scaled_to_0_is_said_to_be() {
    let mut facts = good();
    let controller = facts.controller.as_mut().unwrap();
    (controller.desired, controller.ready, controller.updated) = (0, 0, 0);
    let lines = conclude(&facts, now());
    let line = lines.iter().find(|line| line.check == Check::Controller);
    let line = line.expect("every check has a line");
    assert_eq!(line.verdict, Failed);
    assert!(line.found.contains("scaled to 0"), "{line}");
    assert!(line.next.as_ref().unwrap().contains("--replicas"), "{line}");
}

#[test]
fn certificates_that_end() {
    let past = Validity {
        not_before: now() - Duration::from_secs(7_200),
        not_after: now() - Duration::from_secs(3_600),
    };
    let future = Validity {
        not_before: now() + Duration::from_secs(60),
        ..for_days(365)
    };
    let issuer = |validity| after(Check::Issuer, |facts| facts.issuer = Ok(validity));
    assert_eq!(issuer(past), Failed);
    assert_eq!(issuer(future), Failed);
    assert_eq!(issuer(for_days(6)), Warning);
    let roots = |roots| after(Check::TrustAnchors, |facts| facts.roots = Ok(roots));
    assert_eq!(roots(Vec::new()), Failed);
    assert_eq!(roots(vec![past]), Failed);
    assert_eq!(roots(vec![past, for_days(29)]), Warning);
    // While a rotation is under way the old one may end.
    assert_eq!(roots(vec![past, for_days(31)]), Good);
}

#[test]
fn webhooks_that_do_not_work() {
    let with = |change: fn(&mut Webhook)| {
        after(Check::Webhook, |facts| {
            change(facts.webhook.as_mut().unwrap())
        })
    };
    assert_eq!(with(|webhook| webhook.configured = false), Failed);
    assert_eq!(with(|webhook| webhook.endpoints = 0), Failed);
    assert_eq!(with(|webhook| webhook.trusts_secret = Some(false)), Failed);
    assert_eq!(with(|webhook| webhook.serving = Some(for_days(0))), Warning);
    // Who may not read Secrets still learns the rest.
    let no_secret = with(|webhook| {
        webhook.trusts_secret = None;
        webhook.serving = None;
    });
    assert_eq!(no_secret, Good);
}

#[test]
fn the_rest_of_the_control_plane() {
    for (state, expected) in [
        (CrdState::Absent, Failed),
        (CrdState::NotEstablished, Failed),
        (CrdState::Differs, Warning),
        (CrdState::Good, Good),
    ] {
        let found = after(Check::CustomResources, |facts| {
            facts.crds = Ok(vec![crd(state)])
        });
        assert_eq!(found, expected);
    }
    let problem = PolicyProblem {
        object: "AccessPolicy shop/p".into(),
        message: "no rule".into(),
    };
    let problems = |facts: &mut Facts| facts.policies = Ok(vec![problem]);
    assert_eq!(after(Check::Policies, problems), Warning);
    let with = |pods: Pods| after(Check::InjectedPods, |facts| facts.pods = Ok(pods));
    assert_eq!(with(Pods::default()), Warning);
    let left_out = Pods {
        injected: 1,
        without: vec!["shop/cart".into()],
    };
    assert_eq!(with(left_out), Warning);
}
