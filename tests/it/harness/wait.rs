//! Waiting for conditions, never for time.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Generous: a loaded machine is slow, and only a failing test waits this long.
pub const DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// Waits until `probe` has an answer.
///
/// # Panics
/// When it has none within [`DEADLINE`].
pub fn until_some<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(
            started.elapsed() < DEADLINE,
            "{what}: not within {DEADLINE:?}"
        );
        thread::sleep(POLL);
    }
}

/// Waits until `condition` holds.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    until_some(what, || condition().then_some(()));
}

/// Waits until `value` has stopped moving: the same at fifty looks in a row.
pub fn until_still<T: PartialEq>(what: &str, mut value: impl FnMut() -> T) -> T {
    let mut last = value();
    let mut same = 0;
    until(what, || {
        let now = value();
        same = if now == last { same + 1 } else { 0 };
        last = now;
        same >= 50
    });
    last
}
