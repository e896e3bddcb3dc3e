use std::{
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::identity::{
    SpiffeId, TrustAnchors,
    ca::{AuthorityPem, CertificateAuthority, Part, SigningRoot},
    certificate_id,
};

const TRUST_DOMAIN: &str = "mesh.local";
/// Parts the three texts of an authority.
const NEXT: &str = "\n---\n";

/// Of the same key in every run of a process: certificates are compared by what they name alone.
static AUTHORITY: LazyLock<CertificateAuthority> = LazyLock::new(|| {
    let now = SystemTime::now();
    let root = SigningRoot::generate(TRUST_DOMAIN, now).expect("a root");
    let issuer = root.issue(TRUST_DOMAIN, now).expect("an issuer");
    let pem = AuthorityPem {
        roots: Part::new("roots", root.certificate_pem()),
        chain: Part::new("chain", issuer.certificate),
        key: Part::new("key", issuer.key),
    };
    CertificateAuthority::from_pem(TRUST_DOMAIN, &pem).expect("they belong together")
});

/// A certificate, a request for one, a trust bundle, or an authority's three texts. An identity
/// that is read stands in the certificate as a URI; whatever a request asks for, it gets the
/// identity of its token; a bundle is read whole or not at all.
pub fn certificate(data: &[u8]) {
    check_certificate(data);
    check_request(data);
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    check_bundle(text);
    let mut parts = text.split(NEXT);
    if let (Some(roots), Some(chain), Some(key)) = (parts.next(), parts.next(), parts.next()) {
        check_authority([roots, chain, key]);
    }
}

fn check_certificate(der: &[u8]) {
    let Some(id) = certificate_id(&[CertificateDer::from(der)]) else {
        return;
    };
    let uri = id.as_str().as_bytes();
    // The length of the URI comes before it (RFC 5280, 4.2.1.6).
    let mut places = der.windows(uri.len()).enumerate().skip(1);
    let last = uri.len().to_be_bytes()[7];
    assert!(
        places.any(|(at, window)| window == uri && der[at - 1] == last),
        "{id} is not in it"
    );
    let chain = [CertificateDer::from(der), CertificateDer::from(&b"x"[..])];
    assert_eq!(certificate_id(&chain), Some(id), "the first one counts");
}

fn check_request(der: &[u8]) {
    let id = SpiffeId::new(TRUST_DOMAIN, "shop", "cart").expect("a name");
    let signed = AUTHORITY.sign(&id, der, Duration::from_secs(60), SystemTime::now());
    if let Ok(chain) = signed {
        assert_eq!(certificate_id(&chain), Some(id));
    }
}

fn check_bundle(text: &str) {
    let blocks: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match TrustAnchors::from_pem(text) {
        Ok(anchors) => {
            assert!(blocks.iter().all(Result::is_ok), "a part cannot be read");
            assert_eq!(anchors.len(), blocks.len());
        }
        Err(error) => assert!(error.to_string().len() < 1_024, "{error}"),
    }
    for block in blocks.iter().flatten() {
        check_certificate(block);
    }
}

fn check_authority([roots, chain, key]: [&str; 3]) {
    let pem = AuthorityPem {
        roots: Part::new("roots", roots),
        chain: Part::new("chain", chain),
        key: Part::new("key", key),
    };
    match CertificateAuthority::from_pem(TRUST_DOMAIN, &pem) {
        Ok(authority) => {
            let roots = TrustAnchors::from_pem(&authority.roots_pem());
            assert!(roots.is_ok_and(|roots| roots.len() > 0));
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.len() < 1_024, "{text}");
            let secret = key.lines().find(|line| line.len() >= 40);
            assert!(
                secret.is_none_or(|secret| !text.contains(secret)),
                "it tells the key"
            );
        }
    }
}
