//! The probe port in front of applications that others wrote: what the kubelet would hear from
//! the application itself, it hears from the proxy.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Command,
};

use outrigger::discovery::probe::{Check, HttpCheck, Probe, Probes};

use crate::harness::{Process, Wire, apps, free_addr, wait};

/// A proxy that has nothing but these checks: no certificate, and no controller to get it from.
struct Proxy {
    probes: SocketAddr,
    process: Process,
}

impl Proxy {
    fn with(checks: &[(&str, Check)]) -> Self {
        let probes = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), free_addr().port());
        let by_path = |(name, check): &(&str, Check)| {
            let check = check.clone();
            let probe = Probe {
                check,
                timeout: None,
            };
            (format!("/probe/app/{name}"), probe)
        };
        let checks: Probes = checks.iter().map(by_path).collect();
        let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
        command
            .args(["proxy", "--no-intercept", "--controller", "127.0.0.1:1"])
            .args(["--identity", "spiffe://mesh.test/ns/it/sa/app"])
            .args(["--trust-anchors", "/none", "--token-file", "/none"])
            .args(["--admin", &free_addr().to_string()])
            .args([
                "--forward",
                &format!("outbound:{}=198.18.0.10:80", free_addr()),
            ])
            .args(["--probe-port", &probes.port().to_string()])
            .env(
                "OUTRIGGER_PROBES",
                serde_json::to_string(&checks).expect("checks have a text"),
            );
        let mut process = Process::start("proxy", &mut command);
        wait::until("the probe port listens", || {
            assert!(process.exited().is_none(), "it ended: {}", process.log());
            Wire::try_connect(probes).is_ok()
        });
        Self { probes, process }
    }

    fn ask(&self, name: &str) -> (u16, String) {
        let answer = Wire::connect(self.probes).get(&format!("/probe/app/{name}"));
        (answer.status, answer.text())
    }
}

fn http(app: &apps::App, path: &str, tls: bool) -> Check {
    Check::Http(HttpCheck {
        port: app.addr.port(),
        tls,
        path: path.into(),
        headers: vec![("Host".into(), "app.test".into())],
    })
}

#[test]
fn http_and_https_applications_are_asked() {
    let moved = "absolute_redirect off;
                 location = /moved { return 302 /index.html; }
                 location = /elsewhere { return 301 http://login.test/; }
                 location = /loop { return 302 /loop; }
                 location = /host { if ($host = app.test) { return 204; } return 400; }";
    let plain = apps::nginx(moved, &[("index.html", b"here")]);
    let secure = apps::nginx_tls("");
    let old = apps::nginx_tls("ssl_protocols TLSv1.2;");
    let proxy = Proxy::with(&[
        ("there", http(&plain, "/index.html?full=1", false)),
        ("missing", http(&plain, "/none", false)),
        ("moved", http(&plain, "/moved", false)),
        ("elsewhere", http(&plain, "/elsewhere", false)),
        ("loop", http(&plain, "/loop", false)),
        ("host", http(&plain, "/host", false)),
        ("secure", http(&secure, "/index.html", true)),
        ("old", http(&old, "/index.html", true)),
        ("not-tls", http(&plain, "/index.html", true)),
    ]);
    for (name, status) in [
        ("there", 200),
        ("missing", 404),
        ("moved", 200),
        ("elsewhere", 200),
        ("loop", 503),
        ("host", 204),
        ("secure", 200),
        ("old", 200),
        ("not-tls", 503),
    ] {
        let (answered, text) = proxy.ask(name);
        assert_eq!(answered, status, "{name}: {text}");
    }
    let failing = "path=\"/probe/app/missing\"";
    proxy.ask("missing");
    let logged = || proxy.process.log().matches(failing).count();
    wait::until("the failure is logged", || logged() > 0);
    assert_eq!(logged(), 1, "a failure is logged once");
}

#[test]
fn tcp_applications_are_connected_to() {
    let app = apps::redis();
    let port = app.addr.port();
    let gone = free_addr().port();
    let proxy = Proxy::with(&[
        ("there", Check::Tcp { port }),
        ("gone", Check::Tcp { port: gone }),
    ]);
    assert_eq!(proxy.ask("there").0, 200);
    let (status, text) = proxy.ask("gone");
    assert!(status == 503 && text.contains("refused"), "{status} {text}");
}

#[test]
fn grpc_applications_say_how_they_are() {
    let app = apps::grpc_health();
    let port = app.addr.port();
    let check = |service: &str| Check::Grpc {
        port,
        service: service.into(),
    };
    let ignorant = apps::grpc_interop();
    let no_health = Check::Grpc {
        port: ignorant.addr.port(),
        service: String::new(),
    };
    let proxy = Proxy::with(&[
        ("server", check("")),
        ("cart", check("cart")),
        ("checkout", check("checkout")),
        ("unknown", check("unknown")),
        ("no-health", no_health),
    ]);
    for (name, status, detail) in [
        ("server", 200, "good"),
        ("cart", 200, "good"),
        ("checkout", 503, "NOT_SERVING"),
        ("unknown", 503, "grpc-status 5"),
        ("no-health", 503, "grpc-status 12"),
    ] {
        let (answered, text) = proxy.ask(name);
        assert_eq!(answered, status, "{name}: {text}");
        assert!(text.contains(detail), "{name}: {text}");
    }
}

#[test]
fn who_waits_for_the_proxy_hears_what_is_missing() {
    let admin = free_addr();
    let mut command = Command::new(env!("CARGO_BIN_EXE_outrigger"));
    command.args(["wait", "--timeout", "200ms", "--admin", &admin.to_string()]);
    let ran = crate::harness::run(&mut command);
    assert_eq!(ran.code(), Some(1));
    assert!(ran.stderr.contains("does not answer"), "{ran}");
}
