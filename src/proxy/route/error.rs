//! What can be wrong with a route, in words for the one who wrote it.

use std::{fmt, sync::Arc};

use crate::discovery::validate::syntax::BadPattern;

/// A fault in one field of one route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("route {route}: {field}: {problem}")]
pub struct RouteError {
    pub route: Arc<str>,
    /// For example `matches[0].path.regex`.
    pub field: String,
    pub problem: Problem,
}

/// What is wrong, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error(transparent)]
    Pattern(#[from] BadPattern),
    #[error("{0:?} is not a header name")]
    HeaderName(String),
    #[error("{0:?} cannot be a header's value: visible ASCII, spaces and tabs only")]
    HeaderValue(String),
    #[error("{0} belongs to the connection and cannot be edited by a route{1}")]
    ProtectedHeader(String, &'static str),
    #[error("{0:?} is not an HTTP method")]
    Method(String),
    #[error("{0:?} is not a hostname: write cart.shop or *.shop, without scheme and port")]
    Hostname(String),
    #[error("{0:?} is not a path: it starts with / and has no ?, # or space")]
    Path(String),
    #[error("a match has either a path or a gRPC method, not both")]
    PathAndGrpc,
    #[error("a gRPC match names a service, a method or both")]
    EmptyGrpc,
    #[error("a prefix can be replaced only where every match of the rule is a path prefix")]
    PrefixRewriteWithoutPrefix,
    #[error("{0} is not a redirect status: use 301, 302, 303, 307 or 308")]
    RedirectStatus(u16),
    #[error("{0:?} is not a scheme to redirect to: use http or https")]
    RedirectScheme(String),
    #[error("port 0 cannot be connected to")]
    PortZero,
    #[error("{0} is not a percentage: use 0 to 100")]
    Percent(String),
    #[error("this filter may be given once only: merge the two")]
    DuplicateFilter,
    #[error("a rule that redirects sends nothing on: remove the rewrite or the redirect")]
    RedirectAndRewrite,
    #[error("a redirect answers for the whole rule: move it from the backend to the rule")]
    RedirectInBackend,
    #[error("one try may not take longer than the whole request: lower it to the request timeout")]
    BackendTimeoutAboveRequest,
}

/// Collects the faults of one route.
pub(super) struct Faults<'a> {
    pub route: &'a Arc<str>,
    pub found: &'a mut Vec<RouteError>,
}

impl Faults<'_> {
    pub fn add(&mut self, field: impl fmt::Display, problem: Problem) {
        self.found.push(RouteError {
            route: self.route.clone(),
            field: field.to_string(),
            problem,
        });
    }

    /// The value, or nothing and the fault noted.
    pub fn note<T>(&mut self, field: impl fmt::Display, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.add(field, problem)).ok()
    }
}
