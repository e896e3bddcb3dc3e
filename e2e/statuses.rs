//! What objects say of themselves: whether they are understood, and in how many proxies they are.

use serde_json::Value;

use crate::harness::{
    Cluster, Load, Moody, Namespace, kubectl, mesh,
    refusal::{self, Refusal},
    wait,
};

const ROUTE: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: split}
spec:
  parentRefs: [{group: '', kind: Service, name: back, port: 80}]
  rules:
  - backendRefs:
    - {name: back, port: 80, weight: 1}
    - {name: later, port: 80, weight: 0}
---
apiVersion: outrigger.dev/v1alpha1
kind: ResiliencePolicy
metadata: {name: back}
spec:
  targetRefs: [{group: '', kind: Service, name: back}]
  bulkhead: {maxInFlight: 100}
---
apiVersion: outrigger.dev/v1alpha1
kind: ResiliencePolicy
metadata: {name: nobody}
spec:
  targetRefs: [{group: '', kind: Service, name: nobody}]
  bulkhead: {maxInFlight: 100}
";

#[tokio::test]
async fn statuses_say_what_is_wrong_and_where_an_object_is_live() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    let namespace = Namespace::create(&cluster, "statuses").await;
    namespace.inject().await;
    Moody::start(&namespace, "back", 1).await;
    namespace.apply(ROUTE).await;
    let route = ("httproute/split", "parents");
    let expect = async |(object, list): (&str, &str), kind: &str, expected: &str| {
        wait::until(
            &format!("{object}: {kind} is {expected}"),
            wait::LONG,
            async || {
                let seen = condition(&namespace, object, list, kind).await?;
                if seen == expected { Ok(()) } else { Err(seen) }
            },
        )
        .await;
    };

    expect(route, "Accepted", "True Accepted ").await;
    wait::until("the missing backend is named", wait::LONG, async || {
        let seen = condition(&namespace, route.0, route.1, "ResolvedRefs").await?;
        let told = seen.starts_with("False BackendNotFound ") && seen.contains("later");
        told.then_some(()).ok_or(seen)
    })
    .await;
    wait::until("the missing target is told of", wait::LONG, async || {
        let seen = condition(
            &namespace,
            "resiliencepolicy/nobody",
            "ancestors",
            "Accepted",
        )
        .await?;
        let told = seen.starts_with("False TargetNotFound ");
        told.then_some(()).ok_or(seen)
    })
    .await;

    Moody::start(&namespace, "later", 1).await;
    expect(route, "ResolvedRefs", "True ResolvedRefs ").await;
    let one = Load::start(&namespace, "one", "http://back/").await;
    let two = Load::start(&namespace, "two", "http://back/").await;
    for object in [route, ("resiliencepolicy/back", "ancestors")] {
        expect(object, LIVE, "True Live live in 2 of 2 proxies").await;
    }
    for load in [one, two] {
        load.assert_none_failed("edits of statuses").await;
    }
}

const LIVE: &str = "outrigger.dev/Live";

#[tokio::test]
async fn a_refusal_by_a_proxy_is_an_event_of_the_object() {
    let cluster = Cluster::connect().await;
    mesh::install().await;
    let namespace = Namespace::create(&cluster, "refusal").await;
    namespace.inject().await;
    Moody::start(&namespace, "back", 1).await;
    namespace.apply(ROUTE).await;

    let service = format!("{}/back:80", namespace.name);
    let refusal = Refusal::begin(&cluster, &namespace, &service).await;
    wait::until("there is an Event", wait::LONG, async || {
        let kind = "involvedObject.kind=HTTPRoute";
        let events = ["get", "events", "--field-selector", kind, "-o", "json"];
        let events = kubectl(&[&events[..], &["-n", &namespace.name]].concat()).await;
        let all: Value = serde_json::from_str(&events).map_err(|error| error.to_string())?;
        let mut items = all["items"].as_array().into_iter().flatten();
        let ours = |event: &Value| {
            let note = event["message"].as_str().unwrap_or_default();
            event["reason"] == "RefusedByProxy"
                && event["involvedObject"]["name"] == "split"
                && note.contains(refusal::REASON)
                && note.contains(refusal::NODE)
        };
        items.any(ours).then_some(()).ok_or(events)
    })
    .await;
    wait::until("it is live in no proxy", wait::LONG, async || {
        let seen = condition(&namespace, "httproute/split", "parents", LIVE).await?;
        let told = seen == "False Pending live in 0 of 1 proxies";
        told.then_some(()).ok_or(seen)
    })
    .await;
    drop(refusal);
}

/// Status, reason and message of a condition.
async fn condition(
    namespace: &Namespace,
    object: &str,
    list: &str,
    kind: &str,
) -> Result<String, String> {
    let get = ["get", object, "-n", &namespace.name, "-o", "json"];
    let printed = kubectl(&get).await;
    let object: Value = serde_json::from_str(&printed).map_err(|error| error.to_string())?;
    let conditions = object["status"][list][0]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    let found = conditions.find(|condition| condition["type"] == kind);
    let found = found.ok_or_else(|| format!("no {kind} in {:#}", object["status"]))?;
    let text = |field: &str| found[field].as_str().unwrap_or_default();
    Ok(format!(
        "{} {} {}",
        text("status"),
        text("reason"),
        text("message")
    ))
}
