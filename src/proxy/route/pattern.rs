//! The conditions of a match other than its path, and how texts and patterns are compared.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, Method, request::Parts};
use regex::bytes::Regex;

use super::error::Problem;
use crate::discovery::validate::syntax::full_match;

#[derive(Debug)]
pub(super) enum Text {
    Exact(Box<str>),
    Pattern(Regex),
}

impl Text {
    pub fn compile(value: &str, regex: bool) -> Result<Self, Problem> {
        Ok(match regex {
            true => Self::Pattern(full_match(value)?),
            false => Self::Exact(value.into()),
        })
    }

    fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(expected) => expected.as_bytes() == value,
            Self::Pattern(regex) => regex.is_match(value),
        }
    }
}

/// All must hold.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    pub method: Option<Method>,
    pub headers: Vec<(HeaderName, Text)>,
    pub query: Vec<(Box<str>, Text)>,
}

impl Conditions {
    pub fn hold(&self, request: &Parts) -> bool {
        self.method
            .as_ref()
            .is_none_or(|method| *method == request.method)
            && self.headers.iter().all(|(name, text)| {
                header_value(&request.headers, name).is_some_and(|value| text.matches(&value))
            })
            && self.query.iter().all(|(name, text)| {
                query_value(request.uri.query().unwrap_or(""), name)
                    .is_some_and(|value| text.matches(value.as_bytes()))
            })
    }
}

/// The lines of a header joined by `, ` (RFC 9110 5.3): were only one line looked at, a second
/// one could show the application a value that no rule has seen.
fn header_value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, [u8]>> {
    let mut lines = headers
        .get_all(name)
        .iter()
        .map(http::HeaderValue::as_bytes);
    let first = lines.next()?;
    let mut joined = Cow::Borrowed(first);
    for line in lines {
        let joined = joined.to_mut();
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(line);
    }
    Some(joined)
}

/// The first occurrence of a parameter, undecoded. One without `=` has the empty value.
fn query_value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find_map(|(key, value)| (key == name).then_some(value))
}
