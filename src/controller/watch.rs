//! Follows a file by its content: however it is replaced (written in place, renamed over, a
//! ConfigMap's symlinks swapped), what counts is what reading its path yields.

use std::{io, path::Path, time::Duration};

use crate::host;

/// Calls `changed` with every new content. A content counts once two readings in a row, `period`
/// apart, yield it: a file that is being written is not read half. One of more than `most` bytes is
/// unreadable. Never returns.
pub(super) async fn follow(
    path: &Path,
    period: Duration,
    most: u64,
    mut last: String,
    mut changed: impl FnMut(&str),
) {
    let mut settling = None;
    let mut unreadable = None;
    loop {
        tokio::time::sleep(period).await;
        match host::read_to_string(path, most).await {
            Ok(text) if text == last => settling = None,
            Ok(text) if settling.as_ref() == Some(&text) => {
                changed(&text);
                last = text;
                settling = None;
            }
            Ok(text) => settling = Some(text),
            Err(error) => {
                warn_once(path, &mut unreadable, &error);
                continue;
            }
        }
        unreadable = None;
    }
}

fn warn_once(path: &Path, last: &mut Option<io::ErrorKind>, error: &io::Error) {
    if last.replace(error.kind()) != Some(error.kind()) {
        tracing::warn!(path = %path.display(), %error, "unreadable: the last good state stays");
    }
}
