//! The rules as the kernel reads them: nf_tables messages (`linux/netfilter/nf_tables.h`) in one
//! batch, which takes effect as a whole or not at all.

use std::{io, net::IpAddr};

use rustix::net::netlink::NETFILTER;

use super::ruleset::{Action, Chain, Hook, Match, PRIORITY, Rule, Ruleset, TABLE};
use crate::netlink::{Message, Refused, Socket, flags};
use crate::ranges::{PortRange, Subnet};

/// Why the rules could not be written.
#[derive(Debug, thiserror::Error)]
pub enum InterceptionError {
    #[error(
        "not allowed to write network rules: give the init container the capability NET_ADMIN \
         (securityContext.capabilities.add), or run this inside a user namespace of your own \
         (unshare --user --map-root-user --net)"
    )]
    Permission,
    #[error(
        "the kernel cannot hold the network rules ({0}): it needs nf_tables with NAT for both \
         IPv4 and IPv6 (modules nf_tables, nft_nat, nft_redir, nft_chain_nat)"
    )]
    Unsupported(io::Error),
    #[error("the kernel refused the network rules: {0}")]
    Refused(Refused),
}

impl From<Refused> for InterceptionError {
    fn from(refused: Refused) -> Self {
        // The kernel's names for "no such module" in this interface.
        const UNKNOWN: [i32; 3] = [
            rustix::io::Errno::NOENT.raw_os_error(),
            rustix::io::Errno::OPNOTSUPP.raw_os_error(),
            rustix::io::Errno::INVAL.raw_os_error(),
        ];
        match refused.source.raw_os_error() {
            _ if refused.is_permission() => Self::Permission,
            Some(errno) if UNKNOWN.contains(&errno) => Self::Unsupported(refused.source),
            _ => Self::Refused(refused),
        }
    }
}

/// Puts the rules into force in the calling thread's network namespace, in the place of any that
/// an earlier call wrote there.
///
/// # Errors
/// When the kernel refuses; what was in force before then stays so.
pub fn apply(ruleset: &Ruleset) -> Result<(), InterceptionError> {
    let mut messages = emptied();
    messages.push(table(NEW_TABLE));
    for chain in &ruleset.chains {
        messages.push(new_chain(chain.hook));
        messages.extend(chain.rules.iter().map(|rule| new_rule(chain, rule)));
    }
    commit(messages)
}

/// Takes the rules away from the calling thread's network namespace; having none is no error.
///
/// # Errors
/// When the kernel refuses.
pub fn remove() -> Result<(), InterceptionError> {
    commit(emptied())
}

/// Creates the table first, so that deleting it cannot fail.
fn emptied() -> Vec<Message> {
    vec![table(NEW_TABLE), table(DELETE_TABLE)]
}

fn commit(messages: Vec<Message>) -> Result<(), InterceptionError> {
    let socket = Socket::open(Some(NETFILTER)).map_err(InterceptionError::Unsupported)?;
    let mut batch = vec![batch_edge(BATCH_BEGIN)];
    batch.extend(messages);
    // Acknowledged after the commit, and alone: an acknowledgement of each of many rules would
    // overflow the socket's buffer.
    let last = batch.pop().expect("a batch has requests");
    batch.push(last.acknowledged());
    batch.push(batch_edge(BATCH_END));
    Ok(socket.transact(batch)?)
}

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const SUBSYSTEM: u16 = 10;
const NEW_TABLE: u16 = 0;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;

const FAMILY_INET: u8 = 1;
const FAMILY_IPV4: u8 = 2;
const FAMILY_IPV6: u8 = 10;
const PROTOCOL_TCP: u8 = 6;
/// The loopback device is the first of every namespace.
const LOOPBACK_INDEX: u32 = 1;

/// `struct nfgenmsg`: family, version, and a number whose meaning depends on the message.
fn generic(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

fn batch_edge(kind: u16) -> Message {
    Message::new(kind, 0).fixed(&generic(0, SUBSYSTEM))
}

fn request(kind: u16, flags: u16) -> Message {
    Message::new(SUBSYSTEM << 8 | kind, flags).fixed(&generic(FAMILY_INET, 0))
}

fn table(kind: u16) -> Message {
    const NAME: u16 = 1;
    let create = if kind == NEW_TABLE { flags::CREATE } else { 0 };
    request(kind, create).text(NAME, TABLE)
}

fn new_chain(hook: Hook) -> Message {
    const TABLE_NAME: u16 = 1;
    const NAME: u16 = 3;
    const HOOK: u16 = 4;
    const HOOK_NUMBER: u16 = 1;
    const HOOK_PRIORITY: u16 = 2;
    const POLICY: u16 = 5;
    const TYPE: u16 = 7;
    const ACCEPT: u32 = 1;
    let number: u32 = match hook {
        Hook::Prerouting => 0,
        Hook::Output => 3,
    };
    request(NEW_CHAIN, flags::CREATE)
        .text(TABLE_NAME, TABLE)
        .text(NAME, hook.name())
        .nested(HOOK, |m| {
            m.attr(HOOK_NUMBER, &number.to_be_bytes())
                .attr(HOOK_PRIORITY, &PRIORITY.to_be_bytes())
        })
        .attr(POLICY, &ACCEPT.to_be_bytes())
        .text(TYPE, "nat")
}

fn new_rule(chain: &Chain, rule: &Rule) -> Message {
    const TABLE_NAME: u16 = 1;
    const CHAIN_NAME: u16 = 2;
    const EXPRESSIONS: u16 = 4;
    request(NEW_RULE, flags::CREATE | flags::APPEND)
        .text(TABLE_NAME, TABLE)
        .text(CHAIN_NAME, chain.hook.name())
        .nested(EXPRESSIONS, |m| {
            act(condition(m, rule.matches), rule.action)
        })
}

fn condition(m: Message, matches: Match) -> Message {
    match matches {
        Match::SocketUser(uid) => meta_is(m, Meta::SocketUser, &uid.to_ne_bytes()),
        Match::Mark(mark) => meta_is(m, Meta::Mark, &mark.get().to_ne_bytes()),
        Match::ToLoopback => meta_is(m, Meta::OutputDevice, &LOOPBACK_INDEX.to_ne_bytes()),
        Match::FromLoopback => meta_is(m, Meta::InputDevice, &LOOPBACK_INDEX.to_ne_bytes()),
        Match::Tcp => tcp(m),
        Match::TcpPort(ports) => port_within(tcp(m), ports),
        Match::From(subnet) => address_within(m, Side::Source, subnet),
        Match::To(subnet) => address_within(m, Side::Destination, subnet),
    }
}

fn tcp(m: Message) -> Message {
    meta_is(m, Meta::TransportProtocol, &[PROTOCOL_TCP])
}

fn port_within(m: Message, ports: PortRange) -> Message {
    const DESTINATION_PORT_OFFSET: u32 = 2;
    let m = payload(m, Header::Transport, DESTINATION_PORT_OFFSET, 2);
    let (first, last) = (ports.first().to_be_bytes(), ports.last().to_be_bytes());
    if first == last {
        compare(m, Comparison::Equal, &first)
    } else {
        let m = compare(m, Comparison::AtLeast, &first);
        compare(m, Comparison::AtMost, &last)
    }
}

#[derive(Clone, Copy)]
enum Side {
    Source,
    Destination,
}

fn address_within(m: Message, side: Side, subnet: Subnet) -> Message {
    let (family, offset, network) = match (subnet.network(), side) {
        (IpAddr::V4(v4), Side::Source) => (FAMILY_IPV4, 12, v4.octets().to_vec()),
        (IpAddr::V4(v4), Side::Destination) => (FAMILY_IPV4, 16, v4.octets().to_vec()),
        (IpAddr::V6(v6), Side::Source) => (FAMILY_IPV6, 8, v6.octets().to_vec()),
        (IpAddr::V6(v6), Side::Destination) => (FAMILY_IPV6, 24, v6.octets().to_vec()),
    };
    let m = meta_is(m, Meta::NetworkProtocol, &[family]);
    if subnet.prefix() == 0 {
        return m;
    }
    let mut m = payload(m, Header::Network, offset, network.len() as u32);
    if !subnet.is_host() {
        m = mask(m, &subnet.mask());
    }
    compare(m, Comparison::Equal, &network)
}

fn act(m: Message, action: Action) -> Message {
    const REDIRECT_PORT_REGISTER: u16 = 1;
    match action {
        Action::Return => verdict_return(m),
        Action::Redirect(port) => {
            let m = load(m, &port.to_be_bytes());
            expression(m, "redir", |m| {
                m.attr(REDIRECT_PORT_REGISTER, &REGISTER.to_be_bytes())
            })
        }
    }
}

// The kernel's expressions. Each works on one register.

const REGISTER: u32 = 1;
const DATA_VALUE: u16 = 1;

#[derive(Clone, Copy)]
enum Meta {
    Mark = 3,
    InputDevice = 4,
    OutputDevice = 5,
    SocketUser = 10,
    NetworkProtocol = 15,
    TransportProtocol = 16,
}

#[derive(Clone, Copy)]
enum Header {
    Network = 1,
    Transport = 2,
}

#[derive(Clone, Copy)]
enum Comparison {
    Equal = 0,
    AtMost = 3,
    AtLeast = 5,
}

fn expression(m: Message, name: &str, fill: impl FnOnce(Message) -> Message) -> Message {
    const LIST_ELEMENT: u16 = 1;
    const NAME: u16 = 1;
    const DATA: u16 = 2;
    m.nested(LIST_ELEMENT, |m| m.text(NAME, name).nested(DATA, fill))
}

fn meta_is(m: Message, key: Meta, value: &[u8]) -> Message {
    const TO: u16 = 1;
    const KEY: u16 = 2;
    let m = expression(m, "meta", |m| {
        m.attr(TO, &REGISTER.to_be_bytes())
            .attr(KEY, &(key as u32).to_be_bytes())
    });
    compare(m, Comparison::Equal, value)
}

fn payload(m: Message, header: Header, offset: u32, len: u32) -> Message {
    const TO: u16 = 1;
    const BASE: u16 = 2;
    const OFFSET: u16 = 3;
    const LEN: u16 = 4;
    expression(m, "payload", |m| {
        m.attr(TO, &REGISTER.to_be_bytes())
            .attr(BASE, &(header as u32).to_be_bytes())
            .attr(OFFSET, &offset.to_be_bytes())
            .attr(LEN, &len.to_be_bytes())
    })
}

fn mask(m: Message, mask: &[u8]) -> Message {
    const FROM: u16 = 1;
    const TO: u16 = 2;
    const LEN: u16 = 3;
    const MASK: u16 = 4;
    const XOR: u16 = 5;
    expression(m, "bitwise", |m| {
        m.attr(FROM, &REGISTER.to_be_bytes())
            .attr(TO, &REGISTER.to_be_bytes())
            .attr(LEN, &(mask.len() as u32).to_be_bytes())
            .nested(MASK, |m| m.attr(DATA_VALUE, mask))
            .nested(XOR, |m| m.attr(DATA_VALUE, &vec![0; mask.len()]))
    })
}

fn compare(m: Message, comparison: Comparison, value: &[u8]) -> Message {
    const FROM: u16 = 1;
    const OPERATION: u16 = 2;
    const DATA: u16 = 3;
    expression(m, "cmp", |m| {
        m.attr(FROM, &REGISTER.to_be_bytes())
            .attr(OPERATION, &(comparison as u32).to_be_bytes())
            .nested(DATA, |m| m.attr(DATA_VALUE, value))
    })
}

fn immediate(m: Message, register: u32, data: impl FnOnce(Message) -> Message) -> Message {
    const TO: u16 = 1;
    const DATA: u16 = 2;
    expression(m, "immediate", |m| {
        m.attr(TO, &register.to_be_bytes()).nested(DATA, data)
    })
}

fn load(m: Message, value: &[u8]) -> Message {
    immediate(m, REGISTER, |m| m.attr(DATA_VALUE, value))
}

fn verdict_return(m: Message) -> Message {
    const VERDICT_REGISTER: u32 = 0;
    const DATA_VERDICT: u16 = 2;
    const VERDICT_CODE: u16 = 1;
    const RETURN: i32 = -5;
    immediate(m, VERDICT_REGISTER, |m| {
        m.nested(DATA_VERDICT, |m| {
            m.attr(VERDICT_CODE, &RETURN.to_be_bytes())
        })
    })
}
