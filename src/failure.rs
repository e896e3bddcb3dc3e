//! How an error is told to a person.

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
