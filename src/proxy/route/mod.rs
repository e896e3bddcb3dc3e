//! Which route a request takes: a service's routes compiled into an immutable table, with the
//! Gateway API's precedence. It decides and edits heads; sending is left to others.
//!
//! Precedence, each step deciding only where the ones before are equal
//! (<https://gateway-api.sigs.k8s.io/reference/spec/#httprouterule>):
//!
//! 1. hostname: exact, then the longest wildcard, then routes without a hostname. A request that
//!    no rule of the best hostname matches goes on to the next one;
//! 2. path: exact (and gRPC service with method); regular expressions, longer pattern first (the
//!    specification leaves their rank open: behind prefixes, a rule for `/` would hide them all);
//!    prefixes, longest first (and gRPC service without method); gRPC method without service;
//!    `/` and no path at all;
//! 3. a method match; 4. more header matches; 5. more query matches; 6. the order given.
//!
//! **Bytes.** Paths, queries and header values are compared exactly as they are forwarded: no
//! percent-decoding, no dot segments resolved, no slashes merged. What a rule saw is what the
//! application gets. Nothing is refused here; see [`crate::proxy::head::validate`].
//!
//! **Cost.** Hostnames, exact paths and prefixes are looked up, not searched: a thousand routes
//! cost what one does. Only regular expressions, and rules that share a path, are tried in turn.

mod compile;
mod error;
mod filter;
mod index;
mod pattern;
mod redirect;
mod rewrite;
mod rule;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use http::request::Parts;

pub use error::{Problem, RouteError};
pub use filter::{Filters, HeaderEdits, MirrorRule};
pub use redirect::{Listener, RedirectRule, Scheme};
pub use rewrite::TargetTooLong;
pub use rule::{BackendRule, Choice, RouteRule};

use crate::discovery::model::Service;
use index::HostIndex;
use pattern::Conditions;

/// The compiled routes of one service port. Built once per configuration change.
#[derive(Debug, Default)]
pub struct RouteTable {
    rules: Vec<RouteRule>,
    matches: Vec<CompiledMatch>,
    exact_hosts: HashMap<Box<str>, HostIndex>,
    /// By what follows the `*`, its dot included.
    wildcard_hosts: HashMap<Box<str>, HostIndex>,
    any_host: HostIndex,
}

/// One match of one rule; the indexes point at these.
#[derive(Debug)]
struct CompiledMatch {
    rule: u32,
    conditions: Conditions,
}

/// The rule that a request takes.
#[derive(Clone, Copy, Debug)]
pub struct Selected<'t> {
    pub rule: &'t RouteRule,
    /// Bytes of the path that a prefix match matched, without a trailing slash.
    pub(crate) prefix: usize,
}

impl RouteTable {
    /// The routes of a service as they are for clients in `namespace`.
    ///
    /// # Errors
    /// Every fault found, each with its route and field: nothing is dropped silently.
    pub fn compile(service: &Service, namespace: &str) -> Result<Self, Vec<RouteError>> {
        compile::compile(compile::for_clients_in(namespace, &service.routes))
    }

    /// Whether the service has no routes, so that everything goes to its own endpoints. In a
    /// table that is not empty, a request without a match is answered 404.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rules in the order given; [`RouteRule::index`] is the place in it.
    pub fn rules(&self) -> &[RouteRule] {
        &self.rules
    }

    /// The best rule for a request; its host is the URI's authority, else the `Host` header.
    pub fn find(&self, request: &Parts) -> Option<Selected<'_>> {
        self.find_for_host(crate::proxy::head::host(request).unwrap_or(""), request)
    }

    fn find_for_host(&self, authority: &str, request: &Parts) -> Option<Selected<'_>> {
        let search = |index: &HostIndex| {
            index.find(request.uri.path(), |id| {
                self.matches[id as usize].conditions.hold(request)
            })
        };
        let named = (!self.exact_hosts.is_empty() || !self.wildcard_hosts.is_empty())
            .then(|| HostName::read(authority))
            .flatten()
            .and_then(|host| {
                let exact = self.exact_hosts.get(host.as_str()).and_then(&search);
                exact.or_else(|| self.find_wildcard(host.as_str(), search))
            });
        let (id, prefix) = named.or_else(|| search(&self.any_host))?;
        let rule = &self.rules[self.matches[id as usize].rule as usize];
        Some(Selected { rule, prefix })
    }

    /// `*.shop` matches `a.shop` and `a.b.shop`, not `shop`: the longest that has a match.
    fn find_wildcard<T>(&self, host: &str, search: impl Fn(&HostIndex) -> Option<T>) -> Option<T> {
        if self.wildcard_hosts.is_empty() {
            return None;
        }
        host.match_indices('.')
            .filter(|(at, _)| *at > 0)
            .find_map(|(at, _)| self.wildcard_hosts.get(&host[at..]).and_then(&search))
    }
}

/// A host in lower case without port and without a root dot, on the stack.
struct HostName {
    bytes: [u8; Self::MAX],
    len: usize,
}

impl HostName {
    /// The longest name that DNS allows; a longer host matches no hostname.
    const MAX: usize = 253;

    fn read(authority: &str) -> Option<Self> {
        let host = crate::proxy::head::without_port(authority);
        let host = host.strip_suffix('.').unwrap_or(host);
        let mut bytes = [0; Self::MAX];
        bytes
            .get_mut(..host.len())?
            .copy_from_slice(host.as_bytes());
        bytes.make_ascii_lowercase();
        Some(Self {
            bytes,
            len: host.len(),
        })
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).expect("ASCII case keeps UTF-8 valid")
    }
}
