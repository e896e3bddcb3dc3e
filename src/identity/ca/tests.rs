use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use rcgen::{CertificateParams, IsCa, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::{
    files::{Directory, ISSUER_CERT, ISSUER_KEY, ROOT_CERT, ROOT_KEY},
    *,
};
use crate::identity::{
    CertificateRequest, InvalidSvid, Svid, certificate_id, names,
    svid::validity,
    testing::{TestCa, id},
};

const HOUR: Duration = Duration::from_secs(3600);

fn open(dir: &Path) -> Result<CaDirectory, CaError> {
    CaDirectory::load_or_create(dir, "mesh.local")
}

fn sign(ca: &CertificateAuthority, csr: &[u8]) -> Result<Vec<CertificateDer<'static>>, CaError> {
    ca.sign(&id("cart"), csr, HOUR, SystemTime::now())
}

fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

fn message(result: Result<impl Sized, CaError>) -> String {
    result.map(drop).unwrap_err().to_string()
}

#[test]
fn a_key_that_others_may_read_is_found() {
    let TestCa { dir, .. } = TestCa::new();
    let found = || Directory::new(dir.path()).open_keys();
    assert!(found().is_empty());
    let key = dir.path().join(ISSUER_KEY);
    fs::set_permissions(&key, Permissions::from_mode(0o640)).unwrap();
    assert_eq!(found(), [key]);
}

#[test]
fn the_first_run_makes_four_files_and_the_second_reads_them() {
    let TestCa { ca, dir, .. } = TestCa::new();
    let mut files: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            (entry.file_name().into_string().unwrap(), mode)
        })
        .collect();
    files.sort();
    assert_eq!(
        files,
        [
            (".lock".into(), 0o600),
            (ISSUER_KEY.into(), 0o600),
            (ISSUER_CERT.to_owned(), 0o644),
            (ROOT_KEY.into(), 0o600),
            (ROOT_CERT.into(), 0o644)
        ]
    );
    let again = open(dir.path()).unwrap();
    let again = again.authority();
    assert_eq!(again.roots_pem(), ca.roots_pem());
    assert_eq!(again.state.load().chain, ca.state.load().chain);
}

#[test]
fn the_authority_of_another_trust_domain_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let long = |end: &str| format!("{}.{end}", "a".repeat(50));
    CaDirectory::load_or_create(dir.path(), &long("example")).unwrap();
    // The name of a certificate holds the beginning of it.
    CaDirectory::load_or_create(dir.path(), &long("example")).unwrap();
    let refused = message(open(dir.path()));
    for part in ["trust domain aaaa", "not of mesh.local", "--ca-dir"] {
        assert!(refused.contains(part), "{refused}");
    }
}

#[test]
fn first_runs_at_once_end_with_one_authority() {
    let dir = tempfile::tempdir().unwrap();
    let roots: Vec<String> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| open(dir.path()).unwrap().authority().roots_pem()))
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert!(roots.iter().all(|pem| *pem == roots[0]));
}

#[test]
fn a_certificate_names_one_uri_for_both_sides_of_tls() {
    let TestCa { ca, dir: _dir, .. } = TestCa::new();
    // Certificates know no parts of a second.
    let now = whole_seconds(SystemTime::now());
    let request = CertificateRequest::generate();
    let chain = ca.sign(&id("cart"), &request.csr_der, HOUR, now).unwrap();
    let leaf = names::parse(&chain[0]).unwrap();
    assert_eq!(chain.len(), 2);
    assert_eq!(names::spiffe_id(&leaf), Ok(id("cart")));
    assert_eq!(leaf.subject().iter().count(), 0);
    assert!(leaf.subject_alternative_name().unwrap().unwrap().critical);
    assert!(!leaf.is_ca());
    assert_eq!(validity(&leaf), (now - CLOCK_SKEW, now + HOUR));
    let usage = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && usage.client_auth && !usage.any);
    assert!(usage.other.is_empty());

    let second = ca.sign(&id("cart"), &request.csr_der, HOUR, now).unwrap();
    assert_ne!(
        leaf.raw_serial(),
        names::parse(&second[0]).unwrap().raw_serial()
    );
    assert!(Svid::new(chain, request.key).is_ok());
    assert!(matches!(
        Svid::new(second, CertificateRequest::generate().key),
        Err(InvalidSvid::Key(_))
    ));
}

#[test]
fn only_the_key_of_a_request_counts() {
    let TestCa { ca, dir: _dir, .. } = TestCa::new();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["victim.shop".to_owned()]).unwrap();
    params.subject_alt_names.push(SanType::URI(
        id("victim").as_str().to_owned().try_into().unwrap(),
    ));
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let csr = params.serialize_request(&key).unwrap();
    let chain = sign(&ca, csr.der()).unwrap();
    assert_eq!(certificate_id(&chain), Some(id("cart")));
    assert!(!names::parse(&chain[0]).unwrap().is_ca());
}

#[test]
fn requests_that_prove_no_key_are_refused() {
    let TestCa { ca, dir: _dir, .. } = TestCa::new();
    let good = CertificateRequest::generate().csr_der;
    assert!(sign(&ca, &good).is_ok());

    let mut tampered = good.clone();
    *tampered.last_mut().unwrap() ^= 1;
    assert!(message(sign(&ca, &tampered)).contains("not signed by the key"));

    let trailing = [&good[..], b"x"].concat();
    for malformed in [&[][..], b"csr", &good[..good.len() - 1], &trailing] {
        assert!(message(sign(&ca, malformed)).contains("PKCS #10"));
    }
    let other = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let csr = CertificateParams::default()
        .serialize_request(&other)
        .unwrap();
    assert!(message(sign(&ca, csr.der())).contains("not ECDSA P-256"));
}

#[test]
fn nothing_is_signed_for_another_trust_domain_or_beyond_the_issuer() {
    let TestCa { ca, dir: _dir, .. } = TestCa::new();
    let csr = CertificateRequest::generate().csr_der;
    let foreign = SpiffeId::new("other.local", "shop", "cart").unwrap();
    let now = SystemTime::now();
    assert!(matches!(
        ca.sign(&foreign, &csr, HOUR, now),
        Err(CaError::ForeignId { .. })
    ));
    let (_, end) = ca.issuer_validity();
    let chain = ca.sign(&id("cart"), &csr, HOUR, end - HOUR / 2).unwrap();
    assert_eq!(validity(&names::parse(&chain[0]).unwrap()).1, end);
    assert!(matches!(
        ca.sign(&id("cart"), &csr, HOUR, end),
        Err(CaError::IssuerExpired)
    ));
    assert!(matches!(
        CaDirectory::load_or_create(Path::new("/nowhere"), "Mesh.local"),
        Err(CaError::TrustDomain(_))
    ));
}

#[test]
fn a_first_run_that_was_cut_off_is_completed() {
    for kept in [
        &[][..],
        &[ROOT_KEY],
        &[ROOT_KEY, ROOT_CERT],
        &[ROOT_KEY, ROOT_CERT, ISSUER_KEY],
    ] {
        let TestCa { dir, .. } = TestCa::new();
        let root_key = fs::read(dir.path().join(ROOT_KEY)).unwrap();
        for name in [ROOT_KEY, ROOT_CERT, ISSUER_KEY, ISSUER_CERT] {
            if !kept.contains(&name) {
                fs::remove_file(dir.path().join(name)).unwrap();
            }
        }
        let ca = open(dir.path()).unwrap();
        assert!(sign(ca.authority(), &CertificateRequest::generate().csr_der).is_ok());
        let key_kept = fs::read(dir.path().join(ROOT_KEY)).unwrap() == root_key;
        assert_eq!(key_kept, kept.contains(&ROOT_KEY), "{kept:?}");
    }
}

#[test]
fn a_rotation_that_was_cut_off_is_completed() {
    let TestCa { dir, .. } = TestCa::new();
    let stray = KeyPair::generate().unwrap().serialize_pem();
    fs::write(dir.path().join(ISSUER_KEY), stray).unwrap();
    let ca = open(dir.path()).unwrap();
    assert!(sign(ca.authority(), &CertificateRequest::generate().csr_der).is_ok());

    // The new root has joined the bundle, its key was not written yet.
    let old_key = fs::read(dir.path().join(ROOT_KEY)).unwrap();
    ca.rotate_root(SystemTime::now()).unwrap();
    fs::write(dir.path().join(ROOT_KEY), old_key).unwrap();
    open(dir.path())
        .unwrap()
        .rotate_issuer(SystemTime::now())
        .unwrap();
}

#[test]
fn an_issuer_that_somebody_else_signed_is_taken_as_it_is() {
    let TestCa { ca, dir, .. } = TestCa::new();
    fs::remove_file(dir.path().join(ROOT_KEY)).unwrap();
    let brought = open(dir.path()).unwrap();
    assert!(sign(brought.authority(), &CertificateRequest::generate().csr_der).is_ok());
    let now = SystemTime::now();
    for result in [brought.rotate_issuer(now), brought.rotate_root(now)] {
        assert!(matches!(result, Err(CaError::NoRootKey { .. })));
    }

    let other = TestCa::new();
    brought.add_roots(&other.ca.roots_pem()).unwrap();
    brought.add_roots(&other.ca.roots_pem()).unwrap();
    assert_eq!(
        brought.authority().roots_pem(),
        ca.roots_pem() + &other.ca.roots_pem()
    );
    for name in [ISSUER_CERT, ISSUER_KEY] {
        fs::copy(other.dir.path().join(name), dir.path().join(name)).unwrap();
    }
    brought.reload().unwrap();
    brought.retire_roots().unwrap();
    assert_eq!(brought.authority().roots_pem(), other.ca.roots_pem());
}

#[test]
fn files_that_do_not_belong_together_are_refused_by_name() {
    let other = TestCa::new();
    let foreign = |name: &str| fs::read(other.dir.path().join(name)).unwrap();
    let broken = |edit: &dyn Fn(&Path)| {
        let TestCa { dir, .. } = TestCa::new();
        fs::remove_file(dir.path().join(ROOT_KEY)).unwrap();
        edit(dir.path());
        message(open(dir.path()))
    };
    let replace = |name: &'static str, content: Vec<u8>| {
        broken(&move |dir| fs::write(dir.join(name), &content).unwrap())
    };
    let remove = |name: &'static str| broken(&move |dir| fs::remove_file(dir.join(name)).unwrap());

    for (error, file, problem) in [
        (
            replace(ISSUER_KEY, foreign(ISSUER_KEY)),
            ISSUER_CERT,
            "not the certificate of",
        ),
        (
            replace(ISSUER_KEY, b"key".to_vec()),
            ISSUER_KEY,
            "not a usable private key",
        ),
        (
            replace(ROOT_CERT, foreign(ROOT_CERT)),
            ISSUER_CERT,
            "signed by none",
        ),
        (
            replace(ROOT_CERT, Vec::new()),
            ROOT_CERT,
            "holds no certificate",
        ),
        (
            remove(ISSUER_CERT),
            ISSUER_CERT,
            "no root.key to sign another",
        ),
        (remove(ROOT_CERT), ROOT_CERT, "put its root back"),
    ] {
        assert!(error.contains(file) && error.contains(problem), "{error}");
    }
}

#[test]
fn a_root_that_no_proxy_would_take_is_refused() {
    let TestCa { dir, .. } = TestCa::new();
    let path = dir.path().join(ROOT_CERT);
    let mut root = CertificateDer::from_pem_file(&path).unwrap().to_vec();
    // The subject key identifier's value with a tag that is none: our parser passes over it.
    let identifier = [0x55, 0x1d, 0x0e, 0x04];
    let at = root.windows(4).position(|bytes| bytes == identifier);
    root[at.expect("it has one") + 3] = 0x84;
    fs::write(&path, state::to_pem(&[root.into()])).unwrap();
    let error = message(open(dir.path()));
    assert!(
        error.contains(ROOT_CERT) && error.contains("cannot be trusted"),
        "{error}"
    );
}

#[test]
fn what_is_said_of_a_broken_key_does_not_tell_it() {
    let TestCa { dir, .. } = TestCa::new();
    let path = dir.path().join(ISSUER_KEY);
    let key = fs::read_to_string(&path).unwrap();
    for broken in [
        key.replace('\n', ""),
        key.replace("END", "END OF"),
        key.replacen("MI", "!!", 1),
    ] {
        fs::write(&path, &broken).unwrap();
        let error = message(open(dir.path()));
        assert!(error.contains(ISSUER_KEY) && error.len() < 300, "{error}");
    }
}
