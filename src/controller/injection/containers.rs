//! What an injected pod has more: the init container that sends traffic to the proxy, the proxy
//! as a native sidecar, and the volumes that it reads.

use std::fmt::Display;

use serde_json::{Map, Value, json};

use super::{
    ADMIN_PORT, INBOUND_PORT, OUTBOUND_PORT, PROBE_PORT, PROXY_UID, annotations::Settings,
    config::LogFormat, refused::Refused,
};
use crate::{
    controller::kubernetes::{AUDIENCE, config::MeshConfig},
    discovery::{model::MtlsMode, probe::Probes},
};

const INIT: &str = "outrigger-init";
const PROXY: &str = "outrigger-proxy";

/// The subcommands that they run.
const INIT_ROLE: &str = "init";
const PROXY_ROLE: &str = "proxy";

const ROOTS_VOLUME: &str = "outrigger-roots";
const TOKEN_VOLUME: &str = "outrigger-token";
const STATE_VOLUME: &str = "outrigger-state";

/// The ConfigMap with the trust anchors, in every namespace that has injected pods.
pub const ROOTS_CONFIG_MAP: &str = "outrigger-roots";
const ROOTS_DIRECTORY: &str = "/var/run/outrigger/roots";
const TOKEN_DIRECTORY: &str = "/var/run/secrets/outrigger";
const STATE_DIRECTORY: &str = "/var/lib/outrigger";

/// How long a token is valid, in seconds. The kubelet renews it long before.
const TOKEN_LIFETIME: u32 = 3600;

/// Holds what the proxy must ask the application, as JSON.
const PROBES_VARIABLE: &str = "OUTRIGGER_PROBES";

/// How long one startup probe waits for the proxy, in seconds, and how many there are: a
/// controller that is away for ten minutes is waited for without a restart.
const STARTUP_TIMEOUT: u32 = 10;
const STARTUP_ATTEMPTS: u32 = 60;

/// Whether a container or a volume is one of these, from an earlier injection.
pub(super) fn is_ours(item: &Value) -> bool {
    match item["name"].as_str() {
        Some(INIT) => item["args"][0] == INIT_ROLE,
        Some(PROXY) => item["args"][0] == PROXY_ROLE && item["restartPolicy"] == "Always",
        Some(ROOTS_VOLUME) => item["configMap"]["name"] == ROOTS_CONFIG_MAP,
        Some(TOKEN_VOLUME) => {
            item["projected"]["sources"][0]["serviceAccountToken"]["audience"] == AUDIENCE
        }
        Some(STATE_VOLUME) => item["emptyDir"]["medium"] == "Memory",
        _ => false,
    }
}

/// # Errors
/// When the application has something of its own by one of these names.
pub(super) fn check_names(spec: &Value) -> Result<(), Refused> {
    for (list, what, names) in [
        ("initContainers", "container", &[INIT, PROXY][..]),
        ("containers", "container", &[INIT, PROXY]),
        (
            "volumes",
            "volume",
            &[ROOTS_VOLUME, TOKEN_VOLUME, STATE_VOLUME],
        ),
    ] {
        let items = spec[list].as_array().into_iter().flatten();
        // An injection adds nothing to the containers that run beside the sidecar.
        for item in items.filter(|item| list == "containers" || !is_ours(item)) {
            if let Some(name) = names.iter().find(|name| item["name"] == **name) {
                return Err(Refused::NameTaken { what, name });
            }
        }
    }
    Ok(())
}

/// The checks that an earlier injection wrote down in a pod.
pub(super) fn known_probes(init_containers: &[Value]) -> Probes {
    let written = || {
        let is_proxy = |container: &&Value| container["name"] == PROXY;
        let proxy = init_containers.iter().find(is_proxy)?;
        let is_probes = |variable: &&Value| variable["name"] == PROBES_VARIABLE;
        let variable = proxy["env"].as_array()?.iter().find(is_probes)?;
        let text = variable["value"].as_str()?.replace("$$", "$");
        serde_json::from_str(&text).ok()
    };
    written().unwrap_or_default()
}

/// Builds the containers of one pod.
pub(super) struct Containers<'a> {
    pub mesh: &'a MeshConfig,
    pub settings: &'a Settings,
    pub probes: &'a Probes,
}

impl Containers<'_> {
    /// Both, in the order in which they run.
    pub fn build(&self) -> [Value; 2] {
        [self.init(), self.proxy()]
    }

    fn init(&self) -> Value {
        let settings = self.settings;
        let mut args = Args::new(INIT_ROLE);
        args.add("proxy-uid", PROXY_UID);
        args.add("inbound-port", INBOUND_PORT);
        args.add("outbound-port", OUTBOUND_PORT);
        args.add("admin-port", ADMIN_PORT);
        args.add("probe-port", PROBE_PORT);
        args.list("skip-inbound-ports", &settings.skip_inbound_ports);
        args.list("skip-outbound-ports", &settings.skip_outbound_ports);
        args.list("skip-inbound-subnets", &settings.skip_inbound_subnets);
        args.list("skip-outbound-subnets", &settings.skip_outbound_subnets);
        let mut security = security_context();
        // The kernel takes rules from who has NET_ADMIN. Root, since a capability does not
        // outlive the start of a program that runs as somebody else.
        security["runAsUser"] = json!(0);
        security["runAsGroup"] = json!(0);
        security["runAsNonRoot"] = json!(false);
        security["capabilities"]["add"] = json!(["NET_ADMIN"]);
        self.container(INIT, args, security)
    }

    fn proxy(&self) -> Value {
        let mut security = security_context();
        security["runAsUser"] = json!(PROXY_UID);
        security["runAsGroup"] = json!(PROXY_UID);
        security["runAsNonRoot"] = json!(true);
        let mut container = self.container(PROXY, self.proxy_args(), security);
        container["restartPolicy"] = json!("Always");
        container["env"] = self.environment();
        container["ports"] = json!([
            {"name": "outrigger-admin", "containerPort": ADMIN_PORT, "protocol": "TCP"}
        ]);
        // One that waits, instead of one that asks again and again: the application starts the
        // moment the proxy is ready, and what is missing is in the pod's events.
        let wait = format!("--timeout={}s", STARTUP_TIMEOUT - 1);
        container["startupProbe"] = json!({
            "exec": {"command": ["outrigger", "wait", wait]},
            "timeoutSeconds": STARTUP_TIMEOUT,
            "periodSeconds": 1,
            "failureThreshold": STARTUP_ATTEMPTS,
        });
        container["volumeMounts"] = json!([
            {"name": ROOTS_VOLUME, "mountPath": ROOTS_DIRECTORY, "readOnly": true},
            {"name": TOKEN_VOLUME, "mountPath": TOKEN_DIRECTORY, "readOnly": true},
            {"name": STATE_VOLUME, "mountPath": STATE_DIRECTORY},
        ]);
        container
    }

    fn proxy_args(&self) -> Args {
        let (mesh, settings) = (self.mesh, self.settings);
        let config = &mesh.injection;
        let (domain, namespace) = (&mesh.trust_domain, &config.controller_namespace);
        let mut args = Args::new(PROXY_ROLE);
        args.expanded(
            "identity",
            format!("spiffe://{domain}/ns/$(POD_NAMESPACE)/sa/$(POD_SERVICE_ACCOUNT)"),
        );
        // With a dot at its end it is looked up once, not under every search domain.
        let controller = format!(
            "outrigger-controller.{namespace}.svc.{}.",
            mesh.cluster_domain
        );
        args.add("controller", format!("{controller}:14030"));
        args.add("controller-namespace", namespace);
        args.add("trust-anchors", format!("{ROOTS_DIRECTORY}/ca.crt"));
        args.add("token-file", format!("{TOKEN_DIRECTORY}/token"));
        args.add("snapshot-dir", STATE_DIRECTORY);
        args.add("outbound-port", OUTBOUND_PORT);
        args.add("inbound-port", INBOUND_PORT);
        args.add("admin", format!("[::]:{ADMIN_PORT}"));
        if !self.probes.is_empty() {
            args.add("probe-port", PROBE_PORT);
        }
        if settings.mtls == MtlsMode::Strict {
            args.add("mtls", "strict");
        }
        args.list("opaque-ports", &settings.opaque_ports);
        args.add("workers", self.workers());
        args.add("log", &settings.log_level);
        if config.log_format == LogFormat::Json {
            args.flag("log-json");
        }
        if config.access_log {
            args.add("access-log", "-");
        }
        args.add("trace-ratio", settings.trace_sampling);
        if let Some(otlp) = &config.otlp_endpoint {
            args.add("otlp", otlp);
        }
        args
    }

    /// One for each whole CPU that the proxy may use; one where there is no limit.
    fn workers(&self) -> u16 {
        let limit = self.settings.resources.limits.get("cpu");
        limit.map_or(1, |cpu| cpu.value().clamp(1.0, 256.0) as u16)
    }

    fn environment(&self) -> Value {
        let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}});
        let mut environment = vec![
            field("POD_NAMESPACE", "metadata.namespace"),
            field("POD_SERVICE_ACCOUNT", "spec.serviceAccountName"),
            // By which the controller knows its zone, and it knows its own application.
            field("OUTRIGGER_POD_IPS", "status.podIPs"),
        ];
        if !self.probes.is_empty() {
            let probes = serde_json::to_string(self.probes).expect("probes have text for keys");
            environment.push(json!({"name": PROBES_VARIABLE, "value": literal(&probes)}));
        }
        environment.into()
    }

    fn container(&self, name: &str, args: Args, security: Value) -> Value {
        let config = &self.mesh.injection;
        let amounts = &self.settings.resources;
        let mut resources = Map::new();
        for (kind, amounts) in [("requests", &amounts.requests), ("limits", &amounts.limits)] {
            if !amounts.is_empty() {
                resources.insert(kind.to_owned(), json!(amounts));
            }
        }
        json!({
            "name": name,
            "image": config.image,
            "imagePullPolicy": config.image_pull_policy,
            "args": args.0,
            "resources": resources,
            "securityContext": security,
            // The last lines of the log are in the pod's status when it fails.
            "terminationMessagePolicy": "FallbackToLogsOnError",
        })
    }
}

fn security_context() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "privileged": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

/// The volumes that the proxy mounts.
pub(super) fn volumes() -> [Value; 3] {
    let token = json!({
        "audience": AUDIENCE,
        "expirationSeconds": TOKEN_LIFETIME,
        "path": "token",
    });
    [
        // Not optional: without it the pod waits, and its events say for what.
        json!({"name": ROOTS_VOLUME, "configMap": {"name": ROOTS_CONFIG_MAP}}),
        json!({"name": TOKEN_VOLUME, "projected": {"sources": [{"serviceAccountToken": token}]}}),
        // The proxy's key is in it, which belongs on no disk.
        json!({"name": STATE_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}}),
    ]
}

/// A command line. Kubernetes replaces `$(NAME)` in it, and reads `$$` as `$`.
struct Args(Vec<String>);

impl Args {
    fn new(role: &str) -> Self {
        Self(vec![role.to_owned()])
    }

    fn flag(&mut self, name: &str) {
        self.0.push(format!("--{name}"));
    }

    fn add(&mut self, name: &str, value: impl Display) {
        self.expanded(name, literal(&value.to_string()));
    }

    /// Whose variables Kubernetes is to replace.
    fn expanded(&mut self, name: &str, value: String) {
        self.0.push(format!("--{name}={value}"));
    }

    fn list(&mut self, name: &str, values: &[impl Display]) {
        if !values.is_empty() {
            let values: Vec<String> = values.iter().map(ToString::to_string).collect();
            self.add(name, values.join(","));
        }
    }
}

fn literal(text: &str) -> String {
    text.replace('$', "$$")
}
