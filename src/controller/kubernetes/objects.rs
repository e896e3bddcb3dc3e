//! What every object that the controller writes has in common, and how one is followed.

use std::{fmt::Debug, pin::pin, sync::Arc};

use futures_util::StreamExt;
use kube::{
    Api, Resource,
    runtime::{WatchStreamExt, watcher},
};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

/// Says in managedFields and Events who wrote.
pub(super) const MANAGER: &str = "outrigger-controller";

/// The labels of objects that the controller makes.
pub(super) const LABELS: [(&str, &str); 2] = [
    ("app.kubernetes.io/managed-by", "outrigger-controller"),
    ("app.kubernetes.io/part-of", "outrigger"),
];

/// Another writer was quicker, or has made the object already.
pub(super) fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

pub(super) fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether what was to be written has no place any more: its namespace is going.
pub(super) fn is_in_vain(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let mut causes = status.details.iter().flat_map(|it| &it.causes);
    causes.any(|cause| cause.reason == "NamespaceTerminating")
}

/// What is known of one object of the cluster.
#[derive(Clone, Debug, Default)]
pub(super) enum Seen<K> {
    /// The API server has not answered yet.
    #[default]
    Unknown,
    Absent,
    Present(Arc<K>),
}

/// Watches one object by its name. Never returns; what was seen last stays while the API server is
/// away.
pub(super) async fn follow<K>(api: Api<K>, name: &str, seen: &watch::Sender<Seen<K>>)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let mut objects = pin!(watcher::watch_object(api, name).default_backoff());
    while let Some(object) = objects.next().await {
        match object {
            Ok(Some(object)) => drop(seen.send_replace(Seen::Present(Arc::new(object)))),
            Ok(None) => drop(seen.send_replace(Seen::Absent)),
            Err(error) => tracing::warn!(name, %error, "the watch of an object is begun anew"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_into_a_namespace_that_goes_is_in_vain() {
        let refused = |reason: &str| {
            let status = serde_json::json!({
                "status": "Failure", "code": 403, "reason": "Forbidden", "message": "forbidden",
                "details": {"causes": [{"reason": reason, "field": "metadata.namespace"}]},
            });
            let status = serde_json::from_value(status).expect("a status");
            kube::Error::Api(Box::new(status))
        };
        assert!(is_in_vain(&refused("NamespaceTerminating")));
        assert!(!is_in_vain(&refused("FieldValueForbidden")));
    }
}
