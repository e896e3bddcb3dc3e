//! A request's path, read so that no reader behind the proxy can be led elsewhere by it.
//!
//! The path is forwarded as it came, and applications differ in how they read one: some decode
//! twice or take `%2F` and `\` for a slash, some join `//`, drop `;parameters` or resolve `..`.
//! What a rule allows by one reading must not be something else by another. So:
//! * a path is decoded once, and nothing else is done to it before it is compared. A rule's path
//!   holds none of `% \ ;` and no empty element: whatever else a reader does leaves the part that
//!   matched as it is, and what follows below it, or
//! * would have to lead out of it again by a dot segment. A path in which any reader could find
//!   one, or which not every reader can decode, matches no rule that asks for a path.
//!
//! Nearly every path needs no decoding, and costs no allocation.

use std::borrow::Cow;

/// Whoever decodes more often than this has no reader behind it that does.
const MAX_DECODINGS: usize = 4;

/// `None` for a path that matches no rule.
pub fn read(path: &str) -> Option<Cow<'_, [u8]>> {
    let bytes = path.as_bytes();
    if !bytes.contains(&b'%') {
        return is_safe(bytes).then_some(bytes.into());
    }
    let (once, valid) = decode(bytes);
    let mut most = once.clone();
    for _ in 0..MAX_DECODINGS {
        if !valid || !is_safe(&most) {
            return None;
        }
        let (decoded, _) = decode(&most);
        if decoded == most {
            return Some(once.into());
        }
        most = decoded;
    }
    None
}

/// By path element; `prefix` has no slash at its end.
pub fn is_under(path: &[u8], prefix: &[u8]) -> bool {
    let rest = path.strip_prefix(prefix);
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}

/// Decodes what is encoded, leaves what is not as it is, and says whether there was none of that.
fn decode(path: &[u8]) -> (Vec<u8>, bool) {
    let digit = |at: usize| char::from(*path.get(at)?).to_digit(16);
    let (mut decoded, mut valid, mut at) = (Vec::with_capacity(path.len()), true, 0);
    while let Some(byte) = path.get(at) {
        let pair = (*byte == b'%').then(|| digit(at + 1).zip(digit(at + 2)));
        at += 1;
        decoded.push(match pair {
            Some(Some((high, low))) => {
                at += 2;
                u8::try_from(high << 4 | low).expect("two hexadecimal digits")
            }
            Some(None) => {
                valid = false;
                b'%'
            }
            None => *byte,
        });
    }
    (decoded, valid)
}

/// Whether no reader finds a dot segment, a control character, or what is not UTF-8, in which
/// lenient decoders see other characters.
fn is_safe(path: &[u8]) -> bool {
    str::from_utf8(path).is_ok_and(|text| {
        let mut elements = text.split(['/', '\\']);
        !text.chars().any(char::is_control) && !elements.any(leads_elsewhere)
    })
}

/// Unicode's blanks count too: there are applications that trim them off.
fn leads_elsewhere(element: &str) -> bool {
    let name = element.split(';').next().unwrap_or_default();
    matches!(name.trim(), "." | "..")
}
