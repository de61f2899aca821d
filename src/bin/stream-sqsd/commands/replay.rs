//! `stream-sqsd replay`: events of exports and of archives through the configured routes, without a queue.
//!
//! What became of each is a line of a file beside it, which a further replay reads: what was handled is passed over.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufReader, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::anyhow;
use clap::Args;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use stream_sqsd::dead_letters::{
    Account, Exported, Outcome, OutcomeKind, Reader, ReplayError, Replayed, RetryEnded, RetrySettings, RetrySummary,
    replay as replay_all,
};
use stream_sqsd::handlers::stdout::Closed;
use stream_sqsd::queue::{Delivery, Receipt, WebhookId};
use stream_sqsd::router::Router;
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

use crate::commands::dlq::arguments::PaceArguments;
use crate::commands::dlq::report::Report;
use crate::commands::dlq::retry;
use crate::config;
use crate::config::Config;
use crate::config::routes::running;
use crate::config::settings::{Flags, OfReplay};
use crate::daemon::signals::{OnHangup, Signals};
use crate::terminal::exit::{Exit, Failure, say};
use crate::terminal::input::{Piece, read_line};
use crate::terminal::log;
use crate::terminal::screen::Screen;

const REPLAY_HELP: &str = "\
A FILE is an export of `dlq export`, or one that the handler `file` has written. Message ids stay, so that targets \
recognise what they have had. What became of each event goes to FILE.replayed, a JSON line each; a further replay of FILE \
passes over what was handled, so that one that was interrupted goes on where it stopped.

Exit codes: 0 all were handled, 1 some failed, 2 usage, 66 a file cannot be read, 69 a target is down, 130 a signal.

Example:
  stream-sqsd replay --config stream-sqsd.toml --rate 20/s events-2026-01-31T00-00-07Z.jsonl";

/// Handle the events of exports and of archives by the configured routes, without a queue.
#[derive(Debug, Args)]
#[command(after_help = REPLAY_HELP)]
pub(crate) struct ReplayArguments {
    /// What to read.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// The configuration file, in TOML [env: STREAM_SQSD_CONFIG; the whole file in one: STREAM_SQSD_CONFIG_TOML]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) pace: PaceArguments,
    /// Print a JSON object for each event, and one with the sums at the end.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) settings: Flags<OfReplay>,
}

/// What the name of the file ends in that says what became of the events of another.
const OUTCOMES: &str = ".replayed";

/// Of how many events it is remembered that they were handled: 16 bytes each, and some more.
const MOST_REMEMBERED: usize = 5_000_000;

pub(crate) fn replay(arguments: ReplayArguments, signals: Signals) -> Result<Exit, Failure> {
    let stop = signals.drain(OnHangup::Drain)?.drain;
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(replay_files(arguments, stop));
    runtime.shutdown_background();
    ended
}

async fn replay_files(arguments: ReplayArguments, stop: CancellationToken) -> Result<Exit, Failure> {
    let config = config::of_replay(arguments.settings, arguments.config.as_deref())?;
    let screen = Screen::new();
    log::start_from_warnings(config.log_format, &screen)?;
    let files: Result<Vec<Source>, Failure> = arguments.files.iter().map(|path| Source::open(path)).collect();
    let files = files?;
    if arguments.pace.dry_run {
        return dry_run(&config, files, &screen, arguments.json);
    }
    let running = running::start(&config.routes, Some(&retry::aside()))?;
    retry::say_aside(&running);
    let mut replay = Replay {
        router: running.router,
        settings: RetrySettings::new(config.engine).with_rate(arguments.pace.rate.map(f64::from)),
        limit: arguments.pace.limit,
        stop: stop.clone(),
        unread: running.stdout_closed,
        report: Report::new(&screen, arguments.json, running.writes_stdout, None),
        sums: Account::default(),
        passed_over: 0,
    };
    let mut exit = Exit::Done;
    for file in files {
        let summary = replay.file(file).await?;
        exit = worse(exit, retry::exit(&summary));
        if summary.ended != RetryEnded::Done {
            break;
        }
    }
    let more = json!({"passed_over": replay.passed_over});
    let words = match replay.passed_over {
        0 => Vec::new(),
        count => vec![format!("passed over {count}, which an earlier replay has handled")],
    };
    replay.report.sums(&replay.sums, more, &words);
    Ok(exit)
}

/// A failure in one file is not undone by the next one.
fn worse(one: Exit, other: Exit) -> Exit {
    if (other as u8) > (one as u8) { other } else { one }
}

struct Replay {
    router: Router,
    settings: RetrySettings,
    /// How many may still be handled.
    limit: Option<u64>,
    stop: CancellationToken,
    /// Says when nobody reads the events any more.
    unread: Closed,
    report: Report,
    sums: Account,
    passed_over: u64,
}

impl Replay {
    /// Replays one file, and keeps what became of each of its events.
    async fn file(&mut self, mut source: Source) -> Result<RetrySummary, Failure> {
        let shown = source.path.display().to_string();
        let mut outcomes = Outcomes::open(&source.path)?;
        source.handled = std::mem::take(&mut outcomes.handled);
        let (stopped, unread) = (self.stop.clone().cancelled_owned(), self.unread.clone());
        let stop = async move {
            tokio::select! { biased;
                () = stopped => {}
                () = unread.wait() => {}
            }
        };
        let settings = self.settings.clone().with_limit(self.limit);
        let mut unwritten = None;
        let replayed = replay_all(&mut source, self.router.clone(), settings, stop, |outcome| {
            if let Err(error) = outcomes.add(outcome) {
                unwritten.get_or_insert(error);
            }
            self.report.outcome(outcome);
        });
        let replayed = replayed.await;
        self.passed_over += source.passed_over;
        if let Some(error) = unwritten {
            say(&format!(
                "what became of some events is not written beside {shown}: a further replay repeats them: {error}"
            ));
        }
        let summary = replayed.map_err(|error| match error {
            ReplayError::Read(error) => Failure::new(Exit::NoInput, anyhow!("{shown}: {error}")),
            ReplayError::Run(error) => Failure::usage(error.to_string()),
            error => error.into(),
        })?;
        let Account { seen, handled, failed, left, lost, .. } = summary.account;
        self.sums.seen += seen;
        self.sums.handled += handled;
        self.sums.failed += failed;
        self.sums.left += left;
        self.sums.lost += lost;
        self.limit = self.limit.map(|limit| limit.saturating_sub(handled + failed + lost));
        Ok(summary)
    }
}

/// Says which route would take each event, and calls nobody.
fn dry_run(config: &Config<()>, files: Vec<Source>, screen: &Screen, as_json: bool) -> Result<Exit, Failure> {
    let mut report = Report::new(screen, as_json, false, None);
    let reader = Reader::new(running::names(&config.routes)).with_inflate_limit(config.engine.inflate_limit);
    let mut seen = 0_u64;
    for mut source in files {
        source.handled = Outcomes::handled(&source.path)?;
        let shown = source.path.display().to_string();
        for message in &mut source {
            let message = message.map_err(|error| Failure::new(Exit::NoInput, anyhow!("{shown}: {error}")))?;
            seen += 1;
            retry::tell_of_dry_run(&mut report, &reader.read(&delivery(message), None), as_json);
        }
    }
    match as_json {
        true => report.object(&json!({"seen": seen})),
        false => report.line(&format!("seen {seen}; nothing was done")),
    }
    Ok(Exit::Done)
}

/// What would be received, were it in a queue.
fn delivery(message: Replayed) -> Delivery {
    let delivery = Delivery::new(Receipt::new(message.message_id, ""), message.body);
    delivery.with_sent_at(message.sent_at).with_webhook_id(message.webhook_id)
}

/// A file of events, read line by line.
struct Source {
    path: PathBuf,
    lines: BufReader<File>,
    line: u64,
    /// The events that an earlier replay has handled.
    handled: BTreeSet<Mark>,
    passed_over: u64,
}

impl Source {
    fn open(path: &Path) -> Result<Self, Failure> {
        let opened = File::open(path).and_then(|file| match file.metadata()?.is_dir() {
            true => Err(ErrorKind::IsADirectory.into()),
            false => Ok(file),
        });
        let file =
            opened.map_err(|error| Failure::new(Exit::NoInput, anyhow!("cannot read {}: {error}", path.display())))?;
        Ok(Source {
            path: path.to_owned(),
            lines: BufReader::with_capacity(64 * 1024, file),
            line: 0,
            handled: BTreeSet::new(),
            passed_over: 0,
        })
    }
}

impl Iterator for Source {
    type Item = io::Result<Replayed>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = match read_line(&mut self.lines) {
                Ok(Some(Piece::Whole(line))) => line,
                Ok(Some(Piece::TooLarge)) => return Some(Err(io::Error::other("a line of it is too large"))),
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            };
            self.line += 1;
            match message(&line) {
                Ok(message) if self.handled.contains(&mark(message.message_id.as_str())) => self.passed_over += 1,
                Ok(message) => return Some(Ok(message)),
                Err(why) => return Some(Err(io::Error::other(format!("line {}: {why}", self.line)))),
            }
        }
    }
}

/// A line of the handler `file`.
#[derive(Deserialize)]
struct Archived<'a> {
    message_id: String,
    #[serde(default)]
    webhook_id: Option<String>,
    #[serde(default)]
    sent_at: Option<String>,
    #[serde(borrow)]
    event: &'a RawValue,
}

/// The message that stands in a line.
fn message(line: &[u8]) -> Result<Replayed, String> {
    if let Ok(exported) = serde_json::from_slice::<Exported>(line) {
        if !exported.is_whole() {
            return Err("its body is not the one that was exported: the MD5 sums differ".to_owned());
        }
        let sent_at = exported.sent_at.as_deref().and_then(time);
        let webhook_id = WebhookId::among(&exported.attributes);
        return Ok(Replayed::new(exported.message_id, exported.body).with_sent_at(sent_at).with_webhook_id(webhook_id));
    }
    let archived: Archived<'_> = serde_json::from_slice(line)
        .map_err(|_| "it is neither of an export nor of the handler `file`, or not whole".to_owned())?;
    let sent_at = archived.sent_at.as_deref().and_then(time);
    let webhook_id = archived.webhook_id.as_deref().and_then(WebhookId::new);
    let message = Replayed::new(archived.message_id, archived.event.get().to_owned());
    Ok(message.with_sent_at(sent_at).with_webhook_id(webhook_id))
}

fn time(text: &str) -> Option<SystemTime> {
    let milliseconds = text.parse::<Timestamp>().ok()?.as_millisecond();
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(u64::try_from(milliseconds).ok()?))
}

/// What a message id is remembered by.
type Mark = [u8; 16];

fn mark(id: &str) -> Mark {
    let digest = Sha256::digest(id.as_bytes());
    let mut mark = Mark::default();
    mark.copy_from_slice(&digest[..16]);
    mark
}

/// The file that says what became of the events of another.
struct Outcomes {
    file: File,
    handled: BTreeSet<Mark>,
}

impl Outcomes {
    /// Opens it, and locks it: two replays of one file would each handle everything.
    fn open(source: &Path) -> Result<Self, Failure> {
        let handled = Outcomes::handled(source)?;
        let path = Outcomes::path(source);
        let shown = path.display();
        let failed = |error: io::Error| Failure::usage(format!("cannot write {shown}: {error}"));
        let opened = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path);
        let mut file = opened.map_err(failed)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                Failure::new(Exit::Unavailable, anyhow!("another replay of {} is going on", source.display()))
            }
            TryLockError::Error(error) => failed(error),
        })?;
        // A replay that was killed may have left half a line.
        file.write_all(b"\n").map_err(failed)?;
        Ok(Outcomes { file, handled })
    }

    fn path(source: &Path) -> PathBuf {
        let mut name = source.as_os_str().to_owned();
        name.push(OUTCOMES);
        name.into()
    }

    /// The events that were handled by an earlier replay.
    fn handled(source: &Path) -> Result<BTreeSet<Mark>, Failure> {
        #[derive(Deserialize)]
        struct Line {
            message_id: String,
            outcome: String,
        }
        let path = Outcomes::path(source);
        let unreadable =
            |error: io::Error| Failure::new(Exit::NoInput, anyhow!("cannot read {}: {error}", path.display()));
        let mut lines = match File::open(&path) {
            Ok(file) => BufReader::new(file),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
            Err(error) => return Err(unreadable(error)),
        };
        let mut handled = BTreeSet::new();
        while let Some(piece) = read_line(&mut lines).map_err(unreadable)? {
            let Piece::Whole(line) = piece else { continue };
            let Ok(Line { message_id, outcome }) = serde_json::from_slice(&line) else { continue };
            if outcome == OutcomeKind::Handled.word() {
                handled.insert(mark(&message_id));
            }
            if handled.len() > MOST_REMEMBERED {
                return Err(Failure::usage(format!(
                    "{} says of more than {MOST_REMEMBERED} events that they were handled: divide {}",
                    path.display(),
                    source.display()
                )));
            }
        }
        Ok(handled)
    }

    fn add(&mut self, outcome: &Outcome) -> io::Result<()> {
        let mut line = serde_json::to_vec(outcome)?;
        line.push(b'\n');
        self.file.write_all(&line)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn lines_of_archives_and_of_exports_are_read() {
        let line = br#"{"type":"message.new","message_id":"m1","receive_count":2,"sent_at":"2026-11-21T03:12:45.003Z","event":{"type":"message.new","big":1e400}}"#;
        let archived = message(line).unwrap();
        assert_eq!((archived.message_id.as_str(), &*archived.body), ("m1", r#"{"type":"message.new","big":1e400}"#));
        let since_1970 = archived.sent_at.unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(since_1970.as_millis(), 1_795_230_765_003);
        for wrong in ["", "{}", "[1]", r#"{"message_id":"m1","event":{"#, "not JSON"] {
            assert!(message(wrong.as_bytes()).unwrap_err().contains("handler `file`"), "{wrong}");
        }
    }

    #[test]
    fn an_exit_code_is_that_of_the_worst_file() {
        assert_eq!(worse(Exit::Findings, Exit::Done), Exit::Findings);
        assert_eq!(worse(Exit::Findings, Exit::Unavailable), Exit::Unavailable);
        assert_eq!(worse(Exit::Unavailable, Exit::Interrupted), Exit::Interrupted);
    }
}
