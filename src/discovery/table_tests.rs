use super::*;
use crate::discovery::{
    model::{Service, TrustBundle},
    resource::Kind,
};

const IDLE: Duration = Duration::from_secs(300);

fn name(text: &str) -> ResourceName {
    ResourceName::new(Kind::TrustBundle, text)
}

fn bundle(roots: &str) -> Resource {
    Resource::TrustBundle(Arc::new(TrustBundle {
        roots: roots.into(),
    }))
}

fn present(text: &str, roots: &str) -> Update {
    Update::Present {
        name: name(text),
        version: "1".into(),
        resource: bundle(roots),
    }
}

#[test]
fn one_wish_for_many_holders() {
    let table = Table::new([], Known::Pending, 10);
    let first = table.acquire(&name("a")).unwrap();
    let second = table.acquire(&name("a")).unwrap();
    assert_eq!(table.take_changes(), [(name("a"), Change::Subscribe(None))]);
    drop((first, second));
    assert_eq!(table.take_changes(), [], "it stays for the idle time");
}

#[test]
fn what_nobody_holds_is_forgotten_after_the_idle_time() {
    let table = Table::new([], Known::Pending, 10);
    let (_known, held) = table.acquire(&name("held")).unwrap();
    drop(table.acquire(&name("idle")).unwrap());
    table.take_changes();

    table.forget_idle(Instant::now(), IDLE);
    assert_eq!(table.take_changes(), []);
    table.forget_idle(Instant::now() + IDLE, IDLE);
    assert_eq!(table.take_changes(), [(name("idle"), Change::Unsubscribe)]);
    assert_eq!(table.len(), 1);
    drop(held);
}

#[test]
fn subscriptions_are_capped_and_counted() {
    let table = Table::new([], Known::Pending, 1);
    let held = table.acquire(&name("a")).unwrap();
    assert!(table.acquire(&name("b")).is_none());
    assert_eq!(table.refused(), 1);
    assert!(table.acquire(&name("a")).is_some(), "it is there already");
    drop(held);
}

#[test]
fn a_new_stream_starts_with_all_names_and_versions() {
    let table = Table::new([], Known::Pending, 10);
    let _a = table.acquire(&name("a")).unwrap();
    let _b = table.acquire(&name("b")).unwrap();
    table.apply(vec![present("a", "roots")]);
    let mut wishes = table.restart();
    wishes.sort_by(|(a, _), (b, _)| a.cmp(b));
    assert_eq!(
        wishes,
        [
            (name("a"), Change::Subscribe(Some("1".into()))),
            (name("b"), Change::Subscribe(None)),
        ]
    );
    assert_eq!(table.take_changes(), []);
}

#[test]
fn holders_are_told_of_changes_only() {
    let table = Table::new([], Known::Pending, 10);
    let (mut known, _lease) = table.acquire(&name("a")).unwrap();
    table.apply(vec![present("a", "roots"), present("nobody-asked", "x")]);
    assert!(known.has_changed().unwrap());
    known.mark_unchanged();
    table.apply(vec![present("a", "roots")]);
    assert!(!known.has_changed().unwrap());
    table.apply(vec![Update::Absent(name("a"))]);
    assert_eq!(*known.borrow(), Known::Absent);
    assert_eq!(table.len(), 1);
}

#[test]
fn versions_of_the_snapshot_are_those_of_the_controller() {
    let service: Service = serde_json::from_str(r#"{"key":"shop/cart:80"}"#).unwrap();
    let (name, resource) = Resource::service(service);
    let expected = version(&resource.to_json());
    let table = Table::new([(name.clone(), resource)], Known::Pending, 10);
    assert_eq!(table.restart(), [(name, Change::Subscribe(Some(expected)))]);
}
