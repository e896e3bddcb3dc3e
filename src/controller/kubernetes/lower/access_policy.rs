//! Access policies: which ones are for a workload, and what becomes of each.

use std::{collections::BTreeMap, sync::Arc};

use kube::ResourceExt;

use super::{
    access::{self, Applied},
    account::Account,
    endpoints::Pods,
    index::{Index, within},
    object::{Name, Object},
    reach,
    read::Read,
    reference::Unresolved,
    route,
};
use crate::{
    access::Access as Rules,
    controller::kubernetes::{
        api::{AccessPolicy as Api, AccessPolicySpec},
        findings::{Attachment, Finding, TargetRef, Verdict},
    },
    discovery::{resource::ResourceName, validate::Problem},
};

/// An `AccessPolicy` as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    uid: Arc<str>,
    generation: i64,
    spec: AccessPolicySpec,
    /// What is wrong with its rules. Those at fault allow nothing; the policy stays in force, since
    /// without it more would be allowed.
    problems: Vec<Problem>,
}

impl Read for Api {
    fn read(&self) -> Option<Object> {
        let namespace = self.namespace().unwrap_or_default();
        Some(Object::AccessPolicy(Box::new(Access {
            uid: route::uid(&self.metadata),
            generation: self.metadata.generation.unwrap_or_default(),
            problems: access::problems(&namespace, &self.spec),
            spec: self.spec.clone(),
        })))
    }
}

impl Access {
    /// Whether it is for what is behind this service of its namespace.
    pub fn targets(&self, service: &str) -> bool {
        let mut targets = self.spec.target_refs.iter();
        targets.any(|target| target.name == service)
    }

    /// Whether it is for every workload of its namespace.
    fn is_for_all(&self) -> bool {
        self.spec.target_refs.is_empty()
    }
}

/// The rules for the workload of a service account in this namespace.
pub(super) fn of_workload(index: &Index, namespace: &Arc<str>, account: &Account) -> Option<Rules> {
    let policies: Vec<_> = within(&index.access, namespace)
        .filter_map(|name| {
            let policy = index.access.get(name)?;
            let ports = account.ports_behind(|service| policy.targets(service));
            Some((name, policy, ports))
        })
        .collect();
    let applied = policies.iter().map(|(name, policy, ports)| Applied {
        namespace: &name.namespace,
        name: &name.name,
        spec: &policy.spec,
        ports,
    });
    access::access(index.default_access, applied)
}

/// What becomes of a policy at each Service, or in its namespace.
pub(super) fn finding(
    index: &Index,
    pods: &Pods,
    accounts: &BTreeMap<Name, Account>,
    name: &Name,
) -> Option<Finding> {
    let policy = index.access.get(name)?;
    let workloads = |service: Option<&str>| -> Vec<ResourceName> {
        let behind = |account: &Account| {
            service.is_none_or(|it| !account.ports_behind(|name| name == it).is_empty())
        };
        within(accounts, &name.namespace)
            .filter(|account| accounts.get(*account).is_some_and(behind))
            .map(|account| ResourceName::workload(&pods.account(account)))
            .collect()
    };
    let attachment = |kind: &str, target: &str, service: Option<&str>| Attachment {
        target: TargetRef {
            group: String::new(),
            kind: kind.into(),
            namespace: None,
            name: target.into(),
            section_name: None,
            port: None,
        },
        accepted: accepted(index, policy, name, service),
        resolved: Verdict::Good,
        resources: workloads(service),
    };
    let attachments = if policy.is_for_all() {
        vec![attachment("Namespace", &name.namespace, None)]
    } else {
        let targets = policy.spec.target_refs.iter();
        let of_target = |name: &str| attachment("Service", name, Some(name));
        targets.map(|target| of_target(&target.name)).collect()
    };
    Some(Finding {
        uid: policy.uid.clone(),
        generation: policy.generation,
        attachments,
    })
}

fn accepted(index: &Index, policy: &Access, name: &Name, service: Option<&str>) -> Verdict {
    if !policy.problems.is_empty() {
        let problems: Vec<_> = policy.problems.iter().map(ToString::to_string).collect();
        let message = format!(
            "the rules at fault allow nothing, the others count: {}",
            problems.join("; ")
        );
        let reason = "Invalid";
        return route::verdict(Err(Unresolved { reason, message }));
    }
    match service {
        Some(service) => reach::of_service(index, &Name::new(name.namespace.clone(), service)),
        None => reach::of_namespace(index, &name.namespace),
    }
}
