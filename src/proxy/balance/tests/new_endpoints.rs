//! How endpoints that nobody has tried come into use, and that what is in flight adds up.

use super::*;

/// `old` endpoints in use, and `new` ones that have just come.
fn grown(old: u16, new: u16, seed: u64) -> Service {
    let mut service = Service::new(&alike(0..old));
    service.rng.seed(seed);
    service.run(50, 1, |_| MS);
    let now = service.now;
    service.balancer.update(&alike(0..old + new), now);
    service
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// At one request at a time, the next ones are theirs.
    #[test]
    fn each_has_its_first_request_at_once(old in 1u16..9, new in 1u16..9, seed: u64) {
        let mut service = grown(old, new, seed);
        let mut tried = std::collections::BTreeSet::new();
        for _ in 0..new {
            let id = service.pick();
            prop_assert!(service.port(id) >= old && tried.insert(id));
            service.end(id, MS, Outcome::Success);
        }
    }

    /// One that hangs keeps the others from their turn for a second, and no longer.
    #[test]
    fn one_that_hangs_does_not_keep_the_others_waiting(old in 1u16..9, new in 2u16..9, seed: u64) {
        let mut service = grown(old, new, seed);
        let hanging = service.pick();
        prop_assert!(service.port(hanging) >= old);
        for _ in 1..new {
            service.now += TRIAL;
            let id = service.pick();
            service.end(id, MS, Outcome::Success);
        }
        let members = service.balancer.ids().map(|id| service.balancer.members.get(id));
        prop_assert!(members.flatten().all(|member| member.tried));
    }

    /// The care for a new one ends, and never grows on the way.
    #[test]
    fn slow_start_only_rises(steps in prop::collection::vec(0u64..3_000, 1..20)) {
        let service = grown(2, 1, 1);
        let new = service.balancer.ids().find(|id| service.port(*id) == 2).expect("it came");
        let member = service.balancer.members.get(new).expect("present");
        let (mut now, mut before) = (service.now, SLOW_START_FLOOR);
        prop_assert_eq!(service.balancer.slow_start(member, now), before);
        for ms in steps {
            now += Duration::from_millis(ms);
            let factor = service.balancer.slow_start(member, now);
            prop_assert!((before..=1.0).contains(&factor));
            before = factor;
        }
        let end = service.now + service.balancer.config.slow_start;
        prop_assert_eq!(service.balancer.slow_start(member, end), 1.0);
    }

    /// In flight is what has started and not finished, however it ends and whoever leaves.
    #[test]
    fn in_flight_adds_up(steps in prop::collection::vec((0u8..5, 0usize..16), 0..100)) {
        let mut service = Service::new(&alike(0..4));
        let mut out: Vec<EndpointId> = Vec::new();
        for (what, n) in steps {
            match what {
                0 | 1 => out.push(service.pick()),
                2 => {
                    let (from, now) = (n as u16 % 4, service.now);
                    service.balancer.update(&alike(from..from + 3), now);
                }
                _ if out.is_empty() => {}
                _ => {
                    let id = out.swap_remove(n % out.len());
                    let outcome = if what == 3 { Outcome::Success } else { Outcome::Failure };
                    service.end(id, MS, outcome);
                }
            }
            for id in service.balancer.ids() {
                let expected = out.iter().filter(|one| **one == id).count();
                prop_assert_eq!(service.balancer.in_flight(id) as usize, expected);
            }
        }
    }
}
