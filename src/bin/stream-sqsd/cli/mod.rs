//! The command line: what can be asked for, and the help that says so. What the answers mean is the subcommands'.

pub(crate) mod dlq;

use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use self::dlq::{DLQ_HELP, DlqArguments, REPLAY_HELP, ReplayArguments};
use crate::config::diagnostics::nearest;
use crate::config::settings::{Flags, OfDecode, OfDemo, OfRelay, OfRun, OfSend};

/// How a configuration file is called unless somebody says otherwise. It is read only where it is named.
pub(crate) const DEFAULT_FILE: &str = "stream-sqsd.toml";

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    a check has found something that loses or delays messages, the daemon is not healthy, or a dead letter has
       failed again
  2    the arguments are wrong, or the configuration is wrong, or cannot be read
  65   what was read cannot be decoded
  66   a file of bodies or events cannot be read
  69   what is needed is not available (queue, target, journal, reader, room behind standard output)
  70   what should not have happened: please report it
  129, 130, 143   ended at once by SIGHUP, SIGINT or SIGTERM; 130 also where `dlq` gave back what it held first";

#[derive(Debug, Parser)]
#[command(name = "stream-sqsd", version, after_help = EXIT_CODES, max_term_width = 110)]
/// Consumes the events that Stream (getstream.io) sends to Amazon SQS.
///
/// Each message is decoded and handled; it is deleted when it was handled, and stays for another try, and in the end for
/// the dead-letter queue, when it was not.
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Consume a queue. Without a configuration, events go to standard output, one JSON line each.
    #[command(after_help = RUN_HELP)]
    Run(RunArguments),
    /// Receive Stream's webhooks by HTTP, verify them, and put them into the queue.
    #[command(after_help = RELAY_HELP)]
    Relay(RelayArguments),
    /// Ask the daemon of the same configuration whether it is alive: for health checks of containers.
    #[command(after_help = HEALTH_HELP)]
    Health(HealthArguments),
    /// Watch the engine at work, with a queue in memory: needs no network and no account.
    #[command(after_help = DEMO_HELP)]
    Demo(DemoArguments),
    /// Turn SQS bodies into the events that they hold.
    #[command(after_help = DECODE_HELP)]
    Decode(DecodeArguments),
    /// Send events to a queue, as Stream would.
    #[command(after_help = SEND_HELP)]
    Send(SendArguments),
    /// Look at what is in the dead-letter queue, and handle it.
    #[command(after_help = DLQ_HELP)]
    Dlq(DlqArguments),
    /// Handle the events of exports and of archives by the configured routes, without a queue.
    #[command(after_help = REPLAY_HELP)]
    Replay(ReplayArguments),
    /// Check a configuration, and with --online the queue too.
    #[command(after_help = CHECK_HELP)]
    Check(CheckArguments),
    /// Make the queues, let Stream send to them, and add the event hook at Stream. Shows a plan and asks.
    #[command(after_help = SETUP_HELP, args_conflicts_with_subcommands = true)]
    Setup(SetupArguments),
    /// Write a commented configuration file to start from.
    Init(InitArguments),
    /// Make the tables that the configuration's routes to PostgreSQL write to. What is there already stays.
    InitPostgres(InitPostgresArguments),
    /// List the event types that this version knows, with their products and fields.
    #[command(after_help = EVENTS_HELP)]
    Events(EventsArguments),
    /// Print what completes this command line in a shell.
    #[command(after_help = COMPLETIONS_HELP)]
    Completions(CompletionsArguments),
}

const RUN_HELP: &str = "\
Credentials and region come from where they always come from on AWS: environment, profile, SSO, or the role of the \
task or the machine. The role needs sqs:ReceiveMessage, sqs:DeleteMessage and sqs:ChangeMessageVisibility, and should \
have sqs:GetQueueAttributes.

SIGTERM or SIGINT drains: what is at work is finished or returned, and the exit code is 0. A second one ends at once.
A reader of standard output that goes away while messages wait drains too, and the exit code is 69.
With --until-empty, a run in which nothing succeeds for 15 minutes returns what it holds, and the exit code is 69.

Examples:
  stream-sqsd run --queue-url https://sqs.us-east-1.amazonaws.com/123456789012/chat-events
  stream-sqsd run --queue-url http://127.0.0.1:4566/000000000000/chat-events --until-empty
  stream-sqsd run stream-sqsd.toml";

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    pub(crate) config: ConfigArguments,
    #[command(flatten)]
    pub(crate) settings: Flags<OfRun>,
}

/// Which configuration.
#[derive(Debug, Args)]
pub(crate) struct ConfigArguments {
    /// The configuration file, in TOML. Flags and environment variables beat what it says [env: STREAM_SQSD_CONFIG; the
    /// whole file in one: STREAM_SQSD_CONFIG_TOML]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The same as --config FILE.
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
}

impl ConfigArguments {
    /// The file that was named, by the flag or without it.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.config.as_deref().or(self.file.as_deref())
    }
}

const RELAY_HELP: &str = "\
The endpoint is configured in the section [relay], and the app whose signatures are right there or in [stream]. An answer of \
200 means that SQS has the event, or that it is fsynced in the spool. While SQS is out of reach and there is no spool, events \
are answered 503 and Stream tries them again. It starts whether or not SQS can be reached.

The role needs sqs:SendMessage, and sqs:GetQueueUrl for a queue that is named by its name.

SIGTERM or SIGINT ends it: no connection is accepted any more, what is in flight is answered, what is in the spool stays \
there for the next start, and the exit code is 0. A second signal ends at once.

Beside a daemon on the same machine one of the two needs another --admin address.

Examples:
  stream-sqsd relay --config stream-sqsd.toml
  stream-sqsd check --online stream-sqsd.toml";

#[derive(Debug, Args)]
pub(crate) struct RelayArguments {
    #[command(flatten)]
    pub(crate) config: ConfigArguments,
    #[command(flatten)]
    pub(crate) settings: Flags<OfRelay>,
}

const HEALTH_HELP: &str = "\
The exit code is 0 when it is alive, also when it is draining or its target is down, and 1 when it is not, when it \
consumes another queue, or when nobody answers at the address of --admin.";

#[derive(Debug, Args)]
pub(crate) struct HealthArguments {
    #[command(flatten)]
    pub(crate) config: ConfigArguments,
    #[command(flatten)]
    pub(crate) settings: Flags<OfRun>,
}

const CHECK_HELP: &str = "\
The exit code is 0 when nothing was found or advice only, 1 when something loses or delays messages, 2 when the \
configuration is wrong, 69 when the queue cannot be asked. Nothing is ever changed. A secret that is not here is only \
warned of.

Examples:
  stream-sqsd check stream-sqsd.toml
  stream-sqsd check --online --queue-url URL --json";

#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    #[command(flatten)]
    pub(crate) config: ConfigArguments,
    /// Read the queue's attributes and judge them, and try what the daemon is allowed to do.
    #[arg(long)]
    pub(crate) online: bool,
    /// Try to receive as well, which costs one message one of its receives.
    #[arg(long, requires = "online")]
    pub(crate) receive: bool,
    /// Print what was found as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) settings: Flags<OfRun>,
}

const SETUP_HELP: &str = "\
What is missing is made; what differs is shown, and changed only with --update. The configuration needs a section [stream] \
with the API key and secret of the app. No message is received, and no queue is deleted, ever. The hooks as they were are \
saved before they are changed.

The exit code is 0 when everything is as it should be, 1 when the hooks were read back otherwise or Stream cannot send, 2 \
when the configuration is wrong, 69 when SQS or Stream cannot be asked, 130 when a signal ended it.

The credentials need sqs:CreateQueue, sqs:SetQueueAttributes, sqs:GetQueueUrl and sqs:GetQueueAttributes.

Examples:
  stream-sqsd setup --config stream-sqsd.toml --dry-run
  stream-sqsd setup hooks --config stream-sqsd.toml
  stream-sqsd setup print policy --config stream-sqsd.toml";

#[derive(Debug, Args)]
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
}

/// Which queue and which app, by which configuration.
#[derive(Debug, Args)]
pub(crate) struct SetupPlace {
    /// The configuration file, in TOML, with a section [stream] [env: STREAM_SQSD_CONFIG; the whole file in one:
    /// STREAM_SQSD_CONFIG_TOML]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) settings: Flags<OfRun>,
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

#[derive(Debug, Args)]
pub(crate) struct InitArguments {
    /// The file to write, which must not be there yet; `-` is standard output.
    #[arg(default_value = DEFAULT_FILE)]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct InitPostgresArguments {
    #[command(flatten)]
    pub(crate) config: ConfigArguments,
    /// Print the statements instead, for anyone who may run them.
    #[arg(long)]
    pub(crate) print: bool,
    #[command(flatten)]
    pub(crate) settings: Flags<OfRun>,
}

const DEMO_HELP: &str = "\
The queue is filled with sample events in every form in which Stream's events arrive. One of them cannot be decoded, the \
handler of one fails twice and then succeeds, and the handler of one always fails; retry delays are short. Events go to \
standard output, a short line each on a terminal and JSON lines elsewhere, the log to standard error, and the shutdown \
summary and what the queue knows come at the end.

Example:
  stream-sqsd demo > events.jsonl";

#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// How many messages are sent.
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) messages: u32,
    #[command(flatten)]
    pub(crate) settings: Flags<OfDemo>,
}

const EVENTS_HELP: &str = "\
A pattern is one type (message.new), all below a dot (message.*), or * for all.

Example:
  stream-sqsd events 'reaction.*'";

#[derive(Debug, Args)]
pub(crate) struct EventsArguments {
    /// Which types; a single one is listed with its fields and theirs.
    #[arg(default_value = "*", hide_default_value = true)]
    pub(crate) pattern: String,
}

const COMPLETIONS_HELP: &str = "\
The Debian package brings them for bash, fish and zsh.

Example:
  stream-sqsd completions bash > ~/.local/share/bash-completion/completions/stream-sqsd";

#[derive(Debug, Args)]
pub(crate) struct CompletionsArguments {
    /// The shell.
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

const DECODE_HELP: &str = "\
On a terminal the JSON is indented and coloured; elsewhere each event is one line, in which line ends between JSON \
tokens have become spaces and nothing else has changed. A body that cannot be decoded is one line on standard error and \
makes the exit code 65; hints what it may be come at the end.

Examples:
  stream-sqsd decode body.txt
  aws sqs receive-message --queue-url URL | stream-sqsd decode --messages
  stream-sqsd decode --lines --type bodies.txt | sort | uniq -c
  stream-sqsd decode --webhook --signature HEX --secret-env STREAM_API_SECRET request.body";

#[derive(Debug, Args)]
pub(crate) struct DecodeArguments {
    /// What to read: each FILE is one body, line breaks included; `-` is standard input.
    #[arg(value_name = "FILE", default_value = "-", hide_default_value = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Take each line as one body.
    #[arg(long)]
    pub(crate) lines: bool,
    /// Take the JSON that `aws sqs receive-message` prints.
    #[arg(long, conflicts_with = "lines")]
    pub(crate) messages: bool,
    /// Print the type of each event alone.
    #[arg(long = "type", conflicts_with = "typed")]
    pub(crate) only_type: bool,
    /// Print each event as it is after parsing it into its type and writing it again.
    #[arg(long)]
    pub(crate) typed: bool,
    /// Take each FILE as the body of an HTTP webhook, and verify its signature.
    #[arg(long, conflicts_with_all = ["lines", "messages", "inflate-limit"], requires_all = ["signature", "secret_env"])]
    pub(crate) webhook: bool,
    /// The header X-Signature that came with the webhook.
    #[arg(long, value_name = "HEX", requires = "webhook")]
    pub(crate) signature: Option<String>,
    /// The environment variable that holds the app's API secret.
    #[arg(long, value_name = "NAME", requires = "webhook")]
    pub(crate) secret_env: Option<String>,
    #[command(flatten)]
    pub(crate) settings: Flags<OfDecode>,
}

const SEND_HELP: &str = "\
An event is a JSON object; a file holds one or many, one after the other, as JSON lines do. To a FIFO queue each is sent \
under its channel (`cid`) as the message group.

Examples:
  stream-sqsd send --queue-url URL event.json
  stream-sqsd send --queue-url URL --encoding gzip < events.jsonl";

#[derive(Debug, Args)]
pub(crate) struct SendArguments {
    /// What to read: JSON objects; `-` is standard input.
    #[arg(value_name = "FILE", default_value = "-", hide_default_value = true)]
    pub(crate) files: Vec<PathBuf>,
    /// The form of the bodies.
    #[arg(long, value_enum, default_value_t = Encoding::Plain)]
    pub(crate) encoding: Encoding,
    #[command(flatten)]
    pub(crate) settings: Flags<OfSend>,
}

/// The form of a body: those in which Stream's events arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Encoding {
    /// The JSON itself, as with compression off, and for small events
    Plain,
    /// Base64 of the JSON
    Base64,
    /// Base64 of gzip of the JSON, with message attributes that say so, as with compression on
    Gzip,
    /// The JSON in the envelope of an SNS notification
    Sns,
}

/// Reads the command line. Ends the process with its help, or with code 2 and what is wrong with it.
pub(crate) fn parse() -> Command {
    match CommandLine::try_parse() {
        Ok(line) => line.command,
        Err(error) => with_suggestion(error).exit(),
    }
}

/// Names the subcommand that was probably meant, where clap itself knows none: it takes no short word for a misspelt one.
fn with_suggestion(mut error: clap::Error) -> clap::Error {
    let Some(ContextValue::String(written)) = error.get(ContextKind::InvalidSubcommand) else { return error };
    let definition = definition();
    let known = definition.get_subcommands().filter(|command| !command.is_hide_set()).map(clap::Command::get_name);
    if error.get(ContextKind::SuggestedSubcommand).is_none()
        && let Some(meant) = nearest(written, known)
    {
        let meant = ContextValue::Strings(vec![meant.to_owned()]);
        error.insert(ContextKind::SuggestedSubcommand, meant);
    }
    error
}

/// The definition of the command line, for who describes it.
pub(crate) fn definition() -> clap::Command {
    CommandLine::command()
}
