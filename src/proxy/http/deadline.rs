//! The moment by which a client wants everything done, for what comes before the first try.

use std::time::Instant;

use super::reply::Refusal;
use crate::telemetry::Reason;

/// Does `work` until the deadline, if there is one.
///
/// # Errors
/// At the deadline; `late` says what had not happened by then.
pub async fn within<T>(
    deadline: Option<Instant>,
    late: &'static str,
    work: impl Future<Output = T>,
) -> Result<T, Refusal> {
    let Some(deadline) = deadline else {
        return Ok(work.await);
    };
    tokio::time::timeout_at(deadline.into(), work)
        .await
        .map_err(|_| Refusal::new(Reason::RequestTimeout, late))
}
