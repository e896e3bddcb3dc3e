//! What the webhook has to know of the cluster, and to do in it.

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, ResourceExt};

use crate::controller::injection::Annotations;

/// Why the cluster does not answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ClusterError(pub String);

impl From<kube::Error> for ClusterError {
    fn from(error: kube::Error) -> Self {
        Self(error.to_string())
    }
}

/// The cluster, as far as the webhook is concerned.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// A namespace's annotations as they are now: who has just annotated it and restarts its pods
    /// must not find the ones of before.
    async fn annotations(&self, namespace: &str) -> Result<Annotations, ClusterError>;

    /// Makes sure that a namespace has the trust anchors that its pods mount.
    async fn ensure_roots(&self, namespace: &str) -> Result<(), ClusterError>;
}

/// Whoever keeps the trust anchors in the namespaces.
#[async_trait]
pub trait Roots: Send + Sync {
    /// Writes them into a namespace if they are not there.
    async fn ensure(&self, namespace: &str) -> Result<(), ClusterError>;
}

/// The real one.
pub struct OnKubernetes<R> {
    pub client: Client,
    pub roots: R,
}

#[async_trait]
impl<R: Roots> Cluster for OnKubernetes<R> {
    async fn annotations(&self, namespace: &str) -> Result<Annotations, ClusterError> {
        let namespaces = Api::<Namespace>::all(self.client.clone());
        let found = namespaces.get_metadata(namespace).await?;
        Ok(found.annotations().clone())
    }

    async fn ensure_roots(&self, namespace: &str) -> Result<(), ClusterError> {
        self.roots.ensure(namespace).await
    }
}
