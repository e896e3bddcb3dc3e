//! What a Service port speaks, from `appProtocol` or the port's name.

use crate::discovery::model::Protocol;

/// `appProtocol` counts before the name; what neither says is found out by the proxies.
pub(super) fn protocol(app_protocol: Option<&str>, port_name: &str) -> Protocol {
    let said = app_protocol.map_or(Protocol::Detect, |said| by_word(&said.to_ascii_lowercase()));
    if said != Protocol::Detect || app_protocol.is_some() {
        return said;
    }
    let word = port_name.split('-').next().unwrap_or_default();
    match port_name {
        // Carried by HTTP/1.1 as well.
        "grpc-web" => Protocol::Http,
        _ => by_word(word),
    }
}

fn by_word(word: &str) -> Protocol {
    match word {
        "http" | "grpc-web" | "kubernetes.io/ws" | "ws" => Protocol::Http,
        "http2" | "h2c" | "grpc" | "kubernetes.io/h2c" => Protocol::Http2,
        // The application's own TLS is carried as it is.
        "tcp" | "tls" | "https" | "kubernetes.io/wss" | "wss" => Protocol::Tcp,
        // Servers that speak first, and others that are never HTTP.
        "mysql" | "postgres" | "postgresql" | "redis" | "mongo" | "mongodb" | "amqp" | "smtp"
        | "kafka" => Protocol::Tcp,
        _ => Protocol::Detect,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_protocol_then_name() {
        use Protocol::*;
        let table = [
            (Some("http"), "", Http),
            (Some("HTTP"), "", Http),
            (Some("kubernetes.io/ws"), "", Http),
            (Some("kubernetes.io/h2c"), "", Http2),
            (Some("grpc"), "", Http2),
            (Some("https"), "", Tcp),
            (Some("kubernetes.io/wss"), "", Tcp),
            (Some("tcp"), "http", Tcp),
            (Some("example.com/own"), "http", Detect),
            (None, "http", Http),
            (None, "http-admin", Http),
            (None, "http2", Http2),
            (None, "http2-api", Http2),
            (None, "grpc", Http2),
            (None, "grpc-api", Http2),
            (None, "grpc-web", Http),
            (None, "tcp-db", Tcp),
            (None, "https", Tcp),
            (None, "https-ui", Tcp),
            (None, "mysql", Tcp),
            (None, "web", Detect),
            (None, "httpx", Detect),
            (None, "", Detect),
        ];
        for (app_protocol, name, expected) in table {
            assert_eq!(
                protocol(app_protocol, name),
                expected,
                "{app_protocol:?} {name:?}"
            );
        }
    }
}
