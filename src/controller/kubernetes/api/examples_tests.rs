//! The policies that the documentation and the samples show are policies: of our kinds, with no
//! field that there is not.

use std::{fs, path::Path};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{AccessPolicy, ResiliencePolicy};

/// Everything under a folder with the given extension, as text, by name.
fn files(folder: &str, extension: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let files = fs::read_dir(folder).expect("a checkout").map(|entry| {
        let path = entry.expect("a checkout").path();
        (path.extension().is_some_and(|found| found == extension)).then(|| {
            let text = fs::read_to_string(&path).expect("a text");
            (path.display().to_string(), text)
        })
    });
    files.flatten().collect()
}

/// The YAML of a page: what stands in its fences.
fn fenced(page: &str) -> impl Iterator<Item = &str> {
    let after = page.split("```yaml\n").skip(1);
    after.filter_map(|rest| rest.split("```").next())
}

/// Reads it as `K`, and finds each of its fields again in what was read.
fn check<K: DeserializeOwned + Serialize>(place: &str, written: &Value) {
    let read: K = serde_json::from_value(written.clone())
        .unwrap_or_else(|error| panic!("{place}: {error}, in {written}"));
    let read = serde_json::to_value(&read).expect("it was read from JSON");
    contains(place, "", written, &read);
}

fn contains(place: &str, path: &str, written: &Value, read: &Value) {
    match (written, read) {
        (Value::Object(fields), Value::Object(_)) => {
            for (name, value) in fields {
                contains(place, &format!("{path}.{name}"), value, &read[name]);
            }
        }
        (Value::Array(items), Value::Array(found)) => {
            assert_eq!(items.len(), found.len(), "{place}: {path}");
            for (index, (item, found)) in items.iter().zip(found).enumerate() {
                contains(place, &format!("{path}[{index}]"), item, found);
            }
        }
        _ => assert!(
            !read.is_null() || written.is_null(),
            "{place}: no field {path}"
        ),
    }
}

#[test]
fn examples_are_policies() {
    let mut checked = 0;
    let pages = files("docs", "md");
    let in_pages = pages
        .iter()
        .flat_map(|(place, page)| fenced(page).map(move |yaml| (place, yaml)));
    let samples = files("manifests/shop/policies", "yaml");
    let in_samples = samples.iter().map(|(place, yaml)| (place, &**yaml));
    for (place, yaml) in in_pages.chain(in_samples) {
        let objects: Vec<Value> =
            serde_saphyr::from_multiple(yaml).unwrap_or_else(|error| panic!("{place}: {error}"));
        for object in &objects {
            match object["kind"].as_str() {
                Some("AccessPolicy") => check::<AccessPolicy>(place, object),
                Some("ResiliencePolicy") => check::<ResiliencePolicy>(place, object),
                _ => continue,
            }
            checked += 1;
        }
    }
    assert!(checked >= 5, "only {checked} examples found");
}

#[test]
#[should_panic(expected = "no field .spec.breaker.failureRates")]
fn an_unknown_field_is_found_out() {
    let written = serde_json::json!({"spec": {"breaker": {"failureRates": 0.5}}});
    let read = serde_json::json!({"spec": {"breaker": {"failureRate": 0.5}}});
    contains("here", "", &written, &read);
}
