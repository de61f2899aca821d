//! `stream-sqsd decode`: SQS bodies in, the events that they hold out.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufWriter, StdoutLock, Write};
use std::path::PathBuf;

use clap::Args;
use serde_json::Value;
use stream_sqsd::decode::{DecodeError, JsonFault};
use stream_sqsd::event::{Event, is_unsafe_to_show};
use stream_sqsd::{decode, webhook};

use crate::config;
use crate::config::secret::show_variable;
use crate::config::settings::{Flags, OfDecode};
use crate::config::units::show_size;
use crate::daemon::signals::Signals;
use crate::terminal::exit::{Exit, Failure, not_printed, say};
use crate::terminal::input::{Input, MAX_PIECE, Piece, read_all, read_line};
use crate::terminal::json::{self, Colours};
use crate::terminal::screen::Screen;

const DECODE_HELP: &str = "\
On a terminal the JSON is indented and coloured; elsewhere each event is one line, in which line ends between JSON \
tokens have become spaces and nothing else has changed. A body that cannot be decoded is one line on standard error and \
makes the exit code 65; hints what it may be come at the end.

Examples:
  stream-sqsd decode body.txt
  aws sqs receive-message --queue-url URL | stream-sqsd decode --messages
  stream-sqsd decode --lines --type bodies.txt | sort | uniq -c
  stream-sqsd decode --webhook --signature HEX --secret-env STREAM_API_SECRET request.body";

/// Turn SQS bodies into the events that they hold.
#[derive(Debug, Args)]
#[command(after_help = DECODE_HELP)]
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

pub(crate) fn decode(arguments: DecodeArguments, signals: Signals) -> Result<Exit, Failure> {
    signals.end_at_once()?;
    let limit = config::of_decode(arguments.settings)?;
    let form = match (arguments.webhook, arguments.signature, arguments.secret_env) {
        (true, Some(signature), Some(variable)) => Form::Webhook { signature, secret: secret(&variable)? },
        _ => Form::Sqs { limit },
    };
    let screen = Screen::new();
    let layout = match screen.shows_stdout() {
        false => Layout::OneLine,
        true if screen.colours_stdout() => Layout::ForPeople(Colours::On),
        true => Layout::ForPeople(Colours::Off),
    };
    let mut output = Output {
        out: BufWriter::new(io::stdout().lock()),
        layout,
        print: match (arguments.only_type, arguments.typed) {
            (true, _) => Print::Type,
            (false, true) => Print::Typed,
            (false, false) => Print::Event,
        },
        form,
        counts: BTreeMap::new(),
        undecodable: 0,
        hints: BTreeSet::new(),
    };
    let mut unreadable = false;
    for input in arguments.files.iter().map(|path| Input::of(path)) {
        let read = input.open().map_err(Stop::Input).and_then(|mut reader| {
            if arguments.lines {
                lines(&input, &mut reader, &mut output)
            } else if arguments.messages {
                messages(&input, &mut reader, &mut output)
            } else {
                let piece = read_all(&mut reader).map_err(Stop::Input)?;
                output.file(&piece, &input.to_string())
            }
        });
        match read {
            Ok(()) => {}
            Err(Stop::Input(error)) => {
                if let Err(error) = output.flush() {
                    return not_printed(error).map(|()| Exit::Done);
                }
                say(&format!("cannot read {input}: {error}"));
                unreadable = true;
            }
            Err(Stop::Output(error)) => return not_printed(error).map(|()| Exit::Done),
        }
    }
    if let Err(error) = output.flush() {
        return not_printed(error).map(|()| Exit::Done);
    }
    output.print_hints();
    if arguments.lines || arguments.messages || arguments.files.len() > 1 {
        output.print_counts();
    }
    Ok(match (unreadable, output.undecodable) {
        (true, _) => Exit::NoInput,
        (false, 0) => Exit::Done,
        (false, _) => Exit::BadData,
    })
}

/// What ends the reading of one input, or of all of them.
enum Stop {
    Input(io::Error),
    Output(io::Error),
}

/// Each line is a body. Empty ones are none.
fn lines(input: &Input, reader: &mut impl BufRead, output: &mut Output) -> Result<(), Stop> {
    let mut number = 0_u64;
    while let Some(piece) = read_line(reader).map_err(Stop::Input)? {
        number += 1;
        if !matches!(&piece, Piece::Whole(line) if line.trim_ascii().is_empty()) {
            output.piece(&piece, &format!("{input}, line {number}"))?;
        }
    }
    Ok(())
}

/// The JSON that the AWS command line prints, once or several times: `{"Messages":[{"Body":"…",…},…]}`, the list alone
/// (`--query Messages`), or one message. When there is no message it prints nothing.
fn messages(input: &Input, reader: &mut impl BufRead, output: &mut Output) -> Result<(), Stop> {
    let Piece::Whole(bytes) = read_all(reader).map_err(Stop::Input)? else {
        return output.piece(&Piece::TooLarge, &input.to_string());
    };
    let mut number = 0_u64;
    for document in serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>() {
        let document = match document {
            Ok(document) => document,
            Err(error) => {
                let place = format!("line {}, column {}", error.line(), error.column());
                return output
                    .refuse("this is not the JSON of `aws sqs receive-message`", &format!("{input}, {place}"));
            }
        };
        let list = match document {
            Value::Array(list) => list,
            Value::Object(mut page) => match page.remove("Messages") {
                Some(Value::Array(list)) => list,
                Some(_) => Vec::new(),
                None => vec![Value::Object(page)],
            },
            _ => Vec::new(),
        };
        for message in list {
            number += 1;
            let id = message.get("MessageId").and_then(Value::as_str);
            let place = match id {
                Some(id) => format!("{input}, message {number}, {}", id.escape_debug()),
                None => format!("{input}, message {number}"),
            };
            match message.get("Body").and_then(Value::as_str) {
                Some(body) => output.body(body, &place)?,
                None => output.refuse("this message has no Body", &place)?,
            }
        }
    }
    Ok(())
}

/// The secret that signs webhooks.
fn secret(variable: &str) -> Result<String, Failure> {
    match std::env::var(variable) {
        Ok(secret) if !secret.is_empty() => Ok(secret),
        _ => Err(Failure::usage(format!("--secret-env: {} holds no secret", show_variable(variable)))),
    }
}

/// What the bodies are.
enum Form {
    Sqs { limit: usize },
    Webhook { signature: String, secret: String },
}

/// What is printed of an event.
#[derive(Clone, Copy, Debug)]
enum Print {
    Event,
    Type,
    /// The event as it is after parsing and writing it again.
    Typed,
}

/// How an event is laid out.
#[derive(Clone, Copy, Debug)]
enum Layout {
    OneLine,
    ForPeople(Colours),
}

impl Layout {
    fn of(self, json: &str) -> String {
        match self {
            Layout::OneLine => json::one_line(json),
            Layout::ForPeople(colours) => json::for_people(json, colours),
        }
    }
}

struct Output<'a> {
    out: BufWriter<StdoutLock<'a>>,
    layout: Layout,
    print: Print,
    form: Form,
    counts: BTreeMap<String, u64>,
    undecodable: u64,
    /// What is told at the end of bodies that are none: each thing once, however many there are.
    hints: BTreeSet<String>,
}

/// What a body may look like, for somebody who does not know.
const FORMS: &str = "a body is a JSON object, which begins with `{`; or base64 of one; or base64 of gzip of one; or an SNS \
                     envelope around any of these";

impl Output<'_> {
    /// A whole file as one body, which may turn out to be several.
    fn file(&mut self, piece: &Piece, place: &str) -> Result<(), Stop> {
        let before = self.undecodable;
        self.piece(piece, place)?;
        if self.undecodable > before
            && let (Piece::Whole(bytes), Form::Sqs { limit }) = (piece, &self.form)
            && let Some(flag) = flag_for(bytes, *limit)
        {
            let seems = match flag {
                Flag::Lines => format!("each line of {place} seems to be a body of its own"),
                Flag::Messages => format!("{place} looks like what `aws sqs receive-message` prints"),
            };
            self.hints.insert(format!("{seems}: try --{}", flag.name()));
        }
        Ok(())
    }

    /// One body as it was read. `place` says where it stood.
    fn piece(&mut self, piece: &Piece, place: &str) -> Result<(), Stop> {
        let Piece::Whole(bytes) = piece else {
            return self.refuse(&format!("too large: more than {}", show_size(MAX_PIECE)), place);
        };
        if let Form::Webhook { signature, secret } = &self.form {
            return match webhook::verify_and_parse(bytes, signature.trim(), secret) {
                Ok(event) => self.event(&event, place),
                Err(error) => self.refuse(&error.to_string(), place),
            };
        }
        match std::str::from_utf8(bytes) {
            Ok(body) => self.body(body, place),
            Err(_) if bytes.starts_with(&[0x1f, 0x8b]) => {
                self.refuse("invalid base64 encoding: this is gzip itself, and a body holds base64 of it", place)
            }
            Err(_) if bytes.trim_ascii_start().starts_with(b"{") => {
                self.refuse("invalid JSON payload: not valid UTF-8", place)
            }
            Err(_) => {
                self.hints.insert(FORMS.to_owned());
                self.refuse("invalid base64 encoding: it is not even text", place)
            }
        }
    }

    fn body(&mut self, body: &str, place: &str) -> Result<(), Stop> {
        let limit = match self.form {
            Form::Sqs { limit } => limit,
            Form::Webhook { .. } => decode::DEFAULT_LIMIT,
        };
        match decode::decode(body, limit) {
            Ok(event) => self.event(&event, place),
            Err(error) => {
                if matches!(error, DecodeError::Base64 | DecodeError::Json(JsonFault::Neither)) {
                    self.hints.insert(FORMS.to_owned());
                }
                self.refuse(&error.to_string(), place)
            }
        }
    }

    fn event(&mut self, event: &Event, place: &str) -> Result<(), Stop> {
        // A type is any text, and a line must stay a line.
        let name: String = event.kind().name().chars().flat_map(escaped).collect();
        let text = match self.print {
            Print::Type => name.clone(),
            Print::Event => self.layout.of(event.json()),
            Print::Typed => match event.payload().map(|payload| serde_json::to_string(&payload)) {
                Ok(Ok(json)) => self.layout.of(&json),
                Ok(Err(error)) => return self.refuse(&format!("{name} cannot be written: {error}"), place),
                Err(error) => return self.refuse(&format!("{name} does not fit its type: {error}"), place),
            },
        };
        self.print_line(&text).map_err(Stop::Output)?;
        *self.counts.entry(name).or_default() += 1;
        Ok(())
    }

    fn print_line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")?;
        match self.layout {
            Layout::OneLine => Ok(()),
            // A person may be waiting for it: the input can be a pipe that goes on.
            Layout::ForPeople(_) => self.out.flush(),
        }
    }

    /// Says why a body is none. What was decoded before it is written first, so that the two stay in order.
    fn refuse(&mut self, why: &str, place: &str) -> Result<(), Stop> {
        self.undecodable += 1;
        self.flush().map_err(Stop::Output)?;
        say(&format!("{why} ({place})"));
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn print_hints(&self) {
        self.hints.iter().for_each(|hint| say(&format!("hint: {hint}")));
    }

    fn print_counts(&self) {
        let mut counts: Vec<(&String, &u64)> = self.counts.iter().collect();
        counts.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
        for (name, count) in counts {
            say(&format!("{count:>8}  {name}"));
        }
        if self.undecodable > 0 {
            say(&format!("{:>8}  cannot be decoded", self.undecodable));
        }
    }
}

/// The flag that takes a file apart which is not one body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flag {
    Lines,
    Messages,
}

impl Flag {
    fn name(self) -> &'static str {
        match self {
            Flag::Lines => "lines",
            Flag::Messages => "messages",
        }
    }
}

/// With which flag a file that is not one body may be read.
fn flag_for(bytes: &[u8], limit: usize) -> Option<Flag> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    if let (Some(first), Some(_)) = (lines.next(), lines.next())
        && decode::decode(first, limit).is_ok()
    {
        return Some(Flag::Lines);
    }
    let messages = serde_json::from_str::<Value>(text).ok()?;
    messages.get("Messages").is_some_and(Value::is_array).then_some(Flag::Messages)
}

fn escaped(c: char) -> impl Iterator<Item = char> {
    let (plain, escaped) = if is_unsafe_to_show(c) { (None, Some(c.escape_default())) } else { (Some(c), None) };
    plain.into_iter().chain(escaped.into_iter().flatten())
}
