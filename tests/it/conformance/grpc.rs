//! gRPC's interop cases that take their time: soak, on one channel and on many, with messages of
//! 1 MiB. The others are in protocols/grpc.rs.

use super::report;
use crate::harness::{Mesh, apps, mesh::Plan, run, tools::command};

#[test]
fn the_soak_cases_pass_with_messages_of_one_mib() {
    let app = apps::grpc_interop();
    let mesh: Mesh = Plan::new(app.addr).protocol("http2").start();
    let mut rows = Vec::new();
    for (case, calls) in [("rpc_soak", 200), ("channel_soak", 50)] {
        for (way, addr) in [("directly", app.addr), ("two proxies", mesh.addr)] {
            let mut client = command("grpc-interop-client");
            client
                .arg("--server_host=127.0.0.1")
                .arg(format!("--server_port={}", addr.port()))
                .arg(format!("--test_case={case}"))
                .arg(format!("--soak_iterations={calls}"))
                .arg("--soak_request_size=1048576")
                .arg("--soak_response_size=1048576")
                .arg("--soak_num_threads=5")
                .arg("--soak_min_time_ms_between_rpcs=0")
                .arg("--soak_per_iteration_max_acceptable_latency_ms=10000")
                .arg("--soak_overall_timeout_seconds=25");
            let ran = run(&mut client);
            assert_eq!(ran.code(), Some(0), "{case} {way}: {ran}");
            rows.push(vec![
                case.to_owned(),
                way.to_owned(),
                calls.to_string(),
                "0".to_owned(),
            ]);
        }
    }
    let head = ["case, messages of 1 MiB each way", "way", "calls", "failed"];
    report::write(
        "60-grpc",
        "gRPC: the interop suite's soak cases",
        &report::table(&head, rows),
    );
}
