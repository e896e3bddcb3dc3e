//! What a process asks of the machine that it runs on: the time, sockets, tasks, small files, and dice. The
//! proxy and the controller ask here and nowhere else, so that in tests a simulated machine can
//! answer. Outside tests all of this is the operating system's, at no cost.

pub mod file;
pub mod net;
pub mod original_dst;
pub mod os;

use std::{
    future::Future,
    io,
    path::Path,
    time::{Instant, SystemTime},
};

#[cfg(not(test))]
pub use tokio::sync::watch;
use tokio::task::JoinHandle;

#[cfg(test)]
pub use crate::simulation::watch;

/// The monotonic clock: the one that the runtime's timers go by.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The time of day, as this machine believes it to be.
pub fn wall_clock() -> SystemTime {
    #[cfg(test)]
    if let Some(time) = crate::simulation::process::wall_clock() {
        return time;
    }
    SystemTime::now()
}

/// Checks certificates by [`wall_clock`].
#[derive(Debug)]
pub struct WallClock;

impl rustls::time_provider::TimeProvider for WallClock {
    fn current_time(&self) -> Option<rustls::pki_types::UnixTime> {
        let since = wall_clock().duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(rustls::pki_types::UnixTime::since_unix_epoch(since))
    }
}

/// Runs a task until it ends, is aborted, or the machine goes down.
///
/// # Panics
/// Outside a Tokio runtime.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    #[cfg(test)]
    return crate::simulation::process::spawn(future);
    #[cfg(not(test))]
    tokio::spawn(future)
}

/// Keeps a task on this machine that something else than [`spawn`] starts.
pub fn here<F: Future>(future: F) -> impl Future<Output = F::Output> {
    #[cfg(test)]
    let future = crate::simulation::process::here(future);
    future
}

/// Runs hyper's tasks as [`spawn`] does.
#[derive(Clone, Copy, Debug)]
pub struct Executor;

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        spawn(future);
    }
}

/// Does what may wait for the disk, where it holds up nobody else.
///
/// # Errors
/// When `work` has one, or panics.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    // Another thread would be done whenever it pleases: a simulation has one.
    #[cfg(test)]
    if crate::simulation::process::is_simulated() {
        return work();
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(io::Error::other).flatten()
}

/// Reads a regular file of at most `most` bytes.
///
/// # Errors
/// As [`file::read_to_string`].
pub async fn read_to_string(path: &Path, most: u64) -> io::Result<String> {
    let path = path.to_owned();
    blocking(move || file::read_to_string(&path, most)).await
}
