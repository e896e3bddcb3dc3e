use super::*;
use crate::{
    controller::store::Live,
    discovery::{
        model::TrustBundle,
        proto::{Node, Status},
        resource::Resource,
    },
};

impl Stream {
    fn take(&mut self, request: DeltaDiscoveryRequest) -> Result<Option<Refused>, Refusal> {
        self.request(request, Instant::now())
    }
}

fn stream(store: &Arc<Store>) -> Stream {
    let peer = "spiffe://mesh.local/ns/shop/sa/cart".parse().unwrap();
    Stream::new(store, peer)
}

fn publish(store: &Store, roots: usize) {
    let roots = roots.to_string();
    let (name, value) = Resource::trust_bundle("mesh.local", TrustBundle { roots });
    store.apply([(name, Some(value))]);
}

fn request() -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: Kind::TrustBundle.type_url().into(),
        ..Default::default()
    }
}

fn subscribe(names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: Some(Node {
            id: "cart-0".into(),
        }),
        resource_names_subscribe: names.iter().map(ToString::to_string).collect(),
        ..request()
    }
}

#[test]
fn a_subscription_is_answered_and_a_removal_is_said() {
    let store = Store::new();
    publish(&store, 1);
    let mut stream = stream(&store);
    stream.take(subscribe(&["mesh.local", "no"])).unwrap();
    let response = stream.next_response().unwrap();
    assert_eq!(response.resources[0].name, "mesh.local");
    assert_eq!(response.removed_resources, ["no"]);
    assert_eq!(stream.node(), "cart-0");
    assert_eq!(stream.next_response(), None);

    store.apply([(ResourceName::trust_bundle("mesh.local"), None)]);
    let response = stream.next_response().unwrap();
    assert_eq!(response.removed_resources, ["mesh.local"]);
}

#[test]
fn a_refused_response_is_told_with_its_reason_and_not_sent_again() {
    let store = Store::new();
    publish(&store, 1);
    let mut stream = stream(&store);
    stream.take(subscribe(&["mesh.local"])).unwrap();
    let nonce = stream.next_response().unwrap().nonce;
    let nack = |nonce: &str| DeltaDiscoveryRequest {
        response_nonce: nonce.into(),
        error_detail: Some(Status {
            code: 3,
            message: "roots: no".into(),
        }),
        ..request()
    };
    assert_eq!(stream.take(nack("77")), Ok(None), "no such response");
    let name = ResourceName::trust_bundle("mesh.local");
    assert_eq!(
        stream.take(nack(&nonce)),
        Ok(Some(Refused {
            node: "cart-0".into(),
            reason: "roots: no".into(),
            names: vec![name],
        }))
    );
    assert_eq!(stream.next_response(), None);
}

#[test]
fn a_proxy_that_acknowledges_nothing_is_sent_a_bounded_number_of_responses() {
    let store = Store::new();
    let mut stream = stream(&store);
    stream.take(subscribe(&["mesh.local"])).unwrap();
    let mut nonces = Vec::new();
    for round in 0..100 {
        publish(&store, round);
        nonces.extend(stream.next_response().map(|response| response.nonce));
    }
    assert_eq!(nonces.len(), MAX_IN_FLIGHT);

    let acknowledgement = DeltaDiscoveryRequest {
        response_nonce: nonces.remove(0),
        ..request()
    };
    stream.take(acknowledgement).unwrap();
    let latest = stream.next_response().unwrap();
    let json = &latest.resources[0].resource.as_ref().unwrap().value;
    assert_eq!(json, br#"{"roots":"99"}"#);
    assert_eq!(stream.next_response(), None);
}

#[test]
fn too_much_and_too_new_break_the_stream_off() {
    let store = Store::new();
    let mut stream = stream(&store);
    let names: Vec<_> = (0..=MAX_SUBSCRIPTIONS).map(|n| n.to_string()).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    assert_eq!(
        stream.take(subscribe(&names)),
        Err(Refusal::TooManySubscriptions)
    );
    let mut stream = self::stream(&store);
    assert_eq!(
        stream.take(subscribe(&[&"x".repeat(MAX_NAME + 1)])),
        Err(Refusal::LongName(MAX_NAME + 1))
    );
    let unknown = DeltaDiscoveryRequest {
        type_url: "moon".into(),
        ..Default::default()
    };
    assert_eq!(
        stream.take(unknown),
        Err(Refusal::UnknownType("moon".into()))
    );
}

#[test]
fn a_proxy_is_live_once_it_has_acknowledged_and_not_when_it_has_refused() {
    let store = Store::new();
    publish(&store, 1);
    let name = [ResourceName::trust_bundle("mesh.local")];
    let live = || {
        let Live {
            subscribed,
            current,
        } = store.live(&name, "shop");
        (current, subscribed)
    };
    let answer = |stream: &mut Stream, refused: bool| {
        let response = stream.next_response().unwrap();
        let error_detail = refused.then(|| Status {
            code: 3,
            message: "TrustBundle mesh.local: roots: no".into(),
        });
        let answer = DeltaDiscoveryRequest {
            response_nonce: response.nonce,
            error_detail,
            ..request()
        };
        stream.take(answer).unwrap();
    };
    assert_eq!(live(), (0, 0));
    let mut first = stream(&store);
    first.take(subscribe(&["mesh.local"])).unwrap();
    assert_eq!(live(), (0, 1));
    answer(&mut first, false);
    assert_eq!(live(), (1, 1));

    let mut second = stream(&store);
    second.take(subscribe(&["mesh.local"])).unwrap();
    answer(&mut second, true);
    assert_eq!(live(), (1, 2));

    publish(&store, 2);
    assert_eq!(live(), (0, 2), "what they have is old");
    answer(&mut first, false);
    answer(&mut second, false);
    assert_eq!(live(), (2, 2));
    drop(second);
    assert_eq!(live(), (1, 1));

    // Back with what it had: nothing is sent, and yet it has it.
    let mut third = stream(&store);
    let mut again = subscribe(&["mesh.local"]);
    let roots = TrustBundle { roots: "2".into() };
    let (_, bundle) = Resource::trust_bundle("mesh.local", roots);
    let version = crate::discovery::resource::version(&bundle.to_json());
    again
        .initial_resource_versions
        .insert("mesh.local".into(), version);
    third.take(again).unwrap();
    assert_eq!(third.next_response(), None);
    assert_eq!(live(), (2, 2));
    assert_eq!(store.figures().streams.get(), 2);
    assert_eq!(store.figures().subscriptions.get(), 2);
    assert_eq!(
        store.figures().propagation.count(),
        2,
        "of the change alone"
    );
}

#[test]
fn a_late_acknowledgement_of_an_older_version_does_not_count() {
    let store = Store::new();
    publish(&store, 1);
    let mut stream = stream(&store);
    stream.take(subscribe(&["mesh.local"])).unwrap();
    let first = stream.next_response().unwrap().nonce;
    publish(&store, 2);
    let second = stream.next_response().unwrap().nonce;
    let acknowledge = |stream: &mut Stream, nonce: String| {
        let answer = DeltaDiscoveryRequest {
            response_nonce: nonce,
            ..request()
        };
        stream.take(answer).unwrap();
    };
    let current = || {
        store
            .live(&[ResourceName::trust_bundle("mesh.local")], "shop")
            .current
    };
    acknowledge(&mut stream, first);
    assert_eq!(current(), 0);
    acknowledge(&mut stream, second);
    assert_eq!(current(), 1);
}

#[test]
fn a_proxy_may_read_no_workload_but_its_own() {
    let store = Store::new();
    let mut stream = stream(&store);
    let ask = |name: &str| DeltaDiscoveryRequest {
        type_url: Kind::Workload.type_url().into(),
        ..subscribe(&[name])
    };
    let own = stream.peer().to_string();
    assert_eq!(stream.take(ask(&own)), Ok(None));
    let other = "spiffe://mesh.local/ns/shop/sa/till";
    assert_eq!(
        stream.take(ask(other)),
        Err(Refusal::ForeignWorkload(other.into()))
    );
}
