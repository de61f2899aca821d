//! JSON lines: how an event becomes one, and the thread that writes them for all the handlers that wait.
//!
//! A handler's future can be dropped at any await point, and half a line must never be the result. So the bytes are
//! written elsewhere: on a thread of their own, which no time limit interrupts and whose blocking holds up nobody else.
//! What the lines are written to, and what makes them durable there, is the [`Sink`]'s business.
#![cfg_attr(not(feature = "file"), allow(dead_code, reason = "only a file is ever reopened"))]

use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::json::{push_event, push_string};
use crate::event::Event;
use crate::handler::{Context, HandlerError};

/// How long a sink may take nothing before it counts as down: a reader that has paused, or a disk that hangs.
pub const STALLED_AFTER: Duration = Duration::from_secs(10);

/// How many times in that a line that waits looks whether others go on.
const LOOKS: u32 = 10;

/// How many bytes are gathered before a commit begins, give or take the last line.
const COMMIT_BYTES: usize = 4 * 1024 * 1024;

/// How many lines may stand before the thread. The engine's slots bound it too; further handlers wait.
const WAITING: usize = 1024;

/// Appends the line of one event:
/// `{"type":…,"message_id":…,"receive_count":…,"sent_at":…,"event":{…}}` and a line feed.
///
/// Behind `message_id` stands `webhook_id` where the message has one. `sent_at` is RFC 3339 with milliseconds, or null. The event is as Stream sent it, byte for byte, but that line ends
/// become spaces: in valid JSON they stand between tokens only.
pub(super) fn push_line(event: &Event, ctx: &Context, line: &mut Vec<u8>) {
    line.extend_from_slice(br#"{"type":"#);
    push_string(event.kind().name(), line);
    line.extend_from_slice(br#","message_id":"#);
    push_string(ctx.message_id().as_str(), line);
    if let Some(id) = ctx.webhook_id() {
        line.extend_from_slice(br#","webhook_id":"#);
        push_string(id, line);
    }
    line.extend_from_slice(br#","receive_count":"#);
    line.extend_from_slice(ctx.receive_count().to_string().as_bytes());
    line.extend_from_slice(br#","sent_at":"#);
    match ctx.sent_at().and_then(|time| Timestamp::try_from(time).ok()) {
        Some(time) => line.extend_from_slice(format!(r#""{time:.3}""#).as_bytes()),
        None => line.extend_from_slice(b"null"),
    }
    line.extend_from_slice(br#","event":"#);
    push_event(event, line);
    line.extend_from_slice(b"}\n");
}

/// What lines are written to. Its calls come from one thread, and may block.
pub(super) trait Sink: Send + 'static {
    /// How many lines one commit takes at most.
    const LINES: usize;

    /// Writes whole lines, so that they are there for good when it returns.
    ///
    /// # Errors
    ///
    /// Then none of these lines counts as written, and what is there of them must never be taken for a line.
    fn commit(&mut self, lines: &[u8]) -> io::Result<()>;

    /// Opens again what it writes to, where that has a name.
    fn reopen(&mut self) {}
}

/// The thread that owns a sink, and the way to it.
///
/// It ends when this is dropped, after the commit that it is at. What is told as a success is committed already, so
/// nobody needs to wait for that.
pub(super) struct LineWriter {
    work: mpsc::Sender<Work>,
    /// How many commits there were, whatever came of them.
    commits: Arc<AtomicU64>,
}

/// What the thread is asked for.
enum Work {
    Line(Line),
    Reopen,
}

/// One line that somebody waits for.
struct Line {
    event: Event,
    ctx: Context,
    done: oneshot::Sender<Result<(), Arc<io::Error>>>,
}

/// Why a line was not written: each time the sink's fault, never the message's.
#[derive(Debug, thiserror::Error)]
enum LineError {
    #[error("cannot write the line")]
    Write(#[source] Arc<io::Error>),
    #[error("no line was taken for {} s", STALLED_AFTER.as_secs())]
    Stalled,
    #[error("the thread that writes lines has ended")]
    Ended,
}

impl LineWriter {
    /// Starts the thread, which bears `name`; its end can be waited for.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub(super) fn start<S: Sink>(name: &str, sink: S) -> io::Result<(Self, WriterEnd)> {
        let (work, queue) = mpsc::channel(WAITING);
        let commits = Arc::<AtomicU64>::default();
        let counter = commits.clone();
        let (running, end) = std::sync::mpsc::channel::<()>();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            // Dropped after the sink is, also by a panic.
            let _running = running;
            write_lines(queue, sink, &counter);
        })?;
        Ok((LineWriter { work, commits }, WriterEnd(Mutex::new(end))))
    }

    /// For asking the sink to reopen what it writes to.
    pub(super) fn reopening(&self) -> Reopening {
        Reopening(self.work.downgrade())
    }

    /// Returns when the event's line is committed.
    ///
    /// Dropping the future takes the line back unless its commit has begun; then it is written whole. Lines take turns: the
    /// wait is not part of the handler's time, and lasts as long as others are committed meanwhile.
    ///
    /// # Errors
    ///
    /// Target down, whatever went wrong.
    pub(super) async fn write(&self, event: Event, ctx: Context) -> Result<(), HandlerError> {
        let line = ctx.clone();
        let committed = async {
            let (done, answer) = oneshot::channel();
            self.work.send(Work::Line(Line { event, ctx: line, done })).await.map_err(|_| LineError::Ended)?;
            answer.await.map_err(|_| LineError::Ended)?.map_err(LineError::Write)
        };
        ctx.pause_timeout(self.unless_stalled(committed)).await.map_err(HandlerError::target_down)
    }

    async fn unless_stalled(&self, committed: impl Future<Output = Result<(), LineError>>) -> Result<(), LineError> {
        let mut committed = pin!(committed);
        let (mut seen, mut looks) = (self.commits.load(Ordering::Relaxed), 0);
        while looks < LOOKS {
            if let Ok(result) = timeout(STALLED_AFTER / LOOKS, &mut committed).await {
                return result;
            }
            let commits = self.commits.load(Ordering::Relaxed);
            looks = if commits == seen { looks + 1 } else { 0 };
            seen = commits;
        }
        Err(LineError::Stalled)
    }
}

/// The end of the thread, with which its sink is dropped.
pub(super) struct WriterEnd(Mutex<std::sync::mpsc::Receiver<()>>);

impl WriterEnd {
    /// Waits for it, but not for longer than this: what the thread writes to may hang.
    pub(super) fn wait(&mut self, limit: Duration) {
        let _ = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).recv_timeout(limit);
    }
}

/// Asks for reopening from afar. Cheap to clone, and keeps nothing open.
#[derive(Clone)]
pub(super) struct Reopening(mpsc::WeakSender<Work>);

impl Reopening {
    /// Returns when it is asked for; it is done before the next line.
    pub(super) async fn ask(&self) {
        if let Some(work) = self.0.upgrade() {
            // Where the thread has ended there is nothing to reopen.
            let _ = work.send(Work::Reopen).await;
        }
    }
}

/// What is to be done next. Before the thread sleeps it lets the others go on once: on a busy core each line would otherwise
/// wake it, and two switches cost more than the line.
fn next_work(queue: &mut mpsc::Receiver<Work>) -> Option<Work> {
    queue.try_recv().ok().or_else(|| {
        thread::yield_now();
        queue.blocking_recv()
    })
}

fn write_lines<S: Sink>(mut queue: mpsc::Receiver<Work>, mut sink: S, commits: &AtomicU64) {
    let mut lines = Vec::new();
    let mut waiting = Vec::new();
    while let Some(first) = next_work(&mut queue) {
        let mut next = Some(first);
        while let Some(work) = next {
            match work {
                // Who has stopped waiting gets the message again, so the line would only stand twice.
                Work::Line(line) if line.done.is_closed() => {}
                Work::Line(line) => {
                    push_line(&line.event, &line.ctx, &mut lines);
                    waiting.push(line.done);
                }
                Work::Reopen => sink.reopen(),
            }
            let room = waiting.len() < S::LINES && lines.len() < COMMIT_BYTES;
            next = if room { queue.try_recv().ok() } else { None };
        }
        if waiting.is_empty() {
            continue;
        }
        let outcome = sink.commit(&lines).map_err(Arc::new);
        commits.fetch_add(1, Ordering::Relaxed);
        for done in waiting.drain(..) {
            // It may have stopped waiting in the meantime.
            let _ = done.send(outcome.clone());
        }
        lines.clear();
        lines.shrink_to(COMMIT_BYTES);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use std::time::SystemTime;

    use tokio::time::Instant;

    use super::*;
    use crate::decode::decode;
    use crate::queue::{Trace, WebhookId};

    #[tokio::test(start_paused = true)]
    async fn a_line_waits_while_others_are_committed_and_no_longer() {
        let second = Duration::from_secs(1);
        let (work, _queue) = mpsc::channel(1);
        let lines = LineWriter { work, commits: Arc::default() };
        let begun = Instant::now();
        let others = async {
            for _ in 0..5 {
                tokio::time::sleep(9 * second).await;
                lines.commits.fetch_add(1, Ordering::Relaxed);
            }
            std::future::pending::<()>().await
        };
        let waiting = lines.unless_stalled(std::future::pending());
        let stalled = tokio::select! {
            biased;
            () = others => None,
            stalled = waiting => Some(stalled),
        };
        assert!(matches!(stalled, Some(Err(LineError::Stalled))));
        let waited = begun.elapsed();
        assert!((55 * second..=56 * second).contains(&waited), "{waited:?}");
    }

    fn line(body: &str, sent_at: Option<SystemTime>) -> String {
        let event = decode(body, 1 << 20).unwrap();
        let ctx = Context::new("5f0e6bd6-0c1d".into(), 3, sent_at, None, Trace::default());
        let mut line = Vec::new();
        push_line(&event, &ctx, &mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn a_line_has_the_delivery_facts_and_the_event_as_it_came() {
        let sent_at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_225_600_007);
        assert_eq!(
            line(r#"{"type":"message.new", "b":1e2,"a":"\u00e9","a":[]}"#, Some(sent_at)),
            concat!(
                r#"{"type":"message.new","message_id":"5f0e6bd6-0c1d","receive_count":3,"#,
                r#""sent_at":"2026-01-01T00:00:00.007Z","event":{"type":"message.new", "b":1e2,"a":"\u00e9","a":[]}}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_line_names_the_webhook_where_there_is_one() {
        let event = decode(r#"{"type":"a.b"}"#, 1 << 20).unwrap();
        let ctx = Context::new("id-1".into(), 1, None, None, Trace::default());
        let mut line = Vec::new();
        push_line(&event, &ctx.with_webhook_id(WebhookId::new(r#"w-"1"#)), &mut line);
        let begin = br#"{"type":"a.b","message_id":"id-1","webhook_id":"w-\"1","receive_count":1,"#;
        assert!(line.starts_with(begin), "{}", String::from_utf8_lossy(&line));
    }

    #[test]
    fn a_sending_time_that_is_not_known_is_null() {
        assert!(line(r#"{"type":"a.b"}"#, None).contains(r#""sent_at":null,"#));
    }

    #[test]
    fn only_line_ends_between_tokens_change_to_spaces() {
        let line = line("{\r\n\t\"type\":\n\"a.b\",\"text\":\"x\\ny\\r\"}", None);
        assert!(line.ends_with("\"event\":{  \t\"type\": \"a.b\",\"text\":\"x\\ny\\r\"}}\n"), "{line}");
        assert_eq!(line.matches(['\n', '\r']).count(), 1);
    }

    #[test]
    fn a_type_with_quotes_and_controls_is_escaped() {
        let line = line(r#"{"type":"a\"\u0000\nb"}"#, None);
        assert!(line.starts_with(r#"{"type":"a\"\u0000\nb","message_id""#), "{line}");
        serde_json::from_str::<serde_json::Value>(&line).unwrap();
    }
}
