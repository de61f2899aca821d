//! A program of yours, run once for each event.
//!
//! The event comes on standard input, as Stream sent it. The exit code says what became of it:
//!
//! | exit code | outcome |
//! |---|---|
//! | 0 | done |
//! | 65 (`EX_DATAERR`) | this message is bad |
//! | 69 (`EX_UNAVAILABLE`) | the target is down |
//! | 75 (`EX_TEMPFAIL`), and every other code or a signal | retry |
//!
//! The facts of the delivery stand in environment variables, each cut to 4 KiB:
//!
//! | variable | value |
//! |---|---|
//! | `STREAM_EVENT_TYPE` | the type of the event |
//! | `STREAM_MESSAGE_ID` | the message id: the same at every delivery, and what to be idempotent on |
//! | `STREAM_WEBHOOK_ID` | the id of the webhook that the event came by, where somebody says so: a hint ([`Context::webhook_id`]) |
//! | `STREAM_RECEIVE_COUNT` | how often the message was received, from 1 |
//! | `STREAM_ATTEMPT` | how often the program was run for this delivery, from 1 |
//! | `STREAM_SENT_AT` | when the message was sent, in RFC 3339 with milliseconds, where it is known |
//! | `STREAM_GROUP` | the message group, where there is one |
//!
//! No shell is between, and nothing else of the daemon's environment is passed on but `PATH`, `HOME`, `LANG`, `TZ` and what
//! the settings list: the program never sees the daemon's AWS keys or secrets by accident. Its standard output is
//! discarded. Its standard error goes to the log: of each run the first 64 lines and 16 KiB, and then how much that left out.
//!
//! A program whose time or lease runs out, or that a shutdown interrupts, is sent SIGTERM, and SIGKILL a second later
//! ([`Context::cancellation_grace`]), with its whole process group; so is what a program leaves running that did not exit with 0.
//! Its message stays here until all of them are gone, so that no other run of the message begins before. The limits: what
//! leaves the group (`setsid`) is not followed, a process that waits for a broken disk cannot be killed and is given up a
//! second after SIGKILL, and a daemon that is itself killed outright leaves its programs running.
//!
//! What a program that exited with 0 leaves running is not waited for. As PID 1, in a container, the orphans of programs
//! are reaped.

use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::FusedFuture;
use jiff::Timestamp;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;
use tokio::time::timeout;

use super::processes;
pub use super::program::ExecError;
use super::program::{Program, Said, Unstarted, outcome};
use crate::event::Event;
use crate::handler::{Context, Handler, HandlerError, Hold};

/// The most bytes of one fact: whatever a sender puts into a type, the program can be started.
const FACT_BYTES: usize = 4096;

/// How long standard error is read after the program has ended, in case something that it left running holds it open.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// How long what was killed is waited for: a process that waits for a broken disk does not die.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(1);

/// How often it is looked whether a cancelled program has ended.
const LOOK: Duration = Duration::from_millis(20);

/// Which program is run, and what it sees of the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExecSettings {
    /// The program and its arguments, such as `["/usr/local/bin/on-event", "--verbose"]`. A name without a slash is
    /// looked for in `PATH`, once, when the daemon starts.
    pub command: Vec<String>,
    /// The names of further environment variables that the program sees as the daemon does.
    pub env: Vec<String>,
}

impl ExecSettings {
    /// A program and its arguments, and no further variables.
    pub fn new(command: impl IntoIterator<Item = impl Into<String>>) -> Self {
        ExecSettings { command: command.into_iter().map(Into::into).collect(), env: Vec::new() }
    }

    /// Sets [`ExecSettings::env`]: names of environment variables.
    pub fn with_env(mut self, env: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.env = env.into_iter().map(Into::into).collect();
        self
    }
}

/// Runs a program for each event; done when it exits with 0.
///
/// As many run at once as there are handlers at work. A program is idempotent on `STREAM_MESSAGE_ID`.
pub struct Exec {
    program: Program,
    ender: Ender,
}

impl Exec {
    /// Looks for the program and remembers the environment that it will see.
    ///
    /// # Errors
    ///
    /// When it cannot be executed, or a variable is not set: see [`ExecError`].
    pub fn new(settings: ExecSettings) -> Result<Self, ExecError> {
        let program = Program::find(settings.command, settings.env)?;
        Ok(Exec { program, ender: Ender::start().map_err(ExecError::Thread)? })
    }
}

impl Handler<Event> for Exec {
    type Error = HandlerError;

    /// The program without its arguments, which may hold a secret.
    fn address(&self) -> Option<String> {
        Some(self.program.path.display().to_string())
    }

    async fn handle(&self, event: Event, ctx: Context) -> Result<(), HandlerError> {
        let mut child = processes::spawn(self.program.command().envs(facts(&event, &ctx)))
            .map_err(|source| HandlerError::target_down(Unstarted(source)))?;
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
        let mut running = self.ender.ends_on_drop(child, &ctx);

        let feeding = async {
            if let Some(mut stdin) = stdin {
                // A program that does not read all of it may still know its answer: the exit code counts.
                let _ = stdin.write_all(event.json().as_bytes()).await;
            }
        };
        let listening = async {
            if let Some(stderr) = stderr {
                log(stderr, &ctx).await;
            }
        };
        let talking = async { tokio::join!(feeding, listening) }.fuse();
        let mut talking = std::pin::pin!(talking);
        let status = loop {
            tokio::select! {
                biased;
                status = running.wait() => break status?,
                () = ctx.cancelled() => return Err(HandlerError::retry("the program was ended: its time or its lease ran out")),
                _ = &mut talking => {}
            }
        };
        if !talking.is_terminated() {
            let _ = timeout(LAST_WORDS, talking).await;
        }
        outcome(status)
    }
}

fn facts(event: &Event, ctx: &Context) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("STREAM_EVENT_TYPE", fact(event.kind().name())),
        ("STREAM_MESSAGE_ID", fact(ctx.message_id().as_str())),
        ("STREAM_RECEIVE_COUNT", ctx.receive_count().to_string()),
        ("STREAM_ATTEMPT", ctx.attempt().to_string()),
    ];
    if let Some(time) = ctx.sent_at().and_then(|time| Timestamp::try_from(time).ok()) {
        facts.push(("STREAM_SENT_AT", format!("{time:.3}")));
    }
    if let Some(group) = ctx.group() {
        facts.push(("STREAM_GROUP", fact(group)));
    }
    if let Some(id) = ctx.webhook_id() {
        facts.push(("STREAM_WEBHOOK_ID", fact(id)));
    }
    facts
}

/// An environment variable can hold neither a NUL nor any length.
fn fact(text: &str) -> String {
    let mut text = text.replace('\0', "");
    text.truncate(text.floor_char_boundary(FACT_BYTES));
    text
}

/// Reads standard error to its end and logs its beginning, line by line.
async fn log(mut stderr: impl AsyncRead + Unpin, ctx: &Context) {
    let mut chunk = [0; 4096];
    let mut said = Said::new(Some(ctx.message_id().clone()));
    // What is beyond the limits is read all the same: the program must not stand before a full pipe.
    while let Ok(read @ 1..) = stderr.read(&mut chunk).await {
        chunk[..read].iter().for_each(|byte| said.push(*byte));
    }
}

/// The thread that ends programs: it waits out their time between SIGTERM and SIGKILL, since the handler that started them
/// is gone.
struct Ender {
    /// None only while this is dropped.
    queue: Option<mpsc::Sender<Ending>>,
    thread: Option<JoinHandle<()>>,
}

/// A program at work. Dropped before it was done, it is ended with its group.
struct Running<'a> {
    /// None only while this is dropped.
    child: Option<Child>,
    /// Its process group, which has the number of its leader.
    group: Option<Pid>,
    ctx: &'a Context,
    ender: &'a Ender,
    succeeded: bool,
}

/// A process group that was sent SIGTERM.
struct Ending {
    /// Its leader, until its end was seen.
    leader: Option<Child>,
    group: Pid,
    asked: Instant,
    cancellation_grace: Duration,
    killed: bool,
    _hold: Hold,
}

impl Ender {
    fn start() -> io::Result<Self> {
        let (sender, queue) = mpsc::channel();
        let thread = thread::Builder::new().name("exec".into()).spawn(move || end_all(&queue))?;
        Ok(Ender { queue: Some(sender), thread: Some(thread) })
    }

    fn ends_on_drop<'a>(&'a self, child: Child, ctx: &'a Context) -> Running<'a> {
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Running { child: Some(child), group, ctx, ender: self, succeeded: false }
    }
}

impl Drop for Ender {
    /// Waits until the last cancelled program has ended: a second, or two where one does not die.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Running<'_> {
    async fn wait(&mut self) -> io::Result<ExitStatus> {
        let Some(child) = &mut self.child else { return Err(io::ErrorKind::NotFound.into()) };
        let status = child.wait().await?;
        self.succeeded = status.success();
        self.group.inspect(|group| processes::forget(*group));
        Ok(status)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let (Some(child), Some(group)) = (self.child.take(), self.group) else { return };
        // No id: its end was seen. The number is still the group's while that has members, and no other's moments later.
        let leader = child.id().is_some().then_some(child);
        if self.succeeded || (leader.is_none() && !processes::group_lives(group)) {
            return;
        }
        // It may have ended just now; then there is nobody to hear it.
        let _ = kill_process_group(group, Signal::TERM);
        if let Some(queue) = &self.ender.queue {
            let (asked, cancellation_grace) = (Instant::now(), self.ctx.cancellation_grace());
            let _ =
                queue.send(Ending { leader, group, asked, cancellation_grace, killed: false, _hold: self.ctx.hold() });
        }
    }
}

fn end_all(queue: &mpsc::Receiver<Ending>) {
    let mut endings: Vec<Ending> = Vec::new();
    loop {
        let next = match (endings.is_empty(), processes::is_init()) {
            (true, false) => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
            (true, true) => queue.recv_timeout(processes::REAP),
            (false, _) => queue.recv_timeout(LOOK),
        };
        match next {
            Ok(ending) => endings.push(ending),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) if endings.is_empty() => return,
            Err(RecvTimeoutError::Disconnected) => thread::sleep(LOOK),
        }
        endings.retain_mut(|ending| !ending.is_over());
        if processes::is_init() {
            processes::reap_orphans();
        }
    }
}

impl Ending {
    /// Goes on with it; true when nothing of the group is left, or nothing that can be killed.
    fn is_over(&mut self) -> bool {
        let late = self.asked.elapsed() >= self.cancellation_grace;
        // It is looked at without being reaped: as long as it is not, its number is not another group's, and the signal
        // reaches what it left running.
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let leader_ended = self.leader.is_some() && !matches!(waitid(WaitId::Pid(self.group), look), Ok(None));
        if leader_ended || (late && !self.killed) {
            let _ = kill_process_group(self.group, Signal::KILL);
            self.killed = true;
        }
        if leader_ended && let Some(mut leader) = self.leader.take() {
            let _ = leader.try_wait();
            processes::forget(self.group);
        }
        if self.leader.is_none() && !processes::group_lives(self.group) {
            return true;
        }
        let given_up = self.asked.elapsed() >= self.cancellation_grace + GIVEN_UP_AFTER;
        if given_up {
            processes::forget(self.group);
            let group = self.group.as_raw_nonzero().get();
            tracing::warn!(process_group = group, "a program that was killed does not die; its message is returned");
        }
        given_up
    }
}

impl fmt::Debug for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The environment may hold secrets.
        f.debug_struct("Exec").field("program", &self.program.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::decode::decode;
    use crate::handler::{Call, FailureKind};
    use crate::queue::{Trace, WebhookId};

    #[tokio::test]
    async fn a_program_that_is_not_wanted_any_more_holds_its_message() {
        let exec = Exec::new(ExecSettings::new(["sh", "-c", "trap '' TERM; sleep 60; sleep 60"])).unwrap();
        let event = decode(r#"{"type":"a.b"}"#, 1000).unwrap();
        let second = Duration::from_secs(1);
        let call = Call::new(60 * second, tokio::time::Instant::now() + 60 * second, second);
        let ctx = Context::for_test("id-1").attempt_with(1, call.clone());
        let began = Instant::now();
        let cancelling = async {
            // The shell has begun to ignore it.
            tokio::time::sleep(second / 2).await;
            call.cancel();
        };
        let (handled, ()) = tokio::join!(timeout(30 * second, exec.handle(event, ctx)), cancelling);
        assert_eq!(handled.expect("it ends before the program").unwrap_err().kind(), FailureKind::Retry);
        assert!(began.elapsed() < second, "the handler waits for nothing");
        timeout(30 * second, call.released()).await.expect("the program is gone");
        assert!(began.elapsed() > second + second / 2, "killed after {:?}", began.elapsed());
    }

    #[test]
    fn facts_are_cut_to_what_an_environment_can_hold() {
        let name = format!("{}\\u0000x", "é".repeat(100));
        let event = decode(&format!(r#"{{"type":"{name}"}}"#), 1 << 20).unwrap();
        let sent_at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_225_600_007);
        let group = "g".repeat(5000);
        let ctx = Context::new("id-1".into(), 7, Some(sent_at), Some(group.into()), Trace::default());
        let with_webhook = ctx.clone().with_webhook_id(WebhookId::new("w 1"));
        assert!(facts(&event, &with_webhook).contains(&("STREAM_WEBHOOK_ID", "w 1".into())));
        let facts = facts(&event, &ctx);
        assert_eq!(facts[0], ("STREAM_EVENT_TYPE", "é".repeat(100) + "x"));
        assert_eq!(facts[1], ("STREAM_MESSAGE_ID", "id-1".into()));
        assert_eq!(facts[2], ("STREAM_RECEIVE_COUNT", "7".into()));
        assert_eq!(facts[4], ("STREAM_SENT_AT", "2026-01-01T00:00:00.007Z".into()));
        assert_eq!(facts[5], ("STREAM_GROUP", "g".repeat(4096)));
        assert_eq!(facts.len(), 6);
        assert_eq!(fact("a\0b"), "ab");
    }
}
