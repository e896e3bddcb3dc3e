//! What must hold when all is quiet again.

use std::collections::BTreeMap;

use super::{
    mesh::Mesh,
    observed::Observed,
    registry::{BUDGET, TRUST_DOMAIN},
};
use crate::{
    controller::registry_file,
    discovery::resource::{Kind, Resource, ResourceName},
    proxy::belief::Belief,
};

/// Retries beyond the budget that a seed may show for a service: a window's first requests pay
/// before they are counted.
const RETRIES_BESIDE: f64 = 2.0;

/// No request is under way: whatever holds a place in a bulkhead has leaked it.
pub fn permits(mesh: &Mesh) {
    each_proxy(mesh, |name, belief, observed| {
        for upstream in &belief.upstreams {
            let routes = upstream.routes.iter();
            let gates = routes.map(|(route, gate)| (route.as_str(), gate));
            for (route, gate) in gates.chain([("", &upstream.bulkhead)]) {
                if gate.in_use + gate.queued > 0 {
                    observed.violated(format!(
                        "{name} holds {} places and {} in the queue before {} {route}",
                        gate.in_use, gate.queued, upstream.upstream
                    ));
                }
            }
        }
    });
}

/// Every breaker has closed again.
pub fn breakers(mesh: &Mesh) {
    each_proxy(mesh, |name, belief, observed| {
        for broken in not_closed(belief) {
            observed.violated(format!(
                "{name}: the breaker of {broken} long after the last fault"
            ));
        }
    });
}

pub fn all_closed(mesh: &Mesh) -> bool {
    let all = std::cell::Cell::new(true);
    each_proxy(mesh, |_, belief, _| {
        all.set(all.get() && not_closed(belief).is_empty())
    });
    all.get()
}

fn not_closed(belief: &Belief) -> Vec<String> {
    let mut broken = Vec::new();
    for upstream in &belief.upstreams {
        let endpoints = upstream.endpoints.iter();
        let endpoints = endpoints.map(|(addr, breaker)| (addr.to_string(), breaker));
        let service = [("as a whole".to_owned(), &upstream.breaker)];
        let open = endpoints
            .chain(service)
            .filter(|(_, b)| b.state != "closed");
        broken.extend(open.map(|(of, b)| format!("{} {of} is {}", upstream.upstream, b.state)));
    }
    broken
}

fn each_proxy(mesh: &Mesh, check: impl Fn(&str, &Belief, &Observed)) {
    for pod in &mesh.pods {
        let shared = pod
            .view
            .borrow()
            .as_ref()
            .and_then(|view| view.shared.upgrade());
        match shared {
            Some(shared) => check(&pod.place.name, &shared.describe(), &mesh.observed),
            None => mesh
                .observed
                .violated(format!("{} has no proxy", pod.place.name)),
        }
    }
}

/// Every proxy believes what the registry's file says.
///
/// # Panics
/// When the file is not valid.
pub fn registry(mesh: &Mesh) {
    let file = mesh.registry_file();
    let text = std::fs::read_to_string(&file).expect("an own file");
    let said = registry_file::Registry::parse(&file, &text).expect("a valid registry");
    let said: BTreeMap<ResourceName, Resource> = said.resources.into_iter().collect();
    for pod in &mesh.pods {
        let view = pod.view.borrow();
        let Some(shared) = view.as_ref().and_then(|view| view.shared.upgrade()) else {
            continue;
        };
        if !shared.discovery.status().connected {
            let name = &pod.place.name;
            mesh.observed
                .violated(format!("{name} is not connected to the controller"));
        }
        let mut known = 0;
        for (name, resource) in shared.discovery.resources() {
            if name.kind == Kind::TrustBundle {
                continue;
            }
            known += 1;
            if said.get(&name) != Some(&resource) {
                mesh.observed.violated(format!(
                    "{} believes of {name} what the registry does not say: {resource:?}",
                    pod.place.name
                ));
            }
        }
        if known == 0 {
            mesh.observed.violated(format!(
                "{} knows nothing of {TRUST_DOMAIN}",
                pod.place.name
            ));
        }
    }
}

/// Servers saw no more requests than clients sent and the retry budget allows.
pub fn amplification(observed: &Observed) {
    for (service, sent, served) in observed.counts() {
        let allowed = sent as f64 * (1.0 + BUDGET) + RETRIES_BESIDE;
        if served as f64 > allowed {
            observed.violated(format!(
                "{service} served {served} of {sent} requests: more than {allowed}"
            ));
        }
    }
}

/// Background tasks of proxies must not die.
pub fn tasks(mesh: &Mesh) {
    for pod in &mesh.pods {
        let view = pod.view.borrow();
        let Some(view) = view.as_ref() else { continue };
        let mut fatal = view.fatal.borrow_mut();
        let heard = futures_util::FutureExt::now_or_never(fatal.recv());
        if let Some(fatal) = heard {
            mesh.observed
                .violated(format!("{}: {fatal}", pod.place.name));
        }
    }
}
