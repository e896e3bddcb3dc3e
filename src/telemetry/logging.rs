//! The process's own log: text or JSON on standard error, with a level that can be changed
//! while it runs. Written by a thread of its own: who reads it may stall.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    fmt,
    io::{self, IsTerminal, Write},
    panic::{self, PanicHookInfo},
    sync::{
        Arc, LazyLock, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, fmt::MakeWriter, layer::SubscriberExt, reload,
    util::SubscriberInitExt,
};

use super::lines::{self, Line, Lines};

/// How long the end of the process, or a panic, waits for the log to be written.
const LAST: Duration = Duration::from_secs(1);
/// The thread that writes.
const THREAD: &str = "log";

/// The process's log, once it was set up.
static LOG: OnceLock<Lines<Text>> = OnceLock::new();
static DROPPED: LazyLock<Arc<AtomicU64>> = LazyLock::new(Arc::default);

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
    #[error("logging has no thread: {0}")]
    Thread(#[from] io::Error),
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
/// When the filter cannot be read, logging was set up before, or there is no thread for it.
pub fn init(filter: &str, format: LogFormat) -> Result<LogLevel, LogError> {
    let (lines, writer) = Lines::new(DROPPED.clone());
    let (subscriber, level) = subscriber(filter, format, Queued(lines.clone()))?;
    subscriber.try_init().map_err(|_| LogError::AlreadySet)?;
    thread::Builder::new()
        .name(THREAD.into())
        .spawn(move || write(writer))?;
    LOG.set(lines).map_err(|_| LogError::AlreadySet)?;
    panic::set_hook(Box::new(panicked));
    Ok(level)
}

/// Log lines so far that found no place in the queue, or could not be written.
pub fn dropped_lines() -> u64 {
    DROPPED.load(Relaxed)
}

/// Waits a moment for what was logged to be written: the end of the process takes the rest along.
pub fn finish() {
    if let Some(lines) = LOG.get() {
        lines.flush(LAST);
    }
}

/// Says on standard error why the process ends, after all that was logged.
pub fn last_word(text: &str) {
    match LOG.get() {
        Some(lines) => {
            lines.push(Text::from(format!("{text}\n")));
            lines.flush(LAST);
        }
        None => eprintln!("{text}"),
    }
}

/// Whole lines, as they are to be written.
#[derive(Debug)]
struct Text(Box<[u8]>);

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into_bytes().into())
    }
}

impl Line for Text {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.0.len()
    }

    fn append(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
}

/// Takes each event's line, which comes in one piece.
struct Queued(Lines<Text>);

impl<'a> MakeWriter<'a> for Queued {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &Queued {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(Text(line.into()));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(writer: lines::Writer<Text>) {
    let mut told = 0;
    writer.write_to(io::stderr(), |written| {
        let dropped = dropped_lines();
        if written.is_ok() && dropped > told {
            let lines = dropped - std::mem::replace(&mut told, dropped);
            tracing::warn!(
                lines,
                "log lines were dropped: whoever reads standard error did not keep up"
            );
        }
    });
}

/// As the standard library says it, but not past the queue: a thread must not stand still because
/// nobody reads.
fn panicked(info: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let name = thread.name().unwrap_or("<unnamed>");
    let mut text = format!("\nthread '{name}' {info}\n");
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        text += &format!("stack backtrace:\n{backtrace}\n");
    }
    match LOG.get() {
        Some(lines) if name != THREAD => {
            lines.push(text.into());
            lines.flush(LAST);
        }
        _ => eprintln!("{text}"),
    }
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
