//! What passes the nodes' network devices, as TCP segments.

use std::{
    fs::File,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsFd as _,
};

use outrigger::netns::Capture;

use super::cluster;

/// A capture on all devices of all nodes, the pods' bridge among them, since it began.
pub struct Wire {
    captures: Vec<Capture>,
}

/// One TCP segment that carries data.
pub struct Segment {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub payload: Vec<u8>,
}

impl Wire {
    /// Nothing where the nodes are other machines.
    pub fn tap() -> Option<Self> {
        let captures: Vec<_> = cluster::networks()
            .iter()
            .map(|path| {
                let link = File::open(path).expect("e2e/cluster names what exists");
                Capture::inside(link.as_fd()).expect("root may capture")
            })
            .collect();
        (!captures.is_empty()).then_some(Self { captures })
    }

    /// Takes what was captured since the last time. A segment is there once for each device that
    /// it passed.
    pub fn take(&mut self) -> Vec<Segment> {
        self.captures
            .iter_mut()
            .flat_map(|capture| capture.take().expect("the node is up"))
            .filter_map(|frame| segment(&frame))
            .collect()
    }
}

/// The segment in an Ethernet frame; nothing for other protocols, and without data.
fn segment(frame: &[u8]) -> Option<Segment> {
    const TCP: u8 = 6;
    let (ethernet, packet) = frame.split_at_checked(14)?;
    let (from, to, tcp) = match ethernet[12..] {
        // IPv4 (RFC 791). Frames may be padded: the length is the header's.
        [0x08, 0x00] if *packet.get(9)? == TCP => {
            let header = usize::from(packet[0] & 0x0f) * 4;
            let length = usize::from(u16::from_be_bytes(*packet.get(2..)?.first_chunk()?));
            let address = |at: usize| Some(Ipv4Addr::from(*packet.get(at..)?.first_chunk::<4>()?));
            (
                address(12)?.into(),
                address(16)?.into(),
                packet.get(header..length)?,
            )
        }
        // IPv6 (RFC 8200). Pods send no extension headers.
        [0x86, 0xdd] if *packet.get(6)? == TCP => {
            let length = usize::from(u16::from_be_bytes(*packet.get(4..)?.first_chunk()?));
            let address = |at: usize| Some(Ipv6Addr::from(*packet.get(at..)?.first_chunk::<16>()?));
            (
                address(8)?.into(),
                address(24)?.into(),
                packet.get(40..40 + length)?,
            )
        }
        _ => return None,
    };
    let port = |at: usize| Some(u16::from_be_bytes(*tcp.get(at..)?.first_chunk()?));
    let payload = tcp.get(usize::from(tcp.get(12)? >> 4) * 4..)?;
    (!payload.is_empty()).then_some(Segment {
        from: SocketAddr::new(from, port(0)?),
        to: SocketAddr::new(to, port(2)?),
        payload: payload.to_vec(),
    })
}
