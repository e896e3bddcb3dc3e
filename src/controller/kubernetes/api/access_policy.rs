//! `AccessPolicy`: who may call what.

#![allow(
    clippy::duplicated_attributes,
    reason = "each printer column of the derive says its own type"
)]

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    crd::{self, cel},
    policy_status::PolicyStatus,
};

/// Who may call what, checked by the proxy of the workload that is called, by the caller's
/// certificate.
///
/// On the ports that an enforcing policy is for, what no rule of such a policy allows is refused:
/// the ports behind the targeted Services, or every port where it is for the namespace. Several
/// policies add up. On other ports the mesh's default holds. Workloads with the same service
/// account are one workload here.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "outrigger.dev",
    version = "v1alpha1",
    kind = "AccessPolicy",
    namespaced,
    status = "PolicyStatus",
    derive = "PartialEq",
    shortname = "apol",
    category = "outrigger",
    doc = "Who may call what.",
    annotation("helm.sh/resource-policy", "keep"),
    label("gateway.networking.k8s.io/policy", "Direct"),
    printcolumn(
        name = "Target",
        type_ = "string",
        json_path = ".spec.targetRefs[0].name"
    ),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = r#".status.ancestors[0].conditions[?(@.type=="Accepted")].status"#
    ),
    printcolumn(
        name = "Live",
        type_ = "string",
        json_path = r#".status.ancestors[0].conditions[?(@.type=="outrigger.dev/Live")].status"#
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crd::structural)]
pub struct AccessPolicySpec {
    /// The Services whose workloads the policy is for. Left out: every workload in the namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-validations" = cel(&[(
            "self.all(a, self.exists_one(b, b.name == a.name))",
            "a target is listed twice",
        )]))
    )]
    pub target_refs: Vec<ServiceTarget>,
    /// `enforce` refuses what no rule allows. `audit` lets it pass, and logs and counts it. It
    /// never allows what an enforcing policy or the mesh's default refuses.
    #[serde(default)]
    #[schemars(extend("x-safe-default" = "enforce"))]
    pub mode: AccessMode,
    /// What is allowed; any rule is enough. Without rules, nothing is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub rules: Vec<AccessRule>,
}

/// A Service in the policy's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = cel(&[(
    "!has(self.group) || self.group == ''",
    "the group of a Service is \"\": leave group out",
)])))]
pub struct ServiceTarget {
    /// Empty, or left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub group: Option<String>,
    #[serde(default)]
    #[schemars(extend("x-safe-default" = "Service"))]
    pub kind: ServiceKind,
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceKind {
    #[default]
    Service,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AccessMode {
    #[default]
    Enforce,
    Audit,
}

/// Allows these callers these calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessRule {
    /// Who: any entry is enough.
    #[schemars(length(min = 1, max = 32))]
    pub from: Vec<Source>,
    /// What: any entry is enough. Left out: everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub to: Vec<Operation>,
}

/// Some callers: whoever one of the fields names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = cel(&[(
    "(has(self.serviceAccounts) && self.serviceAccounts.size() > 0) \
     || (has(self.namespaces) && self.namespaces.size() > 0) \
     || (has(self.authenticated) && self.authenticated) \
     || (has(self.unauthenticated) && self.unauthenticated) \
     || (has(self.anyone) && self.anyone)",
    "names nobody: write serviceAccounts, namespaces, authenticated: true, \
     unauthenticated: true or anyone: true",
)])))]
pub struct Source {
    /// Workloads with these service accounts: `namespace/name`, or `name` in the policy's own
    /// namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 128),
        inner(
            length(min = 1, max = 317),
            regex(pattern = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?/)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
        )
    )]
    pub service_accounts: Vec<String>,
    /// Every workload in these namespaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 128),
        inner(
            length(min = 1, max = 63),
            regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
        )
    )]
    pub namespaces: Vec<String>,
    /// Everyone with a certificate of the mesh.
    #[serde(default, skip_serializing_if = "is_false")]
    pub authenticated: bool,
    /// Everyone without: what comes in plaintext. Has no effect where mTLS is strict.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unauthenticated: bool,
    /// Everyone, with a certificate or without.
    #[serde(default, skip_serializing_if = "is_false")]
    pub anyone: bool,
}

/// Some calls: what all the present fields hold for. A field that asks for HTTP matches nothing on
/// a port with another protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// Of the ports that the policy is for, these only: ports that the workload listens on (a
    /// Service's targetPort). Left out: all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(range(min = 1, max = 65_535)))]
    pub ports: Vec<u16>,
    /// HTTP methods. Left out: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        inner(length(min = 1, max = 32), regex(pattern = "^[A-Z][A-Z0-9_-]*$"))
    )]
    pub methods: Vec<String>,
    /// Paths, without the query. Left out: all. A gRPC method's path is `/package.Service/Method`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub paths: Vec<AccessPath>,
}

/// Compared with the request's path after percent-decoding and dot segments are resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AccessPath {
    /// This path alone.
    Exact(
        #[schemars(
            length(min = 1, max = 256),
            extend("x-kubernetes-validations" = cel(PATH_RULES))
        )]
        String,
    ),
    /// By path element: `/a` stands for `/a` and `/a/b`, not for `/ab`.
    Prefix(
        #[schemars(
            length(min = 1, max = 256),
            extend("x-kubernetes-validations" = cel(PATH_RULES))
        )]
        String,
    ),
}

const PATH_RULES: &[(&str, &str)] = &[
    ("self.startsWith('/')", "a path begins with /"),
    (
        "!self.contains('//') && !self.matches(r'/[.][.]?(/|$)')",
        "a path holds no //, /./ and /../: requests are compared without them",
    ),
    (
        r"!self.matches(r'[%?#;\\\s]')",
        "a path is written decoded and without query: it holds none of % ? # ; \\ and spaces",
    ),
];

fn is_false(value: &bool) -> bool {
    !value
}
