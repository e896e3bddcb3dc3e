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
