//! What every proxy of a scope believes, by asking each for its `/config`.

use kube::{Client, ResourceExt};

use super::{Progress, Scope, ask::Asked, ask_all, error::Fact, explain, injected_pods, owner_of};
use crate::proxy::belief::Belief;

/// One proxy's word, or why there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// `namespace/name`.
    pub pod: String,
    /// The workload that the pod belongs to, as `kind/name`.
    pub workload: String,
    pub belief: Fact<Belief>,
}

/// In order of the pods.
///
/// # Errors
/// When the pods cannot be listed.
pub async fn beliefs(client: &Client, scope: &Scope, progress: &Progress) -> Fact<Vec<Answer>> {
    progress.step("looking for injected pods");
    let pods = injected_pods(client, scope).await;
    let pods = pods.map_err(|error| explain(&error))?;
    let asked = ask_all(client, pods, ["/config"], progress).await;
    let answer = |Asked { pod, pages, .. }: Asked<1>| Answer {
        pod: format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any()),
        workload: owner_of(&pod),
        belief: pages
            .map_err(|error| error.to_string())
            .and_then(|[page]| understand(&page)),
    };
    Ok(asked.into_iter().map(answer).collect())
}

/// # Errors
/// When the page is not a `/config`.
pub fn understand(page: &str) -> Fact<Belief> {
    serde_json::from_str(page).map_err(|error| format!("its /config is not understood: {error}"))
}
