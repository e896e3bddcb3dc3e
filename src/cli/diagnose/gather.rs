//! Finds the facts about a pod. What cannot be had is a fact too.

use std::time::{Duration, SystemTime};

use k8s_openapi::api::{
    admissionregistration::v1::MutatingWebhookConfiguration,
    core::v1::{ContainerState, ContainerStatus, Namespace, Pod, Service},
};
use kube::{Api, Client, ResourceExt, api::ListParams};

use super::{
    calls::{self, Calls},
    events,
    facts::{Container, Facts, Injection, ProxySays},
};
use crate::cli::cluster::{
    self, AskError, CONTROLLER, Cluster, Fact, Page, Policy, Progress, Proxy, Scope, containers,
    explain, installs, is_injected, list, owner_of, understand,
};

/// For how long the proxy's counters are watched.
const WATCH: Duration = Duration::from_secs(2);
/// For each question to the proxy.
const PER_QUESTION: Duration = Duration::from_secs(10);
/// The user that the proxy runs as.
const PROXY_UID: i64 = 14_014;
const INJECT: &str = "outrigger.dev/inject";

/// Orders pods by their health: those that are worst off first.
pub fn health(pod: &Pod) -> (bool, std::cmp::Reverse<i32>) {
    let statuses = container_statuses(pod);
    let (mut ready, mut restarts) = (true, 0);
    for status in statuses {
        ready &= status.ready || is_done(status);
        restarts += status.restart_count;
    }
    (ready, std::cmp::Reverse(restarts))
}

/// `refused`: why further pods of its workload are not created, where that is known.
pub async fn gather(
    cluster: &Cluster,
    pod: &Pod,
    refused: Option<String>,
    progress: &Progress,
) -> Facts {
    let client = &cluster.client;
    let namespace = pod.namespace().unwrap_or_default();
    let injected = is_injected(pod);
    progress.step("asking the API server and the proxy");
    let (injection, installs, policies, events, log, proxy) = tokio::join!(
        injection(client, pod, &namespace),
        installs(client),
        policies(client, pod, &namespace),
        events::events(client, pod),
        async {
            match injected {
                true => events::log(client, pod).await,
                false => Ok(events::Log::default()),
            }
        },
        async {
            match injected {
                true => Some(ask(client, pod, &namespace).await),
                false => None,
            }
        },
    );
    let belief = proxy.as_ref().and_then(|proxy| proxy.belief.as_ref().ok());
    let calls = match belief {
        Some(belief) => calls::calls(client, &namespace, belief).await,
        None => Calls::default(),
    };
    let (log, denials) = match log {
        Ok(log) => (Ok(log.bad), log.denials),
        Err(why) => (Err(why), Vec::new()),
    };
    Facts {
        pod: format!("{namespace}/{}", pod.name_any()),
        workload: owner_of(pod),
        phase: pod
            .status
            .as_ref()
            .and_then(|s| s.phase.clone())
            .unwrap_or_default(),
        injection,
        new_pods_refused: refused,
        containers: container_statuses(pod)
            .map(|status| container(pod, status))
            .collect(),
        proxy,
        controller: installs.and_then(|all| match &all[..] {
            [one] => Ok(one.version.clone()),
            _ => Err("there is not one Outrigger in this cluster".to_owned()),
        }),
        policies,
        calls,
        events,
        log,
        denials,
        now: SystemTime::now(),
    }
}

fn container_statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    pod.status.iter().flat_map(|status| {
        let init = status.init_container_statuses.iter().flatten();
        init.chain(status.container_statuses.iter().flatten())
    })
}

/// Whether a container has done what it was for.
fn is_done(status: &ContainerStatus) -> bool {
    let state = status.state.as_ref();
    state
        .and_then(|state| state.terminated.as_ref())
        .is_some_and(|ended| ended.exit_code == 0)
}

fn container(pod: &Pod, status: &ContainerStatus) -> Container {
    let ended = |state: &Option<ContainerState>| state.as_ref()?.terminated.clone();
    let before = ended(&status.last_state);
    let last = ended(&status.state).or_else(|| before.clone());
    let waiting = status
        .state
        .as_ref()
        .and_then(|state| state.waiting.as_ref());
    Container {
        name: status.name.clone(),
        init: is_init(pod, &status.name),
        ready: status.ready,
        restarts: status.restart_count,
        state: state(status.state.as_ref()),
        before: before.map(|ended| {
            let reason = ended.reason.as_deref().unwrap_or("ended");
            format!("{reason}, exit {}", ended.exit_code)
        }),
        message: waiting.and_then(|waiting| waiting.message.clone()),
        exit_code: last.as_ref().map(|ended| ended.exit_code),
        ended_at: last
            .and_then(|ended| ended.finished_at)
            .and_then(|time| u64::try_from(time.0.as_second()).ok()),
    }
}

/// Whether a container is to end before the application starts, as a sidecar is not.
fn is_init(pod: &Pod, name: &str) -> bool {
    let spec = pod.spec.iter();
    let mut init = spec.flat_map(|spec| spec.init_containers.iter().flatten());
    init.any(|container| {
        container.name == name && container.restart_policy.as_deref() != Some("Always")
    })
}

fn state(state: Option<&ContainerState>) -> String {
    let Some(state) = state else {
        return "unknown".to_owned();
    };
    if let Some(waiting) = &state.waiting {
        return format!(
            "waiting: {}",
            waiting.reason.as_deref().unwrap_or("unknown")
        );
    }
    match &state.terminated {
        Some(ended) => {
            let reason = ended.reason.as_deref().unwrap_or("ended");
            format!("terminated: {reason}, exit {}", ended.exit_code)
        }
        None => "running".to_owned(),
    }
}

async fn injection(client: &Client, pod: &Pod, namespace: &str) -> Injection {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let of = namespaces.get(namespace).await;
    let of = of.map_err(|error| explain(&error));
    let webhooks: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let webhooks = list(webhooks, ListParams::default()).await;
    let webhook = webhooks.map(|all| {
        let webhooks = all
            .into_iter()
            .filter_map(|configuration| configuration.webhooks);
        webhooks.flatten().any(|webhook| {
            let service = webhook.client_config.service;
            service.is_some_and(|service| service.name == CONTROLLER)
        })
    });
    let spec = pod.spec.clone().unwrap_or_default();
    let user = |container: &k8s_openapi::api::core::v1::Container| {
        let own = container
            .security_context
            .as_ref()
            .and_then(|context| context.run_as_user);
        own.or(spec
            .security_context
            .as_ref()
            .and_then(|context| context.run_as_user))
    };
    let apps = || containers(pod).filter(|container| !container.name.starts_with("outrigger-"));
    let privileged = |container: &k8s_openapi::api::core::v1::Container| {
        let context = container.security_context.as_ref();
        context.is_some_and(|context| context.privileged == Some(true))
    };
    Injection {
        injected: is_injected(pod),
        of_pod: pod.annotations().get(INJECT).cloned(),
        of_namespace: of
            .as_ref()
            .map(|of| of.annotations().get(INJECT).cloned())
            .map_err(Clone::clone),
        hidden_namespace: namespace.starts_with("kube-")
            || of.is_ok_and(|of| {
                of.labels()
                    .get("outrigger.dev/webhook")
                    .is_some_and(|value| value == "disabled")
            }),
        host_network: spec.host_network == Some(true),
        proxys_user: apps().any(|container| user(container) == Some(PROXY_UID)),
        privileged: apps().any(privileged),
        windows: spec.os.as_ref().is_some_and(|os| os.name == "windows"),
        other_mesh: apps()
            .any(|container| ["istio-proxy", "linkerd-proxy"].contains(&container.name.as_str())),
        webhook,
    }
}

/// The policies of the pod's namespace that touch it: those that target a Service that selects
/// it, or all of the namespace.
async fn policies(client: &Client, pod: &Pod, namespace: &str) -> Fact<Vec<Policy>> {
    let all = cluster::policies(client, &Scope::Namespace(namespace.to_owned())).await?;
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let services = list(services, ListParams::default()).await?;
    let selects = |service: &Service| {
        let selector = service
            .spec
            .as_ref()
            .and_then(|spec| spec.selector.as_ref());
        let labels = pod.labels();
        selector.is_some_and(|selector| {
            !selector.is_empty()
                && selector
                    .iter()
                    .all(|(name, value)| labels.get(name) == Some(value))
        })
    };
    let own: Vec<_> = services
        .iter()
        .filter(|service| selects(service))
        .map(ResourceExt::name_any)
        .collect();
    Ok(all
        .into_iter()
        .filter(|policy| touches(policy, &own))
        .collect())
}

/// Whether a policy without a target, or with one of these Services as its target.
fn touches(policy: &Policy, services: &[String]) -> bool {
    policy.targets.is_empty()
        || policy.targets.iter().any(|target| {
            let name = target
                .strip_prefix("Service/")
                .map(|rest| rest.split([':', '#']).next());
            name.flatten()
                .is_some_and(|name| services.iter().any(|service| service == name))
        })
}

async fn ask(client: &Client, pod: &Pod, namespace: &str) -> ProxySays {
    let name = pod.name_any();
    let connect = Proxy::connect(client, namespace, &name);
    let connected = tokio::time::timeout(PER_QUESTION, connect).await;
    let mut proxy = match connected.unwrap_or(Err(AskError::TooSlow)) {
        Ok(proxy) => proxy,
        Err(error) => return silent(&error.to_string()),
    };
    let waits_for = match page(&mut proxy, "/ready").await {
        Ok(_) => Ok(Vec::new()),
        Err(AskError::Refused { text, .. }) => Ok(waits(&text)),
        Err(error) => Err(error.to_string()),
    };
    let before = metrics(&mut proxy).await;
    tokio::time::sleep(WATCH).await;
    let after = metrics(&mut proxy).await;
    let belief = page(&mut proxy, "/config").await;
    ProxySays {
        belief: belief
            .map_err(|error| error.to_string())
            .and_then(|page| understand(&page)),
        waits_for,
        before,
        after,
    }
}

fn silent(why: &str) -> ProxySays {
    ProxySays {
        belief: Err(why.to_owned()),
        waits_for: Err(why.to_owned()),
        before: Err(why.to_owned()),
        after: Err(why.to_owned()),
    }
}

async fn page(proxy: &mut Proxy, path: &str) -> Result<String, AskError> {
    let answer = tokio::time::timeout(PER_QUESTION, proxy.get(path)).await;
    answer.unwrap_or(Err(AskError::TooSlow))
}

async fn metrics(proxy: &mut Proxy) -> Fact<Page> {
    let text = page(proxy, "/metrics").await;
    text.map(|text| Page::parse(&text))
        .map_err(|error| error.to_string())
}

/// The lines of `/ready` that name what is waited for.
fn waits(text: &str) -> Vec<String> {
    let indented = text.lines().filter_map(|line| line.strip_prefix("  "));
    indented.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(json: serde_json::Value) -> Pod {
        serde_json::from_value(json).expect("a pod")
    }

    fn status(name: &str, ready: bool, restarts: i32) -> serde_json::Value {
        serde_json::json!({
            "name": name, "ready": ready, "restartCount": restarts, "image": "", "imageID": "",
        })
    }

    #[test]
    fn the_pod_that_is_worst_off_comes_first() {
        let with = |ready, restarts| {
            pod(
                serde_json::json!({ "status": { "containerStatuses": [status("a", ready, restarts)] } }),
            )
        };
        let (good, restarted, bad) = (with(true, 0), with(true, 5), with(false, 0));
        assert!(health(&bad) < health(&restarted));
        assert!(health(&restarted) < health(&good));
    }

    #[test]
    fn reads_states_and_how_it_ended_before() {
        let mut failing = status("app", false, 3);
        failing["state"] = serde_json::json!({ "waiting": { "reason": "CrashLoopBackOff" } });
        failing["lastState"] = serde_json::json!({ "terminated": {
            "reason": "OOMKilled", "exitCode": 137, "finishedAt": "1970-01-01T00:00:07Z",
        }});
        let status = serde_json::from_value(failing).unwrap();
        let read = container(&Pod::default(), &status);
        assert_eq!(read.state, "waiting: CrashLoopBackOff");
        assert_eq!(read.before.as_deref(), Some("OOMKilled, exit 137"));
        assert_eq!((read.exit_code, read.ended_at), (Some(137), Some(7)));
    }

    #[test]
    fn a_sidecar_is_no_init_container() {
        let pod = pod(serde_json::json!({ "spec": {
            "initContainers": [{ "name": "p", "restartPolicy": "Always" }, { "name": "i" }],
            "containers": [{ "name": "app" }],
        }}));
        assert!(is_init(&pod, "i"));
        assert!(!is_init(&pod, "p") && !is_init(&pod, "app"));
    }

    #[test]
    fn policies_touch_a_pod_through_its_services_or_all_of_the_namespace() {
        let policy = |targets: &[&str]| Policy {
            kind: String::new(),
            namespace: String::new(),
            name: String::new(),
            targets: targets.iter().map(|target| (*target).to_owned()).collect(),
            conditions: Vec::new(),
        };
        let own = ["cart".to_owned()];
        assert!(touches(&policy(&[]), &own));
        assert!(touches(&policy(&["Gateway/x", "Service/cart:80"]), &own));
        assert!(!touches(&policy(&["Service/carts"]), &own));
    }

    #[test]
    fn reads_what_a_proxy_waits_for() {
        assert_eq!(waits("not ready, waiting for:\n  a\n  b\n"), ["a", "b"]);
    }
}
