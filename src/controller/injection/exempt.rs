//! Pods that are not injected although somebody asked for it, and what their owners hear.

use serde_json::Value;

use super::{
    PROXY_PORTS, PROXY_UID,
    annotations::GROUP,
    containers::is_ours,
    refused::{Refused, Whose},
};

/// Sidecars of other meshes, which take the same traffic.
const OTHER_MESHES: [&str; 2] = ["istio-proxy", "linkerd-proxy"];

/// Why the pod is left alone, if it is. `whose` word it is to inject it.
pub(super) fn why(spec: &Value, whose: Whose) -> Option<String> {
    if spec["hostNetwork"] == true {
        let why = "it uses the node's network (hostNetwork), whose traffic is not only its own";
        return Some(why.into());
    }
    if spec["os"]["name"] == "windows" {
        return Some("it runs on Windows".into());
    }
    if let Some(name) = containers(spec).find_map(|container| {
        (uid(spec, container) == Some(PROXY_UID.into())).then(|| name(container))
    }) {
        return Some(format!(
            "container {name} runs as user {PROXY_UID}, the proxy's own, whose traffic is not taken: give it another runAsUser"
        ));
    }
    if let Some(other) = containers(spec)
        .map(name)
        .find(|name| OTHER_MESHES.contains(name))
    {
        return Some(format!(
            "it has another mesh's sidecar, {other}, for the same traffic: take one of the two away"
        ));
    }
    let privileged = containers(spec)
        .find(|container| container["securityContext"]["privileged"] == true)
        .filter(|_| whose == Whose::Namespace);
    privileged.map(|container| {
        let name = name(container);
        format!(
            "container {name} is privileged and may change the pod's network: annotate the pod itself with {GROUP}inject=enabled to inject it all the same"
        )
    })
}

/// # Errors
/// When a container says that it listens where the proxy must.
pub(super) fn check_ports(spec: &Value) -> Result<(), Refused> {
    for container in containers(spec) {
        let ports = container["ports"].as_array().into_iter().flatten();
        for port in ports.filter_map(|port| port["containerPort"].as_u64()) {
            if let Some(port) = PROXY_PORTS.into_iter().find(|own| u64::from(*own) == port) {
                let container = name(container).to_owned();
                return Err(Refused::PortTaken { container, port });
            }
        }
    }
    Ok(())
}

/// What the owner of an injected pod should know all the same.
pub(super) fn caveats(spec: &Value) -> Option<String> {
    let policy = spec["dnsPolicy"].as_str()?;
    matches!(policy, "Default" | "None").then(|| {
        format!(
            "dnsPolicy {policy} may not resolve the cluster's names: the proxy waits until it finds the controller by its name"
        )
    })
}

/// The application's own containers.
fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers"]
        .into_iter()
        .filter_map(|list| spec[list].as_array())
        .flatten()
        .filter(|container| !is_ours(container))
}

fn name(container: &Value) -> &str {
    container["name"].as_str().unwrap_or_default()
}

/// The user that the container is told to run as; unknown where the image decides.
fn uid(spec: &Value, container: &Value) -> Option<u64> {
    let of = |object: &Value| object["securityContext"]["runAsUser"].as_u64();
    of(container).or_else(|| of(spec))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn why_not(spec: Value) -> String {
        why(&spec, Whose::Namespace).unwrap_or_default()
    }

    #[test]
    fn leaves_alone_what_it_cannot_serve() {
        let app = json!([{"name": "app"}]);
        assert_eq!(why_not(json!({"containers": app})), "");
        let network = why_not(json!({"containers": app, "hostNetwork": true}));
        assert!(network.contains("hostNetwork"));
        let windows = why_not(json!({"containers": app, "os": {"name": "windows"}}));
        assert!(windows.contains("Windows"));
        let other = why_not(json!({"containers": [{"name": "istio-proxy"}]}));
        assert!(other.contains("istio-proxy"));
    }

    #[test]
    fn the_proxys_user_counts_where_it_is_in_force() {
        let user = |uid: u64| json!({"runAsUser": uid});
        let app = |context: Value| json!([{"name": "app", "securityContext": context}]);
        let of_pod = json!({"securityContext": user(14014), "containers": app(json!({}))});
        assert!(why_not(of_pod).contains("14014"));
        let of_container = json!({"containers": app(user(14014))});
        assert!(why_not(of_container).contains("container app"));
        let in_init = json!({"initContainers": app(user(14014)), "containers": []});
        assert!(why_not(in_init).contains("container app"));
        let overridden = json!({"securityContext": user(14014), "containers": app(user(1))});
        assert_eq!(why_not(overridden), "");
    }

    #[test]
    fn privileged_pods_are_injected_only_on_their_own_word() {
        let context = json!({"privileged": true});
        let spec = json!({"containers": [{"name": "app", "securityContext": context}]});
        let privileged = why(&spec, Whose::Namespace).unwrap();
        assert!(privileged.contains("privileged") && privileged.contains("inject=enabled"));
        assert_eq!(why(&spec, Whose::Pod), None);
    }

    #[test]
    fn the_proxys_ports_are_refused() {
        let spec = json!({"containers": [{"name": "app", "ports": [{"containerPort": 14020}]}]});
        let refused = check_ports(&spec).unwrap_err();
        let (container, port) = ("app".to_owned(), 14020);
        assert_eq!(refused, Refused::PortTaken { container, port });
    }
}
