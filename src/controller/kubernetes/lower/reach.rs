//! What an access policy cannot protect: pods and ports that no sidecar stands before.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    address::target_ports,
    endpoints::pod_behind,
    index::{Index, within},
    object::{Name, Pod},
    reference::Unresolved,
    route,
};
use crate::controller::kubernetes::findings::Verdict;

/// The reason of a policy that protects nothing.
const NOTHING: &str = "ProtectsNothing";

/// How many pods there are of each kind; those that end do not count.
#[derive(Debug, Default)]
struct Reach {
    protected: usize,
    /// Without a sidecar, or no pods of the namespace at all.
    bare: usize,
    /// With one that the port's traffic passes by.
    skipped: usize,
}

/// What a policy protects behind a Service of its namespace.
pub(super) fn of_service(index: &Index, name: &Name) -> Verdict {
    let Some(service) = index.services.get(name) else {
        return bad("TargetNotFound", format!("there is no Service {name}"));
    };
    if service.external {
        let message = format!("Service {name} is only a name for something outside");
        return bad(NOTHING, message);
    }
    if service.ports.is_empty() {
        let message = format!(
            "Service {name} has no TCP port, and a policy is for the ports behind a Service: name them in its spec.ports, or leave out targetRefs"
        );
        return bad(NOTHING, message);
    }
    // By pod, of which several slices may tell: whether its sidecar takes all of the ports.
    let mut behind: BTreeMap<Name, (Option<&Pod>, bool)> = BTreeMap::new();
    for slice in index.slices_of(name) {
        let ports: Vec<_> = target_ports(service, slice).collect();
        let endpoints = slice.endpoints.iter().filter(|_| !ports.is_empty());
        for endpoint in endpoints {
            // One that the watch has not shown yet, or that is gone, says nothing of the policy.
            let Ok(found) = pod_behind(index, &name.namespace, endpoint) else {
                continue;
            };
            let found = found.filter(|(pod, _)| pod.namespace == name.namespace);
            let key = match found {
                Some((name, _)) => name.clone(),
                None => Name::new("", endpoint.ip.to_string()),
            };
            let pod = found.map(|(_, pod)| pod);
            let skips = pod.is_some_and(|pod| {
                let skips = |port| pod.bypassed.iter().any(|ports| ports.contains(port));
                ports.iter().any(|(_, target)| skips(*target))
            });
            behind.entry(key).or_insert((pod, false)).1 |= skips;
        }
    }
    let mut reach = Reach::default();
    for (pod, skips) in behind.into_values() {
        match pod {
            Some(pod) if pod.terminating => {}
            Some(pod) if pod.injected && skips => reach.skipped += 1,
            Some(pod) if pod.injected => reach.protected += 1,
            _ => reach.bare += 1,
        }
    }
    reach.verdict(&format!("behind Service {name}"))
}

/// What a policy for a whole namespace protects there.
pub(super) fn of_namespace(index: &Index, namespace: &Arc<str>) -> Verdict {
    let mut reach = Reach::default();
    let pods = within(&index.pods, namespace).filter_map(|name| index.pods.get(name));
    for pod in pods.filter(|pod| !pod.terminating) {
        match pod.injected {
            true => reach.protected += 1,
            false => reach.bare += 1,
        }
    }
    reach.verdict(&format!("in namespace {namespace}"))
}

impl Reach {
    fn verdict(&self, place: &str) -> Verdict {
        let mut gaps = Vec::new();
        if self.bare > 0 {
            gaps.push(format!("{} without a sidecar", self.bare));
        }
        if self.skipped > 0 {
            let skipped = self.skipped;
            gaps.push(format!("{skipped} whose skip-inbound-ports name its port"));
        }
        let gaps = gaps.join(" and ");
        match (gaps.is_empty(), self.protected) {
            (true, _) => Verdict::Good,
            (false, 0) => bad(NOTHING, format!("all pods {place} are open: {gaps}")),
            (false, _) => Verdict::Noted {
                message: format!("it does not protect these pods {place}: {gaps}"),
            },
        }
    }
}

fn bad(reason: &'static str, message: String) -> Verdict {
    route::verdict(Err(Unresolved { reason, message }))
}
