//! Changes to a request's path and host.

use http::{
    HeaderValue, Uri,
    header::HOST,
    request::Parts,
    uri::{Authority, PathAndQuery},
};

use super::error::Problem;
use crate::discovery::{model::PathRewrite, validate::syntax};

/// As long as `http` lets a parsed URI be; of one made from parts it does not look at the length.
const MAX_TARGET_BYTES: usize = u16::MAX as usize - 1;

/// A rewrite made the target longer than a URI can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rewritten path is longer than a URI can be: shorten the route's replacement")]
pub struct TargetTooLong;

#[derive(Debug)]
pub(super) enum PathRule {
    Full(Box<str>),
    /// Without a trailing slash.
    Prefix(Box<str>),
}

impl PathRule {
    pub fn compile(rewrite: &PathRewrite) -> Result<Self, Problem> {
        Ok(match rewrite {
            PathRewrite::Full(path) => Self::Full(self::path(path)?.into()),
            PathRewrite::Prefix(prefix) if prefix.is_empty() => Self::Prefix("".into()),
            PathRewrite::Prefix(prefix) => Self::Prefix(without_slash(path(prefix)?).into()),
        })
    }

    /// The new path; `prefix` bytes of the old one were matched.
    pub fn rewrite(&self, path: &str, prefix: usize) -> String {
        match self {
            Self::Full(full) => full.to_string(),
            Self::Prefix(replacement) => {
                // Empty, or from the slash on after the matched elements.
                let rest = path.get(prefix..).unwrap_or("");
                match (&**replacement, rest) {
                    ("", "") => "/".to_owned(),
                    (replacement, rest) => [replacement, rest].concat(),
                }
            }
        }
    }

    /// The query stays as it is.
    pub fn apply(&self, request: &mut Parts, prefix: usize) -> Result<(), TargetTooLong> {
        let target = with_query(self.rewrite(request.uri.path(), prefix), &request.uri);
        if target.len() > MAX_TARGET_BYTES {
            return Err(TargetTooLong);
        }
        let target = PathAndQuery::try_from(target).map_err(|_| TargetTooLong)?;
        let mut uri = std::mem::take(&mut request.uri).into_parts();
        uri.path_and_query = Some(target);
        request.uri = Uri::from_parts(uri).expect("only the path of a valid URI was replaced");
        Ok(())
    }
}

pub(super) fn with_query(mut path: String, uri: &Uri) -> String {
    if let Some(query) = uri.query() {
        path.push('?');
        path.push_str(query);
    }
    path
}

/// Replaces the host wherever the request names one.
pub(super) fn set_host(request: &mut Parts, host: &Authority) {
    if request.uri.authority().is_some() {
        let mut uri = std::mem::take(&mut request.uri).into_parts();
        uri.authority = Some(host.clone());
        request.uri = Uri::from_parts(uri).expect("only the host of a valid URI was replaced");
    }
    if request.uri.authority().is_none() || request.headers.contains_key(HOST) {
        let host = HeaderValue::from_str(host.as_str()).expect("a hostname is visible ASCII");
        request.headers.insert(HOST, host);
    }
}

/// A path as it may be sent: from a slash on, no query, no fragment.
pub(super) fn path(text: &str) -> Result<&str, Problem> {
    syntax::is_path(text)
        .then_some(text)
        .ok_or_else(|| Problem::Path(text.to_owned()))
}

/// `/a/` and `/a` match the same (Gateway API, PathMatchPathPrefix).
pub(super) fn without_slash(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

/// A DNS name without a wildcard, in lower case.
pub(super) fn hostname(text: &str) -> Result<Authority, Problem> {
    let host = syntax::is_dns_name(text).then(|| text.to_ascii_lowercase());
    host.and_then(|host| Authority::try_from(host).ok())
        .ok_or_else(|| Problem::Hostname(text.to_owned()))
}
