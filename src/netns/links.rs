//! Network devices, addresses and routes, by routing netlink (`linux/rtnetlink.h`). Everything
//! works on the calling thread's network namespace.

use std::{
    io,
    net::IpAddr,
    os::fd::{AsRawFd, BorrowedFd},
};

use crate::netlink::{Message, Refused, Socket, flags};

const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;

const LINK_NAME: u16 = 3;
const LINK_MASTER: u16 = 10;
const LINK_INFO: u16 = 18;
const LINK_NAMESPACE_FD: u16 = 28;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const VETH_PEER: u16 = 1;

/// `struct ifinfomsg` for the device of this index (0: a new one), set up.
fn link_up(index: u32) -> [u8; 16] {
    const UP: u32 = 1;
    let mut fixed = [0; 16];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    fixed[8..12].copy_from_slice(&UP.to_ne_bytes());
    fixed[12..].copy_from_slice(&UP.to_ne_bytes());
    fixed
}

/// `struct ifinfomsg` for a new device. The first of a pair cannot be up while the second is not
/// there.
const DOWN: [u8; 16] = [0; 16];

fn family(addr: IpAddr) -> u8 {
    match addr {
        IpAddr::V4(_) => 2,
        IpAddr::V6(_) => 10,
    }
}

fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The routing socket of one namespace.
pub(super) struct Links(Socket);

impl Links {
    pub fn open() -> io::Result<Self> {
        Socket::open(None).map(Self)
    }

    /// The kernel's number of a device.
    pub fn index(&self, name: &str) -> io::Result<u32> {
        Ok(rustix::net::netdevice::name_to_index(&self.0, name)?)
    }

    pub fn up(&self, index: u32) -> Result<(), Refused> {
        self.one(Message::new(NEW_LINK, flags::ACK).fixed(&link_up(index)))
    }

    pub fn add_bridge(&self, name: &str) -> Result<(), Refused> {
        self.one(
            Message::new(NEW_LINK, flags::ACK | flags::CREATE | flags::EXCL)
                .fixed(&link_up(0))
                .text(LINK_NAME, name)
                .nested(LINK_INFO, |m| m.text(INFO_KIND, "bridge")),
        )
    }

    /// Adds a pair of devices: `name` here, on the bridge, and `peer` in the other namespace,
    /// not yet up.
    pub fn add_veth(
        &self,
        name: &str,
        bridge: u32,
        peer: &str,
        peer_namespace: BorrowedFd<'_>,
    ) -> Result<(), Refused> {
        let namespace = peer_namespace.as_raw_fd().to_ne_bytes();
        self.one(
            Message::new(NEW_LINK, flags::ACK | flags::CREATE | flags::EXCL)
                .fixed(&link_up(0))
                .text(LINK_NAME, name)
                .attr(LINK_MASTER, &bridge.to_ne_bytes())
                .nested(LINK_INFO, |m| {
                    m.text(INFO_KIND, "veth").nested(INFO_DATA, |m| {
                        m.nested(VETH_PEER, |m| {
                            m.fixed(&DOWN)
                                .text(LINK_NAME, peer)
                                .attr(LINK_NAMESPACE_FD, &namespace)
                        })
                    })
                }),
        )
    }

    /// Usable at once: without IPv6's search for duplicates, which takes a second or two.
    pub fn add_address(&self, index: u32, addr: IpAddr, prefix: u8) -> Result<(), Refused> {
        const NO_DUPLICATE_DETECTION: u8 = 2;
        const ADDRESS: u16 = 1;
        const LOCAL: u16 = 2;
        let mut fixed = [family(addr), prefix, NO_DUPLICATE_DETECTION, 0, 0, 0, 0, 0];
        fixed[4..].copy_from_slice(&index.to_ne_bytes());
        self.one(
            Message::new(NEW_ADDRESS, flags::ACK | flags::CREATE | flags::EXCL)
                .fixed(&fixed)
                .attr(LOCAL, &octets(addr))
                .attr(ADDRESS, &octets(addr)),
        )
    }

    pub fn add_default_route(&self, gateway: IpAddr) -> Result<(), Refused> {
        const TABLE_MAIN: u8 = 254;
        const PROTOCOL_STATIC: u8 = 4;
        const UNICAST: u8 = 1;
        const GATEWAY: u16 = 5;
        let mut fixed = [0; 12];
        fixed[0] = family(gateway);
        fixed[4] = TABLE_MAIN;
        fixed[5] = PROTOCOL_STATIC;
        fixed[7] = UNICAST;
        self.one(
            Message::new(NEW_ROUTE, flags::ACK | flags::CREATE | flags::EXCL)
                .fixed(&fixed)
                .attr(GATEWAY, &octets(gateway)),
        )
    }

    fn one(&self, message: Message) -> Result<(), Refused> {
        self.0.transact(vec![message])
    }
}
