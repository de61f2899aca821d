//! The arguments of `stream-sqsd setup`, which has a verb for what else can be done with the hooks of an app.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::config::settings::{Flags, OfSetup};

const SETUP_HELP: &str = "\
What is missing is made; what differs is shown, and changed only with --update. The configuration needs a section [stream] \
with the API key and secret of the app. No message is received, and no queue is deleted, ever. The hooks as they were are \
saved before they are changed.

The exit code is 0 when everything is as it should be, 1 when the hooks were read back otherwise or Stream cannot send, 2 \
when the configuration is wrong, 69 when SQS or Stream cannot be asked, 130 when a signal ended it.

The credentials need sqs:CreateQueue, sqs:SetQueueAttributes, sqs:GetQueueUrl and sqs:GetQueueAttributes.

Examples:
  stream-sqsd setup --config stream-sqsd.toml --dry-run
  stream-sqsd setup --config stream-sqsd.toml --webhook https://relay.example.com/webhooks/stream
  stream-sqsd setup hooks --config stream-sqsd.toml
  stream-sqsd setup print policy --config stream-sqsd.toml";

/// Make the queues, let Stream send to them, and add the event hook at Stream. Shows a plan and asks.
#[derive(Debug, Args)]
#[command(after_help = SETUP_HELP, args_conflicts_with_subcommands = true)]
pub(crate) struct SetupArguments {
    #[command(subcommand)]
    pub(crate) verb: Option<SetupVerb>,
    #[command(flatten)]
    pub(crate) plan: SetupPlan,
    #[command(flatten)]
    pub(crate) place: SetupPlace,
}

/// What may be done, and whether anyone is asked.
#[derive(Debug, Args)]
pub(crate) struct SetupPlan {
    /// Show the plan and do nothing.
    #[arg(long, conflicts_with = "yes")]
    pub(crate) dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Change what is there and differs, too.
    #[arg(long)]
    pub(crate) update: bool,
    /// For an app on Stream's old hook system: set its one SQS queue, which needs `auth = "keys"`.
    #[arg(long)]
    pub(crate) legacy: bool,
    /// Add the event hook for webhooks to this URL instead, as for `stream-sqsd relay`. Queues and permissions stay as they are.
    #[arg(long, value_name = "URL", conflicts_with = "legacy")]
    pub(crate) webhook: Option<String>,
}

/// Which queue and which app, by which configuration.
#[derive(Debug, Args)]
pub(crate) struct SetupPlace {
    /// The configuration file, in TOML, with a section [stream] [env: STREAM_SQSD_CONFIG; the whole file in one:
    /// STREAM_SQSD_CONFIG_TOML]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) settings: Flags<OfSetup>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SetupVerb {
    /// List the app's event hooks, without their secrets.
    Hooks(HooksArguments),
    /// Take this queue's event hook away. Never a queue, never a message.
    Remove(RemoveArguments),
    /// Put back a list of event hooks that an earlier change saved.
    Restore(RestoreArguments),
    /// Print what makes the queues, or what the daemon's role may do. Asks nobody.
    Print(PrintArguments),
}

#[derive(Debug, Args)]
pub(crate) struct HooksArguments {
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: SetupPlace,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveArguments {
    /// Take the hook for webhooks to this URL away instead.
    #[arg(long, value_name = "URL")]
    pub(crate) webhook: Option<String>,
    /// Which one, where several hooks send to the queue.
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// Show what would be done and do nothing.
    #[arg(long, conflicts_with = "yes")]
    pub(crate) dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) place: SetupPlace,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArguments {
    /// The file that `setup` named when it saved the hooks.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Show what would be done and do nothing.
    #[arg(long, conflicts_with = "yes")]
    pub(crate) dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) place: SetupPlace,
}

#[derive(Debug, Args)]
pub(crate) struct PrintArguments {
    /// What to print.
    pub(crate) what: PrintWhat,
    #[command(flatten)]
    pub(crate) place: SetupPlace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PrintWhat {
    /// Commands for the AWS CLI that make the queues.
    AwsCli,
    /// The IAM policy of the daemon's role, with what `stream-sqsd dlq` needs as its second statement.
    Policy,
}
