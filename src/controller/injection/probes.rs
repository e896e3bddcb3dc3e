//! Sends the kubelet's HTTP, TCP and gRPC probes, and HTTP lifecycle hooks, through the proxy,
//! which makes the original check itself: the kubelet speaks no mesh TLS. Exec is left alone,
//! and so is what names a host of its own, since that goes to no port of this pod.

use std::time::Duration;

use serde_json::{Value, json};

use super::PROBE_PORT;
use crate::{
    controller::token,
    discovery::probe::{Check, HttpCheck, Probe, Probes},
};

/// The first part of every path at the proxy's probe port.
const PREFIX: &str = "/probe/";

/// Hexadecimal digits, of four random bits each.
const WORD: usize = 32;

/// What Kubernetes takes for a probe that says nothing, in seconds.
const DEFAULT_TIMEOUT: u64 = 1;

/// Where a container's checks are, and what they are called at the probe port.
const PROBES: [(&str, &str); 3] = [
    ("startupProbe", "startup"),
    ("livenessProbe", "liveness"),
    ("readinessProbe", "readiness"),
];
/// The path of a hook ends with a word that nobody can guess: whoever reaches the port may ask for
/// a probe, and must not make the application end itself.
const HOOKS: [(&str, &str); 2] = [("postStart", "post-start"), ("preStop", "pre-stop")];

/// Rewrites the checks of one container. `known` are those of an earlier injection; what is
/// still asked for goes from there, and what is new, into `probes`.
pub(super) fn rewrite(
    container: &mut Value,
    known: &Probes,
    probes: &mut Probes,
    warnings: &mut Vec<String>,
) {
    let name = container["name"].as_str().unwrap_or_default().to_owned();
    let ports = container["ports"].clone();
    let mut rewritten = |handler: &mut Value, kind: &str, timeout: Option<Duration>| {
        let path = format!("{PREFIX}{name}/{kind}");
        let is_hook = timeout.is_none();
        if let Some(mut asked) = ours(handler).map(ToOwned::to_owned) {
            if let Some(probe) = known.get(&asked) {
                if is_hook && !ends_with_word(&asked, &path) {
                    asked = with_word(&path);
                    replace(handler, &asked);
                }
                probes.insert(asked, probe.clone());
            }
            return;
        }
        match read(handler, &ports) {
            Ok(Some(check)) => {
                let path = if is_hook { with_word(&path) } else { path };
                replace(handler, &path);
                probes.insert(path, Probe { check, timeout });
            }
            Ok(None) => {}
            Err(why) => warnings.push(format!(
                "the {kind} check of container {name} is left as it is: {why}"
            )),
        }
    };
    for (field, kind) in PROBES {
        if let Some(probe) = container.get_mut(field).filter(|probe| probe.is_object()) {
            let seconds = probe["timeoutSeconds"].as_u64().filter(|n| *n > 0);
            let timeout = Duration::from_secs(seconds.unwrap_or(DEFAULT_TIMEOUT));
            rewritten(probe, kind, Some(timeout));
        }
    }
    for (field, kind) in HOOKS {
        let hook = container.pointer_mut(&format!("/lifecycle/{field}"));
        // Kubernetes takes TCP hooks for the sake of old objects, and fails them.
        if let Some(hook) = hook.filter(|hook| hook.get("httpGet").is_some()) {
            rewritten(hook, kind, None);
        }
    }
}

/// The path that an earlier injection gave a handler.
fn ours(handler: &Value) -> Option<&str> {
    let get = &handler["httpGet"];
    let path = get["path"].as_str()?;
    (get["port"] == json!(PROBE_PORT) && path.starts_with(PREFIX)).then_some(path)
}

fn with_word(path: &str) -> String {
    format!("{path}/{}", token::unguessable::<{ WORD / 2 }>())
}

fn ends_with_word(path: &str, before: &str) -> bool {
    let word = path
        .strip_prefix(before)
        .and_then(|it| it.strip_prefix('/'));
    word.is_some_and(|it| it.len() == WORD && it.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The check that a handler asks for; `None` where it is not for the proxy.
fn read(handler: &Value, ports: &Value) -> Result<Option<Check>, String> {
    if let Some(get) = handler.get("httpGet").filter(|get| get.is_object()) {
        return http(get, ports);
    }
    if let Some(tcp) = handler.get("tcpSocket").filter(|tcp| tcp.is_object()) {
        if names_a_host(tcp) {
            return Ok(None);
        }
        let port = port(&tcp["port"], ports)?;
        return Ok(Some(Check::Tcp { port }));
    }
    if let Some(grpc) = handler.get("grpc").filter(|grpc| grpc.is_object()) {
        let port = port(&grpc["port"], ports)?;
        let service = grpc["service"].as_str().unwrap_or_default().to_owned();
        return Ok(Some(Check::Grpc { port, service }));
    }
    Ok(None)
}

fn http(get: &Value, ports: &Value) -> Result<Option<Check>, String> {
    if names_a_host(get) {
        return Ok(None);
    }
    let path = get["path"].as_str().unwrap_or_default();
    let path = match path.starts_with('/') {
        true => path.to_owned(),
        false => format!("/{path}"),
    };
    let header = |header: &Value| {
        let text = |field: &str| header[field].as_str().unwrap_or_default().to_owned();
        (text("name"), text("value"))
    };
    let headers = get["httpHeaders"].as_array().into_iter().flatten();
    Ok(Some(Check::Http(HttpCheck {
        port: port(&get["port"], ports)?,
        tls: get["scheme"] == "HTTPS",
        path,
        headers: headers.map(header).collect(),
    })))
}

fn names_a_host(handler: &Value) -> bool {
    handler["host"]
        .as_str()
        .is_some_and(|host| !host.is_empty())
}

/// A port by number, or by the name that the container gave it.
fn port(port: &Value, ports: &Value) -> Result<u16, String> {
    let number = |port: &Value| port.as_u64().and_then(|port| u16::try_from(port).ok());
    let found = match port.as_str() {
        // Kubernetes takes a number in quotes for a number.
        Some(name) => name.parse().ok().or_else(|| {
            let named = |port: &&Value| port["name"] == name;
            let port = ports.as_array()?.iter().find(named)?;
            number(&port["containerPort"])
        }),
        None => number(port),
    };
    found
        .filter(|port| *port != 0)
        .ok_or_else(|| format!("the container has no port {port}"))
}

/// Puts the question to the proxy in the handler's place; what else the probe says stays.
fn replace(handler: &mut Value, path: &str) {
    if let Some(fields) = handler.as_object_mut() {
        for asked in ["httpGet", "tcpSocket", "grpc"] {
            fields.remove(asked);
        }
        let get = json!({"path": path, "port": PROBE_PORT, "scheme": "HTTP"});
        fields.insert("httpGet".to_owned(), get);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(mut container: Value) -> (Value, Probes, Vec<String>) {
        let (mut probes, mut warnings) = (Probes::new(), Vec::new());
        rewrite(&mut container, &Probes::new(), &mut probes, &mut warnings);
        (container, probes, warnings)
    }

    fn check(probe: Value) -> Option<Check> {
        let ports = json!([{"name": "web", "containerPort": 8080}]);
        let container = json!({"name": "app", "ports": ports, "readinessProbe": probe});
        let (_, probes, warnings) = rewritten(container);
        assert!(warnings.is_empty(), "{warnings:?}");
        probes.into_values().next().map(|probe| probe.check)
    }

    #[test]
    fn reads_every_kind_of_check() {
        let http = json!({"httpGet": {"port": "web", "path": "healthz?full=1", "scheme": "HTTPS",
            "httpHeaders": [{"name": "Host", "value": "app.test"}]}});
        let expected = Check::Http(HttpCheck {
            port: 8080,
            tls: true,
            path: "/healthz?full=1".into(),
            headers: vec![("Host".into(), "app.test".into())],
        });
        assert_eq!(check(http), Some(expected));
        let tcp = json!({"tcpSocket": {"port": 5432}});
        assert_eq!(check(tcp), Some(Check::Tcp { port: 5432 }));
        let grpc = json!({"grpc": {"port": 9000, "service": "shop.Cart"}});
        let service = "shop.Cart".to_owned();
        assert_eq!(
            check(grpc),
            Some(Check::Grpc {
                port: 9000,
                service
            })
        );
    }

    #[test]
    fn leaves_alone_what_is_not_for_a_port_of_the_pod() {
        assert_eq!(check(json!({"exec": {"command": ["true"]}})), None);
        assert_eq!(
            check(json!({"httpGet": {"port": 80, "host": "198.18.0.1"}})),
            None
        );
        assert_eq!(
            check(json!({"tcpSocket": {"port": 80, "host": "198.18.0.1"}})),
            None
        );
    }

    #[test]
    fn keeps_what_else_the_probe_says() {
        let probe = json!({"tcpSocket": {"port": 1}, "periodSeconds": 3, "timeoutSeconds": 7});
        let (container, probes, _) = rewritten(json!({"name": "app", "livenessProbe": probe}));
        let get = json!({"path": "/probe/app/liveness", "port": PROBE_PORT, "scheme": "HTTP"});
        let expected = json!({"httpGet": get, "periodSeconds": 3, "timeoutSeconds": 7});
        assert_eq!(container["livenessProbe"], expected);
        let timeout = probes["/probe/app/liveness"].timeout;
        assert_eq!(timeout, Some(Duration::from_secs(7)));
    }

    #[test]
    fn hooks_by_http_go_the_same_way() {
        let lifecycle = json!({
            "postStart": {"exec": {"command": ["true"]}},
            "preStop": {"httpGet": {"port": 80, "path": "/quit"}},
        });
        let (container, probes, _) = rewritten(json!({"name": "app", "lifecycle": lifecycle}));
        assert_eq!(container["lifecycle"]["postStart"], lifecycle["postStart"]);
        let path = hook(&container);
        assert!(ends_with_word(path, "/probe/app/pre-stop"), "{path}");
        assert_eq!(probes[path].timeout, None);
    }

    fn hook(container: &Value) -> &str {
        let path = container["lifecycle"]["preStop"]["httpGet"]["path"].as_str();
        path.unwrap()
    }

    #[test]
    fn the_path_of_a_hook_is_another_in_each_pod_and_stays_the_same_in_one() {
        let get = json!({"port": 80, "path": "/quit"});
        let plain = json!({"name": "app", "lifecycle": {"preStop": {"httpGet": get}}});
        let (first, known, _) = rewritten(plain.clone());
        assert_ne!(hook(&first), hook(&rewritten(plain).0));
        let mut again = (first.clone(), Probes::new());
        rewrite(&mut again.0, &known, &mut again.1, &mut Vec::new());
        assert_eq!(again, (first.clone(), known.clone()));

        // As it was written before there were words.
        let mut old = first;
        old["lifecycle"]["preStop"]["httpGet"]["path"] = json!("/probe/app/pre-stop");
        let check = known.into_values().next().unwrap();
        let known = [("/probe/app/pre-stop".to_owned(), check.clone())].into();
        let mut probes = Probes::new();
        rewrite(&mut old, &known, &mut probes, &mut Vec::new());
        assert!(ends_with_word(hook(&old), "/probe/app/pre-stop"));
        assert_eq!(probes, [(hook(&old).to_owned(), check)].into());
    }

    #[test]
    fn a_port_that_nobody_has_is_warned_of() {
        let probe = json!({"httpGet": {"port": "wbe"}});
        let container = json!({"name": "app", "startupProbe": probe.clone()});
        let (container, probes, warnings) = rewritten(container);
        assert_eq!(container["startupProbe"], probe);
        assert!(probes.is_empty());
        assert!(
            warnings[0].contains("startup") && warnings[0].contains("wbe"),
            "{warnings:?}"
        );
    }
}
