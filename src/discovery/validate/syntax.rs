//! What texts in routes must look like.

use http::{HeaderName, header, uri::PathAndQuery};
use regex::bytes::{Regex, RegexBuilder};

/// As the Gateway API limits header patterns.
const MAX_PATTERN_BYTES: usize = 1024;
/// Bounds what one pattern may cost in memory; `a{1000}{1000}` is refused, not compiled.
const MAX_PROGRAM_BYTES: usize = 256 * 1024;

/// Why a pattern cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    #[error("{0:?} is not a regular expression: {1}")]
    Invalid(String, String),
    #[error("the regular expression has {0} bytes, more than 1024: use a prefix match instead")]
    TooLong(usize),
}

/// A pattern that must match the whole text. Bytes and ASCII classes: `\w` is `[0-9A-Za-z_]`,
/// `(?i)` folds ASCII. Matching takes time linear in the text, whatever the pattern.
///
/// # Errors
/// When it is none, or too large.
pub fn full_match(pattern: &str) -> Result<Regex, BadPattern> {
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(BadPattern::TooLong(pattern.len()));
    }
    let build = |text: &str| {
        RegexBuilder::new(text)
            .unicode(false)
            .size_limit(MAX_PROGRAM_BYTES)
            .dfa_size_limit(MAX_PROGRAM_BYTES)
            .build()
            .map_err(|error| BadPattern::Invalid(pattern.to_owned(), error.to_string()))
    };
    // On its own first: `a)|(b` is an error although it would be valid between the brackets.
    build(pattern)?;
    build(&format!(r"\A(?:{pattern})\z"))
}

/// A path as it may be sent: from a slash on, no query, no fragment.
pub fn is_path(text: &str) -> bool {
    text.starts_with('/')
        && !text.contains(['?', '#'])
        && PathAndQuery::try_from(text).is_ok_and(|parsed| parsed.as_str() == text)
}

/// A DNS name without a wildcard, in any case.
pub fn is_dns_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}

/// A DNS label (RFC 1123, section 2.1), in any case.
pub fn is_dns_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (1..=63).contains(&text.len())
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Headers that frame the message or name the host are the proxy's own business: an edit could
/// make two readers see two different messages.
pub fn is_protected(name: &HeaderName) -> bool {
    [
        header::HOST,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::CONNECTION,
        header::TE,
        header::TRAILER,
        header::UPGRADE,
    ]
    .contains(name)
}
