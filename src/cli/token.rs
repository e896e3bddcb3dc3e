//! `outrigger token`: a fresh token for a workload of a registry file.

use crate::controller::token::{TokenDigest, generate};

/// Print a fresh token, and the digest of it that goes into the registry.
#[derive(clap::Args)]
pub(super) struct TokenArgs {}

impl TokenArgs {
    pub(super) fn run(self) {
        let token = generate();
        println!("token: {token}");
        println!("tokenSha256: {}", TokenDigest::of(&token));
    }
}
