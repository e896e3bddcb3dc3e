//! The mesh, installed by the chart of this checkout as its README says.

use super::{
    programs::{self, helm, kubectl},
    wait,
};

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
    admitted().await;
}

/// A Service refuses connections until kube-proxy has heard of its endpoints, so for a moment after
/// they are ready the injector is not reached.
async fn admitted() {
    let pod = [
        "run",
        "admitted",
        "--image=none",
        "--namespace=default",
        "--dry-run=server",
        "--annotations=outrigger.dev/inject=enabled",
    ];
    wait::until("the injector answers", wait::LONG, async || {
        let output = programs::output("kubectl", &pod).await;
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    })
    .await;
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

const CONTROLLER: &str = "deployment/outrigger-controller";

/// No controller runs, until this is dropped.
pub struct Absence {
    replicas: String,
}

impl Absence {
    /// Returns when the last controller has gone.
    pub async fn begin() -> Self {
        let replicas = "jsonpath={.spec.replicas}";
        let replicas = kubectl(&["get", CONTROLLER, "-n", SYSTEM, "-o", replicas]).await;
        let absence = Self {
            replicas: format!("--replicas={replicas}"),
        };
        kubectl(&["scale", CONTROLLER, "-n", SYSTEM, "--replicas=0"]).await;
        wait::until("the controllers have gone", wait::LONG, async || {
            let label = "app.kubernetes.io/name=outrigger";
            let pods = kubectl(&["get", "pods", "-n", SYSTEM, "-l", label, "-o", "name"]).await;
            if pods.is_empty() { Ok(()) } else { Err(pods) }
        })
        .await;
        absence
    }

    /// Returns when the controllers are back.
    pub async fn end(self) {
        drop(self);
        let timeout = format!("--timeout={}s", wait::LONG.as_secs());
        kubectl(&["rollout", "status", CONTROLLER, "-n", SYSTEM, &timeout]).await;
    }
}

impl Drop for Absence {
    fn drop(&mut self) {
        programs::kubectl_now(&["scale", CONTROLLER, "-n", SYSTEM, &self.replicas]);
    }
}
