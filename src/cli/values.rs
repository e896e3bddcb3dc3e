//! Values of options that several subcommands have, and what they must be.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
};

use clap::builder::RangedI64ValueParser;

/// A port that can be dialled: 0 is none.
pub fn port() -> RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..)
}

/// # Errors
/// When it is no mark that a socket can carry: 0 is that of all others.
pub fn mark(text: &str) -> Result<NonZeroU32, String> {
    let mark = text.parse().ok();
    mark.ok_or_else(|| "a mark is a whole number from 1 to 4294967295".to_owned())
}

/// # Errors
/// When it is no IP address with a port.
pub fn socket_addr(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "write IP:PORT, as in 127.0.0.1:14020 or [::]:14020".to_owned())
}

/// `HOST:PORT`, with a name that DNS could know or an IP address. It is not looked up.
///
/// # Errors
/// When it can never be an address.
pub fn host_and_port(text: &str) -> Result<String, String> {
    let parts = text.rsplit_once(':');
    let valid = parts.is_some_and(|(host, port)| {
        is_host(host) && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    match valid {
        true => Ok(text.to_owned()),
        false => Err(
            "write HOST:PORT, with a name, an IPv4 address or an IPv6 address in \
                      brackets: controller.example:14030, 192.0.2.7:14030, [fd00::7]:14030"
                .to_owned(),
        ),
    }
}

fn is_host(text: &str) -> bool {
    if let Some(address) = text.strip_prefix('[') {
        let address = address.strip_suffix(']').map(str::parse);
        return matches!(address, Some(Ok(IpAddr::V6(_))));
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    // The longest name that DNS can carry.
    name.len() <= 253 && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_an_address_is_one() {
        for text in [
            "localhost:1",
            "outrigger-controller.outrigger-system.svc:14030",
            "a_b.example.:65535",
            "192.0.2.7:14030",
            "[fd00::7]:14030",
        ] {
            assert_eq!(host_and_port(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn what_can_never_be_an_address_is_refused() {
        let long = format!("{}:1", "a".repeat(64));
        for text in [
            "",
            "nohost",
            ":14030",
            "host:",
            "host:0",
            "host:65536",
            "host:http",
            "http://host:14030",
            "two hosts:1",
            "a..b:1",
            "fd00::7:14030",
            "[192.0.2.7]:1",
            "[fd00::7]",
            "-:x",
            &long,
        ] {
            let refused = host_and_port(text).expect_err(text);
            assert!(refused.contains("HOST:PORT"), "{refused}");
        }
    }

    #[test]
    fn listeners_have_numbers() {
        assert!(socket_addr("[::]:0").is_ok());
        for text in ["localhost:80", "127.0.0.1", "80", ""] {
            let refused = socket_addr(text).expect_err(text);
            assert!(refused.contains("127.0.0.1:14020"), "{refused}");
        }
    }

    #[test]
    fn no_mark_is_0() {
        assert_eq!(mark("1337").map(NonZeroU32::get), Ok(1337));
        for text in ["0", "-1", "4294967296", "one", ""] {
            assert!(mark(text).is_err(), "{text:?}");
        }
    }
}
