//! Where in a YAML text a field is: `services[1].policy` to line and column.

use std::{collections::HashMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::Spanned;

/// Lines and columns count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub line: u64,
    pub column: u64,
}

impl Position {
    pub(super) const START: Self = Self { line: 1, column: 1 };
}

impl From<serde_saphyr::Location> for Position {
    fn from(location: serde_saphyr::Location) -> Self {
        Self {
            line: location.line(),
            column: location.column(),
        }
    }
}

/// The positions of a document's values.
#[derive(Debug)]
pub(super) struct Positions(Option<Spanned<Node>>);

#[derive(Debug)]
enum Node {
    Scalar,
    Sequence(Vec<Spanned<Node>>),
    Mapping(HashMap<String, Spanned<Node>>),
}

impl Positions {
    /// A text that is not YAML has no positions.
    pub(super) fn of(text: &str, options: serde_saphyr::Options) -> Self {
        Self(serde_saphyr::from_str_with_options(text, options).ok())
    }

    /// The position of a field, or of the closest value around it that the text has.
    pub(super) fn find(&self, field: &str) -> Position {
        let Some(mut at) = self.0.as_ref() else {
            return Position::START;
        };
        for step in field.split(['.', '[']) {
            let inner = match (&at.value, step.strip_suffix(']')) {
                (Node::Sequence(items), Some(index)) => {
                    index.parse().ok().and_then(|index: usize| items.get(index))
                }
                (Node::Mapping(entries), None) => entries.get(step),
                _ => None,
            };
            match inner {
                Some(inner) => at = inner,
                None => break,
            }
        }
        at.referenced.into()
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = items.next_element()? {
            nodes.push(node);
        }
        Ok(Node::Sequence(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut nodes = HashMap::new();
        while let Some(key) = entries.next_key::<String>()? {
            nodes.insert(key, entries.next_value()?);
        }
        Ok(Node::Mapping(nodes))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Node, D::Error> {
        Node::deserialize(inner)
    }

    fn visit_enum<A: de::EnumAccess<'de>>(self, data: A) -> Result<Node, A::Error> {
        data.variant::<IgnoredAny>().map(|_| Node::Scalar)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_field_or_what_is_around_it() {
        let text = "services:\n  - name: a\n  - name: b\n    policy: {breaker: {failureRate: 2}}\n";
        let positions = Positions::of(text, serde_saphyr::Options::default());
        let at = |field: &str| {
            let Position { line, column } = positions.find(field);
            (line, column)
        };
        assert_eq!(at("services[1].policy.breaker.failureRate"), (4, 37));
        assert_eq!(at("services[1].name"), (3, 11));
        assert_eq!(at("services[1].endpoints[7].ip"), (3, 5));
        assert_eq!(at("trustDomain"), (1, 1));
    }
}
