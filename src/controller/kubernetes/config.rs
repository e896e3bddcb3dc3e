//! How the mesh is set up, as the chart's values say: one YAML file, read at the start.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{controller::injection::InjectionConfig, identity::ca::DEFAULT_LIFETIME, units, yaml};

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
    /// When the file cannot be read, or says what this version does not know.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        serde_saphyr::from_str(&text).map_err(|error| ConfigError::Content {
            path: path.to_owned(),
            reason: yaml::fault(&error, &text),
        })
    }
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    #[error("{path} cannot be read: {source}: is the ConfigMap outrigger-config mounted?")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is not the mesh's configuration: {reason}")]
    Content { path: PathBuf, reason: String },
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
