mod new_endpoints;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use proptest::prelude::*;

use super::*;
use crate::discovery::model::Endpoint;

const MS: Duration = Duration::from_millis(1);

fn endpoint(port: u16, weight: u32, zone: Option<&str>) -> Endpoint {
    Endpoint {
        addr: ([127, 0, 0, 1], port).into(),
        weight,
        zone: zone.map(Into::into),
        identity: None,
    }
}

fn endpoints(endpoints: impl IntoIterator<Item = Endpoint>) -> Endpoints {
    Endpoints {
        service: "shop/cart:80".parse().expect("a key"),
        endpoints: endpoints.into_iter().collect(),
    }
}

fn alike(ports: std::ops::Range<u16>) -> Endpoints {
    endpoints(ports.map(|port| endpoint(port, 1, None)))
}

/// A service on a virtual clock.
struct Service {
    balancer: Balancer,
    rng: fastrand::Rng,
    now: Instant,
    counts: BTreeMap<u16, u32>,
}

impl Service {
    fn new(endpoints: &Endpoints) -> Self {
        Self::in_zone(endpoints, None)
    }

    fn in_zone(endpoints: &Endpoints, zone: Option<&str>) -> Self {
        let config = BalancerConfig {
            zone: zone.map(Into::into),
            ..BalancerConfig::default()
        };
        let now = Instant::now();
        let mut balancer = Balancer::new(config);
        balancer.update(endpoints, now);
        Self {
            balancer,
            rng: fastrand::Rng::with_seed(7),
            now,
            counts: BTreeMap::new(),
        }
    }

    fn pick(&mut self) -> EndpointId {
        let id = self
            .balancer
            .pick(self.now, &mut self.rng, |_| 1.0)
            .expect("an endpoint");
        self.balancer.started(id);
        *self.counts.entry(self.port(id)).or_default() += 1;
        id
    }

    fn port(&self, id: EndpointId) -> u16 {
        self.balancer.endpoint(id).expect("present").addr.port()
    }

    /// Sends requests, always `concurrency` in flight; an answer takes what `latency` says of
    /// the port, and up to a fifth more.
    fn run(&mut self, requests: u32, concurrency: usize, latency: impl Fn(u16) -> Duration) {
        let mut in_flight = BinaryHeap::new();
        for _ in 0..requests {
            if in_flight.len() == concurrency {
                self.answer(&mut in_flight);
            }
            let id = self.pick();
            let took = latency(self.port(id)).mul_f64(1.0 + self.rng.f64() / 5.0);
            in_flight.push(Reverse((self.now + took, id, took)));
        }
        while !in_flight.is_empty() {
            self.answer(&mut in_flight);
        }
    }

    fn answer(&mut self, in_flight: &mut BinaryHeap<Reverse<(Instant, EndpointId, Duration)>>) {
        let Reverse((at, id, took)) = in_flight.pop().expect("a request");
        self.now = at;
        self.balancer.finished(id, at, took, Outcome::Success);
    }

    fn end(&mut self, id: EndpointId, latency: Duration, outcome: Outcome) {
        self.now += latency;
        self.balancer.finished(id, self.now, latency, outcome);
    }

    fn part(&self, port: u16) -> f64 {
        let total: u32 = self.counts.values().sum();
        f64::from(*self.counts.get(&port).unwrap_or(&0)) / f64::from(total)
    }
}

#[test]
fn traffic_follows_weights_idle_and_busy() {
    let weights = [(1, 1), (2, 2), (3, 5), (4, 0)];
    let set = endpoints(weights.map(|(port, weight)| endpoint(port, weight, None)));
    for concurrency in [1, 16] {
        let mut service = Service::new(&set);
        service.run(20_000, concurrency, |_| 10 * MS);
        for (port, weight) in weights {
            let expected = f64::from(weight) / 8.0;
            let part = service.part(port);
            assert!(
                (part - expected).abs() < 0.04,
                "{concurrency} {port}: {part}"
            );
        }
    }
}

#[test]
fn a_slow_endpoint_gets_less() {
    let mut service = Service::new(&alike(0..4));
    service.run(20_000, 8, |port| if port == 0 { 200 * MS } else { 10 * MS });
    assert!(service.part(0) < 0.02, "{}", service.part(0));
    assert!(service.part(0) > 0.0, "it is still tried");
}

#[test]
fn a_recovered_endpoint_is_found_again() {
    let mut service = Service::new(&alike(0..3));
    service.run(
        2_000,
        4,
        |port| if port == 0 { 1_000 * MS } else { 10 * MS },
    );
    service.counts.clear();
    service.run(40_000, 4, |_| 10 * MS);
    assert!(service.part(0) > 0.2, "{}", service.part(0));
}

#[test]
fn a_hanging_endpoint_holds_few_requests() {
    let mut service = Service::new(&alike(0..4));
    service.run(100, 1, |_| 10 * MS);
    let mut hanging = 0;
    for _ in 0..1_000 {
        let id = service.pick();
        if service.port(id) == 0 {
            hanging += 1;
        } else {
            service.end(id, 10 * MS, Outcome::Success);
        }
    }
    assert!(hanging <= 3, "{hanging}");
}

#[test]
fn a_new_endpoint_takes_the_next_pick() {
    let mut service = Service::new(&alike(0..3));
    service.run(500, 1, |_| 2 * MS);
    service.balancer.update(&alike(0..5), service.now);
    // One at a time: while the first has no answer, the second waits.
    let first = service.pick();
    assert!(service.port(first) >= 3);
    let other = service.pick();
    service.end(other, 2 * MS, Outcome::Success);
    service.end(first, 2 * MS, Outcome::Success);
    let second = service.pick();
    assert!(service.port(second) >= 3 && second != first);
}

#[test]
fn a_new_endpoint_that_hangs_keeps_the_next_waiting_for_a_second_only() {
    let mut service = Service::new(&alike(0..1));
    service.run(10, 1, |_| MS);
    service.balancer.update(&alike(0..3), service.now);
    let hangs = service.pick();
    service.now += TRIAL;
    let next = service.pick();
    assert_eq!(service.port(hangs) + service.port(next), 3);
}

#[test]
fn after_its_first_request_a_new_endpoint_has_its_part_when_idle() {
    let mut service = Service::new(&alike(0..3));
    service.run(500, 1, |_| 2 * MS);
    service.balancer.update(&alike(0..4), service.now);
    service.counts.clear();
    service.run(400, 1, |_| 2 * MS);
    assert!(
        (0.18..0.32).contains(&service.part(3)),
        "{}",
        service.part(3)
    );
}

#[test]
fn under_load_a_new_endpoint_starts_slowly() {
    let mut service = Service::new(&alike(0..3));
    service.run(5_000, 30, |_| 10 * MS);
    service.balancer.update(&alike(0..4), service.now);
    let in_first_second = |service: &mut Service| {
        service.counts.clear();
        service.run(3_000, 30, |_| 10 * MS);
        service.part(3)
    };
    let early = in_first_second(&mut service);
    service.now += Duration::from_secs(10);
    let late = in_first_second(&mut service);
    assert!(early < 0.15 && (0.2..0.3).contains(&late), "{early} {late}");
}

#[test]
fn failing_fast_attracts_nothing() {
    let mut service = Service::new(&alike(0..2));
    service.run(200, 1, |_| 10 * MS);
    service.counts.clear();
    for _ in 0..1_000 {
        let id = service.pick();
        let fails = service.port(id) == 0;
        let (latency, outcome) = if fails {
            (MS / 10, Outcome::Failure)
        } else {
            (10 * MS, Outcome::Success)
        };
        service.end(id, latency, outcome);
    }
    assert!(service.part(0) < 0.2, "{}", service.part(0));
}

#[test]
fn overload_counts_as_load_until_it_ends() {
    let mut service = Service::new(&alike(0..2));
    service.run(200, 1, |_| 10 * MS);
    let id = loop {
        let id = service.pick();
        if service.port(id) == 0 {
            break id;
        }
        service.end(id, 10 * MS, Outcome::Success);
    };
    let retry_after = Some(Duration::from_secs(3));
    service.end(id, MS, Outcome::Overloaded { retry_after });
    service.counts.clear();
    service.run(200, 1, |_| 10 * MS);
    assert_eq!(service.part(0), 0.0, "a peer has room");
    // Not death: where its peer is busier still, it serves.
    let busy: Vec<_> = (0..40).map(|_| service.pick()).collect();
    assert!(service.counts.contains_key(&0));
    for id in busy {
        service.end(id, MS, Outcome::Success);
    }
    service.now += Duration::from_secs(3);
    service.counts.clear();
    service.run(400, 1, |_| 10 * MS);
    assert!(service.part(0) > 0.3, "{}", service.part(0));
}

#[test]
fn a_cancelled_request_cannot_make_an_endpoint_look_fast() {
    let mut service = Service::new(&alike(0..2));
    service.run(200, 1, |_| 10 * MS);
    service.counts.clear();
    for _ in 0..1_000 {
        let id = service.pick();
        let (latency, outcome) = match service.port(id) {
            0 => (100 * MS, Outcome::Cancelled),
            _ => (10 * MS, Outcome::Success),
        };
        service.end(id, latency, outcome);
    }
    assert!(service.part(0) < 0.1, "{}", service.part(0));
}

#[test]
fn a_zone_that_is_learned_late_is_preferred_from_then_on() {
    let set = endpoints([endpoint(0, 1, Some("a")), endpoint(1, 1, Some("b"))]);
    let near = |balancer: &mut Balancer| {
        let mut rng = fastrand::Rng::with_seed(1);
        let picks = (0..200).map(|_| balancer.pick(Instant::now(), &mut rng, |_| 1.0));
        let picked: Vec<_> = picks.flatten().collect();
        let stays = |id: &&EndpointId| {
            let zone = balancer.endpoint(**id).and_then(|e| e.zone.as_deref());
            zone == Some("a")
        };
        picked.iter().filter(stays).count()
    };
    let mut balancer = Balancer::new(BalancerConfig::default());
    balancer.update(&set, Instant::now());
    let before = near(&mut balancer);
    assert!((50..150).contains(&before), "{before}");
    balancer.set_zone(Some("a".into()));
    assert_eq!(near(&mut balancer), 200);
}

#[test]
fn zones_are_preferred_and_spill_over() {
    let zones = [(0, "a"), (1, "a"), (2, "b"), (3, "b")];
    let set = endpoints(zones.map(|(port, zone)| endpoint(port, 1, Some(zone))));
    let mut service = Service::in_zone(&set, Some("a"));
    service.run(4_000, 2, |_| 10 * MS);
    let stayed = service.part(0) + service.part(1);
    assert!(stayed > 0.95, "{stayed}");

    service.counts.clear();
    service.run(4_000, 2, |port| if port < 2 { 500 * MS } else { 10 * MS });
    let stayed = service.part(0) + service.part(1);
    assert!(stayed < 0.1, "a slow zone is left: {stayed}");

    let out = |id: EndpointId| if id.index() < 2 { 0.0 } else { 1.0 };
    let id = service
        .balancer
        .pick(service.now, &mut service.rng, out)
        .expect("the other zone");
    assert!(service.port(id) >= 2);
}

#[test]
fn a_share_is_the_part_of_the_traffic_let_through() {
    let mut service = Service::new(&alike(0..4));
    service.run(100, 1, |_| 10 * MS);
    let ramp = |id: EndpointId| if id.index() == 0 { 0.2 } else { 1.0 };
    let picks =
        (0..10_000).filter_map(|_| service.balancer.pick(service.now, &mut service.rng, ramp));
    let ramping = picks.filter(|id| id.index() == 0).count();
    // A fifth of its quarter, and the rest shared by all.
    assert!((500..750).contains(&ramping), "{ramping}");
}

#[test]
fn another_identity_at_the_same_address_is_another_endpoint() {
    let mut service = Service::new(&alike(0..1));
    let old = service.balancer.ids().next().expect("one");
    let mut renamed = alike(0..1);
    renamed.endpoints[0].identity = Some("spiffe://c/ns/shop/sa/cart".parse().expect("an id"));
    let changes = service.balancer.update(&renamed, service.now);
    assert_eq!((changes.removed, changes.added.len()), (vec![old], 1));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_healthy_endpoint_is_always_found(count in 1u16..200, healthy in 0usize..200, seed: u64) {
        let mut service = Service::new(&alike(0..count));
        service.rng.seed(seed);
        let healthy = healthy % usize::from(count);
        let share = |id: EndpointId| if id.index() == healthy { 0.1 } else { 0.0 };
        let picked = service.balancer.pick(service.now, &mut service.rng, share);
        prop_assert_eq!(picked.map(EndpointId::index), Some(healthy));
        prop_assert_eq!(service.balancer.pick(service.now, &mut service.rng, |_| 0.0), None);
    }

    #[test]
    fn ids_stay_with_their_endpoint_and_end_with_it(
        updates in prop::collection::vec(prop::collection::btree_set(0u16..12, 0..8), 1..20),
    ) {
        let mut service = Service::new(&alike(0..0));
        let mut known: BTreeMap<u16, EndpointId> = BTreeMap::new();
        let mut gone = Vec::new();
        for ports in updates {
            let set = endpoints(ports.iter().map(|port| endpoint(*port, 1, None)));
            service.balancer.update(&set, service.now);
            let ids: BTreeMap<_, _> =
                service.balancer.ids().map(|id| (service.port(id), id)).collect();
            prop_assert!(ids.keys().eq(&ports));
            for (port, id) in known {
                match ids.get(&port) {
                    Some(same) => prop_assert_eq!(*same, id),
                    None => gone.push(id),
                }
            }
            prop_assert!(ids.values().all(|id| id.index() < 12));
            for id in &gone {
                prop_assert!(service.balancer.endpoint(*id).is_none());
                service.balancer.finished(*id, service.now, MS, Outcome::Success);
            }
            if !ids.is_empty() {
                let id = service.pick();
                prop_assert!(!gone.contains(&id));
                service.end(id, MS, Outcome::Success);
            }
            known = ids;
        }
    }

    #[test]
    fn weights_hold_whatever_they_are(weights in prop::collection::vec(0u32..20, 1..10)) {
        prop_assume!(weights.iter().any(|weight| *weight > 0));
        let total: u32 = weights.iter().sum();
        let set = (0..).zip(&weights).map(|(port, weight)| endpoint(port, *weight, None));
        let mut service = Service::new(&endpoints(set));
        service.run(4_000, 1, |_| 10 * MS);
        for (port, weight) in (0..).zip(&weights) {
            let expected = f64::from(*weight) / f64::from(total);
            let part = service.part(port);
            prop_assert!((part - expected).abs() < 0.05, "{} {} {}", port, part, expected);
        }
    }
}
