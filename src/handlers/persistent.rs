//! A program of yours that stays: started once, it reads a JSON line for each event and answers with one, in any order.
//!
//! It reads from standard input (`group` only where there is one, `sent_at` null where it is not known):
//!
//! ```text
//! {"message_id":"…","type":"message.new","receive_count":1,"attempt":1,"sent_at":"2026-01-01T00:00:00.000Z","group":"…","event":{…}}
//! ```
//!
//! The event is as Stream sent it. The program answers on standard output, with `after` and `error` where it likes:
//!
//! ```text
//! {"message_id":"…","outcome":"done"}
//! {"message_id":"…","outcome":"retry","after":"5s","error":"the row is locked"}
//! ```
//!
//! | outcome | meaning |
//! |---|---|
//! | `done` | the message is deleted |
//! | `retry` | it failed this time; after that time, or a growing one, it is received again |
//! | `reject` | this message is bad |
//! | `target_down` | the target is down |
//!
//! An answer to nobody, and a line that is not an answer, is a warning in the log and otherwise ignored. A line of more than
//! 64 KiB ends the program. Standard error goes to the log: of each minute the first 64 lines and 16 KiB.
//!
//! A program may work on several events at a time, or on one after the other. So the time limit of an event counts only while
//! it is the oldest that its program has not answered. When it runs out, or the lease does, or a shutdown interrupts, the
//! program reads `{"message_id":"…","cancel":true}`; without an answer it is killed after twice
//! [`Context::cancellation_grace`], 2 s, with its process group. The message stays here until then.
//!
//! When a program ends by itself, what it had not answered is given to a new one, one event at a time, which spends no
//! receive. Only an event that was alone in it when it ended is judged: a retry, or by its exit code as for a program that
//! runs [once for each event](super::exec). One that never answered anything, or ends three times in a row without an answer,
//! and one that cannot be started, is a target that is down. It is started again after growing delays, 100 ms to 5 s.
//!
//! The end of its input means that it shall finish and exit. It has 2 s, and after SIGTERM another second.
//!
//! What it sees of the environment is what a program sees that runs once for each event, without the variables of an event.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use tokio::runtime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::processes;
use super::program::{ExecError, Program};
use super::resident::{Job, Resident, Work};
use crate::event::Event;
use crate::handler::{Context, Handler, HandlerError};

/// Which program stays, and how many of them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PersistentSettings {
    /// The program and its arguments. A name without a slash is looked for in `PATH`, once, when the daemon starts.
    pub command: Vec<String>,
    /// The names of further environment variables that the program sees as the daemon does.
    pub env: Vec<String>,
    /// How many processes of it there are, at least 1: 1 unless set. Each event goes to one that has the fewest.
    pub processes: usize,
}

impl PersistentSettings {
    /// A program and its arguments, one process, and no further variables.
    pub fn new(command: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let command = command.into_iter().map(Into::into).collect();
        PersistentSettings { command, env: Vec::new(), processes: 1 }
    }

    /// Sets [`PersistentSettings::env`]: names of environment variables.
    pub fn with_env(mut self, env: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.env = env.into_iter().map(Into::into).collect();
        self
    }

    /// Sets [`PersistentSettings::processes`], at least 1.
    pub fn with_processes(mut self, processes: usize) -> Self {
        self.processes = processes;
        self
    }
}

/// Hands each event to a program that stays; done when that says so.
///
/// A program is idempotent on `message_id`. Each process is started when it first gets an event. Dropped, this waits until
/// all have ended, up to 4 s.
pub struct Persistent {
    path: PathBuf,
    slots: Vec<Slot>,
    calls: AtomicU64,
    /// Runs all programs. None only while this is dropped.
    thread: Option<JoinHandle<()>>,
}

/// One process, as those see it who have events for it.
struct Slot {
    /// Unbounded, since each call has two entries in it at the most, and the engine bounds the calls.
    work: mpsc::UnboundedSender<Work>,
    load: AtomicUsize,
}

impl Persistent {
    /// Looks for the program and remembers the environment that it will see. Starts it not yet.
    ///
    /// # Errors
    ///
    /// When it cannot be executed, or a variable is not set: see [`ExecError`].
    pub fn new(settings: PersistentSettings) -> Result<Self, ExecError> {
        if settings.processes == 0 {
            return Err(ExecError::Zero { setting: "processes" });
        }
        let program = Arc::new(Program::find(settings.command, settings.env)?);
        let path = program.path.clone();
        let (slots, residents) = (0..settings.processes)
            .map(|_| {
                let (sender, work) = mpsc::unbounded_channel();
                (Slot { work: sender, load: AtomicUsize::new(0) }, Resident::new(program.clone(), work))
            })
            .unzip();
        let thread = start(residents).map_err(ExecError::Thread)?;
        Ok(Persistent { path, slots, calls: AtomicU64::new(0), thread: Some(thread) })
    }

    /// Hands an event to the process with the fewest.
    fn call(
        &self,
        event: Event,
        ctx: &Context,
    ) -> (Call<'_>, oneshot::Receiver<Result<(), HandlerError>>, watch::Receiver<bool>) {
        let slot = self.slots.iter().min_by_key(|slot| slot.load.load(Ordering::Relaxed)).unwrap_or(&self.slots[0]);
        slot.load.fetch_add(1, Ordering::Relaxed);
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let (answer, answers) = oneshot::channel();
        let (turn, turns) = watch::channel(false);
        // The thread ends with this handler only; without it there would be no answer either.
        let _ = slot.work.send(Work::Event(number, Job::new(event, ctx.clone(), answer, turn)));
        (Call { slot, number, ctx: ctx.clone(), is_over: false }, answers, turns)
    }
}

/// A thread for all processes: they go on while the runtime of the engine is busy, and end when that is gone.
fn start(residents: Vec<Resident>) -> io::Result<JoinHandle<()>> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let log = tracing::dispatcher::get_default(Clone::clone);
    let work = async {
        let mut all: JoinSet<()> = residents.into_iter().fold(JoinSet::new(), |mut all, resident| {
            all.spawn(resident.run());
            all
        });
        let reaping = async {
            while processes::is_init() {
                tokio::time::sleep(processes::REAP).await;
                processes::reap_orphans();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = async { while all.join_next().await.is_some() {} } => {}
            () = reaping => {}
        }
    };
    let run = move || tracing::dispatcher::with_default(&log, || runtime.block_on(work));
    thread::Builder::new().name("exec".into()).spawn(run)
}

/// An event that is with a process. Dropped before its answer, it is cancelled there.
struct Call<'a> {
    slot: &'a Slot,
    number: u64,
    ctx: Context,
    /// Whether it has its answer, or was cancelled.
    is_over: bool,
}

impl Call<'_> {
    fn cancel(&mut self) {
        if !self.is_over {
            self.is_over = true;
            let _ = self.slot.work.send(Work::Cancel(self.number, self.ctx.hold()));
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.cancel();
        self.slot.load.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Handler<Event> for Persistent {
    type Error = HandlerError;

    /// The program without its arguments, which may hold a secret.
    fn address(&self) -> Option<String> {
        Some(self.path.display().to_string())
    }

    async fn handle(&self, event: Event, ctx: Context) -> Result<(), HandlerError> {
        let (mut call, mut answers, mut turns) = self.call(event, &ctx);
        loop {
            let is_turn = *turns.borrow_and_update();
            let next = async {
                tokio::select! {
                    biased;
                    answer = &mut answers => Some(answer),
                    () = ctx.cancelled(), if !call.is_over => {
                        call.cancel();
                        None
                    }
                    Ok(()) = turns.changed() => None,
                }
            };
            // Behind others its time does not count: the program may work on one after the other.
            let answer = if is_turn { next.await } else { ctx.pause_timeout(next).await };
            if let Some(answer) = answer {
                call.is_over = true;
                return answer
                    .unwrap_or_else(|_| Err(HandlerError::retry("the program was ended: time or lease ran out")));
            }
        }
    }
}

impl Drop for Persistent {
    /// Ends the input of the programs, and waits until they have ended.
    fn drop(&mut self) {
        self.slots.clear();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Persistent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The environment may hold secrets.
        f.debug_struct("Persistent").field("program", &self.path).finish_non_exhaustive()
    }
}
