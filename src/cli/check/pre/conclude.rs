//! What follows from the facts: one line for each thing that an install needs.

use std::net::IpAddr;

use super::facts::{Facts, GatewayCrd, Namespace, Node, Right, Server, Trial};
use crate::{
    cli::{
        check::line::{Check, Line, or_unknown, some_of},
        cluster::{Fact, Install, Refuser},
    },
    ranges::Subnet,
};

/// Native sidecars are on by default from here on.
const MIN_KUBERNETES: (u32, u32) = (1, 29);
/// Native sidecars can no longer be switched off from here on.
const SIDECARS_FOR_GOOD: (u32, u32) = (1, 33);
/// NAT in nftables tables that hold both IPv4 and IPv6.
const MIN_KERNEL: (u32, u32) = (5, 2);
/// GRPCRoute is v1, and routes may attach to Services in the standard channel.
const MIN_GATEWAY_API: (u32, u32) = (1, 1);

/// `skipped` are the subnets that the proxies will be told to leave alone.
pub fn conclude(facts: &Facts, skipped: &[Subnet]) -> Vec<Line> {
    let nodes = facts.nodes.as_ref();
    vec![
        kubernetes_version(&facts.server),
        or_unknown(Check::Nodes, &facts.nodes, |nodes| self::nodes(nodes)),
        native_sidecars(&facts.server, &facts.sidecars_kept),
        or_unknown(Check::GatewayApi, &facts.gateway_api, |crds| {
            gateway_api(crds)
        }),
        or_unknown(Check::Rights, &facts.rights, |all| rights(all)),
        or_unknown(Check::SkippedSubnets, &facts.pod_ips, |ips| {
            let cidrs = nodes.into_iter().flatten().flat_map(|node| &node.pod_cidrs);
            let namespaces = facts.namespaces.as_deref().unwrap_or_default();
            skipped_subnets(cidrs, ips, skipped, namespaces)
        }),
        or_unknown(Check::PodSecurity, &facts.namespaces, |all| {
            pod_security(all)
        }),
        other_meshes(&facts.webhooks, &facts.namespaces),
        or_unknown(Check::OtherOutrigger, &facts.outriggers, |all| {
            other_outrigger(all, env!("CARGO_PKG_VERSION"))
        }),
    ]
}

/// The first two numbers of a version: `v1.37.2`, `6.18.5-amd64`, `1.33+`.
pub fn release(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.trim_start_matches('v').split(['.', '-', '+', '_']);
    let mut number = || numbers.next()?.parse().ok();
    Some((number()?, number()?))
}

fn kubernetes_version(server: &Server) -> Line {
    let check = Check::KubernetesVersion;
    match server.release {
        Some(release) if release >= MIN_KUBERNETES => {
            Line::good(check, format!("Kubernetes {}", server.version))
        }
        Some(_) => Line::failed(
            check,
            format!("Kubernetes {} is too old", server.version),
            "Upgrade the cluster to 1.29 or newer: the proxy is a native sidecar.",
        ),
        None => Line::warning(
            check,
            format!("the server calls itself {:?}", server.version),
            "Make sure that it is Kubernetes 1.29 or newer.",
        ),
    }
}

fn nodes(nodes: &[Node]) -> Line {
    let check = Check::Nodes;
    let too_old = |version: &str, min| release(version).is_some_and(|release| release < min);
    let problem = |node: &Node| -> Option<String> {
        let what = if node.os != "linux" {
            format!("runs {}", node.os)
        } else if !["amd64", "arm64"].contains(&node.arch.as_str()) {
            format!("is {}", node.arch)
        } else if too_old(&node.kubelet, MIN_KUBERNETES) {
            format!("has kubelet {}", node.kubelet)
        } else if too_old(&node.kernel, MIN_KERNEL) {
            format!("has kernel {}", node.kernel)
        } else {
            return None;
        };
        Some(format!("{} {what}", node.name))
    };
    let problems: Vec<_> = nodes.iter().filter_map(problem).collect();
    let next = "Injected pods need Linux on amd64 or arm64, kubelet 1.29 and kernel 5.2 or newer: keep them off these nodes with a nodeSelector.";
    match (nodes.len(), problems.len()) {
        (0, _) => Line::failed(check, "the cluster has no node", "Add a node."),
        (count, 0) => Line::good(check, format!("{count} can run proxies")),
        (count, bad) if bad < count => Line::warning(check, some_of(&problems), next),
        _ => Line::failed(check, some_of(&problems), next),
    }
}

fn native_sidecars(server: &Server, kept: &Fact<bool>) -> Line {
    let check = Check::NativeSidecars;
    match kept {
        Ok(true) => Line::good(check, "the API server takes them"),
        Ok(false) => Line::failed(
            check,
            "the API server drops restartPolicy from init containers",
            "Switch on the feature gate SidecarContainers, in the API server and in every kubelet.",
        ),
        Err(_) if server.release.is_some_and(|r| r >= SIDECARS_FOR_GOOD) => {
            Line::good(check, format!("part of Kubernetes {}", server.version))
        }
        Err(why) => Line::unknown(check, why),
    }
}

fn gateway_api(crds: &[GatewayCrd]) -> Line {
    let check = Check::GatewayApi;
    let needed = ["httproutes", "grpcroutes", "referencegrants"];
    let old = |crd: &&GatewayCrd| {
        let bundle = crd.bundle.as_deref().and_then(release);
        bundle.is_some_and(|bundle| bundle < MIN_GATEWAY_API)
    };
    let unserved = |crd: &&GatewayCrd| {
        let version = if crd.name == "referencegrants" {
            "v1beta1"
        } else {
            "v1"
        };
        needed.contains(&crd.name.as_str()) && !crd.served.iter().any(|v| v == version)
    };
    if let Some(crd) = crds.iter().find(|crd| old(crd) || unserved(crd)) {
        let bundle = crd.bundle.as_deref().unwrap_or("an unnamed release");
        return Line::failed(
            check,
            format!("{} come from {bundle} of the Gateway API", crd.name),
            "The chart does not replace CRDs that are there. Install the Gateway API v1.1 or newer first, with whoever else uses it.",
        );
    }
    let present = |name: &&str| crds.iter().any(|crd| crd.name == *name);
    let absent: Vec<_> = needed.into_iter().filter(|name| !present(name)).collect();
    let bundle = crds.iter().find_map(|crd| crd.bundle.as_deref());
    let bundle = bundle.unwrap_or("without a version");
    Line::good(
        check,
        match absent.len() {
            0 => format!("its CRDs are there ({bundle}) and stay as they are"),
            n if n == needed.len() => "not there: the chart brings its CRDs".to_owned(),
            _ => format!(
                "there ({bundle}); the chart brings {}",
                absent.join(" and ")
            ),
        },
    )
}

fn rights(all: &[Right]) -> Line {
    let missing = all.iter().filter(|right| !right.allowed);
    let missing: Vec<_> = missing
        .map(|right| format!("{} {}", right.verb, right.resource))
        .collect();
    if missing.is_empty() {
        return Line::good(Check::Rights, "you may create all that the chart has");
    }
    Line::failed(
        Check::Rights,
        format!("you may not {}", some_of(&missing)),
        "Install as a cluster administrator, or have these rights granted to you.",
    )
}

fn skipped_subnets<'a>(
    cidrs: impl Iterator<Item = &'a String>,
    ips: &[IpAddr],
    skipped: &[Subnet],
    namespaces: &[Namespace],
) -> Line {
    let check = Check::SkippedSubnets;
    let cidrs: Vec<Subnet> = cidrs.filter_map(|cidr| cidr.parse().ok()).collect();
    let of_namespaces = namespaces.iter().flat_map(|namespace| &namespace.skipped);
    let of_namespaces = of_namespaces.filter_map(|subnet| subnet.parse().ok());
    let skipped: Vec<Subnet> = skipped.iter().copied().chain(of_namespaces).collect();
    let loopback = ips.iter().find(|ip| ip.is_loopback());
    if let Some(ip) = loopback {
        return Line::failed(
            check,
            format!("a pod has the loopback address {ip}, which is never intercepted"),
            "Give the cluster's pods another address range.",
        );
    }
    let hits = |subnet: &&Subnet| {
        cidrs.iter().any(|cidr| cidr.overlaps(**subnet))
            || ips.iter().any(|ip| subnet.contains(*ip))
    };
    match skipped.iter().find(hits) {
        Some(subnet) => Line::failed(
            check,
            format!("{subnet} is skipped, and pods have addresses in it"),
            "Traffic between those pods would be outside the mesh: take the subnet out of proxy.skipInboundSubnets, proxy.skipOutboundSubnets and the annotations of the same name.",
        ),
        None => Line::good(
            check,
            match cidrs.len() {
                0 => format!("no address of {} pods is skipped", ips.len()),
                1 => format!("pods are in {}, none is skipped", cidrs[0]),
                n => format!("pods are in {n} ranges, none is skipped"),
            },
        ),
    }
}

fn pod_security(namespaces: &[Namespace]) -> Line {
    let check = Check::PodSecurity;
    let level = |namespace: &Namespace| match namespace.enforces.as_deref() {
        Some(level @ ("baseline" | "restricted")) => Some(format!("{} ({level})", namespace.name)),
        _ => None,
    };
    let (mut refused, mut next) = (Vec::new(), Vec::new());
    for namespace in namespaces.iter().filter(|namespace| namespace.inject) {
        let (what, refuser) = match (&namespace.refuses, level(namespace)) {
            (Some(Trial::Refused(why)), _) => {
                (format!("{}: {why}", namespace.name), Refuser::of(why))
            }
            (Some(Trial::NotMade(_)) | None, Some(level)) => (level, Refuser::PodSecurity),
            _ => continue,
        };
        refused.push(what);
        if !next.contains(&refuser.advice()) {
            next.push(refuser.advice());
        }
    }
    if !refused.is_empty() {
        let found = format!("injected pods are refused in {}", some_of(&refused));
        return Line::failed(check, found, next.join(" "));
    }
    let next = Refuser::PodSecurity.advice();
    let injected = namespaces
        .iter()
        .filter(|namespace| namespace.inject)
        .count();
    let strict = namespaces.iter().filter(|namespace| !namespace.inject);
    let strict: Vec<_> = strict.filter_map(level).collect();
    if injected == 0 && !strict.is_empty() {
        let found = format!(
            "no namespace is injected yet; pods could not be in {}",
            some_of(&strict)
        );
        return Line::warning(check, found, next);
    }
    Line::good(
        check,
        match injected {
            0 => "no namespace is injected yet, and none would refuse it".to_owned(),
            n => format!("{n} namespaces to inject, none refuses it"),
        },
    )
}

/// Meshes that put a proxy of their own before the same traffic, and how their webhooks are called.
const MESHES: [(&str, &[&str]); 5] = [
    ("Istio", &["istio"]),
    ("Linkerd", &["linkerd"]),
    ("Consul", &["consul"]),
    ("Kuma", &["kuma", "kong-mesh"]),
    ("Open Service Mesh", &["osm-"]),
];

fn other_meshes(webhooks: &Fact<Vec<String>>, namespaces: &Fact<Vec<Namespace>>) -> Line {
    let check = Check::OtherMeshes;
    let known = namespaces.iter().flatten();
    let mut both = known.filter(|namespace| namespace.inject && namespace.other_mesh.is_some());
    if let Some(namespace) = both.next() {
        let other = namespace.other_mesh.unwrap_or_default();
        return Line::failed(
            check,
            format!("namespace {} asks for {other} too", namespace.name),
            "Two proxies would fight for the same traffic: let one of the two meshes have the namespace.",
        );
    }
    let webhooks = match webhooks {
        Ok(webhooks) => webhooks,
        Err(why) => return Line::unknown(check, why),
    };
    let here = |words: &[&str]| {
        let has = |webhook: &String| words.iter().any(|word| webhook.contains(word));
        webhooks.iter().any(has)
    };
    let found: Vec<_> = MESHES.iter().filter(|(_, words)| here(words)).collect();
    match found.first() {
        None => Line::good(check, "none"),
        Some((name, _)) => Line::warning(
            check,
            format!("{name} injects proxies in this cluster"),
            "Both can be here, but never in the same pods: annotate only namespaces that the other one leaves alone.",
        ),
    }
}

fn other_outrigger(all: &[Install], version: &str) -> Line {
    let check = Check::OtherOutrigger;
    match all {
        [] => Line::good(check, "none"),
        [one] if one.version == version => Line::warning(
            check,
            format!("version {version} is installed in {}", one.namespace),
            "There is nothing to install: `outrigger check` says how it is.",
        ),
        [one] => Line::warning(
            check,
            format!(
                "version {} is installed in {}, this is {version}",
                one.version, one.namespace
            ),
            format!(
                "Upgrade it with `helm upgrade -n {}` instead of installing a second one.",
                one.namespace
            ),
        ),
        several => {
            let places = several
                .iter()
                .map(|one| format!("{} ({})", one.namespace, one.version));
            Line::failed(
                check,
                format!(
                    "several are installed: {}",
                    some_of(&places.collect::<Vec<_>>())
                ),
                "A cluster can have one: uninstall all but one with `helm uninstall`.",
            )
        }
    }
}

#[cfg(test)]
#[path = "conclude_tests.rs"]
mod tests;
