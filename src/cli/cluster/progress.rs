//! A line that says what is waited for, on a terminal and nowhere else.

use std::io::{IsTerminal, Write};

/// Shows one line on standard error, replaced by the next and gone when dropped.
pub struct Progress {
    shown: bool,
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress {
    pub fn new() -> Self {
        Self {
            shown: std::io::stderr().is_terminal(),
        }
    }

    /// One that shows nothing, where something else has the terminal.
    pub fn hidden() -> Self {
        Self { shown: false }
    }

    pub fn step(&self, what: &str) {
        if self.shown {
            // A terminal that is gone needs no progress.
            let _ = write!(std::io::stderr(), "\r\x1b[2K{what}…");
            let _ = std::io::stderr().flush();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
            let _ = std::io::stderr().flush();
        }
    }
}
