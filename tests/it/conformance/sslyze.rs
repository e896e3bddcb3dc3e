//! sslyze's findings on our TLS. A mesh port shows it to nobody who does not offer one of the
//! mesh's protocols in ALPN, which sslyze cannot: so what it scans is the controller's port, which
//! is configured by the same code, and of the mesh port it must find nothing to scan.

use std::fs;

use serde_json::{Value, json};

use super::report;
use crate::harness::{Mesh, apps, mesh::Plan, run, tools::command};

/// The scan of one server, without the looks at its certificate, which no browser is to trust.
fn scan(addr: std::net::SocketAddr) -> Value {
    let dir = tempfile::tempdir().expect("a place for a report");
    let file = dir.path().join("report.json");
    let mut sslyze = command("sslyze");
    sslyze.arg(format!("--json_out={}", file.display()));
    let ran = run(sslyze.arg(addr.to_string()));
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{error}: {ran}"));
    let report: Value = serde_json::from_str(&text).expect("sslyze writes JSON");
    report["server_scan_results"][0].clone()
}

/// What must be found, by where it stands in a result.
fn findings() -> Vec<(&'static str, &'static str, Value)> {
    let mut findings = vec![
        (
            "tls_1_3_cipher_suites",
            "is_tls_version_supported",
            json!(true),
        ),
        ("tls_compression", "supports_compression", json!(false)),
        (
            "openssl_ccs_injection",
            "is_vulnerable_to_ccs_injection",
            json!(false),
        ),
        ("heartbleed", "is_vulnerable_to_heartbleed", json!(false)),
        (
            "robot",
            "robot_result",
            json!("NOT_VULNERABLE_RSA_NOT_SUPPORTED"),
        ),
        (
            "session_renegotiation",
            "is_vulnerable_to_client_renegotiation_dos",
            json!(false),
        ),
        (
            "tls_extended_master_secret",
            "supports_ems_extension",
            json!(true),
        ),
    ];
    let older = [
        "ssl_2_0_cipher_suites",
        "ssl_3_0_cipher_suites",
        "tls_1_0_cipher_suites",
        "tls_1_1_cipher_suites",
        "tls_1_2_cipher_suites",
    ];
    findings.extend(older.map(|version| (version, "is_tls_version_supported", json!(false))));
    findings
}

/// Only `make conformance` installs sslyze.
#[test]
#[ignore = "run by make conformance"]
fn sslyze_finds_tls_1_3_alone_and_nothing_wrong_with_it() {
    let app = apps::go();
    let mesh: Mesh = Plan::new(app.addr).protocol("http").start();
    let scanned = scan(mesh.control);
    let mut rows = Vec::new();
    for (part, name, expected) in findings() {
        let found = &scanned["scan_result"][part]["result"][name];
        assert_eq!(*found, expected, "{part}: {scanned:#}");
        rows.push(vec![part.to_owned(), name.to_owned(), found.to_string()]);
    }
    let mesh_port = scan(mesh.inbound);
    assert_eq!(mesh_port["connectivity_status"], "ERROR", "{mesh_port:#}");
    let text = format!(
        "A mesh port shows its TLS to nobody who does not offer one of the mesh's protocols in ALPN: sslyze finds \
         none there. The controller's port is configured by the same code:\n\n{}",
        report::table(&["scan", "finding", "value"], rows)
    );
    report::write("70-sslyze", "TLS: sslyze", &text);
}

/// What sslyze cannot ask of a mesh port: TLS 1.2 with the mesh's ALPN.
#[test]
fn a_mesh_port_speaks_tls_1_3_alone() {
    let app = apps::go();
    let mesh: Mesh = Plan::new(app.addr).protocol("http").start();
    let handshake = |version: &str| {
        let mut openssl = command("openssl");
        openssl.args(["s_client", "-alpn", "or-h2", version, "-connect"]);
        let ran = run(openssl.arg(mesh.inbound.to_string()));
        ran.text() + &ran.stderr
    };
    let (new, old) = (handshake("-tls1_3"), handshake("-tls1_2"));
    assert!(new.contains("New, TLSv1.3, Cipher is TLS_"), "{new}");
    assert!(old.contains("alert protocol version"), "{old}");
    let text = "OpenSSL's client, which can offer the mesh's ALPN, gets TLS 1.3 at a mesh port, and for TLS 1.2 the \
                alert `protocol version`.";
    report::add("71-sslyze", text);
}
