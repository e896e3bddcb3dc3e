//! The chart carries what the types say.

use std::{env, fs, path::PathBuf, time::Duration};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use super::{AccessPolicy, ResiliencePolicy};
use crate::{resilience::FieldError, units::duration};

fn crds() -> [(&'static str, CustomResourceDefinition); 2] {
    [
        ("resiliencepolicies", ResiliencePolicy::crd()),
        ("accesspolicies", AccessPolicy::crd()),
    ]
}

#[test]
fn the_chart_carries_what_the_types_say() {
    for (name, crd) in crds() {
        let yaml = serde_saphyr::to_string(&crd).expect("a CRD is plain data");
        // In a template, and not in the chart's crds/, so that an upgrade brings it too.
        let wanted = format!("# Generated from the Rust types by `make crds`.\n{yaml}");
        assert!(!wanted.contains("{{"), "helm would read a template action");
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("charts/outrigger/templates/crds")
            .join(format!("{name}.yaml"));
        if env::var_os("UPDATE_CRDS").is_some() {
            fs::create_dir_all(path.parent().expect("a file has a folder")).expect("a checkout");
            fs::write(&path, &wanted).expect("the checkout can be written");
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == wanted,
            "{} is not what the types say: run make crds",
            path.display()
        );
    }
}

/// The schema's bounds of every field, and whether the proxy takes them and nothing beyond.
#[test]
fn the_schema_and_the_proxy_agree_on_every_bound() {
    let crd = serde_json::to_value(ResiliencePolicy::crd()).expect("a CRD is plain data");
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let mut checked = 0;
    for section in ["breaker", "bulkhead", "retry", "timeouts"] {
        let fields = crd.pointer(&format!("{spec}/{section}/properties"));
        let fields = fields
            .and_then(Value::as_object)
            .expect("every section has fields");
        for (field, schema) in fields {
            for (value, fine) in edges(schema) {
                checked += 1;
                let policy = json!({section: {field: value}});
                assert_eq!(
                    is_taken(&policy, &format!("{section}.{field}")),
                    fine,
                    "{policy}"
                );
            }
        }
    }
    assert!(checked > 40, "{checked}");
}

/// Values at a field's bounds, which are fine, and just beyond, which are not.
fn edges(schema: &Value) -> Vec<(Value, bool)> {
    let number = |name: &str| schema[name].as_f64();
    let step = if schema["type"] == "integer" {
        1.0
    } else {
        0.01
    };
    let whole = |value: f64| match schema["type"] == "integer" {
        true => json!(value as i64),
        false => json!(value),
    };
    let mut edges = Vec::new();
    if let Some(least) = number("minimum") {
        edges.push((whole(least), true));
        // What is not a number of the type is refused before it is looked at.
        if least >= step {
            edges.push((whole(least - step), false));
        }
    }
    if let Some(most) = number("maximum") {
        edges.extend([(whole(most), true), (whole(most + step), false)]);
    }
    let rule = schema.pointer("/x-kubernetes-validations/0/rule");
    if let Some(rule) = rule
        .and_then(Value::as_str)
        .filter(|rule| rule.starts_with("duration(self) >="))
    {
        let bounds: Vec<_> = rule.split('\'').skip(1).step_by(2).collect();
        let [least, most] = bounds[..] else {
            panic!("{rule}")
        };
        let longer = duration::parse(most).expect("a duration") + Duration::from_millis(1);
        edges.extend([
            (json!(least), true),
            (json!(most), true),
            (json!(duration::format(longer)), false),
        ]);
        let least = duration::parse(least).expect("a duration");
        if let Some(shorter) = least.checked_sub(Duration::from_millis(1)) {
            edges.push((json!(duration::format(shorter)), false));
        }
    }
    edges
}

fn is_taken(policy: &Value, path: &str) -> bool {
    let policy: crate::resilience::ResiliencePolicy =
        serde_json::from_value(policy.clone()).expect("the right types");
    let faults = policy.validate().err().unwrap_or_default();
    let at_fault = |fault: &FieldError| {
        // Of two fields that contradict each other one is named, and that is another rule.
        fault.path == path && fault.reason.contains("between")
    };
    !faults.iter().any(at_fault)
}
