use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::resilience::{
    Breaker, BreakerPolicy, CallResult, Open, Outcome, Permit, State, Transition, TripCause, Window,
};

const FAST: Duration = Duration::from_millis(10);
const SECOND: Duration = Duration::from_secs(1);

struct Rig {
    breaker: Breaker,
    now: Instant,
}

impl Rig {
    fn new() -> Self {
        Self::with(BreakerPolicy::default())
    }

    fn with(policy: BreakerPolicy) -> Self {
        Self {
            breaker: Breaker::new(policy, 7),
            now: Instant::now(),
        }
    }

    fn pass(&mut self, time: Duration) -> Option<Transition> {
        self.now += time;
        self.breaker.tick(self.now)
    }

    fn admit(&mut self) -> Result<Permit, Open> {
        self.breaker.admit(self.now)
    }

    fn record(
        &mut self,
        permit: Permit,
        result: CallResult,
        latency: Duration,
    ) -> Option<TripCause> {
        let outcome = Outcome {
            result,
            latency,
            retry_after: None,
        };
        self.breaker.record(self.now, permit, outcome)?.cause
    }

    fn call(&mut self, result: CallResult, latency: Duration) -> Option<TripCause> {
        let permit = self.admit().expect("admitted");
        self.record(permit, result, latency)
    }

    fn trip(&mut self) {
        while self.breaker.state() == State::Closed {
            if let Ok(permit) = self.admit() {
                self.record(permit, CallResult::Failure, FAST);
            }
        }
    }

    /// Waits out the open time and returns it.
    fn until_half_open(&mut self) -> Duration {
        let wait = self.breaker.deadline().expect("open") - self.now;
        let transition = self.pass(wait).expect("due");
        assert_eq!(
            (transition.from, transition.to),
            (State::Open, State::HalfOpen)
        );
        wait
    }

    fn recover(&mut self) {
        self.until_half_open();
        (0..3).for_each(|_| assert_eq!(self.call(CallResult::Success, FAST), None));
        assert_eq!(self.breaker.state(), State::Closed);
    }
}

#[test]
fn trips_on_the_fifth_failure_in_a_row() {
    let mut rig = Rig::new();
    for _ in 0..4 {
        assert_eq!(rig.call(CallResult::Failure, FAST), None);
    }
    rig.call(CallResult::Success, FAST);
    for _ in 0..4 {
        assert_eq!(rig.call(CallResult::Failure, FAST), None);
    }
    let cause = rig.call(CallResult::Failure, FAST);
    assert_eq!(cause, Some(TripCause::ConsecutiveFailures));
    assert!(rig.admit().is_err());
}

#[test]
fn trips_on_half_of_twenty() {
    let mut rig = Rig::new();
    for _ in 0..9 {
        assert_eq!(rig.call(CallResult::Failure, FAST), None);
        assert_eq!(rig.call(CallResult::Success, FAST), None);
    }
    assert_eq!(rig.call(CallResult::Success, FAST), None);
    let cause = rig.call(CallResult::Failure, FAST);
    assert_eq!(cause, Some(TripCause::FailureRate));
}

#[test]
fn forgets_failures_older_than_the_window() {
    let mut rig = Rig::new();
    for _ in 0..9 {
        rig.call(CallResult::Failure, FAST);
        rig.call(CallResult::Success, FAST);
    }
    rig.pass(10 * SECOND);
    for _ in 0..2 {
        assert_eq!(rig.call(CallResult::Failure, FAST), None);
    }
}

#[test]
fn a_window_by_count_forgets_nothing_by_time() {
    let mut rig = Rig::with(BreakerPolicy {
        window: Window::Count(100),
        ..BreakerPolicy::default()
    });
    for _ in 0..9 {
        rig.pass(60 * SECOND);
        rig.call(CallResult::Failure, FAST);
        rig.call(CallResult::Success, FAST);
    }
    rig.call(CallResult::Success, FAST);
    assert_eq!(
        rig.call(CallResult::Failure, FAST),
        Some(TripCause::FailureRate)
    );
}

#[test]
fn trips_when_most_calls_turn_slow() {
    let mut rig = Rig::new();
    for _ in 0..100 {
        rig.pass(SECOND / 10);
        assert_eq!(rig.call(CallResult::Success, FAST), None);
    }
    let mut causes = (0..200).filter_map(|_| {
        rig.pass(SECOND / 10);
        rig.call(CallResult::Success, 2 * SECOND)
    });
    assert_eq!(causes.next(), Some(TripCause::SlowCalls));
}

#[test]
fn a_service_that_always_takes_long_never_trips() {
    let mut rig = Rig::new();
    for _ in 0..500 {
        rig.pass(SECOND / 10);
        assert_eq!(rig.call(CallResult::Success, 3 * SECOND), None);
    }
}

#[test]
fn overload_counts_for_the_rate_only() {
    let mut rig = Rig::new();
    for _ in 0..19 {
        assert_eq!(rig.call(CallResult::Overload, FAST), None);
    }
    assert_eq!(
        rig.call(CallResult::Overload, FAST),
        Some(TripCause::FailureRate)
    );
}

#[test]
fn a_hung_backend_whose_clients_give_up_trips() {
    let mut rig = Rig::new();
    for _ in 0..100 {
        assert_eq!(rig.call(CallResult::Cancelled, SECOND), None);
    }
    for _ in 0..4 {
        assert_eq!(rig.call(CallResult::Cancelled, 2 * SECOND), None);
    }
    let cause = rig.call(CallResult::Cancelled, 2 * SECOND);
    assert_eq!(cause, Some(TripCause::ConsecutiveFailures));
}

#[test]
fn stays_open_twice_as_long_each_time_up_to_a_minute() {
    let mut rig = Rig::new();
    rig.trip();
    for usual in [5, 10, 20, 40, 60, 60] {
        let waited = rig.until_half_open().as_secs_f64() / f64::from(usual);
        assert!((0.8..=1.2).contains(&waited), "{waited} of {usual} s");
        assert_eq!(
            rig.call(CallResult::Failure, FAST),
            Some(TripCause::ProbeFailed)
        );
    }
    rig.recover();
    rig.trip();
    assert!(
        rig.until_half_open() >= 48 * SECOND,
        "tripped while it recovered"
    );
    rig.call(CallResult::Failure, FAST);
    rig.recover();
    rig.pass(10 * SECOND);
    rig.trip();
    assert!(rig.until_half_open() <= 6 * SECOND, "had recovered");
}

#[test]
fn jitter_differs_by_seed() {
    let waits: Vec<_> = (0..10)
        .map(|seed| {
            let mut rig = Rig::new();
            rig.breaker = Breaker::new(BreakerPolicy::default(), seed);
            rig.trip();
            rig.until_half_open()
        })
        .collect();
    assert!(waits.iter().any(|wait| *wait != waits[0]));
}

#[test]
fn honours_retry_after_up_to_the_longest_open_time() {
    for (asked, least, most) in [(30, 30, 30), (86_400, 60, 60), (1, 4, 6)] {
        let mut rig = Rig::new();
        let permit = rig.admit().unwrap();
        let outcome = Outcome {
            result: CallResult::Overload,
            latency: FAST,
            retry_after: Some(asked * SECOND),
        };
        rig.breaker.record(rig.now, permit, outcome);
        rig.trip();
        let waited = rig.until_half_open();
        assert!(
            waited >= least * SECOND && waited <= most * SECOND,
            "{waited:?}"
        );
    }
}

#[test]
fn three_probes_then_closed() {
    let mut rig = Rig::new();
    rig.trip();
    rig.until_half_open();
    let probes: Vec<_> = (0..3).map(|_| rig.admit().unwrap()).collect();
    assert!(probes.iter().all(|probe| probe.is_probe()));
    assert!(!rig.breaker.is_available(rig.now));
    assert!(rig.admit().is_err());
    for probe in probes {
        assert_eq!(rig.breaker.state(), State::HalfOpen);
        rig.record(probe, CallResult::Success, FAST);
    }
    assert_eq!(rig.breaker.state(), State::Closed);
}

#[test]
fn a_slow_or_overloaded_probe_is_not_a_recovery() {
    for (result, latency, cause) in [
        (CallResult::Success, 2 * SECOND, TripCause::SlowCalls),
        (CallResult::Overload, FAST, TripCause::ProbeFailed),
        (CallResult::Cancelled, 2 * SECOND, TripCause::ProbeFailed),
    ] {
        let mut rig = Rig::new();
        (0..20).for_each(|_| assert_eq!(rig.call(CallResult::Success, FAST), None));
        rig.trip();
        rig.until_half_open();
        assert_eq!(rig.call(result, latency), Some(cause));
    }
}

#[test]
fn a_probe_without_answer_fails_by_deadline() {
    let mut rig = Rig::new();
    rig.trip();
    rig.until_half_open();
    let silent = rig.admit().unwrap();
    let wait = rig.breaker.deadline().unwrap() - rig.now;
    assert_eq!(rig.pass(wait - FAST), None);
    let transition = rig.pass(FAST).unwrap();
    assert_eq!(transition.cause, Some(TripCause::ProbeTimeout));
    rig.until_half_open();
    assert_eq!(rig.record(silent, CallResult::Failure, 60 * SECOND), None);
    assert_eq!(
        rig.breaker.state(),
        State::HalfOpen,
        "a straggler decides nothing"
    );
}

#[test]
fn a_cancelled_probe_is_given_back_once() {
    let mut rig = Rig::new();
    rig.trip();
    rig.until_half_open();
    let probes: Vec<_> = (0..3).map(|_| rig.admit().unwrap()).collect();
    rig.record(probes[0], CallResult::Cancelled, FAST);
    rig.record(probes[0], CallResult::Cancelled, FAST);
    assert!(rig.admit().is_ok());
    assert!(rig.admit().is_err());
}

#[test]
fn stragglers_from_before_do_not_decide() {
    let mut rig = Rig::new();
    let stragglers: Vec<_> = (0..10).map(|_| rig.admit().unwrap()).collect();
    rig.trip();
    rig.record(stragglers[0], CallResult::Success, FAST);
    assert_eq!(rig.breaker.state(), State::Open);
    rig.until_half_open();
    rig.record(stragglers[1], CallResult::Failure, FAST);
    assert_eq!(rig.breaker.state(), State::HalfOpen);
    (0..3).for_each(|_| assert_eq!(rig.call(CallResult::Success, FAST), None));
    for straggler in &stragglers[2..] {
        rig.record(*straggler, CallResult::Failure, FAST);
    }
    assert_eq!(rig.breaker.state(), State::Closed);
}

#[test]
fn traffic_ramps_up_from_a_tenth() {
    let mut rig = Rig::new();
    rig.trip();
    assert_eq!(rig.breaker.share(rig.now), 0.0);
    rig.recover();
    for (after, share) in [(0, 0.1), (5, 0.55), (9, 0.91)] {
        let now = rig.now + after * SECOND;
        assert!(
            (rig.breaker.share(now) - share).abs() < 1e-9,
            "after {after} s"
        );
        let admitted = (0..1_000)
            .filter(|_| rig.breaker.admit(now).is_ok())
            .count();
        assert!(
            (admitted as f64 - share * 1_000.0).abs() <= 2.0,
            "{admitted} after {after} s"
        );
    }
    rig.pass(10 * SECOND);
    assert_eq!(rig.breaker.share(rig.now), 1.0);
    assert!((0..100).all(|_| rig.admit().is_ok()));
}

#[test]
fn the_ramp_spares_a_quiet_service() {
    let mut rig = Rig::new();
    rig.trip();
    rig.recover();
    for _ in 0..20 {
        assert_eq!(rig.call(CallResult::Success, FAST), None);
        rig.pass(SECOND / 10);
    }
}

#[test]
fn too_few_healthy_endpoints_open_it() {
    let mut rig = Rig::new();
    let transition = rig.breaker.force_open(rig.now).unwrap();
    assert_eq!(transition.cause, Some(TripCause::TooFewHealthy));
    let until = rig.breaker.deadline();
    assert_eq!(rig.breaker.force_open(rig.now + SECOND), None);
    assert_eq!(rig.breaker.deadline(), until, "not put off for ever");
    rig.recover();
}

#[test]
fn a_changed_policy_keeps_the_state() {
    let mut rig = Rig::new();
    rig.trip();
    let mut policy = BreakerPolicy {
        window: Window::Count(50),
        ..BreakerPolicy::default()
    };
    rig.breaker.update(policy.clone());
    assert_eq!(rig.breaker.state(), State::Open);
    rig.until_half_open();
    rig.call(CallResult::Success, FAST);
    policy.half_open_probes = 1;
    rig.breaker.update(policy.clone());
    assert_eq!(
        rig.pass(FAST).unwrap().to,
        State::Closed,
        "one had succeeded already"
    );
    rig.trip();
    policy.enabled = false;
    rig.breaker.update(policy);
    assert_eq!(rig.pass(FAST).unwrap().to, State::Closed);
    assert!((0..100).all(|_| rig.call(CallResult::Failure, FAST).is_none()));
}

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Tick,
    Admit,
    /// The n-th permit that is out, how it ended and after how many ms.
    Record(usize, CallResult, u64),
    Lose(usize),
    Force,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let result = prop_oneof![
        Just(CallResult::Success),
        Just(CallResult::Failure),
        Just(CallResult::Overload),
        Just(CallResult::Cancelled),
    ];
    let step = prop_oneof![
        3 => (0u64..20_000).prop_map(Step::Pass),
        1 => Just(Step::Tick),
        8 => Just(Step::Admit),
        8 => (0usize..8, result, 0u64..3_000).prop_map(|(n, r, ms)| Step::Record(n, r, ms)),
        1 => (0usize..8).prop_map(Step::Lose),
        1 => Just(Step::Force),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    /// Whatever happens, at most three probes are out and undecided at once, and once it is left
    /// alone, the breaker comes back to half-open and takes a call.
    #[test]
    fn never_wedges_and_never_over_probes(steps in steps(), seed: u64) {
        let mut rig = Rig::new();
        rig.breaker = Breaker::new(BreakerPolicy::default(), seed);
        let mut out: Vec<Permit> = Vec::new();
        // Probes of the present half-open state that are under way or have succeeded.
        let mut probes: Vec<Permit> = Vec::new();
        for step in steps {
            let transition = match step {
                Step::Pass(ms) => rig.pass(Duration::from_millis(ms)),
                Step::Tick => rig.pass(Duration::ZERO),
                Step::Force => rig.breaker.force_open(rig.now),
                Step::Admit => {
                    let due = rig.pass(Duration::ZERO);
                    probes.retain(|_| due.is_none());
                    let state = rig.breaker.state();
                    if let Ok(permit) = rig.admit() {
                        prop_assert_ne!(state, State::Open);
                        prop_assert_eq!(permit.is_probe(), state == State::HalfOpen);
                        probes.extend(permit.is_probe().then_some(permit));
                        out.push(permit);
                    }
                    prop_assert_eq!(rig.breaker.state(), state);
                    None
                }
                Step::Record(n, result, ms) if !out.is_empty() => {
                    let permit = out.swap_remove(n % out.len());
                    let outcome = Outcome { result, latency: Duration::from_millis(ms), retry_after: None };
                    let transition = rig.breaker.record(rig.now, permit, outcome);
                    if result == CallResult::Cancelled {
                        probes.retain(|probe| *probe != permit);
                    }
                    transition
                }
                Step::Lose(n) if !out.is_empty() => {
                    let _lost = out.swap_remove(n % out.len());
                    None
                }
                Step::Record(..) | Step::Lose(_) => None,
            };
            if let Some(transition) = transition {
                prop_assert_eq!(transition.to, rig.breaker.state());
                prop_assert_eq!(transition.cause.is_some(), transition.to == State::Open);
                probes.clear();
            }
            prop_assert!(probes.len() <= 3);
        }
        // Two minutes cover the longest open time and the deadline of a probe before it.
        let end = rig.now + 120 * SECOND;
        while rig.breaker.state() != State::Closed && rig.now < end {
            rig.pass(SECOND);
            if let Ok(permit) = rig.admit() {
                rig.record(permit, CallResult::Success, FAST);
            }
        }
        prop_assert_eq!(rig.breaker.state(), State::Closed);
    }
}
