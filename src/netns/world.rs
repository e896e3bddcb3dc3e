//! A node and its pods.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd, AsRawFd},
    process::{Child, Command},
    thread::{self, JoinHandle},
};

use super::{
    Capture, NetnsError,
    links::Links,
    namespace::{Namespace, join},
};
use crate::netlink::Refused;

/// Pods have 198.18.1.1 onwards, in the range for tests of networks (RFC 2544).
const POD_PREFIX_V4: u8 = 16;
const POD_PREFIX_V6: u8 = 64;
/// The node's own address.
pub const NODE_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const NODE_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x198, 0x18, 0, 0, 0, 0, 1);

/// One /24's worth, less the network and broadcast addresses.
pub(super) const MAX_PODS: u8 = 254;

/// For the virtual addresses of services, `.1` to `.254`: pods send them to the node, which
/// drops them. They lead somewhere only by way of a proxy.
pub const VIRTUAL_V4: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 0);
/// As [`VIRTUAL_V4`].
pub const VIRTUAL_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x198, 0x19, 0, 0, 0, 0, 0);

const BRIDGE: &str = "pods";
const DEVICE: &str = "eth0";

/// A node: a network namespace with a bridge that pods hang on. Needs to be
/// [inside](super::enter).
pub struct World {
    node: Namespace,
    bridge: u32,
    pods: u8,
}

impl World {
    /// # Errors
    /// When the kernel refuses a namespace or the bridge.
    pub fn new() -> Result<Self, NetnsError> {
        let node = Namespace::new("node")?;
        let bridge = node.within(|| {
            let links = open_links("node")?;
            up_loopback(&links)?;
            links
                .add_bridge(BRIDGE)
                .map_err(|source| refused("add the bridge", source))?;
            let bridge = index(&links, BRIDGE)?;
            address(&links, bridge, NODE_V4.into(), NODE_V6.into())?;
            Ok(bridge)
        })?;
        Ok(Self {
            node,
            bridge,
            pods: 0,
        })
    }

    /// Starts a process on the node. It is killed when the world is dropped or this program ends.
    ///
    /// # Errors
    /// When the command cannot be started.
    pub fn spawn(&self, command: Command) -> io::Result<Child> {
        self.node.spawn(command)
    }

    /// As [`Pod::within`], on the node.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.node.within(work)
    }

    /// Adds a pod with its own device, addresses, and default routes by way of the node.
    ///
    /// # Errors
    /// When the kernel refuses, or there are 254 pods.
    pub fn pod(&mut self, name: &str) -> Result<Pod, NetnsError> {
        if self.pods == MAX_PODS {
            return Err(NetnsError::Full);
        }
        self.pods += 1;
        let number = self.pods;
        let namespace = Namespace::new(name)?;
        let pod = Pod {
            v4: Ipv4Addr::new(198, 18, 1, number),
            v6: Ipv6Addr::new(0xfd00, 0x198, 0x18, 0, 0, 0, 1, number.into()),
            name: name.to_owned(),
            namespace,
        };
        self.node.within(|| {
            open_links("node")?
                .add_veth(
                    &format!("pod{number}"),
                    self.bridge,
                    DEVICE,
                    pod.namespace.link(),
                )
                .map_err(|source| refused("add the pod's network device", source))
        })?;
        pod.namespace.within(|| pod.configure())?;
        Ok(pod)
    }
}

/// A network namespace on the node's bridge. What was started in it is killed when it is dropped.
pub struct Pod {
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
    name: String,
    namespace: Namespace,
}

impl Pod {
    pub fn name(&self) -> &str {
        &self.name
    }

    fn configure(&self) -> Result<(), NetnsError> {
        let links = open_links(&self.name)?;
        up_loopback(&links)?;
        let device = index(&links, DEVICE)?;
        links
            .up(device)
            .map_err(|source| refused("set the pod's network device up", source))?;
        address(&links, device, self.v4.into(), self.v6.into())?;
        for gateway in [IpAddr::from(NODE_V4), IpAddr::from(NODE_V6)] {
            links
                .add_default_route(gateway)
                .map_err(|source| refused("add the default route", source))?;
        }
        Ok(())
    }

    /// Starts a process in the pod. It is killed when the pod is dropped or this program ends.
    ///
    /// # Errors
    /// When the command cannot be started.
    pub fn spawn(&self, command: Command) -> io::Result<Child> {
        self.namespace.spawn(command)
    }

    /// Runs `work` on a thread in the pod and waits for it. Sockets made there stay in the pod,
    /// whichever thread then uses them.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.namespace.within(work)
    }

    /// Runs a future to its end on a thread in the pod, under a runtime of its own.
    pub fn run<F: Future<Output: Send>>(&self, work: impl FnOnce() -> F + Send) -> F::Output {
        self.namespace.within(|| block_on(work()))
    }

    /// As [`run`](Self::run), without waiting.
    ///
    /// # Errors
    /// When the pod's file of the namespace cannot be opened once more.
    pub fn start<F>(
        &self,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> io::Result<JoinHandle<F::Output>>
    where
        F: Future<Output: Send + 'static>,
    {
        let link = self.namespace.link().try_clone_to_owned()?;
        Ok(thread::spawn(move || {
            join(link.as_fd());
            block_on(work())
        }))
    }

    /// Begins to capture what passes the pod's device.
    ///
    /// # Errors
    /// When the kernel has no packet sockets.
    pub fn capture(&self) -> io::Result<Capture> {
        self.namespace.within(Capture::start)
    }

    /// A command line for a shell in the pod, while this program runs.
    pub fn nsenter(&self) -> String {
        let process = std::process::id();
        let link = self.namespace.link().as_raw_fd();
        format!(
            "nsenter --target {process} --user --preserve-credentials --net=/proc/{process}/fd/{link}"
        )
    }
}

fn block_on<F: Future>(work: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime needs only file descriptors")
        .block_on(work)
}

fn open_links(name: &str) -> Result<Links, NetnsError> {
    Links::open().map_err(|source| NetnsError::Namespace {
        name: name.to_owned(),
        source,
    })
}

fn index(links: &Links, name: &str) -> Result<u32, NetnsError> {
    links.index(name).map_err(|source| NetnsError::NoDevice {
        name: name.to_owned(),
        source,
    })
}

fn refused(what: &str, source: Refused) -> NetnsError {
    NetnsError::Link {
        what: what.to_owned(),
        source,
    }
}

fn up_loopback(links: &Links) -> Result<(), NetnsError> {
    links
        .up(index(links, "lo")?)
        .map_err(|source| refused("set the loopback device up", source))
}

fn address(links: &Links, device: u32, v4: IpAddr, v6: IpAddr) -> Result<(), NetnsError> {
    for (addr, prefix) in [(v4, POD_PREFIX_V4), (v6, POD_PREFIX_V6)] {
        links
            .add_address(device, addr, prefix)
            .map_err(|source| refused(&format!("add the address {addr}"), source))?;
    }
    Ok(())
}
