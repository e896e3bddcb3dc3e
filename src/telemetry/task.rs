//! Owners for what runs in the background: a task or thread that panics or fails is logged,
//! counted, and reported to the one who must end the process. None dies silently.

use std::{any::Any, fmt, future::Future, io, panic, thread};

use tokio::{sync::mpsc, task::AbortHandle};

use super::metrics::Metrics;
use crate::{failure, host};

/// A background task that ended as it never should: the process must not go on without it.
#[derive(Debug, thiserror::Error)]
#[error("the background task {task} {cause}; without it the proxy would decay unseen, so it ends")]
pub struct Fatal {
    pub task: &'static str,
    pub cause: Cause,
}

/// How a background task ended.
#[derive(Debug)]
pub enum Cause {
    /// With the panic's message.
    Panicked(String),
    /// With its error and what lies below.
    Failed(String),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(message) => write!(f, "panicked: {message}"),
            Self::Failed(error) => write!(f, "failed: {error}"),
        }
    }
}

/// Starts background tasks and threads and hears of their end. Clones report to the same place.
#[derive(Clone)]
pub struct Supervisor {
    fatal: mpsc::UnboundedSender<Fatal>,
    metrics: Metrics,
}

/// Where the end of a task is heard of: whoever holds it ends the process.
pub struct FatalReceiver(mpsc::UnboundedReceiver<Fatal>);

impl FatalReceiver {
    /// The first task that failed. Never completes while there is none.
    pub async fn recv(&mut self) -> Fatal {
        match self.0.recv().await {
            Some(fatal) => fatal,
            // Every supervisor is gone, and with them all that could fail.
            None => std::future::pending().await,
        }
    }
}

/// A task under way; dropping it ends the task.
#[must_use = "the task ends when this is dropped"]
pub struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Supervisor {
    pub fn new(metrics: Metrics) -> (Self, FatalReceiver) {
        // Bounded by the number of tasks: each reports once.
        let (fatal, rx) = mpsc::unbounded_channel();
        (Self { fatal, metrics }, FatalReceiver(rx))
    }

    /// Runs a future on the current runtime. `Ok` is the end it was meant to have.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn spawn<E>(
        &self,
        name: &'static str,
        future: impl Future<Output = Result<(), E>> + Send + 'static,
    ) -> Task
    where
        E: Into<anyhow::Error> + Send + 'static,
    {
        let task = host::spawn(future);
        let handle = Task(task.abort_handle());
        let supervisor = self.clone();
        host::spawn(async move {
            match task.await {
                Ok(result) => supervisor.ended(name, result.map_err(Into::into)),
                Err(error) => {
                    if let Ok(panic) = error.try_into_panic() {
                        supervisor.report(name, Cause::Panicked(message(&*panic)));
                    }
                }
            }
        });
        handle
    }

    /// Runs a function on a thread of its own. `Ok` is the end it was meant to have.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn thread<E: Into<anyhow::Error>>(
        &self,
        name: &'static str,
        run: impl FnOnce() -> Result<(), E> + Send + 'static,
    ) -> io::Result<thread::JoinHandle<()>> {
        let supervisor = self.clone();
        thread::Builder::new().name(name.into()).spawn(move || {
            // Whatever the panic left half done belongs to a process that now ends.
            match panic::catch_unwind(panic::AssertUnwindSafe(run)) {
                Ok(result) => supervisor.ended(name, result.map_err(Into::into)),
                Err(panic) => supervisor.report(name, Cause::Panicked(message(&*panic))),
            }
        })
    }

    fn ended(&self, task: &'static str, result: anyhow::Result<()>) {
        match result {
            Ok(()) => tracing::debug!(task, "background task ended"),
            Err(error) => self.report(task, Cause::Failed(failure::in_full(&error))),
        }
    }

    fn report(&self, task: &'static str, cause: Cause) {
        let fatal = Fatal { task, cause };
        tracing::error!(task, "{fatal}");
        self.metrics.losses().task_failures.inc();
        if self.fatal.send(fatal).is_err() {
            tracing::debug!(task, "the process is already ending");
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message").to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_heard_of_and_counted() {
        let metrics = Metrics::new();
        let (supervisor, mut fatal) = Supervisor::new(metrics.clone());
        let task = supervisor.spawn("exporter", async {
            if true {
                panic!("lost {}", "it");
            }
            anyhow::Ok(())
        });
        let heard = fatal.recv().await;
        assert_eq!(heard.task, "exporter");
        assert!(heard.to_string().contains("panicked: lost it"), "{heard}");
        assert_eq!(metrics.losses().task_failures.get(), 1);
        drop(task);
    }

    #[tokio::test]
    async fn an_error_of_a_thread_is_heard_of() {
        let (supervisor, mut fatal) = Supervisor::new(Metrics::new());
        let run = || Err(io::Error::other("disk full"));
        supervisor.thread("writer", run).unwrap().join().unwrap();
        assert!(fatal.recv().await.to_string().contains("failed: disk full"));
    }

    #[tokio::test]
    async fn dropping_a_task_ends_it_quietly() {
        let metrics = Metrics::new();
        let (supervisor, _fatal) = Supervisor::new(metrics.clone());
        let alive = Arc::new(());
        let held = alive.clone();
        let task = supervisor.spawn("forever", async move {
            let _held = held;
            std::future::pending::<()>().await;
            anyhow::Ok(())
        });
        drop(task);
        while Arc::strong_count(&alive) > 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(metrics.losses().task_failures.get(), 0);
    }
}
