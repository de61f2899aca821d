//! What can be observed of a running consumer: every count, every metric and every name of a log field, once.
//!
//! The engine counts here; whoever wants to watch reads a [`Snapshot`], the last hour, the last failures or the metrics
//! through a [`Monitor`]. Nothing here acts, and nothing here knows what a message said.

mod failures;
mod histogram;
mod history;
mod metrics;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::Instant;

pub(crate) use failures::Failed;
use failures::Failures;
pub use failures::RecentFailure;
use histogram::{Histogram, Reading};
use history::{Counts, History};
pub use history::{SAMPLE_EVERY, SAMPLES_KEPT, Sample};

/// The names of the fields in logs and spans.
pub mod field {
    /// The message id.
    pub const MESSAGE_ID: &str = "message_id";
    /// The type of the event.
    pub const EVENT_TYPE: &str = "type";
    /// How often the message was received.
    pub const RECEIVE_COUNT: &str = "receive_count";
    /// The trace of the W3C attribute `traceparent`.
    pub const TRACE_ID: &str = "trace_id";
    /// The root of the AWSTraceHeader.
    pub const AWS_TRACE_ID: &str = "aws_trace_id";
    /// Why something failed.
    pub const ERROR: &str = "error";
    /// The stable word for a kind of error.
    pub const KIND: &str = "kind";
    /// A delay, in seconds.
    pub const DELAY: &str = "delay_seconds";
    /// How often something happened since it was last logged.
    pub const TIMES: &str = "times";
}

/// How many event types that this version does not know are counted by name; those beyond them are counted together.
/// Such types are named by whoever sends to the queue, so their number is bounded; the known ones are bounded anyway.
const UNKNOWN_TYPES_COUNTED: usize = 256;

/// How much is kept of the name of an event type: whoever sends to the queue may send a megabyte of it.
const TYPE_NAME_KEPT: usize = 120;

/// Until when the depth of the queue is told: nobody may have asked for an hour, and then the next answer is from then.
const DEPTH_GOOD_FOR: Duration = Duration::from_secs(300);

/// Within which time a backlog is to be worked off by the replicas that are wanted.
const BACKLOG_TARGET: Duration = Duration::from_secs(60);

/// What bodies that cannot be decoded are told apart by.
const UNDECODABLE: &[&str] =
    &["invalid base64 encoding", "gzip decompression failed", "invalid JSON payload", "too large"];

/// What failed requests to the queue are told apart by.
const REQUEST_ERRORS: &[&str] = &[
    "throttled",
    "over_limit",
    "access_denied",
    "credentials",
    "encryption_key",
    "no_such_queue",
    "unreachable",
    "timed_out",
    "bad_answer",
    "service",
];

/// From a cached connection to a queue that was asleep over the weekend.
const TIME_IN_QUEUE_BOUNDS: &[f64] =
    &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0, 345_600.0];

const HANDLER_BOUNDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

const LEASE_MARGIN_BOUNDS: &[f64] = &[0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0, 3_600.0];

const RECEIVE_COUNT_BOUNDS: &[f64] = &[1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0];

/// What the engine counts, shared by all its tasks.
#[derive(Debug)]
pub(crate) struct Telemetry {
    pub(crate) received: Count,
    pub(crate) redelivered: Count,
    pub(crate) last_receives: Count,
    pub(crate) last_receives_failed: Count,
    pub(crate) deleted: Count,
    pub(crate) left_for_retry: Count,
    pub(crate) released: Count,
    pub(crate) interrupted: Count,
    pub(crate) duplicates: Count,
    pub(crate) unrouted: Count,
    pub(crate) repeats_deleted: Count,
    pub(crate) undecodable: Kinds,
    pub(crate) leases_lost: Count,
    pub(crate) polls: Count,
    pub(crate) polls_filled: Count,
    pub(crate) polls_empty: Count,
    pub(crate) polls_failed: Count,
    pub(crate) polls_abandoned: Count,
    pub(crate) delete_calls: Count,
    pub(crate) hide_calls: Count,
    pub(crate) attributes_calls: Count,
    request_errors: [Kinds; Request::ALL.len()],
    pub(crate) reconnects: Count,
    /// How long messages had been in the queue when they arrived.
    pub(crate) time_in_queue: Histogram,
    /// What was left of leases when deletes were confirmed.
    pub(crate) lease_margin: Histogram,
    pub(crate) receive_count_at_success: Histogram,
    routes: Vec<Route>,
    by_type: Mutex<BTreeMap<Arc<str>, TypeCount>>,
    logged: Mutex<BTreeMap<(&'static str, &'static str), Logged>>,
    failures: Mutex<Failures>,
    history: Mutex<History>,
    depth: Mutex<Option<DepthReading>>,
    queue: OnceLock<QueueSeen>,
    now: Mutex<Now>,
    phase: watch::Sender<Phase>,
    limits: Limits,
    started: Instant,
    started_at: SystemTime,
}

/// What a consumer may do at the most, as far as watching it needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) concurrency: usize,
    pub(crate) max_in_flight_bytes: usize,
    pub(crate) wait: Duration,
}

/// What the engine found the queue to be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueSeen {
    /// Its name, where it may be known.
    pub name: Option<String>,
    /// Whether order within a message group is kept.
    pub fifo: bool,
    /// For how long the engine hides what it receives.
    pub visibility: Duration,
    /// After how many receives a message goes to the dead-letter queue; None where there is none or that is not known.
    pub max_receive_count: Option<u32>,
    /// The name or ARN of the dead-letter queue.
    pub dead_letter_queue: Option<String>,
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
    slots_free: usize,
    bytes: usize,
    /// By the number of the route: since when its target is down.
    breakers_open: BTreeMap<usize, Instant>,
    polls: BTreeMap<u64, Instant>,
    failing: BTreeMap<Request, Failing>,
    turned: Instant,
}

impl Now {
    fn oldest_poll(&self) -> Option<Duration> {
        self.polls.values().map(Instant::elapsed).max()
    }
}

/// What the loop of the engine sees each time that it turns.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    pub(crate) at_work: usize,
    pub(crate) slots_free: usize,
    pub(crate) bytes: usize,
    /// The numbers of the routes whose target is down.
    pub(crate) breakers_open: Vec<usize>,
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

/// Counts by a stable word, all of which are known beforehand.
#[derive(Debug)]
pub(crate) struct Kinds {
    labels: &'static [&'static str],
    /// One for each label, and one for what has none.
    counts: Vec<Count>,
}

impl Kinds {
    fn new(labels: &'static [&'static str]) -> Self {
        Kinds { labels, counts: (0..=labels.len()).map(|_| Count::default()).collect() }
    }

    pub(crate) fn add(&self, label: &str) {
        let at = self.labels.iter().position(|known| *known == label).unwrap_or(self.labels.len());
        self.counts[at].add(1);
    }

    fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.labels.iter().copied().chain([metrics::OTHER]).zip(self.counts.iter().map(Count::get))
    }

    fn total(&self) -> u64 {
        self.counts.iter().map(Count::get).sum()
    }
}

/// What the engine asks of the queue all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Request {
    Receive,
    Delete,
    Hide,
}

impl Request {
    const ALL: [Request; 3] = [Request::Receive, Request::Delete, Request::Hide];

    /// The stable word for it: in the log, in the metrics, on the page.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Request::Receive => "receive",
            Request::Delete => "delete",
            Request::Hide => "change of visibility",
        }
    }
}

/// A kind of request that fails at present: its last one did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trouble {
    /// What is asked of the queue.
    pub request: &'static str,
    /// The stable word for why the last one failed.
    pub error: &'static str,
    /// How many failed in a row.
    pub times: u64,
    /// How long ago the first of them did.
    pub since: Duration,
}

/// The same as it is kept.
#[derive(Clone, Copy, Debug)]
struct Failing {
    error: &'static str,
    times: u64,
    since: Instant,
}

/// How one call of a handler ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallEnd {
    Handled,
    Retry,
    BadMessage,
    TargetDown,
    TimeLimit,
    Panic,
    /// The event did not fit the type that the handler takes.
    DoesNotFit,
    /// The lease was lost or the grace ran out first.
    Interrupted,
}

impl CallEnd {
    const ALL: [CallEnd; 8] = [
        CallEnd::Handled,
        CallEnd::Retry,
        CallEnd::BadMessage,
        CallEnd::TargetDown,
        CallEnd::TimeLimit,
        CallEnd::Panic,
        CallEnd::DoesNotFit,
        CallEnd::Interrupted,
    ];

    /// The stable word for it: in the log, in the metrics, on the page.
    pub(crate) fn label(self) -> &'static str {
        match self {
            CallEnd::Handled => "handled",
            CallEnd::Retry => "retry",
            CallEnd::BadMessage => "bad message",
            CallEnd::TargetDown => "target down",
            CallEnd::TimeLimit => "time limit",
            CallEnd::Panic => "panic",
            CallEnd::DoesNotFit => "does not fit",
            CallEnd::Interrupted => "interrupted",
        }
    }
}

/// What is counted of one route.
#[derive(Debug)]
struct Route {
    name: Arc<str>,
    ends: [Count; CallEnd::ALL.len()],
    seconds: Histogram,
}

impl Route {
    fn count(&self, end: CallEnd) -> u64 {
        self.ends[end as usize].get()
    }
}

/// How many events of one type were decoded.
#[derive(Clone, Copy, Debug)]
struct TypeCount {
    seen: u64,
    known: bool,
}

/// About how many messages wait, as the queue says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// How many could be received now; None where that may not be read.
    pub visible: Option<u64>,
    /// How many are hidden: in flight somewhere, or waiting out a retry delay.
    pub hidden: Option<u64>,
    /// How many are in the dead-letter queue; None where there is none or it may not be read.
    pub dead_letters: Option<u64>,
}

/// The depth of the queue, and when it was read.
#[derive(Clone, Copy, Debug)]
pub struct DepthReading {
    /// What was read.
    pub depth: Depth,
    /// When.
    pub at: Instant,
}

impl DepthReading {
    fn unknown() -> Self {
        DepthReading { depth: Depth::default(), at: Instant::now() }
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

impl Phase {
    /// Whether messages are received: after the first good receive, and until the drain begins.
    pub fn is_ready(self) -> bool {
        self == Phase::Receiving
    }

    /// The phase in one word.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Receiving => "receiving",
            Phase::Draining => "draining",
            Phase::Ended => "ended",
        }
    }
}

/// Names of routes that can be told apart: those that stand twice are numbered.
fn distinct(names: Vec<Arc<str>>) -> Vec<Arc<str>> {
    let mut distinct: Vec<Arc<str>> = Vec::with_capacity(names.len());
    for name in names {
        let mut free = name.clone();
        let mut number = 1;
        while distinct.contains(&free) {
            number += 1;
            free = format!("{name} ({number})").into();
        }
        distinct.push(free);
    }
    distinct
}

impl Telemetry {
    /// Nothing was counted yet. `routes` are the names of the routes, by number; `started_at` is the time of day.
    pub(crate) fn new(limits: Limits, routes: Vec<Arc<str>>, started_at: SystemTime) -> Self {
        let now = Instant::now();
        let route = |name| Route { name, ends: Default::default(), seconds: Histogram::new(HANDLER_BOUNDS) };
        Telemetry {
            received: Count::default(),
            redelivered: Count::default(),
            last_receives: Count::default(),
            last_receives_failed: Count::default(),
            deleted: Count::default(),
            left_for_retry: Count::default(),
            released: Count::default(),
            interrupted: Count::default(),
            duplicates: Count::default(),
            unrouted: Count::default(),
            repeats_deleted: Count::default(),
            undecodable: Kinds::new(UNDECODABLE),
            leases_lost: Count::default(),
            polls: Count::default(),
            polls_filled: Count::default(),
            polls_empty: Count::default(),
            polls_failed: Count::default(),
            polls_abandoned: Count::default(),
            delete_calls: Count::default(),
            hide_calls: Count::default(),
            attributes_calls: Count::default(),
            request_errors: Request::ALL.map(|_| Kinds::new(REQUEST_ERRORS)),
            reconnects: Count::default(),
            time_in_queue: Histogram::new(TIME_IN_QUEUE_BOUNDS),
            lease_margin: Histogram::new(LEASE_MARGIN_BOUNDS),
            receive_count_at_success: Histogram::new(RECEIVE_COUNT_BOUNDS),
            routes: distinct(routes).into_iter().map(route).collect(),
            by_type: Mutex::default(),
            logged: Mutex::default(),
            failures: Mutex::default(),
            history: Mutex::default(),
            depth: Mutex::default(),
            queue: OnceLock::new(),
            now: Mutex::new(Now {
                at_work: 0,
                slots_free: limits.concurrency,
                bytes: 0,
                breakers_open: BTreeMap::new(),
                polls: BTreeMap::new(),
                failing: BTreeMap::new(),
                turned: now,
            }),
            phase: watch::Sender::new(Phase::Starting),
            limits,
            started: now,
            started_at,
        }
    }

    /// A delivery arrived: how often its message was received by now, after how many receives it goes to the dead-letter
    /// queue, and how long it has been in the queue, where these are known.
    pub(crate) fn arrived(&self, receive_count: u32, max_receive_count: Option<u32>, in_queue: Option<Duration>) {
        self.received.add(1);
        self.redelivered.add(u64::from(receive_count > 1));
        self.last_receives.add(u64::from(max_receive_count.is_some_and(|most| receive_count >= most)));
        if let Some(in_queue) = in_queue {
            self.time_in_queue.observe(in_queue.as_secs_f64());
        }
    }

    /// Counts one event of a type, which this version knows or not; true when it is the first of it.
    pub(crate) fn seen(&self, name: &str, known: bool) -> bool {
        let name = failures::cut(name, TYPE_NAME_KEPT);
        let mut types = self.types();
        if let Some(count) = types.get_mut(name) {
            count.seen += 1;
            return false;
        }
        let full = !known && types.values().filter(|count| !count.known).count() >= UNKNOWN_TYPES_COUNTED;
        let name = if full { metrics::OTHER } else { name };
        types.entry(name.into()).or_insert(TypeCount { seen: 0, known }).seen += 1;
        true
    }

    /// A handler's call ended, on the route of this number.
    pub(crate) fn called(&self, route: usize, end: CallEnd, took: Duration) {
        let route = &self.routes[route];
        route.ends[end as usize].add(1);
        route.seconds.observe(took.as_secs_f64());
    }

    /// The name of a route, which no other has.
    pub(crate) fn route_name(&self, route: usize) -> &Arc<str> {
        &self.routes[route].name
    }

    /// Remembers a failure for those who watch.
    pub(crate) fn failed(&self, failed: Failed<'_>) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).add(failed);
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

    /// What the queue was found to be.
    pub(crate) fn found(&self, queue: QueueSeen) {
        // A consumer runs once, so nothing is there yet.
        let _ = self.queue.set(queue);
    }

    /// The loop of the engine turned.
    pub(crate) fn turned(&self, turn: Turn) {
        let at = Instant::now();
        let mut now = self.now();
        now.turned = at;
        now.at_work = turn.at_work;
        now.slots_free = turn.slots_free;
        now.bytes = turn.bytes;
        now.breakers_open.retain(|route, _| turn.breakers_open.contains(route));
        for route in turn.breakers_open {
            now.breakers_open.entry(route).or_insert(at);
        }
    }

    pub(crate) fn poll_opened(&self, id: u64) {
        self.polls.add(1);
        self.now().polls.insert(id, Instant::now());
    }

    pub(crate) fn poll_closed(&self, id: u64) {
        self.now().polls.remove(&id);
    }

    /// A request to the queue was answered, or failed as a whole for a reason with this stable word.
    pub(crate) fn requested(&self, request: Request, outcome: Result<(), &'static str>) {
        let mut now = self.now();
        match outcome {
            Ok(()) => {
                now.failing.remove(&request);
            }
            Err(error) => {
                self.request_errors[request as usize].add(error);
                let first = Failing { error, times: 0, since: Instant::now() };
                let failing = now.failing.entry(request).or_insert(first);
                failing.error = error;
                failing.times += 1;
            }
        }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn types(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, TypeCount>> {
        self.by_type.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many calls of handlers ended like this, on all routes.
    fn calls(&self, end: CallEnd) -> u64 {
        self.routes.iter().map(|route| route.count(end)).sum()
    }

    /// Everything that went wrong with a message: calls that did not succeed and bodies that could not be decoded.
    fn failures_counted(&self) -> u64 {
        let failed = CallEnd::ALL.into_iter().filter(|end| !matches!(end, CallEnd::Handled | CallEnd::Interrupted));
        failed.map(|end| self.calls(end)).sum::<u64>() + self.undecodable.total()
    }

    fn started_at_seconds(&self) -> f64 {
        self.started_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
    }

    fn depth(&self) -> Option<DepthReading> {
        let depth = *self.depth.lock().unwrap_or_else(PoisonError::into_inner);
        depth.filter(|reading| reading.at.elapsed() < DEPTH_GOOD_FOR)
    }

    /// The backlog over what one daemon works off in a minute; at least one.
    fn wanted_replicas(&self) -> Option<u64> {
        if !self.now().breakers_open.is_empty() {
            return None;
        }
        let visible = self.depth()?.depth.visible?;
        let rate = self.history().busy_rate()?;
        Some(((visible as f64 / (rate * BACKLOG_TARGET.as_secs_f64())).ceil() as u64).max(1))
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
            redelivered: t.redelivered.get(),
            last_receives: t.last_receives.get(),
            last_receives_failed: t.last_receives_failed.get(),
            handled: t.calls(CallEnd::Handled),
            unrouted: t.unrouted.get(),
            repeats_deleted: t.repeats_deleted.get(),
            undecodable: t.undecodable.total() + t.calls(CallEnd::DoesNotFit),
            handler_errors: t.calls(CallEnd::Retry) + t.calls(CallEnd::BadMessage) + t.calls(CallEnd::TargetDown),
            panics: t.calls(CallEnd::Panic),
            timeouts: t.calls(CallEnd::TimeLimit),
            leases_lost: t.leases_lost.get(),
            polls: t.polls.get(),
            polls_empty: t.polls_empty.get(),
            polls_failed: t.polls_failed.get(),
            polls_abandoned: t.polls_abandoned.get(),
            delete_calls: t.delete_calls.get(),
            hide_calls: t.hide_calls.get(),
            attributes_calls: t.attributes_calls.get(),
            reconnects: t.reconnects.get(),
            at_work: now.at_work,
            concurrency: t.limits.concurrency,
            slots_free: now.slots_free,
            in_flight_bytes: now.bytes,
            max_in_flight_bytes: t.limits.max_in_flight_bytes,
            breakers_open: now.breakers_open.keys().map(|route| t.route_name(*route).clone()).collect(),
            open_polls: now.polls.len(),
            oldest_poll: now.oldest_poll(),
        }
    }

    /// How many events of each type were decoded.
    pub fn by_type(&self) -> BTreeMap<Arc<str>, u64> {
        self.telemetry.types().iter().map(|(name, count)| (name.clone(), count.seen)).collect()
    }

    /// What is counted of each route, in the order in which they are asked.
    pub fn routes(&self) -> Vec<RouteSnapshot> {
        let open = self.telemetry.now().breakers_open.clone();
        let route = |(number, route): (usize, &Route)| {
            let seconds = route.seconds.read();
            let failed = CallEnd::ALL.into_iter().filter(|end| *end != CallEnd::Handled);
            RouteSnapshot {
                name: route.name.clone(),
                handled: route.count(CallEnd::Handled),
                failed: failed.map(|end| (end.label(), route.count(end))).filter(|(_, count)| *count > 0).collect(),
                mean_call: mean(&seconds).map(Duration::from_secs_f64),
                down_for: open.get(&number).map(Instant::elapsed),
            }
        };
        self.telemetry.routes.iter().enumerate().map(route).collect()
    }

    /// How often messages had been received when their handler succeeded: for each receive count from 1, how many; those
    /// from 6 on together, with None.
    pub fn receive_counts(&self) -> Vec<(Option<u32>, u64)> {
        let reading = self.telemetry.receive_count_at_success.read();
        let mut before = 0;
        let mut counts: Vec<(Option<u32>, u64)> = Vec::new();
        for (bound, up_to) in reading.steps.iter().take(5) {
            counts.push((Some(*bound as u32), up_to - before));
            before = *up_to;
        }
        counts.push((None, reading.count - before));
        counts
    }

    /// The kinds of requests to the queue that fail at present.
    pub fn troubles(&self) -> Vec<Trouble> {
        let failing = self.telemetry.now().failing.clone();
        let trouble = |(request, failing): (Request, Failing)| Trouble {
            request: request.label(),
            error: failing.error,
            times: failing.times,
            since: failing.since.elapsed(),
        };
        failing.into_iter().map(trouble).collect()
    }

    /// The last failures, alike ones together, the latest first.
    pub fn failures(&self) -> Vec<RecentFailure> {
        self.telemetry.failures.lock().unwrap_or_else(PoisonError::into_inner).list()
    }

    /// The last hour, as far as [`Monitor::sample`] was called; the oldest first.
    pub fn history(&self) -> Vec<Sample> {
        self.telemetry.history().list()
    }

    /// Takes a sample of what happened since the last one. To be called by one who watches, every [`SAMPLE_EVERY`].
    pub fn sample(&self, since_last: Duration) {
        /// With fewer free slots than a receive could fill, slots are what holds the daemon up.
        const FEW: usize = 10;
        let t = &self.telemetry;
        let now = t.now().clone();
        let sample = Sample {
            seconds: since_last.as_secs_f64(),
            oldest: t.time_in_queue.take_largest(),
            at_work: now.at_work as u64,
            target_down: !now.breakers_open.is_empty(),
            ..Sample::default()
        };
        let counts = Counts {
            received: t.received.get(),
            deleted: t.deleted.get(),
            failed: t.failures_counted(),
            full: now.slots_free < FEW.min(t.limits.concurrency) && now.breakers_open.is_empty(),
        };
        t.history().add(counts, sample);
    }

    /// What the engine found the queue to be; None before it has looked.
    pub fn queue(&self) -> Option<QueueSeen> {
        self.telemetry.queue.get().cloned()
    }

    /// The depth of the queue as it was last told by [`Monitor::depth_was`]; None when that is more than five minutes ago.
    pub fn depth(&self) -> Option<DepthReading> {
        self.telemetry.depth()
    }

    /// Tells those who watch how deep the queue is; `requests` is how many requests it took to know.
    pub fn depth_was(&self, depth: Depth, requests: u64) {
        self.telemetry.attributes_calls.add(requests);
        let reading = DepthReading { depth, at: Instant::now() };
        *self.telemetry.depth.lock().unwrap_or_else(PoisonError::into_inner) = Some(reading);
    }

    /// How many daemons like this one would handle the visible messages within a minute: the backlog over the speed of
    /// the last busy minute of the hour. None while either is unknown, and while a target is down: more daemons would
    /// only spend receives.
    pub fn wanted_replicas(&self) -> Option<u64> {
        self.telemetry.wanted_replicas()
    }

    /// For how long the consumer has been there.
    pub fn uptime(&self) -> Duration {
        self.telemetry.started.elapsed()
    }

    /// All metrics, in the text format of Prometheus.
    pub fn metrics(&self) -> String {
        metrics::text(&self.telemetry, self.is_live())
    }

    /// Whether the consumer is alive: false only when an open poll is older than its wait and 15 s, or when the engine's
    /// loop has not turned for 15 s. No free slot, an open breaker, back-off and draining are no failures.
    pub fn is_live(&self) -> bool {
        const MARGIN: Duration = Duration::from_secs(15);
        let now = self.telemetry.now();
        let over = self.telemetry.phase() == Phase::Ended;
        let wait = self.telemetry.limits.wait;
        over || now.turned.elapsed() < MARGIN && now.oldest_poll().is_none_or(|age| age < wait + MARGIN)
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
    /// Deliveries of messages that had been received before.
    pub redelivered: u64,
    /// Deliveries on the last receive before the dead-letter queue, where the redrive policy is known.
    pub last_receives: u64,
    /// Those of them that were not handled: SQS moves them to the dead-letter queue.
    pub last_receives_failed: u64,
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
    /// Bodies that could not be decoded, and events that did not fit the type of their handler.
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
    /// Reads of the attributes of the queue and of its dead-letter queue.
    pub attributes_calls: u64,
    /// How often the connections were given up and opened anew.
    pub reconnects: u64,
    /// Deliveries held now.
    pub at_work: usize,
    /// The most that may be held.
    pub concurrency: usize,
    /// Slots that are neither held by a delivery nor claimed by an open receive.
    pub slots_free: usize,
    /// Bytes held or reserved now.
    pub in_flight_bytes: usize,
    /// The most bytes that may be held.
    pub max_in_flight_bytes: usize,
    /// The routes whose target is down.
    pub breakers_open: Vec<Arc<str>>,
    /// Receives that wait for their answer.
    pub open_polls: usize,
    /// The age of the oldest of them.
    pub oldest_poll: Option<Duration>,
}

/// What is counted of one route, at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RouteSnapshot {
    /// Its name, which no other route of the consumer has.
    pub name: Arc<str>,
    /// Calls that succeeded.
    pub handled: u64,
    /// Calls that did not, by the stable word for how they ended; those that never happened are left out.
    pub failed: Vec<(&'static str, u64)>,
    /// How long a call takes on the average; None before the first.
    pub mean_call: Option<Duration>,
    /// For how long its target has been down; None when it is not.
    pub down_for: Option<Duration>,
}

fn mean(reading: &Reading) -> Option<f64> {
    (reading.count > 0).then(|| reading.sum / reading.count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two routes of the same name.
    pub(super) fn telemetry() -> Telemetry {
        let limits = Limits { concurrency: 64, max_in_flight_bytes: 1 << 20, wait: Duration::from_secs(20) };
        Telemetry::new(limits, vec!["message.*".into(), "message.*".into()], UNIX_EPOCH)
    }

    fn monitor() -> Monitor {
        Monitor::new(Arc::new(telemetry()))
    }

    #[test]
    fn names_that_stand_twice_are_numbered() {
        let names = ["a", "b", "a", "a (2)", "a"].map(Arc::from).to_vec();
        assert_eq!(distinct(names), ["a", "b", "a (2)", "a (2) (2)", "a (3)"].map(Arc::from));
    }

    #[tokio::test(start_paused = true)]
    async fn types_that_are_not_known_are_bounded_in_number_and_length_and_never_push_out_a_known_one() {
        let monitor = monitor();
        for n in 0..1_000 {
            monitor.telemetry.seen(&format!("{n}{}", "x".repeat(10_000)), false);
        }
        assert!(monitor.telemetry.seen("message.new", true));
        assert!(!monitor.telemetry.seen("message.new", true));
        let types = monitor.by_type();
        assert_eq!(types.len(), UNKNOWN_TYPES_COUNTED + 2, "one for all others, one for the known one");
        assert_eq!(types["other"], 1_000 - UNKNOWN_TYPES_COUNTED as u64);
        assert_eq!(types["message.new"], 2);
        assert!(types.keys().all(|name| name.len() <= TYPE_NAME_KEPT));
    }

    #[tokio::test(start_paused = true)]
    async fn replicas_are_wanted_by_backlog_and_by_the_speed_when_busy() {
        let monitor = monitor();
        monitor.depth_was(Depth { visible: Some(60_000), ..Depth::default() }, 1);
        assert_eq!(monitor.wanted_replicas(), None, "nobody knows how fast it can be");
        for _ in 0..3 {
            monitor.telemetry.turned(Turn { at_work: 60, slots_free: 4, ..Turn::default() });
            monitor.telemetry.deleted.add(2_000);
            monitor.sample(SAMPLE_EVERY);
        }
        assert_eq!(monitor.wanted_replicas(), Some(5), "60,000 at 200 a second are five minutes");
        monitor.telemetry.turned(Turn { breakers_open: vec![0], ..Turn::default() });
        assert_eq!(monitor.wanted_replicas(), None, "more of them would not bring the target back");
        monitor.telemetry.turned(Turn::default());
        monitor.depth_was(Depth { visible: Some(0), ..Depth::default() }, 1);
        assert_eq!(monitor.wanted_replicas(), Some(1));
        tokio::time::advance(DEPTH_GOOD_FOR).await;
        assert_eq!(monitor.wanted_replicas(), None, "nobody has looked for long");
    }

    #[tokio::test(start_paused = true)]
    async fn only_an_old_poll_and_a_loop_that_stands_still_are_not_alive() {
        let monitor = monitor();
        let turn = |n: u64| {
            let monitor = monitor.clone();
            async move {
                for _ in 0..n {
                    tokio::time::advance(Duration::from_secs(1)).await;
                    // No free slot and a target that is down: no failures.
                    monitor.telemetry.turned(Turn { slots_free: 0, breakers_open: vec![0], ..Turn::default() });
                }
            }
        };
        turn(600).await;
        assert!(monitor.is_live());
        monitor.telemetry.poll_opened(1);
        turn(34).await;
        assert!(monitor.is_live(), "a poll may take its wait and 15 s");
        turn(1).await;
        assert!(!monitor.is_live());
        monitor.telemetry.poll_closed(1);
        assert!(monitor.is_live());
        tokio::time::advance(Duration::from_secs(15)).await;
        assert!(!monitor.is_live(), "the loop has not turned");
        monitor.telemetry.enter(Phase::Ended);
        assert!(monitor.is_live(), "and when the run is over it need not");
    }

    #[tokio::test(start_paused = true)]
    async fn a_kind_of_request_is_in_trouble_until_one_of_it_is_answered() {
        let monitor = monitor();
        for error in ["unreachable", "access_denied"] {
            monitor.telemetry.requested(Request::Receive, Err(error));
            tokio::time::advance(Duration::from_secs(5)).await;
        }
        monitor.telemetry.requested(Request::Delete, Ok(()));
        let since = Duration::from_secs(10);
        let trouble = Trouble { request: "receive", error: "access_denied", times: 2, since };
        assert_eq!(monitor.troubles(), [trouble]);
        monitor.telemetry.requested(Request::Receive, Ok(()));
        assert_eq!(monitor.troubles(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_breaker_is_open_since_it_was_first_seen_open() {
        let monitor = monitor();
        for _ in 0..3 {
            monitor.telemetry.turned(Turn { breakers_open: vec![1], ..Turn::default() });
            tokio::time::advance(Duration::from_secs(5)).await;
        }
        let routes = monitor.routes();
        assert_eq!((routes[0].down_for, routes[1].down_for), (None, Some(Duration::from_secs(15))));
        monitor.telemetry.turned(Turn::default());
        assert_eq!(monitor.routes()[1].down_for, None);
    }
}
