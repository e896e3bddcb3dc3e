//! What a tap tells, one line at a time.

use serde_json::Value;

/// One line of a tap.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// An exchange that has ended: the access log's fields.
    Request(Value),
    /// So many exchanges were not shown: this reader was too slow.
    Lost(u64),
    End(String),
}

impl Event {
    pub fn parse(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        if let Some(lost) = value["lost"].as_u64() {
            return Some(Self::Lost(lost));
        }
        if let Some(why) = value["end"].as_str() {
            return Some(Self::End(why.to_owned()));
        }
        value["direction"]
            .is_string()
            .then_some(Self::Request(value))
    }

    pub fn is_request(&self) -> bool {
        matches!(self, Self::Request(_))
    }

    /// As one line of JSON, with the pod.
    pub fn json(&self, pod: &str) -> String {
        let mut value = match self {
            Self::Request(value) => value.clone(),
            Self::Lost(lost) => serde_json::json!({ "lost": lost }),
            Self::End(why) => serde_json::json!({ "end": why }),
        };
        value["pod"] = pod.into();
        value.to_string()
    }

    /// As a line for people, with the pod where there are several.
    pub fn text(&self, pod: Option<&str>) -> String {
        let pod = pod.map(|pod| format!("{pod} ")).unwrap_or_default();
        let rest = match self {
            Self::Request(value) => request(value),
            Self::Lost(lost) => {
                format!("({lost} requests not shown: they come faster than this reads)")
            }
            Self::End(why) => format!("(ended: {why})"),
        };
        format!("{pod}{rest}")
    }
}

fn request(value: &Value) -> String {
    let text = |field: &str| value[field].as_str().unwrap_or_default();
    let time = text("time").split_once('T').map_or("", |(_, time)| time);
    let inbound = text("direction") == "inbound";
    let status = match value["grpc_status"].as_u64() {
        Some(code) => format!("grpc {code}"),
        None => value["status"]
            .as_u64()
            .map_or_else(|| "---".to_owned(), |status| status.to_string()),
    };
    let client = match text("caller") {
        "" => text("client").to_owned(),
        caller => short(caller),
    };
    let peer = if inbound {
        format!("from {client}")
    } else {
        match text("endpoint") {
            "" => format!("to {}", text("service")),
            endpoint => format!("to {} {endpoint}", text("service")),
        }
    };
    let secured = match (inbound, text("caller"), text("endpoint"), text("upstream")) {
        (true, "", ..) => " plain",
        // It reached no endpoint.
        (false, _, "", _) => "",
        (false, _, _, "") => " plain",
        _ => " mtls",
    };
    let reason = match text("reason") {
        "" => String::new(),
        reason => format!(" [{reason}]"),
    };
    format!(
        "{} {} {status:>3} {:>9} {} {}{} {peer}{secured}{reason}",
        time.trim_end_matches('Z'),
        if inbound { "←" } else { "→" },
        format!(
            "{:.1} ms",
            value["duration_ms"].as_f64().unwrap_or_default()
        ),
        text("method"),
        text("host"),
        text("path"),
    )
}

/// `namespace/account` of a SPIFFE ID of ours.
fn short(id: &str) -> String {
    let account = id.split_once("/ns/").map_or(id, |(_, rest)| rest);
    account.replacen("/sa/", "/", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INBOUND: &str = r#"{"time":"2026-11-24T12:00:00.125Z","direction":"inbound","client":"198.18.64.9:4711","caller":"spiffe://cluster.local/ns/shop/sa/web","service":"local","route":"default","method":"GET","host":"cart","path":"/cart/1","version":"2","status":200,"request_bytes":0,"response_bytes":5,"duration_ms":1.25}"#;
    const OUTBOUND: &str = r#"{"time":"2026-11-24T12:00:00.125Z","direction":"outbound","client":"198.18.64.9:4711","service":"shop/cart:80","method":"POST","path":"/x","version":"1.1","status":503,"reason":"breaker-open","request_bytes":0,"response_bytes":5,"duration_ms":0.1}"#;

    #[test]
    fn tells_requests_losses_and_the_end() {
        let lines = [
            Event::parse(INBOUND).unwrap().text(None),
            Event::parse(OUTBOUND).unwrap().text(Some("cart-1")),
            Event::parse(r#"{"lost":7}"#).unwrap().text(None),
            Event::parse(r#"{"end":"the time is over"}"#)
                .unwrap()
                .text(None),
        ];
        insta::assert_snapshot!(lines.join("\n"), @r#"
        12:00:00.125 ← 200    1.2 ms GET cart/cart/1 from shop/web mtls
        cart-1 12:00:00.125 → 503    0.1 ms POST /x to shop/cart:80 [breaker-open]
        (7 requests not shown: they come faster than this reads)
        (ended: the time is over)
        "#);
        assert_eq!(Event::parse("nonsense"), None);
        assert_eq!(Event::parse("{}"), None);
    }

    #[test]
    fn json_has_the_pod() {
        let json = Event::parse(INBOUND).unwrap().json("cart-1");
        let value: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            (&value["pod"], &value["status"]),
            (&"cart-1".into(), &200.into())
        );
    }
}
