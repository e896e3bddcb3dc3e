//! Waiting for conditions, never for time.

use std::time::{Duration, Instant};

/// Enough for pods to start, on a machine that also compiles. Only a failing test waits this long.
pub const LONG: Duration = Duration::from_secs(90);

const POLL: Duration = Duration::from_millis(100);

/// Looks until there is what is looked for; an error is what was seen instead.
///
/// # Panics
/// When it does not come `within` that time. The text has what was seen last.
pub async fn until<T>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let started = Instant::now();
    loop {
        let left = within.saturating_sub(started.elapsed());
        let seen = match tokio::time::timeout(left, look()).await {
            Ok(Ok(found)) => return found,
            Ok(Err(seen)) => seen,
            Err(_) => "no answer to the last look".to_owned(),
        };
        assert!(
            started.elapsed() < within,
            "{what}: not within {within:?}. Last seen: {seen}"
        );
        tokio::time::sleep(POLL).await;
    }
}
