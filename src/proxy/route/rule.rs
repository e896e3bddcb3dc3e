//! What a rule does with the requests that match it.

use std::{rc::Rc, sync::Arc, time::Duration};

use http::{HeaderMap, request::Parts};

use super::{Filters, Selected, rewrite::TargetTooLong};
use crate::{discovery::model::ServiceKey, resilience::ResiliencePolicy};

/// One compiled rule.
#[derive(Debug)]
pub struct RouteRule {
    /// A metric label and the name of spans.
    pub name: Arc<str>,
    /// The place in [`RouteTable::rules`](super::RouteTable::rules), for state kept per rule.
    pub index: usize,
    pub filters: Filters,
    pub backends: Vec<BackendRule>,
    /// The whole exchange; never zero.
    pub request_timeout: Option<Duration>,
    /// One try; never zero, nor more than `request_timeout`.
    pub backend_timeout: Option<Duration>,
    /// In place of the service's.
    pub policy: Option<Rc<ResiliencePolicy>>,
    /// Of the backends, and of those that cannot be used.
    pub(super) total_weight: u64,
}

#[derive(Debug)]
pub struct BackendRule {
    pub service: ServiceKey,
    pub weight: u32,
    /// Applied after the rule's own.
    pub filters: Filters,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub enum Choice<'t> {
    /// The service that the routes are attached to.
    Parent,
    Backend(&'t BackendRule),
    /// No backend has a weight, or it fell to one that does not exist or may not be used:
    /// answered 500, as the Gateway API has it.
    NoBackend,
}

impl RouteRule {
    /// Chooses a backend by weight.
    pub fn pick_backend(&self, rng: &mut fastrand::Rng) -> Choice<'_> {
        let unresolved = self.total_weight > 0 && self.backends.is_empty();
        match &self.backends[..] {
            [] if !unresolved => Choice::Parent,
            _ if self.total_weight == 0 => Choice::NoBackend,
            [only] if self.total_weight == u64::from(only.weight) => Choice::Backend(only),
            several => {
                let mut left = rng.u64(..self.total_weight);
                let chosen = several.iter().find(|backend| {
                    let weight = u64::from(backend.weight);
                    let found = left < weight;
                    left = left.saturating_sub(weight);
                    found
                });
                chosen.map_or(Choice::NoBackend, Choice::Backend)
            }
        }
    }
}

impl Selected<'_> {
    /// Edits a request by the rule's filters, then by the backend's.
    ///
    /// # Errors
    /// When the rewritten target is longer than a URI can be (65,534 bytes): answered 414.
    pub fn apply_request(
        &self,
        backend: Option<&BackendRule>,
        request: &mut Parts,
    ) -> Result<(), TargetTooLong> {
        // Both path rewrites speak of the path as it was matched, so at most one takes place.
        let backend = backend.map(|backend| &backend.filters);
        let backend_path = backend.and_then(|filters| filters.rewritten_path());
        let path = backend_path.or_else(|| self.rule.filters.rewritten_path());
        if let Some(path) = path {
            path.apply(request, self.prefix)?;
        }
        self.rule.filters.apply_request(request);
        if let Some(filters) = backend {
            filters.apply_request(request);
        }
        Ok(())
    }

    /// Edits a response by the backend's filters, then by the rule's.
    pub fn apply_response(&self, backend: Option<&BackendRule>, headers: &mut HeaderMap) {
        if let Some(backend) = backend {
            backend.filters.apply_response(headers);
        }
        self.rule.filters.apply_response(headers);
    }

    /// The answer of a rule that redirects. `None` where the rule sends requests on.
    pub fn redirect(
        &self,
        request: &Parts,
        listener: super::Listener,
    ) -> Option<http::Response<()>> {
        let redirect = self.rule.filters.redirect.as_ref()?;
        Some(redirect.response(request, self.prefix, listener))
    }
}
