//! What is known of a cluster before an install.

use std::net::IpAddr;

use crate::cli::cluster::{Fact, Install};

#[derive(Clone, Debug)]
pub struct Facts {
    pub server: Server,
    pub nodes: Fact<Vec<Node>>,
    /// Whether the API server keeps `restartPolicy` of an init container, by a trial that stores
    /// nothing.
    pub sidecars_kept: Fact<bool>,
    pub gateway_api: Fact<Vec<GatewayCrd>>,
    pub rights: Fact<Vec<Right>>,
    pub pod_ips: Fact<Vec<IpAddr>>,
    pub namespaces: Fact<Vec<Namespace>>,
    /// Mutating webhooks, as `configuration/webhook`.
    pub webhooks: Fact<Vec<String>>,
    pub outriggers: Fact<Vec<Install>>,
}

#[derive(Clone, Debug)]
pub struct Server {
    /// As the server calls itself, like v1.37.2.
    pub version: String,
    /// Major and minor, where they can be read.
    pub release: Option<(u32, u32)>,
}

#[derive(Clone, Debug)]
pub struct Node {
    pub name: String,
    pub kubelet: String,
    pub kernel: String,
    pub os: String,
    pub arch: String,
    pub pod_cidrs: Vec<String>,
}

/// A CRD of the Gateway API that is in the cluster.
#[derive(Clone, Debug)]
pub struct GatewayCrd {
    /// Its plural, like httproutes.
    pub name: String,
    pub served: Vec<String>,
    /// The release it comes from, where it says so.
    pub bundle: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Right {
    pub verb: &'static str,
    pub resource: &'static str,
    pub allowed: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Namespace {
    pub name: String,
    /// Whether its pods are injected once Outrigger is there.
    pub inject: bool,
    /// `pod-security.kubernetes.io/enforce`.
    pub enforces: Option<String>,
    /// Another mesh that its labels or annotations ask for.
    pub other_mesh: Option<&'static str>,
    /// Why the API server would refuse an injected pod there, from a trial that stores nothing;
    /// `None` where none was made.
    pub refuses: Option<Trial>,
    /// Its own `skip-…-subnets`.
    pub skipped: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trial {
    Taken,
    Refused(String),
    /// It could not be made, and why.
    NotMade(String),
}
