//! Where Outrigger is installed: wherever its controller's Deployment is.

use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, Client, ResourceExt, api::ListParams};

use super::{error::Fact, list};

/// The name of the controller's Deployment, Service and ServiceAccount.
pub const CONTROLLER: &str = "outrigger-controller";

/// An Outrigger that is in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Install {
    pub namespace: String,
    /// The image's tag, or the whole image where it has none.
    pub version: String,
}

/// All of them; a cluster should have one.
///
/// # Errors
/// Why they cannot be listed.
pub async fn installs(client: &Client) -> Fact<Vec<Install>> {
    let named = ListParams::default().fields(&format!("metadata.name={CONTROLLER}"));
    let found = list::<Deployment>(Api::all(client.clone()), named).await?;
    Ok(found.iter().map(install).collect())
}

pub fn install(deployment: &Deployment) -> Install {
    let pod = deployment.spec.template.spec.as_ref();
    let image = pod.and_then(|pod| pod.containers.first()?.image.as_deref());
    Install {
        namespace: deployment.namespace().unwrap_or_default(),
        version: tag(image.unwrap_or_default()).to_owned(),
    }
}

/// An image's tag, or the whole where it has none: `host:5000/name@sha256:…` has none.
fn tag(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or_default();
    match name.rsplit_once(':') {
        Some((_, tag)) if !tag.contains('/') => tag,
        _ => image,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_tag_of_an_image() {
        for (image, expected) in [
            ("outrigger:0.1.0", "0.1.0"),
            ("host:5000/x/outrigger:0.2.0@sha256:ab", "0.2.0"),
            ("host:5000/x/outrigger", "host:5000/x/outrigger"),
            ("outrigger@sha256:ab", "outrigger@sha256:ab"),
        ] {
            assert_eq!(tag(image), expected);
        }
    }
}
