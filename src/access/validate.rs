//! Refuses rules that cannot mean what their author meant.

use super::policy::{Access, AccessPolicy, Operation, Path, Rule, Source};
use crate::{discovery::validate::Checker, identity::SpiffeId};

/// Reports every fault, each with its place.
pub fn check(c: &mut Checker, access: &Access) {
    c.each("policies", &access.policies, check_policy);
}

fn check_policy(c: &mut Checker, policy: &AccessPolicy) {
    c.require("name", !policy.name.is_empty(), || {
        "must not be empty: it names the policy in logs".into()
    });
    check_ports(c, &policy.ports);
    c.each("rules", &policy.rules, check_rule);
}

fn check_ports(c: &mut Checker, ports: &[u16]) {
    c.each("ports", ports, |c, port| {
        if *port == 0 {
            c.report("must be between 1 and 65535");
        }
    });
}

pub fn check_rule(c: &mut Checker, rule: &Rule) {
    c.require("from", !rule.from.is_empty(), || {
        "names nobody: write `from: [{anyone: true}]` to allow everyone".into()
    });
    c.each("from", &rule.from, check_source);
    c.each("to", &rule.to, check_operation);
}

fn check_source(c: &mut Checker, source: &Source) {
    let somebody = !source.service_accounts.is_empty()
        || !source.namespaces.is_empty()
        || source.authenticated
        || source.unauthenticated
        || source.anyone;
    if !somebody {
        c.report(
            "names nobody: write serviceAccounts, namespaces, authenticated: true, \
             unauthenticated: true or anyone: true",
        );
    }
    c.each("serviceAccounts", &source.service_accounts, |c, account| {
        let named = account
            .split_once('/')
            .is_some_and(|(namespace, name)| SpiffeId::new("any", namespace, name).is_ok());
        if !named {
            c.report(format!("{account:?} is not namespace/name"));
        }
    });
    c.each("namespaces", &source.namespaces, |c, namespace| {
        if SpiffeId::new("any", namespace, "any").is_err() {
            c.report(format!("{namespace:?} is not the name of a namespace"));
        }
    });
}

fn check_operation(c: &mut Checker, operation: &Operation) {
    check_ports(c, &operation.ports);
    c.each("methods", &operation.methods, |c, method| {
        let lower = method.bytes().any(|byte| byte.is_ascii_lowercase());
        if lower || method.parse::<http::Method>().is_err() {
            c.report(format!("{method:?} is not an HTTP method: write GET"));
        }
    });
    c.each("paths", &operation.paths, |c, path| {
        let (field, path) = match path {
            Path::Exact(path) => ("exact", path),
            Path::Prefix(path) => ("prefix", path),
        };
        c.field(field, |c| check_path(c, path));
    });
}

fn check_path(c: &mut Checker, path: &str) {
    if !path.starts_with('/') {
        c.report(format!("{path:?} does not begin with /"));
    }
    if path.contains("//") || path.split('/').any(|element| matches!(element, "." | "..")) {
        c.report(format!(
            "{path:?} holds //, /./ or /../, which no request is compared with"
        ));
    }
    let foreign = |c: char| "%?#;\\".contains(c) || c.is_whitespace() || c.is_control();
    if path.contains(foreign) {
        c.report(format!(
            "{path:?} must be written decoded and without query: it holds one of % ? # ; \\ or a space"
        ));
    }
}
