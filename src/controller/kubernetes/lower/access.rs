//! From `AccessPolicy` objects to the rules that a workload's proxy enforces: pure.

use std::sync::Arc;

use crate::{
    access::{Access, AccessPolicy, Mode, Operation, Otherwise, Path, Rule, Source},
    controller::kubernetes::{
        api::access_policy::{self as api, AccessMode, AccessPath, AccessPolicySpec},
        config::DefaultAccess,
    },
    discovery::validate::{Checker, Problem},
};

/// A policy that is for a workload.
#[derive(Clone, Copy, Debug)]
pub struct Applied<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub spec: &'a AccessPolicySpec,
    /// The workload's own ports behind the Services that the policy targets. Without a meaning
    /// where it targets none, and so is for the whole namespace.
    pub ports: &'a [u16],
}

/// The rules of a workload with these policies; `None` where everyone may do everything.
///
/// A policy for Services is for the ports behind them only: pods that share a service account
/// share an identity, and a policy for one Service must not close the ports of another.
pub fn access<'a>(
    default: DefaultAccess,
    policies: impl IntoIterator<Item = Applied<'a>>,
) -> Option<Access> {
    let otherwise = match default {
        DefaultAccess::Allow => Otherwise::Allow,
        DefaultAccess::Deny => Otherwise::Deny,
    };
    let policies = policies.into_iter();
    let of_namespace = |policy: &Applied<'_>| policy.spec.target_refs.is_empty();
    // Without ports it would be for all of them.
    let policies = policies.filter(|policy| of_namespace(policy) || !policy.ports.is_empty());
    let mut policies: Vec<_> = policies.map(|policy| lower(&policy)).collect();
    // So that one state of the cluster has one form, whatever the order of its changes.
    policies.sort_by(|a, b| a.name.cmp(&b.name));
    (otherwise == Otherwise::Deny || !policies.is_empty()).then_some(Access {
        otherwise,
        policies,
    })
}

/// What is wrong with a policy that the API server let through, by an older schema for example.
/// The rules at fault are left out of what is enforced, and so allow nothing.
pub fn problems(namespace: &str, spec: &AccessPolicySpec) -> Vec<Problem> {
    let mut c = Checker::new();
    for (n, rule) in spec.rules.iter().enumerate() {
        c.field(&format!("spec.rules[{n}]"), |c| {
            crate::access::check_rule(c, &lower_rule(namespace, rule));
        });
    }
    c.finish()
}

fn lower(policy: &Applied<'_>) -> AccessPolicy {
    let Applied {
        namespace,
        name,
        spec,
        ports,
    } = *policy;
    let rules = spec.rules.iter().map(|rule| lower_rule(namespace, rule));
    let mut ports = match spec.target_refs.is_empty() {
        true => Vec::new(),
        false => ports.to_vec(),
    };
    ports.sort_unstable();
    ports.dedup();
    AccessPolicy {
        name: Arc::from(format!("{namespace}/{name}")),
        mode: match spec.mode {
            AccessMode::Enforce => Mode::Enforce,
            AccessMode::Audit => Mode::Audit,
        },
        ports,
        rules: rules.filter(is_valid).collect(),
    }
}

fn is_valid(rule: &Rule) -> bool {
    let mut c = Checker::new();
    crate::access::check_rule(&mut c, rule);
    c.finish().is_empty()
}

fn lower_rule(namespace: &str, rule: &api::AccessRule) -> Rule {
    Rule {
        from: rule
            .from
            .iter()
            .map(|from| source(namespace, from))
            .collect(),
        to: rule.to.iter().map(operation).collect(),
    }
}

fn source(namespace: &str, source: &api::Source) -> Source {
    let qualified = |account: &String| match account.contains('/') {
        true => account.clone(),
        false => format!("{namespace}/{account}"),
    };
    Source {
        service_accounts: source.service_accounts.iter().map(qualified).collect(),
        namespaces: source.namespaces.clone(),
        authenticated: source.authenticated,
        unauthenticated: source.unauthenticated,
        anyone: source.anyone,
    }
}

fn operation(operation: &api::Operation) -> Operation {
    let path = |path: &AccessPath| match path {
        AccessPath::Exact(path) => Path::Exact(path.clone()),
        AccessPath::Prefix(path) => Path::Prefix(path.clone()),
    };
    Operation {
        ports: operation.ports.clone(),
        methods: operation.methods.clone(),
        paths: operation.paths.iter().map(path).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(json: serde_json::Value) -> AccessPolicySpec {
        serde_json::from_value(json).expect("a spec")
    }

    fn applied<'a>(name: &'a str, spec: &'a AccessPolicySpec, ports: &'a [u16]) -> Applied<'a> {
        Applied {
            namespace: "shop",
            name,
            spec,
            ports,
        }
    }

    #[test]
    fn nothing_said_is_nothing_enforced() {
        assert_eq!(access(DefaultAccess::Allow, []), None);
        let denied = access(DefaultAccess::Deny, []).expect("something is");
        assert_eq!(denied.otherwise, Otherwise::Deny);
    }

    #[test]
    fn a_policy_for_services_is_for_the_ports_behind_them() {
        let targeted = spec(json!({"targetRefs": [{"kind": "Service", "name": "cart"}]}));
        let of_namespace = spec(json!({}));
        let policies = [
            applied("b", &of_namespace, &[]),
            applied("a", &targeted, &[9090, 8080, 9090]),
            applied("no-ports", &targeted, &[]),
        ];
        let access = access(DefaultAccess::Allow, policies).expect("something is");
        let ports: Vec<_> = access
            .policies
            .iter()
            .map(|p| (&*p.name, &p.ports[..]))
            .collect();
        let expected: [(&str, &[u16]); 2] = [("shop/a", &[8080, 9090]), ("shop/b", &[])];
        assert_eq!(ports, expected);
    }

    #[test]
    fn an_account_without_a_namespace_is_of_the_policys() {
        let spec = spec(json!({"rules": [{
            "from": [{"serviceAccounts": ["web", "bank/teller"], "namespaces": ["ops"]}],
            "to": [{"ports": [80], "methods": ["GET"], "paths": [{"prefix": "/a"}, {"exact": "/b"}]}],
        }]}));
        assert_eq!(problems("shop", &spec), []);
        let access =
            access(DefaultAccess::Allow, [applied("p", &spec, &[])]).expect("something is");
        let rule = &access.policies[0].rules[0];
        assert_eq!(rule.from[0].service_accounts, ["shop/web", "bank/teller"]);
        assert_eq!(rule.from[0].namespaces, ["ops"]);
        let to = Operation {
            ports: vec![80],
            methods: vec!["GET".into()],
            paths: vec![Path::Prefix("/a".into()), Path::Exact("/b".into())],
        };
        assert_eq!(rule.to, [to]);
    }

    #[test]
    fn a_rule_at_fault_allows_nothing_and_is_named() {
        let spec = spec(json!({"rules": [
            {"from": [{}]},
            {"from": [{"anyone": true}], "to": [{"paths": [{"prefix": "/a/../b"}]}]},
            {"from": [{"anyone": true}], "to": [{"ports": [80]}]},
        ]}));
        let access =
            access(DefaultAccess::Allow, [applied("p", &spec, &[])]).expect("something is");
        assert_eq!(access.policies[0].rules.len(), 1);
        let fields: Vec<_> = problems("shop", &spec)
            .into_iter()
            .map(|p| p.field)
            .collect();
        assert_eq!(
            fields,
            [
                "spec.rules[0].from[0]",
                "spec.rules[1].to[0].paths[0].prefix"
            ]
        );
    }
}
