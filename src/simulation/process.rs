//! A simulated process: what runs in it knows whose clock, address and tasks are its own, and dies
//! with it.

use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use tokio::task::{AbortHandle, JoinHandle, LocalSet};

use super::network::{Network, Place};

thread_local! {
    static CURRENT: RefCell<Option<Arc<Process>>> = const { RefCell::new(None) };
}

/// When every simulation begins.
const BEGINNING: Duration = Duration::from_secs(1_780_000_000);

pub struct Process {
    pub id: u64,
    pub place: Place,
    pub network: Arc<Network>,
    dead: AtomicBool,
    tasks: Mutex<Vec<AbortHandle>>,
}

/// A running process, which dies when this is dropped.
pub struct Running {
    pub process: Arc<Process>,
    main: JoinHandle<()>,
}

impl Process {
    /// Starts a process at a place. What `main` spawns belongs to it.
    pub fn start<F>(network: &Arc<Network>, place: Place, main: impl FnOnce() -> F) -> Running
    where
        F: Future<Output = ()> + 'static,
    {
        let process = Arc::new(Self {
            id: network.next_id(),
            place,
            network: network.clone(),
            dead: AtomicBool::new(false),
            tasks: Mutex::default(),
        });
        let main = {
            let _entered = Entered::new(&process);
            main()
        };
        // Its local tasks are dropped with it.
        let main = async move {
            let tasks = LocalSet::new();
            tasks.run_until(main).await;
        };
        let main = tokio::task::spawn_local(Here {
            process: Some(process.clone()),
            future: Box::pin(main),
        });
        Running { process, main }
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Relaxed)
    }

    fn keep(&self, task: AbortHandle) {
        let mut tasks = self.tasks.lock().expect("nothing panics with it");
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
    }
}

impl Running {
    /// The process has come to its end by itself.
    pub fn is_over(&self) -> bool {
        self.main.is_finished()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.process.dead.store(true, Relaxed);
        self.process.network.process_died(self.process.id);
        self.main.abort();
        let mut tasks = self.process.tasks.lock().expect("nothing panics with it");
        tasks.drain(..).for_each(|task| task.abort());
    }
}

/// The process that is running now.
pub fn current() -> Option<Arc<Process>> {
    CURRENT.with_borrow(Clone::clone)
}

pub fn is_simulated() -> bool {
    CURRENT.with_borrow(Option::is_some)
}

/// The time of day as the current process believes it to be.
pub fn wall_clock() -> Option<SystemTime> {
    let process = current()?;
    let now = SystemTime::UNIX_EPOCH + BEGINNING + process.network.elapsed();
    let skew = process.place.skew_ms;
    let by = Duration::from_millis(skew.unsigned_abs());
    Some(if skew < 0 { now - by } else { now + by })
}

/// See [`crate::host::spawn`].
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let task = tokio::spawn(here(future));
    if let Some(process) = current() {
        process.keep(task.abort_handle());
    }
    task
}

/// See [`crate::host::here`].
pub fn here<F: Future>(future: F) -> impl Future<Output = F::Output> {
    Here {
        process: current(),
        future: Box::pin(future),
    }
}

/// A future that is always polled as a part of its process.
struct Here<F> {
    process: Option<Arc<Process>>,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Here<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _entered = self.process.as_ref().map(Entered::new);
        self.future.as_mut().poll(cx)
    }
}

struct Entered(Option<Arc<Process>>);

impl Entered {
    fn new(process: &Arc<Process>) -> Self {
        Self(CURRENT.replace(Some(process.clone())))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}
