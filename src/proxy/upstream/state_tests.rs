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
