//! The proxy's own ports, dialled by its application and by a neighbour, with the interception
//! rules in force: nothing goes round in circles.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    process::Command,
    thread,
};

use outrigger::{
    controller::token::{self, TokenDigest},
    netns::{Pod, World},
};

use crate::{
    harness::{Process, Wire, wait},
    inside::{both, dial, inside, listen},
};

const CONTROL: u16 = 14_030;
const OUTBOUND: u16 = 14_001;
const INBOUND: u16 = 14_006;
const ADMIN: u16 = 14_020;
const APP: u16 = 8080;
const MARK: &str = "1337";
const NODE: Ipv4Addr = outrigger::netns::NODE_V4;

struct Scene {
    meshed: Pod,
    neighbour: Pod,
    world: World,
    processes: Vec<Process>,
    files: tempfile::TempDir,
}

fn outrigger<const N: usize>(args: [&str; N]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
    command.args(args);
    command
}

impl Scene {
    /// A pod with a real sidecar and rules, one without, and a controller on the node.
    fn new() -> Self {
        let mut world = World::new().expect("namespaces");
        let (meshed, neighbour) = (world.pod("meshed").unwrap(), world.pod("plain").unwrap());
        let mut scene = Self {
            meshed,
            neighbour,
            world,
            processes: Vec::new(),
            files: tempfile::tempdir().expect("a place for files"),
        };
        write_registry(scene.files.path());
        scene.start_controller();
        scene.start_proxy();
        scene
    }

    fn file(&self, name: &str) -> String {
        self.files.path().join(name).display().to_string()
    }

    fn start_controller(&mut self) {
        let listen = SocketAddr::from((NODE, CONTROL));
        let mut command = outrigger(["controller", "--listen", &listen.to_string()]);
        command.args(["--registry", &self.file("registry.yaml")]);
        command.args(["--ca-dir", &self.file("ca")]);
        let start = || Process::start("controller", &mut command);
        let controller = self.world.within(start);
        self.processes.push(controller);
        wait::until("the controller listens", || {
            self.world.within(|| Wire::try_connect(listen)).is_ok()
        });
    }

    fn start_proxy(&mut self) {
        let mut init = outrigger(["init", "--proxy-mark", MARK]);
        init.args(["--skip-outbound-subnets", &NODE.to_string()]);
        let done = self.meshed.within(|| init.status()).expect("it starts");
        assert!(done.success());
        let mut command = outrigger(["proxy", "--proxy-mark", MARK]);
        command.args(["--identity", "spiffe://mesh.test/ns/it/sa/server"]);
        command.args(["--controller", &format!("{NODE}:{CONTROL}")]);
        command.args(["--admin", &format!("[::]:{ADMIN}")]);
        command.args(["--trust-anchors", &self.file("ca/root.pem")]);
        command.args(["--token-file", &self.file("server.token")]);
        let proxy = self.meshed.within(|| Process::start("proxy", &mut command));
        self.processes.push(proxy);
        wait::until("the proxy is ready", || {
            self.admin(Ipv4Addr::LOCALHOST.into(), "/ready") == Some(200)
        });
    }

    /// What the admin port answers to the pod itself, at one of its addresses.
    fn admin(&self, ip: std::net::IpAddr, path: &str) -> Option<u16> {
        self.meshed.within(|| admin((ip, ADMIN).into(), path))
    }

    fn metrics(&self) -> String {
        let get = || {
            let mut wire = Wire::connect((Ipv4Addr::LOCALHOST, ADMIN).into());
            wire.get("/metrics").text()
        };
        self.meshed.within(get)
    }
}

fn admin(addr: SocketAddr, path: &str) -> Option<u16> {
    let mut wire = Wire::try_connect(addr).ok()?;
    wire.try_send(format!("GET {path} HTTP/1.1\r\nHost: admin\r\n\r\n"))
        .ok()?;
    wire.try_response("GET").ok().map(|answer| answer.status)
}

fn write_registry(dir: &Path) {
    let token = token::generate();
    let digest = TokenDigest::of(&token);
    fs::write(dir.join("server.token"), token).expect("an own folder");
    let registry = format!(
        "trustDomain: mesh.test\nworkloads:\n  - {{namespace: it, serviceAccount: server, tokenSha256: \"{digest}\"}}\n"
    );
    fs::write(dir.join("registry.yaml"), registry).expect("an own folder");
}

/// Whether the connection ends without a byte.
fn is_refused(pod: &Pod, addr: SocketAddr) -> bool {
    let Ok(mut stream) = dial(pod, addr) else {
        return true;
    };
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let mut read = Vec::new();
    let _ = stream.read_to_end(&mut read);
    read.is_empty()
}

#[test]
fn the_proxys_own_ports_lead_nowhere() {
    inside(|| {
        let scene = Scene::new();
        let mut refused = 0;
        for pod in [&scene.meshed, &scene.neighbour] {
            for port in [OUTBOUND, INBOUND] {
                for addr in both(&scene.meshed, port) {
                    assert!(is_refused(pod, addr), "{} to {addr}", pod.name());
                    refused += 1;
                }
            }
        }
        let page = scene.metrics();
        let counted: u32 = page
            .lines()
            .filter(|line| line.contains("_refused_total") && line.contains("\"loop-detected\""))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u32>().ok())
            .sum();
        assert_eq!(counted, refused, "{page}");
        wait::until("it is logged", || {
            scene.processes[1].log().contains("loop-detected")
        });
        // What it believes is shown to the pod's own loopback alone.
        for (ip, status) in [
            (Ipv4Addr::LOCALHOST.into(), Some(200)),
            (Ipv6Addr::LOCALHOST.into(), Some(200)),
            (scene.meshed.v4.into(), Some(403)),
            (scene.meshed.v6.into(), Some(403)),
        ] {
            assert_eq!(scene.admin(ip, "/config"), status, "{ip}");
        }
        for addr in both(&scene.meshed, ADMIN) {
            let seen = |path| scene.neighbour.within(|| admin(addr, path));
            assert_eq!((seen("/config"), seen("/metrics")), (Some(403), Some(200)));
        }
    });
}

#[test]
fn an_app_reaches_itself_beside_a_real_sidecar() {
    inside(|| {
        let scene = Scene::new();
        let app = listen(&scene.meshed, APP);
        thread::spawn(move || {
            for stream in app.incoming().flatten() {
                let mut stream = stream;
                let _ = stream.write_all(b"app");
            }
        });
        let loopback = ["127.0.0.1:8080", "[::1]:8080"].map(|addr| addr.parse().unwrap());
        for addr in both(&scene.meshed, APP).into_iter().chain(loopback) {
            let mut stream = dial(&scene.meshed, addr).unwrap();
            let mut heard = [0; 3];
            stream.read_exact(&mut heard).unwrap();
            assert_eq!(&heard, b"app", "{addr}");
        }
    });
}
