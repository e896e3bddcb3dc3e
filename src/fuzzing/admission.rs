use std::{collections::HashSet, sync::Arc};

use async_trait::async_trait;
use regex::Regex;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use super::{injection, resource};
use crate::controller::{
    injection::{
        Annotations,
        webhook::{Cluster, ClusterError, Webhook},
    },
    kubernetes::config::MeshConfig,
};

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    static WEBHOOK: Webhook = Webhook {
        mesh: Arc::new(MeshConfig::default()),
        cluster: Arc::new(Enabled),
    };
}

/// A cluster whose namespaces all ask for injection.
struct Enabled;

fn enabled() -> Annotations {
    [("outrigger.dev/inject".into(), "enabled".into())].into()
}

#[async_trait]
impl Cluster for Enabled {
    async fn annotations(&self, _: &str) -> Result<Annotations, ClusterError> {
        Ok(enabled())
    }

    async fn ensure_roots(&self, _: &str) -> Result<(), ClusterError> {
        Ok(())
    }
}

/// An admission review, as JSON. The answer is to this question; its patch applies and leads to
/// what the command line makes of the pod; a template is never refused.
pub fn admission(data: &[u8]) {
    let Ok(review) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    let ask = |template: bool| {
        RUNTIME.with(|runtime| {
            WEBHOOK.with(|webhook| match template {
                true => runtime.block_on(webhook.template(&review)),
                false => runtime.block_on(webhook.pod(&review)),
            })
        })
    };
    let (pod, template) = (ask(false), ask(true));
    assert_eq!(pod.is_ok(), template.is_ok());
    let (Ok(pod), Ok(template)) = (pod, template) else {
        return;
    };
    for answer in [&pod, &template] {
        check_answer(&review, answer);
    }
    assert_eq!(template["response"]["allowed"], true);
    assert!(template["response"].get("patch").is_none());
    let object = &review["request"]["object"];
    check_patch(object, &pod);
    injection::check(object, &enabled());
}

fn check_answer(review: &Value, answer: &Value) {
    assert_eq!(answer["response"]["uid"], review["request"]["uid"]);
    let refused = answer["response"]["allowed"] == false;
    assert_eq!(refused, answer["response"].get("status").is_some());
    let warnings = answer["response"]["warnings"]
        .as_array()
        .into_iter()
        .flatten();
    for warning in warnings {
        let warning = warning.as_str().expect("a text");
        assert!((1..=256).contains(&warning.len()), "{warning}");
    }
}

fn check_patch(object: &Value, answer: &Value) {
    let made = crate::controller::injection::inject(object, &enabled(), &MeshConfig::default());
    let Some(patch) = answer["response"].get("patch") else {
        assert!(made.is_err() || made.is_ok_and(|made| made.pod.is_none()));
        return;
    };
    let patch: k8s_openapi::ByteString = serde_json::from_value(patch.clone()).expect("base64");
    let patch: json_patch::Patch = serde_json::from_slice(&patch.0).expect("a patch");
    let mut patched = object.clone();
    json_patch::patch(&mut patched, &patch).expect("it applies");
    let made = made.expect("it was allowed").pod.expect("it is patched");
    if !names_are_unique(&made) {
        // Kubernetes admits no such pod, and the order of its checks is by chance.
        return;
    }
    let [patched, made] = [patched, made].map(|pod| without_words(&pod));
    assert!(resource::alike(&patched, &made), "{patched} is not {made}");
}

fn names_are_unique(pod: &Value) -> bool {
    let lists = ["initContainers", "containers"].map(|list| pod["spec"][list].as_array());
    let mut names = HashSet::new();
    let mut containers = lists.into_iter().flatten().flatten();
    containers.all(|container| names.insert(container["name"].as_str()))
}

/// A pod without what is by chance: the words in the paths of its hooks.
fn without_words(pod: &Value) -> Value {
    let word = Regex::new("(/(?:pre-stop|post-start)/)[0-9a-f]{32}").expect("a pattern");
    let text = pod.to_string();
    serde_json::from_str(&word.replace_all(&text, "${1}")).expect("JSON as before")
}
