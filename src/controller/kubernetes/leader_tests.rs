use super::*;

fn lease(holder: &str, renewed: i64) -> Lease {
    Lease {
        spec: Some(LeaseSpec {
            holder_identity: Some(holder.into()),
            renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
            lease_transitions: Some(4),
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[test]
fn a_lease_is_taken_once_nobody_was_seen_to_renew_it() {
    let start = Instant::now();
    let mut election = Election::new("b");
    // However old the renewal claims to be: only what is seen counts.
    assert_eq!(election.see(Some(lease("a", 1)), start), Step::Wait);
    let almost = start + DURATION - Duration::from_millis(1);
    assert_eq!(election.see(Some(lease("a", 1)), almost), Step::Wait);
    assert_eq!(election.see(Some(lease("a", 2)), almost), Step::Wait);
    assert_eq!(
        election.see(Some(lease("a", 2)), start + DURATION),
        Step::Wait
    );
    assert_eq!(
        election.see(Some(lease("a", 2)), almost + DURATION),
        Step::Take
    );
}

#[test]
fn a_lease_that_is_absent_or_given_up_is_taken_at_once() {
    let now = Instant::now();
    assert_eq!(Election::new("b").see(None, now), Step::Create);
    assert_eq!(Election::new("b").see(Some(lease("", 1)), now), Step::Take);
}

#[test]
fn a_leader_that_cannot_renew_stops_before_another_may_start() {
    let start = Instant::now();
    let mut leader = Election::new("a");
    let mut other = Election::new("b");
    leader.wrote(lease("a", 1), start);
    // The other sees the renewal at the soonest when it was begun.
    other.see(Some(lease("a", 1)), start);
    let until = leader.leads_until().unwrap();
    assert_eq!(other.see(Some(lease("a", 1)), until), Step::Wait);
    assert!(until < start + DURATION);
}

#[test]
fn another_holder_or_a_lost_race_ends_the_leadership() {
    let now = Instant::now();
    let mut election = Election::new("a");
    election.wrote(lease("a", 1), now);
    assert!(election.leads_until().is_some());
    assert_eq!(election.see(Some(lease("b", 2)), now), Step::Wait);
    assert_eq!(election.leads_until(), None);

    election.wrote(lease("a", 3), now);
    election.lost();
    assert_eq!(election.leads_until(), None);

    // Restarted under the same name: it leads once it has renewed, not before.
    let mut restarted = Election::new("a");
    assert_eq!(restarted.see(Some(lease("a", 3)), now), Step::Renew);
    assert_eq!(restarted.leads_until(), None);
}

#[test]
fn a_takeover_is_counted_and_a_renewal_is_not() {
    let now = Timestamp::from_second(9).unwrap();
    let spec = |me: &str, current: Option<&Lease>| {
        let next = Election::new(me).next_lease("x", current, now);
        next.spec.unwrap()
    };
    let taken = spec("b", Some(&lease("a", 1)));
    assert_eq!(taken.lease_transitions, Some(5));
    assert_eq!(taken.holder_identity.as_deref(), Some("b"));
    assert_eq!(taken.acquire_time, Some(MicroTime(now)));
    let renewed = spec("a", Some(&lease("a", 1)));
    assert_eq!(renewed.lease_transitions, Some(4));
    assert_eq!(renewed.acquire_time, None);
    assert_eq!(renewed.renew_time, Some(MicroTime(now)));
    assert_eq!(spec("a", None).lease_transitions, Some(0));
}

#[tokio::test]
async fn what_leads_is_dropped_when_the_leadership_ends() {
    let (leads, receiver) = watch::channel(None);
    let started = std::cell::Cell::new(0);
    let alive = std::rc::Rc::new(());
    let task = Leadership(receiver).while_leading(|| {
        started.set(started.get() + 1);
        let held = alive.clone();
        async move {
            let _held = held;
            std::future::pending::<()>().await;
        }
    });
    let script = async {
        tokio::task::yield_now().await;
        assert_eq!(started.get(), 0);
        leads.send_replace(Some(Instant::now() + DURATION));
        while started.get() == 0 {
            tokio::task::yield_now().await;
        }
        leads.send_replace(None);
        while std::rc::Rc::strong_count(&alive) > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = task => unreachable!("it never returns"),
        () = script => {}
    }
}
