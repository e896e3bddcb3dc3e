//! A pod's proxy: the product's own parts, put together as its `run` does but for the threads, the
//! admin port and the signals.

use std::{
    cell::RefCell,
    path::Path,
    rc::Rc,
    sync::{Arc, Weak},
    time::Duration,
};

use super::{
    network::{Place, Sidecar},
    registry::{NAMESPACE, TRUST_DOMAIN, token},
};
use crate::{
    discovery::{CONTROLLER_NAMESPACE, model::MtlsMode},
    host::os::Sharing,
    identity::{IdentityStore, SpiffeId},
    proxy::{
        Shared, Tracer, bind_worker,
        config::{InterceptPorts, ProxyConfig},
        discover, work,
    },
    telemetry::{
        access_log::AccessLog,
        context::Sampler,
        drain,
        metrics::Metrics,
        span::SpanSink,
        task::{FatalReceiver, Supervisor},
    },
};

pub const PORTS: Sidecar = Sidecar {
    outbound: 14_001,
    inbound: 14_006,
};
pub const CONTROLLER: &str = "controller:14030";
/// The mark by which the interception lets the proxy's own connections pass.
const MARK: u32 = 1;

/// Seen from outside while it runs.
pub struct View {
    pub shared: Weak<Shared>,
    /// Starts the drain.
    pub signal: drain::Signal,
    pub fatal: RefCell<FatalReceiver>,
}

fn config(place: &Place, account: &str, files: &Path) -> ProxyConfig {
    ProxyConfig {
        identity: SpiffeId::new(TRUST_DOMAIN, NAMESPACE, account).expect("plain names"),
        workers: 1,
        intercept: Some(InterceptPorts {
            outbound: PORTS.outbound,
            inbound: PORTS.inbound,
        }),
        forwards: Vec::new(),
        admin: (place.ip, 14_020).into(),
        probes: None,
        mtls: MtlsMode::Permissive,
        opaque_ports: Vec::new(),
        controller: CONTROLLER.into(),
        controller_namespace: CONTROLLER_NAMESPACE.into(),
        trust_anchors: files.join("roots.pem"),
        token_file: files.join(format!("{account}.token")),
        snapshot_dir: Some(files.join(&*place.name)),
        pod_ips: vec![place.ip],
        mark: Some(MARK),
        max_connections: 1_000,
        drain_min: Duration::from_millis(500),
        drain_max: Duration::from_secs(5),
    }
}

/// Runs a proxy until it has drained. `ready` is called once it would say so.
pub async fn run(
    place: Place,
    account: String,
    files: Rc<Path>,
    view: Rc<RefCell<Option<View>>>,
    ready: impl FnOnce() + 'static,
) {
    std::fs::write(files.join(format!("{account}.token")), token(&account)).expect("an own file");
    let config = config(&place, &account, &files);
    let metrics = Metrics::new();
    let (supervisor, fatal) = Supervisor::new(metrics.clone());
    let (signal, watch) = drain::channel();
    let identity = IdentityStore::new();
    let mut tasks = Vec::new();
    let discovery =
        discover(&config, &identity, &supervisor, &mut tasks).expect("a plain trust domain");
    let (sink, _) = SpanSink::new(metrics.losses().spans_dropped.clone());
    let tracer = Tracer::new(sink, Sampler::NEVER);
    let listeners = bind_worker(&config, Sharing::Workers).expect("free ports");
    let access_log = AccessLog::default();
    let shared = Shared::new(
        config, discovery, identity, metrics, tracer, access_log, watch,
    );
    view.replace(Some(View {
        shared: Arc::downgrade(&shared),
        signal,
        fatal: RefCell::new(fatal),
    }));
    let tell = {
        let (identity, discovery) = (shared.identity.clone(), shared.discovery.clone());
        async move {
            identity.ready().await;
            let mut changes = discovery.status_changes();
            while !discovery.status().connected && discovery.resources().is_empty() {
                if changes.changed().await.is_err() {
                    return;
                }
            }
            ready();
        }
    };
    tokio::task::spawn_local(tell);
    work(shared, listeners).await;
}
