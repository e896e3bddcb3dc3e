//! The mesh, installed by the chart of this checkout as its README says.

use super::{programs::helm, wait};

pub const SYSTEM: &str = "outrigger-system";

/// Installs the mesh, or brings the installed one to the same values. Tests that change values
/// leave the others to call this again.
pub async fn install() {
    install_with(&[]).await;
}

/// As [`install`], with further values as in `--set`.
pub async fn install_with(values: &[&str]) {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/outrigger");
    let timeout = format!("{}s", wait::LONG.as_secs());
    let mut arguments = vec![
        "upgrade",
        "--install",
        "outrigger",
        chart,
        "--namespace",
        SYSTEM,
        "--create-namespace",
        "--wait",
        "--timeout",
        &timeout,
        // Every trace is there to be looked for; without a Jaeger they go nowhere.
        "--set",
        "tracing.sampling=1,tracing.otlpEndpoint=http://jaeger.jaeger:4317",
    ];
    for value in values {
        arguments.extend(["--set", value]);
    }
    helm(&arguments).await;
}

/// Takes the mesh out, where it is in.
pub async fn uninstall() {
    helm(&[
        "uninstall",
        "outrigger",
        "--namespace",
        SYSTEM,
        "--ignore-not-found",
        "--wait",
    ])
    .await;
}
