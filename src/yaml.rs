//! What is wrong with a YAML text, in words for whoever wrote it: those of the library are for
//! whoever programs with it.

use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};
use serde_saphyr::{Error, Location, MessageFormatter as _, Options, UserMessageFormatter};

use crate::failure::shortened;

/// The longest value that a message repeats, in characters.
const MAX_SHOWN: usize = 60;

/// A text that could not be read.
pub struct Unreadable {
    /// The field that is at fault, as far as it is known; empty for the text as a whole.
    pub field: String,
    pub error: Box<Error>,
}

/// Reads a text.
///
/// # Errors
/// With the first mistake, and the field that it is in.
pub fn read<T: DeserializeOwned>(text: &str, options: Options) -> Result<T, Unreadable> {
    let mut at = String::new();
    serde_saphyr::with_deserializer_from_str_with_options(text, options, |yaml| {
        serde_path_to_error::deserialize(yaml).map_err(|error| {
            at = field(error.path());
            error.into_inner()
        })
    })
    .map_err(|error| Unreadable {
        field: at,
        error: Box::new(error),
    })
}

/// Why `text` cannot be read, without the place.
pub fn reason(error: &Error, text: &str) -> String {
    match error.without_snippet() {
        Error::AliasError { error, .. } => reason(error, text),
        Error::InvalidScalar { ty, location } => {
            let expected = scalar(ty);
            match written(text, *location) {
                Some(value) => format!("{value:?} is not {expected}"),
                None => format!("must be {expected}"),
            }
        }
        Error::SerdeInvalidType {
            unexpected,
            expected,
            ..
        } => format!("{unexpected} is not {expected}"),
        Error::Unexpected { expected, .. } => format!("must be {}", kind(expected)),
        Error::NullIntoString { .. } => "is empty: write a text".into(),
        Error::ExternallyTaggedEnumExpectedScalarOrMapping { .. }
        | Error::ExpectedStringKeyForExternallyTaggedEnum { .. } => {
            "must be a word, or one key with its value".into()
        }
        Error::ExpectedMappingEndAfterEnumVariantValue { .. } => {
            "has several keys of which only one may be there".into()
        }
        Error::UnexpectedValueForUnitEnumVariant { .. } => "must be a word without a value".into(),
        Error::SerdeUnknownVariant {
            variant, expected, ..
        } => format!("{variant:?} is not one of {}", expected.join(", ")),
        Error::SerdeMissingField { field, .. } => format!("{field} is missing"),
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("{key} is written twice: keep one of them")
        }
        Error::DuplicateMappingKey { key: None, .. } => {
            "a key is written twice: keep one of them".into()
        }
        Error::MultipleDocuments { .. } => {
            "a second document begins here (---): the file may hold one only".into()
        }
        Error::Budget { .. } => {
            "the text is too large, nests too deeply or has too many aliases to be read".into()
        }
        other => UserMessageFormatter.format_message(other).into_owned(),
    }
}

/// [`reason`] with the place before it: `line 3, column 5: …`.
pub fn fault(error: &Error, text: &str) -> String {
    let reason = reason(error, text);
    let reason = shortened(&reason);
    match error.location() {
        Some(at) => format!("line {}, column {}: {reason}", at.line(), at.column()),
        None => reason.into_owned(),
    }
}

/// The field that a path leads to; empty for the text as a whole.
fn field(path: &Path) -> String {
    let mut field = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => field += &format!("[{index}]"),
            Segment::Map { key } | Segment::Enum { variant: key } => {
                if !field.is_empty() {
                    field.push('.');
                }
                field += key;
            }
            Segment::Unknown => {}
        }
    }
    field
}

/// What the value at a place looks like.
fn written(text: &str, at: Location) -> Option<String> {
    let span = at.span();
    let (offset, length) = (usize::try_from(span.offset()).ok()?, span.len());
    let length = usize::try_from(length).ok()?.min(MAX_SHOWN);
    let value: String = text.chars().skip(offset).take(length).collect();
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// What the library calls by a type of Rust.
fn scalar(ty: &'static str) -> &'static str {
    match ty {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "u128" => "a whole number from 0 upwards",
        "i8" | "i16" | "i32" | "i64" | "i128" => "a whole number",
        "floating point" => "a number",
        "boolean" => "true or false",
        other => other,
    }
}

/// What the library calls by an event of its parser.
fn kind(expected: &'static str) -> &'static str {
    match expected {
        "sequence start" => "a list",
        "mapping start" => "a mapping of keys to values",
        "string scalar" | "scalar" => "a single value",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;
    use crate::ranges::PortRange;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase")]
    #[expect(dead_code, reason = "only what is refused matters")]
    enum Fallback {
        Stale(u32),
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only what is refused matters")]
    struct Settings {
        port: Option<u16>,
        weight: Option<u32>,
        share: Option<f64>,
        on: Option<bool>,
        name: Option<String>,
        list: Option<Vec<u16>>,
        map: Option<BTreeMap<String, u16>>,
        fallback: Option<Fallback>,
        ports: Option<Vec<PortRange>>,
    }

    fn refused(text: &str) -> String {
        let error = serde_saphyr::from_str::<Settings>(text).expect_err(text);
        fault(&error, text)
    }

    #[test]
    fn values_of_the_wrong_kind_are_shown_with_what_they_must_be() {
        for (text, expected) in [
            (
                "port: high",
                "line 1, column 7: \"high\" is not a whole number from 0 to 65535",
            ),
            ("é: 1\n", "line 1, column 1: unknown field"),
            (
                "on: false\nport: 70000 # a lot",
                "line 2, column 7: \"70000\" is not a whole number from 0 to 65535",
            ),
            (
                "{weight: -1, port: 1}",
                "line 1, column 10: \"-1\" is not a whole number from 0 to 4294967295",
            ),
            ("share: half", "line 1, column 8: \"half\" is not a number"),
            (
                "on: maybe",
                "line 1, column 5: \"maybe\" is not true or false",
            ),
            ("name: [a]", "line 1, column 7: must be a single value"),
            (
                "ports: [5432, {}]",
                "line 1, column 15: map is not a port or a range of ports",
            ),
            ("list: 5", "line 1, column 7: must be a list"),
            (
                "map: [1]",
                "line 1, column 6: must be a mapping of keys to values",
            ),
            (
                "fallback: {stale: 1, port: 2}",
                "line 1, column 22: has several keys of which only one may be there",
            ),
        ] {
            let refused = refused(text);
            assert!(refused.starts_with(expected), "{text}: {refused}");
        }
    }

    #[test]
    fn no_advice_is_for_programmers() {
        for (text, expected) in [
            (
                "port: 1\nport: 2",
                "line 2, column 1: port is written twice: keep one of them",
            ),
            (
                "port: 1\n---\nport: 2",
                "line 3, column 1: a second document begins here (---): the file may hold one only",
            ),
        ] {
            assert_eq!(refused(text), expected);
        }
        let deep = format!("list: {}1{}", "[".repeat(5_000), "]".repeat(5_000));
        let deep = refused(&deep);
        assert!(!deep.contains('{') && !deep.contains("udget"), "{deep}");
    }
}
