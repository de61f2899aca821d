//! The log on standard error: human on a terminal, one JSON object a line elsewhere.

use std::fs::File;
use std::io::{self, Write};

use stream_sqsd::telemetry::{DEAD_LETTERS, MESSAGE_SPANS};
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::terminal::screen::Screen;
use crate::terminal::stderr::{self, say};
use crate::terminal::writer::Importance;

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// Human on a terminal, JSON elsewhere.
    Auto,
    Human,
    Json,
}

impl LogFormat {
    /// The form by its name in the configuration.
    pub(crate) fn of(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(LogFormat::Auto),
            "human" => Some(LogFormat::Human),
            "json" => Some(LogFormat::Json),
            _ => None,
        }
    }

    /// Whether a line is a JSON object.
    pub(crate) fn is_json(self, screen: &Screen) -> bool {
        match self {
            LogFormat::Auto => !screen.shows_stderr(),
            LogFormat::Human => false,
            LogFormat::Json => true,
        }
    }
}

/// What is logged of others unless RUST_LOG says else. What it says of everything is not said of the SDK, whose debug output is
/// long and nobody's business but the SDK's authors'; name its crates to hear them. The summary of a run always shows, and so
/// does why a message was dead-lettered. There are no spans of messages: what the handlers of the daemon log names its message.
const DEFAULT: &str = "aws_config=error,aws_runtime=error,aws_sdk_sqs=error,aws_sdk_sso=error,aws_sdk_ssooidc=error,\
                       aws_sdk_sts=error,aws_sigv4=error,aws_smithy_runtime=error,aws_smithy_runtime_api=error,\
                       aws_smithy_http_client=error,h2=error,hyper=error,hyper_util=error,rustls=error";

/// The target of the summary.
pub(crate) const SUMMARY: &str = "stream_sqsd::summary";

/// The target of what the log says of itself.
const LOG: &str = "stream_sqsd::log";

/// What is dropped last when the log cannot keep up, besides errors: the records of these targets.
const IMPORTANT: &[&str] = &[SUMMARY, DEAD_LETTERS, LOG];

/// Starts the log. Once in a process.
///
/// # Errors
///
/// When the system gives no thread, or there is no standard error.
pub(crate) fn start(format: LogFormat, screen: &Screen) -> io::Result<()> {
    start_from("info", format, screen)
}

/// Starts the log for a command that tells itself what it does: from WARN on, unless RUST_LOG says else.
///
/// # Errors
///
/// As [`start`].
pub(crate) fn start_from_warnings(format: LogFormat, screen: &Screen) -> io::Result<()> {
    start_from("warn", format, screen)
}

fn start_from(level: &str, format: LogFormat, screen: &Screen) -> io::Result<()> {
    stderr::start(BesideProgress { screen: screen.clone(), stderr: stderr::of_process()? }, |dropped| {
        tracing::warn!(target: LOG, dropped, "lines of the log were dropped: nobody took them in time");
    })?;
    let asked = std::env::var("RUST_LOG").unwrap_or_default();
    let filter = |asked: &str| {
        EnvFilter::try_new(format!("{level},{DEFAULT},{SUMMARY}=info,{DEAD_LETTERS}=warn,{MESSAGE_SPANS}=off,{asked}"))
    };
    let filter = filter(&asked).or_else(|error| {
        say(&format!("stream-sqsd: RUST_LOG is not understood and left out: {error}"));
        filter("")
    });
    let filter = filter.unwrap_or_default();

    let log = tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false);
    let log = log.with_writer(Lines).with_ansi(screen.colours_stderr());
    if format.is_json(screen) {
        log.json().flatten_event(true).with_current_span(true).with_span_list(false).init();
    } else {
        log.with_target(false).init();
    }
    Ok(())
}

/// Hands the lines of the log to the thread that writes them.
struct Lines;

/// One line, which is handed over in one piece.
struct Line(Importance);

impl MakeWriter<'_> for Lines {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line(Importance::Ordinary)
    }

    fn make_writer_for(&self, record: &Metadata<'_>) -> Line {
        let important = *record.level() == Level::ERROR || IMPORTANT.contains(&record.target());
        Line(if important { Importance::Important } else { Importance::Ordinary })
    }
}

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        stderr::write(line.to_vec(), self.0);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes to standard error while the progress line is out of the way.
struct BesideProgress {
    screen: Screen,
    stderr: File,
}

impl Write for BesideProgress {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let BesideProgress { screen, stderr } = self;
        screen.beside_progress(|| stderr.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
