//! How an error is told to a person.

use std::borrow::Cow;

/// The longest part of a message that may be somebody else's text, in bytes.
const MAX_TOLD: usize = 1_000;

/// A text with its middle left out where it is too long for a message.
pub fn shortened(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_TOLD {
        return text.into();
    }
    let head = text.floor_char_boundary(MAX_TOLD / 2);
    let tail = text.ceil_char_boundary(text.len() - MAX_TOLD / 2);
    let left_out = tail - head;
    let (head, tail) = (&text[..head], &text[tail..]);
    format!("{head} … ({left_out} bytes left out) … {tail}").into()
}

/// The error and what caused it, outermost first, in one line. Messages often hold their cause
/// already: what was said is not said again.
pub fn in_full(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if told.is_empty() {
            told = cause;
        } else if !told.contains(&cause) {
            told += ": ";
            told += &cause;
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("a.token cannot be read: {source}: is the volume mounted?")]
    struct Unreadable {
        source: io::Error,
    }

    #[test]
    fn a_long_text_keeps_its_ends() {
        let text = format!("{:?} is not a duration", "é".repeat(5_000_000));
        let told = shortened(&text);
        assert!(told.len() < 1_100 && told.starts_with("\"éé"), "{told}");
        assert!(told.ends_with("éé\" is not a duration"), "{told}");
        assert!(
            told.contains("… (9999") && told.contains(" bytes left out) …"),
            "{told}"
        );
        assert_eq!(shortened("short"), "short");
    }

    #[test]
    fn a_cause_is_told_once() {
        let source = io::Error::other("no such file");
        let error = anyhow::Error::from(Unreadable { source }).context("the proxy cannot start");
        assert_eq!(
            in_full(&error),
            "the proxy cannot start: a.token cannot be read: no such file: is the volume mounted?"
        );
    }

    #[test]
    fn a_cause_that_no_message_holds_is_added() {
        let error = anyhow::anyhow!("the port is taken").context("cannot listen");
        assert_eq!(in_full(&error), "cannot listen: the port is taken");
    }
}
