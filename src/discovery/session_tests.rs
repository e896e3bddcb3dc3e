use super::*;
use crate::discovery::resource::version;

fn service(name: &str) -> ResourceName {
    ResourceName::new(Kind::Service, name)
}

fn wire(name: &str, json: &str) -> WireResource {
    WireResource {
        name: name.into(),
        version: version(json.as_bytes()),
        resource: Some(prost_types::Any {
            type_url: Kind::Service.type_url().into(),
            value: json.as_bytes().to_vec(),
        }),
    }
}

fn response(resources: Vec<WireResource>) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        type_url: Kind::Service.type_url().into(),
        nonce: "7".into(),
        resources,
        ..Default::default()
    }
}

#[test]
fn the_first_request_says_who_asks_and_what_is_at_hand() {
    let mut session = Session::new("cart-0");
    session.change(service("shop/cart:80"), Change::Subscribe(None));
    session.change(
        service("shop/till:80"),
        Change::Subscribe(Some("v1".into())),
    );
    session.change(
        ResourceName::new(Kind::Endpoints, "shop/cart:80"),
        Change::Subscribe(None),
    );

    let first = session.next_request().unwrap();
    assert_eq!(first.node.unwrap().id, "cart-0");
    assert_eq!(first.type_url, Kind::Service.type_url());
    assert_eq!(
        first.resource_names_subscribe,
        ["shop/cart:80", "shop/till:80"]
    );
    assert_eq!(
        first.initial_resource_versions,
        HashMap::from([("shop/till:80".to_owned(), "v1".to_owned())])
    );

    let second = session.next_request().unwrap();
    assert_eq!(second.node, None);
    assert_eq!(second.type_url, Kind::Endpoints.type_url());
    assert_eq!(session.next_request(), None);
}

#[test]
fn a_names_last_wish_counts() {
    let mut session = Session::new("cart-0");
    session.change(service("shop/cart:80"), Change::Subscribe(None));
    session.change(service("shop/cart:80"), Change::Unsubscribe);
    let request = session.next_request().unwrap();
    assert!(request.resource_names_subscribe.is_empty());
    assert_eq!(request.resource_names_unsubscribe, ["shop/cart:80"]);
    assert!(!session.has_request());
}

#[test]
fn a_burst_of_subscriptions_is_cut_into_bounded_requests() {
    let mut session = Session::new("cart-0");
    for port in 1..=1_201 {
        session.change(
            service(&format!("shop/cart:{port}")),
            Change::Subscribe(None),
        );
    }
    let sizes: Vec<_> = std::iter::from_fn(|| session.next_request())
        .map(|request| request.resource_names_subscribe.len())
        .collect();
    assert_eq!(sizes, [500, 500, 201]);
}

#[test]
fn a_good_response_is_acknowledged() {
    let mut session = Session::new("cart-0");
    let json = r#"{"key":"shop/cart:80","protocol":"http"}"#;
    let mut message = response(vec![wire("shop/cart:80", json)]);
    message.removed_resources = vec!["shop/till:80".into()];
    let received = session.received(message);

    assert_eq!(received.reply.response_nonce, "7");
    assert_eq!(received.reply.error_detail, None);
    assert!(matches!(
        &received.updates[..],
        [Update::Present { name, version: v, .. }, Update::Absent(gone)]
            if *name == service("shop/cart:80")
                && *v == version(json.as_bytes())
                && *gone == service("shop/till:80")
    ));
}

#[test]
fn a_bad_resource_is_refused_by_name_and_field_and_the_others_count() {
    let mut session = Session::new("cart-0");
    let received = session.received(response(vec![
        wire(
            "shop/cart:80",
            r#"{"key":"shop/cart:80","policy":{"breaker":{"failureRate":7}}}"#,
        ),
        wire("shop/till:80", r#"{"key":"shop/till:80"}"#),
    ]));
    let detail = received.reply.error_detail.unwrap();
    assert_eq!(detail.code, INVALID_ARGUMENT);
    assert_eq!(
        detail.message,
        "Service shop/cart:80: policy.breaker.failureRate: 7 is not between 0 and 1"
    );
    assert_eq!(received.reply.response_nonce, "7");
    assert!(matches!(
        &received.updates[..],
        [Update::Present { name, .. }] if *name == service("shop/till:80")
    ));
}

#[test]
fn an_unknown_type_is_refused() {
    let mut session = Session::new("cart-0");
    let received = session.received(DeltaDiscoveryResponse {
        type_url: "type.outrigger.dev/v9.Moon".into(),
        nonce: "1".into(),
        ..Default::default()
    });
    assert!(received.updates.is_empty());
    assert!(
        received
            .reply
            .error_detail
            .unwrap()
            .message
            .contains("Moon")
    );
}

#[test]
fn a_nack_that_quotes_a_long_value_stays_below_what_the_controller_reads() {
    let long = "x".repeat(1 << 20);
    let json = format!(r#"{{"key":"{long}"}}"#);
    let resources = (0..500).map(|n| wire(&format!("shop/cart-{n}:80"), &json));
    let received = Session::new("cart-0").received(response(resources.collect()));
    let message = received.reply.error_detail.unwrap().message;
    assert!(message.len() < 4 << 20, "{} bytes", message.len());
    let named = (0..500).all(|n| message.contains(&format!("Service shop/cart-{n}:80: ")));
    assert!(
        named,
        "the controller reads there which resources it is about"
    );
}
