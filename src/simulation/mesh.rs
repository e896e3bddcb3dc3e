//! The mesh: pods with their proxies and applications, the controller, and what happens to them.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use super::{
    app::{Behaviour, Client, Server},
    network::{Network, Place},
    observed::Observed,
    plan::{Event, Plan},
    process::{Process, Running},
    registry::{APP_PORT, Registry, Service},
    sidecar::{self, CONTROLLER, PORTS, View},
};
use crate::controller::{Controller, Options, Store};

const CONTROLLER_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));

/// A pod: its proxy and its application are processes that die apart or together.
pub struct Pod {
    pub place: Place,
    pub account: String,
    /// Which service it is of; `None`: a client.
    service: Option<usize>,
    pub proxy: Option<Running>,
    pub view: Rc<RefCell<Option<View>>>,
    app: Option<Running>,
    behaviour: Rc<Cell<Behaviour>>,
}

pub struct Mesh {
    pub network: Arc<Network>,
    pub observed: Rc<Observed>,
    pub pods: Vec<Pod>,
    pub store: Rc<RefCell<Option<Arc<Store>>>>,
    controller: Option<Running>,
    controller_skew: i64,
    pub registry: Registry,
    /// Servers that the registry leaves out though they run.
    withdrawn: Vec<usize>,
    files: Rc<Path>,
    /// The mean time between two requests of a client.
    pub every: Rc<Cell<Duration>>,
    pub bursts: Rc<Cell<bool>>,
    pub sends: Rc<Cell<bool>>,
}

impl Mesh {
    pub fn new(plan: &Plan, network: &Arc<Network>, files: &Path) -> Self {
        let names = ["cart", "till"];
        let observed = Observed::new(network.clone());
        let (mut pods, mut services) = (Vec::new(), Vec::new());
        let mut pod = |account: String, service| {
            let number = u8::try_from(pods.len()).expect("a few");
            let place = Place {
                name: format!("{account}-{number}").into(),
                ip: Ipv4Addr::new(198, 18, 1, number).into(),
                skew_ms: plan.skews[usize::from(number) + 1],
                sidecar: Some(PORTS),
            };
            let ip = place.ip;
            pods.push(Pod {
                place,
                account,
                service,
                proxy: None,
                view: Rc::default(),
                app: None,
                behaviour: Rc::new(Cell::new(Behaviour::Well)),
            });
            ip
        };
        for (index, replicas) in plan.services.iter().enumerate() {
            let name = names[index].to_owned();
            let endpoints = (0..*replicas)
                .map(|_| pod(name.clone(), Some(index)))
                .collect();
            services.push(Service { name, endpoints });
        }
        let clients: Vec<_> = (0..plan.clients).map(|n| format!("web{n}")).collect();
        for client in &clients {
            pod(client.clone(), None);
        }
        let mut mesh = Self {
            network: network.clone(),
            observed,
            pods,
            store: Rc::default(),
            controller: None,
            controller_skew: plan.skews[0],
            registry: Registry {
                services,
                clients,
                policy: plan.policy.clone(),
                edition: 0,
            },
            withdrawn: Vec::new(),
            files: files.into(),
            every: Rc::new(Cell::new(Duration::from_millis(450))),
            bursts: Rc::new(Cell::new(true)),
            sends: Rc::new(Cell::new(true)),
        };
        mesh.registry.write(&mesh.registry_file());
        mesh
    }

    pub fn registry_file(&self) -> Box<Path> {
        self.files.join("registry.yaml").into()
    }

    /// Everything that is down comes up.
    pub async fn start(&mut self) {
        self.start_controller();
        // The trust anchors are there once the controller has an authority.
        while self.store.borrow().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for pod in 0..self.pods.len() {
            self.network.bring_up(&self.pods[pod].place);
            self.start_proxy(pod);
            self.start_app(pod);
        }
    }

    /// Everything is as it should be from here on.
    pub fn recover(&mut self) {
        self.network.heal();
        self.withdrawn.clear();
        for pod in &self.pods {
            pod.behaviour.set(Behaviour::Well);
        }
        if self.controller.is_none() {
            self.start_controller();
        }
        for pod in 0..self.pods.len() {
            self.network.bring_up(&self.pods[pod].place);
            if self.pods[pod].proxy.is_none() {
                self.start_proxy(pod);
            }
            if self.pods[pod].app.is_none() {
                self.start_app(pod);
            }
        }
        self.publish();
    }

    pub fn apply(&mut self, event: &Event) {
        self.observed.note(format!("{event:?}"));
        match *event {
            Event::Cut(a, b) => self.network.cut(self.ip(Some(a)), self.ip(b)),
            Event::Slow(a, b, by) => self.network.slow(self.ip(Some(a)), self.ip(b), by),
            Event::Heal => self.network.heal(),
            Event::Break(likelihood) => {
                let broken = self.network.break_some(likelihood);
                self.observed.note(format!("{broken} connections broken"));
            }
            Event::KillApp(pod) => self.pods[pod].app = None,
            Event::StartApp(pod) => self.start_app(pod),
            Event::KillProxy(pod) => self.kill_proxy(pod),
            Event::StartProxy(pod) => self.start_proxy(pod),
            Event::KillController => self.controller = None,
            Event::StartController => self.start_controller(),
            Event::Lose(pod) => {
                self.network.take_down(self.pods[pod].place.ip);
                self.kill_proxy(pod);
                self.pods[pod].app = None;
                self.publish();
            }
            Event::Return(pod) => {
                self.network.bring_up(&self.pods[pod].place);
                self.start_proxy(pod);
                self.start_app(pod);
                self.publish();
            }
            Event::Replace(pod) => self.replace(pod),
            Event::Publish => self.publish(),
            Event::Withdraw(pod) => {
                self.withdrawn.push(pod);
                self.publish();
            }
            Event::Restore(pod) => {
                self.withdrawn.retain(|other| *other != pod);
                self.publish();
            }
            Event::Behave(pod, behaviour) => self.pods[pod].behaviour.set(behaviour),
        }
    }

    fn ip(&self, pod: Option<usize>) -> IpAddr {
        pod.map_or(CONTROLLER_IP, |pod| self.pods[pod].place.ip)
    }

    /// The pod is gone without a word, and its address is that of a pod of the next service. A
    /// service keeps one of its own.
    fn replace(&mut self, pod: usize) {
        let old = self.pods[pod].service;
        let of = |service| self.pods.iter().filter(|p| p.service == service).count();
        let Some(service) = old.filter(|_| of(old) > 1) else {
            return;
        };
        let service = (service + 1) % self.registry.services.len();
        self.network.take_down(self.pods[pod].place.ip);
        self.kill_proxy(pod);
        self.pods[pod].app = None;
        let name = self.registry.services[service].name.clone();
        let own = &mut self.pods[pod];
        own.place.name = format!("{name}-instead-{pod}").into();
        own.account = name;
        own.service = Some(service);
        self.network.bring_up(&self.pods[pod].place);
        self.start_proxy(pod);
        self.start_app(pod);
    }

    fn publish(&mut self) {
        for (index, service) in self.registry.services.iter_mut().enumerate() {
            let pods = self.pods.iter().enumerate();
            service.endpoints = pods
                .filter(|(number, pod)| {
                    pod.service == Some(index)
                        && pod.app.is_some()
                        && !self.withdrawn.contains(number)
                })
                .map(|(_, pod)| pod.place.ip)
                .collect();
        }
        let file = self.registry_file();
        self.registry.write(&file);
    }

    fn start_controller(&mut self) {
        if self.controller.is_some() {
            return;
        }
        let listen = SocketAddr::new(CONTROLLER_IP, 14_030);
        let place = Place {
            name: "controller".into(),
            ip: CONTROLLER_IP,
            skew_ms: self.controller_skew,
            sidecar: None,
        };
        self.network.bring_up(&place);
        self.network.name(CONTROLLER, listen);
        let options = Options {
            ca_poll: Duration::from_secs(3600),
            ..Options::new(self.registry_file().into(), listen, self.files.join("ca"))
        };
        let (store, roots) = (self.store.clone(), self.files.join("roots.pem"));
        store.take();
        let main = || async move {
            let controller = Controller::bind(options).await.expect("a valid registry");
            std::fs::write(roots, controller.roots_pem()).expect("an own file");
            store.replace(Some(controller.store()));
            controller.run(std::future::pending()).await;
        };
        self.controller = Some(Process::start(&self.network, place, main));
    }

    fn start_proxy(&mut self, pod: usize) {
        let Pod {
            place,
            account,
            service,
            proxy,
            view,
            ..
        } = &mut self.pods[pod];
        if proxy.is_some() {
            return;
        }
        let (observed, client) = (self.observed.clone(), account.clone());
        if service.is_none() {
            observed.sidecar_gone(&client);
        }
        let ready = move || observed.sidecar_ready(&client);
        let (account, files) = (account.clone(), self.files.clone());
        let main = || sidecar::run(place.clone(), account, files, view.clone(), ready);
        *proxy = Some(Process::start(&self.network, place.clone(), main));
    }

    fn kill_proxy(&mut self, pod: usize) {
        let pod = &mut self.pods[pod];
        pod.view.take();
        if pod.proxy.take().is_some() && pod.service.is_none() {
            self.observed.sidecar_gone(&pod.account);
        }
    }

    fn start_app(&mut self, pod: usize) {
        let pod = &mut self.pods[pod];
        if pod.app.is_some() {
            return;
        }
        let (observed, account) = (self.observed.clone(), pod.account.clone());
        let place = pod.place.clone();
        pod.app = Some(if pod.service.is_some() {
            let server = Rc::new(Server {
                service: account,
                behaviour: pod.behaviour.clone(),
                observed,
            });
            let listen = SocketAddr::new(place.ip, APP_PORT);
            Process::start(&self.network, place, || server.run(listen))
        } else {
            let services = self.registry.services.iter();
            let client = Rc::new(Client {
                account,
                services: services.map(|service| service.name.clone()).collect(),
                every: self.every.clone(),
                bursts: self.bursts.clone(),
                sends: self.sends.clone(),
                observed,
                idle: RefCell::new(BTreeMap::new()),
            });
            Process::start(&self.network, place, || client.run())
        });
    }

    /// Ends what is left, the applications first: they have to leave before a proxy can drain.
    pub fn end_apps(&mut self) {
        for pod in &mut self.pods {
            pod.app = None;
        }
    }

    pub fn end_controller(&mut self) {
        self.controller = None;
        self.store.take();
    }
}
