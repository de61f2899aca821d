//! `stream-sqsd decode`: SQS bodies in, the events that they hold out.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufWriter, ErrorKind, StdoutLock, Write};

use serde_json::Value;
use stream_sqsd::decode;
use stream_sqsd::event::Event;

use crate::cli::DecodeArguments;
use crate::config;
use crate::exit::{Exit, Failure, say};
use crate::input::{Input, MAX_PIECE, Piece, read_all, read_line};
use crate::json::{self, Colours};
use crate::quantity::show_size;
use crate::screen::Screen;

pub(crate) fn decode(arguments: DecodeArguments) -> Result<Exit, Failure> {
    let limit = config::of_decode(arguments.settings)?;
    let screen = Screen::new();
    let layout = match screen.shows_stdout() {
        false => Layout::OneLine,
        true if screen.colours_stdout() => Layout::ForPeople(Colours::On),
        true => Layout::ForPeople(Colours::Off),
    };
    let mut output = Output {
        out: BufWriter::new(io::stdout().lock()),
        layout,
        only_type: arguments.only_type,
        limit,
        counts: BTreeMap::new(),
        undecodable: 0,
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
                output.piece(piece, &input.to_string())
            }
        });
        match read {
            Ok(()) => {}
            Err(Stop::Input(error)) => {
                if let Err(error) = output.flush() {
                    return output_failed(error);
                }
                say(&format!("cannot read {input}: {error}"));
                unreadable = true;
            }
            Err(Stop::Output(error)) => return output_failed(error),
        }
    }
    if let Err(error) = output.flush() {
        return output_failed(error);
    }
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

/// A reader that has seen enough (`decode | head`) is no failure.
fn output_failed(error: io::Error) -> Result<Exit, Failure> {
    match error.kind() {
        ErrorKind::BrokenPipe => Ok(Exit::Done),
        _ => Err(Failure::internal(anyhow::Error::new(error).context("cannot write to standard output"))),
    }
}

/// Each line is a body. Empty ones are none.
fn lines(input: &Input, reader: &mut impl BufRead, output: &mut Output) -> Result<(), Stop> {
    let mut number = 0_u64;
    while let Some(piece) = read_line(reader).map_err(Stop::Input)? {
        number += 1;
        if !matches!(&piece, Piece::Whole(line) if line.trim_ascii().is_empty()) {
            output.piece(piece, &format!("{input}, line {number}"))?;
        }
    }
    Ok(())
}

/// The JSON that the AWS command line prints, once or several times: `{"Messages":[{"Body":"…",…},…]}`, the list alone
/// (`--query Messages`), or one message. When there is no message it prints nothing.
fn messages(input: &Input, reader: &mut impl BufRead, output: &mut Output) -> Result<(), Stop> {
    let Piece::Whole(bytes) = read_all(reader).map_err(Stop::Input)? else {
        return output.piece(Piece::TooLarge, &input.to_string());
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

/// How an event is laid out.
#[derive(Clone, Copy, Debug)]
enum Layout {
    OneLine,
    ForPeople(Colours),
}

struct Output<'a> {
    out: BufWriter<StdoutLock<'a>>,
    layout: Layout,
    only_type: bool,
    limit: usize,
    counts: BTreeMap<String, u64>,
    undecodable: u64,
}

impl Output<'_> {
    /// One body as it was read. `place` says where it stood.
    fn piece(&mut self, piece: Piece, place: &str) -> Result<(), Stop> {
        match piece {
            Piece::Whole(bytes) => match std::str::from_utf8(&bytes) {
                Ok(body) => self.body(body, place),
                Err(_) if bytes.starts_with(&[0x1f, 0x8b]) => {
                    self.refuse("invalid base64 encoding: this is gzip itself, and a body holds base64 of it", place)
                }
                Err(_) if bytes.trim_ascii_start().starts_with(b"{") => {
                    self.refuse("invalid JSON payload: it is not UTF-8", place)
                }
                Err(_) => self.refuse("invalid base64 encoding: it is not even text", place),
            },
            Piece::TooLarge => self.refuse(&format!("too large: more than {}", show_size(MAX_PIECE)), place),
        }
    }

    fn body(&mut self, body: &str, place: &str) -> Result<(), Stop> {
        match decode::decode(body, self.limit) {
            Ok(event) => self.event(&event).map_err(Stop::Output),
            Err(error) => self.refuse(&format!("{:#}", anyhow::Error::new(error)), place),
        }
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        // A type is any text, and a line must stay a line.
        let name: String = event.kind().name().chars().flat_map(escaped).collect();
        match (self.only_type, self.layout) {
            (true, _) => writeln!(self.out, "{name}")?,
            (false, Layout::OneLine) => writeln!(self.out, "{}", json::one_line(event.json()))?,
            (false, Layout::ForPeople(colours)) => {
                writeln!(self.out, "{}", json::for_people(event.json(), colours))?;
                // A person may be waiting for it: the input can be a pipe that goes on.
                self.out.flush()?;
            }
        }
        *self.counts.entry(name).or_default() += 1;
        Ok(())
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

fn escaped(c: char) -> impl Iterator<Item = char> {
    let (plain, escaped) = if c.is_control() { (None, Some(c.escape_default())) } else { (Some(c), None) };
    plain.into_iter().chain(escaped.into_iter().flatten())
}
