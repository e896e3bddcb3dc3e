use std::collections::BTreeMap;

use arbitrary::{Result, Unstructured};
use serde_json::{Map, Value, json};

use crate::controller::{
    injection::{Annotations, INJECTED_LABEL, inject},
    kubernetes::config::MeshConfig,
};

const ANNOTATIONS: [&str; 14] = [
    "inject",
    "skip-inbound-ports",
    "skip-outbound-ports",
    "skip-inbound-subnets",
    "skip-outbound-subnets",
    "opaque-ports",
    "proxy-cpu-request",
    "proxy-cpu-limit",
    "proxy-memory-request",
    "proxy-memory-limit",
    "log-level",
    "trace-sampling",
    "mtls",
    "injct",
];
const SAID: [&str; 16] = [
    "enabled",
    "disabled",
    "",
    "80",
    "8000-8099,22",
    "0",
    "192.0.2.0/24",
    "fd00::/8",
    "100m",
    "64Mi",
    "1e3",
    "debug",
    "0.5",
    "strict",
    "permissive",
    "$(HOME) \"\\ \n",
];
const WORDS: [&str; 12] = [
    "app",
    "web",
    "outrigger-proxy",
    "outrigger-init",
    "outrigger-state",
    "/probe/app/liveness",
    "a/b",
    "~1",
    "$(HOME)",
    "",
    "\u{e9}\n",
    "OUTRIGGER_PROBES",
];
const FIELDS: [&str; 10] = [
    "ports",
    "env",
    "securityContext",
    "volumeMounts",
    "lifecycle",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "restartPolicy",
    "newer",
];
const SPEC: [&str; 10] = [
    "hostNetwork",
    "volumes",
    "imagePullSecrets",
    "securityContext",
    "serviceAccountName",
    "automountServiceAccountToken",
    "dnsPolicy",
    "shareProcessNamespace",
    "restartPolicy",
    "newer",
];

/// Any pod. Without a wish it is left alone; injected it is the same pod and more, and injected
/// once more it stays as it is.
pub fn injection(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let (Ok(pod), Ok(namespace)) = (pod(&mut u), annotations(&mut u)) else {
        return;
    };
    check(&pod, &namespace);
    check_unasked(&pod);
}

/// What holds for every pod that comes in.
pub(super) fn check(pod: &Value, namespace: &Annotations) {
    let mesh = MeshConfig::default();
    let injection = match inject(pod, namespace, &mesh) {
        Ok(injection) => injection,
        Err(refused) => return assert!(!refused.to_string().is_empty()),
    };
    let Some(injected) = injection.pod else {
        return;
    };
    assert_eq!(injected["metadata"]["labels"][INJECTED_LABEL], "true");
    check_kept(pod, &injected);
    let again = inject(&injected, namespace, &mesh).expect("what was injected can be again");
    assert_eq!(again.pod, Some(injected), "a second time changes nothing");
}

fn check_unasked(pod: &Value) {
    let mut pod = pod.clone();
    if let Some(annotations) = pod
        .pointer_mut("/metadata/annotations")
        .and_then(Value::as_object_mut)
    {
        annotations.remove("outrigger.dev/inject");
    }
    if let Ok(injection) = inject(&pod, &Annotations::new(), &MeshConfig::default()) {
        assert_eq!(injection.pod, None);
    }
}

/// Everything is still there that is not the injector's to change.
fn check_kept(before: &Value, after: &Value) {
    let fields = |of: &Value, but: &[&str]| {
        let mut fields = of.as_object().cloned().unwrap_or_default();
        but.iter().for_each(|name| drop(fields.remove(*name)));
        fields
    };
    assert_eq!(
        fields(before, &["metadata", "spec"]),
        fields(after, &["metadata", "spec"])
    );
    let (metadata, spec) = (
        ["labels"],
        [
            "containers",
            "initContainers",
            "volumes",
            "imagePullSecrets",
        ],
    );
    assert_eq!(
        fields(&before["metadata"], &metadata),
        fields(&after["metadata"], &metadata)
    );
    assert_eq!(
        fields(&before["spec"], &spec),
        fields(&after["spec"], &spec)
    );
    let probes = [
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "lifecycle",
    ];
    let items = |of: &Value, list: &str| -> Vec<Map<String, Value>> {
        let items = of["spec"][list].as_array().into_iter().flatten();
        let ours = |item: &&Value| {
            item["name"]
                .as_str()
                .is_some_and(|name| name.starts_with("outrigger-"))
        };
        items
            .filter(|item| !ours(item))
            .map(|item| fields(item, &probes))
            .collect()
    };
    for list in ["initContainers", "containers", "volumes"] {
        let (before, after) = (items(before, list), items(after, list));
        assert_eq!(before, after, "{list}");
    }
}

fn pod(u: &mut Unstructured<'_>) -> Result<Value> {
    let mut metadata = Map::new();
    if u.ratio(4, 5)? {
        let mut annotations = annotations(u)?;
        if u.ratio(3, 4)? {
            annotations.insert("outrigger.dev/inject".into(), "enabled".into());
        }
        metadata.insert("annotations".into(), json!(annotations));
    }
    if u.ratio(1, 3)? {
        metadata.insert("labels".into(), value(u, 2)?);
    }
    let mut spec = Map::new();
    spec.insert("containers".into(), containers(u)?.into());
    if u.ratio(1, 2)? {
        spec.insert("initContainers".into(), containers(u)?.into());
    }
    for _ in 0..u.int_in_range(0..=3)? {
        spec.insert((*u.choose(&SPEC)?).into(), value(u, 3)?);
    }
    Ok(json!({"kind": "Pod", "metadata": metadata, "spec": spec}))
}

fn annotations(u: &mut Unstructured<'_>) -> Result<Annotations> {
    let mut annotations = BTreeMap::new();
    for _ in 0..u.int_in_range(0..=3)? {
        let name = u.choose(&ANNOTATIONS)?;
        annotations.insert(
            format!("outrigger.dev/{name}"),
            (*u.choose(&SAID)?).to_owned(),
        );
    }
    Ok(annotations)
}

fn containers(u: &mut Unstructured<'_>) -> Result<Vec<Value>> {
    let mut containers = Vec::new();
    for n in 0..u.int_in_range(0..=3)? {
        let mut container = Map::new();
        let name = format!("{}{n}", u.choose(&["app", "web", "outrigger-proxy", ""])?);
        container.insert("name".into(), name.into());
        for _ in 0..u.int_in_range(0..=4)? {
            let field = *u.choose(&FIELDS)?;
            let value = if field.ends_with("Probe") {
                probe(u)?
            } else {
                value(u, 3)?
            };
            container.insert(field.into(), value);
        }
        containers.push(container.into());
    }
    Ok(containers)
}

fn probe(u: &mut Unstructured<'_>) -> Result<Value> {
    let port = match u.int_in_range(0..=3)? {
        0 => json!(*u.choose(&WORDS)?),
        1 => json!(14_021),
        _ => json!(u.arbitrary::<u16>()?),
    };
    let handler = match u.int_in_range(0..=4)? {
        0 => {
            json!({"httpGet": {"port": port, "path": *u.choose(&WORDS)?, "scheme": *u.choose(&["HTTP", "HTTPS", "x"])?}})
        }
        1 => json!({"tcpSocket": {"port": port, "host": *u.choose(&["", "x"])?}}),
        2 => json!({"grpc": {"port": port, "service": *u.choose(&WORDS)?}}),
        3 => json!({"exec": {"command": ["x"]}}),
        _ => value(u, 2)?,
    };
    Ok(handler)
}

/// Any JSON, of few words.
fn value(u: &mut Unstructured<'_>, depth: u32) -> Result<Value> {
    Ok(match u.int_in_range(0..=if depth == 0 { 3 } else { 5 })? {
        0 => Value::Null,
        1 => u.arbitrary::<bool>()?.into(),
        2 => u.arbitrary::<u16>()?.into(),
        3 => (*u.choose(&WORDS)?).into(),
        4 => {
            let mut list = Vec::new();
            for _ in 0..u.int_in_range(0..=2)? {
                list.push(value(u, depth - 1)?);
            }
            list.into()
        }
        _ => {
            let mut object = Map::new();
            for _ in 0..u.int_in_range(0..=3)? {
                let names = [
                    "name",
                    "value",
                    "preStop",
                    "httpGet",
                    "port",
                    "path",
                    "runAsUser",
                    "containerPort",
                ];
                object.insert((*u.choose(&names)?).into(), value(u, depth - 1)?);
            }
            object.into()
        }
    })
}
