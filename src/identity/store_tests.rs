use rustls::{CommonState, HandshakeKind, NamedGroup, ProtocolVersion};

use super::*;
use crate::identity::{
    TlsFailure, bootstrap_client_config, peer_id,
    testing::{TestCa, exchange, handshake, id},
};

fn current(store: &IdentityStore) -> Arc<Credentials> {
    store.current().unwrap()
}

#[tokio::test]
async fn both_sides_know_each_other_by_tls_1_3_and_a_hybrid_key_exchange() {
    let ca = TestCa::new();
    let (cart, orders) = (current(&ca.store("cart")), current(&ca.store("orders")));
    for alpn in Alpn::ALL {
        // Twice with the same configuration: nothing is resumed.
        for _ in 0..2 {
            let (client, server) =
                handshake(cart.client_config(&orders.id, alpn), orders.server_config()).await;
            let (client, server) = (client.unwrap(), server.unwrap());
            for (connection, peer) in [
                (client.get_ref().1 as &CommonState, &orders.id),
                (server.get_ref().1 as &CommonState, &cart.id),
            ] {
                assert_eq!(peer_id(connection).as_ref(), Some(peer));
                assert_eq!(
                    connection.protocol_version(),
                    Some(ProtocolVersion::TLSv1_3)
                );
                assert_eq!(connection.alpn_protocol(), Some(alpn.as_bytes()));
                assert_eq!(connection.handshake_kind(), Some(HandshakeKind::Full));
                assert_eq!(
                    connection
                        .negotiated_key_exchange_group()
                        .map(|group| group.name()),
                    Some(NamedGroup::X25519MLKEM768)
                );
            }
        }
    }
}

#[tokio::test]
async fn the_controller_is_known_before_the_first_certificate() {
    let ca = TestCa::new();
    let controller = current(&ca.store("controller"));
    let first = bootstrap_client_config(&ca.bundle().roots, &controller.id).unwrap();
    let (client, server) = handshake(first, controller.control_server_config()).await;
    assert_eq!(
        peer_id(client.unwrap().get_ref().1),
        Some(controller.id.clone())
    );
    assert_eq!(peer_id(server.unwrap().get_ref().1), None);

    let proxy = current(&ca.store("cart"));
    let later = proxy.control_client_config(&controller.id);
    let (_, server) = handshake(later, controller.control_server_config()).await;
    assert_eq!(peer_id(server.unwrap().get_ref().1), Some(id("cart")));

    let impostor = current(&ca.store("cart"));
    let first = bootstrap_client_config(&ca.bundle().roots, &controller.id).unwrap();
    let (client, _) = handshake(first, impostor.control_server_config()).await;
    assert_eq!(
        TlsFailure::of(&client.unwrap_err()).as_str(),
        "wrong_identity"
    );
}

#[tokio::test]
async fn a_client_without_a_certificate_does_not_get_in() {
    let ca = TestCa::new();
    let server = current(&ca.store("orders"));
    let mut bare = bootstrap_client_config(&ca.bundle().roots, &server.id).unwrap();
    Arc::make_mut(&mut bare).alpn_protocols = vec![Alpn::H2.as_bytes().to_vec()];
    let (client, server) = handshake(bare, server.server_config()).await;
    assert_eq!(
        TlsFailure::of(&server.unwrap_err()),
        TlsFailure::NoCertificate
    );
    assert_eq!(
        TlsFailure::of(&client.unwrap_err()),
        TlsFailure::PeerWantsCertificate
    );
}

#[tokio::test]
async fn connections_outlive_the_credentials_that_made_them() {
    let ca = TestCa::new();
    let (cart, orders) = (ca.store("cart"), ca.store("orders"));
    let open = || {
        let server = current(&orders);
        handshake(
            current(&cart).client_config(&server.id, Alpn::H2),
            server.server_config(),
        )
    };
    let (client, server) = open().await;
    let (mut client, mut server) = (client.unwrap(), server.unwrap());

    let before = current(&orders);
    ca.files.rotate_issuer(SystemTime::now()).unwrap();
    orders.set(ca.svid(&id("orders")), &ca.bundle()).unwrap();
    assert!(!Arc::ptr_eq(&before, &current(&orders)));

    let (new_client, new_server) = open().await;
    new_client.unwrap();
    new_server.unwrap();
    let (near, far) = tokio::join!(exchange(&mut client), exchange(&mut server));
    near.unwrap();
    far.unwrap();
}

#[tokio::test]
async fn a_trust_anchor_rotates_without_a_refused_handshake() {
    let ca = TestCa::new();
    let (cart, orders) = (ca.store("cart"), ca.store("orders"));
    let both_ways = async |step: &str| {
        for (from, to) in [(&cart, &orders), (&orders, &cart)] {
            let to = current(to);
            let config = current(from).client_config(&to.id, Alpn::Tcp);
            let (client, server) = handshake(config, to.server_config()).await;
            client.unwrap_or_else(|e| panic!("{step}: {e}"));
            server.unwrap_or_else(|e| panic!("{step}: {e}"));
        }
    };
    ca.files.rotate_root(SystemTime::now()).unwrap();
    cart.set_trust(&ca.bundle()).unwrap();
    both_ways("one side has the new root").await;
    orders.set_trust(&ca.bundle()).unwrap();
    both_ways("both have both roots").await;
    ca.files.rotate_issuer(SystemTime::now()).unwrap();
    cart.set(ca.svid(&id("cart")), &ca.bundle()).unwrap();
    both_ways("one side is certified under the new root").await;
    orders.set(ca.svid(&id("orders")), &ca.bundle()).unwrap();
    ca.files.retire_roots().unwrap();
    cart.set_trust(&ca.bundle()).unwrap();
    both_ways("one side has dropped the old root").await;
    orders.set_trust(&ca.bundle()).unwrap();
    both_ways("only the new root is left").await;
}

#[tokio::test]
async fn waits_for_the_first_certificate() {
    let ca = TestCa::new();
    let store = IdentityStore::new();
    assert!(matches!(
        store.set_trust(&ca.bundle()),
        Err(StoreError::NoIdentity)
    ));
    let setter = store.clone();
    let (credentials, ()) = tokio::join!(store.ready(), async {
        setter.set(ca.svid(&id("cart")), &ca.bundle()).unwrap();
    });
    assert_eq!(credentials.id, id("cart"));
    assert_eq!(store.ready().await.id, id("cart"));
}

#[test]
fn an_unreadable_bundle_leaves_the_last_one_in_force() {
    let ca = TestCa::new();
    let store = ca.store("cart");
    let before = current(&store);
    let empty = TrustBundle {
        roots: String::new(),
    };
    assert!(store.set_trust(&empty).is_err());
    assert!(store.set(ca.svid(&id("cart")), &empty).is_err());
    assert!(Arc::ptr_eq(&before, &current(&store)));
}

#[test]
fn client_configurations_are_shared_and_bounded() {
    let ca = TestCa::new();
    let cart = current(&ca.store("cart"));
    let first = cart.client_config(&id("orders"), Alpn::H2);
    assert!(Arc::ptr_eq(
        &first,
        &cart.client_config(&id("orders"), Alpn::H2)
    ));
    assert!(!Arc::ptr_eq(
        &first,
        &cart.client_config(&id("orders"), Alpn::H1)
    ));
    for n in 0..2 * MAX_CLIENT_CONFIGS {
        cart.client_config(&id(&format!("service-{n}")), Alpn::H2);
        assert!(cart.clients.lock().unwrap().len() <= MAX_CLIENT_CONFIGS);
    }
}
