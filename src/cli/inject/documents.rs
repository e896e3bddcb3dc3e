//! The documents of a YAML stream: what nobody changes is printed as it was written.

use anyhow::{Context, anyhow};
use serde_json::Value;

use crate::yaml;

/// One document with something in it.
pub(super) struct Document {
    /// Where it is from.
    pub file: String,
    /// As it was written, until it is changed.
    pub text: Option<String>,
    pub value: Value,
}

/// # Errors
/// When a document is not YAML; the line counts within the file.
pub(super) fn read(file: &str, stream: &str) -> anyhow::Result<Vec<Document>> {
    let mut documents = Vec::new();
    for (line, text) in split(stream) {
        let value: Value = parse(&text)
            .map_err(|error| anyhow!(yaml::fault(&error, &text)))
            .with_context(|| format!("{file}: the document from line {line} is not YAML"))?;
        if !value.is_null() {
            documents.push(Document {
                file: file.to_owned(),
                text: Some(text),
                value,
            });
        }
    }
    Ok(documents)
}

/// As kubectl reads it: `0644` is a number in base eight.
fn parse(text: &str) -> Result<Value, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
    };
    serde_saphyr::from_str_with_options(text, options)
}

/// The documents with the numbers of their first lines, from 1. What is inside of anything is
/// indented, so that `---` at the start of a line always parts two documents.
fn split(stream: &str) -> Vec<(usize, String)> {
    let mut documents = vec![(1, String::new())];
    for (index, line) in stream.lines().enumerate() {
        let rest = line.strip_prefix("---");
        match rest.filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t'])) {
            Some(rest) => documents.push((index + 1, rest.trim_start().to_owned())),
            None if line == "..." => documents.push((index + 1, String::new())),
            None => {
                let last = documents.last_mut().expect("there is always one");
                last.1.push_str(line);
            }
        }
        let last = documents.last_mut().expect("there is always one");
        last.1.push('\n');
    }
    documents
}

/// # Errors
/// When a value has no form in YAML.
pub(super) fn yaml(documents: &[Document]) -> anyhow::Result<String> {
    let mut stream = String::new();
    for (index, document) in documents.iter().enumerate() {
        if index > 0 {
            stream.push_str("---\n");
        }
        match &document.text {
            Some(text) => stream.push_str(text.trim_matches('\n')),
            None => stream.push_str(serde_saphyr::to_string(&document.value)?.trim_end()),
        }
        stream.push('\n');
    }
    Ok(stream)
}
