use super::*;
use crate::cli::check::line::Verdict::{self, Failed, Good, Warning};

fn server(version: &str) -> Server {
    Server {
        version: version.into(),
        release: release(version),
    }
}

fn node(name: &str) -> Node {
    Node {
        name: name.into(),
        kubelet: "v1.37.2".into(),
        kernel: "6.18.5".into(),
        os: "linux".into(),
        arch: "amd64".into(),
        pod_cidrs: vec!["198.18.64.0/24".into()],
    }
}

/// A cluster that can take Outrigger.
fn good() -> Facts {
    Facts {
        server: server("v1.37.2"),
        nodes: Ok(vec![node("a"), node("b")]),
        sidecars_kept: Ok(true),
        gateway_api: Ok(Vec::new()),
        rights: Ok(vec![right("secrets", true)]),
        pod_ips: Ok(vec!["198.18.64.2".parse().unwrap()]),
        namespaces: Ok(vec![Namespace {
            name: "shop".into(),
            ..Namespace::default()
        }]),
        webhooks: Ok(vec!["cert-manager/webhook".into()]),
        outriggers: Ok(Vec::new()),
    }
}

fn right(resource: &'static str, allowed: bool) -> Right {
    Right {
        verb: "create",
        resource,
        allowed,
    }
}

fn injected() -> Namespace {
    Namespace {
        name: "shop".into(),
        inject: true,
        ..Namespace::default()
    }
}

fn crd(name: &str, served: &str, bundle: &str) -> GatewayCrd {
    GatewayCrd {
        name: name.into(),
        served: vec![served.into()],
        bundle: Some(bundle.into()),
    }
}

/// The line of one check, after a change to a good cluster.
fn line(check: Check, skipped: &[&str], change: impl FnOnce(&mut Facts)) -> Line {
    let mut facts = good();
    change(&mut facts);
    let skipped: Vec<_> = skipped
        .iter()
        .map(|subnet| subnet.parse().unwrap())
        .collect();
    let mut lines = conclude(&facts, &skipped);
    let at = lines.iter().position(|line| line.check == check);
    lines.swap_remove(at.expect("every check has a line"))
}

fn verdict(check: Check, change: impl FnOnce(&mut Facts)) -> Verdict {
    line(check, &[], change).verdict
}

#[test]
fn a_good_cluster_fails_nothing() {
    for line in conclude(&good(), &[]) {
        assert_eq!(line.verdict, Good, "{line}");
        assert_eq!(line.next, None, "{line}");
    }
}

#[test]
fn what_cannot_be_read_is_a_warning_with_the_reason() {
    let mut facts = good();
    let why = "not allowed: nope".to_owned();
    facts.nodes = Err(why.clone());
    facts.gateway_api = Err(why.clone());
    facts.rights = Err(why.clone());
    facts.namespaces = Err(why.clone());
    facts.webhooks = Err(why.clone());
    facts.outriggers = Err(why.clone());
    facts.pod_ips = Err(why);
    let lines = conclude(&facts, &[]);
    let unknown = lines.iter().filter(|line| line.verdict == Warning);
    assert_eq!(unknown.clone().count(), 7);
    assert!(unknown.into_iter().all(|line| line.found.contains("nope")));
}

#[test]
fn versions_of_kubernetes() {
    let check = Check::KubernetesVersion;
    for (version, expected) in [
        ("v1.28.9", Failed),
        ("v1.29.0", Good),
        ("v1.33.1+k3s1", Good),
        ("v2.0.0", Good),
        ("unknown", Warning),
    ] {
        let found = verdict(check, |facts| facts.server = server(version));
        assert_eq!(found, expected, "{version}");
    }
}

#[test]
fn nodes_that_cannot_run_a_proxy() {
    let change = |change: fn(&mut Node), all: bool| {
        verdict(Check::Nodes, |facts| {
            let nodes = facts.nodes.as_mut().unwrap();
            let count = if all { nodes.len() } else { 1 };
            nodes[..count].iter_mut().for_each(change);
        })
    };
    assert_eq!(change(|node| node.os = "windows".into(), false), Warning);
    assert_eq!(change(|node| node.os = "windows".into(), true), Failed);
    assert_eq!(change(|node| node.arch = "s390x".into(), true), Failed);
    assert_eq!(change(|node| node.kubelet = "v1.28.0".into(), true), Failed);
    assert_eq!(
        change(|node| node.kernel = "4.19.0-26-amd64".into(), true),
        Failed
    );
    assert_eq!(change(|node| node.kernel = "5.2.0".into(), true), Good);
    assert_eq!(
        verdict(Check::Nodes, |facts| facts.nodes = Ok(Vec::new())),
        Failed
    );
}

#[test]
fn native_sidecars_are_tried_out() {
    let check = Check::NativeSidecars;
    assert_eq!(
        verdict(check, |facts| facts.sidecars_kept = Ok(false)),
        Failed
    );
    let refused = |version: &'static str| {
        verdict(check, move |facts| {
            facts.server = server(version);
            facts.sidecars_kept = Err("not allowed".into());
        })
    };
    assert_eq!(refused("v1.33.0"), Good);
    assert_eq!(refused("v1.32.0"), Warning);
}

#[test]
fn the_gateway_api_may_be_absent_but_not_old() {
    let check = Check::GatewayApi;
    let with = |crds: Vec<GatewayCrd>| line(check, &[], |facts| facts.gateway_api = Ok(crds));
    assert!(with(Vec::new()).found.contains("the chart brings"));
    let new = || crd("httproutes", "v1", "v1.6.3");
    let some = with(vec![new()]);
    assert_eq!(some.verdict, Good);
    assert!(
        some.found
            .ends_with("brings grpcroutes and referencegrants"),
        "{some}"
    );
    let all = vec![
        new(),
        crd("grpcroutes", "v1", "v1.6.3"),
        crd("referencegrants", "v1beta1", "v1.6.3"),
    ];
    assert!(with(all).found.contains("v1.6.3"));
    assert_eq!(
        with(vec![crd("httproutes", "v1", "v1.0.0")]).verdict,
        Failed
    );
    assert_eq!(
        with(vec![crd("grpcroutes", "v1alpha2", "v1.2.0")]).verdict,
        Failed
    );
}

#[test]
fn missing_rights_are_named() {
    let line = line(Check::Rights, &[], |facts| {
        facts.rights = Ok(vec![right("secrets", true), right("clusterroles", false)]);
    });
    assert_eq!(line.verdict, Failed);
    assert_eq!(line.found, "you may not create clusterroles");
}

#[test]
fn pods_must_not_be_in_skipped_subnets() {
    let check = Check::SkippedSubnets;
    assert_eq!(line(check, &["198.18.0.0/16"], |_| {}).verdict, Failed);
    assert_eq!(line(check, &["198.18.64.0/32"], |_| {}).verdict, Failed);
    assert_eq!(
        line(check, &["198.19.0.0/16", "fd00::/8"], |_| {}).verdict,
        Good
    );
    let no_cidrs = |facts: &mut Facts| facts.nodes = Err("x".into());
    assert_eq!(line(check, &["198.18.64.2"], no_cidrs).verdict, Failed);
    assert_eq!(line(check, &["198.18.64.3"], no_cidrs).verdict, Good);
    let of_namespace = |facts: &mut Facts| {
        facts.namespaces.as_mut().unwrap()[0].skipped = vec!["198.18.64.0/28".into()];
    };
    assert_eq!(line(check, &[], of_namespace).verdict, Failed);
    let loopback = |facts: &mut Facts| facts.pod_ips = Ok(vec!["127.0.0.9".parse().unwrap()]);
    assert_eq!(line(check, &[], loopback).verdict, Failed);
}

#[test]
fn namespaces_that_would_refuse_the_init_container() {
    let with = |namespace: Namespace| {
        verdict(Check::PodSecurity, |facts| {
            facts.namespaces = Ok(vec![namespace])
        })
    };
    let level = |level: &str, inject| Namespace {
        enforces: Some(level.into()),
        inject,
        ..injected()
    };
    assert_eq!(with(level("restricted", true)), Failed);
    assert_eq!(with(level("baseline", true)), Failed);
    assert_eq!(with(level("privileged", true)), Good);
    // Nobody annotated it yet: worth knowing.
    assert_eq!(with(level("restricted", false)), Warning);
    let tried = |refuses| Namespace {
        refuses: Some(refuses),
        ..injected()
    };
    assert_eq!(with(tried(Trial::Taken)), Good);
    assert_eq!(with(tried(Trial::Refused("a policy".into()))), Failed);
    assert_eq!(with(tried(Trial::NotMade("no right".into()))), Good);
    // The trial knows better than the label: an exemption.
    let exempt = Namespace {
        enforces: Some("restricted".into()),
        ..tried(Trial::Taken)
    };
    assert_eq!(with(exempt), Good);
}

#[test]
fn privileges_are_advised_only_where_they_lack() {
    let next = |why: &str| {
        let line = line(Check::PodSecurity, &[], |facts| {
            facts.namespaces = Ok(vec![Namespace {
                refuses: Some(Trial::Refused(why.into())),
                ..injected()
            }]);
        });
        assert_eq!(line.verdict, Failed);
        assert!(line.found.contains(why), "{line}");
        line.next.expect("it failed")
    };
    let annotation = next(
        "admission webhook \"injector.outrigger.dev\" denied the request: write enabled or disabled",
    );
    assert!(
        annotation.contains("Correct what the message names"),
        "{annotation}"
    );
    let away = next("failed calling webhook \"injector.outrigger.dev\": connection refused");
    assert!(away.contains("outrigger check"), "{away}");
    for advice in [annotation, away] {
        assert!(!advice.contains("privileged"), "{advice}");
    }
    assert!(next("violates PodSecurity \"baseline:latest\"").contains("privileged"));
}

#[test]
fn other_meshes_may_be_here_but_not_in_the_same_namespace() {
    let check = Check::OtherMeshes;
    let webhook = |name: &str| {
        let name = name.to_owned();
        verdict(check, |facts| facts.webhooks = Ok(vec![name]))
    };
    assert_eq!(webhook("istio-sidecar-injector/rev"), Warning);
    assert_eq!(webhook("linkerd-proxy-injector-webhook-config/x"), Warning);
    let both = verdict(check, |facts| {
        let other_mesh = Some("Linkerd");
        facts.namespaces = Ok(vec![Namespace {
            other_mesh,
            ..injected()
        }]);
    });
    assert_eq!(both, Failed);
}

#[test]
fn an_outrigger_that_is_here_is_upgraded() {
    let one = |version: &str| Install {
        namespace: "mesh".into(),
        version: version.into(),
    };
    let with = |all| {
        line(Check::OtherOutrigger, &[], |facts| {
            facts.outriggers = Ok(all)
        })
    };
    assert_eq!(with(vec![one(env!("CARGO_PKG_VERSION"))]).verdict, Warning);
    let older = with(vec![one("0.0.1")]);
    assert!(older.next.unwrap().contains("helm upgrade -n mesh"));
    assert_eq!(with(vec![one("0.0.1"), one("0.0.2")]).verdict, Failed);
}
