//! A proxy's life: one thread for control (admin, discovery, identity, telemetry), one for each
//! worker, and an orderly end.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    rc::Rc,
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use tokio::{
    net::TcpListener,
    runtime::{Builder, LocalOptions},
    signal::unix::{SignalKind, signal},
    sync::{Notify, mpsc},
};

use super::{
    config::ProxyConfig,
    listener::{self, Bound, Origin, Places},
    memory,
    probe::ProbePort,
    tracing::Tracer,
    worker::{Shared, Worker},
};
use crate::{
    discovery::{Certifier, ClientOptions, Controller, DiscoveryClient, controller_id},
    host::{
        self, net,
        os::{self, Sharing},
    },
    identity::IdentityStore,
    telemetry::{
        Direction,
        access_log::{self, AccessLog},
        admin::Admin,
        context::Sampler,
        drain,
        logging::LogLevel,
        metrics::Metrics,
        otlp::Exporter,
        readiness::{Block, Readiness},
        span::SpanSink,
        task::{FatalReceiver, Supervisor, Task},
    },
    units,
};

/// How long the end of the process waits for the access log to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// What the proxy tells about itself and its traffic.
pub struct Observability {
    pub log_level: LogLevel,
    /// Share of the traces begun here that are recorded, 0 to 1.
    pub trace_ratio: f64,
    /// The collector; without one nothing is recorded.
    pub otlp: Option<String>,
    /// Where the access log goes, and the share of the successes in it, 0 to 1.
    pub access_log: Option<(access_log::Output, f64)>,
    pub admin_token_file: Option<PathBuf>,
}

/// Runs until SIGTERM or SIGINT, and then until everything has drained.
///
/// # Errors
/// When it cannot start, or when a part of it died: the process is to be restarted.
pub fn run(config: ProxyConfig, observability: Observability) -> anyhow::Result<()> {
    let listeners = bind(&config)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        Proxy::start(config, observability, listeners)
            .await?
            .until_the_end()
            .await
    })
}

/// A running proxy, seen from its control thread.
struct Proxy {
    shared: Arc<Shared>,
    readiness: Readiness,
    signal: drain::Signal,
    drain_asked: Arc<Notify>,
    fatal: FatalReceiver,
    workers: mpsc::UnboundedReceiver<usize>,
    tasks: Vec<Task>,
}

impl Proxy {
    async fn start(
        config: ProxyConfig,
        observability: Observability,
        listeners: Vec<Vec<Bound>>,
    ) -> anyhow::Result<Self> {
        let metrics = Metrics::new();
        let (supervisor, fatal) = Supervisor::new(metrics.clone());
        let (signal, watch) = drain::channel();
        let readiness = Readiness::default();
        let mut tasks = Vec::new();
        let identity = IdentityStore::new();
        let discovery = discover(&config, &identity, &supervisor, &mut tasks)?;
        let tracer = trace(&config, &observability, &metrics, &supervisor, &mut tasks)?;
        let access_log = log_access(&observability, &metrics, &supervisor)?;
        let shared = Shared::new(
            config, discovery, identity, metrics, tracer, access_log, watch,
        );
        let drain_asked = Arc::new(Notify::new());
        let admin = Admin {
            metrics: Box::new({
                let shared = shared.clone();
                move || shared.metrics.encode()
            }),
            readiness: readiness.clone(),
            log_level: observability.log_level,
            config: Box::new({
                let shared = shared.clone();
                move || serde_json::to_value(shared.describe()).unwrap_or_default()
            }),
            taps: shared.taps.clone(),
            drain: Box::new({
                let asked = drain_asked.clone();
                move || asked.notify_one()
            }),
            token_file: observability.admin_token_file,
            displaced: shared.metrics.losses().port_connections_displaced.clone(),
        };
        let address = shared.config.admin;
        let listener =
            aside(address).with_context(|| format!("cannot listen on {address} for --admin"))?;
        tasks.push(supervisor.spawn("admin", admin.serve(listener)));
        if let Some((port, probes)) = shared.config.probes.clone() {
            let listener = aside((Ipv6Addr::UNSPECIFIED, port).into())
                .with_context(|| format!("cannot listen on port {port} for --probe-port"))?;
            let displaced = shared.metrics.losses().port_connections_displaced.clone();
            tasks.push(
                supervisor.spawn("probes", ProbePort::new(probes, displaced).serve(listener)),
            );
        }
        let certified = readiness.block("no certificate yet: is the controller reachable?");
        let told = readiness.block("nothing known from the controller yet");
        tasks.push(supervisor.spawn("readiness", become_ready(shared.clone(), certified, told)));
        tasks.push(supervisor.spawn("gauges", observe(shared.clone())));
        let workers = start_workers(&shared, listeners)?;
        Ok(Self {
            shared,
            readiness,
            signal,
            drain_asked,
            fatal,
            workers,
            tasks,
        })
    }

    async fn until_the_end(mut self) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let ended = tokio::select! {
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
            () = self.drain_asked.notified() => Ok(()),
            fatal = self.fatal.recv() => Err(anyhow!("{fatal}")),
            Some(number) = self.workers.recv() => {
                Err(anyhow!("worker {number} died: see the log line above; the proxy ends so that it is restarted"))
            }
        };
        if ended.is_ok() {
            let _draining = self.readiness.block("draining");
            tracing::info!("draining");
            self.signal.start();
            let config = &self.shared.config;
            drained(&mut self.workers, config.workers, config.drain_max).await;
        }
        self.shared.access_log.flush(LAST_LINES);
        drop(self.tasks);
        ended
    }
}

/// A listener of the control thread. Every address of IPv6 is every address of IPv4 as well.
fn aside(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        os::listen_any(address.port(), Sharing::Alone)
    } else {
        os::listen(address, Sharing::Alone)
    };
    TcpListener::from_std(listener?)
}

/// Follows the controller: identity, discovery and the trust bundle.
pub fn discover(
    config: &ProxyConfig,
    identity: &IdentityStore,
    supervisor: &Supervisor,
    tasks: &mut Vec<Task>,
) -> anyhow::Result<DiscoveryClient> {
    let controller = Controller {
        address: config.controller.clone(),
        identity: controller_id(config.identity.trust_domain(), &config.controller_namespace)?,
        mark: config.mark,
    };
    let mut options = ClientOptions::new(
        controller.clone(),
        identity.clone(),
        config.identity.to_string(),
    );
    options.snapshot_dir = config.snapshot_dir.clone();
    let (discovery, runner) = DiscoveryClient::new(options);
    let certifier = Certifier {
        controller,
        token_file: config.token_file.clone(),
        roots_file: config.trust_anchors.clone(),
        identity: identity.clone(),
        keep_dir: config.snapshot_dir.clone(),
    };
    let client = discovery.clone();
    tasks.push(supervisor.spawn(
        "identity",
        endless(async move { certifier.run(&client).await }),
    ));
    tasks.push(supervisor.spawn("discovery", endless(runner.run())));
    Ok(discovery)
}

/// A task that has no end of its own.
async fn endless(task: impl Future<Output = ()>) -> Result<(), Infallible> {
    task.await;
    Ok(())
}

fn trace(
    config: &ProxyConfig,
    observability: &Observability,
    metrics: &Metrics,
    supervisor: &Supervisor,
    tasks: &mut Vec<Task>,
) -> anyhow::Result<Tracer> {
    let (sink, spans) = SpanSink::new(metrics.losses().spans_dropped.clone());
    let Some(collector) = &observability.otlp else {
        return Ok(Tracer::new(sink, Sampler::NEVER));
    };
    let id = &config.identity;
    let resource = [
        ("service.name", id.service_account().to_owned()),
        ("service.namespace", id.namespace().to_owned()),
        ("service.instance.id", hostname()),
    ];
    let exporter = Exporter::new(collector, resource, spans, metrics.clone())?;
    tasks.push(supervisor.spawn("traces", endless(exporter.run())));
    Ok(Tracer::new(sink, Sampler::ratio(observability.trace_ratio)))
}

fn hostname() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

fn log_access(
    observability: &Observability,
    metrics: &Metrics,
    supervisor: &Supervisor,
) -> anyhow::Result<AccessLog> {
    let Some((output, ratio)) = observability.access_log.clone() else {
        return Ok(AccessLog::default());
    };
    let (log, writer) = AccessLog::new(ratio, metrics.losses().log_lines_dropped.clone());
    supervisor.thread("access-log", move || writer.run(&output))?;
    Ok(log)
}

/// Ready with a certificate, and with the controller's word or the snapshot's.
async fn become_ready(
    shared: Arc<Shared>,
    certified: Block,
    told: Block,
) -> Result<(), Infallible> {
    shared.identity.ready().await;
    drop(certified);
    let mut changes = shared.discovery.status_changes();
    while !shared.discovery.status().connected && shared.discovery.resources().is_empty() {
        if changes.changed().await.is_err() {
            break;
        }
    }
    drop(told);
    if let Err(error) = memory::drop_code() {
        tracing::debug!(%error, "code that is not running stays resident");
    }
    Ok(())
}

/// Brings up to date what is only counted on demand.
async fn observe(shared: Arc<Shared>) -> Result<(), Infallible> {
    let mut every = tokio::time::interval(Duration::from_secs(1));
    loop {
        every.tick().await;
        shared.observe();
    }
}

/// Binds a listener of each kind for every worker, so that a port that is taken is an error at
/// start and not a log line later.
///
/// # Errors
/// When an address cannot be listened on.
fn bind(config: &ProxyConfig) -> anyhow::Result<Vec<Vec<Bound>>> {
    // Listeners that may be shared would take their share of another proxy's connections.
    drop(bind_worker(config, Sharing::Alone)?);
    (0..config.workers.max(1))
        .map(|_| bind_worker(config, Sharing::Workers))
        .collect()
}

pub fn bind_worker(config: &ProxyConfig, sharing: Sharing) -> anyhow::Result<Vec<Bound>> {
    let taken =
        |what: String| move || format!("cannot listen on {what}: is another proxy running?");
    let mut bound = Vec::new();
    if let Some(ports) = config.intercept {
        let listeners = [
            (Direction::Outbound, ports.outbound),
            (Direction::Inbound, ports.inbound),
        ];
        for (direction, port) in listeners {
            let listener =
                net::listen_any(port, sharing).with_context(taken(format!("port {port}")))?;
            bound.push(Bound {
                listener,
                direction,
                origin: Origin::Redirected,
            });
        }
    }
    for forward in &config.forwards {
        let listener =
            net::listen(forward.listen, sharing).with_context(taken(forward.listen.to_string()))?;
        bound.push(Bound {
            listener,
            direction: forward.direction,
            origin: Origin::Fixed(forward.dst),
        });
    }
    Ok(bound)
}

/// Tells when a worker has ended, however it ended.
struct Ended(mpsc::UnboundedSender<usize>, usize);

impl Drop for Ended {
    fn drop(&mut self) {
        // The receiver outlives the workers, unless the process is ending anyway.
        let _ = self.0.send(self.1);
    }
}

/// Starts the worker threads. The receiver gets the number of each one that ends.
///
/// # Errors
/// When a thread cannot be started.
fn start_workers(
    shared: &Arc<Shared>,
    listeners: Vec<Vec<Bound>>,
) -> io::Result<mpsc::UnboundedReceiver<usize>> {
    let (ended, receiver) = mpsc::unbounded_channel();
    for (number, bound) in listeners.into_iter().enumerate() {
        let shared = shared.clone();
        let ended = Ended(ended.clone(), number);
        thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || {
                let _ended = ended;
                let runtime = Builder::new_current_thread()
                    .enable_all()
                    .build_local(LocalOptions::default());
                match runtime {
                    Ok(runtime) => runtime.block_on(work(shared, bound)),
                    Err(error) => tracing::error!(%error, "a worker has no runtime"),
                }
            })?;
    }
    Ok(receiver)
}

pub async fn work(shared: Arc<Shared>, listeners: Vec<Bound>) {
    let places = Direction::ALL.map(|direction| {
        let connections = shared.metrics.connections().clone();
        Places::new(direction, shared.config.max_connections, connections)
    });
    let worker = Worker::new(shared.clone());
    let serving: Vec<_> = listeners
        .into_iter()
        .map(|bound| {
            let places = places[bound.direction as usize].clone();
            tokio::task::spawn_local(listener::serve(Rc::clone(&worker), bound, places))
        })
        .collect();
    for listener in serving {
        match listener.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return tracing::error!(%error, "a listener failed"),
            Err(error) => return tracing::error!(%error, "a listener panicked"),
        }
    }
    for places in places {
        places.all_free().await;
    }
}

/// Waits until all workers have drained, at the latest until the deadline.
async fn drained(workers: &mut mpsc::UnboundedReceiver<usize>, count: usize, within: Duration) {
    let started = host::now();
    let all = async {
        for _ in 0..count {
            workers.recv().await;
        }
    };
    match tokio::time::timeout(within, all).await {
        Ok(()) => {
            tracing::info!(after = %units::duration::rounded(host::now() - started), "drained")
        }
        Err(_) => tracing::warn!(
            ?within,
            "not everything ended in time: cutting what is left"
        ),
    }
}
