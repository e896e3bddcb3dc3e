//! What the injection webhook needs of this cluster.

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use tokio::sync::watch;

use super::{config::MeshConfig, objects::Seen, roots};
use crate::controller::injection::webhook::{ClusterError, OnKubernetes, Roots, Webhook};

/// The webhook, which answers from this cluster. `published` is the record of the trust bundle.
pub(super) fn webhook(
    client: &Client,
    mesh: &MeshConfig,
    published: watch::Receiver<Seen<ConfigMap>>,
) -> Arc<Webhook> {
    let roots = Copies {
        client: client.clone(),
        published,
    };
    Arc::new(Webhook {
        mesh: Arc::new(mesh.clone()),
        cluster: Arc::new(OnKubernetes {
            client: client.clone(),
            roots,
        }),
    })
}

/// A namespace's first copy of the bundle, for its first pod. The leader keeps it up to date.
struct Copies {
    client: Client,
    published: watch::Receiver<Seen<ConfigMap>>,
}

#[async_trait]
impl Roots for Copies {
    async fn ensure(&self, namespace: &str) -> Result<(), ClusterError> {
        let api = Api::<ConfigMap>::namespaced(self.client.clone(), namespace);
        if api.get_metadata_opt(roots::NAME).await?.is_some() {
            return Ok(());
        }
        let bundle = match &*self.published.borrow() {
            Seen::Present(record) => roots::published(record).roots,
            Seen::Unknown | Seen::Absent => String::new(),
        };
        if bundle.is_empty() {
            let why = "the trust bundle is not published yet: is a controller the leader?";
            return Err(ClusterError(why.into()));
        }
        Ok(roots::apply(&api, &bundle, None).await?)
    }
}
