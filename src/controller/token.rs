//! Tokens for workloads where no platform hands them out. The registry holds their digests only,
//! so that reading it lets nobody in.

use std::{fmt, str::FromStr};

use aws_lc_rs::digest;

use crate::units;

/// The SHA-256 of a token, written as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 32]);

/// Why a text is not the digest of a token.
#[derive(Debug, thiserror::Error)]
#[error("must be the 64 hexadecimal digits of a SHA-256: `outrigger token` makes one")]
pub struct InvalidTokenDigest;

impl TokenDigest {
    pub fn of(token: &str) -> Self {
        let digest = digest::digest(&digest::SHA256, token.as_bytes());
        Self(digest.as_ref().try_into().expect("a SHA-256 has 32 bytes"))
    }
}

impl FromStr for TokenDigest {
    type Err = InvalidTokenDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidTokenDigest);
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16)
                .map_err(|_| InvalidTokenDigest)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

units::serde_as_text!(TokenDigest);

/// A fresh token of 256 random bits, hexadecimal.
pub fn generate() -> String {
    unguessable::<32>()
}

/// So many random bytes, hexadecimal.
pub fn unguessable<const BYTES: usize>() -> String {
    let mut bytes = [0; BYTES];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's random numbers are available");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_sha_256() {
        assert_eq!(
            TokenDigest::of("abc").to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_ne!(generate(), generate());
    }

    #[test]
    fn reads_what_it_writes_and_nothing_else() {
        let digest = TokenDigest::of(&generate());
        assert_eq!(digest.to_string().parse::<TokenDigest>().unwrap(), digest);
        for text in ["", "abc", &"g".repeat(64), &"a".repeat(65), &"é".repeat(32)] {
            assert!(text.parse::<TokenDigest>().is_err(), "{text:?}");
        }
    }
}
