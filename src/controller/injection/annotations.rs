//! What people say with annotations: read from the pod, else from its namespace, else as the
//! mesh's configuration has it. A value that cannot be read refuses the pod.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use super::{
    config::{InjectionConfig, Resources, check_memory_limit},
    quantity::Quantity,
    refused::{Refused, Whose},
    stop, suggest,
};
use crate::{
    discovery::model::MtlsMode,
    ranges::{PortRange, Subnet},
    telemetry::logging,
};

/// The prefix of everything that is ours.
pub const GROUP: &str = "outrigger.dev/";

/// The names that are read, without the prefix.
pub const KNOWN: [&str; 14] = [
    INJECT,
    SKIP_INBOUND_PORTS,
    SKIP_OUTBOUND_PORTS,
    SKIP_INBOUND_SUBNETS,
    SKIP_OUTBOUND_SUBNETS,
    OPAQUE_PORTS,
    CPU_REQUEST,
    CPU_LIMIT,
    MEMORY_REQUEST,
    MEMORY_LIMIT,
    LOG_LEVEL,
    TRACE_SAMPLING,
    MTLS,
    STOP_DELAY,
];

const INJECT: &str = "inject";
const SKIP_INBOUND_PORTS: &str = "skip-inbound-ports";
const SKIP_OUTBOUND_PORTS: &str = "skip-outbound-ports";
const SKIP_INBOUND_SUBNETS: &str = "skip-inbound-subnets";
const SKIP_OUTBOUND_SUBNETS: &str = "skip-outbound-subnets";
const OPAQUE_PORTS: &str = "opaque-ports";
const CPU_REQUEST: &str = "proxy-cpu-request";
const CPU_LIMIT: &str = "proxy-cpu-limit";
const MEMORY_REQUEST: &str = "proxy-memory-request";
const MEMORY_LIMIT: &str = "proxy-memory-limit";
const LOG_LEVEL: &str = "log-level";
const TRACE_SAMPLING: &str = "trace-sampling";
const MTLS: &str = "mtls";
const STOP_DELAY: &str = "stop-delay";

/// The annotations or labels of an object.
pub type Annotations = BTreeMap<String, String>;

/// The annotations of a pod and of its namespace: the pod's win.
#[derive(Clone, Copy)]
pub(super) struct Said<'a> {
    pub pod: &'a Annotations,
    pub namespace: &'a Annotations,
}

impl<'a> Said<'a> {
    fn find(self, name: &'static str) -> Option<(&'a str, Whose)> {
        let key = format!("{GROUP}{name}");
        let of_pod = self.pod.get(&key).map(|value| (value, Whose::Pod));
        let of_either = of_pod.or_else(|| {
            let value = self.namespace.get(&key)?;
            Some((value, Whose::Namespace))
        });
        of_either.map(|(value, whose)| (value.trim(), whose))
    }

    /// The annotation's value as `read` understands it, if it is there.
    fn read<T>(
        self,
        name: &'static str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Refused> {
        let Some((value, whose)) = self.find(name) else {
            return Ok(None);
        };
        let refused = |why| Refused::Annotation {
            whose,
            name,
            value: value.to_owned(),
            why,
        };
        read(value).map(Some).map_err(refused)
    }

    /// Whether the pod is to be injected, and who said so; `None` where nobody said anything.
    pub fn inject(self) -> Result<Option<(bool, Whose)>, Refused> {
        let wanted = self.read(INJECT, |value| match value {
            "enabled" => Ok(true),
            "disabled" => Ok(false),
            _ => Err("write enabled or disabled".to_owned()),
        })?;
        let whose = self.find(INJECT).map(|(_, whose)| whose);
        Ok(wanted.zip(whose))
    }
}

/// Whether a namespace says that its pods are to be injected.
pub(super) fn enables(namespace: &Annotations) -> bool {
    let pod = Annotations::new();
    let said = Said {
        pod: &pod,
        namespace,
    };
    matches!(said.inject(), Ok(Some((true, _))))
}

/// What holds for one pod.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    pub skip_inbound_ports: Vec<PortRange>,
    pub skip_outbound_ports: Vec<PortRange>,
    pub skip_inbound_subnets: Vec<Subnet>,
    pub skip_outbound_subnets: Vec<Subnet>,
    pub opaque_ports: Vec<PortRange>,
    pub resources: Resources,
    pub log_level: String,
    pub trace_sampling: f64,
    pub mtls: MtlsMode,
    pub stop_delay: Duration,
}

impl Settings {
    /// # Errors
    /// When a value cannot be read, or more is requested than the limit allows.
    pub fn read(said: Said<'_>, config: &InjectionConfig) -> Result<Self, Refused> {
        let resources = &config.resources;
        let settings = Self {
            skip_inbound_ports: list(said, SKIP_INBOUND_PORTS, &config.skip_inbound_ports)?,
            skip_outbound_ports: list(said, SKIP_OUTBOUND_PORTS, &config.skip_outbound_ports)?,
            skip_inbound_subnets: list(said, SKIP_INBOUND_SUBNETS, &config.skip_inbound_subnets)?,
            skip_outbound_subnets: list(
                said,
                SKIP_OUTBOUND_SUBNETS,
                &config.skip_outbound_subnets,
            )?,
            opaque_ports: list(said, OPAQUE_PORTS, &config.opaque_ports)?,
            resources: Resources {
                requests: amounts(said, &resources.requests, CPU_REQUEST, MEMORY_REQUEST)?,
                limits: amounts(said, &resources.limits, CPU_LIMIT, MEMORY_LIMIT)?,
            },
            log_level: said
                .read(LOG_LEVEL, log_level)?
                .unwrap_or_else(|| config.log_level.clone()),
            trace_sampling: said
                .read(TRACE_SAMPLING, share)?
                .unwrap_or(config.trace_sampling),
            mtls: said.read(MTLS, mtls)?.unwrap_or(config.mtls),
            stop_delay: said
                .read(STOP_DELAY, stop::parse)?
                .unwrap_or(config.stop_delay),
        };
        if let Some((resource, request, limit)) = settings.resources.above_limit().next() {
            return Err(Refused::RequestAboveLimit {
                resource: resource.to_owned(),
                request: request.clone(),
                limit: limit.clone(),
            });
        }
        Ok(settings)
    }
}

/// Values parted by commas. An empty annotation takes the configured ones away.
fn list<T>(said: Said<'_>, name: &'static str, configured: &[T]) -> Result<Vec<T>, Refused>
where
    T: FromStr<Err: fmt::Display> + Clone,
{
    let read = |value: &str| {
        let parts = value.split(',').map(str::trim);
        parts
            .filter(|part| !part.is_empty())
            .map(|part| part.parse().map_err(|error: T::Err| error.to_string()))
            .collect()
    };
    Ok(said
        .read(name, read)?
        .unwrap_or_else(|| configured.to_vec()))
}

fn amounts(
    said: Said<'_>,
    configured: &BTreeMap<String, Quantity>,
    cpu: &'static str,
    memory: &'static str,
) -> Result<BTreeMap<String, Quantity>, Refused> {
    let mut amounts = configured.clone();
    for (resource, name) in [("cpu", cpu), ("memory", memory)] {
        let amount = said.read(name, |value| amount(name, value))?;
        amounts.extend(amount.map(|amount| (resource.to_owned(), amount)));
    }
    Ok(amounts)
}

fn amount(name: &str, value: &str) -> Result<Quantity, String> {
    let amount = value.parse::<Quantity>();
    let amount = amount.map_err(|error| error.to_string())?;
    if name == MEMORY_LIMIT {
        check_memory_limit(&amount)?;
    }
    Ok(amount)
}

fn log_level(value: &str) -> Result<String, String> {
    logging::check(value).map_err(|error| error.to_string())?;
    Ok(value.to_owned())
}

fn share(value: &str) -> Result<f64, String> {
    let share = value.parse().ok();
    share
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "write a share from 0 to 1, like 0.05".to_owned())
}

fn mtls(value: &str) -> Result<MtlsMode, String> {
    match value {
        "permissive" => Ok(MtlsMode::Permissive),
        "strict" => Ok(MtlsMode::Strict),
        _ => Err("write permissive or strict".to_owned()),
    }
}

/// What is written under our prefix and read by nobody, with what was most likely meant.
pub(super) fn unread(said: Said<'_>, labels: &Annotations) -> Vec<String> {
    let ours = |annotations: &'_ Annotations| -> Vec<String> {
        let names = annotations.keys().filter_map(|key| key.strip_prefix(GROUP));
        names.map(str::to_owned).collect()
    };
    let mut warnings = Vec::new();
    for (whose, annotations) in [(Whose::Pod, said.pod), (Whose::Namespace, said.namespace)] {
        let unknown = ours(annotations)
            .into_iter()
            .filter(|name| !KNOWN.contains(&name.as_str()));
        warnings.extend(unknown.map(|name| unknown_annotation(whose, &name)));
    }
    let misplaced = ours(labels)
        .into_iter()
        .filter(|name| KNOWN.contains(&name.as_str()));
    warnings.extend(misplaced.map(|name| {
        format!("{GROUP}{name} is a label here and has no effect: write it as an annotation")
    }));
    warnings
}

/// What is written on an object that makes pods, where its template is meant.
pub(super) fn misplaced(kind: &str, annotations: &Annotations) -> Vec<String> {
    let names = annotations.keys().filter_map(|key| key.strip_prefix(GROUP));
    let ours = names.filter(|name| KNOWN.contains(name));
    ours.map(|name| {
        format!(
            "{GROUP}{name} is an annotation of the {kind} here and has no effect: write it into its pod template's metadata"
        )
    })
    .collect()
}

fn unknown_annotation(whose: Whose, name: &str) -> String {
    match suggest::nearest(name, KNOWN) {
        Some(meant) => format!(
            "unknown annotation {GROUP}{name} on the {whose} has no effect: did you mean {GROUP}{meant}?"
        ),
        None => format!("unknown annotation {GROUP}{name} on the {whose} has no effect"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations<const N: usize>(pairs: [(&str, &str); N]) -> Annotations {
        pairs
            .map(|(name, value)| (format!("{GROUP}{name}"), value.to_owned()))
            .into()
    }

    fn settings(pod: &Annotations, namespace: &Annotations) -> Result<Settings, Refused> {
        let config = InjectionConfig {
            skip_outbound_ports: vec![25.into()],
            ..InjectionConfig::default()
        };
        Settings::read(Said { pod, namespace }, &config)
    }

    #[test]
    fn the_pod_wins_over_the_namespace_and_both_over_the_configuration() {
        let pod = annotations([("mtls", "strict"), ("skip-outbound-ports", "")]);
        let namespace = annotations([("mtls", "permissive"), ("log-level", "debug")]);
        let settings = settings(&pod, &namespace).unwrap();
        assert_eq!(settings.mtls, MtlsMode::Strict);
        assert_eq!(settings.log_level, "debug");
        assert_eq!(settings.skip_outbound_ports, []);
        assert_eq!(settings.trace_sampling, 0.01);
    }

    #[test]
    fn every_annotation_is_read() {
        let pod = annotations([
            ("skip-inbound-ports", "9090, 8000-8099"),
            ("skip-inbound-subnets", "192.0.2.0/24"),
            ("skip-outbound-subnets", "169.254.169.254,fd00::/8"),
            ("opaque-ports", "3306"),
            ("proxy-cpu-request", "50m"),
            ("proxy-cpu-limit", "1"),
            ("proxy-memory-request", "64Mi"),
            ("proxy-memory-limit", "256Mi"),
            ("trace-sampling", "0.5"),
            ("stop-delay", "7s"),
        ]);
        let settings = settings(&pod, &Annotations::new()).unwrap();
        let config = InjectionConfig::default();
        assert_eq!(settings.skip_inbound_ports.len(), 2);
        assert_eq!(settings.skip_inbound_subnets.len(), 1);
        assert_eq!(settings.skip_outbound_subnets.len(), 2);
        assert!(settings.opaque_ports[0].contains(3306));
        assert_eq!(settings.resources.requests["cpu"].as_str(), "50m");
        assert_eq!(settings.resources.limits["cpu"].as_str(), "1");
        assert_eq!(settings.resources.requests["memory"].as_str(), "64Mi");
        assert_eq!(settings.resources.limits["memory"].as_str(), "256Mi");
        assert_eq!(settings.trace_sampling, 0.5);
        assert_eq!(settings.stop_delay, Duration::from_secs(7));
        assert_eq!(settings.log_level, config.log_level);
    }

    #[test]
    fn a_bad_value_is_refused_with_name_value_and_what_is_allowed() {
        for (name, value, allowed) in [
            ("skip-inbound-ports", "80;443", "8000-8099"),
            ("skip-outbound-subnets", "10.0.0.0/33", "10.0.0.0/8"),
            ("opaque-ports", "0", "5432"),
            ("proxy-cpu-limit", "lots", "100m"),
            ("proxy-memory-request", "-1Mi", "64Mi"),
            ("proxy-memory-limit", "1Ki", "16Mi"),
            ("log-level", "info,=", "debug"),
            ("log-level", "verbose", "debug"),
            ("trace-sampling", "5", "from 0 to 1"),
            ("trace-sampling", "NaN", "from 0 to 1"),
            ("mtls", "Strict", "permissive or strict"),
            ("stop-delay", "500ms", "0s for none"),
        ] {
            let pod = annotations([(name, value)]);
            let refused = settings(&pod, &Annotations::new()).unwrap_err().to_string();
            for part in [name, value, allowed, "pod"] {
                assert!(refused.contains(part), "{part} is missing: {refused}");
            }
        }
        let namespace = annotations([("mtls", "on")]);
        let refused = settings(&Annotations::new(), &namespace).unwrap_err();
        assert!(refused.to_string().contains("namespace"), "{refused}");
    }

    #[test]
    fn no_more_may_be_requested_than_the_limit_allows() {
        let pod = annotations([("proxy-memory-request", "1Gi")]);
        let refused = settings(&pod, &Annotations::new()).unwrap_err().to_string();
        assert!(
            refused.contains("1Gi") && refused.contains("128Mi"),
            "{refused}"
        );
    }

    #[test]
    fn whether_to_inject() {
        let nothing = Annotations::new();
        let enabled = annotations([("inject", "enabled")]);
        let disabled = annotations([("inject", "disabled")]);
        let inject = |pod, namespace| Said { pod, namespace }.inject().unwrap();
        assert_eq!(inject(&nothing, &nothing), None);
        assert_eq!(inject(&nothing, &enabled), Some((true, Whose::Namespace)));
        assert_eq!(inject(&disabled, &enabled), Some((false, Whose::Pod)));
        assert_eq!(inject(&enabled, &disabled), Some((true, Whose::Pod)));
        let wrong = annotations([("inject", "true")]);
        let said = Said {
            pod: &wrong,
            namespace: &nothing,
        };
        assert!(said.inject().is_err());
    }

    #[test]
    fn what_nobody_reads_is_named_with_what_was_meant() {
        let pod = annotations([("skip-inbound-port", "80"), ("mtls", "strict")]);
        let namespace = annotations([("injct", "enabled")]);
        let labels = annotations([("inject", "enabled"), ("injected", "true")]);
        let said = Said {
            pod: &pod,
            namespace: &namespace,
        };
        insta::assert_snapshot!(unread(said, &labels).join("\n"), @r"
        unknown annotation outrigger.dev/skip-inbound-port on the pod has no effect: did you mean outrigger.dev/skip-inbound-ports?
        unknown annotation outrigger.dev/injct on the namespace has no effect: did you mean outrigger.dev/inject?
        outrigger.dev/inject is a label here and has no effect: write it as an annotation
        ");
    }
}
