//! `stream-sqsd demo`: the engine at work on a queue in memory, with everything that can happen to a message in it.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use clap::Args;
use serde_json::{Value, json};
use stream_sqsd::consumer::{Consumer, RetryDelay, Settings, Summary};
use stream_sqsd::decode;
use stream_sqsd::event::Event;
use stream_sqsd::handler::{Context, Handler, HandlerError};
use stream_sqsd::handlers::stdout::Stdout;
use stream_sqsd::queue::memory::{MemoryQueue, MemorySettings};
use stream_sqsd::router::Router;
use tokio::runtime::Builder;

use crate::commands::run::print_summary;
use crate::commands::send::Encoding;
use crate::commands::send::encode;
use crate::config;
use crate::config::settings::{Flags, OfDemo};
use crate::daemon::signals::{Asked, OnHangup, Signals};
use crate::terminal::exit::{Exit, Failure, say};
use crate::terminal::log::{self, LogFormat};
use crate::terminal::screen::Screen;

const DEMO_HELP: &str = "\
The queue is filled with sample events in every form in which Stream's events arrive. One of them cannot be decoded, the \
handler of one fails twice and then succeeds, and the handler of one always fails; retry delays are short. Events go to \
standard output, a short line each on a terminal and JSON lines elsewhere, the log to standard error, and the shutdown \
summary and what the queue knows come at the end.

Example:
  stream-sqsd demo > events.jsonl";

/// Watch the engine at work, with a queue in memory: needs no network and no account.
#[derive(Debug, Args)]
#[command(after_help = DEMO_HELP)]
pub(crate) struct DemoArguments {
    /// How many messages are sent.
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) messages: u32,
    #[command(flatten)]
    pub(crate) settings: Flags<OfDemo>,
}

/// How often a message is received before it is dead-lettered: enough for the one that fails twice.
const MAX_RECEIVE_COUNT: u32 = 3;

/// How often the progress line is drawn.
const REDRAW: Duration = Duration::from_millis(100);

/// The field of an event that tells the demo's handler how to fail, and what it says there.
const MARK: &str = "demo";
const FAILS_TWICE: &str = "fails twice, then succeeds";
const ALWAYS_FAILS: &str = "always fails";

pub(crate) fn demo(arguments: DemoArguments, signals: Signals) -> Result<Exit, Failure> {
    let log_format = config::of_demo(arguments.settings)?;
    let screen = Screen::new();
    log::start(log_format, &screen)?;
    let asked = signals.drain(OnHangup::Drain)?;

    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (summary, queue) = runtime.block_on(consume(arguments.messages, asked, &screen))?;
    runtime.shutdown_background();

    print_summary(&summary, log_format, &screen);
    print_queue(&queue, log_format, &screen);
    Ok(Exit::Done)
}

async fn consume(messages: u32, asked: Asked, screen: &Screen) -> Result<(Summary, MemoryQueue), Failure> {
    let queue = MemoryQueue::new(MemorySettings::new().with_max_receive_count(MAX_RECEIVE_COUNT));
    for number in 1..=messages {
        queue.send_at(body(number)?, SystemTime::now());
    }

    let stdout = Stdout::new(BesideProgress(screen.clone()))?;
    let closed = stdout.closed();
    let settings = Settings::new()
        .with_until_empty(true)
        .with_wait(Duration::from_secs(2))
        .with_retry(RetryDelay::new(Duration::from_millis(200), Duration::from_secs(1)));
    let consumer = Consumer::new(queue.clone(), Router::new().fallback(Sometimes(stdout)), settings);
    let monitor = consumer.monitor();
    let shutdown = async {
        tokio::select! { biased;
            () = asked.drain.cancelled() => tracing::info!("asked to stop; draining: a second signal stops at once"),
            () = closed.wait() => tracing::info!("nobody reads standard output any more; draining"),
        }
    };

    let progress = screen.progress(Some(u64::from(messages)), "{bar:30} {pos} of {len} settled{msg}");
    let mut run = std::pin::pin!(consumer.run(shutdown));
    let mut redraw = tokio::time::interval(REDRAW);
    let summary = loop {
        tokio::select! { biased;
            summary = &mut run => break summary?,
            _ = redraw.tick() => {
                let counts = queue.counts();
                progress.at(counts.deleted + counts.dead_lettered);
                progress.message(format!(", {} at work, {} hidden", monitor.snapshot().at_work, counts.hidden));
            }
        }
    };
    drop(progress);
    Ok((summary, queue))
}

/// The handler of the demo: it prints, but for the events that are marked.
struct Sometimes(Stdout);

impl Handler<Event> for Sometimes {
    type Error = HandlerError;

    async fn handle(&self, event: Event, ctx: Context) -> Result<(), HandlerError> {
        let [mark] = event.texts([MARK]);
        match mark.as_deref() {
            Some(FAILS_TWICE) if ctx.receive_count() <= 2 => Err(HandlerError::retry(format!(
                "the demo's handler fails the first two times ({})",
                ctx.receive_count()
            ))),
            Some(ALWAYS_FAILS) => Err(HandlerError::retry("the demo's handler always fails here")),
            _ => self.0.handle(event, ctx).await,
        }
    }
}

/// The body of a message: the forms take turns, and a few messages are special.
fn body(number: u32) -> Result<String, Failure> {
    if number == 3 {
        return Ok("This is neither JSON nor base64.".to_owned());
    }
    let mark = match number {
        5 => Some(FAILS_TWICE),
        8 => Some(ALWAYS_FAILS),
        _ => None,
    };
    let json = event(number, mark);
    let encoding = [Encoding::Plain, Encoding::Base64, Encoding::Gzip, Encoding::Sns][number as usize % 4];
    Ok(encode(&json, encoding)?.body)
}

/// A sample event: a little conversation about plants, over and over.
fn event(number: u32, mark: Option<&str>) -> String {
    let people = [("ada", "Ada"), ("bashir", "Bashir"), ("chiyo", "Chiyo"), ("dmitri", "Dmitri")];
    let texts = [
        "Is the fern in the hall still alive?",
        "It is. It has a new leaf 🌿",
        "Then please water it, I am away until Monday.",
        "Done. The cactus says hello too.",
    ];
    let n = number as usize;
    let (id, name) = people[n % people.len()];
    let user = json!({"id": id, "name": name, "role": "user"});
    let message = json!({
        "id": format!("{id}-{number:06}"),
        "text": texts[n % texts.len()],
        "type": "regular",
        "user": user,
        "created_at": format!("2026-03-02T08:{:02}:{:02}.{:06}Z", n / 60 % 60, n % 60, n * 7919 % 1_000_000),
    });
    let channel = json!({"cid": "messaging:plants", "channel_id": "plants", "channel_type": "messaging"});
    let mut event = match number % 7 {
        0 => {
            json!({"type": "reaction.new", "user": user, "message": message, "reaction": {"type": "like", "score": 1}})
        }
        1 => json!({"type": "message.read", "user": user, "unread_messages": 0}),
        2 => json!({"type": "member.added", "user": user, "member": {"user_id": id, "channel_role": "channel_member"}}),
        3 => json!({"type": "message.updated", "user": user, "message": message}),
        4 => json!({"type": "plant_watered", "plant": "fern", "millilitres": 250}),
        _ => json!({"type": "message.new", "user": user, "message": message, "watcher_count": 3}),
    };
    if let (Some(event), Some(channel)) = (event.as_object_mut(), channel.as_object()) {
        event.extend(channel.clone());
        if let Some(mark) = mark {
            event.insert(MARK.to_owned(), mark.into());
        }
    }
    event.to_string()
}

/// What the queue knows and the summary cannot.
fn print_queue(queue: &MemoryQueue, format: LogFormat, screen: &Screen) {
    let counts = queue.counts();
    let still_there = counts.visible + counts.hidden;
    if format.is_json(screen) {
        tracing::info!(
            target: log::SUMMARY,
            sent = counts.sent,
            deleted = counts.deleted,
            dead_lettered = counts.dead_lettered,
            still_there,
            "what the demo's queue knows"
        );
        return;
    }
    let mut text = format!(
        "what the demo's queue knows\n  sent {} = deleted {} + dead-lettered {} + still there {still_there}",
        counts.sent, counts.deleted, counts.dead_lettered
    );
    for letter in queue.dead_letters() {
        let what = match decode::decode(&letter.body, decode::DEFAULT_LIMIT) {
            Ok(event) => format!("{} whose handler failed each time", event.kind().name()),
            Err(error) => error.to_string(),
        };
        text.push_str(&format!("\n    {} after {} receives: {what}", letter.message_id, letter.receive_count));
    }
    say(&text);
}

/// Standard output that does not run into the progress line. A person gets a short line for each event, a program all of it.
struct BesideProgress(Screen);

impl Write for BesideProgress {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let write = |shown: &[u8]| {
            let mut stdout = io::stdout().lock();
            stdout.write_all(shown).and_then(|()| stdout.flush())
        };
        if self.0.shows_stdout() {
            let short = short(line);
            self.0.beside_progress(|| write(short.as_deref().map_or(line, str::as_bytes)))
        } else {
            write(line)
        }
        .map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One of the JSON lines of [`Stdout`] in few words: type, user, text, and which receive it was if not the first.
fn short(line: &[u8]) -> Option<String> {
    let line: Value = serde_json::from_slice(line).ok()?;
    let event = &line["event"];
    let mut text = format!("{:<16}{:<8}", line["type"].as_str()?, event["user"]["id"].as_str().unwrap_or_default());
    let said = event["reaction"]["type"].as_str().or(event["message"]["text"].as_str());
    text.push_str(said.unwrap_or_default());
    let receives = line["receive_count"].as_u64()?;
    if receives > 1 {
        text.push_str(&format!(" (receive {receives})"));
    }
    Some(format!("{}\n", text.trim_end()))
}
