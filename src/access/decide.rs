//! The decision: compiled once for each change of the rules, it allocates nothing for an ordinary
//! request.

use std::{
    borrow::Cow,
    cell::OnceCell,
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use http::Method;

use super::{
    path,
    policy::{Access, AccessPolicy, Mode, Operation, Otherwise, Path, Rule, Source},
};
use crate::identity::SpiffeId;

/// One request or one opaque connection.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Who the caller proved to be; none in plaintext.
    pub caller: Option<&'a SpiffeId>,
    /// The workload's own port.
    pub port: u16,
    /// None for an opaque connection.
    pub http: Option<Http<'a>>,
}

#[derive(Clone, Copy, Debug)]
pub struct Http<'a> {
    pub method: &'a Method,
    /// As it came, without the query.
    pub path: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    /// Passes because the policies that would refuse it only audit.
    Audited,
    Denied,
}

/// An [`Access`], ready to be asked.
#[derive(Debug, Default)]
pub struct Table {
    denies: bool,
    policies: Vec<Policy>,
}

#[derive(Debug)]
struct Policy {
    name: Arc<str>,
    enforces: bool,
    ports: BTreeSet<u16>,
    rules: Vec<CompiledRule>,
}

#[derive(Debug, Default)]
struct CompiledRule {
    accounts: HashSet<SpiffeId>,
    namespaces: HashSet<Box<str>>,
    authenticated: bool,
    unauthenticated: bool,
    to: Vec<CompiledOperation>,
}

#[derive(Debug)]
struct CompiledOperation {
    ports: BTreeSet<u16>,
    methods: Vec<Method>,
    paths: Vec<CompiledPath>,
}

#[derive(Debug)]
enum CompiledPath {
    Exact(Box<[u8]>),
    /// Without a slash at its end; the root is empty.
    Prefix(Box<[u8]>),
}

impl Table {
    /// Names in the rules are of `trust_domain`.
    pub fn compile(access: &Access, trust_domain: &str) -> Self {
        let policies = access.policies.iter();
        Self {
            denies: access.otherwise == Otherwise::Deny,
            policies: policies
                .map(|policy| Policy::compile(policy, trust_domain))
                .collect(),
        }
    }

    pub fn decide(&self, call: &Call<'_>) -> Verdict {
        // The path: read when the first rule asks, and for all of them.
        let read = Read::new();
        let (mut enforced, mut audited, mut passes_audit) = (false, false, false);
        for policy in self
            .policies
            .iter()
            .filter(|policy| policy.is_for(call.port))
        {
            let allows = policy.allows(call, &read);
            match (policy.enforces, allows) {
                (true, true) => return Verdict::Allowed,
                (true, false) => enforced = true,
                (false, allows) => {
                    audited = true;
                    passes_audit |= allows;
                }
            }
        }
        match (enforced || self.denies, audited && !passes_audit) {
            (true, _) => Verdict::Denied,
            (false, true) => Verdict::Audited,
            (false, false) => Verdict::Allowed,
        }
    }

    /// The policies that have a say about a port.
    pub fn policies(&self, port: u16) -> impl Iterator<Item = &Arc<str>> {
        let concerned = self
            .policies
            .iter()
            .filter(move |policy| policy.is_for(port));
        concerned.map(|policy| &policy.name)
    }
}

/// `None` inside: the path matches no rule.
type Read<'a> = OnceCell<Option<Cow<'a, [u8]>>>;

impl Policy {
    fn compile(policy: &AccessPolicy, trust_domain: &str) -> Self {
        let rules = policy.rules.iter();
        Self {
            name: policy.name.clone(),
            enforces: policy.mode == Mode::Enforce,
            ports: policy.ports.iter().copied().collect(),
            rules: rules
                .map(|rule| CompiledRule::compile(rule, trust_domain))
                .collect(),
        }
    }

    fn is_for(&self, port: u16) -> bool {
        self.ports.is_empty() || self.ports.contains(&port)
    }

    fn allows<'a>(&self, call: &Call<'a>, read: &Read<'a>) -> bool {
        self.rules.iter().any(|rule| rule.allows(call, read))
    }
}

impl CompiledRule {
    fn compile(rule: &Rule, trust_domain: &str) -> Self {
        let mut compiled = Self {
            to: rule.to.iter().map(CompiledOperation::compile).collect(),
            ..Self::default()
        };
        for source in &rule.from {
            compiled.add(source, trust_domain);
        }
        compiled
    }

    fn add(&mut self, source: &Source, trust_domain: &str) {
        let accounts = source.service_accounts.iter().filter_map(|account| {
            let (namespace, name) = account.split_once('/')?;
            SpiffeId::new(trust_domain, namespace, name).ok()
        });
        self.accounts.extend(accounts);
        let namespaces = source.namespaces.iter();
        self.namespaces
            .extend(namespaces.map(|name| name.as_str().into()));
        self.authenticated |= source.authenticated || source.anyone;
        self.unauthenticated |= source.unauthenticated || source.anyone;
    }

    fn allows<'a>(&self, call: &Call<'a>, read: &Read<'a>) -> bool {
        let from = match call.caller {
            None => self.unauthenticated,
            Some(caller) => {
                self.authenticated
                    || self.accounts.contains(caller)
                    || self.namespaces.contains(caller.namespace())
            }
        };
        from && (self.to.is_empty() || self.to.iter().any(|to| to.is(call, read)))
    }
}

impl CompiledOperation {
    fn compile(operation: &Operation) -> Self {
        let methods = operation.methods.iter();
        Self {
            ports: operation.ports.iter().copied().collect(),
            methods: methods.filter_map(|method| method.parse().ok()).collect(),
            paths: operation.paths.iter().map(CompiledPath::compile).collect(),
        }
    }

    fn is<'a>(&self, call: &Call<'a>, read: &Read<'a>) -> bool {
        if !self.ports.is_empty() && !self.ports.contains(&call.port) {
            return false;
        }
        if self.methods.is_empty() && self.paths.is_empty() {
            return true;
        }
        let Some(http) = call.http else {
            return false;
        };
        (self.methods.is_empty() || self.methods.contains(http.method))
            && (self.paths.is_empty() || self.paths.iter().any(|path| path.is(http, read)))
    }
}

impl CompiledPath {
    fn compile(path: &Path) -> Self {
        match path {
            Path::Exact(path) => Self::Exact(path.as_bytes().into()),
            Path::Prefix(path) => Self::Prefix(path.trim_end_matches('/').as_bytes().into()),
        }
    }

    fn is<'a>(&self, http: Http<'a>, read: &Read<'a>) -> bool {
        let path = || read.get_or_init(|| path::read(http.path)).as_deref();
        match self {
            Self::Prefix(root) if root.is_empty() => true,
            Self::Prefix(prefix) => path().is_some_and(|path| path::is_under(path, prefix)),
            Self::Exact(exact) => path() == Some(exact),
        }
    }
}
