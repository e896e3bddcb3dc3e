//! How the mesh is set up, as the chart's values say: one YAML file, read at the start.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{controller::injection::InjectionConfig, identity::ca::DEFAULT_LIFETIME, units};

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
    /// What holds where no `AccessPolicy` targets a workload.
    pub default_access: DefaultAccess,
    /// What pods are given.
    pub injection: InjectionConfig,
}

impl Default for MeshConfig {
    fn default() -> Self {
        Self {
            trust_domain: "cluster.local".into(),
            cluster_domain: "cluster.local".into(),
            certificate_lifetime: DEFAULT_LIFETIME,
            default_access: DefaultAccess::Allow,
            injection: InjectionConfig::default(),
        }
    }
}

/// Who may call a workload that no policy targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DefaultAccess {
    #[default]
    Allow,
    Deny,
}
