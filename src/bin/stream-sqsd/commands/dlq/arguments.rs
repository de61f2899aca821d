//! The arguments of `stream-sqsd dlq`, which has a verb for each thing that can be done with dead letters.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use stream_sqsd::dead_letters::Filter;
use stream_sqsd::event::Pattern;

use crate::config::settings::{Flags, OfDlq};
use crate::config::units;

const DLQ_HELP: &str = "\
The dead-letter queue is the one that the redrive policy of the queue names, or that of --dlq-url. These commands work \
while the daemon runs: they open neither its journal nor its admin listener. Run them as its user, with its configuration \
and credentials.

SQS has no way to look at a message without receiving it: each look counts as a receive, and hides the message until the \
command ends, which also a signal makes visible again (SIGINT, SIGTERM: exit code 130; a second one ends at once). After a \
kill messages come back within 5 minutes.

Filters mean the same for each verb, and messages must meet all of them. Given none, `retry` and `export` mean all.

Examples:
  stream-sqsd dlq list --config stream-sqsd.toml
  stream-sqsd dlq show --config stream-sqsd.toml 5fea7756
  stream-sqsd dlq retry --config stream-sqsd.toml --reason 422 --limit 1
  stream-sqsd dlq export --config stream-sqsd.toml --reason invalid_base64 broken.jsonl
  stream-sqsd dlq drop --config stream-sqsd.toml --exported broken.jsonl";

/// How a rate is written.
const RATE: &str = "N/s";

/// Look at what is in the dead-letter queue, and handle it.
#[derive(Debug, Args)]
#[command(after_help = DLQ_HELP)]
pub(crate) struct DlqArguments {
    #[command(subcommand)]
    pub(crate) verb: DlqVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DlqVerb {
    /// How many there are, why, and when the first will be lost.
    #[command(after_help = LIST_HELP)]
    List(ListArguments),
    /// Show messages whole, with their text.
    Show(ShowArguments),
    /// Handle dead letters where they lie, by the configured routes; what succeeds is deleted.
    #[command(after_help = RETRY_HELP)]
    Retry(RetryArguments),
    /// Change the event of one message in $EDITOR and handle it; the message is deleted when that succeeds.
    #[command(after_help = EDIT_HELP)]
    Edit(EditArguments),
    /// Write messages to a new file, byte for byte, and delete none.
    #[command(after_help = EXPORT_HELP)]
    Export(ExportArguments),
    /// Delete exactly the messages that an export holds.
    #[command(after_help = DROP_HELP)]
    Drop(DropArguments),
    /// Let SQS move all dead letters back to a queue, where they get new ids.
    #[command(after_help = REDRIVE_HELP)]
    Redrive(RedriveArguments),
}

/// Which queue, with which configuration.
#[derive(Debug, Args)]
pub(crate) struct DlqPlace {
    /// The configuration file, in TOML, of the daemon that consumes the queue [env: STREAM_SQSD_CONFIG; the whole file in
    /// one: STREAM_SQSD_CONFIG_TOML]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The dead-letter queue, by its URL. It must not be the queue itself [default: the one of the queue's redrive policy]
    #[arg(long, value_name = "URL", help_heading = "The queue")]
    pub(crate) dlq_url: Option<String>,
    #[command(flatten)]
    pub(crate) settings: Flags<OfDlq>,
}

/// How messages are looked at.
#[derive(Debug, Args)]
pub(crate) struct LookArguments {
    /// Where it stands why messages were dead-lettered, besides the file of `[dead_letters] reasons`: such files, or saved
    /// JSON logs, of several hosts.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) reasons: Vec<PathBuf>,
    /// Look although the dead-letter queue has a redrive policy of its own, so that looking may move its messages on.
    #[arg(long)]
    pub(crate) force: bool,
}

/// Which messages.
#[derive(Debug, Args)]
pub(crate) struct FilterArguments {
    /// The message with this id, or whose id begins like this: 8 characters or more. Can be given several times.
    #[arg(long, value_name = "ID", help_heading = "Filters")]
    id: Vec<String>,
    /// Events of this type: message.new, or message.* for all below the dot. Can be given several times.
    #[arg(long = "type", value_name = "PATTERN", help_heading = "Filters", value_parser = pattern)]
    types: Vec<Pattern>,
    /// Messages whose reason has this in it; case is ignored.
    #[arg(long, value_name = "TEXT", help_heading = "Filters")]
    reason: Option<String>,
    /// Messages that the route of this name takes now. Can be given several times.
    #[arg(long, value_name = "NAME", help_heading = "Filters")]
    route: Vec<String>,
    /// Messages that were first sent at this time or later: 2026-11-21T03:00:00Z, or 6h for six hours ago.
    #[arg(long, value_name = "TIME", help_heading = "Filters", value_parser = time)]
    since: Option<SystemTime>,
    /// Messages that were first sent before this time.
    #[arg(long, value_name = "TIME", help_heading = "Filters", value_parser = time)]
    until: Option<SystemTime>,
}

impl FilterArguments {
    /// The filter.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in a sentence.
    pub(crate) fn filter(self) -> Result<Filter, String> {
        let mut filter = Filter::all();
        for id in &self.id {
            filter = filter.with_id(id).map_err(|error| format!("--id: {error}"))?;
        }
        filter = self.types.into_iter().fold(filter, Filter::with_type);
        filter = self.route.iter().fold(filter, |filter, name| filter.with_route(name));
        filter = self.reason.iter().fold(filter, |filter, part| filter.with_reason(part));
        filter = self.since.into_iter().fold(filter, Filter::since);
        Ok(self.until.into_iter().fold(filter, Filter::until))
    }

    /// The names of routes that are asked for.
    pub(crate) fn routes(&self) -> &[String] {
        &self.route
    }
}

/// How fast and how much.
#[derive(Debug, Args)]
pub(crate) struct PaceArguments {
    /// Handle so many at the most.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
    /// Call handlers for so many messages a second at the most [default: as fast as the targets take them]
    #[arg(long, value_name = RATE, value_parser = rate)]
    pub(crate) rate: Option<u32>,
    /// Decode and route them, and say what would be done; call nobody.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

const LIST_HELP: &str = "\
A message is lost when the retention of the dead-letter queue has passed since it was first sent. Of a FIFO queue only the \
first ten messages of each group can be seen: the numbers are \"at least\".";

#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) filter: FilterArguments,
    #[command(flatten)]
    pub(crate) look: LookArguments,
    #[command(flatten)]
    pub(crate) place: DlqPlace,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArguments {
    /// The ids of messages, or their first 8 characters or more: the first message that begins like this is shown.
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<String>,
    /// Print a JSON object for each.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) look: LookArguments,
    #[command(flatten)]
    pub(crate) place: DlqPlace,
}

const RETRY_HELP: &str = "\
Each message that matches is handled once. One that fails again stays, with its new reason. A target that is down is waited \
for; when nothing has succeeded for 5 minutes, the exit code is 69. On a FIFO queue each group is handled in order, and \
stops at its first message that was not handled.

A route to a file that the daemon has locked is written to NAME.dlq-TIME beside it. Where a route writes events to standard \
output, what became of each message goes to standard error.

The role needs sqs:ReceiveMessage, sqs:DeleteMessage, sqs:ChangeMessageVisibility and sqs:GetQueueAttributes on the \
dead-letter queue, and sqs:GetQueueAttributes on the queue.

Exit codes: 0 all were handled, 1 some failed again, 2 usage, 69 a target or the queue is down, 130 a signal.";

#[derive(Debug, Args)]
pub(crate) struct RetryArguments {
    #[command(flatten)]
    pub(crate) pace: PaceArguments,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Print a JSON object for each message, and one with the sums at the end.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) filter: FilterArguments,
    #[command(flatten)]
    pub(crate) look: LookArguments,
    #[command(flatten)]
    pub(crate) place: DlqPlace,
}

const EDIT_HELP: &str = "\
The editor is that of VISUAL or EDITOR, else vi. It is given the event as JSON, or the body where that is not an event. While it \
is open nothing is held: the message is looked for again when it is closed. What was written must be a JSON object; where \
it is not, or its handler fails, it is kept, and the message stays as it was.";

#[derive(Debug, Args)]
pub(crate) struct EditArguments {
    /// The id of the message, or its first 8 characters or more: the first message that begins like this.
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) look: LookArguments,
    #[command(flatten)]
    pub(crate) place: DlqPlace,
}

const EXPORT_HELP: &str = "\
Each line is a JSON object: the raw body byte for byte, its MD5 sum, id, times, attributes and reason. The file is new, only \
its owner can read it, and it is on disk when the exit code is 0. `replay` reads it, and so does `dlq drop`.";

#[derive(Debug, Args)]
pub(crate) struct ExportArguments {
    /// The file to write, which must not be there yet.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) filter: FilterArguments,
    #[command(flatten)]
    pub(crate) look: LookArguments,
    #[command(flatten)]
    pub(crate) place: DlqPlace,
}

const DROP_HELP: &str = "\
A message is deleted when its id and the MD5 sum of its body are in the file. There is no way to delete what is in none.";

#[derive(Debug, Args)]
pub(crate) struct DropArguments {
    /// The export.
    #[arg(long, value_name = "FILE")]
    pub(crate) exported: PathBuf,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) look: LookArguments,
    #[command(flatten)]
    pub(crate) place: DlqPlace,
}

const REDRIVE_HELP: &str = "\
This is AWS's own move task. It can neither filter nor edit, and each message gets a new id and a new time: the postgres \
key, X-Webhook-Id and the journal recognise no repeat, and what fails again is dead-lettered again. `dlq retry` handles \
dead letters where they lie, and keeps their ids.

SIGINT or SIGTERM cancels the task; what was moved by then stays moved. The exit code is 0 when all were moved, 1 when the \
task failed.

The role needs sqs:StartMessageMoveTask, sqs:ListMessageMoveTasks, sqs:CancelMessageMoveTask, sqs:ReceiveMessage, \
sqs:DeleteMessage and sqs:GetQueueAttributes on the dead-letter queue, and sqs:SendMessage on the other.

Examples:
  stream-sqsd dlq redrive --config stream-sqsd.toml --rate 50/s
  stream-sqsd dlq redrive --config stream-sqsd.toml --to chat-events-replayed --yes";

#[derive(Debug, Args)]
pub(crate) struct RedriveArguments {
    /// The queue to move to, by its URL, its ARN or its name [default: for each message the queue that it came from]
    #[arg(long, value_name = "QUEUE")]
    pub(crate) to: Option<String>,
    /// How many messages a second, 1 to 500 [default: SQS finds a rate]
    #[arg(long, value_name = RATE, value_parser = rate)]
    pub(crate) rate: Option<u32>,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Print what became of it as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: DlqPlace,
}

/// A rate in messages a second: `20/s`, or `20`.
fn rate(text: &str) -> Result<u32, String> {
    let number = text.trim().strip_suffix("/s").unwrap_or(text);
    let wrong = || format!("{text:?} is not a rate: write one such as 20/s, messages a second");
    let number = units::count(number).map_err(|_| wrong())?;
    u32::try_from(number).ok().filter(|number| *number > 0).ok_or_else(wrong)
}

fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::new(text).map_err(|error| error.to_string())
}

/// A time, or how long ago it was.
fn time(text: &str) -> Result<SystemTime, String> {
    let wrong = || format!("{text:?} is not a time: write one such as 2026-11-21T03:00:00Z, or 6h for six hours ago");
    if let Ok(ago) = units::duration(text) {
        let time = SystemTime::now().checked_sub(ago).filter(|time| *time >= SystemTime::UNIX_EPOCH);
        return time.ok_or_else(wrong);
    }
    let time: Timestamp = text.trim().parse().map_err(|_| wrong())?;
    let since_1970 = u64::try_from(time.as_millisecond()).map_err(|_| wrong())?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(since_1970)).ok_or_else(wrong)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_messages_a_second() {
        assert_eq!((rate("20/s"), rate("7")), (Ok(20), Ok(7)));
        for wrong in ["", "0", "0/s", "-1/s", "20/m", "1.5/s", "20 msgs", "99999999999/s"] {
            assert!(rate(wrong).unwrap_err().contains("20/s"), "{wrong}");
        }
    }

    #[test]
    fn a_time_is_one_of_the_day_or_how_long_ago() {
        let at = |text| time(text).unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
        assert_eq!(at("2026-11-21T03:12:45.003Z"), 1_795_230_765_003);
        assert_eq!(at("2026-11-21T04:12:45+01:00"), 1_795_230_765_000);
        let ago = SystemTime::now().duration_since(time("6h").unwrap()).unwrap().as_secs();
        assert!((21_599..21_660).contains(&ago), "{ago}");
        for wrong in ["", "yesterday", "2026-11-21", "1960-01-01T00:00:00Z", "99999999999d"] {
            assert!(time(wrong).unwrap_err().contains("6h for six hours ago"), "{wrong}");
        }
    }
}
