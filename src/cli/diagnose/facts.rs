//! What is known of one pod.

use std::time::SystemTime;

use serde::Serialize;

use super::{calls::Calls, denials::Denial};
use crate::{
    cli::cluster::{Fact, Page, Policy},
    proxy::belief::Belief,
};

#[derive(Clone, Debug)]
pub struct Facts {
    /// `namespace/name`.
    pub pod: String,
    pub workload: String,
    pub phase: String,
    pub injection: Injection,
    /// Why the API server takes no further pods of its workload, where it says so.
    pub new_pods_refused: Option<String>,
    pub containers: Vec<Container>,
    /// Of the proxy, where there is one.
    pub proxy: Option<ProxySays>,
    /// The controller's version.
    pub controller: Fact<String>,
    /// The policies and routes that touch it.
    pub policies: Fact<Vec<Policy>>,
    pub calls: Calls,
    /// The newest first.
    pub events: Fact<Vec<Event>>,
    /// The proxy's last lines with a warning or an error, the newest last.
    pub log: Fact<Vec<String>>,
    /// Whom the proxy did not let in, by its log.
    pub denials: Vec<Denial>,
    pub now: SystemTime,
}

/// What decides whether a pod is injected.
#[derive(Clone, Debug)]
pub struct Injection {
    /// Whether it has a proxy.
    pub injected: bool,
    /// `outrigger.dev/inject` of the pod and of its namespace.
    pub of_pod: Option<String>,
    pub of_namespace: Fact<Option<String>>,
    /// The namespace opted out of the webhook by its label, or never is injected.
    pub hidden_namespace: bool,
    pub host_network: bool,
    /// A container runs as the proxy's user.
    pub proxys_user: bool,
    pub privileged: bool,
    pub windows: bool,
    pub other_mesh: bool,
    /// Whether a webhook would show it to the controller; an error when that is not known.
    pub webhook: Fact<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    pub name: String,
    /// One that ends before the application starts.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub init: bool,
    pub ready: bool,
    pub restarts: i32,
    /// `running`, `waiting: REASON` or `terminated: REASON`.
    pub state: String,
    /// How it ended before it was restarted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What the kubelet says about its state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Of its last end, which is now or before it was restarted; in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<u64>,
}

/// What a proxy told on its admin port.
#[derive(Clone, Debug)]
pub struct ProxySays {
    pub belief: Fact<Belief>,
    /// What it waits for before it is ready; empty when it is.
    pub waits_for: Fact<Vec<String>>,
    /// Its metrics some seconds ago, and now.
    pub before: Fact<Page>,
    pub after: Fact<Page>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Unix seconds; absent where the event does not say.
    pub at: Option<u64>,
    pub warning: bool,
    pub reason: String,
    pub message: String,
    pub count: i32,
}

/// The name of the init container.
pub const INIT: &str = "outrigger-init";
