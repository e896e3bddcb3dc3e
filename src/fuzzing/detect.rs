use std::sync::LazyLock;

use regex::bytes::Regex;

use crate::proxy::detect::{Detected, MAX_LOOK_AHEAD, detect as look};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const BLANK: &str = r"[\t ]";
const TEXT: &str = r"[\t\x20-\x7e\x80-\xff]*";
const METHOD: &str = r"\A[\r\n]{0,8}[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}";

static WITH_VERSION: LazyLock<Regex> =
    LazyLock::new(|| regex(&format!("{METHOD}(?:{BLANK}{TEXT})?{BLANK}(?i:HTTP/)")));
static LONG_LINE: LazyLock<Regex> =
    LazyLock::new(|| regex(&format!(r"{METHOD}{BLANK}+[/hH]{TEXT}\z")));

fn regex(pattern: &str) -> Regex {
    Regex::new(&format!("(?-u){pattern}")).expect("a fixed pattern")
}

/// An answer stays; a regular expression gives the same one; and where httparse, by which requests
/// are read, finds a request line, nothing but HTTP is found here.
pub fn detect(data: &[u8]) {
    let whole = look(data);
    for cut in (0..data.len()).step_by(data.len() / 256 + 1) {
        let part = look(&data[..cut]);
        assert!(
            part == Detected::NeedMore || part == whole,
            "changed at {cut}"
        );
    }
    let seen = &data[..data.len().min(MAX_LOOK_AHEAD)];
    // Known to be HTTP/2, or on its way there.
    let preface = data.starts_with(PREFACE) || PREFACE.starts_with(data);
    let binary = preface || data.starts_with(&[22, 3]);
    let full = seen.len() == MAX_LOOK_AHEAD;
    let http1 = !binary && (WITH_VERSION.is_match(seen) || full && LONG_LINE.is_match(seen));
    assert_eq!(whole == Detected::Http1, http1);
    assert!(
        whole != Detected::NeedMore || !full,
        "the look ahead is bounded"
    );
    if is_request_to_httparse(data) {
        assert_eq!(whole, Detected::Http1);
    }
}

/// As far as we say that we look: methods of 32 bytes, 8 bytes of empty lines before, and of a
/// longer line only what begins like a target.
fn is_request_to_httparse(data: &[u8]) -> bool {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut request = httparse::Request::new(&mut headers);
    // Whatever comes of the headers, the line before them was taken.
    let _ = request.parse(data);
    let empty = data
        .iter()
        .take_while(|byte| b"\r\n".contains(byte))
        .count();
    let line = request.method.map_or(0, str::len) + request.path.map_or(0, str::len);
    request.version.is_some()
        && empty <= 8
        && request.method.is_some_and(|method| method.len() <= 32)
        && line + " HTTP/".len() + empty < MAX_LOOK_AHEAD
}
