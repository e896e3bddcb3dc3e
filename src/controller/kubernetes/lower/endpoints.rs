//! Which endpoints a service port has now.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::{
    index::Index,
    object::{EndpointState, Name, Pod, Port, Service, Slice, SliceEndpoint},
};
use crate::{discovery::model::Endpoint, identity::SpiffeId};

/// How pods are called in the mesh.
#[derive(Debug)]
pub(super) struct Pods {
    pub trust_domain: Arc<str>,
}

impl Pods {
    /// `None` when no sidecar answers there.
    pub fn identity(&self, name: &Name, pod: &Pod) -> Option<SpiffeId> {
        let account = || Name::new(name.namespace.clone(), pod.service_account.clone());
        pod.injected.then(|| self.account(&account()))
    }

    /// The identity of a service account.
    pub fn account(&self, account: &Name) -> SpiffeId {
        SpiffeId::new(&self.trust_domain, &account.namespace, &account.name).expect(
            "names of the cluster are valid in identities, and the trust domain was checked",
        )
    }

    pub fn endpoint(&self, index: &Index, name: &Name, pod: &Pod, addr: SocketAddr) -> Endpoint {
        Endpoint {
            addr,
            weight: 1,
            zone: index.zone_of(pod),
            identity: self
                .identity(name, pod)
                .filter(|_| !pod.bypassed.iter().any(|ports| ports.contains(addr.port()))),
        }
    }
}

impl Slice {
    /// Where the endpoints serve the service's port of this name.
    pub(super) fn target(&self, port: &str) -> Option<u16> {
        let mut ports = self.ports.iter();
        ports.find_map(|(name, number)| (**name == *port).then_some(*number))
    }
}

/// One that may take traffic.
struct Candidate<'a> {
    state: EndpointState,
    endpoint: Endpoint,
    pod: Option<&'a Pod>,
}

/// What makes two listings one endpoint: the pod, whichever of its families, or the address.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Identified<'a> {
    Pod(&'a Name, u16),
    Address(SocketAddr),
}

/// The endpoints that take traffic: those that are ready, or, where none is, those that still
/// serve on their way out. Also whether a pod among them says that the port is opaque.
pub(super) fn endpoints(
    index: &Index,
    pods: &Pods,
    name: &Name,
    service: &Service,
    port: &Port,
) -> (Vec<Endpoint>, bool) {
    let mut found: BTreeMap<Identified<'_>, Candidate<'_>> = BTreeMap::new();
    for slice in index.slices_of(name) {
        let Some(target) = slice.target(&port.name) else {
            continue;
        };
        for listed in &slice.endpoints {
            let Ok(pod) = pod_behind(index, &name.namespace, listed) else {
                continue;
            };
            let addr = SocketAddr::new(listed.ip, target);
            let mut endpoint = pod.map_or_else(
                || plain(addr),
                |(name, pod)| pods.endpoint(index, name, pod, addr),
            );
            endpoint.zone = listed.zone.clone().or(endpoint.zone);
            let candidate = Candidate {
                state: listed.state,
                endpoint,
                pod: pod.map(|(_, pod)| pod),
            };
            let key = pod.map_or(Identified::Address(addr), |(name, _)| {
                Identified::Pod(name, target)
            });
            let rank = |candidate: &Candidate<'_>| {
                let preferred = candidate.endpoint.addr.is_ipv6() == service.prefers_v6;
                (preferred, candidate.state == EndpointState::Ready)
            };
            match found.get_mut(&key) {
                Some(known) if rank(known) >= rank(&candidate) => {}
                Some(known) => *known = candidate,
                None => drop(found.insert(key, candidate)),
            }
        }
    }
    let opaque = found.values().any(|candidate| {
        let port = candidate.endpoint.addr.port();
        let said = candidate.pod.and_then(|pod| pod.opaque.as_ref());
        said.is_some_and(|ports| ports.contains(port))
    });
    let of = |state| found.values().filter(move |found| found.state == state);
    let best = match of(EndpointState::Ready).next() {
        Some(_) => EndpointState::Ready,
        None => EndpointState::Draining,
    };
    let mut taking: Vec<_> = of(best).map(|found| found.endpoint.clone()).collect();
    taking.sort_by_key(|endpoint| endpoint.addr);
    (taking, opaque)
}

/// The pod behind a listed address must be known, or else nobody knows whose certificate to ask
/// for: a pod that the watch has not shown yet, or that is gone, takes no traffic.
pub(super) struct UnknownPod;

pub(super) fn pod_behind<'a>(
    index: &'a Index,
    namespace: &Arc<str>,
    listed: &SliceEndpoint,
) -> Result<Option<(&'a Name, &'a Pod)>, UnknownPod> {
    let Some(pod) = &listed.pod else {
        return Ok(index.pod_at(listed.ip));
    };
    let name = Name::new(namespace.clone(), pod.clone());
    let known = index.pods.get_key_value(&name);
    let has = |ips: &[IpAddr]| ips.contains(&listed.ip);
    known
        .filter(|(_, pod)| has(&pod.ips))
        .map(Some)
        .ok_or(UnknownPod)
}

fn plain(addr: SocketAddr) -> Endpoint {
    Endpoint {
        addr,
        weight: 1,
        zone: None,
        identity: None,
    }
}
