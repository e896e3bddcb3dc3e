//! Whom the proxy did not let in, from its log: it tells of each caller and port now and then.

use serde::Serialize;
use serde_json::Value;

/// Callers that are told of.
const SHOWN: usize = 5;
/// What the proxy's line says.
const MESSAGE: &str = "access denied";

/// A call that no policy allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Denial {
    /// A SPIFFE ID, or `(plaintext)`.
    pub caller: String,
    pub port: String,
    /// The policies that are for the port, parted by spaces; empty where the mesh's default denies.
    pub policies: String,
}

impl Denial {
    fn read(line: &str) -> Option<Self> {
        if let Ok(json) = serde_json::from_str::<Value>(line) {
            let fields = json.get("fields").unwrap_or(&json);
            let ours = fields["message"].as_str() == Some(MESSAGE);
            return ours.then(|| Self::of(|name| of_json(&fields[name])))?;
        }
        let (_, fields) = line.split_once(MESSAGE)?;
        let fields = fields.trim_start();
        Self::of(|name| of_text(fields, name))
    }

    fn of(field: impl Fn(&str) -> Option<String>) -> Option<Self> {
        Some(Self {
            caller: field("caller")?,
            port: field("port")?,
            policies: field("policies").unwrap_or_default(),
        })
    }
}

impl std::fmt::Display for Denial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let by = match self.policies.as_str() {
            "" => "mesh.defaultAccess".to_owned(),
            policies => policies.replace(' ', ", "),
        };
        write!(f, "{} at port {} (by {by})", self.caller, self.port)
    }
}

fn of_json(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The value of `name=value`, or of `name="value"`.
fn of_text(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("{name}="))?;
    let value = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => rest.split(' ').next(),
    };
    value.map(str::to_owned)
}

/// The last of each caller and port, the newest last.
pub fn denials<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<Denial> {
    let mut all: Vec<Denial> = Vec::new();
    for denial in lines.filter_map(Denial::read) {
        all.retain(|known| (&known.caller, &known.port) != (&denial.caller, &denial.port));
        all.push(denial);
    }
    all.split_off(all.len().saturating_sub(SHOWN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_formats_of_the_log() {
        let text = r#"2026-11-24T12:00:00Z  INFO outrigger::proxy::own: access denied caller="spiffe://m/ns/shop/sa/web" port=8080 policies="shop/a shop/b" method=Some("GET") path=Some("/x")"#;
        let json = r#"{"level":"INFO","fields":{"message":"access denied","caller":"(plaintext)","port":9090,"policies":""}}"#;
        let audited = text.replace("access denied", "access would be denied");
        let found = denials([text, json, &audited, text, "nonsense"].into_iter());
        let shown: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "(plaintext) at port 9090 (by mesh.defaultAccess)",
                "spiffe://m/ns/shop/sa/web at port 8080 (by shop/a, shop/b)",
            ]
        );
    }
}
