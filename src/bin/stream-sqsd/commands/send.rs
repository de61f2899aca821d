//! `stream-sqsd send`: sends events to a queue as Stream would, for trying out a consumer.
//!
//! A thread reads and encodes, a few batches at a time are under way, and every answer is read entry by entry.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, ValueEnum};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::{StreamExt, stream};
use serde_json::json;
use serde_json::value::RawValue;
use stream_sqsd::event::Event;
use stream_sqsd::queue::sqs::{Outgoing, SqsQueue, batches};
use stream_sqsd::queue::{BATCH, EntryError, QueueError, message_group};
use tokio::runtime::Builder;
use tokio::sync::mpsc;

use crate::commands::advice;
use crate::config;
use crate::config::settings::{Flags, OfSend};
use crate::config::units::show_size;
use crate::daemon::signals::Signals;
use crate::terminal::exit::{Exit, Failure, say};
use crate::terminal::input::{Input, MAX_PIECE};
use crate::terminal::log;
use crate::terminal::screen::Screen;

const SEND_HELP: &str = "\
An event is a JSON object; a file holds one or many, one after the other, as JSON lines do. To a FIFO queue each is sent \
under its channel (`cid`) as the message group.

Examples:
  stream-sqsd send --queue-url URL event.json
  stream-sqsd send --queue-url URL --encoding gzip < events.jsonl";

/// Send events to a queue, as Stream would.
#[derive(Debug, Args)]
#[command(after_help = SEND_HELP)]
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

/// How many batches are under way at the same time. To a FIFO queue it is one, so that the order is that of the input.
const UNDER_WAY: usize = 8;

/// How often a batch is sent, and what failed of it again, before it counts as refused.
const ATTEMPTS: u32 = 6;

/// How many refused events are named; the rest is counted.
const NAMED: usize = 10;

pub(crate) fn send(arguments: SendArguments, signals: Signals) -> Result<Exit, Failure> {
    signals.end_at_once()?;
    let (options, log_format) = config::of_send(arguments.settings)?;
    let screen = Screen::new();
    log::start(log_format, &screen)?;

    let runtime = Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let queue = SqsQueue::connect(options.clone()).await;
        let queue = queue.map_err(|error| advice::not_connected(error, &options))?;
        let inputs: Vec<Input> = arguments.files.iter().map(|path| Input::of(path)).collect();
        let total = total_bytes(&inputs);
        let reader = Reader { encoding: arguments.encoding, fifo: queue.url().is_fifo(), number: 0, without_type: 0 };
        let (events, receiver) = mpsc::channel(BATCH * UNDER_WAY);
        let reading = thread::Builder::new().name("reader".to_owned()).spawn(move || reader.read(inputs, &events))?;
        let report = send_all(&queue, receiver, &screen, total).await;
        Ok::<_, Failure>((queue, report, reading))
    });
    let (queue, report, reading) = outcome?;
    // When the queue has refused, the reader may be waiting for input that nobody needs any more.
    let read = if report.broken.is_some() { None } else { Some(reading.join()) };

    say(&report.summary());
    if let Some(error) = report.broken {
        let resource = queue.arn().unwrap_or_else(|| queue.url().to_string());
        return Err(advice::refused(error, &resource));
    }
    match read {
        Some(Ok(Ok(without_type))) => {
            if without_type > 0 {
                say(&format!("{without_type} of them without a `type`: no consumer will be able to decode those"));
            }
        }
        Some(Ok(Err(failure))) => return Err(failure),
        Some(Err(_)) | None => return Err(Failure::internal(anyhow!("the thread that reads has panicked"))),
    }
    Ok(if report.refused.is_empty() { Exit::Done } else { Exit::Unavailable })
}

/// An event that is ready to be sent, and its place in the input, from 1.
struct Numbered {
    number: u64,
    /// How many bytes of the input it stands for.
    read: u64,
    message: Outgoing,
}

/// What became of the events.
#[derive(Default)]
struct Report {
    sent: u64,
    refused: Vec<(u64, EntryError)>,
    /// The error that ended it all. Some of the events of that time may have been sent.
    broken: Option<QueueError>,
    in_doubt: u64,
}

impl Report {
    fn add(&mut self, other: Report) {
        self.sent += other.sent;
        self.refused.extend(other.refused);
        self.in_doubt += other.in_doubt;
        self.broken = self.broken.take().or(other.broken);
    }

    fn summary(&self) -> String {
        let mut text = format!("sent {}", self.sent);
        if !self.refused.is_empty() {
            text.push_str(&format!(", refused {}", self.refused.len()));
        }
        if self.in_doubt > 0 {
            text.push_str(&format!(", in doubt {} (the call failed, and they may have been sent)", self.in_doubt));
        }
        let mut refused: Vec<&(u64, EntryError)> = self.refused.iter().collect();
        refused.sort_by_key(|(number, _)| *number);
        for (number, error) in refused.iter().take(NAMED) {
            text.push_str(&format!("\n  event {number}: {error}"));
        }
        if refused.len() > NAMED {
            text.push_str(&format!("\n  and {} more", refused.len() - NAMED));
        }
        text
    }
}

async fn send_all(
    queue: &SqsQueue,
    mut events: mpsc::Receiver<Numbered>,
    screen: &Screen,
    total: Option<u64>,
) -> Report {
    let template = match total {
        Some(_) => "{bar:30} {percent}% {msg} {eta}",
        None => "{spinner} {msg} {elapsed}",
    };
    let progress = screen.progress(total, template);
    let mut report = Report::default();
    let mut read = 0;
    let mut waiting = Vec::new();
    let under_way = if queue.url().is_fifo() { 1 } else { UNDER_WAY };
    while events.recv_many(&mut waiting, BATCH * UNDER_WAY).await > 0 {
        let (numbers, messages): (Vec<u64>, Vec<Outgoing>) = waiting
            .drain(..)
            .map(|event| {
                read += event.read;
                (event.number, event.message)
            })
            .unzip();
        let mut first = 0;
        let cut = batches(&messages).map(|batch| {
            let numbers = &numbers[first..first + batch.len()];
            first += batch.len();
            (numbers, batch)
        });
        let cut: Vec<(&[u64], &[Outgoing])> = cut.collect();
        let mut sending =
            stream::iter(cut).map(|(numbers, batch)| send_batch(queue, numbers, batch)).buffer_unordered(under_way);
        while let Some(part) = sending.next().await {
            report.add(part);
            progress.message(format!("{} sent", report.sent));
        }
        progress.at(read);
        if report.broken.is_some() {
            break;
        }
    }
    report
}

/// Sends one batch, and what failed of it again.
async fn send_batch(queue: &SqsQueue, numbers: &[u64], batch: &[Outgoing]) -> Report {
    let mut report = Report::default();
    let mut left: Vec<(u64, Outgoing)> = numbers.iter().copied().zip(batch.iter().cloned()).collect();
    for attempt in 1..=ATTEMPTS {
        let messages: Vec<Outgoing> = left.iter().map(|(_, message)| message.clone()).collect();
        let answers = match queue.send(&messages).await {
            Ok(answers) => answers,
            // Nothing of it was taken.
            Err(QueueError::Throttled { .. }) if attempt < ATTEMPTS => {
                tokio::time::sleep(pause(attempt)).await;
                continue;
            }
            Err(error) => {
                report.in_doubt = if error.needs_action() { 0 } else { left.len() as u64 };
                report.broken = Some(error);
                return report;
            }
        };
        let mut again = Vec::new();
        for ((number, message), answer) in left.into_iter().zip(answers) {
            match answer {
                Ok(()) => report.sent += 1,
                Err(error) if attempt == ATTEMPTS || !may_pass(&error) => report.refused.push((number, error)),
                Err(_) => again.push((number, message)),
            }
        }
        if again.is_empty() {
            break;
        }
        left = again;
        tokio::time::sleep(pause(attempt)).await;
    }
    report
}

/// Whether an entry that failed may be taken at another try. A throttled one is counted as the sender's fault too.
fn may_pass(error: &EntryError) -> bool {
    !error.sender_fault || error.code.contains("Throttl")
}

/// Doubling from 100 ms.
fn pause(attempt: u32) -> Duration {
    Duration::from_millis(100 << attempt.saturating_sub(1).min(5))
}

/// Reads and encodes events.
struct Reader {
    encoding: Encoding,
    fifo: bool,
    number: u64,
    without_type: u64,
}

impl Reader {
    /// Reads all inputs and returns how many events had no type. It ends early, without an error, when nobody takes what
    /// it reads.
    fn read(mut self, inputs: Vec<Input>, events: &mpsc::Sender<Numbered>) -> Result<u64, Failure> {
        for input in inputs {
            let cannot_read = |error: io::Error| Failure::new(Exit::NoInput, anyhow!("cannot read {input}: {error}"));
            let left = Rc::new(Cell::new(0));
            let reader = Bounded { reader: input.open().map_err(cannot_read)?, left: left.clone() };
            let mut objects = serde_json::Deserializer::from_reader(reader).into_iter::<Box<RawValue>>();
            let mut before = 0;
            loop {
                left.set(MAX_PIECE);
                let object = match objects.next() {
                    Some(Ok(object)) => object,
                    Some(Err(error)) if error.is_io() => return Err(cannot_read(error.into())),
                    Some(Err(error)) => {
                        let what = format!("{input} holds something that is not a JSON object: {error}");
                        return Err(Failure::new(Exit::BadData, anyhow!(what)));
                    }
                    None => break,
                };
                let after = objects.byte_offset() as u64;
                let message = self.message(object.get(), &input)?;
                let event = Numbered { number: self.number, read: after - before, message };
                before = after;
                if events.blocking_send(event).is_err() {
                    return Ok(self.without_type);
                }
            }
        }
        Ok(self.without_type)
    }

    fn message(&mut self, json: &str, input: &Input) -> Result<Outgoing, Failure> {
        self.number += 1;
        if !json.starts_with('{') {
            let what = format!("event {} in {input} is not a JSON object", self.number);
            return Err(Failure::new(Exit::BadData, anyhow!(what)));
        }
        let mut message = encode(json, self.encoding)?;
        let event = Event::from_json(json).ok();
        self.without_type += u64::from(event.is_none());
        if self.fifo {
            let [cid] = event.as_ref().map_or([None], |event| event.texts(["cid"]));
            message.group = Some(cid.as_deref().map_or_else(|| "stream-sqsd".to_owned(), message_group));
            message.deduplication_id = Some(unique());
        }
        Ok(message)
    }
}

/// An id that no other message has.
fn unique() -> String {
    format!("{:032x}", fastrand::u128(..))
}

/// The body of an event, in one of the forms in which Stream's events arrive.
pub(crate) fn encode(json: &str, encoding: Encoding) -> Result<Outgoing, Failure> {
    Ok(match encoding {
        Encoding::Plain => Outgoing::plain(json.to_owned()),
        Encoding::Base64 => Outgoing::plain(STANDARD.encode(json)),
        Encoding::Gzip => {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
            gzip.write_all(json.as_bytes()).context("gzip")?;
            Outgoing::compressed(STANDARD.encode(gzip.finish().context("gzip")?))
        }
        Encoding::Sns => Outgoing::plain(sns_envelope(json)),
    })
}

/// What SNS puts around a message when the subscription does not ask for raw delivery.
fn sns_envelope(json: &str) -> String {
    let now = jiff::Timestamp::try_from(SystemTime::now()).unwrap_or_default();
    json!({
        "Type": "Notification",
        "MessageId": unique(),
        "TopicArn": "arn:aws:sns:us-east-1:000000000000:chat-events",
        "Message": json,
        "Timestamp": format!("{now:.3}"),
        "SignatureVersion": "1",
    })
    .to_string()
}

/// The bytes of all inputs together; none when one of them is not a file.
fn total_bytes(inputs: &[Input]) -> Option<u64> {
    let size = |input: &Input| match input {
        Input::Standard => None,
        Input::File(path) => std::fs::metadata(path).ok().filter(|facts| facts.is_file()).map(|facts| facts.len()),
    };
    inputs.iter().map(size).sum()
}

/// A reader that ends one piece of input with an error when it grows beyond what is left for it.
struct Bounded<R> {
    reader: R,
    left: Rc<Cell<usize>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        match self.left.get().checked_sub(read) {
            Some(left) => self.left.set(left),
            None => return Err(io::Error::other(format!("an object is larger than {}", show_size(MAX_PIECE)))),
        }
        Ok(read)
    }
}
