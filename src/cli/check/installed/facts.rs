//! What is known of an installed Outrigger.

use crate::{
    cli::cluster::{Fact, Install, Validity},
    proxy::belief::Belief,
};

#[derive(Clone, Debug)]
pub struct Facts {
    pub installs: Fact<Vec<Install>>,
    /// The rest is known where there is exactly one.
    pub controller: Fact<Controller>,
    /// The certificate of `outrigger-ca` that signs workloads' certificates.
    pub issuer: Fact<Validity>,
    /// The roots of `outrigger-ca`.
    pub roots: Fact<Vec<Validity>>,
    pub webhook: Fact<Webhook>,
    pub crds: Fact<Vec<Crd>>,
    pub policies: Fact<Vec<PolicyProblem>>,
    pub pods: Fact<Pods>,
    /// What the proxies say, as `namespace/pod`.
    pub proxies: Vec<(String, Fact<Belief>)>,
}

/// The controller's Deployment and pods.
#[derive(Clone, Debug, Default)]
pub struct Controller {
    pub namespace: String,
    pub version: String,
    pub desired: i32,
    pub ready: i32,
    pub updated: i32,
    /// Why pods of it are not ready: `pod: reason`.
    pub troubles: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub struct Webhook {
    /// Whether there is a webhook configuration for the controller's Service.
    pub configured: bool,
    /// Whether it trusts the CA in the Secret `outrigger-webhook`; `None` when that is not known.
    pub trusts_secret: Option<bool>,
    /// Of the serving certificate.
    pub serving: Option<Validity>,
    /// Ready endpoints of the Service.
    pub endpoints: usize,
}

/// One of our CRDs.
#[derive(Clone, Debug)]
pub struct Crd {
    pub name: String,
    pub state: CrdState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrdState {
    Absent,
    /// Not accepted by the API server yet.
    NotEstablished,
    /// Its schema is not the one that this version has.
    Differs,
    Good,
}

/// A route or policy that is not in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyProblem {
    /// `Kind namespace/name`.
    pub object: String,
    pub message: String,
}

#[derive(Clone, Debug, Default)]
pub struct Pods {
    pub injected: usize,
    /// Running pods of injected namespaces that have no proxy, as `namespace/pod`.
    pub without: Vec<String>,
}
