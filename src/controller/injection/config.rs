//! What every injected pod is given where its annotations say nothing else: the part `injection`
//! of the mesh's configuration.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{quantity::Quantity, stop};
use crate::{
    discovery::{model::MtlsMode, validate::Checker},
    ranges::{PortRange, Subnet},
    telemetry::{logging, otlp},
    units,
};

/// What a container of ours may be given amounts of.
const RESOURCES: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// Below it, the kernel ends a proxy before it is ready.
const LEAST_MEMORY: &str = "16Mi";

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

impl InjectionConfig {
    /// Reports what is wrong beyond the types, by the chart's values.
    pub(in crate::controller) fn check(&self, c: &mut Checker) {
        c.field("proxy", |c| {
            c.field("resources", |c| self.resources.check(c));
            if let Err(error) = logging::check(&self.log_level) {
                c.field("logLevel", |c| c.report(error.to_string()));
            }
        });
        c.field("tracing", |c| {
            let endpoint = self.otlp_endpoint.as_deref();
            if let Some(Err(error)) = endpoint.map(otlp::check) {
                c.field("otlpEndpoint", |c| c.report(error.to_string()));
            }
            c.require(
                "sampling",
                (0.0..=1.0).contains(&self.trace_sampling),
                || {
                    format!(
                        "{} is no share: write one from 0 to 1, like 0.05",
                        self.trace_sampling
                    )
                },
            );
        });
    }
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

/// In Kubernetes' own shape, keyed by `cpu`, `memory` and `ephemeral-storage`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Resources {
    pub requests: BTreeMap<String, Quantity>,
    pub limits: BTreeMap<String, Quantity>,
}

impl Resources {
    fn check(&self, c: &mut Checker) {
        for (field, amounts) in [("requests", &self.requests), ("limits", &self.limits)] {
            c.field(field, |c| {
                for name in amounts.keys() {
                    c.require(name, RESOURCES.contains(&name.as_str()), || {
                        format!(
                            "is no resource of a container: name {}",
                            RESOURCES.join(", ")
                        )
                    });
                }
            });
        }
        if let Some(Err(why)) = self.limits.get("memory").map(check_memory_limit) {
            c.field("limits.memory", |c| c.report(why));
        }
        for (name, request, limit) in self.above_limit() {
            c.field(&format!("requests.{name}"), |c| {
                c.report(format!(
                    "{request} is more than the limit of {limit}: lower it, or raise proxy.resources.limits.{name}"
                ));
            });
        }
    }

    /// What more is requested of than may be used, with the request and the limit.
    pub(super) fn above_limit(&self) -> impl Iterator<Item = (&str, &Quantity, &Quantity)> {
        self.requests.iter().filter_map(|(name, request)| {
            let limit = self.limits.get(name)?;
            (request > limit).then_some((name.as_str(), request, limit))
        })
    }
}

/// # Errors
/// When a proxy could not live with it: what to write instead.
pub(super) fn check_memory_limit(limit: &Quantity) -> Result<(), String> {
    let least: Quantity = LEAST_MEMORY.parse().expect("it is an amount");
    match *limit < least {
        true => Err(format!(
            "{limit} is less than a proxy needs to start: write {LEAST_MEMORY} or more"
        )),
        false => Ok(()),
    }
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
