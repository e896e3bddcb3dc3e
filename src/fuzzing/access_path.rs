use http::uri::PathAndQuery;

use crate::access::path::{is_under, read};

/// The steps that a reader may take after it has decoded a path once, in any order and number.
const READINGS: [fn(&str) -> String; 7] = [
    decoded,
    |path| path.replace('\\', "/"),
    without_parameters,
    merged,
    resolved,
    trimmed,
    |path| path.to_ascii_lowercase(),
];

/// A path that a rule's prefix allows stays below the prefix for every reader behind the proxy,
/// whatever it decodes, merges, drops and resolves. The first byte is how many steps the reader
/// takes, the next ones which.
pub fn access_path(data: &[u8]) {
    let Some((count, rest)) = data.split_first() else {
        return;
    };
    let count = usize::from(count % 9).min(rest.len());
    let (steps, path) = rest.split_at(count);
    let Ok(path) = str::from_utf8(path) else {
        return;
    };
    let sent = PathAndQuery::try_from(path).is_ok_and(|parsed| parsed.path() == path);
    if !sent || !path.starts_with('/') {
        return;
    }
    let Some(compared) = read(path) else {
        return;
    };
    let compared = str::from_utf8(&compared).expect("what is no UTF-8 matches no rule");
    let mut seen = decoded(path);
    assert_eq!(seen, compared, "decoded once");
    for step in steps {
        seen = READINGS[usize::from(*step) % READINGS.len()](&seen);
    }
    let seen = resolved(&merged(&seen.replace('\\', "/")));
    let lower = steps
        .iter()
        .any(|step| usize::from(*step) % READINGS.len() == 6);
    for prefix in prefixes(compared) {
        assert!(is_under(compared.as_bytes(), prefix.as_bytes()));
        let prefix = if lower {
            prefix.to_ascii_lowercase()
        } else {
            prefix.to_owned()
        };
        assert!(
            is_under(seen.as_bytes(), prefix.as_bytes()),
            "{path:?} is under {prefix:?} and read as {seen:?}"
        );
    }
}

/// The prefixes of a path that can be written in a rule.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    let ends = path
        .match_indices('/')
        .map(|(at, _)| at)
        .chain([path.len()]);
    let writable = |prefix: &&str| {
        let foreign = |c: char| "%?#;\\".contains(c) || c.is_whitespace() || c.is_control();
        !prefix.is_empty()
            && !prefix.contains("//")
            && !prefix.ends_with('/')
            && !prefix.contains(foreign)
    };
    ends.map(|end| &path[..end]).filter(writable)
}

fn decoded(path: &str) -> String {
    let mut decoded = Vec::new();
    let mut rest = path.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        let pair = after.get(..2).and_then(|pair| str::from_utf8(pair).ok());
        let pair =
            pair.filter(|pair| *first == b'%' && pair.bytes().all(|b| b.is_ascii_hexdigit()));
        match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                rest = &after[2..];
            }
            None => decoded.push(*first),
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn without_parameters(path: &str) -> String {
    let element = |element: &str| element.split(';').next().unwrap_or_default().to_owned();
    path.split('/').map(element).collect::<Vec<_>>().join("/")
}

fn merged(path: &str) -> String {
    let mut path = path.to_owned();
    while path.contains("//") {
        path = path.replace("//", "/");
    }
    path
}

fn trimmed(path: &str) -> String {
    path.split('/').map(str::trim).collect::<Vec<_>>().join("/")
}

/// RFC 3986 5.2.4.
fn resolved(path: &str) -> String {
    let mut elements: Vec<&str> = Vec::new();
    for element in path.split('/').skip(1) {
        match element {
            "." => {}
            ".." => {
                elements.pop();
            }
            element => elements.push(element),
        }
    }
    format!("/{}", elements.join("/"))
}
