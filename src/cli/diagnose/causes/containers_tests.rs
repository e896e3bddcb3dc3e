use super::super::{
    Cause,
    Likely::*,
    tests::{NOW, after, container, only},
};
use crate::cli::diagnose::facts::{Container, Facts, INIT};

fn second(change: impl FnOnce(&mut Container)) -> impl FnOnce(&mut Facts) {
    |facts| change(&mut facts.containers[1])
}

#[test]
fn containers_that_do_not_run() {
    let state = |name: &'static str, state: &'static str, exit_code: Option<i32>| {
        move |facts: &mut Facts| {
            facts.containers.push(Container {
                ready: false,
                state: state.into(),
                exit_code,
                ..container(name)
            });
        }
    };
    let failed = state(INIT, "terminated: Error, exit 1", Some(1));
    assert_eq!(only("interception rules", failed), Surely);
    let ended = state("app2", "terminated: Error, exit 3", Some(3));
    assert_eq!(only("failed (terminated: Error, exit 3)", ended), Surely);
    assert_eq!(only("not ready", state("app2", "running", None)), Probably);
    assert_eq!(after(state("app2", "waiting: PodInitializing", None)), []);
    let done = state(INIT, "terminated: Completed, exit 0", Some(0));
    assert_eq!(after(done), []);
}

#[test]
fn each_reason_for_waiting_has_its_own_next_step() {
    let waits = |reason: &str, message: &str| {
        let mut found = after(second(|app| {
            app.ready = false;
            app.state = format!("waiting: {reason}");
            app.message = (!message.is_empty()).then(|| message.into());
        }));
        assert_eq!(found.len(), 1, "{found:?}");
        let Cause { likely, what, next } = found.remove(0);
        assert_eq!(likely, Surely);
        assert!(what.contains(reason) && what.contains(message), "{what}");
        next
    };
    for reason in ["ErrImagePull", "ImagePullBackOff"] {
        let next = waits(reason, "pull access denied");
        assert!(next.contains("imagePullSecret"), "{next}");
        assert!(!next.contains("logs"), "{next}");
    }
    let next = waits("CreateContainerConfigError", "configmap \"x\" not found");
    assert!(next.contains("ConfigMap"), "{next}");
    let next = waits("CrashLoopBackOff", "");
    assert!(
        next.contains("logs") && next.contains("--previous"),
        "{next}"
    );
    let running = after(|facts| {
        facts.phase = "Pending".into();
        facts.containers.push(Container {
            init: true,
            ready: false,
            ..container("migrate")
        });
    });
    assert_eq!(running[0].likely, Probably);
    assert!(running[0].what.contains("migrate still runs"));
    assert!(
        running[0]
            .next
            .contains("-c migrate` says what it waits for")
    );
    assert!(!running[0].next.contains("--previous"));
}

#[test]
fn a_container_that_ended_badly_is_a_cause_at_once() {
    let ended = |exit: i32, how: &str, ago: u64, restarts: i32| {
        let before = Some(format!("{how}, exit {exit}"));
        second(move |app| {
            app.restarts = restarts;
            app.before = before;
            app.exit_code = Some(exit);
            app.ended_at = Some(NOW - ago);
        })
    };
    let once = only(
        "was restarted once, last 30 s ago (Error, exit 1)",
        ended(1, "Error", 30, 1),
    );
    assert_eq!(once, Probably);
    let not_ready = after(|facts| {
        ended(1, "Error", 30, 1)(facts);
        facts.containers[1].ready = false;
    });
    assert_eq!(
        (not_ready[0].likely, not_ready[1].likely),
        (Surely, Probably)
    );
    assert_eq!(
        only("ran out of memory", ended(137, "OOMKilled", 30, 1)),
        Surely
    );
    assert_eq!(
        only("restarted once", ended(0, "Completed", 30, 1)),
        Probably
    );
    assert_eq!(
        only("restarted once", ended(1, "Error", 90_000, 1)),
        Earlier
    );
    assert_eq!(
        only("(OOMKilled", ended(137, "OOMKilled", 90_000, 1)),
        Earlier
    );
    assert_eq!(after(ended(0, "Completed", 90_000, 1)), []);
    let unknown = only("restarted 9 times", second(|app| app.restarts = 9));
    assert_eq!(unknown, Earlier);
}
