use super::*;

const DAY: Duration = Duration::from_secs(86_400);

fn made(trust_domain: &str, now: SystemTime) -> Secret {
    let root = SigningRoot::generate(trust_domain, now).unwrap();
    let issuer = root.issue(trust_domain, now).unwrap();
    let parts = [
        (CERTIFICATE, &*issuer.certificate),
        (KEY, &issuer.key),
        (ROOTS, &root.certificate_pem()),
    ];
    secret(CA, parts)
}

fn put(secret: &mut Secret, key: &str, bytes: &[u8]) {
    let data = secret.data.as_mut().unwrap();
    data.insert(key.into(), ByteString(bytes.to_vec()));
}

fn refused(secret: &Secret) -> String {
    read(secret, "cluster.local", SystemTime::now())
        .unwrap_err()
        .to_string()
}

#[test]
fn reads_what_it_makes() {
    let now = SystemTime::now();
    let secret = made("cluster.local", now);
    let pem = read(&secret, "cluster.local", now).unwrap();
    assert!(pem.key.pem.contains("PRIVATE KEY"));
    assert!(
        !format!("{pem:?}").contains("PRIVATE KEY"),
        "never in a log"
    );
}

#[test]
fn a_missing_part_is_named() {
    for key in [CERTIFICATE, KEY, ROOTS] {
        let mut secret = made("cluster.local", SystemTime::now());
        secret.data.as_mut().unwrap().remove(key);
        let error = refused(&secret);
        assert!(error.contains(key) && error.contains(CA), "{error}");
        put(&mut secret, key, &[0xff, 0xfe]);
        assert!(refused(&secret).contains("no readable"));
    }
}

#[test]
fn parts_of_two_authorities_are_refused() {
    let now = SystemTime::now();
    let other = made("cluster.local", now).data.unwrap();
    for key in [KEY, ROOTS] {
        let mut secret = made("cluster.local", now);
        put(&mut secret, key, &other[key].0);
        assert!(refused(&secret).contains("of the Secret outrigger-ca"));
    }
}

#[test]
fn an_expired_issuer_is_refused() {
    let long_ago = SystemTime::now() - 366 * DAY;
    let error = refused(&made("cluster.local", long_ago));
    assert!(error.contains("expired"), "{error}");
}

#[test]
fn a_certificate_that_may_not_sign_below_another_is_refused() {
    // A root that was made for issuing directly, brought as if it had an intermediate below.
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    let params = |name: &str, path_len| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_len));
        params
    };
    let (root_key, middle_key, key) = (
        KeyPair::generate().unwrap(),
        KeyPair::generate().unwrap(),
        KeyPair::generate().unwrap(),
    );
    let root = params("root", 0).self_signed(&root_key).unwrap();
    let root_issuer = Issuer::from_ca_cert_der(root.der(), &root_key).unwrap();
    let middle = params("middle", 0)
        .signed_by(&middle_key, &root_issuer)
        .unwrap();
    let middle_issuer = Issuer::from_ca_cert_der(middle.der(), &middle_key).unwrap();
    let issuer = params("issuer", 0).signed_by(&key, &middle_issuer).unwrap();
    let chain = issuer.pem() + &middle.pem();
    let parts = [
        (CERTIFICATE, &*chain),
        (KEY, &key.serialize_pem()),
        (ROOTS, &root.pem()),
    ];
    let error = refused(&secret(CA, parts));
    assert!(error.contains("no peer would accept"), "{error}");
}

#[test]
fn only_an_issuer_under_our_root_is_ours_to_renew() {
    let now = SystemTime::now();
    let root = SigningRoot::generate("cluster.local", now).unwrap();
    let certificate = root.certificate_pem();
    let parts = [
        (CERTIFICATE, &*certificate),
        (KEY, &root.key_pem()),
        (ROOTS, &certificate),
    ];
    let kept = secret(ROOT, parts);
    let ours = issue("cluster.local", &kept, now).unwrap();
    let ours = read(&ours, "cluster.local", now).unwrap();
    assert!(is_ours(&ours, &kept));
    let brought = read(&made("cluster.local", now), "cluster.local", now).unwrap();
    assert!(!is_ours(&brought, &kept));
}

#[test]
fn an_issuer_is_renewed_between_half_and_four_fifths_of_its_life() {
    let from = SystemTime::UNIX_EPOCH;
    let life = (from, from + 1_000 * DAY);
    assert_eq!(renewal(life, 0.0), from + 500 * DAY);
    assert_eq!(renewal(life, 1.0), from + 800 * DAY);
}
