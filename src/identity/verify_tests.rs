use std::{
    io,
    time::{Duration, SystemTime},
};

use proptest::prelude::*;
use rcgen::{ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::*;
use crate::identity::{
    Alpn, CLOCK_SKEW, CertificateRequest, IdentityStore, Svid, TlsFailure,
    ca::DEFAULT_LIFETIME,
    describe_tls_failure,
    testing::{
        DNS, EMAIL, Forgery, IP, OTHER_NAME, TRUST_DOMAIN, TestCa, URI, handshake, id, self_signed,
        tlv,
    },
};

const CART: &[u8] = b"spiffe://mesh.local/ns/shop/sa/cart";

type Chain = [CertificateDer<'static>];
/// Tag and content of each.
type Names<'a> = &'a [(u8, &'a [u8])];

fn anchors(ca: &TestCa) -> TrustAnchors {
    TrustAnchors::from_pem(&ca.bundle().roots).unwrap()
}

fn unix(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap())
}

/// What a client that expects `expected` makes of the chain.
fn as_server(ca: &TestCa, expected: &SpiffeId, chain: &Chain, now: SystemTime) -> &'static str {
    of_server(&anchors(ca), expected, chain, now)
}

/// What a server of the trust domain makes of the chain.
fn as_client(ca: &TestCa, chain: &Chain, now: SystemTime) -> &'static str {
    of_client(&anchors(ca), chain, now)
}

fn of_server(
    anchors: &TrustAnchors,
    expected: &SpiffeId,
    chain: &Chain,
    now: SystemTime,
) -> &'static str {
    let name = crate::identity::peer_name();
    PeerVerifier::of_server(anchors.clone(), expected.clone())
        .verify_server_cert(&chain[0], &chain[1..], &name, &[], unix(now))
        .map_or_else(|error| TlsFailure::of_rustls(&error).as_str(), |_| "ok")
}

fn of_client(anchors: &TrustAnchors, chain: &Chain, now: SystemTime) -> &'static str {
    PeerVerifier::of_clients(anchors.clone(), TRUST_DOMAIN, true)
        .verify_client_cert(&chain[0], &chain[1..], unix(now))
        .map_or_else(|error| TlsFailure::of_rustls(&error).as_str(), |_| "ok")
}

fn both(ca: &TestCa, chain: &Chain) -> [&'static str; 2] {
    let now = SystemTime::now();
    [
        as_server(ca, &id("cart"), chain, now),
        as_client(ca, chain, now),
    ]
}

#[test]
fn a_name_is_one_uri_byte_for_byte() {
    let ca = TestCa::new();
    let other_name = tlv(0x06, &[0x2a, 0x03]);
    let other_name = [&other_name[..], &tlv(0xa0, &tlv(0x0c, CART))].concat();
    let cases: &[(&str, Names, &str)] = &[
        ("exact", &[(URI, CART)], "ok"),
        ("no names", &[], "no_uri"),
        ("otherName", &[(OTHER_NAME, &other_name)], "no_uri"),
        ("the ID as a DNS name", &[(DNS, CART)], "no_uri"),
        ("the ID as an e-mail", &[(EMAIL, CART)], "no_uri"),
        (
            "two URIs",
            &[(URI, CART), (URI, b"spiffe://mesh.local/ns/shop/sa/orders")],
            "many_uris",
        ),
        (
            "the same URI twice",
            &[(URI, CART), (URI, CART)],
            "many_uris",
        ),
        (
            "a URI of another scheme too",
            &[(URI, b"https://x"), (URI, CART)],
            "many_uris",
        ),
        (
            "a DNS name too",
            &[(URI, CART), (DNS, b"cart.shop")],
            "other_names",
        ),
        (
            "an address too",
            &[(IP, &[10, 0, 0, 1]), (URI, CART)],
            "other_names",
        ),
        (
            "otherName too",
            &[(OTHER_NAME, &other_name), (URI, CART)],
            "other_names",
        ),
        (
            "NUL at the end",
            &[(URI, b"spiffe://mesh.local/ns/shop/sa/cart\0")],
            "not_spiffe",
        ),
        (
            "NUL and more",
            &[(URI, b"spiffe://mesh.local/ns/shop/sa/cart\0.evil")],
            "not_spiffe",
        ),
        (
            "NUL in the trust domain",
            &[(URI, b"spiffe://mesh.local\0/ns/shop/sa/cart")],
            "not_spiffe",
        ),
        (
            "wildcard",
            &[(URI, b"spiffe://mesh.local/ns/shop/sa/*")],
            "not_spiffe",
        ),
        (
            "scheme in capitals",
            &[(URI, b"SPIFFE://mesh.local/ns/shop/sa/cart")],
            "not_spiffe",
        ),
        (
            "trust domain in capitals",
            &[(URI, b"spiffe://MESH.local/ns/shop/sa/cart")],
            "not_spiffe",
        ),
        (
            "percent-encoded",
            &[(URI, b"spiffe://mesh.local/ns/shop/sa/c%61rt")],
            "not_spiffe",
        ),
        (
            "trailing slash",
            &[(URI, b"spiffe://mesh.local/ns/shop/sa/cart/")],
            "not_spiffe",
        ),
        (
            "dot segments",
            &[(URI, b"spiffe://mesh.local/ns/shop/sa/../sa/cart")],
            "not_spiffe",
        ),
        (
            "not UTF-8",
            &[(URI, b"spiffe://mesh.local/ns/shop/sa/c\xffrt")],
            "no_uri",
        ),
        ("empty URI", &[(URI, b"")], "not_spiffe"),
        (
            "another trust domain",
            &[(URI, b"spiffe://evil.local/ns/shop/sa/cart")],
            "wrong_trust_domain",
        ),
        (
            "a longer trust domain",
            &[(URI, b"spiffe://mesh.local.evil/ns/shop/sa/cart")],
            "wrong_trust_domain",
        ),
    ];
    for (what, names, verdict) in cases {
        let chain = ca.forge(&Forgery::of(names));
        assert_eq!(both(&ca, &chain), [*verdict; 2], "{what}");
    }
}

#[test]
fn a_common_name_is_no_identity() {
    let ca = TestCa::new();
    let mut forgery = Forgery::of(&[]);
    forgery.common_name = Some("spiffe://mesh.local/ns/shop/sa/cart");
    assert_eq!(both(&ca, &ca.forge(&forgery)), ["no_uri"; 2]);

    let mut forgery = Forgery::of(&[(URI, b"spiffe://mesh.local/ns/shop/sa/orders")]);
    forgery.common_name = Some("spiffe://mesh.local/ns/shop/sa/cart");
    assert_eq!(both(&ca, &ca.forge(&forgery)), ["wrong_identity", "ok"]);
}

#[test]
fn a_client_meets_the_very_service_account_that_it_expects() {
    let ca = TestCa::new();
    let chain = ca.svid(&id("cart")).certified.cert.clone();
    let now = SystemTime::now();
    let expecting = |id: &str| as_server(&ca, &id.parse().unwrap(), &chain, now);
    assert_eq!(expecting("spiffe://mesh.local/ns/shop/sa/cart"), "ok");
    for other in [
        "spiffe://mesh.local/ns/shop/sa/Cart",
        "spiffe://mesh.local/ns/shop/sa/car",
        "spiffe://mesh.local/ns/shop/sa/cart2",
        "spiffe://mesh.local/ns/shop2/sa/cart",
    ] {
        assert_eq!(expecting(other), "wrong_identity", "{other}");
    }
}

#[test]
fn usage_is_asked_for_on_each_side() {
    let ca = TestCa::new();
    let forge = |edit: &dyn Fn(&mut Forgery)| {
        let mut forgery = Forgery::of(&[(URI, CART)]);
        edit(&mut forgery);
        both(&ca, &ca.forge(&forgery))
    };
    let extended =
        |usages: &[ExtendedKeyUsagePurpose]| forge(&|forgery| forgery.extended = usages.to_vec());
    use ExtendedKeyUsagePurpose::{ClientAuth, CodeSigning, ServerAuth};
    assert_eq!(extended(&[ServerAuth]), ["ok", "wrong_usage"]);
    assert_eq!(extended(&[ClientAuth]), ["wrong_usage", "ok"]);
    assert_eq!(extended(&[CodeSigning]), ["wrong_usage"; 2]);
    assert_eq!(extended(&[]), ["wrong_usage"; 2]);
    let ca_leaf = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    assert_eq!(forge(&|f| f.is_ca = ca_leaf), ["wrong_usage"; 2]);
    let may_sign = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyCertSign,
    ];
    assert_eq!(
        forge(&|f| f.key_usages = may_sign.clone()),
        ["wrong_usage"; 2]
    );
    assert_eq!(forge(&|f| f.key_usages.clear()), ["wrong_usage"; 2]);
}

/// A workload that plays the CA with its own good certificate.
fn signed_by_a_leaf(ca: &TestCa) -> Vec<CertificateDer<'static>> {
    let request = CertificateRequest::generate();
    let (life, now) = (DEFAULT_LIFETIME, SystemTime::now());
    let good = ca
        .ca
        .sign(&id("orders"), &request.csr_der, life, now)
        .unwrap();
    let key = KeyPair::try_from(&request.key).unwrap();
    let issuer = Issuer::from_ca_cert_der(&good[0], key).unwrap();
    let forged = Forgery::of(&[(URI, CART)])
        .params()
        .signed_by(&KeyPair::generate().unwrap(), &issuer)
        .unwrap();
    std::iter::once(forged.into()).chain(good).collect()
}

#[test]
fn the_chain_ends_at_a_root_of_the_bundle() {
    let ca = TestCa::new();
    let stranger = TestCa::new();
    let foreign = stranger.svid(&id("cart")).certified.cert.clone();
    assert_eq!(both(&ca, &foreign), ["unknown_issuer"; 2]);
    let own = self_signed(&id("cart")).certified.cert.clone();
    assert_eq!(both(&ca, &own), ["unknown_issuer"; 2]);

    let good = ca.svid(&id("cart")).certified.cert.clone();
    assert_eq!(
        both(&ca, &good[..1]),
        ["unknown_issuer"; 2],
        "no intermediate"
    );
    let under_a_leaf = signed_by_a_leaf(&ca);
    assert_eq!(both(&ca, &under_a_leaf), ["unknown_issuer"; 2]);

    // While a rotation is under way the bundle has both roots.
    ca.files.add_roots(&stranger.ca.roots_pem()).unwrap();
    assert_eq!(both(&ca, &foreign), ["ok"; 2]);
    assert_eq!(both(&ca, &good), ["ok"; 2]);
}

#[test]
fn clocks_may_differ_by_two_minutes_and_certificates_end() {
    let ca = TestCa::new();
    let now = SystemTime::now();
    let chain = ca
        .svid_at(&id("cart"), now, DEFAULT_LIFETIME)
        .certified
        .cert
        .clone();
    let at = |now| {
        [
            as_server(&ca, &id("cart"), &chain, now),
            as_client(&ca, &chain, now),
        ]
    };
    let second = Duration::from_secs(1);
    assert_eq!(at(now - CLOCK_SKEW), ["ok"; 2]);
    assert_eq!(at(now + CLOCK_SKEW), ["ok"; 2]);
    assert_eq!(at(now - CLOCK_SKEW - second), ["not_yet_valid"; 2]);
    assert_eq!(at(now + DEFAULT_LIFETIME - second), ["ok"; 2]);
    assert_eq!(at(now + DEFAULT_LIFETIME + second), ["expired"; 2]);
}

#[test]
fn a_chain_that_was_found_valid_is_held_to_all_that_made_it_so() {
    let ca = TestCa::new();
    let known = anchors(&ca);
    let now = SystemTime::now();
    let cart = id("cart");
    let mut forgery = Forgery::of(&[(URI, CART)]);
    forgery.extended = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let chain = ca.forge(&forgery);
    let verdict = |chain: &Chain, now| of_server(&known, &cart, chain, now);
    assert_eq!(verdict(&chain, now), "ok");
    assert_eq!(known.proven().len(), 1);

    // It is what the next answers come from.
    assert!(
        known
            .proven()
            .find(&chain[0], &chain[1..], Side::Server, now)
            .is_some()
    );
    assert_eq!(verdict(&chain, now), "ok");
    assert_eq!(known.proven().len(), 1);

    let year = Duration::from_secs(365 * 24 * 3600);
    assert_eq!(verdict(&chain, now + 100 * year), "expired");
    assert_eq!(verdict(&chain, now - 40 * year), "not_yet_valid");
    assert_eq!(
        of_server(&known, &id("orders"), &chain, now),
        "wrong_identity"
    );
    assert_eq!(of_client(&known, &chain, now), "wrong_usage");
    assert_eq!(verdict(&chain[..1], now), "unknown_issuer");
    let other = ca.forge(&forgery);
    let mixed = [other[0].clone(), other[1].clone(), chain[1].clone()];
    assert_eq!(
        verdict(&mixed, now),
        "ok",
        "a leaf of its own is proven by itself"
    );
    let mut damaged = chain.clone();
    let mut leaf = damaged[0].to_vec();
    *leaf.last_mut().unwrap() ^= 1;
    damaged[0] = leaf.into();
    assert_ne!(verdict(&damaged, now), "ok");
    assert_eq!(
        known.proven().len(),
        2,
        "what was refused is not remembered"
    );

    // A rotation brings other anchors, and they know of nothing yet.
    let stranger = anchors(&TestCa::new());
    assert_eq!(of_server(&stranger, &cart, &chain, now), "unknown_issuer");
}

/// The reasons as (client, server) see them, for an identity used on one side.
async fn refused(client: &Svid, server: &Svid, ca: &TestCa) -> (&'static str, &'static str) {
    let store = |svid: &Svid| {
        let store = IdentityStore::new();
        store.set(svid.clone(), &ca.bundle()).unwrap();
        store.current().unwrap()
    };
    let config = store(client).client_config(&id("orders"), Alpn::H2);
    let (client, server) = handshake(config, store(server).server_config()).await;
    let reason = |error: io::Error| TlsFailure::of(&error).as_str();
    (reason(client.unwrap_err()), reason(server.unwrap_err()))
}

#[tokio::test]
async fn both_sides_of_a_refused_handshake_know_the_reason() {
    let ca = TestCa::new();
    let foreign = TestCa::of("other.local");
    let now = SystemTime::now();
    let hour = Duration::from_secs(3600);
    let good = |name: &str| ca.svid(&id(name));
    let expired = |name: &str| ca.svid_at(&id(name), now - 2 * hour, hour);
    let early = |name: &str| ca.svid_at(&id(name), now + hour, hour);
    let stranger = foreign.svid(&SpiffeId::new("other.local", "shop", "orders").unwrap());

    for (bad, ours, theirs) in [
        (expired("orders"), "expired", "peer_says_expired"),
        (early("orders"), "not_yet_valid", "peer_says_expired"),
        (
            good("payments"),
            "wrong_identity",
            "peer_says_wrong_identity",
        ),
        (
            self_signed(&id("orders")),
            "unknown_issuer",
            "peer_says_unknown_issuer",
        ),
        (
            stranger.clone(),
            "unknown_issuer",
            "peer_says_unknown_issuer",
        ),
    ] {
        assert_eq!(refused(&good("cart"), &bad, &ca).await, (ours, theirs));
    }
    for (bad, ours, theirs) in [
        (expired("cart"), "expired", "peer_says_expired"),
        (early("cart"), "not_yet_valid", "peer_says_expired"),
        (
            self_signed(&id("cart")),
            "unknown_issuer",
            "peer_says_unknown_issuer",
        ),
        (stranger, "unknown_issuer", "peer_says_unknown_issuer"),
    ] {
        assert_eq!(refused(&bad, &good("orders"), &ca).await, (theirs, ours));
    }
}

#[test]
fn a_refusal_says_who_was_met_and_who_was_expected() {
    let ca = TestCa::new();
    let chain = ca.svid(&id("cart")).certified.cert.clone();
    let verifier = PeerVerifier::of_server(anchors(&ca), id("orders"));
    let name = crate::identity::peer_name();
    let error = verifier
        .verify_server_cert(&chain[0], &chain[1..], &name, &[], UnixTime::now())
        .unwrap_err();
    assert_eq!(
        describe_tls_failure(&io::Error::other(error)),
        "the peer's certificate was refused: wrong_identity, expected \
         spiffe://mesh.local/ns/shop/sa/orders, met spiffe://mesh.local/ns/shop/sa/cart"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_damaged_certificate_is_refused_without_a_panic(at in 0usize..350, bit in 0u8..8) {
        let ca = TestCa::new();
        let mut chain = ca.svid(&id("cart")).certified.cert.clone();
        let mut leaf = chain[0].to_vec();
        let at = at % leaf.len();
        leaf[at] ^= 1 << bit;
        chain[0] = leaf.clone().into();
        prop_assert!(both(&ca, &chain).iter().all(|verdict| *verdict != "ok"));
        chain[0] = leaf[..at].to_vec().into();
        prop_assert!(both(&ca, &chain).iter().all(|verdict| *verdict != "ok"));
    }
}
