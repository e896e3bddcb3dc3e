//! The socket: sends requests in one datagram and waits for the kernel's verdict.

use std::io;

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    io::Errno,
    net::{
        self, AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType,
        netlink::SocketAddrNetlink,
    },
};

use super::Message;

const NLMSG_ERROR: u16 = 2;
const HEADER: usize = 16;

/// A netlink socket of the calling thread's network namespace.
pub struct Socket {
    fd: OwnedFd,
}

/// The kernel refused a request.
#[derive(Debug, thiserror::Error)]
#[error("the kernel refused netlink request {index}: {source}")]
pub struct Refused {
    /// Position of the refused request among those sent.
    pub index: usize,
    pub source: io::Error,
}

impl Refused {
    fn whole(source: impl Into<io::Error>) -> Self {
        Self {
            index: 0,
            source: source.into(),
        }
    }

    /// Whether the calling thread lacks the capability (`CAP_NET_ADMIN`) over its namespace.
    pub fn is_permission(&self) -> bool {
        self.source.kind() == io::ErrorKind::PermissionDenied
    }
}

impl Socket {
    /// Opens a socket to a netlink family; `None` is routing (`NETLINK_ROUTE`).
    ///
    /// # Errors
    /// When the kernel lacks the family.
    pub fn open(family: Option<Protocol>) -> io::Result<Self> {
        let fd = net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            family,
        )?;
        Ok(Self { fd })
    }

    /// Sends the requests in one datagram and waits until the last one that asks for an
    /// acknowledgement has it. At least one of them must ask.
    ///
    /// # Errors
    /// The first refusal.
    pub fn transact(&self, messages: Vec<Message>) -> Result<(), Refused> {
        let awaited = messages
            .iter()
            .rposition(Message::wants_ack)
            .expect("a request asks for an acknowledgement");
        let datagram: Vec<u8> = (0..)
            .zip(messages)
            .flat_map(|(sequence, message)| message.finish(sequence))
            .collect();
        let kernel = SocketAddrNetlink::new(0, 0);
        net::sendto(&self.fd, &datagram, SendFlags::empty(), &kernel).map_err(Refused::whole)?;
        while !self.receive(awaited)? {}
        Ok(())
    }

    /// Reads one datagram of verdicts; true when the awaited acknowledgement was among them.
    fn receive(&self, awaited: usize) -> Result<bool, Refused> {
        let mut buffer = [0; 16 * 1024];
        let received = loop {
            match net::recv(&self.fd, &mut buffer, RecvFlags::empty()) {
                Err(Errno::INTR) => {}
                other => break other.map_err(Refused::whole)?.0,
            }
        };
        for (sequence, errno) in verdicts(&buffer[..received]) {
            if errno != 0 {
                return Err(Refused {
                    index: sequence,
                    source: io::Error::from_raw_os_error(errno.saturating_neg()),
                });
            }
            if sequence == awaited {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The sequence number and the errno of each `NLMSG_ERROR` among the received bytes: negative, or 0
/// for an acknowledgement. Other messages are passed over.
pub(crate) fn verdicts(mut rest: &[u8]) -> impl Iterator<Item = (usize, i32)> {
    std::iter::from_fn(move || next_verdict(&mut rest))
}

fn next_verdict(rest: &mut &[u8]) -> Option<(usize, i32)> {
    let word =
        |bytes: &[u8], at: usize| -> Option<[u8; 4]> { bytes.get(at..at + 4)?.try_into().ok() };
    loop {
        let message = *rest;
        let len = u32::from_ne_bytes(word(message, 0)?) as usize;
        *rest = message
            .get(len.max(HEADER).next_multiple_of(4)..)
            .unwrap_or(&[]);
        if message.get(4..6)? != NLMSG_ERROR.to_ne_bytes() {
            continue;
        }
        let sequence = u32::from_ne_bytes(word(message, 8)?) as usize;
        let errno = i32::from_ne_bytes(word(message, HEADER)?);
        return Some((sequence, errno));
    }
}
