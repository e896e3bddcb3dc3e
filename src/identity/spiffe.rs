//! SPIFFE IDs of the form `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.

use std::{fmt, str::FromStr, sync::Arc};

use crate::units;

/// A workload's identity. Comparing two is comparing their bytes: no case folding, no
/// percent-decoding, no wildcards.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId(Arc<str>);

/// Why a text is not an identity of the mesh.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is not an identity: expected spiffe://<trust domain>/ns/<namespace>/sa/<service account>"
)]
pub struct InvalidSpiffeId(String);

impl SpiffeId {
    /// # Errors
    /// When a part is empty or has a character that SPIFFE does not allow in its place.
    pub fn new(
        trust_domain: &str,
        namespace: &str,
        service_account: &str,
    ) -> Result<Self, InvalidSpiffeId> {
        format!("spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}").parse()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn trust_domain(&self) -> &str {
        self.parts().0
    }

    pub fn namespace(&self) -> &str {
        self.parts().1
    }

    pub fn service_account(&self) -> &str {
        self.parts().2
    }

    fn parts(&self) -> (&str, &str, &str) {
        split(&self.0).expect("checked when it was made")
    }
}

/// How to mend what is no trust domain; follows the text that is none.
pub const NO_TRUST_DOMAIN: &str = "is not a trust domain: use lower-case letters, digits, '-', '_' \
                                   and single dots between them, up to 255 characters";

/// Whether a text can be the trust domain of a mesh. Narrower than what SPIFFE allows in an ID of
/// others: its parts between the dots begin and end with a letter or a digit.
pub fn is_trust_domain(text: &str) -> bool {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.ends_with(|c: char| c.is_ascii_alphanumeric())
    };
    text.split('.').all(part) && SpiffeId::new(text, "any", "any").is_ok()
}

fn split(text: &str) -> Option<(&str, &str, &str)> {
    let mut parts = text.strip_prefix("spiffe://")?.split('/');
    let trust_domain = parts.next()?;
    (parts.next()? == "ns").then_some(())?;
    let namespace = parts.next()?;
    (parts.next()? == "sa").then_some(())?;
    let service_account = parts.next()?;
    parts
        .next()
        .is_none()
        .then_some((trust_domain, namespace, service_account))
}

/// The character sets are those of the SPIFFE ID standard, sections 2.1 and 2.2.
impl FromStr for SpiffeId {
    type Err = InvalidSpiffeId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let domain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c);
        let segment = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        let name = |s: &str| !s.is_empty() && s != "." && s != ".." && s.chars().all(segment);
        split(text)
            .filter(|_| text.len() <= 2048)
            .filter(|(d, ns, sa)| {
                !d.is_empty() && d.len() <= 255 && d.chars().all(domain) && name(ns) && name(sa)
            })
            .map(|_| SpiffeId(text.into()))
            .ok_or_else(|| InvalidSpiffeId(text.to_owned()))
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

units::serde_as_text!(SpiffeId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_its_parts() {
        let id: SpiffeId = "spiffe://mesh.local/ns/shop/sa/cart".parse().unwrap();
        assert_eq!(
            (id.trust_domain(), id.namespace(), id.service_account()),
            ("mesh.local", "shop", "cart")
        );
        assert_eq!(SpiffeId::new("mesh.local", "shop", "cart").unwrap(), id);
    }

    #[test]
    fn a_trust_domain_has_something_between_its_dots() {
        for text in ["a", "mesh.local", "prod-1.eu_west.example.com", "10.0.0.1"] {
            assert!(is_trust_domain(text), "{text:?}");
        }
        let long = "a".repeat(256);
        for text in [
            "", ".", "...", "a..b", ".a", "a.", "-a", "a-", "A", "a b", "a/b", &long,
        ] {
            assert!(!is_trust_domain(text), "{text:?}");
        }
    }

    #[test]
    fn refuses_what_is_not_exactly_the_form() {
        for text in [
            "",
            "spiffe://",
            "spiffe:///ns/shop/sa/cart",
            "SPIFFE://mesh.local/ns/shop/sa/cart",
            "spiffe://Mesh.local/ns/shop/sa/cart",
            "spiffe://mesh.local:80/ns/shop/sa/cart",
            "spiffe://user@mesh.local/ns/shop/sa/cart",
            "spiffe://mesh.local/ns/shop/sa/cart/",
            "spiffe://mesh.local/ns/shop/sa/cart?x",
            "spiffe://mesh.local/ns//sa/cart",
            "spiffe://mesh.local/ns/../sa/cart",
            "spiffe://mesh.local/ns/shop/sa/ca\0rt",
            "spiffe://mesh.local/ns/shop/sa/c%61rt",
            "spiffe://mesh.local/ns/*/sa/cart",
            "https://mesh.local/ns/shop/sa/cart",
        ] {
            assert!(text.parse::<SpiffeId>().is_err(), "{text:?}");
        }
    }
}
