//! Every setting of the daemon, once: its names as flag, environment variable and key of the file, its default, and what
//! it is for.
//!
//! A new setting is one row here, and the place that reads it: the flags of the subcommands, their help, the environment,
//! the keys that a file may have and the reference in the documentation all come from this table. What the values mean
//! is read in [`config`](crate::config).

use std::collections::BTreeMap;
use std::marker::PhantomData;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use crate::config::diagnostics::Origin;

/// One setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The flag without its hyphens.
    pub(crate) flag: &'static str,
    /// Where it stands in the file: the section, empty for the top, and the key.
    pub(crate) file: (&'static str, &'static str),
    /// What stands for the value in the help. With a comma it is a list, which the file writes in brackets.
    pub(crate) value: &'static str,
    /// The values that are allowed, where they can be listed.
    pub(crate) choices: &'static [&'static str],
    /// What holds where nothing is set.
    pub(crate) default: Unset,
    /// What it is for, its limits and its unit. One paragraph.
    pub(crate) help: &'static str,
}

/// What holds where a setting is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unset {
    /// This value, as it could have been written.
    Value(&'static str),
    /// What these words say.
    Words(&'static str),
}

macro_rules! settings {
    ($( $(#[doc = $what:literal])+ $name:ident = $setting:expr; )+) => {
        $( $(#[doc = $what])+ pub(crate) const $name: Setting = $setting; )+

        /// All of them, in the order in which they are explained.
        pub(crate) const ALL: &[&Setting] = &[$(&$name),+];
    };
}

settings! {
    /// The queue by its URL.
    QUEUE_URL = Setting {
        flag: "queue-url",
        file: ("queue", "url"),
        value: "URL",
        choices: &[],
        default: Unset::Words(""),
        help: "The queue, by its URL. The region in the URL beats AWS_REGION and profiles",
    };

    /// The queue by its name.
    QUEUE_NAME = Setting {
        flag: "queue-name",
        file: ("queue", "name"),
        value: "NAME",
        choices: &[],
        default: Unset::Words(""),
        help: "The queue, by its name instead of its URL. Needs the permission sqs:GetQueueUrl",
    };

    /// The account of a queue that is given by name.
    QUEUE_ACCOUNT = Setting {
        flag: "queue-account",
        file: ("queue", "account"),
        value: "ACCOUNT",
        choices: &[],
        default: Unset::Words("the account of the credentials"),
        help: "The AWS account, twelve digits, of a queue that is given by its name and belongs to another account",
    };

    /// The region.
    REGION = Setting {
        flag: "region",
        file: ("queue", "region"),
        value: "REGION",
        choices: &[],
        default: Unset::Words("the URL's, AWS_REGION, the profile's, the machine's"),
        help: "The AWS region of the queue, such as us-east-1. Refused where the queue URL says another",
    };

    /// The profile of the shared AWS configuration.
    PROFILE = Setting {
        flag: "profile",
        file: ("queue", "profile"),
        value: "NAME",
        choices: &[],
        default: Unset::Words("AWS_PROFILE"),
        help: "The profile of ~/.aws/config and ~/.aws/credentials to take credentials and region from",
    };

    /// The endpoint.
    ENDPOINT_URL = Setting {
        flag: "endpoint-url",
        file: ("queue", "endpoint_url"),
        value: "URL",
        choices: &[],
        default: Unset::Words("AWS_ENDPOINT_URL_SQS, AWS_ENDPOINT_URL, the region's own"),
        help: "Where to reach SQS, for LocalStack and the like: http://127.0.0.1:4566",
    };

    /// The client that receives and deletes.
    CLIENT = Setting {
        flag: "client",
        file: ("queue", "client"),
        value: "CLIENT",
        choices: &["auto", "sdk"],
        default: Unset::Value("auto"),
        help: "For support: what receives and deletes. `auto` is a client of the daemon's own, which takes less CPU, and \
               the AWS SDK where that fails; `sdk` is the AWS SDK alone",
    };

    /// The wait of a receive.
    WAIT = Setting {
        flag: "wait",
        file: ("queue", "wait"),
        value: "TIME",
        choices: &[],
        default: Unset::Value("20s"),
        help: "How long one receive waits for a message: whole seconds, 0s to 20s. A shorter wait costs more requests. \
               Since a drain waits for the open receive, `run` on a terminal takes 2s unless this is set, so that \
               Ctrl-C ends it soon",
    };

    /// The visibility timeout.
    VISIBILITY = Setting {
        flag: "visibility",
        file: ("queue", "visibility"),
        value: "TIME",
        choices: &[],
        default: Unset::Words("the queue's own, or 60s when it may not be read"),
        help: "For how long a received message is hidden from others: whole seconds, 2s to 12h. It is renewed while a \
               handler works, so it need not be long",
    };

    /// The slots.
    CONCURRENCY = Setting {
        flag: "concurrency",
        file: ("", "concurrency"),
        value: "NUMBER",
        choices: &[],
        default: Unset::Value("64"),
        help: "How many handlers are called at the same time, at the most; 1 to 120,000. Up to ten times as many \
               messages are held beyond them while their target is busy or down",
    };

    /// The byte budget.
    MAX_IN_FLIGHT_BYTES = Setting {
        flag: "max-in-flight-bytes",
        file: ("", "max_in_flight_bytes"),
        value: "SIZE",
        choices: &[],
        default: Unset::Value("256MiB"),
        help: "How many bytes of messages are held at the same time, at the most, inflated bytes included. With what \
               handlers copy of them and all else, the process takes up to a quarter more and 50 MiB: 370 MiB of \
               memory at the default. One message always goes on, however large",
    };

    /// The time limit of a handler.
    HANDLER_TIMEOUT = Setting {
        flag: "handler-timeout",
        file: ("", "handler_timeout"),
        value: "TIME",
        choices: &[],
        default: Unset::Value("30s"),
        help: "How long the handler may work on one message; more than 0s, at most 12h. What takes longer has failed \
               this time",
    };

    /// The grace of a drain.
    GRACE = Setting {
        flag: "grace",
        file: ("", "grace"),
        value: "TIME",
        choices: &[],
        default: Unset::Value("25s"),
        help: "How long a drain may take; at least wait and 2s more, and less than what the supervisor allows before \
               it kills",
    };

    /// The limit of inflation.
    INFLATE_LIMIT = Setting {
        flag: "inflate-limit",
        file: ("", "inflate_limit"),
        value: "SIZE",
        choices: &[],
        default: Unset::Value("16MiB"),
        help: "How many bytes one body may decode to. What is larger is never deleted, but left for the dead-letter \
               queue",
    };

    /// What becomes of events that no route takes.
    UNROUTED = Setting {
        flag: "unrouted",
        file: ("", "unrouted"),
        value: "WHAT",
        choices: &["ack", "leave"],
        default: Unset::Value("ack"),
        help: "What becomes of an event that no route takes: `ack` deletes it and counts it, `leave` leaves it in the \
               queue",
    };

    /// Whether to end with the queue.
    UNTIL_EMPTY = Setting {
        flag: "until-empty",
        file: ("", "until_empty"),
        value: "",
        choices: &["true", "false"],
        default: Unset::Value("false"),
        help: "End when the queue is empty: after a full wait that brought nothing, with nothing at work. Messages \
               that a retry delay hides for longer stay, and the summary names them",
    };

    /// How often the head of a FIFO group is tried.
    FIFO_ATTEMPTS = Setting {
        flag: "fifo-attempts",
        file: ("", "fifo_attempts"),
        value: "NUMBER",
        choices: &[],
        default: Unset::Words("the receives that are left before the dead-letter queue, or 5 when unknown"),
        help: "FIFO queues: how often a failing message is tried in this process before it and what is held behind it \
               are returned; at least 1",
    };

    /// The memory of successes on disk.
    JOURNAL = Setting {
        flag: "journal",
        file: ("", "journal"),
        value: "PATH",
        choices: &[],
        default: Unset::Words("in memory only"),
        help: "Where to remember which messages were handled, so that a repeat is deleted without handling it again \
               even after a crash. It helps only where the same daemon gets the repeat; each daemon needs a file of \
               its own. A success waits a second for it at the most, and damage in it never refuses a start",
    };

    /// The form of the log.
    LOG_FORMAT = Setting {
        flag: "log-format",
        file: ("", "log_format"),
        value: "FORM",
        choices: &["auto", "human", "json"],
        default: Unset::Value("auto"),
        help: "The form of the log on standard error: `auto` is human on a terminal and JSON elsewhere. RUST_LOG says \
               how much is logged, such as RUST_LOG=debug. Nobody waits for standard error: lines that it does not \
               take are dropped and counted, those of errors last",
    };

    /// Where the operator watches.
    ADMIN = Setting {
        flag: "admin",
        file: ("admin", "listen"),
        value: "ADDRESS",
        choices: &[],
        default: Unset::Value("127.0.0.1:9464"),
        help: "Where metrics, health, status and the page for people are served: an address with its port, or `none`. \
               When the default is taken, the daemon runs without; an address that is named must be free",
    };

    /// By which names the operator's tools may ask.
    ADMIN_HOSTS = Setting {
        flag: "admin-hosts",
        file: ("admin", "hosts"),
        value: "NAME,…",
        choices: &[],
        default: Unset::Words("none"),
        help: "By which names with a dot in them the address of `admin` may be asked, as a list in the file and with \
               commas elsewhere. IP addresses, `localhost` and other names without a dot always may; a request by any \
               other name is answered 421, so that no web page can read the status by pointing a name of its own here",
    };

    /// Where it is kept why messages were dead-lettered.
    DEAD_LETTERS_REASONS = Setting {
        flag: "dead-letters-reasons",
        file: ("dead_letters", "reasons"),
        value: "PATH",
        choices: &[],
        default: Unset::Words("in the log only"),
        help: "A file for the records that say why messages were dead-lettered, a JSON line each, as they stand in the \
               log too. Only its owner may read it; it is rotated at 16 MiB, and four files are kept (PATH, PATH.1 to \
               PATH.3). Nobody waits for its disk: what it does not take is dropped and counted. Each daemon needs a \
               file of its own",
    };
}

/// What holds for [`WAIT`] in a run whose standard error is a terminal.
pub(crate) const WAIT_AT_A_TERMINAL: &str = "2s";

impl Setting {
    /// The name of its environment variable.
    pub(crate) fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.flag.replace('-', "_").to_ascii_uppercase())
    }

    /// Whether it is a list.
    pub(crate) fn is_list(&self) -> bool {
        self.value.contains(',')
    }

    fn argument(&'static self) -> Arg {
        let default = match self.default {
            Unset::Value("false") | Unset::Words("") => String::new(),
            Unset::Value(text) | Unset::Words(text) => format!(" [default: {text}]"),
        };
        let argument = Arg::new(self.flag)
            .long(self.flag)
            .help(format!("{}{default} [env: {}]", self.help, self.variable()))
            .help_heading(if self.file.0 == "queue" { "The queue" } else { "Settings" });
        let argument = match self.choices {
            [] => argument,
            choices => argument.value_parser(PossibleValuesParser::new(choices)).hide_possible_values(true),
        };
        match self.value {
            "" => argument.value_name("true|false").num_args(0..=1).require_equals(true).default_missing_value("true"),
            value => argument.value_name(value),
        }
    }
}

/// What the names of all our environment variables begin with.
pub(crate) const VARIABLE_PREFIX: &str = "STREAM_SQSD_";

/// The settings that a subcommand knows.
pub(crate) trait Group: Clone + Send + Sync + 'static {
    const SETTINGS: &'static [&'static Setting];
}

/// The settings of a run.
#[derive(Clone, Debug)]
pub(crate) struct OfRun;

impl Group for OfRun {
    const SETTINGS: &'static [&'static Setting] = ALL;
}

/// The settings of what sends to the queue.
#[derive(Clone, Debug)]
pub(crate) struct OfSend;

impl Group for OfSend {
    const SETTINGS: &'static [&'static Setting] =
        &[&QUEUE_URL, &QUEUE_NAME, &QUEUE_ACCOUNT, &REGION, &PROFILE, &ENDPOINT_URL, &LOG_FORMAT];
}

/// The settings of what connects Stream to the queue.
#[derive(Clone, Debug)]
pub(crate) struct OfSetup;

impl Group for OfSetup {
    const SETTINGS: &'static [&'static Setting] = OfSend::SETTINGS;
}

/// The settings of a relay.
#[derive(Clone, Debug)]
pub(crate) struct OfRelay;

impl Group for OfRelay {
    const SETTINGS: &'static [&'static Setting] = &[
        &QUEUE_URL,
        &QUEUE_NAME,
        &QUEUE_ACCOUNT,
        &REGION,
        &PROFILE,
        &ENDPOINT_URL,
        &GRACE,
        &LOG_FORMAT,
        &ADMIN,
        &ADMIN_HOSTS,
    ];
}

/// The settings of what looks at dead letters and handles them: those of a run, but for what belongs to the daemon alone.
#[derive(Clone, Debug)]
pub(crate) struct OfDlq;

impl Group for OfDlq {
    const SETTINGS: &'static [&'static Setting] = &[
        &QUEUE_URL,
        &QUEUE_NAME,
        &QUEUE_ACCOUNT,
        &REGION,
        &PROFILE,
        &ENDPOINT_URL,
        &CLIENT,
        &CONCURRENCY,
        &MAX_IN_FLIGHT_BYTES,
        &HANDLER_TIMEOUT,
        &INFLATE_LIMIT,
        &LOG_FORMAT,
        &DEAD_LETTERS_REASONS,
    ];
}

/// The settings of what handles events without a queue.
#[derive(Clone, Debug)]
pub(crate) struct OfReplay;

impl Group for OfReplay {
    const SETTINGS: &'static [&'static Setting] =
        &[&CONCURRENCY, &MAX_IN_FLIGHT_BYTES, &HANDLER_TIMEOUT, &INFLATE_LIMIT, &LOG_FORMAT];
}

/// The settings of the demo.
#[derive(Clone, Debug)]
pub(crate) struct OfDemo;

impl Group for OfDemo {
    const SETTINGS: &'static [&'static Setting] = &[&LOG_FORMAT];
}

/// The settings of what decodes bodies.
#[derive(Clone, Debug)]
pub(crate) struct OfDecode;

impl Group for OfDecode {
    const SETTINGS: &'static [&'static Setting] = &[&INFLATE_LIMIT];
}

/// The settings that were given as flags.
#[derive(Clone, Debug)]
pub(crate) struct Flags<G> {
    given: Given,
    group: PhantomData<G>,
}

impl<G: Group> Args for Flags<G> {
    fn augment_args(command: Command) -> Command {
        command.args(G::SETTINGS.iter().map(|setting| setting.argument()))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<G: Group> FromArgMatches for Flags<G> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given = Given::default();
        for setting in G::SETTINGS {
            if let Some(text) = matches.get_one::<String>(setting.flag) {
                given.add(setting, Value { text: text.clone(), origin: Origin::Flag(setting.flag) });
            }
        }
        Ok(Flags { given, group: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<G: Group> Flags<G> {
    /// The same, with another default for a setting, which every layer beats.
    pub(crate) fn unless_set(mut self, setting: &Setting, value: &'static str) -> Self {
        self.given.unset.insert(setting.flag, value);
        self
    }

    /// The flags, and under them the environment. A variable that is empty counts as not set.
    pub(crate) fn with_environment(self) -> Given {
        let mut given = self.given;
        for setting in G::SETTINGS {
            let name = setting.variable();
            if let Some(text) = std::env::var_os(&name).filter(|text| !text.is_empty()) {
                let origin = Origin::Environment(name);
                given.add(setting, Value { text: text.to_string_lossy().into_owned(), origin });
            }
        }
        given
    }
}

/// What was given for each setting: raw text and where it came from. The first layer that gives a value has it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    values: BTreeMap<&'static str, Value>,
    /// What holds here instead of the default of the table.
    unset: BTreeMap<&'static str, &'static str>,
}

/// The text of a setting, and where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) text: String,
    pub(crate) origin: Origin,
}

impl Given {
    /// Adds a value of a lower layer: one that is there already stays.
    pub(crate) fn add(&mut self, setting: &'static Setting, value: Value) {
        self.values.entry(setting.flag).or_insert(value);
    }

    pub(crate) fn get(&self, setting: &Setting) -> Option<&Value> {
        self.values.get(setting.flag)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Value> {
        self.values.values()
    }

    /// What holds for a setting that no layer gives.
    pub(crate) fn unset(&self, setting: &Setting) -> Unset {
        self.unset.get(setting.flag).map_or(setting.default, |text| Unset::Value(text))
    }
}
