//! `ResiliencePolicy`: breakers, bulkheads, retries, timeouts and fallbacks of a Service or route.

#![allow(
    clippy::duplicated_attributes,
    reason = "each printer column of the derive says its own type"
)]

use std::{sync::Arc, time::Duration};

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    crd::{self, cel},
    policy_status::{PolicyStatus, PolicyTarget},
};
use crate::{
    resilience::{BreakerPolicy, BulkheadPolicy, RetryPolicy, TimeoutPolicy, bounds},
    units,
};

/// What calls to a Service, or by a route, get from the mesh: circuit breaker, bulkhead, retries,
/// timeouts and fallbacks. Everything has a default that suits a service nobody has looked at. A
/// route's policy takes the place of its Service's as a whole.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "outrigger.dev",
    version = "v1alpha1",
    kind = "ResiliencePolicy",
    namespaced,
    status = "PolicyStatus",
    derive = "PartialEq",
    shortname = "rpol",
    category = "outrigger",
    doc = "Circuit breaker, bulkhead, retries, timeouts and fallbacks of a Service or route.",
    annotation("helm.sh/resource-policy", "keep"),
    label("gateway.networking.k8s.io/policy", "Direct"),
    printcolumn(
        name = "Target",
        type_ = "string",
        json_path = ".spec.targetRefs[0].name"
    ),
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
pub struct ResiliencePolicySpec {
    /// What the policy is for, in its own namespace.
    #[schemars(
        length(min = 1, max = 16),
        extend("x-kubernetes-validations" = cel(&[(
            "self.all(a, self.exists_one(b, b.kind == a.kind && b.name == a.name))",
            "a target is listed twice",
        )]))
    )]
    pub target_refs: Vec<PolicyTarget>,
    /// When an endpoint or the service as a whole counts as broken, and how it comes back.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-validations" = breaker_rules()))]
    pub breaker: BreakerPolicy,
    /// How many requests may be under way at once.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-validations" = cel(&[(
        "!has(self.queueWait) || duration(self.queueWait) > duration('0s') \
         || (has(self.queue) && self.queue == 0)",
        "queueWait is 0 with a queue: set queue to 0 instead",
    )])))]
    pub bulkhead: BulkheadPolicy,
    /// When a request is sent again.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// How long things may take.
    #[serde(default)]
    pub timeouts: TimeoutPolicy,
    /// Tried in order when the upstream cannot answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 8),
        extend("x-kubernetes-validations" = cel(&[(
            "self.filter(link, has(link.static)).size() <= 1 \
             && (!self.exists(link, has(link.static)) || has(self[self.size() - 1].static))",
            "a static response always answers: it must be the last link",
        )]))
    )]
    pub fallback: Vec<FallbackLink>,
    /// The request header that names a request's priority: `critical`, `default` or `batch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 128),
        regex(pattern = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
    )]
    pub priority_header: Option<Arc<str>>,
}

fn breaker_rules() -> serde_json::Value {
    let usual = BreakerPolicy::default();
    let open_for = units::duration::format(usual.open_for);
    let open_for_max = units::duration::format(usual.open_for_max);
    cel(&[
        (
            &format!(
                "duration(has(self.openFor) ? self.openFor : '{open_for}') \
                 <= duration(has(self.openForMax) ? self.openForMax : '{open_for_max}')"
            ),
            &format!(
                "openFor is longer than openForMax, which is {open_for_max} where it is left out"
            ),
        ),
        (
            &format!(
                "!has(self.window) || !has(self.window.count) \
                 || (has(self.minRequests) ? self.minRequests : {}) <= self.window.count",
                usual.min_requests
            ),
            &format!(
                "minRequests, which is {} where it is left out, is more than the window ever holds",
                usual.min_requests
            ),
        ),
    ])
}

/// One link of the fallback chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum FallbackLink {
    /// The last good response to the same GET or HEAD, at most this old: up to `5m`.
    Stale(
        #[serde(with = "units::duration")]
        #[schemars(schema_with = "bounds::stale_schema")]
        Duration,
    ),
    /// Another Service answers. Idempotent methods only.
    Service(ServiceRef),
    /// This response, always. It must be the last link.
    Static(StaticAnswer),
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRef {
    /// The policy's own namespace where it is left out. Another one needs a ReferenceGrant there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// A port of the Service, not of its pods.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StaticAnswer {
    /// 200 to 599.
    #[schemars(range(min = 200, max = 599))]
    pub status: u16,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub headers: Vec<Header>,
    /// At most 16 KiB.
    #[serde(default)]
    #[schemars(length(max = 16_384))]
    pub body: Arc<str>,
}

/// A response header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    #[schemars(
        length(min = 1, max = 256),
        regex(pattern = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"),
        extend("x-kubernetes-validations" = cel(&[(
            "!(self.lowerAscii() in ['connection', 'content-length', 'te', 'trailer', \
             'transfer-encoding', 'upgrade', 'keep-alive', 'proxy-connection'])",
            "belongs to the connection, not to the response",
        )]))
    )]
    pub name: String,
    /// Visible characters, spaces and tabs.
    #[schemars(length(max = 4_096), regex(pattern = r"^[^\x00-\x08\x0a-\x1f\x7f]*$"))]
    pub value: String,
}
