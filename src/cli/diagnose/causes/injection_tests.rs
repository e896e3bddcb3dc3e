use super::super::{
    Likely::*,
    tests::{after, injected, not_asked, only},
};
use crate::cli::diagnose::facts::{Facts, Injection};

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
fn a_namespace_that_cannot_be_read_is_not_said_to_be_without_annotation() {
    let unknown = |facts: &mut Facts| {
        facts.injection = Injection {
            of_namespace: Err("not allowed".into()),
            ..not_asked()
        };
        facts.proxy = None;
    };
    let found = after(unknown);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].likely, Perhaps);
    let what = &found[0].what;
    assert!(what.contains("could not be read (not allowed)"), "{what}");
    assert!(!what.contains("neither"), "{what}");
}

#[test]
fn a_value_that_is_none_is_named() {
    let of_namespace = |facts: &mut Facts| {
        facts.injection = Injection {
            of_namespace: Ok(Some("true".into())),
            ..not_asked()
        };
        facts.proxy = None;
    };
    let what = "Its namespace's annotation outrigger.dev/inject says \"true\"";
    assert_eq!(only(what, of_namespace), Surely);
    let of_pod = |facts: &mut Facts| {
        facts.injection.injected = false;
        facts.injection.of_pod = Some("yes".into());
    };
    assert_eq!(only("Its own annotation", of_pod), Surely);
    // The webhook sees no pod of it, and refuses none.
    let hidden = |facts: &mut Facts| {
        of_namespace(facts);
        facts.injection.hidden_namespace = true;
    };
    assert_eq!(only("neither it nor its namespace", hidden), Perhaps);
    // The pod's word counts, so the namespace's refuses nothing.
    let overruled = |facts: &mut Facts| {
        facts.injection.of_pod = Some("enabled".into());
        facts.injection.of_namespace = Ok(Some("true".into()));
    };
    assert_eq!(after(overruled), []);
}
