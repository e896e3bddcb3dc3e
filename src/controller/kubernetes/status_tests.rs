use super::*;
use crate::discovery::resource::{Kind, ResourceName};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn service(name: &str) -> TargetRef {
    TargetRef {
        port: Some(80),
        ..TargetRef::service(name)
    }
}

fn good(name: &str) -> Attachment {
    Attachment {
        target: service(name),
        accepted: Verdict::Good,
        resolved: Verdict::Good,
        resources: vec![ResourceName::new(Kind::Service, "shop/cart:80")],
    }
}

fn finding(attachments: Vec<Attachment>) -> Finding {
    Finding {
        uid: "7d".into(),
        generation: 3,
        attachments,
    }
}

fn live(current: usize, subscribed: usize) -> Live {
    Live {
        subscribed,
        current,
    }
}

fn route(object: &Value, finding: &Finding, live: &[Live], now: i64) -> Option<Value> {
    next_status(ObjectKind::HttpRoute, object, finding, live, at(now))
}

fn condition<'a>(status: &'a Value, kind: &str) -> &'a Value {
    let entry = status["parents"].as_array().unwrap().last().unwrap();
    let mut conditions = entry["conditions"].as_array().unwrap().iter();
    conditions
        .find(|c| c["type"] == kind)
        .unwrap_or(&Value::Null)
}

#[test]
fn a_route_is_accepted_resolved_and_live() {
    let status = route(&json!({}), &finding(vec![good("cart")]), &[live(2, 2)], 7).unwrap();
    assert_eq!(
        status,
        json!({ "parents": [{
            "parentRef": { "group": "", "kind": "Service", "name": "cart", "port": 80 },
            "controllerName": "outrigger.dev/controller",
            "conditions": [
                {
                    "type": "Accepted", "status": "True", "reason": "Accepted", "message": "",
                    "observedGeneration": 3, "lastTransitionTime": "1970-01-01T00:00:07Z",
                },
                {
                    "type": "ResolvedRefs", "status": "True", "reason": "ResolvedRefs",
                    "message": "", "observedGeneration": 3,
                    "lastTransitionTime": "1970-01-01T00:00:07Z",
                },
                {
                    "type": "outrigger.dev/Live", "status": "True", "reason": "Live",
                    "message": "live in 2 of 2 proxies", "observedGeneration": 3,
                    "lastTransitionTime": "1970-01-01T00:00:07Z",
                },
            ],
        }] })
    );
    let object = json!({ "status": status });
    assert_eq!(
        route(&object, &finding(vec![good("cart")]), &[live(2, 2)], 99),
        None,
        "nothing to write"
    );
}

#[test]
fn a_transition_has_a_time_of_its_own() {
    let found = finding(vec![good("cart")]);
    let status = route(&json!({}), &found, &[live(2, 2)], 7).unwrap();
    let object = json!({ "status": status });
    let next = route(&object, &found, &[live(2, 3)], 20).unwrap();
    assert_eq!(condition(&next, LIVE)["status"], "False");
    assert_eq!(condition(&next, LIVE)["reason"], "Pending");
    let times = |kind| condition(&next, kind)["lastTransitionTime"].clone();
    assert_eq!(times(LIVE), "1970-01-01T00:00:20Z");
    assert_eq!(times(ACCEPTED), "1970-01-01T00:00:07Z");
}

#[test]
fn without_a_proxy_it_says_whose_proxies_were_counted() {
    let found = finding(vec![good("cart")]);
    let told = |kind, list: &str| {
        let status = next_status(kind, &json!({}), &found, &[live(0, 0)], at(7)).unwrap();
        let conditions = status[list][0]["conditions"].as_array().unwrap().clone();
        let live = conditions.into_iter().find(|c| c["type"] == LIVE).unwrap();
        assert_eq!(live["status"], "Unknown");
        live["message"].as_str().unwrap().to_owned()
    };
    let route = told(ObjectKind::HttpRoute, "parents");
    assert!(route.contains("once its application dials"), "{route}");
    let access = told(ObjectKind::AccessPolicy, "ancestors");
    assert!(access.contains("of its workloads"), "{access}");
    assert!(!access.contains("dials"), "{access}");
    for message in [route, access] {
        assert!(message.contains("every 10 s"), "{message}");
    }
}

#[test]
fn the_columns_of_kubectl_name_conditions_that_are_written() {
    use kube::CustomResourceExt;

    use crate::controller::kubernetes::api::{AccessPolicy, ResiliencePolicy};

    let written = conditions(ObjectKind::AccessPolicy, &good("cart"), live(1, 1));
    let mut asked = 0;
    for crd in [AccessPolicy::crd(), ResiliencePolicy::crd()] {
        let columns = crd.spec.versions[0].additional_printer_columns.clone();
        for column in columns.unwrap_or_default() {
            let Some((_, rest)) = column.json_path.split_once("@.type==\"") else {
                continue;
            };
            let (kind, _) = rest.split_once('"').expect("a closing quote");
            asked += 1;
            assert!(written.iter().any(|c| c.kind == kind), "{kind}");
        }
    }
    assert_eq!(asked, 4, "Accepted and Live of both kinds");
}

#[test]
fn what_is_refused_says_why_and_is_live_nowhere() {
    let mut refused = good("cart");
    refused.accepted = Verdict::Bad {
        reason: "NoMatchingParent",
        message: "the Service cart has no port 80".into(),
    };
    let status = route(&json!({}), &finding(vec![refused]), &[live(0, 0)], 7).unwrap();
    assert_eq!(condition(&status, ACCEPTED)["status"], "False");
    assert_eq!(condition(&status, ACCEPTED)["reason"], "NoMatchingParent");
    assert_eq!(*condition(&status, LIVE), Value::Null);
}

#[test]
fn what_others_wrote_stays() {
    let theirs = json!({
        "parentRef": { "name": "gateway" },
        "controllerName": "example.net/gateway",
        "conditions": [{ "type": "Accepted", "status": "True", "unknown": [1] }],
    });
    let object = json!({ "status": { "parents": [theirs], "other": 1 } });
    let found = finding(vec![good("cart")]);
    let status = route(&object, &found, &[live(1, 1)], 7).unwrap();
    let parents = status["parents"].as_array().unwrap();
    assert_eq!(parents.len(), 2);
    assert_eq!(parents[0], theirs);

    let object = json!({ "status": status });
    let detached = route(&object, &finding(vec![]), &[], 8).unwrap();
    assert_eq!(detached, json!({ "parents": [theirs] }));
    let object = json!({ "status": detached });
    assert_eq!(route(&object, &finding(vec![]), &[], 9), None);
}

#[test]
fn a_policy_has_ancestors_and_no_more_than_the_api_allows() {
    let many: Vec<_> = (0..20).map(|n| good(&format!("s{n}"))).collect();
    let live = vec![live(1, 1); many.len()];
    let kind = ObjectKind::ResiliencePolicy;
    let status = next_status(kind, &json!({}), &finding(many), &live, at(7)).unwrap();
    let ancestors = status["ancestors"].as_array().unwrap();
    assert_eq!(ancestors.len(), 16);
    assert_eq!(ancestors[0]["ancestorRef"]["name"], "s0");
}
