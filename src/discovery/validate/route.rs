//! The rules for routes. What passes here compiles in every proxy: a test there holds the two
//! together, since a service whose routes do not compile keeps its old ones.

use super::{Checker, check_policy, syntax};
use crate::discovery::model::{
    Backend, Filter, GrpcMethodMatch, HeaderEdit, PathMatch, PathRewrite, Redirect, Rewrite, Route,
    RouteMatch, ValueMatch,
};

pub fn check_route(c: &mut Checker, route: &Route) {
    c.require("name", !route.name.is_empty(), || {
        "must not be empty: it names the route in metrics and spans".into()
    });
    c.each("hostnames", &route.hostnames, |c, hostname| {
        check_hostname(c, hostname);
    });
    c.each("matches", &route.matches, check_match);
    check_filters(c, &route.filters);
    c.each("backends", &route.backends, |c, backend: &Backend| {
        check_filters(c, &backend.filters);
        let redirects = |filter: &Filter| matches!(filter, Filter::Redirect(_));
        c.require("filters", !backend.filters.iter().any(redirects), || {
            "a redirect answers for the whole rule: move it from the backend to the rule".into()
        });
    });
    c.require(
        "filters",
        !replaces_prefix(route) || route.matches.iter().all(is_prefix),
        || "a prefix can be replaced only where every match of the rule is a path prefix".into(),
    );
    c.field("timeouts", |c| check_route_timeouts(c, route));
    if let Some(policy) = &route.policy {
        c.field("policy", |c| check_policy(c, policy));
    }
}

fn check_route_timeouts(c: &mut Checker, route: &Route) {
    let timeouts = &route.timeouts;
    if let (Some(request), Some(backend)) = (timeouts.request, timeouts.backend_request) {
        // The Gateway API reads a request timeout of zero as none.
        c.require(
            "backendRequest",
            request.is_zero() || backend <= request,
            || "must not be longer than request".into(),
        );
    }
}

/// Every kind of filter but mirrors is there once, and what redirects sends nothing on.
fn check_filters(c: &mut Checker, filters: &[Filter]) {
    c.each("filters", filters, check_filter);
    let mut seen = Vec::new();
    c.each("filters", filters, |c, filter| {
        let kind = std::mem::discriminant(filter);
        if seen.contains(&kind) && !matches!(filter, Filter::Mirror(_)) {
            c.report("this filter may be given once only: merge the two");
        }
        seen.push(kind);
    });
    let redirects = filters.iter().any(|f| matches!(f, Filter::Redirect(_)));
    let rewrites = filters.iter().any(|f| matches!(f, Filter::Rewrite(_)));
    c.require("filters", !(redirects && rewrites), || {
        "a rule that redirects sends nothing on: remove the rewrite or the redirect".into()
    });
}

fn replaces_prefix(route: &Route) -> bool {
    let backends = route.backends.iter().flat_map(|backend| &backend.filters);
    let paths = route.filters.iter().chain(backends).map(|f| match f {
        Filter::Rewrite(rewrite) => rewrite.path.as_ref(),
        Filter::Redirect(redirect) => redirect.path.as_ref(),
        _ => None,
    });
    let mut paths = paths.flatten();
    paths.any(|path| matches!(path, PathRewrite::Prefix(_)))
}

/// A match without a path is a match of the prefix `/`.
fn is_prefix(matched: &RouteMatch) -> bool {
    matched.grpc.is_none() && matches!(matched.path, None | Some(PathMatch::Prefix(_)))
}

fn check_match(c: &mut Checker, matched: &RouteMatch) {
    if let Some(path) = &matched.path {
        c.field("path", |c| match path {
            PathMatch::Exact(path) => check_path(c, "exact", path),
            PathMatch::Prefix(path) => check_path(c, "prefix", path),
            PathMatch::Regex(regex) => c.field("regex", |c| check_regex(c, regex)),
        });
    }
    c.each("headers", &matched.headers, |c, header| {
        c.field("name", |c| check_header_name(c, &header.name));
        check_value_match(c, header);
    });
    c.each("query", &matched.query, |c, parameter| {
        c.require("name", !parameter.name.is_empty(), || {
            "must not be empty".into()
        });
        check_value_match(c, parameter);
    });
    if let Some(method) = &matched.method {
        c.require("method", method.parse::<http::Method>().is_ok(), || {
            format!("{method:?} is not an HTTP method")
        });
    }
    if let Some(grpc) = &matched.grpc {
        c.field("grpc", |c| check_grpc_match(c, grpc));
        c.require("grpc", matched.path.is_none(), || {
            "a match has either a path or a gRPC method, not both".into()
        });
    }
}

fn check_value_match(c: &mut Checker, matched: &ValueMatch) {
    if matched.regex {
        c.field("value", |c| check_regex(c, &matched.value));
    }
}

fn check_grpc_match(c: &mut Checker, grpc: &GrpcMethodMatch) {
    if grpc.service.is_none() && grpc.method.is_none() {
        c.report("needs a service or a method");
    }
    for (name, text) in [("service", &grpc.service), ("method", &grpc.method)] {
        let Some(text) = text else { continue };
        if grpc.regex {
            c.field(name, |c| check_regex(c, text));
        } else {
            let valid = !text.contains('/') && syntax::is_path(&format!("/{text}"));
            c.require(name, valid, || format!("{text:?} is not a gRPC name"));
        }
    }
}

fn check_filter(c: &mut Checker, filter: &Filter) {
    match filter {
        Filter::RequestHeaders(edit) => c.field("requestHeaders", |c| check_edit(c, edit)),
        Filter::ResponseHeaders(edit) => c.field("responseHeaders", |c| check_edit(c, edit)),
        Filter::Redirect(redirect) => c.field("redirect", |c| check_redirect(c, redirect)),
        Filter::Rewrite(rewrite) => c.field("rewrite", |c| check_rewrite(c, rewrite)),
        Filter::Mirror(mirror) => c.field("mirror", |c| {
            c.require("percent", (0.0..=100.0).contains(&mirror.percent), || {
                format!("must be between 0 and 100, not {}", mirror.percent)
            });
        }),
    }
}

fn check_edit(c: &mut Checker, edit: &HeaderEdit) {
    c.each("set", &edit.set, check_header);
    c.each("add", &edit.add, check_header);
    c.each("remove", &edit.remove, |c, name| check_editable(c, name));
}

fn check_redirect(c: &mut Checker, redirect: &Redirect) {
    if let Some(scheme) = &redirect.scheme {
        c.require("scheme", scheme == "http" || scheme == "https", || {
            "must be http or https".into()
        });
    }
    if let Some(status) = redirect.status {
        c.require(
            "status",
            [301, 302, 303, 307, 308].contains(&status),
            || "must be 301, 302, 303, 307 or 308".into(),
        );
    }
    c.require("port", redirect.port != Some(0), || {
        "must be between 1 and 65535".into()
    });
    check_authority_and_path(c, redirect.hostname.as_deref(), redirect.path.as_ref());
}

fn check_rewrite(c: &mut Checker, rewrite: &Rewrite) {
    check_authority_and_path(c, rewrite.hostname.as_deref(), rewrite.path.as_ref());
}

fn check_authority_and_path(c: &mut Checker, host: Option<&str>, path: Option<&PathRewrite>) {
    if let Some(host) = host {
        c.require("hostname", syntax::is_dns_name(host), || {
            format!("{host:?} is not a host name")
        });
    }
    if let Some(path) = path {
        c.field("path", |c| match path {
            PathRewrite::Full(path) => check_path(c, "full", path),
            PathRewrite::Prefix(path) if path.is_empty() => {}
            PathRewrite::Prefix(path) => check_path(c, "prefix", path),
        });
    }
}

fn check_path(c: &mut Checker, name: &str, path: &str) {
    let valid = syntax::is_path(path);
    c.require(name, valid, || {
        format!("{path:?} is not a path: it must begin with / and hold no spaces, ? and #")
    });
}

fn check_hostname(c: &mut Checker, hostname: &str) {
    let rest = hostname.strip_prefix("*.").unwrap_or(hostname);
    if !syntax::is_dns_name(rest) {
        c.report(format!(
            "{hostname:?} is not a host name: write cart.shop, or *.shop for every name below shop"
        ));
    }
}

fn check_header(c: &mut Checker, (name, value): &(String, String)) {
    check_editable(c, name);
    if http::HeaderValue::from_str(value).is_err() {
        c.report(format!("{value:?} cannot be the value of a header"));
    }
}

fn check_editable(c: &mut Checker, name: &str) {
    match http::HeaderName::from_bytes(name.as_bytes()) {
        Err(_) => c.report(format!("{name:?} is not a header name")),
        Ok(header) if syntax::is_protected(&header) => c.report(format!(
            "{header} belongs to the connection and cannot be edited by a route"
        )),
        Ok(_) => {}
    }
}

fn check_header_name(c: &mut Checker, name: &str) {
    if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
        c.report(format!("{name:?} is not a header name"));
    }
}

fn check_regex(c: &mut Checker, regex: &str) {
    if let Err(error) = syntax::full_match(regex) {
        c.report(error.to_string());
    }
}
