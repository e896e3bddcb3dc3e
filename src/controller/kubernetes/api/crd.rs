//! From the schema that Rust types have to the one that Kubernetes takes: structural, with CEL
//! rules for what JSON Schema cannot say, and with defaults in the descriptions only. Defaults
//! that the API server fills in would stay in every object when an upgrade changes them; the few
//! that can never change are marked with [`SAFE_DEFAULT`].

use schemars::{Schema, transform::transform_subschemas};
use serde_json::{Map, Value, json};

use crate::units::duration;

const RULES: &str = "x-kubernetes-validations";
/// A default for the API server to fill in.
const SAFE_DEFAULT: &str = "x-safe-default";

/// Rules in CEL, each with what to tell whoever breaks it.
pub fn cel(rules: &[(&str, &str)]) -> Value {
    let rule = |(rule, message): &(&str, &str)| json!({"rule": rule, "message": message});
    rules.iter().map(rule).collect()
}

/// Applied to the schema of a whole spec.
pub fn structural(schema: &mut Schema) {
    transform_subschemas(&mut structural, schema);
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    describe_default(object);
    bound_duration(object);
    choose_one(object);
    know_format(object);
}

/// Moves a default into the description. A plain object's is that of its fields.
fn describe_default(object: &mut Map<String, Value>) {
    let default = object.remove("default");
    if let Some(safe) = object.remove(SAFE_DEFAULT) {
        object.insert("default".into(), safe);
        return;
    }
    let text = match default {
        None | Some(Value::Null) => return,
        Some(Value::Object(_)) if !object.contains_key("oneOf") => return,
        Some(Value::Array(items)) if items.is_empty() => return,
        Some(Value::String(text)) if text.is_empty() => return,
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
    };
    let described = object.get("description").and_then(Value::as_str);
    let said = described.map_or_else(String::new, |said| format!("{said} "));
    object.insert(
        "description".into(),
        format!("{said}Default: {text}.").into(),
    );
}

fn bound_duration(object: &mut Map<String, Value>) {
    let Some(bounds) = object.remove(duration::BOUNDS) else {
        return;
    };
    let (least, most) = (bounds[0].as_str(), bounds[1].as_str());
    let (least, most) = least.zip(most).expect("written by `duration::schema`");
    let rule =
        format!("duration(self) >= duration('{least}') && duration(self) <= duration('{most}')");
    let message = format!("must be a duration from {least} to {most}, like 10s, 250ms or 1m30s");
    object.insert(RULES.into(), cel(&[(&rule, &message)]));
}

/// An enum that is written as one of several fields becomes an object with all of them, and a rule
/// that says more than `oneOf` does.
fn choose_one(object: &mut Map<String, Value>) {
    let Some(variants) = object.get("oneOf").and_then(Value::as_array) else {
        return;
    };
    let mut properties = Map::new();
    for variant in variants {
        let Some(fields) = variant.get("properties").and_then(Value::as_object) else {
            return;
        };
        for (name, field) in fields {
            let mut field = field.clone();
            if let (Some(field), Some(text)) = (field.as_object_mut(), variant.get("description")) {
                field.insert("description".into(), text.clone());
            }
            properties.insert(name.clone(), field);
        }
    }
    let names: Vec<&str> = properties.keys().map(String::as_str).collect();
    let present: Vec<_> = names
        .iter()
        .map(|name| format!("has(self.{name})"))
        .collect();
    let rule = format!("[{}].exists_one(set, set)", present.join(", "));
    let message = format!("exactly one of {} must be set", names.join(", "));
    let rules = cel(&[(&rule, &message)]);
    object.remove("oneOf");
    object.insert("type".into(), "object".into());
    object.insert("properties".into(), properties.into());
    object.insert(RULES.into(), rules);
}

/// The API server warns of the formats of unsigned numbers, which it does not know.
fn know_format(object: &mut Map<String, Value>) {
    let format = object.get("format").and_then(Value::as_str);
    let known = match format {
        Some("uint8" | "uint16") => "int32",
        Some("uint32") => "int64",
        _ => return,
    };
    object.insert("format".into(), known.into());
}
