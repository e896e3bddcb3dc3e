//! `outrigger init`: writes the interception rules of the network namespace it runs in.

use std::num::NonZeroU32;

use anyhow::bail;
use clap::{ArgGroup, Args};

use super::{stdout, values};
use crate::{
    proxy::interception::{self, Interception},
    ranges::{PortRange, Subnet},
};

/// Send this network namespace's TCP traffic through the proxy, by nftables rules.
///
/// Repeating it replaces the rules in one step. UDP, loopback traffic and an app that dials
/// itself are left alone. Needs the capability NET_ADMIN, unless it only prints.
#[derive(Args)]
#[command(group(ArgGroup::new("what").required(true).multiple(true).args(["proxy_uid", "proxy_mark", "remove"])))]
pub struct InitArgs {
    /// Leave alone what this user sends: the user that the proxy runs as.
    #[arg(long, value_name = "UID")]
    proxy_uid: Option<u32>,
    /// Leave alone what carries this socket mark: for a proxy that shares its user with the app.
    #[arg(long, value_name = "MARK", value_parser = values::mark)]
    proxy_mark: Option<NonZeroU32>,
    /// Where the proxy takes what comes in.
    #[arg(long, value_name = "PORT", default_value_t = 14_006, value_parser = values::port())]
    inbound_port: u16,
    /// Where the proxy takes what goes out.
    #[arg(long, value_name = "PORT", default_value_t = 14_001, value_parser = values::port())]
    outbound_port: u16,
    /// The proxy's admin port, reached from outside as it is.
    #[arg(long, value_name = "PORT", default_value_t = 14_020, value_parser = values::port())]
    admin_port: u16,
    /// The proxy's probe port, reached from outside as it is.
    #[arg(long, value_name = "PORT", value_parser = values::port())]
    probe_port: Option<u16>,
    /// Ports of this pod to reach without the proxy: 9090,8000-8099.
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    skip_inbound_ports: Vec<PortRange>,
    /// Ports to dial without the proxy: 25,3306-3310.
    #[arg(long, value_name = "PORTS", value_delimiter = ',')]
    skip_outbound_ports: Vec<PortRange>,
    /// Clients to accept without the proxy: 192.0.2.0/24,fd00::/8.
    #[arg(long, value_name = "SUBNETS", value_delimiter = ',')]
    skip_inbound_subnets: Vec<Subnet>,
    /// Addresses to dial without the proxy: 169.254.169.254,fd00::/8.
    #[arg(long, value_name = "SUBNETS", value_delimiter = ',')]
    skip_outbound_subnets: Vec<Subnet>,
    /// Print the rules in nft's syntax, and change nothing.
    #[arg(long, conflicts_with = "remove")]
    print: bool,
    /// Take the rules away.
    #[arg(long)]
    remove: bool,
}

impl InitArgs {
    /// # Errors
    /// When the rules would contradict each other, or the kernel refuses them.
    pub fn run(self) -> anyhow::Result<()> {
        if self.remove {
            interception::remove()?;
            return Ok(());
        }
        self.different_ports()?;
        let ruleset = Interception {
            proxy_uid: self.proxy_uid,
            proxy_mark: self.proxy_mark,
            inbound_port: self.inbound_port,
            outbound_port: self.outbound_port,
            admin_port: self.admin_port,
            probe_port: self.probe_port,
            skip_inbound_ports: self.skip_inbound_ports,
            skip_outbound_ports: self.skip_outbound_ports,
            skip_inbound_subnets: self.skip_inbound_subnets,
            skip_outbound_subnets: self.skip_outbound_subnets,
        }
        .ruleset();
        if self.print {
            return stdout::finish(&ruleset.to_string());
        }
        interception::apply(&ruleset)?;
        Ok(())
    }

    /// # Errors
    /// When two of the proxy's listeners would be at one port.
    fn different_ports(&self) -> anyhow::Result<()> {
        let mut ports = vec![
            ("--inbound-port", self.inbound_port),
            ("--outbound-port", self.outbound_port),
            ("--admin-port", self.admin_port),
        ];
        ports.extend(self.probe_port.map(|port| ("--probe-port", port)));
        for (index, (name, port)) in ports.iter().enumerate() {
            if let Some((other, _)) = ports[..index].iter().find(|(_, other)| other == port) {
                bail!("{other} and {name} are both {port}: give each its own");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        init: InitArgs,
    }

    fn checked(options: &[&str]) -> Result<(), String> {
        let line = ["init", "--proxy-uid", "14014"].iter().chain(options);
        let cli = Cli::try_parse_from(line).map_err(|error| error.to_string())?;
        cli.init
            .different_ports()
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_proxys_ports_are_ports_and_differ() {
        assert_eq!(checked(&["--probe-port", "14021"]), Ok(()));
        assert_eq!(
            checked(&["--inbound-port", "14001"]).unwrap_err(),
            "--inbound-port and --outbound-port are both 14001: give each its own"
        );
        assert_eq!(
            checked(&["--probe-port", "14020"]).unwrap_err(),
            "--admin-port and --probe-port are both 14020: give each its own"
        );
        for option in [
            "--inbound-port",
            "--outbound-port",
            "--admin-port",
            "--probe-port",
        ] {
            let refused = checked(&[option, "0"]).unwrap_err();
            assert!(refused.contains("1..=65535"), "{refused}");
        }
    }
}
