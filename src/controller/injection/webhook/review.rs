//! The admission review, version v1: its fields that matter here, and the answers to it.

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use crate::{controller::injection::Injection, discovery::validate::syntax::is_dns_label};

/// The API server shows warnings of up to 256 characters, and cuts longer ones without a word.
const MAX_WARNING: usize = 250;

/// What is asked.
pub(super) struct Request<'a> {
    uid: &'a str,
    pub namespace: &'a str,
    /// What is to be created.
    pub object: &'a Value,
    /// Nothing may be changed in the cluster on account of this.
    pub dry_run: bool,
}

impl<'a> Request<'a> {
    /// # Errors
    /// When it is no admission review.
    pub fn read(review: &'a Value) -> Result<Self, &'static str> {
        let request = &review["request"];
        let uid = request["uid"].as_str().ok_or("no request.uid")?;
        let namespace = request["namespace"].as_str();
        let namespace = namespace.ok_or("no request.namespace")?;
        // It becomes a part of paths at the API server, and anyone can send a review.
        if !is_namespace(namespace) {
            return Err("request.namespace is not the name of a namespace");
        }
        Ok(Self {
            uid,
            namespace,
            object: request.get("object").ok_or("no request.object")?,
            dry_run: request["dryRun"] == true,
        })
    }

    /// Yes, with the patch that makes the object what it became.
    pub fn allow(&self, injection: Injection) -> Value {
        let mut answer = self.warn(injection.warnings);
        if let Some(pod) = &injection.pod {
            let patch = serde_json::to_vec(&patch(self.object, pod));
            let patch = patch.expect("JSON values have a text");
            answer["response"]["patchType"] = json!("JSONPatch");
            answer["response"]["patch"] = json!(ByteString(patch));
        }
        answer
    }

    /// Yes, and what its owner should know.
    pub fn warn(&self, warnings: Vec<String>) -> Value {
        let mut answer = self.answer(json!({"uid": self.uid, "allowed": true}));
        if !warnings.is_empty() {
            let warnings: Vec<_> = warnings.into_iter().map(shortened).collect();
            answer["response"]["warnings"] = json!(warnings);
        }
        answer
    }

    /// No, and what must be mended.
    pub fn refuse(&self, why: &str) -> Value {
        self.no(422, "Invalid", format!("outrigger: {why}"))
    }

    /// No, for now: whoever makes the pod tries again.
    pub fn unavailable(&self, error: &dyn std::fmt::Display) -> Value {
        let namespace = self.namespace;
        tracing::warn!(namespace, %error, "a pod has to wait");
        let why = format!("outrigger: the API server did not answer the injector: {error}");
        self.no(503, "ServiceUnavailable", why)
    }

    fn no(&self, code: u16, reason: &str, message: String) -> Value {
        let status = json!({"code": code, "reason": reason, "message": message});
        self.answer(json!({"uid": self.uid, "allowed": false, "status": status}))
    }

    fn answer(&self, response: Value) -> Value {
        json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "response": response,
        })
    }
}

/// The JSON Patch from one pod to another, a whole field of its metadata or spec at a time, or the
/// whole of what was absent. Injection takes no field away, and `add` replaces what is there
/// (RFC 6902, section 4.1).
pub(super) fn patch(before: &Value, after: &Value) -> Value {
    let mut operations = Vec::new();
    for part in ["metadata", "spec"] {
        if !before[part].is_object() {
            operations.push(json!({"op": "add", "path": format!("/{part}"), "value": after[part]}));
            continue;
        }
        let fields = after[part].as_object().into_iter().flatten();
        let changed = fields.filter(|(field, value)| before[part].get(field) != Some(value));
        operations.extend(changed.map(|(field, value)| {
            json!({"op": "add", "path": format!("/{part}/{field}"), "value": value})
        }));
    }
    operations.into()
}

/// What Kubernetes takes for the name of a namespace.
fn is_namespace(name: &str) -> bool {
    is_dns_label(name) && !name.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn shortened(mut warning: String) -> String {
    if warning.len() > MAX_WARNING {
        warning.truncate(warning.floor_char_boundary(MAX_WARNING));
        warning.push('…');
    }
    warning
}
