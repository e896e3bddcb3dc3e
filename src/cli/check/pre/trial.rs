//! Trials: pods that the API server looks at, admits or refuses, and does not store (dry run).
//! They know of feature gates, cluster-wide security defaults and policy engines, which no object
//! tells of.

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, api::PostParams};
use serde_json::json;

use super::facts::Trial;
use crate::cli::cluster::{Fact, explain};

/// Whether the API server keeps what makes an init container a sidecar.
pub async fn sidecar(client: &Client, namespace: &str) -> Fact<bool> {
    let pod = pod(&json!({ "capabilities": { "drop": ["ALL"] } }), "Always");
    let kept = create(client, namespace, &pod).await;
    let kept = kept.map_err(|error| explain(&error))?;
    let init = kept.spec.and_then(|spec| spec.init_containers);
    let policy = init.and_then(|init| init.into_iter().next()?.restart_policy);
    Ok(policy.as_deref() == Some("Always"))
}

/// Whether an init container may have what the interception rules need.
pub async fn net_admin(client: &Client, namespace: &str) -> Trial {
    let capabilities = json!({ "capabilities": { "drop": ["ALL"], "add": ["NET_ADMIN"] } });
    let pod = pod(&capabilities, "");
    match create(client, namespace, &pod).await {
        Ok(_) => Trial::Taken,
        Err(kube::Error::Api(status)) if is_no_right(&status.message) => {
            Trial::NotMade(status.message.clone())
        }
        Err(kube::Error::Api(status)) => Trial::Refused(status.message.clone()),
        Err(error) => Trial::NotMade(explain(&error)),
    }
}

/// RBAC refuses the user, everything else that answers 403 refuses the pod.
fn is_no_right(message: &str) -> bool {
    message.contains("cannot create resource")
}

async fn create(client: &Client, namespace: &str, pod: &Pod) -> kube::Result<Pod> {
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    pods.create(&params, pod).await
}

/// A pod as the `restricted` level wants it, but for its init container.
fn pod(init_security: &serde_json::Value, restart_policy: &str) -> Pod {
    let mut init_context = json!({ "allowPrivilegeEscalation": false });
    let fields = init_security.as_object().into_iter().flatten();
    for (name, value) in fields {
        init_context[name] = value.clone();
    }
    let mut init = json!({ "name": "init", "image": "trial", "securityContext": init_context });
    if !restart_policy.is_empty() {
        init["restartPolicy"] = json!(restart_policy);
    }
    let pod = json!({
        "metadata": { "generateName": "outrigger-check-" },
        "spec": {
            "automountServiceAccountToken": false,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": 14014,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "initContainers": [init],
            "containers": [{
                "name": "app",
                "image": "trial",
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "capabilities": { "drop": ["ALL"] },
                },
                "resources": {
                    "requests": { "cpu": "1m", "memory": "1Mi" },
                    "limits": { "cpu": "1m", "memory": "1Mi" },
                },
            }],
        },
    });
    serde_json::from_value(pod).expect("the trial is a pod")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_differs_only_in_its_init_container() {
        let sidecar = pod(&json!({}), "Always");
        let plain = pod(&json!({ "capabilities": { "add": ["NET_ADMIN"] } }), "");
        let init = |pod: &Pod| pod.spec.clone().unwrap().init_containers.unwrap().remove(0);
        assert_eq!(init(&sidecar).restart_policy.as_deref(), Some("Always"));
        assert_eq!(init(&plain).restart_policy, None);
        let added = init(&plain).security_context.unwrap().capabilities.unwrap();
        assert_eq!(added.add.unwrap(), ["NET_ADMIN"]);
    }

    #[test]
    fn tells_a_refused_user_from_a_refused_pod() {
        let user = "pods is forbidden: User \"x\" cannot create resource \"pods\" in API group \"\" in the namespace \"shop\"";
        let pod = "pods \"x\" is forbidden: violates PodSecurity \"baseline:latest\"";
        assert!(is_no_right(user) && !is_no_right(pod));
    }
}
