use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{
    access,
    discovery::{
        model::{Endpoints, Service, Workload},
        resource::{Kind, Resource, ResourceName},
    },
    identity::TrustAnchors,
    proxy::{
        balance::{Balancer, BalancerConfig},
        route::RouteTable,
    },
    resilience::{
        Breaker, Bulkhead, CallResult, Entry, Outcome, Priority, ResiliencePolicy, RetryBudget,
    },
};

/// A value of the discovery stream. The first byte is its kind, the first line the rest of its
/// name, and JSON follows. What passes the checks is written as it is read back, and the data plane can use
/// it: its routes compile, its policies decide, its roots are roots.
pub fn resource(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
        return;
    };
    let Ok(name) = str::from_utf8(&rest[..end]) else {
        return;
    };
    let kind = Kind::ALL[usize::from(*kind) % Kind::ALL.len()];
    let name = ResourceName::new(kind, name);
    match Resource::from_json(&name, &rest[end + 1..]) {
        Ok(resource) => check(&name, &resource),
        Err(error) => assert!(!error.problem.to_string().is_empty()),
    }
}

/// What holds for every value that was let in, wherever it came from.
pub(super) fn check(name: &ResourceName, resource: &Resource) {
    assert_eq!(resource.kind(), name.kind);
    let json = resource.to_json();
    let again = Resource::from_json(name, &json).expect("what was accepted is accepted again");
    let read = |json: &[u8]| serde_json::from_slice::<Value>(json).expect("it was written");
    assert!(
        alike(&read(&again.to_json()), &read(&json)),
        "{again:?} was {resource:?}"
    );
    match resource {
        Resource::Service(service) => check_service(service),
        Resource::Endpoints(endpoints) => check_endpoints(endpoints),
        Resource::Workload(workload) => check_workload(workload),
        Resource::TrustBundle(bundle) => {
            TrustAnchors::from_pem(&bundle.roots).expect("checked");
        }
        Resource::Destination(_) => {}
    }
}

/// The same but for the last bit of a fraction, which serde_json's quick way to read one may lose.
pub(super) fn alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) if one.is_f64() && other.is_f64() => {
            let [one, other] = [one, other].map(|number| number.as_f64().unwrap_or(f64::NAN));
            (one - other).abs() <= one.abs() * 4.0 * f64::EPSILON
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| alike(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let same = |(name, value)| other.get(name).is_some_and(|other| alike(value, other));
            one.len() == other.len() && one.iter().all(same)
        }
        _ => one == other,
    }
}

fn check_service(service: &Service) {
    let consumers = service
        .routes
        .iter()
        .filter_map(|route| route.consumers.as_deref());
    for namespace in consumers.chain(["elsewhere"]) {
        let compiled = RouteTable::compile(service, namespace);
        compiled.expect("what passes the checks compiles");
    }
    let policies = service
        .routes
        .iter()
        .filter_map(|route| route.policy.as_ref());
    policies.chain([&service.policy]).for_each(check_policy);
}

fn check_workload(workload: &Workload) {
    check_policy(&workload.policy);
    if let Some(access) = &workload.access {
        let table = access::Table::compile(access, "mesh.local");
        assert_eq!(table.policies(80).count(), {
            let policies = access.policies.iter();
            policies
                .filter(|p| p.ports.is_empty() || p.ports.contains(&80))
                .count()
        });
    }
}

/// Deciding by it neither panics nor overflows, now and an hour later.
fn check_policy(policy: &ResiliencePolicy) {
    let start = Instant::now();
    let mut breaker = Breaker::new(policy.breaker.clone(), 1);
    let mut bulkhead = Bulkhead::new(&policy.bulkhead);
    let mut budget = RetryBudget::new(&policy.retry);
    for (now, result) in [
        (start, CallResult::Failure),
        (start + Duration::from_secs(3_600), CallResult::Success),
    ] {
        let outcome = Outcome {
            result,
            latency: Duration::from_secs(1),
            retry_after: Some(Duration::MAX),
        };
        for _ in 0..8 {
            if let Ok(permit) = breaker.admit(now) {
                breaker.record(now, permit, outcome);
            }
            if let Entry::Admitted(place) = bulkhead.enter(now, Priority::default(), None) {
                assert!(bulkhead.in_use() <= bulkhead.limit());
                assert!(bulkhead.leave(now, place, Some(&outcome)).is_none());
            }
            budget.deposit(now);
            let _spent = budget.withdraw(now);
        }
    }
}

/// Whoever has a weight is found, and nobody without one.
fn check_endpoints(endpoints: &Endpoints) {
    let mut balancer = Balancer::new(BalancerConfig::default());
    let now = Instant::now();
    balancer.update(endpoints, now);
    let mut rng = fastrand::Rng::with_seed(1);
    let weighted = endpoints
        .endpoints
        .iter()
        .any(|endpoint| endpoint.weight > 0);
    let picked = balancer.pick(now, &mut rng, |_| 1.0);
    assert_eq!(picked.is_some(), weighted);
    if let Some(endpoint) = picked.and_then(|id| balancer.endpoint(id)) {
        assert_ne!(endpoint.weight, 0);
    }
}
