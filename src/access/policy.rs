//! What can be said about access.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Who may call a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Access {
    /// What holds on ports that no enforcing policy is for.
    #[serde(default)]
    pub otherwise: Otherwise,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<AccessPolicy>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Otherwise {
    #[default]
    Allow,
    Deny,
}

/// Allows what its rules say, on the ports that it is for. An enforcing policy refuses everything
/// else there, unless another enforcing policy allows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccessPolicy {
    /// `namespace/name`, for logs.
    pub name: Arc<str>,
    #[serde(default)]
    pub mode: Mode,
    /// The workload's own ports. Empty: all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    /// Any of them is enough. Empty: nothing is allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    #[default]
    Enforce,
    /// Lets everything pass; what enforcing would refuse is counted and logged.
    Audit,
}

/// Allows these callers these calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Any of them is enough. Never empty: "anyone" is said, and not left out.
    pub from: Vec<Source>,
    /// Any of them is enough. Empty: everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<Operation>,
}

/// Whoever one of the fields names. All names are of the workload's own trust domain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    /// `namespace/name`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_accounts: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Everyone with a certificate.
    #[serde(default, skip_serializing_if = "is_false")]
    pub authenticated: bool,
    /// Everyone without.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unauthenticated: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub anyone: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// What all the fields that are not empty hold for. Methods and paths are HTTP's: a rule that asks
/// for one allows no opaque connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Operation {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<Path>,
}

/// Written decoded, beginning with `/`, without query and dot segments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Path {
    Exact(String),
    /// By path element: `/a` stands for `/a` and `/a/b`, not for `/ab`. `/` is every path.
    Prefix(String),
}
