//! `GRPCRoute`, translated.

use std::sync::Arc;

use super::{
    Backend, Rule,
    filters::{edit, is_regex, mirror, reference, unsupported, values},
    read_route,
};
use crate::{
    controller::kubernetes::{
        api::grpc_route::{GrpcBackend, GrpcFilter, GrpcMatch, GrpcMethod, GrpcRoute, GrpcRule},
        lower::{object::Object, read::Read},
    },
    discovery::{
        model::{self, Filter, GrpcMethodMatch, RouteMatch},
        validate::Checker,
    },
};

impl Read for GrpcRoute {
    fn read(&self) -> Option<Object> {
        Some(Object::GrpcRoute(read_route(
            &self.metadata,
            &self.spec.parent_refs,
            &self.spec.rules,
            |rule| rule.name.as_deref(),
            read_rule,
        )))
    }
}

fn read_rule(c: &mut Checker, namespace: &str, name: Arc<str>, rule: &GrpcRule) -> Rule {
    let mut result = Rule {
        template: model::Route {
            name,
            ..Default::default()
        },
        backends: Vec::new(),
        mirrors: Vec::new(),
        retry: None,
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

fn read_match(c: &mut Checker, a_match: &GrpcMatch) -> RouteMatch {
    let method = a_match.method.as_ref();
    RouteMatch {
        headers: values(c, "headers", &a_match.headers),
        grpc: c.field("method", |c| {
            method.and_then(|method| read_method(c, method))
        }),
        ..Default::default()
    }
}

/// `None` where neither service nor method are named: every method matches.
fn read_method(c: &mut Checker, method: &GrpcMethod) -> Option<GrpcMethodMatch> {
    let regex = is_regex(c, method.kind.as_deref());
    (method.service.is_some() || method.method.is_some()).then(|| GrpcMethodMatch {
        service: method.service.clone(),
        method: method.method.clone(),
        regex,
    })
}

fn read_filter(c: &mut Checker, filter: &GrpcFilter) -> Option<Filter> {
    match filter.kind.as_str() {
        "RequestHeaderModifier" => {
            let edit = edit(filter.request_header_modifier.as_ref());
            Some(Filter::RequestHeaders(edit))
        }
        "ResponseHeaderModifier" => {
            let edit = edit(filter.response_header_modifier.as_ref());
            Some(Filter::ResponseHeaders(edit))
        }
        other => {
            unsupported(c, &format!("the filter {other}"));
            None
        }
    }
}

fn read_backend(c: &mut Checker, namespace: &str, backend: &GrpcBackend) -> Backend {
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
