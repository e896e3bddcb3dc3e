//! `outrigger inject`: what the webhook would make of a manifest, without a cluster.

mod documents;

use std::{
    fs,
    io::{self, Read},
    path::PathBuf,
};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use self::documents::Document;
use super::stdout;
use crate::controller::{
    injection::{Annotations, GROUP, inject_object, runs_pods},
    kubernetes::config::MeshConfig,
};

/// Print manifests with the sidecar in their pods, as the webhook would make them.
///
/// Takes pods and whatever has a pod template, in lists and in files of several documents. All
/// else is printed as it is. Pods are injected unless an annotation says otherwise: their own, or
/// that of their Namespace if it is in the input.
#[derive(Args)]
pub(super) struct InjectArgs {
    /// A manifest in YAML or JSON; - for standard input. May be given several times.
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    filenames: Vec<PathBuf>,
    /// The mesh's configuration, as the ConfigMap outrigger-config has it; all its defaults where
    /// it is left out.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How to print them.
    #[arg(short, long, value_enum, default_value = "yaml")]
    output: Output,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Yaml,
    /// One object; a List where the input has several.
    Json,
}

impl InjectArgs {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let mesh = match &self.config {
            Some(path) => MeshConfig::read(path)?,
            None => MeshConfig::default(),
        };
        let mut documents = Vec::new();
        let mut files = Vec::new();
        for path in &self.filenames {
            let name = path.display().to_string();
            documents.extend(documents::read(&name, &content(path)?)?);
            files.push(name);
        }
        let injected = inject_all(documents, &mesh)?;
        for warning in &injected.warnings {
            eprintln!("Warning: {warning}");
        }
        for why in injected.why_nothing(&files) {
            eprintln!("Warning: nothing was injected: {why}");
        }
        let text = match self.output {
            Output::Yaml => documents::yaml(&injected.documents)?,
            Output::Json => json(injected.documents)?,
        };
        stdout::finish(&text)
    }
}

fn content(path: &PathBuf) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = match path.as_os_str() == "-" {
        true => io::stdin().read_to_string(&mut text).map(|_| text),
        false => fs::read_to_string(path),
    };
    read.with_context(|| format!("{} cannot be read", path.display()))
}

struct Injected {
    documents: Vec<Document>,
    warnings: Vec<String>,
    /// How many objects have a sidecar now.
    count: usize,
    /// What nobody asks to be injected: the file, and the object's name.
    disabled: Vec<(String, String)>,
}

impl Injected {
    /// Why no object has a sidecar, if none has: a line for each file that no warning explains.
    fn why_nothing(&self, files: &[String]) -> Vec<String> {
        if self.count > 0 {
            return Vec::new();
        }
        let mut lines: Vec<_> = self
            .disabled
            .iter()
            .map(|(file, name)| {
                format!("{file}: {name} or its namespace is annotated with {GROUP}inject=disabled")
            })
            .collect();
        for file in files {
            let mut of_file = self.documents.iter().filter(|read| read.file == *file);
            if !of_file.any(|document| objects(&document.value).into_iter().any(runs_pods)) {
                lines.push(format!(
                    "{file} has neither a pod nor anything with a pod template, like a Deployment"
                ));
            }
        }
        lines
    }
}

fn inject_all(mut documents: Vec<Document>, mesh: &MeshConfig) -> anyhow::Result<Injected> {
    let namespaces = Namespaces::of(&documents);
    let (mut warnings, mut refused, mut count) = (Vec::new(), Vec::new(), 0);
    let mut disabled = Vec::new();
    for document in &mut documents {
        let mut changed = false;
        for object in objects_mut(&mut document.value) {
            let name = name(object);
            match inject_object(object, &namespaces.annotations(object), mesh) {
                Ok(injection) => {
                    let named = |warning| format!("{}: {name}: {warning}", document.file);
                    warnings.extend(injection.warnings.into_iter().map(named));
                    if !injection.asked && runs_pods(object) {
                        disabled.push((document.file.clone(), name));
                    }
                    if let Some(injected) = injection.pod {
                        *object = injected;
                        changed = true;
                        count += 1;
                    }
                }
                Err(error) => refused.push(format!("{}: {name}: {error}", document.file)),
            }
        }
        if changed {
            document.text = None;
        }
    }
    if !refused.is_empty() {
        bail!("{}", refused.join("\n"));
    }
    Ok(Injected {
        documents,
        warnings,
        count,
        disabled,
    })
}

fn is_list(value: &Value) -> bool {
    let kind = value["kind"].as_str();
    kind.is_some_and(|kind| kind.ends_with("List")) && value["items"].is_array()
}

/// The objects in a document: a list's items, or the document itself.
fn objects(value: &Value) -> Vec<&Value> {
    match is_list(value) {
        true => value["items"].as_array().into_iter().flatten().collect(),
        false => vec![value],
    }
}

fn objects_mut(value: &mut Value) -> Vec<&mut Value> {
    match is_list(value) {
        true => value["items"]
            .as_array_mut()
            .into_iter()
            .flatten()
            .collect(),
        false => vec![value],
    }
}

/// As kubectl names it: `Deployment shop/cart`.
fn name(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &object["metadata"];
    let (kind, name) = (text(&object["kind"]), text(&metadata["name"]));
    match metadata["namespace"].as_str() {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

/// The annotations of the Namespaces in the input.
struct Namespaces(Vec<(String, Annotations)>);

impl Namespaces {
    fn of(documents: &[Document]) -> Self {
        let mut found = Vec::new();
        for document in documents {
            for object in objects(&document.value) {
                if object["kind"] == "Namespace"
                    && let Some(name) = object["metadata"]["name"].as_str()
                {
                    let annotations = &object["metadata"]["annotations"];
                    let annotations = serde_json::from_value(annotations.clone());
                    found.push((name.to_owned(), annotations.unwrap_or_default()));
                }
            }
        }
        Self(found)
    }

    /// Those that hold for an object: who calls this command wants injection.
    fn annotations(&self, object: &Value) -> Annotations {
        let namespace = object["metadata"]["namespace"].as_str();
        let named = self
            .0
            .iter()
            .find(|(name, _)| Some(name.as_str()) == namespace);
        let mut annotations = named.map(|(_, found)| found.clone()).unwrap_or_default();
        let inject = format!("{GROUP}inject");
        annotations
            .entry(inject)
            .or_insert_with(|| "enabled".to_owned());
        annotations
    }
}

fn json(documents: Vec<Document>) -> anyhow::Result<String> {
    let mut values: Vec<Value> = documents
        .into_iter()
        .map(|document| document.value)
        .collect();
    let one = match values.len() {
        1 => values.remove(0),
        _ => json!({"apiVersion": "v1", "kind": "List", "items": values}),
    };
    Ok(serde_json::to_string_pretty(&one)? + "\n")
}

#[cfg(test)]
mod tests;
