//! One seed, from the first process to the last check.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::{
    runtime::{Builder, Handle},
    task::LocalSet,
    time::{Instant, sleep, sleep_until},
};

use super::{
    checks,
    mesh::Mesh,
    network::Network,
    plan::{Plan, TROUBLE},
    trace::Trace,
};

/// How long backoffs and connections may take to recover.
const RECOVERY: Duration = Duration::from_secs(20);
/// How long breakers may: a recovering endpoint gets a tenth of its traffic, and here that is a
/// request in many seconds.
const CLOSING: Duration = Duration::from_secs(180);
/// For so long everything must then go well.
const QUIET: Duration = Duration::from_secs(6);
/// The longest that a request takes whose client waits for it.
const LAST: Duration = Duration::from_secs(13);
/// How long a drained mesh may take to end.
const ENDING: Duration = Duration::from_secs(30);

/// What came of a seed.
pub struct Report {
    pub violations: Vec<String>,
    pub log: Vec<String>,
    pub hash: u64,
    pub outcomes: std::collections::BTreeMap<String, u64>,
}

/// Runs a seed on this thread; `aloud` with what the product logs.
///
/// # Panics
/// When the simulation itself is broken.
pub fn run(seed: u64, aloud: bool) -> Report {
    // What the product draws, it draws from here.
    fastrand::seed(seed);
    let files = tempfile::Builder::new()
        .tempdir_in(memory())
        .expect("a place for files");
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let trace = Trace::default();
    let _listening = aloud.then(|| trace.listen());
    let local = LocalSet::new();
    let mut report = local.block_on(&runtime, simulate(seed, trace.clone(), files.path()));
    drop(local);
    drop(runtime);
    report.log = trace.lines();
    report.hash = trace.hash();
    report
}

/// Files that are gone in a moment need no disk.
fn memory() -> &'static Path {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        memory
    } else {
        Path::new("/tmp")
    }
}

async fn simulate(seed: u64, trace: Trace, files: &Path) -> Report {
    let plan = Plan::of(seed);
    let network = Network::new(seed, trace);
    let carrier = {
        let network = network.clone();
        tokio::task::spawn_local(async move { network.run().await })
    };
    let begun = Instant::now();
    let mut mesh = Mesh::new(&plan, &network, files);
    mesh.observed.note(format!("seed {seed}: {plan:?}"));
    mesh.start().await;
    for step in &plan.steps {
        sleep_until(begun + step.at).await;
        mesh.apply(&step.event);
    }
    sleep_until(begun + TROUBLE).await;
    mesh.observed.note("the last fault is over");
    mesh.recover();
    mesh.bursts.set(false);
    sleep(RECOVERY).await;
    let by = Instant::now() + CLOSING;
    while !checks::all_closed(&mesh) && Instant::now() < by {
        sleep(Duration::from_secs(1)).await;
    }
    mesh.observed.note("from here on everything must go well");
    mesh.observed.quiet_begins();
    sleep(QUIET).await;
    mesh.sends.set(false);
    sleep(LAST).await;
    check(&mesh);
    let report = end(mesh, &network).await;
    carrier.abort();
    report
}

fn check(mesh: &Mesh) {
    if mesh.observed.open() > 0 {
        let open = mesh.observed.open();
        mesh.observed
            .violated(format!("{open} requests have no end"));
    }
    if mesh.observed.succeeded_in_quiet() == 0 {
        mesh.observed.violated("no request was sent at the end");
    }
    checks::permits(mesh);
    checks::breakers(mesh);
    checks::registry(mesh);
    checks::amplification(&mesh.observed);
    checks::tasks(mesh);
}

/// Drains every proxy: what is left then has leaked.
async fn end(mut mesh: Mesh, network: &Arc<Network>) -> Report {
    mesh.end_apps();
    for pod in &mesh.pods {
        if let Some(view) = &*pod.view.borrow() {
            view.signal.start();
        }
    }
    let by = Instant::now() + ENDING;
    let drained = |mesh: &Mesh| {
        let mut proxies = mesh.pods.iter().filter_map(|pod| pod.proxy.as_ref());
        proxies.all(|proxy| proxy.is_over())
    };
    while !drained(&mesh) && Instant::now() < by {
        sleep(Duration::from_millis(100)).await;
    }
    for pod in &mut mesh.pods {
        let name = &pod.place.name;
        if !pod.proxy.as_ref().is_none_or(|proxy| proxy.is_over()) {
            mesh.observed.violated(format!("{name} did not drain"));
        }
        let shared = pod.view.take().and_then(|view| view.shared.upgrade());
        if shared.is_some() {
            mesh.observed
                .violated(format!("a task of {name} outlives its proxy"));
        }
        pod.proxy = None;
    }
    mesh.end_controller();
    while (Handle::current().metrics().num_alive_tasks() > 0 || network.connections() > 0)
        && Instant::now() < by
    {
        sleep(Duration::from_millis(100)).await;
    }
    let (tasks, open) = (
        Handle::current().metrics().num_alive_tasks(),
        network.connections(),
    );
    if tasks + open > 0 {
        mesh.observed.violated(format!(
            "{tasks} tasks and {open} connections are left at the end"
        ));
    }
    Report {
        violations: mesh.observed.violations(),
        outcomes: mesh.observed.outcomes(),
        log: Vec::new(),
        hash: 0,
    }
}
