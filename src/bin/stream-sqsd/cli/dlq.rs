//! The arguments of `stream-sqsd dlq`, which has a verb for each thing that can be done with dead letters.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::config::settings::{Flags, OfDlq};
use crate::config::units;

pub(super) const DLQ_HELP: &str = "\
The dead-letter queue is the one that the redrive policy of the queue names, or that of --dlq-url. These commands work \
while the daemon runs: they open neither its journal nor its admin listener. SIGINT or SIGTERM gives back what is held, \
and the exit code is 130; a second one ends at once.

Examples:
  stream-sqsd dlq redrive --config stream-sqsd.toml";

/// How a rate is written.
const RATE: &str = "N/s";

#[derive(Debug, Args)]
pub(crate) struct DlqArguments {
    #[command(subcommand)]
    pub(crate) verb: DlqVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DlqVerb {
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

impl DlqPlace {
    /// The file that was named.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.config.as_deref()
    }
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
}
