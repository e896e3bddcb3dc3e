//! What follows from the facts about the control plane.

use std::time::{Duration, SystemTime};

use super::{
    facts::{Controller, Crd, CrdState, Facts, Pods, PolicyProblem, Webhook},
    proxies,
};
use crate::cli::{
    check::line::{Check, Line, or_unknown, some_of},
    cluster::{CONTROLLER, Install, Validity, age},
};

/// An issuer is to be replaced before it has less than this left: certificates end with it.
const ISSUER_MARGIN: Duration = Duration::from_secs(7 * 86_400);
/// Trust anchors are rotated by people, who need notice.
const ROOT_MARGIN: Duration = Duration::from_secs(30 * 86_400);
/// The controller renews the webhook's certificate by itself, long before.
const WEBHOOK_MARGIN: Duration = Duration::from_secs(86_400);

/// Every line; without an install only that there is none.
pub fn conclude(facts: &Facts, now: SystemTime) -> Vec<Line> {
    let version = env!("CARGO_PKG_VERSION");
    let mut lines = vec![or_unknown(Check::Installed, &facts.installs, |all| {
        installed(all, version)
    })];
    if facts.installs.as_ref().is_ok_and(|all| all.len() != 1) {
        return lines;
    }
    lines.extend([
        or_unknown(Check::Controller, &facts.controller, controller),
        or_unknown(Check::Issuer, &facts.issuer, |validity| {
            issuer(*validity, now)
        }),
        or_unknown(Check::TrustAnchors, &facts.roots, |roots| {
            trust_anchors(roots, now)
        }),
        or_unknown(Check::Webhook, &facts.webhook, |found| webhook(found, now)),
        or_unknown(Check::CustomResources, &facts.crds, |crds| {
            custom_resources(crds)
        }),
        or_unknown(Check::Policies, &facts.policies, |problems| {
            policies(problems)
        }),
        or_unknown(Check::InjectedPods, &facts.pods, injected_pods),
    ]);
    if !facts.proxies.is_empty() {
        let controller = facts.controller.as_ref().ok().map(|c| c.version.as_str());
        lines.extend(proxies::conclude(&facts.proxies, controller, now));
    }
    lines
}

fn installed(all: &[Install], version: &str) -> Line {
    let check = Check::Installed;
    match all {
        [] => Line::failed(
            check,
            "Outrigger is not in this cluster",
            "Install it: `outrigger check --pre`, then `helm install outrigger charts/outrigger -n outrigger-system --create-namespace`.",
        ),
        [one] if one.version != version => Line::warning(
            check,
            format!(
                "version {} in {}, and this command is {version}",
                one.version, one.namespace
            ),
            "Use the command of the controller's version: this one may misread what it finds.",
        ),
        [one] => Line::good(check, format!("version {version} in {}", one.namespace)),
        several => {
            let places = several.iter().map(|one| one.namespace.clone());
            Line::failed(
                check,
                format!(
                    "it is installed in {}",
                    some_of(&places.collect::<Vec<_>>())
                ),
                "A cluster can have one: uninstall all but one with `helm uninstall`.",
            )
        }
    }
}

fn controller(found: &Controller) -> Line {
    let check = Check::Controller;
    let Controller {
        desired,
        ready,
        updated,
        ..
    } = found;
    if *desired == 0 {
        return Line::failed(
            check,
            "it is scaled to 0: no pod of an injected namespace can be created, and no certificate renewed",
            format!(
                "`kubectl -n {} scale deployment {CONTROLLER} --replicas 2`, or what the chart's controller.replicas says.",
                found.namespace
            ),
        );
    }
    let replicas = format!("{ready} of {desired} replicas ready");
    let seen = match found.troubles.is_empty() {
        true => replicas,
        false => format!("{replicas}: {}", some_of(&found.troubles)),
    };
    let next = format!(
        "Look at `kubectl -n {} describe pods -l app.kubernetes.io/component=controller`, and at their logs.",
        found.namespace
    );
    if *ready == 0 {
        return Line::failed(check, seen, next);
    }
    if ready < desired {
        return Line::warning(check, seen, next);
    }
    if updated < desired {
        return Line::warning(
            check,
            format!("{seen}, a rollout is under way"),
            "Wait for it, and check again.",
        );
    }
    Line::good(check, seen)
}

fn issuer(validity: Validity, now: SystemTime) -> Line {
    let check = Check::Issuer;
    let next = "The controller replaces an issuer of its own making in time; replace one that you brought, in the Secret outrigger-ca.";
    expiry(check, "the issuer", validity, ISSUER_MARGIN, now, next)
}

fn trust_anchors(roots: &[Validity], now: SystemTime) -> Line {
    let check = Check::TrustAnchors;
    let next = "Add a new root beside the old one in the Secret outrigger-ca (ca.crt), wait until every proxy has it, then change the issuer.";
    let Some(last) = roots.iter().max_by_key(|validity| validity.not_after) else {
        return Line::failed(check, "there is no trust anchor", next);
    };
    let line = expiry(
        check,
        "the last trust anchor",
        *last,
        ROOT_MARGIN,
        now,
        next,
    );
    match roots.len() {
        1 => line,
        n => Line {
            found: format!("{} ({n} are trusted)", line.found),
            ..line
        },
    }
}

fn webhook(found: &Webhook, now: SystemTime) -> Line {
    let check = Check::Webhook;
    if !found.configured {
        return Line::failed(
            check,
            "no webhook sends pods to the controller: nothing is injected",
            "Restore it with `helm upgrade`.",
        );
    }
    if found.endpoints == 0 {
        return Line::failed(
            check,
            "its Service has no ready endpoint: pods of injected namespaces cannot be created",
            "Bring the controller back; to create pods meanwhile, label their namespace outrigger.dev/webhook=disabled.",
        );
    }
    if found.trusts_secret == Some(false) {
        return Line::failed(
            check,
            "the API server trusts another CA than the webhook's certificate has",
            "The leading controller writes it: look at the controllers' logs, and whether something else edits the webhook configuration.",
        );
    }
    let next = "The leading controller renews it: look at the controllers' logs.";
    match found.serving {
        Some(serving) => expiry(check, "its certificate", serving, WEBHOOK_MARGIN, now, next),
        None => Line::good(
            check,
            "it is configured and served; its certificate cannot be read by you",
        ),
    }
}

/// The line about something that ends.
fn expiry(
    check: Check,
    what: &str,
    validity: Validity,
    margin: Duration,
    now: SystemTime,
    next: &str,
) -> Line {
    if validity.not_before > now {
        return Line::failed(
            check,
            format!("{what} is not valid yet"),
            "Compare the clocks of the nodes and of this machine.",
        );
    }
    match validity.not_after.duration_since(now) {
        Err(past) => Line::failed(
            check,
            format!("{what} expired {} ago", age(past.duration())),
            next,
        ),
        Ok(left) if left < margin => {
            Line::warning(check, format!("{what} expires in {}", age(left)), next)
        }
        Ok(left) => Line::good(check, format!("{what} is valid for {}", age(left))),
    }
}

fn custom_resources(crds: &[Crd]) -> Line {
    let check = Check::CustomResources;
    let of = |state| {
        let those = crds.iter().filter(move |crd| crd.state == state);
        those.map(|crd| crd.name.clone()).collect::<Vec<_>>()
    };
    let (absent, waiting) = (of(CrdState::Absent), of(CrdState::NotEstablished));
    if !absent.is_empty() {
        return Line::failed(
            check,
            format!("missing: {}", some_of(&absent)),
            "Restore them with `helm upgrade`, or apply the chart's crds folder with `kubectl apply --server-side`.",
        );
    }
    if !waiting.is_empty() {
        return Line::failed(
            check,
            format!("not established: {}", some_of(&waiting)),
            "`kubectl describe crd` of them says what the API server holds against it.",
        );
    }
    let other = of(CrdState::Differs);
    if !other.is_empty() {
        return Line::warning(
            check,
            format!("of another version than this command: {}", some_of(&other)),
            "`helm upgrade` brings those of the chart's version. Fields that only one of the two knows are lost or refused.",
        );
    }
    Line::good(check, format!("{} are there, of this version", crds.len()))
}

fn policies(problems: &[PolicyProblem]) -> Line {
    let check = Check::Policies;
    let told = problems
        .iter()
        .map(|p| format!("{}: {}", p.object, p.message));
    match problems.len() {
        0 => Line::good(check, "every policy and route is accepted"),
        _ => Line::warning(
            check,
            some_of(&told.collect::<Vec<_>>()),
            "`outrigger get policies` lists them; the status of each says more.",
        ),
    }
}

fn injected_pods(pods: &Pods) -> Line {
    let check = Check::InjectedPods;
    let found = match pods.injected {
        0 => "no pod has a proxy".to_owned(),
        1 => "1 pod has a proxy".to_owned(),
        n => format!("{n} pods have a proxy"),
    };
    if !pods.without.is_empty() {
        return Line::warning(
            check,
            format!(
                "{found}; in injected namespaces without one: {}",
                some_of(&pods.without)
            ),
            "A proxy comes with a pod's creation: `kubectl rollout restart` its workload. `outrigger diagnose POD` says why one has none.",
        );
    }
    match pods.injected {
        0 => Line::warning(
            check,
            found,
            "Annotate a namespace outrigger.dev/inject=enabled and restart its workloads.",
        ),
        _ => Line::good(check, found),
    }
}

#[cfg(test)]
#[path = "conclude_tests.rs"]
mod tests;
