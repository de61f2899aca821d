//! What can be observed of a running consumer: every count and every name of a log field, once.
//!
//! The engine counts here, whoever wants to watch reads a [`Snapshot`] through a [`Monitor`]. Nothing here acts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// The names of the fields in logs and spans.
pub mod field {
    /// The message id.
    pub const MESSAGE_ID: &str = "message_id";
    /// The type of the event.
    pub const EVENT_TYPE: &str = "type";
    /// How often the message was received.
    pub const RECEIVE_COUNT: &str = "receive_count";
    /// Why something failed.
    pub const ERROR: &str = "error";
    /// The stable word for a kind of error.
    pub const KIND: &str = "kind";
    /// A delay, in seconds.
    pub const DELAY: &str = "delay_seconds";
    /// How often something happened since it was last logged.
    pub const TIMES: &str = "times";
}

/// How many event types are counted by name; the types beyond them are counted together. Types are named by whoever
/// sends to the queue, so the number is bounded.
const TYPES_COUNTED: usize = 512;

/// What the engine counts, shared by all its tasks.
#[derive(Debug)]
pub(crate) struct Telemetry {
    pub(crate) received: Count,
    pub(crate) deleted: Count,
    pub(crate) left_for_retry: Count,
    pub(crate) released: Count,
    pub(crate) interrupted: Count,
    pub(crate) duplicates: Count,
    pub(crate) handled: Count,
    pub(crate) unrouted: Count,
    pub(crate) repeats_deleted: Count,
    pub(crate) undecodable: Count,
    pub(crate) handler_errors: Count,
    pub(crate) panics: Count,
    pub(crate) timeouts: Count,
    pub(crate) leases_lost: Count,
    pub(crate) polls: Count,
    pub(crate) polls_empty: Count,
    pub(crate) polls_failed: Count,
    pub(crate) polls_abandoned: Count,
    pub(crate) delete_calls: Count,
    pub(crate) hide_calls: Count,
    pub(crate) reconnects: Count,
    by_type: Mutex<BTreeMap<Arc<str>, u64>>,
    logged: Mutex<BTreeMap<(&'static str, &'static str), Logged>>,
    now: Mutex<Now>,
    phase: watch::Sender<Phase>,
}

/// When one kind of event was last logged, and how often it happened since.
#[derive(Debug)]
struct Logged {
    at: Instant,
    since: u64,
}

/// How often one kind of error is logged, at the most. What happens between is counted.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// What is the case at the moment, as opposed to what was counted.
#[derive(Debug, Clone)]
struct Now {
    at_work: usize,
    concurrency: usize,
    bytes: usize,
    breakers_open: Vec<Arc<str>>,
    polls: BTreeMap<u64, Instant>,
    turned: Instant,
    wait: Duration,
}

/// A number that only rises.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// No receive has succeeded yet.
    Starting,
    /// Messages are received.
    Receiving,
    /// Nothing more is received; what is here is finished or handed back.
    Draining,
    /// The run is over.
    Ended,
}

impl Telemetry {
    pub(crate) fn new(concurrency: usize, wait: Duration) -> Self {
        Telemetry {
            received: Count::default(),
            deleted: Count::default(),
            left_for_retry: Count::default(),
            released: Count::default(),
            interrupted: Count::default(),
            duplicates: Count::default(),
            handled: Count::default(),
            unrouted: Count::default(),
            repeats_deleted: Count::default(),
            undecodable: Count::default(),
            handler_errors: Count::default(),
            panics: Count::default(),
            timeouts: Count::default(),
            leases_lost: Count::default(),
            polls: Count::default(),
            polls_empty: Count::default(),
            polls_failed: Count::default(),
            polls_abandoned: Count::default(),
            delete_calls: Count::default(),
            hide_calls: Count::default(),
            reconnects: Count::default(),
            by_type: Mutex::default(),
            logged: Mutex::default(),
            now: Mutex::new(Now {
                at_work: 0,
                concurrency,
                bytes: 0,
                breakers_open: Vec::new(),
                polls: BTreeMap::new(),
                turned: Instant::now(),
                wait,
            }),
            phase: watch::Sender::new(Phase::Starting),
        }
    }

    /// Counts one event of a type; true when it is the first of it.
    pub(crate) fn seen(&self, name: &str) -> bool {
        let mut types = self.by_type.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = types.get_mut(name) {
            *count += 1;
            return false;
        }
        let name = if types.len() < TYPES_COUNTED { name } else { "other" };
        *types.entry(name.into()).or_default() += 1;
        true
    }

    /// Whether something that happens again and again is to be logged this time, and how often it has happened since it
    /// was last: the first time at once, then at most every ten seconds. An outage must not flood the log.
    pub(crate) fn worth_logging(&self, what: (&'static str, &'static str)) -> Option<u64> {
        let now = Instant::now();
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = logged.entry(what).or_insert(Logged { at: now - LOG_EVERY, since: 0 });
        entry.since += 1;
        if now.duration_since(entry.at) < LOG_EVERY {
            return None;
        }
        entry.at = now;
        Some(std::mem::take(&mut entry.since))
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|now| std::mem::replace(now, phase) != phase);
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// The loop of the engine turned, with so much at work.
    pub(crate) fn turned(&self, at_work: usize, bytes: usize, breakers_open: Vec<Arc<str>>) {
        let mut now = self.now();
        now.turned = Instant::now();
        now.at_work = at_work;
        now.bytes = bytes;
        now.breakers_open = breakers_open;
    }

    pub(crate) fn poll_opened(&self, id: u64) {
        self.polls.add(1);
        self.now().polls.insert(id, Instant::now());
    }

    pub(crate) fn poll_closed(&self, id: u64) {
        self.now().polls.remove(&id);
    }

    fn now(&self) -> std::sync::MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A view of a consumer from outside, taken before it runs and good until after it ended. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Monitor {
    telemetry: Arc<Telemetry>,
}

impl Monitor {
    pub(crate) fn new(telemetry: Arc<Telemetry>) -> Self {
        Monitor { telemetry }
    }

    /// The counts and the state at this moment.
    pub fn snapshot(&self) -> Snapshot {
        let t = &self.telemetry;
        let now = t.now().clone();
        Snapshot {
            phase: t.phase(),
            received: t.received.get(),
            deleted: t.deleted.get(),
            left_for_retry: t.left_for_retry.get(),
            released: t.released.get(),
            interrupted: t.interrupted.get(),
            duplicates: t.duplicates.get(),
            handled: t.handled.get(),
            unrouted: t.unrouted.get(),
            repeats_deleted: t.repeats_deleted.get(),
            undecodable: t.undecodable.get(),
            handler_errors: t.handler_errors.get(),
            panics: t.panics.get(),
            timeouts: t.timeouts.get(),
            leases_lost: t.leases_lost.get(),
            polls: t.polls.get(),
            polls_empty: t.polls_empty.get(),
            polls_failed: t.polls_failed.get(),
            polls_abandoned: t.polls_abandoned.get(),
            delete_calls: t.delete_calls.get(),
            hide_calls: t.hide_calls.get(),
            reconnects: t.reconnects.get(),
            at_work: now.at_work,
            concurrency: now.concurrency,
            in_flight_bytes: now.bytes,
            breakers_open: now.breakers_open,
            open_polls: now.polls.len(),
            oldest_poll: now.polls.values().map(Instant::elapsed).max(),
        }
    }

    /// How many events of each type were decoded.
    pub fn by_type(&self) -> BTreeMap<Arc<str>, u64> {
        self.telemetry.by_type.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the consumer is alive: false only when an open poll is older than its wait and 15 s, or when the engine's
    /// loop has not turned for 15 s. No free slot, an open breaker, back-off and draining are no failures.
    pub fn is_live(&self) -> bool {
        const MARGIN: Duration = Duration::from_secs(15);
        let now = self.telemetry.now();
        let over = self.telemetry.phase() == Phase::Ended;
        over || now.turned.elapsed() < MARGIN && now.polls.values().all(|opened| opened.elapsed() < now.wait + MARGIN)
    }

    /// Waits until the run has come to this phase, or past it.
    pub async fn reached(&self, phase: Phase) {
        let mut phases = self.telemetry.phase.subscribe();
        // The sender lives as long as this monitor, so the wait cannot end in an error.
        let _ = phases.wait_for(|now| *now >= phase).await;
    }
}

/// The counts of a run and its state, at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// Where the run stands.
    pub phase: Phase,
    /// Deliveries received.
    pub received: u64,
    /// Deliveries whose message was deleted, confirmed by the queue.
    pub deleted: u64,
    /// Deliveries left in the queue, to be received again after a delay or dead-lettered.
    pub left_for_retry: u64,
    /// Deliveries handed back at once, unworked or not finished, such as at shutdown.
    pub released: u64,
    /// Deliveries whose lease was lost or whose delete was not confirmed.
    pub interrupted: u64,
    /// Deliveries that joined one of the same message already at work.
    pub duplicates: u64,
    /// Calls of handlers that succeeded.
    pub handled: u64,
    /// Events that no route took.
    pub unrouted: u64,
    /// Deliveries of messages that had been handled before, deleted without calling a handler again.
    pub repeats_deleted: u64,
    /// Bodies that could not be decoded.
    pub undecodable: u64,
    /// Calls of handlers that returned an error.
    pub handler_errors: u64,
    /// Calls of handlers that panicked.
    pub panics: u64,
    /// Calls of handlers that ran out of time.
    pub timeouts: u64,
    /// Leases lost while the message was held.
    pub leases_lost: u64,
    /// Receives issued.
    pub polls: u64,
    /// Receives that brought nothing.
    pub polls_empty: u64,
    /// Receives that ended in an error.
    pub polls_failed: u64,
    /// Receives given up because no answer came in time.
    pub polls_abandoned: u64,
    /// Batch deletes issued.
    pub delete_calls: u64,
    /// Batch changes of visibility issued: renewals, retry delays and releases.
    pub hide_calls: u64,
    /// How often the connections were given up and opened anew.
    pub reconnects: u64,
    /// Deliveries held now.
    pub at_work: usize,
    /// The most that may be held.
    pub concurrency: usize,
    /// Bytes held or reserved now.
    pub in_flight_bytes: usize,
    /// The routes whose target is down.
    pub breakers_open: Vec<Arc<str>>,
    /// Receives that wait for their answer.
    pub open_polls: usize,
    /// The age of the oldest of them.
    pub oldest_poll: Option<Duration>,
}
