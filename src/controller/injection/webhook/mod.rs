//! Injection for the API server: an admission review in, its answer out.
//!
//! Pods are patched, and refused where they cannot be injected as they say. Objects with a pod
//! template are only looked at, so that who applies one hears of a mistake at once, and not the
//! controller that makes its pods.

mod cluster;
mod review;
mod server;

use std::{sync::Arc, time::Duration};

pub use cluster::{Cluster, ClusterError, OnKubernetes, Roots};
use review::Request;
use serde_json::Value;
pub use server::serve;

use super::{Annotations, annotations, inject, inject_object};
use crate::controller::kubernetes::config::MeshConfig;

/// The API server waits for five seconds or ten; an answer with a reason must be there before.
const CLUSTER_TIMEOUT: Duration = Duration::from_secs(4);

/// Answers admission reviews.
pub struct Webhook {
    pub mesh: Arc<MeshConfig>,
    pub cluster: Arc<dyn Cluster>,
}

impl Webhook {
    /// The answer to the review of a pod that is being created.
    ///
    /// # Errors
    /// When it is no admission review.
    pub(crate) async fn pod(&self, review: &Value) -> Result<Value, &'static str> {
        let request = Request::read(review)?;
        let namespace = match within(self.cluster.annotations(request.namespace)).await {
            Ok(annotations) => annotations,
            Err(error) => return Ok(request.unavailable(&error)),
        };
        match inject(request.object, &namespace, &self.mesh) {
            Err(refused) => {
                tracing::info!(namespace = request.namespace, %refused, "a pod is not admitted");
                Ok(request.refuse(&refused.to_string()))
            }
            Ok(injection) => {
                // A pod that asks on its own gets them from the leader once it is there: anybody
                // can show one here.
                let wanted = injection.pod.is_some() && annotations::enables(&namespace);
                if wanted
                    && !request.dry_run
                    && let Err(error) = within(self.cluster.ensure_roots(request.namespace)).await
                {
                    return Ok(request.unavailable(&error));
                }
                Ok(request.allow(injection))
            }
        }
    }

    /// The answer to the review of an object that has a pod template: always yes, with a warning
    /// of what will become of its pods.
    ///
    /// # Errors
    /// When it is no admission review.
    pub(crate) async fn template(&self, review: &Value) -> Result<Value, &'static str> {
        let request = Request::read(review)?;
        let namespace = match within(self.cluster.annotations(request.namespace)).await {
            Ok(annotations) => annotations,
            Err(error) => {
                tracing::debug!(%error, "a template is not looked at");
                Annotations::new()
            }
        };
        let warnings = match inject_object(request.object, &namespace, &self.mesh) {
            Ok(injection) => injection.warnings,
            Err(refused) => vec![format!("pods of this template will be refused: {refused}")],
        };
        Ok(request.warn(warnings))
    }
}

async fn within<T>(
    asked: impl Future<Output = Result<T, ClusterError>>,
) -> Result<T, ClusterError> {
    tokio::time::timeout(CLUSTER_TIMEOUT, asked)
        .await
        .unwrap_or_else(|_| {
            Err(ClusterError(format!(
                "no answer within {CLUSTER_TIMEOUT:?}"
            )))
        })
}

#[cfg(test)]
mod tests;
