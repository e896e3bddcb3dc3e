//! A pod template in, the same with its sidecar out.
//!
//! Works on the JSON itself and not on types of a Kubernetes version: what a newer API server
//! knows and this program does not is in the pod that comes out.

use serde_json::{Map, Value, json};

use super::{
    INJECTED_LABEL,
    annotations::{self, Annotations, Said, Settings},
    containers::{self, Containers},
    exempt, probes,
    refused::Refused,
    stop,
};
use crate::{controller::kubernetes::config::MeshConfig, discovery::probe::Probes};

/// What became of a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Injection {
    /// The pod with its sidecar; absent where it is left as it is.
    pub pod: Option<Value>,
    /// What its owner should know.
    pub warnings: Vec<String>,
    /// Whether an annotation asks for its injection.
    pub asked: bool,
}

/// Injects a pod, or the template of one: an object with `metadata` and `spec`. Whether it is to
/// be injected at all, its annotations and those of its namespace say. Once more on what came
/// out changes nothing.
///
/// # Errors
/// When an annotation cannot be read, or the proxy could not work in it.
pub fn inject(
    pod: &Value,
    namespace: &Annotations,
    mesh: &MeshConfig,
) -> Result<Injection, Refused> {
    let spec = &pod["spec"];
    if spec["containers"].as_array().is_none_or(Vec::is_empty) {
        return Err(Refused::NotAPod("it has no container in spec.containers"));
    }
    let of_pod = texts(&pod["metadata"]["annotations"]);
    let said = Said {
        pod: &of_pod,
        namespace,
    };
    let mut warnings = annotations::unread(said, &texts(&pod["metadata"]["labels"]));
    let leave = |warnings, asked| {
        Ok(Injection {
            pod: None,
            warnings,
            asked,
        })
    };
    // A pod that the kubelet runs on its own: the API server only shows it.
    let is_mirror = of_pod.contains_key("kubernetes.io/config.mirror");
    let whose = match said.inject()? {
        Some((true, whose)) if !is_mirror => whose,
        _ => return leave(warnings, false),
    };
    if let Some(why) = exempt::why(spec, whose) {
        warnings.push(format!("not injected: {why}"));
        return leave(warnings, true);
    }
    containers::check_names(spec)?;
    exempt::check_ports(spec)?;
    warnings.extend(exempt::caveats(spec));
    let settings = Settings::read(said, &mesh.injection)?;
    let mut pod = pod.clone();
    add(&mut pod, mesh, &settings, &mut warnings)?;
    Ok(Injection {
        pod: Some(pod),
        warnings,
        asked: true,
    })
}

fn add(
    pod: &mut Value,
    mesh: &MeshConfig,
    settings: &Settings,
    warnings: &mut Vec<String>,
) -> Result<(), Refused> {
    let pod = object(pod, "the pod is no object")?;
    let metadata = pod.entry("metadata").or_insert_with(|| json!({}));
    let metadata = object(metadata, "its metadata is no object")?;
    let labels = metadata.entry("labels").or_insert_with(|| json!({}));
    if labels.is_null() {
        *labels = json!({});
    }
    let labels = object(labels, "its labels are no object")?;
    labels.insert(INJECTED_LABEL.to_owned(), json!("true"));
    let spec = pod.entry("spec").or_insert_with(|| json!({}));
    let spec = object(spec, "its spec is no object")?;

    let mut init_containers = take(spec, "initContainers");
    let known = containers::known_probes(&init_containers);
    init_containers.retain(|container| !containers::is_ours(container));
    let mut containers = take(spec, "containers");
    let mut probes = Probes::new();
    for container in init_containers.iter_mut().chain(&mut containers) {
        probes::rewrite(container, &known, &mut probes, warnings);
    }
    let grace = spec.get("terminationGracePeriodSeconds");
    stop::add(
        &mut containers,
        grace.unwrap_or(&Value::Null),
        settings.stop_delay,
    );
    let built = Containers {
        mesh,
        settings,
        probes: &probes,
    };
    // First of all: the application's own init containers have the network through the proxy.
    init_containers.splice(..0, built.build());
    let mut volumes = take(spec, "volumes");
    volumes.retain(|volume| !containers::is_ours(volume));
    volumes.extend(containers::volumes());
    spec.insert("initContainers".to_owned(), init_containers.into());
    spec.insert("containers".to_owned(), containers.into());
    spec.insert("volumes".to_owned(), volumes.into());
    add_pull_secrets(spec, &mesh.injection.image_pull_secrets);
    Ok(())
}

fn add_pull_secrets(spec: &mut Map<String, Value>, names: &[String]) {
    if names.is_empty() {
        return;
    }
    let mut secrets = take(spec, "imagePullSecrets");
    for name in names {
        let secret = json!({"name": name});
        if !secrets.contains(&secret) {
            secrets.push(secret);
        }
    }
    spec.insert("imagePullSecrets".to_owned(), secrets.into());
}

fn object<'a>(
    value: &'a mut Value,
    why: &'static str,
) -> Result<&'a mut Map<String, Value>, Refused> {
    value.as_object_mut().ok_or(Refused::NotAPod(why))
}

/// A list out of the spec: empty where it is absent.
fn take(spec: &mut Map<String, Value>, field: &str) -> Vec<Value> {
    match spec.remove(field) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

/// Annotations or labels.
pub(super) fn texts(map: &Value) -> Annotations {
    let pairs = map.as_object().into_iter().flatten();
    let text = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
    pairs.filter_map(text).collect()
}
