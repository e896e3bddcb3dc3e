//! How the mesh is set up, as the chart's values say: one YAML file, read at the start.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    controller::injection::InjectionConfig,
    discovery::validate::{Checker, Problem, syntax},
    host::file,
    identity::{
        self,
        ca::{DEFAULT_LIFETIME, LIFETIMES},
    },
    units, yaml,
};

/// The largest that is read, in bytes: as much as a ConfigMap can hold.
const MAX_BYTES: u64 = 1 << 20;

/// The file behind the controller's `--config`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct MeshConfig {
    /// In every identity: `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
    pub trust_domain: String,
    /// What service names end in, as in `cart.shop.svc.cluster.local`.
    pub cluster_domain: String,
    /// How long workloads' certificates are valid.
    #[serde(with = "units::duration")]
    pub certificate_lifetime: Duration,
    /// Where the issuer in the Secret `outrigger-ca` comes from.
    pub issuer: Issuer,
    /// What holds where no `AccessPolicy` targets a workload.
    pub default_access: DefaultAccess,
    /// What pods are given.
    pub injection: InjectionConfig,
}

impl MeshConfig {
    /// # Errors
    /// When the file cannot be read, says what this version does not know, or has a value that
    /// the mesh could not work with.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = file::read_to_string(path, MAX_BYTES).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let bad = |problems| ConfigError::Content {
            path: path.to_owned(),
            problems,
        };
        let config = parse(&text).map_err(|problem| bad(vec![problem]))?;
        let problems = config.problems();
        match problems.is_empty() {
            true => Ok(config),
            false => Err(bad(problems)),
        }
    }

    /// What is wrong beyond the types, by the chart's values.
    fn problems(&self) -> Vec<Problem> {
        let mut c = Checker::new();
        c.field("mesh", |c| {
            c.require(
                "trustDomain",
                identity::is_trust_domain(&self.trust_domain),
                || format!("{:?} {}", self.trust_domain, identity::NO_TRUST_DOMAIN),
            );
            c.require(
                "clusterDomain",
                syntax::is_dns_name(&self.cluster_domain),
                || {
                    format!(
                        "{:?} is not a DNS name: write what the cluster's names end in, like cluster.local",
                        self.cluster_domain
                    )
                },
            );
            c.require(
                "certificateLifetime",
                LIFETIMES.contains(&self.certificate_lifetime),
                || {
                    let written = units::duration::format(self.certificate_lifetime);
                    format!("{written} is not between 1m and 8760h: write it like 24h")
                },
            );
        });
        self.injection.check(&mut c);
        c.finish()
    }
}

/// The problem's field is the chart's value; empty where it is the text as a whole.
fn parse(text: &str) -> Result<MeshConfig, Problem> {
    yaml::read(text, serde_saphyr::Options::default()).map_err(
        |yaml::Unreadable { field, error }| match field.is_empty() {
            true => Problem::new("", yaml::fault(&error, text)),
            false => Problem::new(chart_value(&field), yaml::reason(&error, text)),
        },
    )
}

/// The chart's value that a field of the configuration comes from.
fn chart_value(field: &str) -> String {
    let Some(injection) = field.strip_prefix("injection.") else {
        return format!("mesh.{field}");
    };
    let end = injection.find(['.', '[']).unwrap_or(injection.len());
    let (name, rest) = injection.split_at(end);
    let value = match name {
        "image" => "image.repository",
        "imagePullPolicy" => "image.pullPolicy",
        "imagePullSecrets" => "proxy.pullSecrets",
        "otlpEndpoint" => "tracing.otlpEndpoint",
        "traceSampling" => "tracing.sampling",
        name => &format!("proxy.{name}"),
    };
    format!("{value}{rest}")
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    #[error("{path} cannot be read: {source}: is the ConfigMap outrigger-config mounted?")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is not the mesh's configuration: {}", listed(.problems))]
    Content {
        path: PathBuf,
        problems: Vec<Problem>,
    },
}

fn listed(problems: &[Problem]) -> String {
    let problems = problems.iter().map(|problem| match problem.field.as_str() {
        "" => problem.reason.clone(),
        _ => format!("the chart's value {problem}"),
    });
    problems.collect::<Vec<_>>().join("; ")
}

impl Default for MeshConfig {
    fn default() -> Self {
        Self {
            trust_domain: "cluster.local".into(),
            cluster_domain: "cluster.local".into(),
            certificate_lifetime: DEFAULT_LIFETIME,
            issuer: Issuer::Controller,
            default_access: DefaultAccess::Allow,
            injection: InjectionConfig::default(),
        }
    }
}

/// Who makes the issuer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Issuer {
    /// The controller, where there is none.
    #[default]
    Controller,
    /// Somebody else, like cert-manager: the controller waits for it.
    External,
}

/// Who may call a workload that no policy targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DefaultAccess {
    #[default]
    Allow,
    Deny,
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::controller::injection::GROUP;

    fn read(text: &str) -> Result<MeshConfig, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.yaml");
        std::fs::write(&file, text).unwrap();
        MeshConfig::read(&file).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_have_no_problem() {
        assert_eq!(MeshConfig::default().problems(), []);
        assert_eq!(read("{}"), Ok(MeshConfig::default()));
    }

    #[test]
    fn a_value_that_would_break_later_is_refused_by_the_charts_name_for_it() {
        for (text, value, next) in [
            ("trustDomain: ...", "mesh.trustDomain", "lower-case letters"),
            (
                "clusterDomain: .foo.",
                "mesh.clusterDomain",
                "cluster.local",
            ),
            ("certificateLifetime: 0s", "mesh.certificateLifetime", "24h"),
            ("certificateLifetime: 1s", "mesh.certificateLifetime", "1m"),
            (
                "certificateLifetime: 99999h",
                "mesh.certificateLifetime",
                "8760h",
            ),
            (
                "certificateLifetime: 1 day",
                "mesh.certificateLifetime",
                "10s",
            ),
            ("defaultAccess: maybe", "mesh.defaultAccess", "allow"),
            (
                "injection: {resources: {requests: {memory: 256Mi}}}",
                "proxy.resources.requests.memory",
                "proxy.resources.limits.memory",
            ),
            (
                "injection: {resources: {requests: {memory: 1Ki}, limits: {memory: 1Ki}}}",
                "proxy.resources.limits.memory",
                "16Mi",
            ),
            (
                "injection: {resources: {limits: {foo: 1}}}",
                "proxy.resources.limits.foo",
                "cpu",
            ),
            (
                "injection: {resources: {limits: {cpu: lots}}}",
                "proxy.resources.limits.cpu",
                "100m",
            ),
            ("injection: {logLevel: verbose}", "proxy.logLevel", "debug"),
            (
                "injection: {skipInboundPorts: [80, 9000-8000]}",
                "proxy.skipInboundPorts[1]",
                "8000-8099",
            ),
            (
                "injection: {skipOutboundSubnets: [10.0.0.0/33]}",
                "proxy.skipOutboundSubnets[0]",
                "10.0.0.0/8",
            ),
            ("injection: {stopDelay: 10m}", "proxy.stopDelay", "5m"),
            (
                "injection: {stopDelay: 500ms}",
                "proxy.stopDelay",
                "whole seconds",
            ),
            (
                "injection: {otlpEndpoint: 'http://a b:99999'}",
                "tracing.otlpEndpoint",
                "http://host:4317",
            ),
            (
                "injection: {otlpEndpoint: 'http://a:99999'}",
                "tracing.otlpEndpoint",
                "http://host:4317",
            ),
            ("injection: {traceSampling: 5}", "tracing.sampling", "0.05"),
        ] {
            let refused = read(text).expect_err(text);
            let named = format!("the chart's value {value}: ");
            assert!(refused.contains(&named), "{text}: {refused}");
            assert!(refused.contains(next), "{text}: {refused}");
            assert!(!refused.contains(GROUP), "{text}: {refused}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let refused = read("{trustDomain: A, certificateLifetime: 0s}").unwrap_err();
        assert!(refused.contains("mesh.trustDomain: "), "{refused}");
        assert!(refused.contains("mesh.certificateLifetime: "), "{refused}");
        let broken = read("]").unwrap_err();
        assert!(!broken.contains("the chart's value"), "{broken}");
    }

    #[test]
    fn every_field_has_its_value_in_the_chart() {
        let schema = include_str!("../../../charts/outrigger/values.schema.json");
        let schema: Value = serde_json::from_str(schema).unwrap();
        let mut config = MeshConfig::default();
        config.injection.otlp_endpoint = Some("http://collector:4317".into());
        config.injection.image_pull_secrets = vec!["registry".into()];
        let config = serde_json::to_value(&config).unwrap();
        let mesh = config.as_object().unwrap().keys().map(String::clone);
        let injection = config["injection"].as_object().unwrap().keys();
        let injection = injection.map(|name| format!("injection.{name}"));
        for field in mesh.chain(injection) {
            // The first is no value itself, the second is the release's namespace.
            if ["injection", "injection.controllerNamespace"].contains(&field.as_str()) {
                continue;
            }
            let value = chart_value(&field);
            let place = format!("/properties/{}", value.replace('.', "/properties/"));
            assert!(schema.pointer(&place).is_some(), "{field}: {value}");
        }
    }
}
