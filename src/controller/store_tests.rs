use super::*;
use crate::discovery::model::{Protocol, Route, Service, TrustBundle};

fn bundle(name: &str, roots: &str) -> Named {
    let roots = roots.into();
    Resource::trust_bundle(name, TrustBundle { roots })
}

fn name(text: &str) -> ResourceName {
    ResourceName::trust_bundle(text)
}

/// Names with whether there is a value.
fn take(view: &mut View) -> Vec<(String, bool)> {
    let mut taken = Vec::new();
    while let Some((_, deltas)) = view.take(2, usize::MAX) {
        assert!(deltas.len() <= 2);
        taken.extend(
            deltas
                .iter()
                .map(|(name, value)| (name.to_string(), value.is_some())),
        );
    }
    taken
}

#[test]
fn only_subscribers_are_told_and_once() {
    let store = Store::new();
    store.replace([bundle("a", "1"), bundle("b", "1")], &[]);
    let mut of_a = store.open("shop");
    let mut of_b = store.open("shop");
    of_a.subscribe(name("a"), None);
    of_b.subscribe(name("b"), None);
    assert_eq!(take(&mut of_a), [("a".into(), true)]);
    assert_eq!(take(&mut of_b), [("b".into(), true)]);

    assert_eq!(store.replace([bundle("a", "2"), bundle("b", "1")], &[]), 1);
    assert_eq!(take(&mut of_a), [("a".into(), true)]);
    assert_eq!(take(&mut of_b), []);
    assert_eq!(take(&mut of_a), []);
}

#[test]
fn what_is_not_there_is_said_to_be_absent() {
    let store = Store::new();
    let mut view = store.open("shop");
    view.subscribe(name("a"), None);
    assert_eq!(take(&mut view), [("a".into(), false)]);
    store.apply([(name("a"), Some(bundle("a", "1").1))]);
    assert_eq!(take(&mut view), [("a".into(), true)]);
    store.apply([(name("a"), None)]);
    assert_eq!(take(&mut view), [("a".into(), false)]);
}

#[test]
fn what_is_at_hand_is_not_sent_again() {
    let store = Store::new();
    let (named, value) = bundle("a", "1");
    let at_hand = Some(version(&value.to_json()));
    store.replace([(named.clone(), value)], &[]);
    let mut view = store.open("shop");
    view.subscribe(named.clone(), at_hand.clone());
    assert_eq!(take(&mut view), []);
    view.subscribe(named, None);
    assert_eq!(take(&mut view), [("a".into(), true)]);

    let mut later = store.open("shop");
    store.replace([], &[]);
    later.subscribe(name("a"), at_hand);
    assert_eq!(take(&mut later), [("a".into(), false)], "it went meanwhile");
}

#[test]
fn a_backlog_coalesces_and_batches_are_bounded() {
    let store = Store::new();
    let mut view = store.open("shop");
    for text in ["a", "b", "c"] {
        view.subscribe(name(text), None);
    }
    for round in 0..100 {
        let roots = round.to_string();
        store.replace(["a", "b", "c"].map(|name| bundle(name, &roots)), &[]);
    }
    assert_eq!(take(&mut view).len(), 3);
}

#[test]
fn kept_kinds_survive_a_replacement() {
    let store = Store::new();
    store.replace([bundle("a", "1")], &[]);
    assert_eq!(store.replace([], &[Kind::TrustBundle]), 0);
    assert_eq!(store.replace([], &[]), 1);
}

#[test]
fn a_dropped_view_leaves_nothing() {
    let store = Store::new();
    let mut view = store.open("shop");
    view.subscribe(name("a"), None);
    view.subscribe(name("b"), None);
    view.unsubscribe(&name("b"));
    assert!(!store.is_subscribed(&name("b")));
    drop(view);
    assert!(!store.is_subscribed(&name("a")));
    assert_eq!(store.streams(), 0);
}

fn host(account: &str) -> Host {
    Host {
        identity: crate::identity::SpiffeId::new("mesh.local", "shop", account).unwrap(),
        zone: None,
        bypassed: [9090.into()].into(),
    }
}

#[test]
fn a_hosts_bypassed_ports_are_dialled_in_plaintext() {
    let identity = |port| {
        let addr = SocketAddr::new("198.18.0.1".parse().unwrap(), port);
        match host("cart").destination(addr) {
            Resource::Destination(destination) => match &*destination {
                Destination::Endpoint { endpoint, .. } => endpoint.identity.is_some(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    };
    assert!(identity(9091));
    assert!(!identity(9090));
}

#[test]
fn a_host_answers_for_the_ports_that_have_no_resource() {
    let store = Store::new();
    let ip = "198.18.0.1".parse().unwrap();
    let addr = |port| SocketAddr::new(ip, port);
    let named = |port| ResourceName::destination(addr(port));
    let own = Resource::destination(addr(80), Destination::Unknown);
    store.replace([own.clone()], &[]);
    let mut view = store.open("shop");
    for port in [80, 81] {
        view.subscribe(named(port), None);
    }
    view.subscribe(
        ResourceName::destination("198.18.0.10:81".parse().unwrap()),
        None,
    );
    // What nobody's address is must not hide the others of the same beginning.
    view.subscribe(ResourceName::new(Kind::Destination, "198.18.0.1:!"), None);
    take(&mut view);

    assert_eq!(store.apply_hosts([(ip, Some(host("cart")))]), 1);
    assert_eq!(store.apply_hosts([(ip, Some(host("cart")))]), 0);
    assert_eq!(take(&mut view), [("198.18.0.1:81".into(), true)]);
    store.apply([(own.0, None)]);
    assert_eq!(take(&mut view), [("198.18.0.1:80".into(), true)]);
    store.apply_hosts([(ip, Some(host("till")))]);
    assert_eq!(take(&mut view).len(), 2);
    store.apply_hosts([(ip, None)]);
    let gone = take(&mut view);
    assert_eq!(
        gone,
        [
            ("198.18.0.1:80".into(), false),
            ("198.18.0.1:81".into(), false)
        ]
    );
}

/// Its routes have a namespace each, or are for everyone.
fn service(routes: &[(&str, Option<&str>)]) -> Named {
    let routes = routes.iter().map(|(name, consumers)| Route {
        name: (*name).into(),
        consumers: consumers.map(Into::into),
        ..Default::default()
    });
    Resource::service(Service {
        key: "shop/cart:80".parse().unwrap(),
        protocol: Protocol::Http,
        routes: routes.collect(),
        policy: Default::default(),
    })
}

/// The names of the routes in what is told.
fn told(view: &mut View) -> Option<Vec<String>> {
    let (_, deltas) = view.take(2, usize::MAX)?;
    let (_, value) = &deltas[0];
    let json = &value.as_ref().expect("it is there").json;
    let service: Service = serde_json::from_slice(json).unwrap();
    let names = service.routes.iter().map(|route| route.name.to_string());
    Some(names.collect())
}

#[test]
fn a_namespaces_own_routes_are_told_to_it_alone() {
    let store = Store::new();
    let common = ("shop/r", None);
    let (named, value) = service(&[common, ("bank/r", Some("bank"))]);
    store.apply([(named.clone(), Some(value))]);
    let [mut shop, mut bank] = ["shop", "bank"].map(|namespace| {
        let mut view = store.open(namespace);
        view.subscribe(named.clone(), None);
        view
    });
    assert_eq!(told(&mut shop).unwrap(), ["shop/r"]);
    assert_eq!(told(&mut bank).unwrap(), ["bank/r"]);

    // What others get is the same, and so is their version.
    let changed = service(&[common, ("bank/s", Some("bank"))]);
    store.apply([(changed.0, Some(changed.1))]);
    assert_eq!(told(&mut shop), None);
    assert_eq!(told(&mut bank).unwrap(), ["bank/s"]);

    let names = [named];
    assert_eq!(store.live(&names, "shop").subscribed, 2);
    assert_eq!(store.live(&names, "bank").subscribed, 1);

    let gone = service(&[common]);
    store.replace([gone], &[]);
    assert_eq!(told(&mut shop), None);
    assert_eq!(told(&mut bank).unwrap(), ["shop/r"]);
}
