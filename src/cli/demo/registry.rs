//! The demo's registry file: who there is, and the policies that the acts show.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::plan::{APP_PORT, NAMESPACE, PodPlan, SERVICE_PORT, SERVICES, Service, TRUST_DOMAIN};
use crate::controller::token::TokenDigest;

/// What the file says of one pod.
pub struct Entry<'a> {
    pub plan: &'a PodPlan,
    pub v4: Ipv4Addr,
}

/// Whether a replica of `stock` gives each caller its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bulkhead {
    Off,
    On,
}

/// The file's text: JSON, which YAML contains.
pub fn render(
    entries: &[Entry<'_>],
    tokens: &[(Service, TokenDigest)],
    bulkhead: Bulkhead,
) -> String {
    let workloads: Vec<Value> = tokens
        .iter()
        .map(|(service, digest)| workload(*service, digest, bulkhead))
        .collect();
    let services: Vec<Value> = SERVICES
        .iter()
        .map(|service| entry(*service, entries))
        .collect();
    let file = json!({
        "trustDomain": TRUST_DOMAIN,
        "workloads": workloads,
        "services": services,
    });
    format!("{file:#}\n")
}

fn workload(service: Service, digest: &TokenDigest, bulkhead: Bulkhead) -> Value {
    let mut workload = json!({
        "namespace": NAMESPACE,
        "serviceAccount": service.name(),
        "tokenSha256": digest,
        // The visitor in front of the mesh has no sidecar.
        "mtls": if service == Service::Web { "permissive" } else { "strict" },
    });
    if service == Service::Stock {
        workload["policy"] = json!({ "bulkhead": inbound(bulkhead) });
    }
    workload
}

/// A replica works on eight requests at a time; a caller gets four of them.
fn inbound(bulkhead: Bulkhead) -> Value {
    match bulkhead {
        Bulkhead::Off => json!({
            "maxInFlight": 10_000, "maxInFlightPerRoute": 10_000, "maxInFlightPerCaller": 10_000,
        }),
        Bulkhead::On => json!({ "maxInFlight": 8, "maxInFlightPerCaller": 4, "queue": 8 }),
    }
}

fn entry(service: Service, entries: &[Entry<'_>]) -> Value {
    let endpoints: Vec<Value> = entries
        .iter()
        .filter(|entry| entry.plan.service == service)
        .map(|entry| json!({ "ip": entry.v4, "serviceAccount": service.name() }))
        .collect();
    let mut value = json!({
        "namespace": NAMESPACE,
        "name": service.name(),
        "addresses": [service.v4(), service.v6()],
        "ports": [{ "port": SERVICE_PORT, "targetPort": APP_PORT, "protocol": "http" }],
        "endpoints": endpoints,
    });
    if service == Service::Stock {
        value["policy"] = json!({
            // Quicker than by default, so that a spectator sees it come back.
            "breaker": { "window": { "time": "5s" }, "openFor": "1s", "openForMax": "2s", "ramp": "1s" },
            "bulkhead": { "maxInFlight": 1000, "maxInFlightPerRoute": 1000 },
            "fallback": [{ "static": {
                "status": 200,
                "headers": [["content-type", "application/json"]],
                "body": "{\"service\":\"stock\",\"caller\":null,\"calls\":[]}",
            } }],
        });
    }
    value
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{cli::demo::plan::pods, controller::registry_file::Registry};

    #[test]
    fn the_controller_accepts_it() {
        let plans = pods();
        let entries: Vec<_> = (1..)
            .zip(&plans)
            .map(|(number, plan)| Entry {
                plan,
                v4: Ipv4Addr::new(198, 18, 1, number),
            })
            .collect();
        let tokens = SERVICES.map(|service| (service, TokenDigest::of(service.name())));
        for bulkhead in [Bulkhead::Off, Bulkhead::On] {
            let text = render(&entries, &tokens, bulkhead);
            let registry = Registry::parse(Path::new("registry.yaml"), &text);
            assert!(registry.is_ok(), "{registry:?}");
        }
    }
}
