//! `outrigger token`: a fresh token for a workload of a registry file.

use super::stdout;
use crate::controller::token::{TokenDigest, generate};

/// Print a fresh token, and the digest of it that goes into the registry.
#[derive(clap::Args)]
pub(super) struct TokenArgs {}

impl TokenArgs {
    /// # Errors
    /// When standard output cannot be written to.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let token = generate();
        let digest = TokenDigest::of(&token);
        stdout::finish(&format!("token: {token}\ntokenSha256: {digest}\n"))
    }
}
