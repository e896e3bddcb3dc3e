use proptest::prelude::*;

use super::*;

fn state(policy: &ResiliencePolicy) -> Arc<UpstreamState> {
    let key = UpstreamKey::Service("it/app:80".parse().unwrap());
    UpstreamState::new(&key, policy, &Metrics::new())
}

#[test]
fn a_routes_own_limit_outlives_a_change_of_the_services() {
    let service = ResiliencePolicy::default();
    let mut own = service.clone();
    own.bulkhead.max_in_flight_per_route = 7;
    let (state, route) = (state(&service), Arc::from("it/route"));
    let limit = |policy: &ResiliencePolicy| state.route_gate(&route, policy).usage().2;
    assert_eq!(limit(&own), 7);
    state.update(&service);
    assert_eq!(limit(&own), 7);
    own.bulkhead.max_in_flight_per_route = 9;
    assert_eq!(limit(&own), 9, "a changed one is taken on");
}

#[test]
fn says_when_an_ejected_endpoint_comes_back() {
    let mut policy = ResiliencePolicy::default();
    policy.breaker.consecutive_failures = 1;
    let (state, now) = (state(&policy), Instant::now());
    let [first, _] = [1, 2].map(|port| state.endpoint(([127, 0, 0, 1], port).into()));
    assert_eq!(state.next_probe(now), Duration::ZERO);
    let leave = Leave {
        endpoint_permit: first.admit(now).unwrap(),
        endpoint: first,
        service_permit: None,
    };
    let outcome = Outcome {
        result: CallResult::Failure,
        latency: Duration::ZERO,
        retry_after: None,
    };
    state.record(now, &leave, outcome);
    let wait = state.next_probe(now);
    assert!(
        (Duration::from_secs(4)..=Duration::from_secs(6)).contains(&wait),
        "{wait:?}"
    );
}

/// Trips an endpoint's breaker by its first failure.
fn trip(state: &UpstreamState, endpoint: &Arc<EndpointState>, now: Instant) {
    let leave = Leave {
        endpoint_permit: endpoint.admit(now).expect("closed so far"),
        endpoint: endpoint.clone(),
        service_permit: None,
    };
    let outcome = Outcome {
        result: CallResult::Failure,
        latency: Duration::ZERO,
        retry_after: None,
    };
    state.record(now, &leave, outcome);
}

#[test]
fn how_many_may_be_out_is_decided_anew_when_endpoints_come_and_go() {
    let mut policy = ResiliencePolicy::default();
    policy.breaker.consecutive_failures = 1;
    policy.breaker.min_healthy = 0.0;
    let (state, now) = (state(&policy), Instant::now());
    let addr = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let all: Vec<_> = (1..=4).map(|port| state.endpoint(addr(port))).collect();
    trip(&state, &all[0], now);
    trip(&state, &all[1], now + Duration::from_secs(1));
    let out = || {
        let out = all.iter().filter(|e| e.share(now, &state) == 0.0);
        out.map(|e| e.addr.port()).collect::<Vec<_>>()
    };
    assert_eq!(out(), [1, 2]);
    // Half of two is one: the one that is due first takes part again.
    state.retain(|addr| addr.port() <= 2);
    assert_eq!(out().len(), 1);
    state.retain(|addr| addr.port() == 1);
    assert!(!out().contains(&1), "the last one is never out");
    (2..=4).for_each(|port| drop(state.endpoint(addr(port))));
    state.retain(|_| true);
    assert!(out().contains(&1), "with three others it is");
    policy.breaker.max_ejection = 0.0;
    state.update(&policy);
    assert!(
        !out().contains(&1),
        "a policy that ejects nobody brings it back"
    );
}

/// What became of a request.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Success,
    Failure,
    /// Nobody ever says.
    Lost,
}

fn send(state: &UpstreamState, endpoint: &Arc<EndpointState>, fate: Fate, now: Instant) {
    if endpoint.share(now, state) == 0.0 {
        return;
    }
    let Ok(endpoint_permit) = endpoint.admit(now) else {
        return;
    };
    let leave = Leave {
        endpoint: endpoint.clone(),
        endpoint_permit,
        service_permit: None,
    };
    let result = match fate {
        Fate::Success => CallResult::Success,
        Fate::Failure => CallResult::Failure,
        Fate::Lost => return,
    };
    let outcome = Outcome {
        result,
        latency: Duration::from_millis(1),
        retry_after: None,
    };
    state.record(now, &leave, outcome);
}

proptest! {
    /// Whatever becomes of their requests, no more endpoints are out than may be, so never all;
    /// one that always answers is never out; and left alone, each gets another chance within the
    /// longest open time and a probe's.
    #[test]
    fn never_everybody_is_out_and_nobody_for_good(
        count in 1u16..8,
        healthy in proptest::option::of(0usize..8),
        steps in proptest::collection::vec((0usize..8, 0u64..4_000, 0u8..6), 0..150),
    ) {
        let policy = ResiliencePolicy::default();
        let (state, mut now) = (state(&policy), Instant::now());
        let all: Vec<_> = (1..=count).map(|port| state.endpoint(([127, 0, 0, 1], port).into())).collect();
        let healthy = healthy.map(|n| n % all.len());
        let most = ejection::most(all.len(), &policy.breaker);
        for (n, ms, fate) in steps {
            now += Duration::from_millis(ms);
            let n = n % all.len();
            let fate = match fate {
                _ if healthy == Some(n) => Fate::Success,
                0 => Fate::Success,
                1 => Fate::Lost,
                _ => Fate::Failure,
            };
            send(&state, &all[n], fate, now);
            let out = all.iter().filter(|one| one.share(now, &state) == 0.0).count();
            prop_assert!(out <= most, "{} of {} are out", out, all.len());
            if let Some(healthy) = healthy {
                prop_assert_eq!(all[healthy].share(now, &state), 1.0);
            }
        }
        for one in &all {
            let mut chances = (0..180).map(|s| now + Duration::from_secs(s));
            prop_assert!(chances.any(|later| one.share(later, &state) > 0.0 && one.admit(later).is_ok()));
        }
    }
}
