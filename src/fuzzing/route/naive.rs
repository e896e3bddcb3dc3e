//! The Gateway API's precedence as it is written: every match is tried, and the best one wins.

use std::{cell::RefCell, cmp::Reverse, collections::HashMap};

use http::{HeaderName, Method, request::Parts};
use regex::bytes::Regex;

use crate::{
    discovery::model::{PathMatch, Route, RouteMatch, ValueMatch},
    proxy::head,
};

/// Larger is better: hostname, path, method, headers, query, and the order given.
type Rank = (
    (u8, usize),
    (u8, usize),
    bool,
    usize,
    usize,
    Reverse<(usize, usize)>,
);

/// The place of the route among those for the namespace, and the bytes that its prefix matched.
pub fn find(routes: &[Route], namespace: &str, request: &Parts) -> Option<(usize, usize)> {
    let own = |route: &&Route| route.consumers.as_deref() == Some(namespace);
    let any_own = routes.iter().any(|route| own(&route));
    let counts = |route: &&Route| match any_own {
        true => own(route),
        false => route.consumers.is_none(),
    };
    let mut best: Option<(Rank, usize)> = None;
    for (place, route) in routes.iter().filter(counts).enumerate() {
        let any = [RouteMatch::default()];
        let matches = if route.matches.is_empty() {
            &any[..]
        } else {
            &route.matches
        };
        for (at, a_match) in matches.iter().enumerate() {
            let Some(((host, path, method, headers, query), prefix)) =
                rank(route, a_match, request)
            else {
                continue;
            };
            let rank = (host, path, method, headers, query, Reverse((place, at)));
            if best.as_ref().is_none_or(|(known, _)| rank > *known) {
                best = Some((rank, prefix));
            }
        }
    }
    best.map(|((.., Reverse((place, _))), prefix)| (place, prefix))
}

type Specific = ((u8, usize), (u8, usize), bool, usize, usize);

fn rank(route: &Route, a_match: &RouteMatch, request: &Parts) -> Option<(Specific, usize)> {
    let host = head::without_port(head::host(request).unwrap_or("")).to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    let host = match &route.hostnames[..] {
        [] => Some((0, 0)),
        names => names.iter().filter_map(|name| host_rank(name, host)).max(),
    }?;
    let (path, prefix) = path_rank(a_match, request.uri.path())?;
    let method = a_match.method.as_ref();
    if method.is_some_and(|method| {
        Method::from_bytes(method.as_bytes()).ok().as_ref() != Some(&request.method)
    }) {
        return None;
    }
    let headers = first_of_each(&a_match.headers, true);
    let query = first_of_each(&a_match.query, false);
    let held = headers.iter().all(|wanted| header_holds(wanted, request))
        && query
            .iter()
            .all(|wanted| query_holds(wanted, request.uri.query().unwrap_or("")));
    held.then_some((
        (host, path, method.is_some(), headers.len(), query.len()),
        prefix,
    ))
}

fn host_rank(name: &str, host: &str) -> Option<(u8, usize)> {
    let name = name.to_ascii_lowercase();
    match name.strip_prefix('*') {
        None => (name == host).then_some((2, name.len())),
        Some("") => Some((0, 0)),
        Some(suffix) => {
            let labels = host.strip_suffix(suffix)?;
            (!labels.is_empty()).then_some((1, suffix.len()))
        }
    }
}

/// The kind and the length that decide among paths, and how much a prefix matched.
fn path_rank(a_match: &RouteMatch, path: &str) -> Option<((u8, usize), usize)> {
    let prefix = |prefix: &str| {
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let kind = if prefix.is_empty() { 0 } else { 2 };
        let under = path == prefix || path.starts_with(&format!("{prefix}/")) || prefix.is_empty();
        under.then_some(((kind, prefix.len()), prefix.len()))
    };
    match (&a_match.path, &a_match.grpc) {
        (Some(PathMatch::Exact(exact)), _) => (path == exact).then_some(((4, 0), 0)),
        (Some(PathMatch::Prefix(text)), _) => prefix(text),
        (Some(PathMatch::Regex(pattern)), _) => {
            whole(pattern, path.as_bytes()).then_some(((3, pattern.len()), 0))
        }
        (None, None) => prefix("/"),
        (None, Some(grpc)) => {
            let (service, method) = (grpc.service.as_deref(), grpc.method.as_deref());
            if !grpc.regex
                && let Some(service) = service
            {
                return match method {
                    Some(method) => (path == format!("/{service}/{method}")).then_some(((4, 0), 0)),
                    None => prefix(&format!("/{service}")),
                };
            }
            let elements: Vec<_> = path.strip_prefix('/')?.split('/').collect();
            let [its_service, its_method] = elements[..] else {
                return None;
            };
            let holds = |pattern: Option<&str>, text: &str| match pattern {
                None => true,
                Some(pattern) if grpc.regex => whole(pattern, text.as_bytes()),
                Some(exact) => exact == text,
            };
            let both = !its_service.is_empty()
                && !its_method.is_empty()
                && holds(service, its_service)
                && holds(method, its_method);
            let length = service.map_or(0, str::len) + method.map_or(0, str::len);
            both.then_some((if grpc.regex { (3, length) } else { (1, 0) }, 0))
        }
    }
}

fn first_of_each(wanted: &[ValueMatch], any_case: bool) -> Vec<&ValueMatch> {
    let same = |one: &str, other: &str| match any_case {
        true => one.eq_ignore_ascii_case(other),
        false => one == other,
    };
    let mut first: Vec<&ValueMatch> = Vec::new();
    for value in wanted {
        if !first.iter().any(|known| same(&known.name, &value.name)) {
            first.push(value);
        }
    }
    first
}

fn header_holds(wanted: &ValueMatch, request: &Parts) -> bool {
    let name = HeaderName::from_bytes(wanted.name.as_bytes()).expect("one of ours");
    let lines = request
        .headers
        .get_all(name)
        .iter()
        .map(|value| value.as_bytes());
    let lines: Vec<_> = lines.collect();
    !lines.is_empty() && value_holds(wanted, &lines.join(&b", "[..]))
}

fn query_holds(wanted: &ValueMatch, query: &str) -> bool {
    let mut pairs = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let first = pairs.find(|(key, _)| *key == wanted.name);
    first.is_some_and(|(_, value)| value_holds(wanted, value.as_bytes()))
}

fn value_holds(wanted: &ValueMatch, value: &[u8]) -> bool {
    match wanted.regex {
        true => whole(&wanted.value, value),
        false => wanted.value.as_bytes() == value,
    }
}

fn whole(pattern: &str, text: &[u8]) -> bool {
    thread_local! {
        static COMPILED: RefCell<HashMap<String, Regex>> = RefCell::default();
    }
    COMPILED.with_borrow_mut(|compiled| {
        let compile = || Regex::new(&format!("(?-u)^(?:{pattern})$")).expect("one of ours");
        let regex = compiled.entry(pattern.to_owned()).or_insert_with(compile);
        let found = regex.find(text);
        found.is_some_and(|found| found.len() == text.len())
    })
}
