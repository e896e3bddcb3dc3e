//! Whose a projected service account token is: the API server says so, by TokenReview.

use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::{Api, Client, api::PostParams};
use tokio::sync::Semaphore;

use crate::{
    controller::authority::{TokenRefused, TokenVerifier},
    identity::SpiffeId,
};

/// What tokens for this mesh are made out to: one for the API server, or for another service that
/// a workload talks to, gets nobody an identity.
pub const AUDIENCE: &str = "outrigger";

/// Reviews under way at a time; further ones wait.
const MAX_CONCURRENT: usize = 64;

/// For waiting and the review together.
const TIMEOUT: Duration = Duration::from_secs(5);

const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// Why the API server's answer vouches for nobody: for the log alone.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Rejected {
    #[error("the API server does not know the token: {0}")]
    NotAuthenticated(String),
    #[error("the token is not for the audience {AUDIENCE}")]
    Audience,
    #[error("{0:?} is no service account")]
    NotServiceAccount(String),
    #[error("the token is not bound to a pod: only projected tokens are taken")]
    NotBound,
}

/// Verifies tokens by asking the API server, which knows whether their pod still exists.
pub struct TokenReviews {
    api: Api<TokenReview>,
    trust_domain: String,
    places: Semaphore,
}

impl TokenReviews {
    pub fn new(client: Client, trust_domain: &str) -> Self {
        Self {
            api: Api::all(client),
            trust_domain: trust_domain.to_owned(),
            places: Semaphore::new(MAX_CONCURRENT),
        }
    }

    async fn review(&self, token: &str) -> Result<TokenReviewStatus, TokenRefused> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: token.to_owned(),
                audiences: Some(vec![AUDIENCE.to_owned()]),
            },
            ..Default::default()
        };
        let ask = async {
            let _place = self.places.acquire().await;
            self.api.create(&PostParams::default(), &review).await
        };
        match tokio::time::timeout(TIMEOUT, ask).await {
            Ok(Ok(review)) => Ok(review.status.unwrap_or_default()),
            Ok(Err(kube::Error::Api(status))) if status.is_forbidden() => {
                tracing::error!(
                    error = status.message,
                    "tokens cannot be reviewed: grant the controller `create` on tokenreviews"
                );
                Err(unavailable("the controller may not review tokens"))
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the API server did not review a token");
                Err(unavailable("the API server did not answer"))
            }
            Err(_) => Err(unavailable("the API server did not answer in time")),
        }
    }
}

fn unavailable(why: &str) -> TokenRefused {
    TokenRefused::Unavailable(why.into())
}

#[tonic::async_trait]
impl TokenVerifier for TokenReviews {
    async fn verify(&self, token: &str) -> Result<SpiffeId, TokenRefused> {
        // The API server calls a review of nothing a bad request: it would look like its failure.
        if token.is_empty() {
            return Err(TokenRefused::Unknown);
        }
        let status = self.review(token).await?;
        identify(&status, &self.trust_domain).map_err(|rejected| {
            tracing::warn!(%rejected, "a token was refused");
            TokenRefused::Unknown
        })
    }
}

/// Reads the API server's answer: the service account of a token that is for us and bound to a
/// pod.
fn identify(status: &TokenReviewStatus, trust_domain: &str) -> Result<SpiffeId, Rejected> {
    if status.authenticated != Some(true) {
        let error = status.error.clone().unwrap_or_default();
        return Err(Rejected::NotAuthenticated(error));
    }
    // A server that knows nothing of audiences leaves them out: its word is no good then.
    let audiences = status.audiences.as_deref().unwrap_or_default();
    if !audiences.iter().any(|audience| audience == AUDIENCE) {
        return Err(Rejected::Audience);
    }
    let user = status.user.clone().unwrap_or_default();
    let username = user.username.unwrap_or_default();
    let id = service_account(&username)
        .and_then(|(namespace, name)| SpiffeId::new(trust_domain, namespace, name).ok())
        .ok_or(Rejected::NotServiceAccount(username))?;
    let extra = user.extra.unwrap_or_default();
    let has = |key| {
        extra
            .get(key)
            .is_some_and(|values| values.iter().any(|value| !value.is_empty()))
    };
    match has(POD_NAME) && has(POD_UID) {
        true => Ok(id),
        false => Err(Rejected::NotBound),
    }
}

/// `system:serviceaccount:NAMESPACE:NAME`; neither part can hold a colon.
fn service_account(username: &str) -> Option<(&str, &str)> {
    let (namespace, name) = username
        .strip_prefix("system:serviceaccount:")?
        .split_once(':')?;
    (!name.contains(':')).then_some((namespace, name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::api::authentication::v1::UserInfo;

    use super::*;

    fn good() -> TokenReviewStatus {
        let bound = |key: &str, value: &str| (key.to_owned(), vec![value.to_owned()]);
        TokenReviewStatus {
            authenticated: Some(true),
            audiences: Some(vec![AUDIENCE.into()]),
            error: None,
            user: Some(UserInfo {
                username: Some("system:serviceaccount:shop:cart".into()),
                extra: Some(BTreeMap::from([
                    bound(POD_NAME, "cart-0"),
                    bound(POD_UID, "7d"),
                ])),
                ..Default::default()
            }),
        }
    }

    fn user(edit: impl FnOnce(&mut UserInfo)) -> TokenReviewStatus {
        let mut status = good();
        edit(status.user.as_mut().unwrap());
        status
    }

    #[test]
    fn a_service_account_is_who_its_token_says() {
        let id = identify(&good(), "cluster.local").unwrap();
        assert_eq!(id.as_str(), "spiffe://cluster.local/ns/shop/sa/cart");
    }

    #[test]
    fn a_token_for_others_or_of_nobody_is_refused() {
        let unknown = TokenReviewStatus {
            authenticated: Some(false),
            error: Some("expired".into()),
            ..good()
        };
        assert_eq!(
            identify(&unknown, "cluster.local"),
            Err(Rejected::NotAuthenticated("expired".into()))
        );
        for audiences in [None, Some(vec![]), Some(vec!["vault".into()])] {
            let status = TokenReviewStatus {
                audiences,
                ..good()
            };
            assert_eq!(identify(&status, "cluster.local"), Err(Rejected::Audience));
        }
        for name in [
            "",
            "admin",
            "system:node:a",
            "system:serviceaccount:shop",
            "system:serviceaccount:shop:",
            "system:serviceaccount:shop:cart:x",
            "system:serviceaccount:shop/../ns:cart",
        ] {
            let status = user(|user| user.username = Some(name.into()));
            assert_eq!(
                identify(&status, "cluster.local"),
                Err(Rejected::NotServiceAccount(name.into()))
            );
        }
    }

    #[test]
    fn a_token_that_is_bound_to_no_pod_is_refused() {
        for key in [POD_NAME, POD_UID] {
            let unbound = user(|user| {
                user.extra.as_mut().unwrap().remove(key);
            });
            assert_eq!(identify(&unbound, "cluster.local"), Err(Rejected::NotBound));
        }
        let none = user(|user| user.extra = None);
        assert_eq!(identify(&none, "cluster.local"), Err(Rejected::NotBound));
    }
}
