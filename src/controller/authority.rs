//! The identity service: a token and a signing request in, a certificate out.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use tonic::{Request, Response, Status};

use super::{certificate_limit::CertificateLimit, server::PeerAddress, token::TokenDigest};
use crate::{
    discovery::proto::identity::{
        CertifyRequest, CertifyResponse, identity_server::Identity as IdentityService,
    },
    host,
    identity::{
        SpiffeId,
        ca::{CaError, CertificateAuthority},
    },
    telemetry::metrics::{CertificateRefusal, Figures},
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
    ca: Arc<CertificateAuthority>,
    verifier: Arc<dyn TokenVerifier>,
    /// How long the certificates are valid.
    lifetime: Duration,
    limit: Mutex<CertificateLimit>,
    figures: Arc<Figures>,
}

impl Authority {
    /// `lifetime`: how long the certificates are valid.
    pub fn new(
        ca: Arc<CertificateAuthority>,
        verifier: Arc<dyn TokenVerifier>,
        lifetime: Duration,
        figures: Arc<Figures>,
    ) -> Self {
        Self {
            ca,
            verifier,
            lifetime,
            limit: Mutex::default(),
            figures,
        }
    }

    async fn answer(
        &self,
        request: Request<CertifyRequest>,
    ) -> Result<CertifyResponse, (CertificateRefusal, Status)> {
        use CertificateRefusal as Why;
        let from = request.extensions().get::<PeerAddress>().copied();
        if let Some(PeerAddress(from)) = from
            && !self.limit().allow(from, host::now())
        {
            let message = "too many certificate requests from this address: ask again in a second";
            return Err((Why::RateLimited, Status::resource_exhausted(message)));
        }
        let CertifyRequest { token, csr } = request.into_inner();
        if token.len() > MAX_TOKEN || csr.len() > MAX_CSR {
            let message = "the token or the CSR is too long";
            return Err((Why::Request, Status::invalid_argument(message)));
        }
        let id = self
            .verifier
            .verify(&token)
            .await
            .map_err(|refused| match refused {
                TokenRefused::Unknown => (Why::Token, Status::unauthenticated(refused.to_string())),
                TokenRefused::Unavailable(_) => {
                    (Why::Unavailable, Status::unavailable(refused.to_string()))
                }
            })?;
        let chain = self
            .ca
            .sign(&id, &csr, self.lifetime, host::wall_clock())
            .map_err(|error| match error {
                CaError::Request(_) => (Why::Request, Status::invalid_argument(error.to_string())),
                _ => {
                    tracing::error!(%id, %error, "the authority cannot sign");
                    let message = "the authority cannot sign: its log says why";
                    (Why::Authority, Status::internal(message))
                }
            })?;
        tracing::info!(%id, "certified");
        Ok(CertifyResponse {
            chain: chain.into_iter().map(|der| der.to_vec()).collect(),
            roots: self.ca.roots_pem(),
        })
    }

    fn limit(&self) -> MutexGuard<'_, CertificateLimit> {
        self.limit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tonic::async_trait]
impl IdentityService for Authority {
    async fn certify(
        &self,
        request: Request<CertifyRequest>,
    ) -> Result<Response<CertifyResponse>, Status> {
        match self.answer(request).await {
            Ok(response) => {
                self.figures.certificates_signed.inc();
                Ok(Response::new(response))
            }
            Err((why, status)) => {
                self.figures.certificate_refused(why);
                tracing::warn!(reason = status.message(), "no certificate");
                Err(status)
            }
        }
    }
}
