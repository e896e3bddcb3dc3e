//! How durations and keyed names are written in configuration.

/// Durations as the Gateway API writes them: `1h`, `10s`, `1m30s`, `250ms`.
pub mod duration {
    use std::{ops::RangeInclusive, time::Duration};

    use schemars::{Schema, json_schema};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Where [`schema`] puts its bounds, `[shortest, longest]`: JSON Schema has no word for them.
    pub const BOUNDS: &str = "x-duration-bounds";

    /// The schema of a duration in these bounds. The pattern is the Gateway API's, a little
    /// narrower than [`parse`].
    pub fn schema(bounds: &RangeInclusive<Duration>) -> Schema {
        let mut schema = json_schema!({
            "type": "string",
            "maxLength": 28,
            "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$",
        });
        let bounds = [format(*bounds.start()), format(*bounds.end())];
        schema.insert(BOUNDS.into(), bounds.to_vec().into());
        schema
    }

    /// Parses `1m30s`; units h, m, s, ms, each whole.
    pub fn parse(text: &str) -> Result<Duration, String> {
        let invalid = || format!("{text:?} is not a duration: write it like 10s, 250ms or 1m30s");
        let mut rest = text;
        let mut total = 0u64;
        if rest.is_empty() {
            return Err(invalid());
        }
        while !rest.is_empty() {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit())
                .ok_or_else(invalid)?;
            let number: u64 = rest[..digits].parse().map_err(|_| invalid())?;
            rest = &rest[digits..];
            let unit_len = rest
                .find(|c: char| c.is_ascii_digit())
                .unwrap_or(rest.len());
            let millis = match &rest[..unit_len] {
                "h" => 3_600_000,
                "m" => 60_000,
                "s" => 1_000,
                "ms" => 1,
                _ => return Err(invalid()),
            };
            rest = &rest[unit_len..];
            let part = number.checked_mul(millis).ok_or_else(invalid)?;
            total = total.checked_add(part).ok_or_else(invalid)?;
        }
        Ok(Duration::from_millis(total))
    }

    /// The shortest text that [`parse`] reads back to the same whole milliseconds.
    pub fn format(duration: Duration) -> String {
        match u64::try_from(duration.as_millis()).unwrap_or(u64::MAX) {
            ms if ms == 0 || ms % 1_000 != 0 => format!("{ms}ms"),
            ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
            ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
            ms => format!("{}s", ms / 1_000),
        }
    }

    /// For people: whole milliseconds, from a second on tenths of it.
    pub fn rounded(duration: Duration) -> String {
        match duration.as_millis() {
            ms @ ..1_000 => format!("{ms}ms"),
            _ => format!("{:.1}s", duration.as_secs_f64()),
        }
    }

    pub fn serialize<S: Serializer>(value: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&format(*value))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(d)?;
        parse(&text).map_err(D::Error::custom)
    }

    pub mod option {
        use super::*;

        pub fn serialize<S: Serializer>(value: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
            match value {
                Some(value) => super::serialize(value, s),
                None => s.serialize_none(),
            }
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
            let text = Option::<std::borrow::Cow<str>>::deserialize(d)?;
            text.map(|text| parse(&text).map_err(D::Error::custom))
                .transpose()
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn reads_what_it_writes() {
            for ms in [0, 1, 999, 1_000, 90_000, 3_600_000, 5_400_001] {
                let duration = Duration::from_millis(ms);
                assert_eq!(parse(&format(duration)), Ok(duration));
            }
            assert_eq!(parse("1m30s"), Ok(Duration::from_secs(90)));
        }

        #[test]
        fn people_read_no_more_digits_than_they_need() {
            for (micros, expected) in [
                (900, "0ms"),
                (572_707, "572ms"),
                (1_000_000, "1.0s"),
                (12_345_678, "12.3s"),
            ] {
                assert_eq!(rounded(Duration::from_micros(micros)), expected);
            }
        }

        #[test]
        fn refuses_what_is_not_a_duration() {
            for text in [
                "",
                "10",
                "s",
                "1.5s",
                "-1s",
                "10 s",
                "1d",
                "99999999999999999999h",
            ] {
                assert!(parse(text).is_err(), "{text:?}");
            }
        }
    }
}

/// Serialises a type by its `Display` and `FromStr`.
macro_rules! serde_as_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_as_text;
