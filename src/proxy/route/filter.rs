//! Filters, compiled: what can be checked when they are configured is not checked per request.

use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts, uri::Authority};

use super::{
    error::{Faults, Problem},
    redirect::RedirectRule,
    rewrite::{self, PathRule},
};
use crate::discovery::{
    model::{Filter, HeaderEdit, Mirror, Rewrite, ServiceKey},
    validate::syntax::is_protected,
};

/// The filters of a rule or of a backend.
#[derive(Debug, Default)]
pub struct Filters {
    pub request: HeaderEdits,
    pub response: HeaderEdits,
    pub redirect: Option<RedirectRule>,
    pub mirrors: Vec<MirrorRule>,
    path: Option<PathRule>,
    host: Option<Authority>,
}

/// Whose filters they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Rule,
    Backend,
}

impl Filters {
    pub(super) fn compile(
        field: &str,
        filters: &[Filter],
        place: Place,
        faults: &mut Faults<'_>,
    ) -> Self {
        let mut result = Self::default();
        let mut seen = Vec::new();
        for (at, filter) in filters.iter().enumerate() {
            let field = format!("{field}[{at}]");
            let kind = std::mem::discriminant(filter);
            if seen.contains(&kind) && !matches!(filter, Filter::Mirror(_)) {
                faults.add(&field, Problem::DuplicateFilter);
            }
            seen.push(kind);
            result.add(&field, filter, place, faults);
        }
        if result.redirect.is_some() && (result.path.is_some() || result.host.is_some()) {
            faults.add(field, Problem::RedirectAndRewrite);
        }
        result
    }

    fn add(&mut self, field: &str, filter: &Filter, place: Place, faults: &mut Faults<'_>) {
        match filter {
            Filter::RequestHeaders(edit) => {
                self.request = HeaderEdits::compile(field, edit, faults)
            }
            Filter::ResponseHeaders(edit) => {
                self.response = HeaderEdits::compile(field, edit, faults);
            }
            Filter::Redirect(_) if place == Place::Backend => {
                faults.add(field, Problem::RedirectInBackend);
            }
            Filter::Redirect(redirect) => {
                self.redirect = Some(RedirectRule::compile(field, redirect, faults));
            }
            Filter::Rewrite(Rewrite { hostname, path }) => {
                let host = hostname.as_deref().map(rewrite::hostname);
                self.host = host.and_then(|host| faults.note(format!("{field}.hostname"), host));
                let path = path.as_ref().map(PathRule::compile);
                self.path = path.and_then(|path| faults.note(format!("{field}.path"), path));
            }
            Filter::Mirror(mirror) => {
                let mirror = MirrorRule::compile(mirror);
                self.mirrors
                    .extend(faults.note(format!("{field}.percent"), mirror));
            }
        }
    }

    pub(super) fn rewritten_path(&self) -> Option<&PathRule> {
        self.path.as_ref()
    }

    /// The host and the headers; the path needs to know what was matched.
    pub(super) fn apply_request(&self, request: &mut Parts) {
        if let Some(host) = &self.host {
            rewrite::set_host(request, host);
        }
        self.request.apply(&mut request.headers);
    }

    pub(super) fn apply_response(&self, headers: &mut HeaderMap) {
        self.response.apply(headers);
    }
}

#[derive(Debug, Default)]
pub struct HeaderEdits {
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
    remove: Vec<HeaderName>,
}

impl HeaderEdits {
    fn compile(field: &str, edit: &HeaderEdit, faults: &mut Faults<'_>) -> Self {
        let mut pairs = |list: &str, pairs: &[(String, String)]| {
            let pair = |(at, (name, value)): (usize, &(String, String))| {
                let field = format!("{field}.{list}[{at}]");
                let name = faults.note(&field, editable(name));
                let value =
                    HeaderValue::from_str(value).map_err(|_| Problem::HeaderValue(value.clone()));
                name.zip(faults.note(&field, value))
            };
            pairs.iter().enumerate().filter_map(pair).collect()
        };
        let (set, add) = (pairs("set", &edit.set), pairs("add", &edit.add));
        let remove =
            edit.remove.iter().enumerate().filter_map(|(at, name)| {
                faults.note(format!("{field}.remove[{at}]"), editable(name))
            });
        Self {
            set,
            add,
            remove: remove.collect(),
        }
    }

    /// Sets, then adds, then removes.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
        for name in &self.remove {
            headers.remove(name);
        }
    }
}

fn editable(name: &str) -> Result<HeaderName, Problem> {
    let parsed = HeaderName::from_bytes(name.as_bytes());
    let parsed = parsed.map_err(|_| Problem::HeaderName(name.to_owned()))?;
    if !is_protected(&parsed) {
        return Ok(parsed);
    }
    let hint = match parsed {
        header::HOST => ": use a URL rewrite with a hostname",
        _ => "",
    };
    Err(Problem::ProtectedHeader(parsed.to_string(), hint))
}

/// Sends a copy of some requests elsewhere.
#[derive(Debug)]
pub struct MirrorRule {
    pub service: ServiceKey,
    /// 0 to 1.
    share: f64,
}

impl MirrorRule {
    fn compile(mirror: &Mirror) -> Result<Self, Problem> {
        if !(0.0..=100.0).contains(&mirror.percent) {
            return Err(Problem::Percent(mirror.percent.to_string()));
        }
        Ok(Self {
            service: mirror.service.clone(),
            share: mirror.percent / 100.0,
        })
    }

    /// Whether this request is one of those to copy.
    pub fn wants(&self, rng: &mut fastrand::Rng) -> bool {
        rng.f64() < self.share
    }
}
