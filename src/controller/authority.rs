//! The identity service: a token and a signing request in, a certificate out.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use tonic::{Request, Response, Status};

use super::token::TokenDigest;
use crate::{
    discovery::proto::identity::{
        CertifyRequest, CertifyResponse, identity_server::Identity as IdentityService,
    },
    identity::{
        SpiffeId,
        ca::{CaError, CertificateAuthority},
    },
};

/// Service account tokens have about 1 KiB.
const MAX_TOKEN: usize = 16 << 10;
const MAX_CSR: usize = 16 << 10;

/// Why a token proves nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenRefused {
    /// Says no more than this: whoever guesses learns nothing from the answer.
    #[error("the token is not one of this mesh")]
    Unknown,
    #[error("tokens cannot be verified at the moment: {0}")]
    Unavailable(String),
}

/// Knows whose a token is.
#[tonic::async_trait]
pub trait TokenVerifier: Send + Sync + 'static {
    async fn verify(&self, token: &str) -> Result<SpiffeId, TokenRefused>;
}

/// Tokens by their digests, as the registry file lists them.
#[derive(Debug, Default)]
pub struct ListedTokens(ArcSwap<HashMap<TokenDigest, SpiffeId>>);

impl ListedTokens {
    pub fn replace(&self, tokens: HashMap<TokenDigest, SpiffeId>) {
        self.0.store(Arc::new(tokens));
    }
}

#[tonic::async_trait]
impl TokenVerifier for ListedTokens {
    async fn verify(&self, token: &str) -> Result<SpiffeId, TokenRefused> {
        let tokens = self.0.load();
        let id = tokens.get(&TokenDigest::of(token));
        id.cloned().ok_or(TokenRefused::Unknown)
    }
}

/// Signs for whom the verifier vouches.
pub struct Authority {
    pub ca: Arc<CertificateAuthority>,
    pub verifier: Arc<dyn TokenVerifier>,
    /// How long the certificates are valid.
    pub lifetime: Duration,
}

#[tonic::async_trait]
impl IdentityService for Authority {
    async fn certify(
        &self,
        request: Request<CertifyRequest>,
    ) -> Result<Response<CertifyResponse>, Status> {
        let CertifyRequest { token, csr } = request.into_inner();
        if token.len() > MAX_TOKEN || csr.len() > MAX_CSR {
            return Err(Status::invalid_argument("the token or the CSR is too long"));
        }
        let id = self.verifier.verify(&token).await.map_err(|refused| {
            tracing::warn!(%refused, "no certificate");
            match refused {
                TokenRefused::Unknown => Status::unauthenticated(refused.to_string()),
                TokenRefused::Unavailable(_) => Status::unavailable(refused.to_string()),
            }
        })?;
        let chain = self
            .ca
            .sign(&id, &csr, self.lifetime, SystemTime::now())
            .map_err(|error| {
                tracing::warn!(%id, %error, "no certificate");
                match error {
                    CaError::Request(_) => Status::invalid_argument(error.to_string()),
                    _ => Status::internal("the authority cannot sign: its log says why"),
                }
            })?;
        tracing::info!(%id, "certified");
        Ok(Response::new(CertifyResponse {
            chain: chain.into_iter().map(|der| der.to_vec()).collect(),
            roots: self.ca.roots_pem(),
        }))
    }
}
