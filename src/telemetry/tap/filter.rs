//! Which exchanges a tap shows, as its query says: `direction=inbound&path=/cart&status=5xx`.

use std::{ops::RangeInclusive, time::Duration};

use http::Method;

use super::MAX_TIME;
use crate::{
    telemetry::{Direction, access_log::Record},
    units,
};

/// All that are present must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    pub direction: Option<Direction>,
    /// The path begins so.
    pub path: Option<String>,
    pub method: Option<Method>,
    pub status: Option<RangeInclusive<u16>>,
    /// The service that was asked for (`cart`, `shop/cart`, `shop/cart:80`), or the endpoint's
    /// address.
    pub to: Option<String>,
    /// Who asked: a service account (`cart`, `shop/cart`), a whole SPIFFE ID, or an address.
    pub from: Option<String>,
}

/// A whole query.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    pub filter: Filter,
    /// Exchanges to show.
    pub max: u64,
    /// At most [`MAX_TIME`].
    pub time: Duration,
}

/// Why a query makes no tap.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuery {
    #[error(
        "a tap knows no {0:?}: there are direction, path, method, status, to, from, max and time"
    )]
    Unknown(String),
    #[error("{name}={value:?} is not {expected}")]
    Value {
        name: String,
        value: String,
        expected: &'static str,
    },
}

impl Query {
    /// Reads a URL's query; an empty one shows everything for as long as is allowed.
    ///
    /// # Errors
    /// When it holds something else than a tap's parameters.
    pub fn parse(query: &str) -> Result<Self, InvalidQuery> {
        let mut parsed = Self {
            filter: Filter::default(),
            max: u64::MAX,
            time: MAX_TIME,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            parsed.set(name, &decode(value))?;
        }
        Ok(parsed)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), InvalidQuery> {
        let invalid = |expected| InvalidQuery::Value {
            name: name.to_owned(),
            value: value.to_owned(),
            expected,
        };
        let filter = &mut self.filter;
        match name {
            "direction" => {
                let named = Direction::ALL.into_iter().find(|d| d.as_str() == value);
                filter.direction = Some(named.ok_or_else(|| invalid("inbound or outbound"))?);
            }
            "path" => filter.path = Some(value.to_owned()),
            "method" => {
                let method = value.to_ascii_uppercase().parse();
                filter.method = Some(method.map_err(|_| invalid("a method"))?);
            }
            "status" => {
                let expected = "a status: write 503, 5xx or 400-499";
                filter.status = Some(statuses(value).ok_or_else(|| invalid(expected))?);
            }
            "to" => filter.to = Some(value.to_owned()),
            "from" => filter.from = Some(value.to_owned()),
            "max" => {
                let max = value.parse().ok().filter(|max| *max > 0);
                self.max = max.ok_or_else(|| invalid("a number above 0"))?;
            }
            "time" => {
                let time = units::duration::parse(value);
                let time = time
                    .ok()
                    .filter(|time| !time.is_zero() && *time <= MAX_TIME);
                self.time = time.ok_or_else(|| invalid("a duration up to 4m"))?;
            }
            other => return Err(InvalidQuery::Unknown(other.to_owned())),
        }
        Ok(())
    }
}

impl Filter {
    pub fn matches(&self, record: &Record) -> bool {
        let begins = |path: &String| record.uri.path().starts_with(path.as_str());
        let answered = |range: &RangeInclusive<u16>| {
            let status = record.status.map(|status| status.as_u16());
            status.is_some_and(|status| range.contains(&status))
        };
        self.direction
            .is_none_or(|direction| direction == record.direction)
            && self.path.as_ref().is_none_or(begins)
            && self
                .method
                .as_ref()
                .is_none_or(|method| *method == record.method)
            && self.status.as_ref().is_none_or(answered)
            && self.to.as_ref().is_none_or(|to| went_to(record, to))
            && self
                .from
                .as_ref()
                .is_none_or(|from| came_from(record, from))
    }
}

fn went_to(record: &Record, to: &str) -> bool {
    let service = record.service.as_deref().unwrap_or_default();
    let (named, _port) = service.rsplit_once(':').unwrap_or((service, ""));
    let (_namespace, name) = named.split_once('/').unwrap_or(("", named));
    let endpoint = record
        .endpoint
        .map(|addr| (addr.to_string(), addr.ip().to_string()));
    [service, named, name].contains(&to)
        || endpoint.is_some_and(|(addr, ip)| addr == to || ip == to)
}

fn came_from(record: &Record, from: &str) -> bool {
    let caller = record.caller.as_ref().is_some_and(|caller| {
        let account = caller.service_account();
        let full = format!("{}/{account}", caller.namespace());
        [caller.as_str(), &full, account].contains(&from)
    });
    caller || record.client.ip().to_canonical().to_string() == from
}

/// `503`, `5xx` or `400-499`.
fn statuses(text: &str) -> Option<RangeInclusive<u16>> {
    let status = |text: &str| {
        text.parse()
            .ok()
            .filter(|status| (100..=999).contains(status))
    };
    if let Some(class) = text.strip_suffix("xx") {
        let class: u16 = class.parse().ok().filter(|class| (1..=5).contains(class))?;
        return Some(class * 100..=class * 100 + 99);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (status(first)?, status(last)?);
    (first <= last).then_some(first..=last)
}

/// Undoes percent-encoding; what is not well encoded stays as it is.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let digits = bytes
            .get(at + 1..at + 3)
            .and_then(|d| std::str::from_utf8(d).ok());
        let encoded = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (byte, encoded) {
            (b'%', Some(decoded)) => {
                out.push(decoded);
                at += 3;
            }
            (byte, _) => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{super::tests::record, *};

    fn matches(query: &str) -> bool {
        Query::parse(query).expect(query).filter.matches(&record())
    }

    #[test]
    fn shows_what_all_conditions_hold_for() {
        for query in [
            "",
            "direction=outbound",
            "path=/cart",
            "path=%2Fcart%2F",
            "method=get",
            "status=503",
            "status=5xx",
            "status=400-599",
            "to=cart",
            "to=shop/cart",
            "to=shop/cart:80",
            "to=198.18.0.2",
            "to=198.18.0.2:8080",
            "from=web",
            "from=shop/web",
            "from=spiffe://cluster.local/ns/shop/sa/web",
            "from=198.18.0.1",
            "direction=outbound&path=/cart&status=5xx&to=cart&from=web",
        ] {
            assert!(matches(query), "{query}");
        }
        for query in [
            "direction=inbound",
            "path=/orders",
            "method=POST",
            "status=500",
            "status=4xx",
            "to=car",
            "to=shop/orders",
            "from=shop",
            "from=other/web",
            "path=/cart&status=200",
        ] {
            assert!(!matches(query), "{query}");
        }
    }

    #[test]
    fn reads_bounds() {
        let query = Query::parse("max=5&time=30s").unwrap();
        assert_eq!((query.max, query.time), (5, Duration::from_secs(30)));
        let all = Query::parse("").unwrap();
        assert_eq!((all.max, all.time), (u64::MAX, MAX_TIME));
    }

    #[test]
    fn refuses_what_is_not_a_tap_and_says_what_is() {
        for query in [
            "colour=red",
            "direction=up",
            "method=",
            "status=6xx",
            "status=99",
            "status=500-400",
            "max=0",
            "time=5m",
            "time=0s",
        ] {
            assert!(Query::parse(query).is_err(), "{query}");
        }
        let unknown = Query::parse("colour=red").unwrap_err().to_string();
        assert!(unknown.contains("direction, path"), "{unknown}");
    }

    #[test]
    fn broken_encoding_stays_as_it_is() {
        assert_eq!(decode("%2F%zz%4"), "/%zz%4");
        assert_eq!(decode("%é"), "%é");
    }
}
