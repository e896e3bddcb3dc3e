use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::resilience::{
    Bulkhead, BulkheadPolicy, CallResult, CallerKey, Entry, Outcome, Place, Priority, RejectCause,
    Ticket, Woken,
};

const WAIT: Duration = Duration::from_millis(100);

fn policy(max_in_flight: u32, queue: u32) -> BulkheadPolicy {
    BulkheadPolicy {
        max_in_flight,
        queue,
        ..BulkheadPolicy::default()
    }
}

fn admitted(entry: Entry) -> Place {
    match entry {
        Entry::Admitted(place) => place,
        other => panic!("{other:?}"),
    }
}

fn queued(entry: Entry) -> Ticket {
    match entry {
        Entry::Queued(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

fn rejected(entry: Entry) -> RejectCause {
    match entry {
        Entry::Rejected(cause) => cause,
        other => panic!("{other:?}"),
    }
}

fn fill(bulkhead: &mut Bulkhead, priority: Priority, caller: Option<CallerKey>) -> Vec<Place> {
    let now = Instant::now();
    let mut places = Vec::new();
    loop {
        match bulkhead.enter(now, priority, caller) {
            Entry::Admitted(place) => places.push(place),
            Entry::Queued(ticket) => {
                assert!(bulkhead.abandon(ticket));
                return places;
            }
            Entry::Rejected(_) => return places,
        }
    }
}

#[test]
fn priorities_fill_100_90_and_50_percent() {
    for (priority, most) in [
        (Priority::Critical, 256),
        (Priority::Default, 230),
        (Priority::Batch, 128),
    ] {
        let mut bulkhead = Bulkhead::new(&BulkheadPolicy::default());
        assert_eq!(fill(&mut bulkhead, priority, None).len(), most);
        assert_eq!(bulkhead.in_use() as usize, most);
    }
}

#[test]
fn a_route_has_its_own_limit() {
    let mut bulkhead = Bulkhead::for_route(&BulkheadPolicy::default());
    assert_eq!(fill(&mut bulkhead, Priority::Critical, None).len(), 128);
}

#[test]
fn without_a_queue_it_is_full() {
    let mut bulkhead = Bulkhead::new(&policy(1, 0));
    let now = Instant::now();
    let _place = admitted(bulkhead.enter(now, Priority::Default, None));
    let cause = rejected(bulkhead.enter(now, Priority::Default, None));
    assert_eq!(cause.as_str(), "full");
}

#[test]
fn the_queue_is_bounded_and_keeps_room_for_the_critical() {
    let mut bulkhead = Bulkhead::new(&policy(1, 10));
    let now = Instant::now();
    let _place = admitted(bulkhead.enter(now, Priority::Default, None));
    for _ in 0..9 {
        queued(bulkhead.enter(now, Priority::Default, None));
    }
    let cause = rejected(bulkhead.enter(now, Priority::Default, None));
    assert_eq!(cause, RejectCause::QueueFull);
    queued(bulkhead.enter(now, Priority::Critical, None));
    let cause = rejected(bulkhead.enter(now, Priority::Critical, None));
    assert_eq!(cause, RejectCause::QueueFull);
}

#[test]
fn wakes_by_importance_then_age() {
    let mut bulkhead = Bulkhead::new(&policy(1, 10));
    let now = Instant::now();
    let mut place = admitted(bulkhead.enter(now, Priority::Default, None));
    let arrival = [
        Priority::Batch,
        Priority::Default,
        Priority::Critical,
        Priority::Default,
    ];
    let tickets = arrival.map(|priority| queued(bulkhead.enter(now, priority, None)));
    for expected in [2, 1, 3, 0] {
        let woken = bulkhead.leave(now, place, None).expect("one waits");
        assert_eq!(woken.ticket, tickets[expected]);
        place = woken.place;
    }
    assert!(bulkhead.leave(now, place, None).is_none());
    assert_eq!((bulkhead.in_use(), bulkhead.queued()), (0, 0));
}

#[test]
fn waits_100_ms_and_no_longer() {
    let mut bulkhead = Bulkhead::new(&policy(1, 10));
    let now = Instant::now();
    let place = admitted(bulkhead.enter(now, Priority::Default, None));
    let ticket = queued(bulkhead.enter(now, Priority::Default, None));
    assert_eq!(bulkhead.deadline(), Some(now + WAIT));
    assert_eq!(bulkhead.expire(now + WAIT - Duration::from_nanos(1)), None);
    assert!(
        bulkhead.leave(now + WAIT, place, None).is_none(),
        "too late to wake"
    );
    assert_eq!(bulkhead.expire(now + WAIT), Some(ticket));
    assert_eq!(bulkhead.expire(now + WAIT), None);
    assert!(!bulkhead.abandon(ticket));
}

#[test]
fn a_configured_share_is_strict() {
    let mut limited = policy(10, 0);
    limited.max_in_flight_per_caller = Some(2);
    let mut bulkhead = Bulkhead::new(&limited);
    let noisy = CallerKey::of("noisy");
    assert_eq!(
        fill(&mut bulkhead, Priority::Critical, Some(noisy)).len(),
        2
    );
    let cause = rejected(bulkhead.enter(Instant::now(), Priority::Critical, Some(noisy)));
    assert_eq!(cause, RejectCause::CallerShare);
    let quiet = CallerKey::of("quiet");
    assert_eq!(
        fill(&mut bulkhead, Priority::Critical, Some(quiet)).len(),
        2
    );
}

#[test]
fn a_lone_caller_may_use_it_all_and_then_yields() {
    let mut bulkhead = Bulkhead::new(&policy(10, 10));
    let (noisy, quiet) = (Some(CallerKey::of("noisy")), Some(CallerKey::of("quiet")));
    let now = Instant::now();
    let mut places = fill(&mut bulkhead, Priority::Critical, noisy);
    assert_eq!(places.len(), 10);
    let mut noisy_queued = 0;
    while let Entry::Queued(_) = bulkhead.enter(now, Priority::Critical, noisy) {
        noisy_queued += 1;
    }
    assert_eq!(noisy_queued, 5, "leaves half of the queue");
    let waiting: Vec<_> = (0..5)
        .map(|_| queued(bulkhead.enter(now, Priority::Critical, quiet)))
        .collect();
    for ticket in waiting {
        let place = places.pop().expect("ten were taken");
        let woken = bulkhead.leave(now, place, None).expect("one waits");
        assert_eq!(woken.ticket, ticket, "the quiet caller comes first");
        places.push(woken.place);
        places.rotate_right(1);
    }
}

/// One that never ends what it began must not keep everybody out.
#[test]
fn a_lone_caller_leaves_a_few_places_of_many() {
    let mut bulkhead = Bulkhead::new(&policy(256, 0));
    let (noisy, quiet) = (Some(CallerKey::of("noisy")), Some(CallerKey::of("quiet")));
    assert_eq!(fill(&mut bulkhead, Priority::Critical, noisy).len(), 240);
    assert_eq!(fill(&mut bulkhead, Priority::Critical, quiet).len(), 16);
}

#[test]
fn among_equals_the_caller_with_the_fewest_under_way_is_next() {
    let mut roomy = policy(4, 10);
    roomy.max_in_flight_per_caller = Some(4);
    let mut bulkhead = Bulkhead::new(&roomy);
    let (noisy, quiet) = (Some(CallerKey::of("noisy")), Some(CallerKey::of("quiet")));
    let now = Instant::now();
    let mut places = fill(&mut bulkhead, Priority::Critical, noisy);
    let arrivals = [noisy, noisy, quiet, quiet];
    let tickets = arrivals.map(|caller| queued(bulkhead.enter(now, Priority::Critical, caller)));
    // The noisy caller goes from 4 down to 2, where the two are even and age decides.
    for expected in [2, 3, 0] {
        let place = places.remove(0);
        let woken = bulkhead.leave(now, place, None).expect("one waits");
        assert_eq!(woken.ticket, tickets[expected]);
        places.push(woken.place);
    }
}

#[test]
fn among_many_callers_a_share_stays_free() {
    let mut bulkhead = Bulkhead::new(&policy(100, 0));
    let now = Instant::now();
    let _light: Vec<_> = (0..9)
        .map(|n: u32| admitted(bulkhead.enter(now, Priority::Critical, Some(CallerKey::of(&n)))))
        .collect();
    let busy = fill(
        &mut bulkhead,
        Priority::Critical,
        Some(CallerKey::of("busy")),
    );
    assert_eq!(busy.len(), 100 - 9 - 10);
    let newcomer = Some(CallerKey::of("newcomer"));
    assert_eq!(fill(&mut bulkhead, Priority::Critical, newcomer).len(), 10);
}

#[test]
fn an_adaptive_limit_learns_from_what_leaves() {
    let mut adaptive = policy(20, 0);
    adaptive.adaptive = true;
    let mut bulkhead = Bulkhead::new(&adaptive);
    let mut now = Instant::now();
    let outcome = Outcome {
        result: CallResult::Overload,
        latency: Duration::from_millis(1),
        retry_after: None,
    };
    for _ in 0..10_000 {
        now += Duration::from_millis(1);
        let place = admitted(bulkhead.enter(now, Priority::Critical, None));
        assert!(bulkhead.leave(now, place, Some(&outcome)).is_none());
    }
    assert_eq!(bulkhead.limit(), 4);
    adaptive.adaptive = false;
    bulkhead.update(&adaptive);
    assert_eq!(bulkhead.limit(), 20);
}

#[derive(Clone, Debug)]
enum Step {
    Enter(Priority, Option<u8>),
    Leave(usize),
    Abandon(usize),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let priority = prop_oneof![
        Just(Priority::Critical),
        Just(Priority::Default),
        Just(Priority::Batch),
    ];
    let step = prop_oneof![
        6 => (priority, proptest::option::of(0u8..5)).prop_map(|(p, c)| Step::Enter(p, c)),
        4 => (0usize..64).prop_map(Step::Leave),
        1 => (0usize..64).prop_map(Step::Abandon),
        1 => (0u64..150).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 0..300)
}

/// A bulkhead with everything that is out of it.
struct Rig {
    bulkhead: Bulkhead,
    now: Instant,
    places: Vec<Place>,
    tickets: Vec<Ticket>,
}

impl Rig {
    fn drain(&mut self, first: Option<Woken>) {
        let mut next = first;
        while let Some(Woken { ticket, place }) = next {
            let at = self.tickets.iter().position(|t| *t == ticket);
            self.tickets.remove(at.expect("only who waits is woken"));
            self.places.push(place);
            next = self.bulkhead.wake(self.now);
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Enter(priority, caller) => {
                let caller = caller.map(|caller| CallerKey::of(&caller));
                match self.bulkhead.enter(self.now, priority, caller) {
                    Entry::Admitted(place) => self.places.push(place),
                    Entry::Queued(ticket) => self.tickets.push(ticket),
                    Entry::Rejected(_) => {}
                }
            }
            Step::Leave(n) if !self.places.is_empty() => {
                let place = self.places.swap_remove(n % self.places.len());
                let woken = self.bulkhead.leave(self.now, place, None);
                self.drain(woken);
            }
            Step::Abandon(n) if !self.tickets.is_empty() => {
                let ticket = self.tickets.swap_remove(n % self.tickets.len());
                assert!(self.bulkhead.abandon(ticket));
                let woken = self.bulkhead.wake(self.now);
                self.drain(woken);
            }
            Step::Pass(ms) => {
                self.now += Duration::from_millis(ms);
                while let Some(ticket) = self.bulkhead.expire(self.now) {
                    self.tickets.retain(|t| *t != ticket);
                }
                let woken = self.bulkhead.wake(self.now);
                self.drain(woken);
            }
            Step::Leave(_) | Step::Abandon(_) => {}
        }
    }
}

proptest! {
    /// What is in use is what is out, never more than the limit; the same for the queue; tracked
    /// callers are bounded by both; and when all is given back, nothing is left.
    #[test]
    fn nothing_leaks(
        steps in steps(),
        limit in 1u32..12,
        queue in 0u32..8,
        per_caller in proptest::option::of(1u32..4),
    ) {
        let mut policy = policy(limit, queue);
        policy.max_in_flight_per_caller = per_caller;
        let mut rig = Rig {
            bulkhead: Bulkhead::new(&policy),
            now: Instant::now(),
            places: Vec::new(),
            tickets: Vec::new(),
        };
        for step in steps {
            rig.step(step);
            prop_assert_eq!(rig.bulkhead.in_use() as usize, rig.places.len());
            prop_assert_eq!(rig.bulkhead.queued() as usize, rig.tickets.len());
            prop_assert!(rig.bulkhead.in_use() <= limit);
            prop_assert!(rig.bulkhead.queued() <= queue);
            prop_assert!(rig.bulkhead.active_callers() <= rig.places.len() + rig.tickets.len());
        }
        while !rig.places.is_empty() {
            rig.step(Step::Leave(0));
        }
        prop_assert_eq!(rig.bulkhead.in_use(), 0);
        prop_assert_eq!(rig.bulkhead.queued(), 0, "all who waited were woken");
        prop_assert_eq!(rig.bulkhead.active_callers(), 0);
    }

    /// Limits change while requests are under way: nobody is admitted beyond the one in force, nor
    /// a priority beyond its part, and everything comes back all the same.
    #[test]
    fn changed_limits_hold(
        phases in proptest::collection::vec((steps(), 1u32..12, 0u32..8, any::<bool>()), 1..4),
    ) {
        let mut rig = Rig {
            bulkhead: Bulkhead::new(&policy(1, 0)),
            now: Instant::now(),
            places: Vec::new(),
            tickets: Vec::new(),
        };
        for (steps, limit, queue, adaptive) in phases {
            let mut policy = policy(limit, queue);
            policy.adaptive = adaptive;
            rig.bulkhead.update(&policy);
            let woken = rig.bulkhead.wake(rig.now);
            rig.drain(woken);
            for step in steps {
                let (before, limit) = (rig.places.len(), rig.bulkhead.limit());
                let most = match step {
                    Step::Enter(priority, _) => priority.part_of(limit),
                    _ => limit,
                };
                rig.step(step);
                prop_assert_eq!(rig.bulkhead.in_use() as usize, rig.places.len());
                prop_assert!(rig.places.len() <= before || rig.bulkhead.in_use() <= most);
            }
        }
        while !rig.places.is_empty() {
            rig.step(Step::Leave(0));
        }
        prop_assert_eq!((rig.bulkhead.in_use(), rig.bulkhead.queued()), (0, 0));
        prop_assert_eq!(rig.bulkhead.active_callers(), 0);
    }
}
