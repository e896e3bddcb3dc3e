//! gRPC: the project's own interop suite, every case that needs no cloud.

use crate::harness::{Mesh, apps, mesh::Plan, run, tools::command};

/// All but `pick_first_unary`, which wants a server that says its id: this one does not.
const CASES: [&str; 17] = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
    "orca_per_rpc",
    "orca_oob",
    "rpc_soak",
];

/// What the cases about load reports ask of the client.
const LOAD_REPORTS: &str = r#"{"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}"#;

fn every_case_passes(mesh: &Mesh) {
    let case = |name: &&str| {
        let mut client = command("grpc-interop-client");
        client
            .arg("--server_host=127.0.0.1")
            .arg(format!("--server_port={}", mesh.addr.port()));
        if name.starts_with("orca") {
            client.arg(format!("--service_config_json={LOAD_REPORTS}"));
        }
        let ran = run(client.arg(format!("--test_case={name}")));
        (ran.code() != Some(0)).then(|| format!("{name}: {ran}"))
    };
    let failed: Vec<String> = CASES.iter().filter_map(case).collect();
    assert!(
        failed.is_empty(),
        "{} of {} cases failed:\n{}",
        failed.len(),
        CASES.len(),
        failed.join("\n")
    );
}

#[test]
fn the_interop_suite_passes_where_nobody_named_the_protocol() {
    let app = apps::grpc_interop();
    every_case_passes(&Mesh::in_front_of(app.addr));
}

#[test]
fn the_interop_suite_passes_where_the_port_is_named() {
    let app = apps::grpc_interop();
    every_case_passes(&Plan::new(app.addr).protocol("http2").start());
}
