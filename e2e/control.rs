//! Identities, leadership and rotation, with controllers that run beside the cluster and speak to
//! its API server as they would from inside.

use std::time::Duration;

use k8s_openapi::{
    api::{
        coordination::v1::Lease,
        core::v1::{Pod, Secret},
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, Time},
    jiff::Timestamp,
};
use kube::api::{DeleteParams, Patch, PatchParams};
use outrigger::discovery::{CertifyError, State};
use serde_json::json;

use crate::harness::{
    Cluster, Namespace,
    replica::{POD, Replica, Workload, published_roots, token},
    wait,
};

/// A root is in the bundle for 75 s before certificates are signed under it.
const ROTATION: Duration = Duration::from_secs(150);

async fn leader(namespace: &Namespace) -> Option<String> {
    let leases = namespace.api::<Lease>();
    let lease = leases.get_opt("outrigger-controller").await.unwrap()?;
    lease
        .spec?
        .holder_identity
        .filter(|holder| !holder.is_empty())
}

fn created(secret: &Secret) -> Option<Time> {
    secret.metadata.creation_timestamp.clone()
}

#[tokio::test]
async fn two_replicas_that_start_at_once_agree_on_one_authority() {
    let cluster = Cluster::connect().await;
    let namespace = Namespace::create(&cluster, "control").await;
    namespace.apply(POD).await;
    let replicas = ["a", "b"].map(|name| Replica::start(&namespace, name));
    for replica in &replicas {
        replica.ready().await;
    }
    let roots = published_roots(&namespace).await;
    assert_eq!(roots.matches("BEGIN").count(), 1, "one root: {roots}");
    let token = token(&namespace, "outrigger", true).await;
    for replica in &replicas {
        let workload = Workload::new(&namespace, replica, &token, &roots);
        let id = workload.id().await.unwrap();
        assert_eq!(
            id.as_str(),
            format!("spiffe://cluster.local/ns/{}/sa/cart", namespace.name)
        );
        let metrics = replica.get("/metrics").unwrap();
        assert!(
            metrics.contains("outrigger_controller_certificates_signed_total{} 1\n"),
            "{metrics}"
        );
    }
}

#[tokio::test]
async fn a_leader_that_is_killed_is_followed_by_another() {
    let cluster = Cluster::connect().await;
    let namespace = Namespace::create(&cluster, "control").await;
    let mut replicas = Vec::from(["a", "b"].map(|name| Replica::start(&namespace, name)));
    for replica in &replicas {
        replica.ready().await;
    }
    let first = leader(&namespace).await.expect("one leads");
    replicas.retain(|replica| replica.name != first);
    let [other] = &replicas[..] else {
        panic!("{first} is none of the two")
    };
    let within = Duration::from_secs(30);
    wait::until("the other leads", within, async || {
        match leader(&namespace).await {
            Some(name) if name == other.name => Ok(()),
            seen => Err(format!("{seen:?}")),
        }
    })
    .await;

    // A leader writes.
    let secrets = namespace.api::<Secret>();
    let before = created(&secrets.get("outrigger-webhook").await.unwrap());
    let parameters = DeleteParams::default();
    let delete = secrets.delete("outrigger-webhook", &parameters);
    delete.await.unwrap();
    wait::until("the Secret is there again", within, async || match secrets
        .get_opt("outrigger-webhook")
        .await
    {
        Ok(Some(secret)) if created(&secret) >= before => Ok(()),
        seen => Err(format!("{:?}", seen.map(|secret| secret.is_some()))),
    })
    .await;
}

/// A rollout replaces the leader only when its successor is ready: the successor must not wait
/// for what only a leader of its own version would make.
#[tokio::test]
async fn a_replica_is_ready_under_a_leader_that_does_nothing_for_it() {
    let cluster = Cluster::connect().await;
    let namespace = Namespace::create(&cluster, "control").await;
    let first = Replica::start(&namespace, "a");
    first.ready().await;
    drop(first);
    let leases = namespace.api::<Lease>();
    let hold = json!({ "spec": {
        "holderIdentity": "older", "leaseDurationSeconds": 3600, "renewTime": MicroTime(Timestamp::now()),
    } });
    let (parameters, patch) = (PatchParams::default(), Patch::Merge(hold));
    let held = leases.patch("outrigger-controller", &parameters, &patch);
    held.await.expect("the first replica led");
    let secrets = namespace.api::<Secret>();
    let delete = DeleteParams::default();
    let deleted = secrets.delete("outrigger-webhook", &delete).await;
    deleted.expect("the first replica made it");

    Replica::start(&namespace, "b").ready().await;
    assert_eq!(leader(&namespace).await.as_deref(), Some("older"));
}

#[tokio::test]
async fn a_token_for_others_or_of_no_pod_gets_no_certificate() {
    let cluster = Cluster::connect().await;
    let namespace = Namespace::create(&cluster, "control").await;
    namespace.apply(POD).await;
    let replica = Replica::start(&namespace, "a");
    replica.ready().await;
    let roots = published_roots(&namespace).await;
    let good = token(&namespace, "outrigger", true).await;
    let others = token(&namespace, "vault", true).await;
    let api_server = token(&namespace, "https://kubernetes.default.svc", true).await;
    let unbound = token(&namespace, "outrigger", false).await;
    let cut = good[..good.len() - 9].to_owned();
    for bad in [others, api_server, unbound, cut, String::new()] {
        let refused = Workload::new(&namespace, &replica, &bad, &roots).id().await;
        match refused {
            Err(CertifyError::Refused(status)) => {
                assert_eq!(status.code(), tonic::Code::Unauthenticated, "{status}");
            }
            other => panic!("{other:?}"),
        }
    }
    let workload = Workload::new(&namespace, &replica, &good, &roots);
    workload.id().await.unwrap();

    // The token dies with its pod.
    let delete = DeleteParams::default().grace_period(0);
    let pods = namespace.api::<Pod>();
    pods.delete("cart-0", &delete).await.unwrap();
    wait::until(
        "the token of a pod that is gone is refused",
        wait::LONG,
        async || match workload.id().await {
            Err(CertifyError::Refused(_)) => Ok(()),
            seen => Err(format!("{seen:?}")),
        },
    )
    .await;
}

#[tokio::test]
async fn an_anchor_rotates_while_a_proxy_runs() {
    let cluster = Cluster::connect().await;
    let namespace = Namespace::create(&cluster, "control").await;
    namespace.apply(POD).await;
    let replica = Replica::start(&namespace, "a");
    replica.ready().await;
    let old = published_roots(&namespace).await;
    let token = token(&namespace, "outrigger", true).await;
    let workload = Workload::new(&namespace, &replica, &token, &old);
    workload.id().await.unwrap();
    let certifier = workload.certifier.clone();
    let (proxy, runner) = workload.follow("cart-0");
    let running = tokio::spawn(runner.run());
    let following = tokio::spawn({
        let (certifier, proxy) = (certifier.clone(), proxy.clone());
        async move { certifier.run(&proxy).await }
    });

    // The root first: while it is there, a new issuer would come from it.
    let secrets = namespace.api::<Secret>();
    for name in ["outrigger-root", "outrigger-ca"] {
        secrets
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
    }
    let mut bundle = proxy.trust_bundle("cluster.local");
    let both = wait::until(
        "the proxy has both roots",
        wait::LONG,
        async || match bundle.current() {
            State::Present(bundle) if bundle.roots.matches("BEGIN").count() == 2 => {
                Ok(bundle.roots.clone())
            }
            seen => {
                let _ = tokio::time::timeout(Duration::from_secs(1), bundle.changed()).await;
                Err(format!("{seen:?}"))
            }
        },
    )
    .await;
    assert_eq!(published_roots(&namespace).await, both);
    let new = both.replace(&old, "");
    assert_eq!(new.matches("BEGIN").count(), 1);

    // Who knows the new root alone believes the controller once the new issuer signs.
    let newcomer = Workload::new(&namespace, &replica, &token, &new);
    wait::until(
        "certificates are under the new root",
        ROTATION,
        async || {
            assert!(
                proxy.status().connected,
                "the proxy lost its controller on the way"
            );
            newcomer.id().await.map_err(|error| error.to_string())
        },
    )
    .await;
    workload.id().await.expect("who has both goes on");
    assert!(proxy.status().connected);
    following.abort();
    running.abort();
}
