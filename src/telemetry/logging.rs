//! The process's own log: text or JSON on standard error, with a level that can be changed
//! while it runs.

use std::{fmt, io, io::IsTerminal, sync::Arc};

use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, fmt::MakeWriter, layer::SubscriberExt, reload,
    util::SubscriberInitExt,
};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// Why logging is not as asked for.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(
        "{filter:?} is not a log filter ({cause}): write a level like debug, or targets like info,outrigger::proxy=debug"
    )]
    Filter { filter: String, cause: String },
    #[error("logging was already set up in this process: set it up once, at the start")]
    AlreadySet,
    #[error("the log level cannot be changed any more: logging has ended")]
    Ended,
}

/// Changes what is logged.
#[derive(Clone)]
pub struct LogLevel(Arc<dyn Fn(EnvFilter) -> Result<(), LogError> + Send + Sync>);

impl fmt::Debug for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogLevel")
    }
}

impl LogLevel {
    /// Accepts every valid filter and changes nothing.
    #[cfg(test)]
    pub(super) fn for_tests() -> Self {
        Self(Arc::new(|_| Ok(())))
    }

    /// Logs by `filter` from now on: `debug`, or `info,outrigger::proxy=debug`.
    ///
    /// # Errors
    /// When the filter cannot be read; what was logged before stays.
    pub fn set(&self, filter: &str) -> Result<(), LogError> {
        (self.0)(parse(filter)?)
    }
}

/// Sets the process's log up. Once, before the first thread.
///
/// # Errors
/// When the filter cannot be read, or logging was set up before.
pub fn init(filter: &str, format: LogFormat) -> Result<LogLevel, LogError> {
    let (subscriber, level) = subscriber(filter, format, io::stderr)?;
    subscriber.try_init().map_err(|_| LogError::AlreadySet)?;
    Ok(level)
}

fn subscriber<W>(
    filter: &str,
    format: LogFormat,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync + use<W>, LogLevel), LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(parse(filter)?);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let level = LogLevel(Arc::new(move |filter| {
        handle.reload(filter).map_err(|_| LogError::Ended)
    }));
    let subscriber = Registry::default().with(lines.with_filter(filter));
    Ok((subscriber, level))
}

/// Whether a text is a log filter.
///
/// # Errors
/// When it is not, with how to write one.
pub fn check(filter: &str) -> Result<(), LogError> {
    parse(filter).map(drop)
}

fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    let bad = |cause| LogError::Filter {
        filter: filter.to_owned(),
        cause,
    };
    if let Some(word) = unknown_level(filter) {
        return Err(bad(format!("{word:?} is none of the levels {LEVELS}")));
    }
    EnvFilter::try_new(filter).map_err(|cause| bad(cause.to_string()))
}

const LEVELS: &str = "off, error, warn, info, debug and trace";

/// A lone word that is no level. The filter would take it for a target, and log nothing else.
fn unknown_level(filter: &str) -> Option<&str> {
    let words = filter.split(',').map(str::trim);
    words
        .filter(|word| !word.is_empty() && !word.contains(['=', ':', '[']))
        .find(|word| word.parse::<LevelFilter>().is_err())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn captured(format: LogFormat, log: impl FnOnce(&LogLevel)) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let (subscriber, level) = subscriber("info", format, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || log(&level));
        let bytes = captured.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_level_changes_while_it_runs() {
        let text = captured(LogFormat::Text, |level| {
            tracing::debug!("one");
            level.set("debug").unwrap();
            tracing::debug!("two");
            assert!(level.set("outrigger=nonsense").is_err());
            tracing::debug!("three");
        });
        assert!(!text.contains("one") && text.contains("two") && text.contains("three"));
    }

    #[test]
    fn a_lone_word_is_a_level() {
        for filter in [
            "off",
            "INFO",
            "info,outrigger::proxy=debug",
            "outrigger::proxy",
            "warn,[exchange{a}]",
            "",
        ] {
            assert!(check(filter).is_ok(), "{filter:?}");
        }
        for (filter, word) in [("verbose", "verbose"), ("info, hyper", "hyper")] {
            let error = check(filter).unwrap_err().to_string();
            assert!(error.contains(&format!("{word:?} is none of the levels off, error")));
        }
    }

    #[test]
    fn json_is_an_object_a_line_without_raw_control_characters() {
        let text = captured(LogFormat::Json, |_| {
            tracing::info!(sni = "a\u{1b}[2J\r\nb", "hello")
        });
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(line["message"], "hello");
        assert_eq!(line["sni"], "a\u{1b}[2J\r\nb");
        assert!(!text.trim_end().contains(|c: char| c.is_control()));
    }

    #[test]
    fn text_holds_no_raw_control_characters() {
        let text = captured(
            LogFormat::Text,
            |_| tracing::info!(sni = ?"a\u{1b}[2J\r\nb", "hello"),
        );
        assert!(
            !text.trim_end().contains(|c: char| c.is_control()),
            "{text:?}"
        );
    }
}
