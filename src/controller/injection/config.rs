//! What every injected pod is given where its annotations say nothing else: the part `injection`
//! of the mesh's configuration.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{quantity::Quantity, stop};
use crate::{
    discovery::model::MtlsMode,
    ranges::{PortRange, Subnet},
    units,
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct InjectionConfig {
    /// The image of the proxy and of the init container.
    pub image: String,
    pub image_pull_policy: ImagePullPolicy,
    /// Secrets to pull the image with. They must exist in the pods' own namespaces.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<String>,
    /// The namespace that the controller is installed in.
    pub controller_namespace: String,
    /// Of the proxy and of the init container.
    pub resources: Resources,
    /// A level like `debug`, or targets like `info,outrigger::proxy=debug`.
    pub log_level: String,
    pub log_format: LogFormat,
    /// Whether the proxy writes an access log to its standard output.
    pub access_log: bool,
    /// Share of the traces begun in the mesh that are recorded, 0 to 1.
    pub trace_sampling: f64,
    /// Where spans go: `http://HOST:4317` for gRPC, `http://HOST:4318/v1/traces` for HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp_endpoint: Option<String>,
    /// Whether pods take plaintext from the network.
    pub mtls: MtlsMode,
    /// Ports of the pods that are reached without the proxy.
    pub skip_inbound_ports: Vec<PortRange>,
    /// Ports that are dialled without the proxy.
    pub skip_outbound_ports: Vec<PortRange>,
    /// Clients that are taken without the proxy.
    pub skip_inbound_subnets: Vec<Subnet>,
    /// Addresses that are dialled without the proxy.
    pub skip_outbound_subnets: Vec<Subnet>,
    /// Ports whose bytes the proxy carries without looking at them.
    pub opaque_ports: Vec<PortRange>,
    /// How long a container without a `preStop` hook goes on once its pod is to end, in whole
    /// seconds up to five minutes; 0 where the kubelet is older than 1.30 and cannot sleep.
    #[serde(
        serialize_with = "units::duration::serialize",
        deserialize_with = "stop::deserialize"
    )]
    pub stop_delay: Duration,
}

impl Default for InjectionConfig {
    fn default() -> Self {
        Self {
            image: concat!(
                "ghcr.io/outrigger-mesh/outrigger:",
                env!("CARGO_PKG_VERSION")
            )
            .into(),
            image_pull_policy: ImagePullPolicy::IfNotPresent,
            image_pull_secrets: Vec::new(),
            controller_namespace: "outrigger-system".into(),
            resources: Resources::default(),
            log_level: "info".into(),
            log_format: LogFormat::Text,
            access_log: false,
            trace_sampling: 0.01,
            otlp_endpoint: None,
            mtls: MtlsMode::Permissive,
            skip_inbound_ports: Vec::new(),
            skip_outbound_ports: Vec::new(),
            skip_inbound_subnets: Vec::new(),
            skip_outbound_subnets: Vec::new(),
            opaque_ports: Vec::new(),
            stop_delay: Duration::from_secs(3),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImagePullPolicy {
    Always,
    IfNotPresent,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// In Kubernetes' own shape, keyed by `cpu` and `memory`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Resources {
    pub requests: BTreeMap<String, Quantity>,
    pub limits: BTreeMap<String, Quantity>,
}

impl Default for Resources {
    /// No limit on CPU: a throttled proxy would be a slow application.
    fn default() -> Self {
        let amount = |name: &str, text: &str| {
            let amount = text.parse().expect("the default amounts are valid");
            (name.to_owned(), amount)
        };
        Self {
            requests: BTreeMap::from([amount("cpu", "10m"), amount("memory", "20Mi")]),
            limits: BTreeMap::from([amount("memory", "128Mi")]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_chart_writes() {
        let text = r#"
image: registry.example/outrigger:1.2.3
imagePullPolicy: Never
resources: {requests: {cpu: 1, memory: 32Mi}, limits: {}}
mtls: strict
skipInboundPorts: [9090, 8000-8099]
skipOutboundSubnets: [169.254.169.254]
stopDelay: 10s
"#;
        let config: InjectionConfig = serde_saphyr::from_str(text).unwrap();
        assert_eq!(config.mtls, MtlsMode::Strict);
        assert_eq!(config.resources.requests["cpu"].as_str(), "1");
        assert!(config.resources.limits.is_empty());
        assert!(config.skip_inbound_ports[1].contains(8050));
        assert_eq!(config.stop_delay, Duration::from_secs(10));
        assert_eq!(config.log_level, InjectionConfig::default().log_level);
        let again = serde_saphyr::to_string(&config).unwrap();
        assert_eq!(
            serde_saphyr::from_str::<InjectionConfig>(&again).unwrap(),
            config
        );
    }

    #[test]
    fn an_unknown_field_is_named() {
        let error = serde_saphyr::from_str::<InjectionConfig>("logLeve: debug").unwrap_err();
        assert!(error.to_string().contains("logLeve"), "{error}");
    }
}
