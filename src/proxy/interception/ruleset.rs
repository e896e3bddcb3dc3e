//! The rules as a value, and their text in the syntax of nft. The same value becomes the
//! kernel's messages in [`netfilter`](super::netfilter).

use std::{fmt, net::IpAddr, num::NonZeroU32};

use crate::ranges::{PortRange, Subnet};

/// The name of the table, of family `inet`: both IPv4 and IPv6.
pub(super) const TABLE: &str = "outrigger";

/// `NF_IP_PRI_NAT_DST`: where destinations are translated.
pub(super) const PRIORITY: i32 = -100;

/// What is intercepted, and what is left alone. Only TCP ever is.
#[derive(Clone, Debug, Default)]
pub struct Interception {
    /// The user whose connections are the proxy's own.
    pub proxy_uid: Option<u32>,
    /// The socket mark (`SO_MARK`) that the proxy's own connections carry.
    pub proxy_mark: Option<NonZeroU32>,
    pub inbound_port: u16,
    pub outbound_port: u16,
    /// Reached from outside without interception: health and scrapes.
    pub admin_port: u16,
    /// Likewise, where the proxy checks the application's health on request.
    pub probe_port: Option<u16>,
    pub skip_inbound_ports: Vec<PortRange>,
    pub skip_outbound_ports: Vec<PortRange>,
    /// By the client's address.
    pub skip_inbound_subnets: Vec<Subnet>,
    /// By the server's address.
    pub skip_outbound_subnets: Vec<Subnet>,
}

impl Interception {
    /// The rules, in the order the kernel tries them.
    pub fn ruleset(&self) -> Ruleset {
        Ruleset {
            chains: vec![self.output(), self.prerouting()],
        }
    }

    fn output(&self) -> Chain {
        let own_user = self.proxy_uid.map(Match::SocketUser);
        let own_mark = self.proxy_mark.map(Match::Mark);
        let skipped = own_user
            .into_iter()
            .chain(own_mark)
            // An app that dials itself needs no proxy, and a redirected connection would lose
            // its source address.
            .chain([Match::ToLoopback])
            .chain(self.skip_outbound_ports.iter().copied().map(Match::TcpPort))
            .chain(self.skip_outbound_subnets.iter().copied().map(Match::To));
        Chain::new(Hook::Output, skipped, self.outbound_port)
    }

    fn prerouting(&self) -> Chain {
        let own = [Some(self.admin_port), self.probe_port]
            .into_iter()
            .flatten();
        let skipped = [Match::FromLoopback]
            .into_iter()
            .chain(own.map(|port| Match::TcpPort(port.into())))
            .chain(self.skip_inbound_ports.iter().copied().map(Match::TcpPort))
            .chain(self.skip_inbound_subnets.iter().copied().map(Match::From));
        Chain::new(Hook::Prerouting, skipped, self.inbound_port)
    }
}

/// The table's content. Its `Display` is a script for `nft -f` that replaces the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {
    pub(super) chains: Vec<Chain>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub hook: Hook,
    pub rules: Vec<Rule>,
}

impl Chain {
    /// Returns on each match, then redirects all other TCP.
    fn new(hook: Hook, skipped: impl Iterator<Item = Match>, port: u16) -> Self {
        let redirect = Rule {
            matches: Match::Tcp,
            action: Action::Redirect(port),
        };
        let skip = |matches| Rule {
            matches,
            action: Action::Return,
        };
        Self {
            hook,
            rules: skipped.map(skip).chain([redirect]).collect(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    Output,
    Prerouting,
}

impl Hook {
    /// Also the name of its chain.
    pub fn name(self) -> &'static str {
        match self {
            Self::Output => "output",
            Self::Prerouting => "prerouting",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub matches: Match,
    pub action: Action,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    SocketUser(u32),
    Mark(NonZeroU32),
    ToLoopback,
    FromLoopback,
    /// By destination port.
    TcpPort(PortRange),
    From(Subnet),
    To(Subnet),
    Tcp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Leaves the connection alone.
    Return,
    /// To this port of the pod itself.
    Redirect(u16),
}

impl fmt::Display for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Declared first, so that deleting does not fail where there was none.
        writeln!(f, "table inet {TABLE}\ndelete table inet {TABLE}")?;
        writeln!(f, "table inet {TABLE} {{")?;
        for (index, chain) in self.chains.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            let name = chain.hook.name();
            writeln!(f, "\tchain {name} {{")?;
            writeln!(
                f,
                "\t\ttype nat hook {name} priority {PRIORITY}; policy accept;"
            )?;
            for rule in &chain.rules {
                writeln!(f, "\t\t{rule}")?;
            }
            writeln!(f, "\t}}")?;
        }
        writeln!(f, "}}")
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.matches, self.action)
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = |subnet: &Subnet| match subnet.network() {
            IpAddr::V4(_) => "ip",
            IpAddr::V6(_) => "ip6",
        };
        match self {
            Self::SocketUser(uid) => write!(f, "meta skuid {uid}"),
            Self::Mark(mark) => write!(f, "meta mark {mark:#010x}"),
            Self::ToLoopback => f.write_str("oif \"lo\""),
            Self::FromLoopback => f.write_str("iif \"lo\""),
            Self::TcpPort(ports) => write!(f, "tcp dport {ports}"),
            Self::From(subnet) if subnet.prefix() == 0 => every(f, subnet.network()),
            Self::To(subnet) if subnet.prefix() == 0 => every(f, subnet.network()),
            Self::From(subnet) => write!(f, "{} saddr {subnet}", family(subnet)),
            Self::To(subnet) => write!(f, "{} daddr {subnet}", family(subnet)),
            Self::Tcp => f.write_str("meta l4proto tcp"),
        }
    }
}

/// A prefix of no bits matches the family.
fn every(f: &mut fmt::Formatter<'_>, network: IpAddr) -> fmt::Result {
    f.write_str(match network {
        IpAddr::V4(_) => "meta nfproto ipv4",
        IpAddr::V6(_) => "meta nfproto ipv6",
    })
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Return => f.write_str("return"),
            Self::Redirect(port) => write!(f, "redirect to :{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_nft_writes_it() {
        let interception = Interception {
            proxy_uid: Some(64_321),
            proxy_mark: NonZeroU32::new(0x0539),
            inbound_port: 14_006,
            outbound_port: 14_001,
            admin_port: 14_020,
            probe_port: Some(14_021),
            skip_inbound_ports: vec![9090.into()],
            skip_outbound_ports: vec!["25".parse().unwrap(), "3306-3310".parse().unwrap()],
            skip_inbound_subnets: vec!["192.0.2.0/24".parse().unwrap()],
            skip_outbound_subnets: vec![
                "169.254.169.254".parse().unwrap(),
                "10.32.0.0/12".parse().unwrap(),
                "fd00:ec2::/32".parse().unwrap(),
            ],
        };
        insta::assert_snapshot!(interception.ruleset(), @r#"
        table inet outrigger
        delete table inet outrigger
        table inet outrigger {
        	chain output {
        		type nat hook output priority -100; policy accept;
        		meta skuid 64321 return
        		meta mark 0x00000539 return
        		oif "lo" return
        		tcp dport 25 return
        		tcp dport 3306-3310 return
        		ip daddr 169.254.169.254 return
        		ip daddr 10.32.0.0/12 return
        		ip6 daddr fd00:ec2::/32 return
        		meta l4proto tcp redirect to :14001
        	}

        	chain prerouting {
        		type nat hook prerouting priority -100; policy accept;
        		iif "lo" return
        		tcp dport 14020 return
        		tcp dport 14021 return
        		tcp dport 9090 return
        		ip saddr 192.0.2.0/24 return
        		meta l4proto tcp redirect to :14006
        	}
        }
        "#);
    }

    #[test]
    fn nothing_said_leaves_only_loopback_and_the_admin_port_alone() {
        let interception = Interception {
            inbound_port: 1,
            outbound_port: 2,
            admin_port: 3,
            ..Interception::default()
        };
        let rules: Vec<String> = interception
            .ruleset()
            .chains
            .iter()
            .flat_map(|chain| chain.rules.iter().map(ToString::to_string))
            .collect();
        assert_eq!(
            rules,
            [
                "oif \"lo\" return",
                "meta l4proto tcp redirect to :2",
                "iif \"lo\" return",
                "tcp dport 3 return",
                "meta l4proto tcp redirect to :1",
            ]
        );
    }
}
