//! `HTTPRoute`, translated.

use std::sync::Arc;

use super::{
    Backend, Retry, Rule,
    filters::{edit, mirror, reference, unsupported, values},
    read_route,
};
use crate::{
    controller::kubernetes::{
        api::http_route::{
            self as api, HttpBackend, HttpFilter, HttpMatch, HttpRoute, HttpRule, PathModifier,
        },
        lower::{object::Object, read::Read},
    },
    discovery::{
        model::{
            self, Filter, PathMatch, PathRewrite, Redirect, Rewrite, RouteMatch, RouteTimeouts,
        },
        validate::Checker,
    },
    units,
};

impl Read for HttpRoute {
    fn read(&self) -> Option<Object> {
        Some(Object::HttpRoute(read_route(
            &self.metadata,
            &self.spec.parent_refs,
            &self.spec.rules,
            |rule| rule.name.as_deref(),
            read_rule,
        )))
    }
}

fn read_rule(c: &mut Checker, namespace: &str, name: Arc<str>, rule: &HttpRule) -> Rule {
    let mut result = Rule {
        template: model::Route {
            name,
            timeouts: timeouts(c, rule),
            ..Default::default()
        },
        backends: Vec::new(),
        mirrors: Vec::new(),
        retry: retry(c, rule),
    };
    c.each("matches", &rule.matches, |c, a_match| {
        result.template.matches.push(read_match(c, a_match));
    });
    c.each("filters", &rule.filters, |c, filter| {
        match filter.kind.as_str() {
            "RequestMirror" => {
                let mirror = mirror(namespace, filter.request_mirror.as_ref());
                result.mirrors.extend(mirror);
            }
            _ => result.template.filters.extend(read_filter(c, filter)),
        }
    });
    c.each("backendRefs", &rule.backend_refs, |c, backend| {
        result.backends.push(read_backend(c, namespace, backend));
    });
    if rule.session_persistence.is_some() {
        c.field("sessionPersistence", |c| unsupported(c, "it"));
    }
    result
}

fn read_match(c: &mut Checker, a_match: &HttpMatch) -> RouteMatch {
    let path = a_match.path.as_ref().map(|path| {
        let value = path.value.clone().unwrap_or_else(|| "/".into());
        match path.kind.as_deref() {
            Some("Exact") => PathMatch::Exact(value),
            None | Some("PathPrefix") => PathMatch::Prefix(value),
            other => {
                if other != Some("RegularExpression") {
                    let reason = "use Exact, PathPrefix or RegularExpression";
                    c.field("path.type", |c| c.report(reason));
                }
                PathMatch::Regex(value)
            }
        }
    });
    RouteMatch {
        path,
        headers: values(c, "headers", &a_match.headers),
        query: values(c, "queryParams", &a_match.query_params),
        method: a_match.method.clone(),
        grpc: None,
    }
}

fn read_filter(c: &mut Checker, filter: &HttpFilter) -> Option<Filter> {
    Some(match filter.kind.as_str() {
        "RequestHeaderModifier" => {
            Filter::RequestHeaders(edit(filter.request_header_modifier.as_ref()))
        }
        "ResponseHeaderModifier" => {
            Filter::ResponseHeaders(edit(filter.response_header_modifier.as_ref()))
        }
        "RequestRedirect" => Filter::Redirect(redirect(filter.request_redirect.as_ref()?)),
        "URLRewrite" => Filter::Rewrite(Rewrite {
            hostname: filter.url_rewrite.as_ref()?.hostname.clone(),
            path: path(filter.url_rewrite.as_ref()?.path.as_ref()),
        }),
        other => {
            unsupported(c, &format!("the filter {other}"));
            return None;
        }
    })
}

fn redirect(redirect: &api::Redirect) -> Redirect {
    Redirect {
        scheme: redirect.scheme.clone(),
        hostname: redirect.hostname.clone(),
        port: redirect.port,
        path: path(redirect.path.as_ref()),
        status: redirect.status_code,
    }
}

fn path(modifier: Option<&PathModifier>) -> Option<PathRewrite> {
    let modifier = modifier?;
    // An empty replacement leaves the slash.
    let rooted = |path: &String| match path.as_str() {
        "" => "/".to_owned(),
        _ => path.clone(),
    };
    let full = modifier.replace_full_path.as_ref().map(rooted);
    let prefix = modifier.replace_prefix_match.as_ref().map(rooted);
    full.map(PathRewrite::Full)
        .or(prefix.map(PathRewrite::Prefix))
}

fn read_backend(c: &mut Checker, namespace: &str, backend: &HttpBackend) -> Backend {
    let mut filters = Vec::new();
    c.each("filters", &backend.filters, |c, filter| {
        match filter.kind.as_str() {
            "RequestMirror" => unsupported(c, "RequestMirror on a backend"),
            _ => filters.extend(read_filter(c, filter)),
        }
    });
    Backend {
        to: reference(namespace, &backend.to),
        weight: backend.to.weight.unwrap_or(1),
        filters,
    }
}

fn timeouts(c: &mut Checker, rule: &HttpRule) -> RouteTimeouts {
    let mut parse = |field: &str, text: Option<&String>| {
        let parsed = text.map(|text| units::duration::parse(text)).transpose();
        parsed.unwrap_or_else(|reason| {
            c.field(field, |c| c.report(reason));
            None
        })
    };
    let timeouts = rule.timeouts.as_ref();
    RouteTimeouts {
        request: parse(
            "timeouts.request",
            timeouts.and_then(|t| t.request.as_ref()),
        ),
        backend_request: parse(
            "timeouts.backendRequest",
            timeouts.and_then(|t| t.backend_request.as_ref()),
        ),
    }
}

fn retry(c: &mut Checker, rule: &HttpRule) -> Option<Retry> {
    let retry = rule.retry.as_ref()?;
    if retry.backoff.is_some() {
        c.field("retry.backoff", |c| unsupported(c, "it"));
    }
    Some(Retry {
        attempts: retry.attempts,
        statuses: retry.codes.clone(),
    })
}
