//! From the model's routes to the table, with every fault on the way noted.

use std::{cmp::Reverse, collections::HashSet, rc::Rc, time::Duration};

use http::{HeaderName, Method};

use super::{
    CompiledMatch, RouteTable,
    error::{Faults, Problem, RouteError},
    filter::{Filters, Place},
    index::{HostIndex, PathKind, PathPattern, Rank},
    pattern::{Conditions, Text},
    rewrite,
    rule::{BackendRule, RouteRule},
};
use crate::discovery::{
    model::{
        Filter, GrpcMethodMatch, PathMatch, PathRewrite, Redirect, Rewrite, Route, RouteMatch,
    },
    validate::syntax::full_match,
};

/// The routes that count for clients in `namespace`: their own where there are any, else those
/// for everyone.
pub(super) fn for_clients_in<'r>(
    namespace: &str,
    routes: &'r [Route],
) -> impl Iterator<Item = &'r Route> {
    let own = |route: &Route| route.consumers.as_deref() == Some(namespace);
    let any_own = routes.iter().any(own);
    routes.iter().filter(move |route| match any_own {
        true => route.consumers.as_deref() == Some(namespace),
        false => route.consumers.is_none(),
    })
}

pub(super) fn compile<'r>(
    routes: impl IntoIterator<Item = &'r Route>,
) -> Result<RouteTable, Vec<RouteError>> {
    let mut table = RouteTable::default();
    let mut found = Vec::new();
    for route in routes {
        let faults = Faults {
            route: &route.name,
            found: &mut found,
        };
        add(&mut table, route, faults);
    }
    if !found.is_empty() {
        return Err(found);
    }
    let named = table
        .exact_hosts
        .values_mut()
        .chain(table.wildcard_hosts.values_mut());
    named.for_each(HostIndex::finish);
    table.any_host.finish();
    Ok(table)
}

fn add(table: &mut RouteTable, route: &Route, mut faults: Faults<'_>) {
    let hosts = hostnames(route, &mut faults);
    let index = table.rules.len();
    let any = [RouteMatch::default()];
    let matches = if route.matches.is_empty() {
        &any[..]
    } else {
        &route.matches
    };
    for (at, a_match) in matches.iter().enumerate() {
        let field = format!("matches[{at}]");
        let path = path(&field, a_match, &mut faults);
        let conditions = conditions(&field, a_match, &mut faults);
        let Some(path) = path else { continue };
        let number = u32::try_from(table.matches.len()).expect("memory ends before");
        let rank: Rank = (
            Reverse(conditions.method.is_some()),
            Reverse(conditions.headers.len()),
            Reverse(conditions.query.len()),
            number,
        );
        let rule = u32::try_from(index).expect("memory ends before");
        table.matches.push(CompiledMatch { rule, conditions });
        for host in &hosts {
            host_index(table, host).insert(path.clone(), rank);
        }
    }
    table.rules.push(rule(index, route, &mut faults));
}

fn host_index<'t>(table: &'t mut RouteTable, host: &str) -> &'t mut HostIndex {
    match host.strip_prefix('*') {
        Some("") => &mut table.any_host,
        Some(suffix) => table.wildcard_hosts.entry(suffix.into()).or_default(),
        None => table.exact_hosts.entry(host.into()).or_default(),
    }
}

/// In lower case, each once; `*` stands for any.
fn hostnames(route: &Route, faults: &mut Faults<'_>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (at, name) in route.hostnames.iter().enumerate() {
        let name = rewrite::hostname(name.strip_prefix("*.").unwrap_or(name))
            .map(|_| name.to_ascii_lowercase())
            .map_err(|_| Problem::Hostname(name.clone()));
        names.extend(faults.note(format!("hostnames[{at}]"), name));
    }
    if route.hostnames.is_empty() {
        names.push("*".to_owned());
    }
    names.sort_unstable();
    names.dedup();
    names
}

fn path(field: &str, a_match: &RouteMatch, faults: &mut Faults<'_>) -> Option<PathKind> {
    let field = |part: &str| format!("{field}.{part}");
    match (&a_match.path, &a_match.grpc) {
        (None, None) => Some(PathKind::Prefix("".into())),
        (Some(PathMatch::Exact(path)), None) => {
            let path = rewrite::path(path).map(|path| PathKind::Exact(path.into()));
            faults.note(field("path.exact"), path)
        }
        (Some(PathMatch::Prefix(path)), None) => {
            let path = rewrite::path(path);
            let prefix = path.map(|path| PathKind::Prefix(rewrite::without_slash(path).into()));
            faults.note(field("path.prefix"), prefix)
        }
        (Some(PathMatch::Regex(pattern)), None) => {
            let regex = full_match(pattern).map_err(Problem::from);
            let path =
                regex.map(|regex| PathKind::Pattern(PathPattern::Whole(regex), pattern.len()));
            faults.note(field("path.regex"), path)
        }
        (None, Some(grpc)) => faults.note(field("grpc"), grpc_path(grpc)),
        (Some(_), Some(_)) => faults.note(field("grpc"), Err(Problem::PathAndGrpc)),
    }
}

/// A gRPC method is the path `/<service>/<method>`. The content type is not looked at: a
/// request to that path that is no gRPC gets its answer from the server.
fn grpc_path(grpc: &GrpcMethodMatch) -> Result<PathKind, Problem> {
    let (service, method) = (grpc.service.as_deref(), grpc.method.as_deref());
    if service.is_none() && method.is_none() {
        return Err(Problem::EmptyGrpc);
    }
    if grpc.regex {
        let length = service.map_or(0, str::len) + method.map_or(0, str::len);
        let service = service.map(full_match).transpose()?;
        let method = method.map(full_match).transpose()?;
        return Ok(PathKind::Pattern(
            PathPattern::Grpc { service, method },
            length,
        ));
    }
    let element = |text: &str| match text.contains('/') {
        true => Err(Problem::Path(text.to_owned())),
        false => rewrite::path(&format!("/{text}")).map(str::to_owned),
    };
    match (service, method) {
        (Some(service), Some(method)) => Ok(PathKind::Exact(
            (element(service)? + &element(method)?).into(),
        )),
        (Some(service), None) => Ok(PathKind::Prefix(element(service)?.into())),
        (None, Some(method)) => Ok(PathKind::GrpcMethod(element(method)?[1..].into())),
        (None, None) => Err(Problem::EmptyGrpc),
    }
}

fn conditions(field: &str, a_match: &RouteMatch, faults: &mut Faults<'_>) -> Conditions {
    let mut result = Conditions::default();
    if let Some(method) = &a_match.method {
        let parsed = Method::from_bytes(method.as_bytes());
        let parsed = parsed.map_err(|_| Problem::Method(method.clone()));
        result.method = faults.note(format!("{field}.method"), parsed);
    }
    // Of several entries for one name only the first counts (Gateway API, HTTPHeaderMatch).
    let mut seen = HashSet::new();
    for (at, header) in a_match.headers.iter().enumerate() {
        let field = format!("{field}.headers[{at}]");
        let name = HeaderName::from_bytes(header.name.as_bytes());
        let name = name.map_err(|_| Problem::HeaderName(header.name.clone()));
        let name = faults.note(format!("{field}.name"), name);
        let text = Text::compile(&header.value, header.regex);
        let text = faults.note(format!("{field}.value"), text);
        result
            .headers
            .extend(name.zip(text).filter(|(name, _)| seen.insert(name.clone())));
    }
    let mut seen = HashSet::new();
    for (at, parameter) in a_match.query.iter().enumerate() {
        let text = Text::compile(&parameter.value, parameter.regex);
        let text = faults.note(format!("{field}.query[{at}].value"), text);
        let first = text.filter(|_| seen.insert(&parameter.name));
        result
            .query
            .extend(first.map(|text| (parameter.name.as_str().into(), text)));
    }
    result
}

fn rule(index: usize, route: &Route, faults: &mut Faults<'_>) -> RouteRule {
    if replaces_prefix(route) && !all_prefixes(&route.matches) {
        faults.add("filters", Problem::PrefixRewriteWithoutPrefix);
    }
    let filters = Filters::compile("filters", &route.filters, Place::Rule, faults);
    let backend = |(at, backend): (usize, &crate::discovery::model::Backend)| BackendRule {
        service: backend.service.clone(),
        weight: backend.weight,
        filters: Filters::compile(
            &format!("backends[{at}].filters"),
            &backend.filters,
            Place::Backend,
            faults,
        ),
    };
    let backends: Vec<_> = route.backends.iter().enumerate().map(backend).collect();
    // Zero means none (Gateway API, HTTPRouteTimeouts).
    let set = |timeout: Option<Duration>| timeout.filter(|timeout| !timeout.is_zero());
    let request_timeout = set(route.timeouts.request);
    let backend_timeout = set(route.timeouts.backend_request);
    if backend_timeout
        .zip(request_timeout)
        .is_some_and(|(backend, request)| backend > request)
    {
        faults.add(
            "timeouts.backendRequest",
            Problem::BackendTimeoutAboveRequest,
        );
    }
    RouteRule {
        name: route.name.clone(),
        index,
        total_weight: backends
            .iter()
            .map(|backend| u64::from(backend.weight))
            .sum::<u64>()
            + u64::from(route.unresolved_weight),
        backends,
        filters,
        request_timeout,
        backend_timeout,
        policy: route.policy.clone().map(Rc::new),
    }
}

fn replaces_prefix(route: &Route) -> bool {
    let backends = route.backends.iter().flat_map(|backend| &backend.filters);
    route.filters.iter().chain(backends).any(|filter| {
        matches!(
            filter,
            Filter::Rewrite(Rewrite {
                path: Some(PathRewrite::Prefix(_)),
                ..
            }) | Filter::Redirect(Redirect {
                path: Some(PathRewrite::Prefix(_)),
                ..
            })
        )
    })
}

/// A match without a path is a match of the prefix `/` (Gateway API, HTTPRouteMatch).
fn all_prefixes(matches: &[RouteMatch]) -> bool {
    matches.iter().all(|a_match| {
        a_match.grpc.is_none() && matches!(a_match.path, None | Some(PathMatch::Prefix(_)))
    })
}
