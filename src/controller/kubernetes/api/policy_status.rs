//! The status of a policy, as the Gateway API lays it out: one entry for each thing that the
//! policy is attached to, each with its conditions.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::crd::{self, cel};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crd::structural)]
pub struct PolicyStatus {
    /// What the policy is attached to, and what became of it there.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub ancestors: Vec<PolicyAncestorStatus>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyAncestorStatus {
    pub ancestor_ref: AncestorRef,
    /// Who wrote this entry.
    #[schemars(length(min = 1, max = 253))]
    pub controller_name: String,
    /// `Accepted`: the policy is valid and has effect here. `outrigger.dev/Live`: the proxies that
    /// it concerns have it.
    #[serde(default)]
    #[schemars(
        length(max = 8),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
}

/// What a policy is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AncestorRef {
    /// Empty for the core group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// Something in the policy's own namespace that it is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = cel(&[(
    "!has(self.group) || self.group == (self.kind == 'Service' ? '' : 'gateway.networking.k8s.io')",
    "the group of a Service is \"\", and of a route gateway.networking.k8s.io: leave group out",
)])))]
pub struct PolicyTarget {
    /// The API group of the kind; follows from the kind where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub group: Option<String>,
    pub kind: TargetKind,
    /// Its name, in the namespace of the policy.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TargetKind {
    Service,
    #[serde(rename = "HTTPRoute")]
    HttpRoute,
    #[serde(rename = "GRPCRoute")]
    GrpcRoute,
}

impl TargetKind {
    pub fn as_str(self) -> &'static str {
        match self {
            TargetKind::Service => "Service",
            TargetKind::HttpRoute => "HTTPRoute",
            TargetKind::GrpcRoute => "GRPCRoute",
        }
    }

    /// Empty for the core group.
    pub fn group(self) -> &'static str {
        match self {
            TargetKind::Service => "",
            TargetKind::HttpRoute | TargetKind::GrpcRoute => super::GATEWAY_GROUP,
        }
    }
}
