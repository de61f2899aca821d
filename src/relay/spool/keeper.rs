//! The thread that owns the files, and the way to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, mpsc, oneshot};
use tracing::{error, info, warn};

use super::disk::{Append, Disk, SpoolError};
use super::record::{self, Line, Position};
use crate::queue::Outgoing;
use crate::relay::budget::Held;
use crate::relay::remember::Ticket;
use crate::relay::settings::SpoolSettings;
use crate::telemetry::{Cause, RelayOutcome, RelayTelemetry};

/// How much may wait for the disk.
const WAITING: usize = 4_096;

/// How many records are made durable together.
const GROUP: usize = 1_024;

/// What the thread is asked.
enum Command {
    Append(Waiting),
    Read {
        most: usize,
        answer: oneshot::Sender<Vec<Line>>,
    },
    /// So many records up to here need not be kept; those that were set aside are kept elsewhere first.
    Advance {
        to: Position,
        records: u64,
        aside: Vec<String>,
        answer: oneshot::Sender<bool>,
    },
    /// Nothing comes after this.
    Close(oneshot::Sender<()>),
}

/// A record that is to be made durable.
struct Waiting {
    line: String,
    ticket: Ticket,
    _held: Held,
}

/// The way to the spool.
pub(crate) struct Spool {
    commands: mpsc::Sender<Command>,
    /// Records that are in the spool or on their way there.
    events: Arc<AtomicU64>,
    /// Told when there is something to replay.
    pub(super) filled: Arc<Notify>,
    wall_clock: fn() -> SystemTime,
}

impl Spool {
    /// Opens the spool, and takes over what is in it.
    ///
    /// # Errors
    ///
    /// What somebody has to put right.
    pub(crate) fn open(
        settings: &SpoolSettings,
        wall_clock: fn() -> SystemTime,
        telemetry: Arc<RelayTelemetry>,
    ) -> Result<Spool, SpoolError> {
        let disk = Disk::open(&settings.directory, settings.limit)?;
        let events = Arc::new(AtomicU64::new(disk.records()));
        if disk.records() > 0 {
            info!(events = disk.records(), "there are events in the spool, which are sent first");
        }
        telemetry.spool_is(disk.records(), disk.bytes(), settings.limit);
        let (commands, taken) = mpsc::channel(WAITING);
        let keeper = Keeper { disk, events: events.clone(), telemetry, limit: settings.limit };
        let spawned = thread::Builder::new().name("spool".to_owned()).spawn(move || keeper.run(taken));
        spawned.map_err(|error| SpoolError::new(&settings.directory, error))?;
        let filled = Arc::new(Notify::new());
        filled.notify_one();
        Ok(Spool { commands, events, filled, wall_clock })
    }

    /// Whether events are in it, so that later ones must go through it too.
    pub(crate) fn is_in_use(&self) -> bool {
        self.events.load(Ordering::Acquire) > 0
    }

    /// Keeps an event; its ticket is told when that is durable, or why it is not kept.
    pub(crate) fn append(&self, message: Outgoing, ticket: Ticket, held: Held) {
        let at = (self.wall_clock)().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = record::line(&message, at.as_millis() as u64);
        self.events.fetch_add(1, Ordering::AcqRel);
        match self.commands.try_send(Command::Append(Waiting { line, ticket, _held: held })) {
            Ok(()) => self.filled.notify_one(),
            Err(refused) => {
                self.events.fetch_sub(1, Ordering::AcqRel);
                if let Command::Append(waiting) = refused.into_inner() {
                    waiting.ticket.finish(RelayOutcome::Busy);
                }
            }
        }
    }

    /// The oldest records; none where there are none, or they cannot be read now.
    pub(super) async fn read(&self, most: usize) -> Vec<Line> {
        let (answer, read) = oneshot::channel();
        match self.commands.send(Command::Read { most, answer }).await {
            Ok(()) => read.await.unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }

    /// The oldest records are in the queue, or are to be set aside. False where these could not be kept.
    pub(super) async fn advance(&self, to: Position, records: u64, aside: Vec<String>) -> bool {
        let (answer, advanced) = oneshot::channel();
        let command = Command::Advance { to, records, aside, answer };
        self.commands.send(command).await.is_ok() && advanced.await.unwrap_or(false)
    }

    /// Waits until everything that was appended is on disk and the files are closed. Nothing is kept any more.
    pub(crate) async fn close(&self) {
        let (closed, over) = oneshot::channel();
        if self.commands.send(Command::Close(closed)).await.is_ok() {
            // An error is a thread that has panicked, which was said.
            let _ = over.await;
        }
    }
}

/// What the thread has.
struct Keeper {
    disk: Disk,
    events: Arc<AtomicU64>,
    telemetry: Arc<RelayTelemetry>,
    limit: u64,
}

impl Keeper {
    fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut group = Vec::new();
        while let Some(command) = commands.blocking_recv() {
            let mut next = Some(command);
            while let Some(command) = next.take() {
                match command {
                    Command::Append(waiting) => {
                        group.push(waiting);
                        if group.len() < GROUP {
                            next = commands.try_recv().ok();
                        }
                    }
                    Command::Close(closed) => {
                        self.append(&mut group);
                        drop(self);
                        let _ = closed.send(());
                        return;
                    }
                    other => {
                        // In the order in which they came.
                        self.append(&mut group);
                        self.answer(other);
                    }
                }
            }
            self.append(&mut group);
            self.telemetry.spool_is(self.disk.records(), self.disk.bytes(), self.limit);
        }
    }

    fn append(&mut self, group: &mut Vec<Waiting>) {
        if group.is_empty() {
            return;
        }
        let lines: Vec<&str> = group.iter().map(|waiting| waiting.line.as_str()).collect();
        let outcomes = self.disk.append(&lines);
        for (waiting, outcome) in group.drain(..).zip(outcomes) {
            let outcome = match outcome {
                Append::Kept => RelayOutcome::Spooled,
                Append::Full => {
                    self.complain("full", "the spool is full, and events are answered 503: give it more room", "");
                    RelayOutcome::SpoolFull
                }
                Append::Failed(error) => {
                    self.telemetry.spool_errors.add(1);
                    self.complain("write", "the spool cannot be written to, and events are answered 503", &error);
                    RelayOutcome::SpoolFailed
                }
            };
            if outcome != RelayOutcome::Spooled {
                self.events.fetch_sub(1, Ordering::AcqRel);
            }
            waiting.ticket.finish(outcome);
        }
    }

    fn answer(&mut self, command: Command) {
        match command {
            Command::Append(_) | Command::Close(_) => unreachable!("carried out before"),
            Command::Read { most, answer } => {
                let lines = self.disk.read(most).unwrap_or_else(|error| {
                    self.telemetry.spool_errors.add(1);
                    self.complain("read", "the spool cannot be read; it is tried again", &error.to_string());
                    Vec::new()
                });
                let _ = answer.send(lines);
            }
            Command::Advance { to, records, aside, answer } => {
                let is_kept = self.set_aside(&aside);
                if is_kept {
                    if let Err(error) = self.disk.advance(to, records) {
                        self.say_not_noted(&error.to_string());
                    }
                    self.events.fetch_sub(records, Ordering::AcqRel);
                }
                self.telemetry.spool_is(self.disk.records(), self.disk.bytes(), self.limit);
                let _ = answer.send(is_kept);
            }
        }
    }

    /// Whether these records are in the file for them.
    fn set_aside(&self, aside: &[String]) -> bool {
        match self.disk.set_aside(aside) {
            Ok(()) => {
                self.telemetry.set_aside.add(aside.len() as u64);
                true
            }
            Err(error) => {
                self.telemetry.spool_errors.add(1);
                self.complain("set-aside", "the spool cannot be written to; it is tried again", &error.to_string());
                false
            }
        }
    }

    /// The disk has not noted what was sent. This process knows it all the same.
    fn say_not_noted(&self, error: &str) {
        self.telemetry.spool_errors.add(1);
        if let Some(times) = self.telemetry.worth_logging(Cause::new(("relay spool", "advance"), error)) {
            warn!(
                error,
                times, "the disk of the spool refuses to note what was sent; a restart may send up to 8 MiB once more"
            );
        }
    }

    fn complain(&self, kind: &'static str, what: &'static str, error: &str) {
        if let Some(times) = self.telemetry.worth_logging(Cause::new(("relay spool", kind), error)) {
            error!(error, times, "{what}");
        }
    }
}
