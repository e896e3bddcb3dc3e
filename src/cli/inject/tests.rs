use super::*;

const MANIFEST: &str = r#"# All of the shop.
apiVersion: v1
kind: ConfigMap
metadata: {name: settings} # stays as it is
data:
  text: |
    ---- not a separator
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart, namespace: shop}
spec:
  template:
    metadata: {annotations: {outrigger.dev/log-levle: debug}}
    spec:
      containers: [{name: app, env: [{name: MODE, value: "on"}]}]
      volumes: [{name: data, secret: {secretName: a, defaultMode: 0644}}]
---
# nothing
--- # and one more
apiVersion: v1
kind: List
items:
- {kind: Service, metadata: {name: cart}}
- {kind: Pod, metadata: {name: one}, spec: {containers: [{name: app}]}}
- kind: Pod
  metadata: {name: two, annotations: {outrigger.dev/inject: disabled}}
  spec: {containers: [{name: app}]}
- {kind: CronJob, metadata: {name: tidy}, spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: app}]}}}}}}
"#;

fn injected(manifest: &str) -> anyhow::Result<Injected> {
    inject_all(documents::read("file", manifest)?, &MeshConfig::default())
}

fn sidecars(object: &Value, path: &str) -> usize {
    let init = object.pointer(&format!("{path}/spec/initContainers"));
    init.and_then(Value::as_array).map_or(0, Vec::len)
}

#[test]
fn everything_that_runs_pods_is_injected_and_the_rest_is_as_it_was() {
    let injected = injected(MANIFEST).unwrap();
    assert_eq!(injected.count, 3);
    let values: Vec<_> = injected
        .documents
        .iter()
        .map(|document| &document.value)
        .collect();
    let [settings, cart, list] = values[..] else {
        panic!("{values:?}");
    };
    assert_eq!(settings["kind"], "ConfigMap");
    assert_eq!(sidecars(cart, "/spec/template"), 2);
    assert_eq!(sidecars(list, "/items/1"), 2);
    assert_eq!(sidecars(list, "/items/2"), 0);
    assert_eq!(sidecars(list, "/items/3/spec/jobTemplate/spec/template"), 2);
    let [warning] = &injected.warnings[..] else {
        panic!("{:?}", injected.warnings);
    };
    assert!(warning.starts_with("file: Deployment shop/cart: ") && warning.contains("log-level"));

    let yaml = documents::yaml(&injected.documents).unwrap();
    let untouched = MANIFEST.split("\n---").next().unwrap();
    assert!(yaml.starts_with(untouched), "{yaml}");
}

#[test]
fn what_is_printed_reads_back_as_the_same() {
    let first = injected(MANIFEST).unwrap();
    let yaml = documents::yaml(&first.documents).unwrap();
    let again = injected(&yaml).unwrap();
    let values = |injected: &Injected| -> Vec<Value> {
        injected
            .documents
            .iter()
            .map(|document| document.value.clone())
            .collect()
    };
    assert_eq!(values(&again), values(&first));
    let template = &values(&first)[1]["spec"]["template"]["spec"];
    assert_eq!(template["volumes"][0]["secret"]["defaultMode"], 0o644);
    assert_eq!(template["containers"][0]["env"][0]["value"], "on");
    assert!(yaml.contains("value: \"on\""), "{yaml}");
}

#[test]
fn a_namespace_in_the_input_speaks_for_its_pods() {
    let manifest = |inject: &str| {
        format!(
            "{{kind: Namespace, metadata: {{name: shop, annotations: {{outrigger.dev/inject: {inject}}}}}}}
---
{{kind: Pod, metadata: {{name: cart, namespace: shop}}, spec: {{containers: [{{name: app}}]}}}}"
        )
    };
    assert_eq!(injected(&manifest("disabled")).unwrap().count, 0);
    assert_eq!(injected(&manifest("enabled")).unwrap().count, 1);
}

#[test]
fn where_nothing_is_injected_every_file_is_told_why() {
    let files = ["a", "b", "c", "d"].map(str::to_owned);
    let pod = |annotations: &str, spec: &str| {
        format!(
            "{{kind: Pod, metadata: {{name: p, annotations: {{{annotations}}}}}, spec: {{containers: [{{name: app}}]{spec}}}}}"
        )
    };
    let texts = [
        pod("outrigger.dev/inject: disabled", ""),
        "{kind: Service, metadata: {name: cart}}".to_owned(),
        String::new(),
        pod("", ", hostNetwork: true"),
    ];
    let mut documents = Vec::new();
    for (file, text) in files.iter().zip(&texts) {
        documents.extend(documents::read(file, text).unwrap());
    }
    let injected = inject_all(documents, &MeshConfig::default()).unwrap();
    insta::assert_snapshot!(injected.why_nothing(&files).join("\n"), @r"
    a: Pod p or its namespace is annotated with outrigger.dev/inject=disabled
    b has neither a pod nor anything with a pod template, like a Deployment
    c has neither a pod nor anything with a pod template, like a Deployment
    ");
    let [warning] = &injected.warnings[..] else {
        panic!("{:?}", injected.warnings);
    };
    assert!(warning.starts_with("d: Pod p: not injected: "), "{warning}");
}

#[test]
fn where_something_is_injected_the_rest_needs_no_word() {
    let injected = injected(MANIFEST).unwrap();
    assert_eq!(injected.why_nothing(&["file".to_owned()]), [""; 0]);
}

#[test]
fn every_refusal_is_named_with_its_file_and_object() {
    let pod = |name: &str| {
        format!(
            "{{kind: Pod, metadata: {{name: {name}, annotations: {{outrigger.dev/mtls: lax}}}}, spec: {{containers: [{{name: app}}]}}}}\n"
        )
    };
    let manifest = format!("{}---\n{}", pod("one"), pod("two"));
    let error = injected(&manifest).err().unwrap().to_string();
    assert!(
        error.contains("file: Pod one: ") && error.contains("file: Pod two: "),
        "{error}"
    );
}

#[test]
fn what_is_not_yaml_is_named_with_its_line() {
    let error = injected("kind: Pod\n---\nkind: [\n").err().unwrap();
    assert!(
        format!("{error:#}").contains("file: the document from line 2"),
        "{error:#}"
    );
}

#[test]
fn json_is_one_object() {
    let injected = injected(MANIFEST).unwrap();
    let list: Value = serde_json::from_str(&json(injected.documents).unwrap()).unwrap();
    assert_eq!(list["items"].as_array().map(Vec::len), Some(3));
}
