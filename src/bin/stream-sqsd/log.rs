//! The log on standard error: human on a terminal, one JSON object a line elsewhere.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::exit::say;
use crate::screen::Screen;

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

/// What is logged unless RUST_LOG says else. What it says of everything is not said of the SDK, whose debug output is
/// long and nobody's business but the SDK's authors'; name its crates to hear them. The ledger of a run always shows.
const DEFAULT: &str = "info,aws_config=error,aws_runtime=error,aws_sdk_sqs=error,aws_sdk_sso=error,aws_sdk_ssooidc=error,\
                       aws_sdk_sts=error,aws_sigv4=error,aws_smithy_runtime=error,aws_smithy_runtime_api=error,\
                       aws_smithy_http_client=error,h2=error,hyper=error,hyper_util=error,rustls=error";

/// The target of the ledger.
pub(crate) const LEDGER: &str = "stream_sqsd::ledger";

/// Starts the log. Once in a process.
pub(crate) fn start(format: LogFormat, screen: &Screen) {
    let asked = std::env::var("RUST_LOG").unwrap_or_default();
    let filter = |asked: &str| EnvFilter::try_new(format!("{DEFAULT},{LEDGER}=info,{asked}"));
    let filter = filter(&asked).or_else(|error| {
        say(&format!("stream-sqsd: RUST_LOG is not understood and left out: {error}"));
        filter("")
    });
    let filter = filter.unwrap_or_default();

    // An event that cannot be written is lost without a word: where would the word go?
    let log = tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false);
    let log = log.with_writer(ToScreen(screen.clone())).with_ansi(screen.colours_stderr());
    if format.is_json(screen) {
        log.json().flatten_event(true).with_current_span(true).with_span_list(false).init();
    } else {
        log.with_target(false).init();
    }
}

/// Writes log lines beside a progress line.
struct ToScreen(Screen);

impl<'a> MakeWriter<'a> for ToScreen {
    type Writer = &'a Screen;

    fn make_writer(&'a self) -> &'a Screen {
        &self.0
    }
}

impl io::Write for &Screen {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.beside_progress(|| io::stderr().lock().write_all(line))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
