//! Amounts of CPU and memory, as Kubernetes writes them.

use std::{cmp::Ordering, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An amount as it was written: `10m`, `0.5`, `20Mi`, `1e9`. Never negative.
#[derive(Clone, Debug)]
pub struct Quantity {
    text: String,
    value: f64,
}

/// Why a text is not a quantity.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an amount: write CPU like 100m or 0.5, memory like 64Mi or 1Gi")]
pub struct InvalidQuantity(String);

/// The suffixes with what they stand for.
const SUFFIXES: [(&str, f64); 16] = [
    ("Ki", 1024.0),
    ("Mi", 1024.0 * 1024.0),
    ("Gi", 1024.0 * 1024.0 * 1024.0),
    ("Ti", 1024.0 * 1024.0 * 1024.0 * 1024.0),
    ("Pi", 1024.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0),
    ("Ei", 1024.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0 * 1024.0),
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
    ("", 1.0),
];

impl Quantity {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// In CPUs or bytes.
    pub fn value(&self) -> f64 {
        self.value
    }

    fn read(text: &str) -> Option<f64> {
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let end = text.find(|c| !is_number(c)).unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let number: f64 = number.parse().ok()?;
        let exponent = suffix
            .strip_prefix(['e', 'E'])
            .filter(|exponent| !exponent.is_empty());
        let factor = match exponent {
            Some(exponent) => 10f64.powi(exponent.parse().ok()?),
            None => SUFFIXES.iter().find(|(name, _)| *name == suffix)?.1,
        };
        let value = number * factor;
        value.is_finite().then_some(value)
    }
}

impl FromStr for Quantity {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let value = Self::read(text).ok_or_else(|| InvalidQuantity(text.to_owned()))?;
        Ok(Self {
            text: text.to_owned(),
            value,
        })
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// By amount: `1Gi` and `1024Mi` are equal.
impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.value.partial_cmp(&other.value)
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.text)
    }
}

/// Reads text, and a bare number as YAML has it in `cpu: 1`.
impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Whole(u64),
            Broken(f64),
            Text(String),
        }
        let text = match Written::deserialize(d)? {
            Written::Whole(number) => number.to_string(),
            Written::Broken(number) => number.to_string(),
            Written::Text(text) => text,
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantity(text: &str) -> Quantity {
        text.parse().unwrap()
    }

    #[test]
    fn compares_by_amount() {
        for (less, more) in [
            ("10m", "0.5"),
            ("999m", "1"),
            ("20Mi", "128Mi"),
            ("128M", "128Mi"),
            ("1023Mi", "1Gi"),
            ("1e3", "1Ki"),
            ("0", "1n"),
            ("1P", "1E"),
        ] {
            assert!(quantity(less) < quantity(more), "{less} {more}");
        }
        for (one, other) in [
            ("1Gi", "1024Mi"),
            ("1e3", "1k"),
            ("0.5", "500m"),
            ("2E3", "2k"),
        ] {
            assert_eq!(quantity(one), quantity(other));
        }
    }

    #[test]
    fn refuses_what_the_api_server_would() {
        for text in [
            "", "m", "-1", "1 Mi", "1mi", "1MB", "1e", "1.2.3", "1e999", "ten", "0x10",
        ] {
            // A bare `e` is no exponent, and no suffix either.
            assert!(text.parse::<Quantity>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn is_read_from_numbers_too() {
        let read: Vec<Quantity> = serde_json::from_str(r#"[1, 0.5, "20Mi"]"#).unwrap();
        assert_eq!(
            serde_json::to_string(&read).unwrap(),
            r#"["1","0.5","20Mi"]"#
        );
    }
}
