//! Standard output, whose reader may leave.

use std::{
    io::{self, Write as _},
    ops::ControlFlow,
};

/// As `print!`, but a reader that left (`| head`) is told by `Break`, not by an error or a panic.
///
/// # Errors
/// When standard output cannot be written to otherwise.
pub fn write(text: &str) -> anyhow::Result<ControlFlow<()>> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
        done => Ok(ControlFlow::Continue(done?)),
    }
}

/// [`write`] for the last that there is to say.
///
/// # Errors
/// When standard output cannot be written to, unless its reader merely left.
pub fn finish(text: &str) -> anyhow::Result<()> {
    write(text).map(|_| ())
}
