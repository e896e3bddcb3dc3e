//! One worker: a single-threaded runtime with its own connections, balancers and routes. What
//! must hold for the whole proxy is in [`Shared`].

use std::{
    cell::{Cell, RefCell},
    net::{IpAddr, SocketAddr},
    rc::{Rc, Weak},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use foldhash::HashMap;
use tokio::sync::Notify;

use super::{
    belief::{self, Belief, unix_seconds},
    config::ProxyConfig,
    dial::Dialer,
    hairpin,
    http::{pool::Pool, stale::StaleCache},
    memory,
    own::OwnWorkload,
    route::RouteTable,
    tracing::Tracer,
    upstream::{Upstream, UpstreamKey, UpstreamState, View},
};
use crate::{
    discovery::{
        DiscoveryClient, State, Subscription,
        model::{Destination, Endpoint, Endpoints, Protocol, Service, ServiceKey, Workload},
        resource::Resource,
    },
    host,
    identity::IdentityStore,
    resilience::ResiliencePolicy,
    telemetry::{
        Direction,
        access_log::AccessLog,
        drain,
        metrics::{HttpProtocol, Metrics, RequestLabels, RequestSeries, TcpLabels, TcpSeries},
        tap::Taps,
    },
};

/// How long a request waits for the first word of the control plane about a destination.
const FIRST_WORD: Duration = Duration::from_secs(2);
/// What nobody used for so long is forgotten.
const IDLE: Duration = Duration::from_secs(300);
const SWEEP_EVERY: Duration = Duration::from_secs(15);

/// What all workers share.
pub struct Shared {
    pub config: ProxyConfig,
    pub discovery: DiscoveryClient,
    pub identity: IdentityStore,
    pub metrics: Metrics,
    pub tracer: Tracer,
    pub access_log: AccessLog,
    pub taps: Taps,
    pub drain: drain::Watch,
    upstreams: Mutex<HashMap<UpstreamKey, Arc<UpstreamState>>>,
}

impl Shared {
    pub fn new(
        config: ProxyConfig,
        discovery: DiscoveryClient,
        identity: IdentityStore,
        metrics: Metrics,
        tracer: Tracer,
        access_log: AccessLog,
        drain: drain::Watch,
    ) -> Arc<Self> {
        let upstreams = Mutex::default();
        Arc::new(Self {
            config,
            discovery,
            identity,
            metrics,
            tracer,
            access_log,
            taps: Taps::default(),
            drain,
            upstreams,
        })
    }

    fn state(&self, key: &UpstreamKey, policy: &ResiliencePolicy) -> Arc<UpstreamState> {
        let mut upstreams = self
            .upstreams
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let new = || UpstreamState::new(key, policy, &self.metrics);
        upstreams.entry(key.clone()).or_insert_with(new).clone()
    }

    /// Forgets the states that no worker uses any more.
    fn sweep(&self) {
        let mut upstreams = self
            .upstreams
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        upstreams.retain(|_, state| Arc::strong_count(state) > 1);
    }

    /// Brings what is only counted on demand up to date, before metrics are read.
    pub fn observe(&self) {
        let status = self.discovery.status();
        let discovery = self.metrics.discovery();
        discovery.connected.set(status.connected.into());
        discovery
            .subscriptions
            .set(i64::try_from(status.subscriptions).unwrap_or(i64::MAX));
        discovery.updates.raise_to(status.updates);
        discovery.nacks.raise_to(status.nacks);
        if let Some(at) = status.last_update {
            discovery.updated_at(at);
        }
        let requests = self.identity.requests();
        let certificate = self.metrics.certificate();
        certificate.renewals.raise_to(requests.obtained);
        certificate.renewal_failures.raise_to(requests.failed);
        if let Some(credentials) = self.identity.current() {
            certificate.expires(credentials.not_after);
        }
        let upstreams = self
            .upstreams
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        upstreams.values().for_each(|state| state.observe());
    }

    /// What this proxy believes now, for `/config`.
    pub fn describe(&self) -> Belief {
        let status = self.discovery.status();
        let resources = self.discovery.resources();
        let workload = resources.iter().find_map(|(_, resource)| match resource {
            Resource::Workload(workload) => serde_json::to_value(workload).ok(),
            _ => None,
        });
        let credentials = self.identity.current();
        let now = host::now();
        let upstreams = self
            .upstreams
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut upstreams: Vec<_> = upstreams
            .iter()
            .map(|(key, state)| state.describe(key, now))
            .collect();
        upstreams.sort_by(|a, b| (&a.upstream, a.address).cmp(&(&b.upstream, b.address)));
        Belief {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            identity: self.config.identity.to_string(),
            certificate_not_after: credentials.map(|c| unix_seconds(c.not_after)),
            discovery: belief::Discovery {
                controller: self.config.controller.clone(),
                connected: status.connected,
                last_update: status.last_update.map(unix_seconds),
                subscriptions: status.subscriptions as u64,
                refused_subscriptions: status.refused_subscriptions,
                nacks: status.nacks,
                last_refusal: status.last_refusal,
            },
            workload,
            services: belief::services(resources.iter().map(|(_, resource)| resource)),
            upstreams,
        }
    }
}

pub struct Worker {
    pub shared: Arc<Shared>,
    pub pool: Pool,
    pub rng: RefCell<fastrand::Rng>,
    pub stale: StaleCache,
    /// Fallbacks to other services under way.
    pub fallbacks: Cell<u32>,
    /// Told when a connection has ended or is parked, for [`memory::trim`].
    pub freed: Rc<Notify>,
    /// Requests so far.
    pub exchanges: Cell<u64>,
    upstreams: RefCell<HashMap<UpstreamKey, Rc<Upstream>>>,
    destinations: RefCell<HashMap<SocketAddr, (Subscription<Destination>, Instant)>>,
    series: RefCell<HashMap<RequestLabels, Arc<RequestSeries>>>,
    /// What the control plane says about this proxy's own workload.
    pub own: OwnWorkload,
    /// The zone that this proxy is in, once known.
    zone: RefCell<Option<Arc<str>>>,
    /// The name of requests that no route matched because there are none.
    pub default_route: Arc<str>,
}

impl Worker {
    pub fn new(shared: Arc<Shared>) -> Rc<Self> {
        let pool = Pool::new(Dialer::new(
            shared.identity.clone(),
            shared.metrics.clone(),
            shared.config.mark,
        ));
        let identity = &shared.config.identity;
        let workload = shared.discovery.workload(identity);
        let own = OwnWorkload::new(
            workload.clone(),
            identity.trust_domain(),
            shared.config.mtls,
        );
        let worker = Rc::new(Self {
            shared,
            pool,
            rng: RefCell::new(fastrand::Rng::new()),
            stale: StaleCache::default(),
            fallbacks: Cell::new(0),
            freed: Rc::default(),
            exchanges: Cell::new(0),
            upstreams: RefCell::default(),
            destinations: RefCell::default(),
            series: RefCell::default(),
            own,
            zone: RefCell::default(),
            default_route: "default".into(),
        });
        if let Some(&ip) = worker.shared.config.pod_ips.first() {
            // Any port does: all that is asked is where the address is.
            let own = SocketAddr::new(ip, worker.shared.config.admin.port());
            let own = worker.shared.discovery.destination(own);
            tokio::task::spawn_local(follow_zone(Rc::downgrade(&worker), own));
        }
        let of = Rc::downgrade(&worker);
        let exchanges = move || of.upgrade().map_or(0, |worker| worker.exchanges.get());
        tokio::task::spawn_local(memory::trim(worker.freed.clone(), exchanges));
        tokio::task::spawn_local(sweep(Rc::downgrade(&worker)));
        tokio::task::spawn_local(follow_workload(Rc::downgrade(&worker), workload));
        worker
    }

    /// What an address stands for. While nothing is known of it, it is forwarded as it is.
    pub async fn destination(&self, addr: SocketAddr) -> Arc<Destination> {
        let mut subscription = {
            let mut destinations = self.destinations.borrow_mut();
            let new = || (self.shared.discovery.destination(addr), host::now());
            let (subscription, used) = destinations.entry(addr).or_insert_with(new);
            *used = host::now();
            subscription.clone()
        };
        match subscription.known(FIRST_WORD).await {
            State::Present(destination) => destination,
            State::Absent => Arc::new(Destination::Unknown),
            State::Pending => {
                tracing::warn!(%addr, "the control plane says nothing about this destination: forwarded as it is");
                Arc::new(Destination::Unknown)
            }
        }
    }

    /// The upstream of a service, subscribed to on first use.
    pub async fn service(&self, key: &ServiceKey) -> Rc<Upstream> {
        self.followed(UpstreamKey::Service(key.clone()), key).await
    }

    /// A service by way of a route with a policy of its own.
    pub async fn by_route(
        &self,
        key: &ServiceKey,
        route: &Arc<str>,
        policy: &Rc<ResiliencePolicy>,
    ) -> Rc<Upstream> {
        let name = UpstreamKey::Route(key.clone(), route.clone());
        let upstream = self.followed(name, key).await;
        upstream.take_policy(policy);
        upstream
    }

    async fn followed(&self, name: UpstreamKey, key: &ServiceKey) -> Rc<Upstream> {
        let known = self.upstreams.borrow().get(&name).cloned();
        if let Some(upstream) = known {
            upstream.last_used.set(host::now());
            return upstream;
        }
        let mut service = self.shared.discovery.service(key);
        let mut endpoints = self.shared.discovery.endpoints(key);
        let deadline = tokio::time::Instant::now() + FIRST_WORD;
        let left = || deadline.saturating_duration_since(tokio::time::Instant::now());
        service.known(left()).await;
        endpoints.known(left()).await;
        // Another request may have been here while this one waited.
        let known = self.upstreams.borrow().get(&name).cloned();
        known.unwrap_or_else(|| {
            let upstream =
                self.create(name.clone(), Protocol::Detect, &ResiliencePolicy::default());
            let config = &self.shared.config;
            follow_service(&upstream, &service, config.identity.namespace());
            follow_endpoints(&upstream, &endpoints, &config.pod_ips);
            let followed = Rc::downgrade(&upstream);
            let following = follow(followed, service, endpoints, self.shared.clone());
            let watch = tokio::task::spawn_local(following);
            upstream.owns(watch);
            self.upstreams.borrow_mut().insert(name, upstream.clone());
            upstream
        })
    }

    /// One endpoint dialled by its own address: its service's protocol and policy, no choice.
    pub async fn direct(&self, endpoint: &Endpoint, service: Option<&ServiceKey>) -> Rc<Upstream> {
        let key = UpstreamKey::Direct(endpoint.addr, service.cloned());
        let parent = match service {
            Some(service) => Some(self.service(service).await.view()),
            None => None,
        };
        let (protocol, policy) = parent.map_or_else(
            || (Protocol::Detect, Rc::default()),
            |view| (view.protocol, view.policy),
        );
        self.fixed(key, protocol, &policy, endpoint)
    }

    /// The application behind this proxy.
    pub fn local(
        &self,
        addr: SocketAddr,
        protocol: Protocol,
        policy: &ResiliencePolicy,
    ) -> Rc<Upstream> {
        let policy = Rc::new(policy.clone());
        let endpoint = Endpoint {
            addr,
            weight: 1,
            zone: None,
            identity: None,
        };
        self.fixed(UpstreamKey::Local(addr), protocol, &policy, &endpoint)
    }

    fn fixed(
        &self,
        key: UpstreamKey,
        protocol: Protocol,
        policy: &Rc<ResiliencePolicy>,
        endpoint: &Endpoint,
    ) -> Rc<Upstream> {
        let known = self.upstreams.borrow().get(&key).cloned();
        let upstream = known.unwrap_or_else(|| {
            let upstream = self.create(key.clone(), protocol, policy);
            self.upstreams.borrow_mut().insert(key, upstream.clone());
            upstream
        });
        upstream.last_used.set(host::now());
        upstream.refresh(protocol, policy, endpoint);
        upstream
    }

    fn create(
        &self,
        key: UpstreamKey,
        protocol: Protocol,
        policy: &ResiliencePolicy,
    ) -> Rc<Upstream> {
        let state = self.shared.state(&key, policy);
        let view = View {
            protocol,
            policy: Rc::new(policy.clone()),
            routes: Rc::default(),
        };
        Rc::new(Upstream::new(key, state, view, self.zone.borrow().clone()))
    }

    /// The byte counters of an upstream.
    pub fn tcp_series(&self, direction: Direction, upstream: &Upstream) -> Arc<TcpSeries> {
        self.shared.metrics.tcp_series(TcpLabels {
            direction,
            service: upstream.state.label.clone(),
        })
    }

    /// The metrics of a kind of request, found once and kept.
    pub fn series(
        &self,
        direction: Direction,
        upstream: &Arc<str>,
        route: &Arc<str>,
        protocol: HttpProtocol,
    ) -> Arc<RequestSeries> {
        let labels = RequestLabels {
            direction,
            service: upstream.clone(),
            route: route.clone(),
            protocol,
        };
        let mut series = self.series.borrow_mut();
        match series.get(&labels) {
            Some(series) => series.clone(),
            None => {
                let new = self.shared.metrics.request_series(labels.clone());
                series.entry(labels).or_insert(new).clone()
            }
        }
    }
}

/// What changed of the own workload holds at once, also for connections that stay open.
async fn follow_workload(worker: Weak<Worker>, mut workload: Subscription<Workload>) {
    loop {
        workload.changed().await;
        let Some(worker) = worker.upgrade() else {
            return;
        };
        worker.own.refresh();
        let Some(own) = worker.own.now() else {
            continue;
        };
        let local = |upstream: &Rc<Upstream>| match upstream.key {
            UpstreamKey::Local(addr) => Some((addr, upstream.view().protocol)),
            _ => None,
        };
        let locals: Vec<_> = worker
            .upstreams
            .borrow()
            .values()
            .filter_map(local)
            .collect();
        for (addr, protocol) in locals {
            worker.local(addr, protocol, &own.workload.policy);
        }
    }
}

/// Where the control plane says that this proxy is, every balancer takes into account.
async fn follow_zone(worker: Weak<Worker>, mut own: Subscription<Destination>) {
    loop {
        let zone = match own.current() {
            State::Present(destination) => match &*destination {
                Destination::Endpoint { endpoint, .. } => endpoint.zone.clone(),
                Destination::Service(_) | Destination::Unknown => None,
            },
            State::Pending | State::Absent => None,
        };
        let Some(worker) = worker.upgrade() else {
            return;
        };
        if *worker.zone.borrow() != zone {
            for upstream in worker.upstreams.borrow().values() {
                upstream.set_zone(zone.clone());
            }
            worker.zone.replace(zone);
        }
        drop(worker);
        own.changed().await;
    }
}

async fn follow(
    upstream: Weak<Upstream>,
    mut service: Subscription<Service>,
    mut endpoints: Subscription<Endpoints>,
    shared: Arc<Shared>,
) {
    let namespace = shared.config.identity.namespace();
    let own = &shared.config.pod_ips;
    loop {
        tokio::select! {
            biased;
            () = service.changed() => upstream.upgrade().map(|u| follow_service(&u, &service, namespace)),
            () = endpoints.changed() => upstream.upgrade().map(|u| follow_endpoints(&u, &endpoints, own)),
        };
    }
}

fn follow_service(upstream: &Upstream, service: &Subscription<Service>, namespace: &str) {
    let State::Present(service) = service.current() else {
        return;
    };
    if let UpstreamKey::Route(..) = upstream.key {
        // The route's policy is the one that counts, and it has been routed.
        return upstream.speaks(service.protocol);
    }
    match RouteTable::compile(&service, namespace) {
        Ok(routes) => upstream.configure(&service, routes),
        // Refused with a NACK when it came, so that this is the last good one already.
        Err(errors) => tracing::error!(upstream = %upstream.key, ?errors, "routes do not compile"),
    }
}

fn follow_endpoints(upstream: &Upstream, endpoints: &Subscription<Endpoints>, own: &[IpAddr]) {
    match endpoints.current() {
        State::Present(endpoints) => {
            let endpoints = hairpin::as_dialled(&endpoints, own);
            upstream.set_endpoints(&endpoints, host::now());
        }
        State::Absent => {
            if let UpstreamKey::Service(service) | UpstreamKey::Route(service, _) = &upstream.key {
                let none = Endpoints {
                    service: service.clone(),
                    endpoints: Vec::new(),
                };
                upstream.set_endpoints(&none, host::now());
            }
        }
        State::Pending => {}
    }
}

/// Forgets what is idle: memory follows what the application talks to now.
async fn sweep(worker: Weak<Worker>) {
    let mut every = tokio::time::interval(SWEEP_EVERY);
    loop {
        every.tick().await;
        let Some(worker) = worker.upgrade() else {
            return;
        };
        let now = host::now();
        worker.pool.sweep(now, IDLE);
        worker.stale.sweep(now);
        let in_use = |upstream: &Rc<Upstream>| {
            Rc::strong_count(upstream) > 1 || now.duration_since(upstream.last_used.get()) < IDLE
        };
        worker
            .upstreams
            .borrow_mut()
            .retain(|_, upstream| in_use(upstream));
        worker
            .destinations
            .borrow_mut()
            .retain(|_, (_, used)| now.duration_since(*used) < IDLE);
        worker.shared.sweep();
    }
}
