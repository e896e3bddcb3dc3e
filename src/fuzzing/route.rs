mod naive;

use arbitrary::{Result, Unstructured};
use http::{Request, request::Parts};

use crate::{
    discovery::model::{
        GrpcMethodMatch, PathMatch, Protocol, Route, RouteMatch, Service, ValueMatch,
    },
    proxy::route::RouteTable,
};

const HOSTS: [&str; 8] = [
    "shop",
    "cart.shop",
    "a.cart.shop",
    "*.shop",
    "*.cart.shop",
    "CART.shop",
    "x.test",
    "*.test",
];
const PATHS: [&str; 12] = [
    "/",
    "/a",
    "/a/",
    "/a/b",
    "/a/b/",
    "/ab",
    "/a//b",
    "/pkg.Svc/Get",
    "/pkg.Svc",
    "/%61",
    "/A",
    "/a.b",
];
const PATTERNS: [&str; 9] = [
    "/a.*", "/a|/b", ".*", "/[ab]/?", "(?i)/A", "a", "/a/b", "", "pkg\\..*",
];
const NAMES: [&str; 4] = ["x-a", "X-A", "x-b", "host"];
const VALUES: [&str; 6] = ["1", "2", "1, 2", "a.*", "", "[12]"];
const SERVICES: [&str; 3] = ["pkg.Svc", "a", "Svc"];
const AUTHORITIES: [&str; 12] = [
    "shop",
    "shop:80",
    "SHOP.",
    "cart.shop",
    "a.cart.shop:1",
    "a.b.cart.shop",
    "x.test",
    ".shop",
    "other",
    "[::1]:80",
    "[::1]",
    "*.shop",
];
const QUERIES: [&str; 8] = [
    "",
    "?a=1",
    "?a=1&a=2",
    "?a",
    "?b=1&a=2",
    "?a=%31",
    "?a=1#f",
    "?=&a=1, 2",
];

/// The table and a search through all matches, one by one and by the Gateway API's words, choose
/// the same rule for the same request.
pub fn route(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok(service) = service(&mut u) else { return };
    let namespace = ["shop", "web"][usize::from(data.len().is_multiple_of(2))];
    let Ok(table) = RouteTable::compile(&service, namespace) else {
        return;
    };
    for _ in 0..4 {
        let Ok(Some(request)) = request(&mut u) else {
            return;
        };
        let found = table
            .find(&request)
            .map(|found| (found.rule.index, found.prefix));
        let expected = naive::find(&service.routes, namespace, &request);
        assert_eq!(
            found, expected,
            "{:?} {:?}\n{:#?}",
            request.uri, request.headers, service.routes
        );
    }
}

fn service(u: &mut Unstructured<'_>) -> Result<Service> {
    let mut routes = Vec::new();
    for n in 0..u.int_in_range(1..=6)? {
        let route = Route {
            name: format!("shop/{n}").into(),
            hostnames: several(u, 2, |u| text(u, &HOSTS))?,
            matches: several(u, 3, a_match)?,
            consumers: match u.int_in_range(0..=5)? {
                0 => Some("shop".into()),
                _ => None,
            },
            ..Route::default()
        };
        routes.push(route);
    }
    Ok(Service {
        key: "shop/cart:80".parse().expect("a key"),
        protocol: Protocol::Http,
        routes,
        policy: Default::default(),
    })
}

fn several<T>(
    u: &mut Unstructured<'_>,
    most: usize,
    make: impl Fn(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    (0..u.int_in_range(0..=most)?).map(|_| make(u)).collect()
}

fn text(u: &mut Unstructured<'_>, choices: &[&str]) -> Result<String> {
    Ok((*u.choose(choices)?).to_owned())
}

fn a_match(u: &mut Unstructured<'_>) -> Result<RouteMatch> {
    let mut a_match = RouteMatch::default();
    match u.int_in_range(0..=5)? {
        0 => a_match.path = Some(PathMatch::Exact(text(u, &PATHS)?)),
        1 => a_match.path = Some(PathMatch::Prefix(text(u, &PATHS)?)),
        2 => a_match.path = Some(PathMatch::Regex(text(u, &PATTERNS)?)),
        3 => {
            let regex = u.ratio(1, 3)?;
            let words = |u: &mut Unstructured<'_>| match u.ratio(2, 3)? {
                true if regex => Ok(Some(text(u, &PATTERNS)?)),
                true => Ok(Some(text(u, &SERVICES)?)),
                false => Ok(None),
            };
            a_match.grpc = Some(GrpcMethodMatch {
                service: words(u)?,
                method: words(u)?,
                regex,
            });
        }
        _ => {}
    }
    a_match.headers = several(u, 2, |u| value(u, &NAMES))?;
    a_match.query = several(u, 2, |u| value(u, &["a", "b", ""]))?;
    a_match.method = match u.int_in_range(0..=3)? {
        0 => Some("GET".into()),
        1 => Some("get".into()),
        _ => None,
    };
    Ok(a_match)
}

fn value(u: &mut Unstructured<'_>, names: &[&str]) -> Result<ValueMatch> {
    Ok(ValueMatch {
        name: text(u, names)?,
        value: text(u, &VALUES)?,
        regex: u.ratio(1, 3)?,
    })
}

fn request(u: &mut Unstructured<'_>) -> Result<Option<Parts>> {
    let authority = text(u, &AUTHORITIES)?;
    let target =
        text(u, &PATHS)? + *u.choose(&["", "", "b", "/b", "pkg.Svc/Get"])? + *u.choose(&QUERIES)?;
    let mut request = Request::builder().method(*u.choose(&["GET", "POST", "get"])?);
    request = match u.ratio(1, 3)? {
        true => request.uri(format!("http://{authority}{target}")),
        false => request.uri(target).header("host", authority),
    };
    for _ in 0..u.int_in_range(0..=3)? {
        request = request.header(*u.choose(&NAMES[..3])?, *u.choose(&VALUES)?);
    }
    Ok(request.body(()).ok().map(|request| request.into_parts().0))
}
