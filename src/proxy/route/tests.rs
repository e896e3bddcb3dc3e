//! The examples of the Gateway API's specification, and what we add to them.

mod faults;
mod filters;
mod precedence;

use http::{Request, request::Parts};

use super::*;
use crate::discovery::model::{
    GrpcMethodMatch, PathMatch, Protocol, Route, RouteMatch, ValueMatch,
};

fn table(routes: Vec<Route>) -> RouteTable {
    try_table(routes).expect("valid routes")
}

fn try_table(routes: Vec<Route>) -> Result<RouteTable, Vec<RouteError>> {
    try_table_for("shop", routes)
}

/// As clients in this namespace see it.
fn try_table_for(namespace: &str, routes: Vec<Route>) -> Result<RouteTable, Vec<RouteError>> {
    let service = Service {
        key: "shop/cart:80".parse().expect("a key"),
        protocol: Protocol::Http,
        routes,
        policy: Default::default(),
    };
    RouteTable::compile(&service, namespace)
}

fn route(name: &str, hostnames: &[&str], matches: Vec<RouteMatch>) -> Route {
    Route {
        name: name.into(),
        hostnames: hostnames.iter().map(|name| name.to_string()).collect(),
        matches,
        ..Route::default()
    }
}

fn exact(path: &str) -> RouteMatch {
    on(PathMatch::Exact(path.into()))
}

fn prefix(path: &str) -> RouteMatch {
    on(PathMatch::Prefix(path.into()))
}

fn regex(path: &str) -> RouteMatch {
    on(PathMatch::Regex(path.into()))
}

fn on(path: PathMatch) -> RouteMatch {
    RouteMatch {
        path: Some(path),
        ..RouteMatch::default()
    }
}

fn value(name: &str, value: &str, regex: bool) -> ValueMatch {
    ValueMatch {
        name: name.into(),
        value: value.into(),
        regex,
    }
}

fn grpc(service: Option<&str>, method: Option<&str>, regex: bool) -> RouteMatch {
    let text = |text: Option<&str>| text.map(str::to_owned);
    let grpc = GrpcMethodMatch {
        service: text(service),
        method: text(method),
        regex,
    };
    RouteMatch {
        grpc: Some(grpc),
        ..RouteMatch::default()
    }
}

fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut builder = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).expect("a request").into_parts().0
}

fn get(uri: &str) -> Parts {
    request("GET", uri, &[("host", "shop")])
}

fn name<'t>(table: &'t RouteTable, request: &Parts) -> Option<&'t str> {
    table.find(request).map(|selected| &*selected.rule.name)
}

/// Each rule on its own, named by its place.
fn rules(matches: Vec<RouteMatch>) -> RouteTable {
    let rule = |(at, a_match): (usize, RouteMatch)| route(&at.to_string(), &[], vec![a_match]);
    table(matches.into_iter().enumerate().map(rule).collect())
}
