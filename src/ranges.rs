//! Ranges of ports and addresses, as a person writes them.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
};

/// Ports from `first` to `last`, both included: written `80` or `8000-8099`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// Why a text is not a range of ports.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is neither a port nor a range of ports: write it like 5432 or 8000-8099")]
pub struct InvalidPortRange(String);

impl PortRange {
    pub fn first(self) -> u16 {
        self.first
    }

    pub fn last(self) -> u16 {
        self.last
    }

    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

/// A single port is written as a number.
impl Serialize for PortRange {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if self.first == self.last {
            s.serialize_u16(self.first)
        } else {
            s.collect_str(self)
        }
    }
}

/// Reads `8080` as a number and as text, and `8000-8099`.
impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(PortRangeVisitor)
    }
}

struct PortRangeVisitor;

impl Visitor<'_> for PortRangeVisitor {
    type Value = PortRange;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a port or a range of ports")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<PortRange, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<PortRange, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<PortRange, E> {
        self.visit_str(&number.to_string())
    }
}

impl From<u16> for PortRange {
    fn from(port: u16) -> Self {
        Self {
            first: port,
            last: port,
        }
    }
}

impl FromStr for PortRange {
    type Err = InvalidPortRange;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let range = Self {
                first: first.trim().parse().ok()?,
                last: last.trim().parse().ok()?,
            };
            (0 < range.first && range.first <= range.last).then_some(range)
        };
        parse().ok_or_else(|| InvalidPortRange(text.to_owned()))
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// Addresses with a common prefix: written `10.0.0.0/8`, `fd00::/8`, or one bare address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Its bits below the prefix are zero.
    network: IpAddr,
    prefix: u8,
}

crate::units::serde_as_text!(Subnet);

/// Why a text is not a subnet.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a subnet: write it like 10.0.0.0/8, fd00::/8 or 192.0.2.7")]
pub struct InvalidSubnet(String);

impl Subnet {
    pub fn network(self) -> IpAddr {
        self.network
    }

    /// Bits in common: at most 32 or 128.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether an address is in it. IPv4 in IPv6's clothes is IPv6 here, as it is to the kernel.
    pub fn contains(self, addr: IpAddr) -> bool {
        addr.is_ipv4() == self.network.is_ipv4() && truncate(addr, self.prefix) == self.network
    }

    /// Whether an address can be in both.
    pub fn overlaps(self, other: Self) -> bool {
        let (wide, narrow) = if self.prefix <= other.prefix {
            (self, other)
        } else {
            (other, self)
        };
        wide.contains(narrow.network)
    }

    fn bits(addr: IpAddr) -> u8 {
        match addr {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        }
    }

    /// Whether it is one address.
    pub fn is_host(self) -> bool {
        self.prefix == Self::bits(self.network)
    }

    /// The mask as bytes in network order, as long as the address.
    pub fn mask(self) -> Vec<u8> {
        let bits = Self::bits(self.network);
        let mask = (!0u128)
            .checked_shl(u32::from(bits - self.prefix))
            .unwrap_or(0);
        mask.to_be_bytes()[16 - usize::from(bits / 8)..].to_vec()
    }
}

/// The network's address of which `addr` is a part, for a prefix no longer than the address.
fn truncate(addr: IpAddr, prefix: u8) -> IpAddr {
    match addr {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(u32::from(32 - prefix)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(u32::from(128 - prefix)).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

impl FromStr for Subnet {
    type Err = InvalidSubnet;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (addr, prefix) = match text.split_once('/') {
                Some((addr, prefix)) => (addr, Some(prefix)),
                None => (text, None),
            };
            let addr: IpAddr = addr.trim().parse().ok()?;
            let prefix = match prefix {
                Some(prefix) => prefix.trim().parse().ok()?,
                None => Self::bits(addr),
            };
            (prefix <= Self::bits(addr)).then(|| Self {
                network: truncate(addr, prefix),
                prefix,
            })
        };
        parse().ok_or_else(|| InvalidSubnet(text.to_owned()))
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_host() {
            write!(f, "{}", self.network)
        } else {
            write!(f, "{}/{}", self.network, self.prefix)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ports_and_ranges() {
        for text in ["1", "65535", "8000-8099"] {
            assert_eq!(text.parse::<PortRange>().unwrap().to_string(), text);
        }
        for text in ["", "0", "65536", "9-8", "-", "80-", "a", "1-2-3"] {
            assert!(text.parse::<PortRange>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn ports_are_numbers_or_text_in_configuration() {
        let ports: Vec<PortRange> = serde_json::from_str(r#"[80, "443", "8000-8099"]"#).unwrap();
        assert_eq!(
            serde_json::to_string(&ports).unwrap(),
            r#"[80,443,"8000-8099"]"#
        );
        assert!(ports[2].contains(8099) && !ports[2].contains(8100));
        assert!(serde_json::from_str::<PortRange>("65536").is_err());
    }

    #[test]
    fn reads_subnets_and_clears_the_bits_below_the_prefix() {
        for (text, canonical) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7/32", "192.0.2.7"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("fd00:1::9/33", "fd00:1::/33"),
            ("::1/128", "::1"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(text.parse::<Subnet>().unwrap().to_string(), canonical);
        }
        for text in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "10.0.0.0/-1",
            "a/8",
        ] {
            assert!(text.parse::<Subnet>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn knows_what_is_in_a_subnet() {
        let subnet = |text: &str| text.parse::<Subnet>().unwrap();
        let contains = |text: &str, addr: &str| subnet(text).contains(addr.parse().unwrap());
        assert!(contains("10.1.0.0/16", "10.1.255.255"));
        assert!(!contains("10.1.0.0/16", "10.2.0.0"));
        assert!(contains("0.0.0.0/0", "198.18.0.1") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("fd00::/8", "fd12::1") && !contains("fd00::/8", "fe80::1"));
        for (one, other, expected) in [
            ("10.0.0.0/8", "10.1.0.0/16", true),
            ("10.1.0.0/16", "10.0.0.0/8", true),
            ("10.1.0.0/16", "10.2.0.0/16", false),
            ("0.0.0.0/0", "::/0", false),
        ] {
            assert_eq!(
                subnet(one).overlaps(subnet(other)),
                expected,
                "{one} {other}"
            );
        }
    }

    #[test]
    fn masks_have_the_length_of_the_address() {
        let mask = |text: &str| text.parse::<Subnet>().unwrap().mask();
        assert_eq!(mask("10.0.0.0/12"), [255, 240, 0, 0]);
        assert_eq!(mask("0.0.0.0/0"), [0; 4]);
        assert_eq!(mask("fd00::/8")[..2], [255, 0]);
        assert_eq!(mask("::/0"), [0; 16]);
        assert_eq!(mask("::1").len(), 16);
    }
}
