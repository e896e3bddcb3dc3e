//! The chart carries what the types say.

use std::{env, fs, path::PathBuf};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use super::{AccessPolicy, ResiliencePolicy};

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
