//! `outrigger check --pre`: what would fail after an install, said before it.

mod conclude;
mod facts;
mod gather;
mod trial;

use std::path::Path;

use anyhow::{Context, anyhow};
use serde::Deserialize;

use crate::{ranges::Subnet, yaml};

pub use conclude::conclude;
pub use gather::gather;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Values {
    proxy: ProxyValues,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ProxyValues {
    skip_inbound_subnets: Vec<String>,
    skip_outbound_subnets: Vec<String>,
}

/// The subnets that a chart's values keep the proxies away from.
///
/// # Errors
/// When the file cannot be read or a subnet is none.
pub fn skipped_subnets(values: &Path) -> anyhow::Result<Vec<Subnet>> {
    let at = || format!("--values {}", values.display());
    let text = std::fs::read_to_string(values).with_context(at)?;
    let read: Values = serde_saphyr::from_str(&text)
        .map_err(|error| anyhow!(yaml::fault(&error, &text)))
        .with_context(at)?;
    let subnets = read.proxy.skip_inbound_subnets.iter();
    subnets
        .chain(&read.proxy.skip_outbound_subnets)
        .map(|subnet| Ok(subnet.parse()?))
        .collect::<anyhow::Result<_>>()
        .with_context(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_skipped_subnets_of_a_values_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("values.yaml");
        let text =
            "image: {tag: x}\nproxy:\n  mtls: strict\n  skipOutboundSubnets: [\"198.18.0.0/16\"]\n";
        std::fs::write(&file, text).unwrap();
        let subnets = skipped_subnets(&file).unwrap();
        assert_eq!(subnets, ["198.18.0.0/16".parse().unwrap()]);

        std::fs::write(&file, "proxy: {skipInboundSubnets: [nonsense]}").unwrap();
        let refused = format!("{:#}", skipped_subnets(&file).unwrap_err());
        assert!(refused.contains("nonsense"), "{refused}");
        std::fs::write(&file, "").unwrap();
        assert_eq!(skipped_subnets(&file).unwrap(), []);
    }
}
