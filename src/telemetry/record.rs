//! What the engine tells: it counts here, says what is the case, and hands in what failed.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::count::{Kinds, RouteCounts, TypeCount, distinct};
use super::counters::Counters;
use super::dead_letter::{DeadLetter, FailedLastReceive, Keeper};
use super::dead_lettered::DeadLettered;
use super::failures::{Failed, Failures};
use super::flow::TargetFlow;
use super::histogram::Histogram;
use super::history::History;
use super::label::{CallEnd, OTHER, Request, RequestError, Undecodable};
use super::now::{Failing, Now, Occupancy, Phase};
use super::outage::{Outage, Told};
use super::snapshot::{DepthReading, QueueSeen};
use super::text::{FOREIGN_SHOWN, shown};
use super::throttle::{Cause, Throttle};

/// How many event types that this version does not know are counted by name; those beyond them are counted together.
/// Such types are named by anyone who sends to the queue, so their number is bounded; the known ones are bounded anyway.
pub(super) const UNKNOWN_TYPES_COUNTED: usize = 256;

/// Until when the depth of the queue is told: nobody may have asked for an hour, and then the next answer is from then.
pub(super) const DEPTH_GOOD_FOR: Duration = Duration::from_secs(300);

/// Within which time a backlog is to be worked off by the replicas that are wanted.
const BACKLOG_TARGET: Duration = Duration::from_secs(60);

/// From a cached connection to a queue that was asleep over the weekend.
const TIME_IN_QUEUE_BOUNDS: &[f64] =
    &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0, 345_600.0];

const LEASE_MARGIN_BOUNDS: &[f64] = &[0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0, 3_600.0];

const RECEIVE_COUNT_BOUNDS: &[f64] = &[1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0];

/// What the engine counts, shared by all its tasks.
#[derive(Debug)]
pub(crate) struct Telemetry {
    counters: Counters,
    pub(crate) undecodable: Kinds,
    pub(super) request_errors: [Kinds; Request::ALL.len()],
    /// How long messages had been in the queue when they arrived.
    pub(crate) time_in_queue: Histogram,
    /// What was left of leases when deletes were confirmed.
    pub(crate) lease_margin: Histogram,
    pub(crate) receive_count_at_success: Histogram,
    pub(super) routes: Vec<RouteCounts>,
    by_type: Mutex<BTreeMap<Arc<str>, TypeCount>>,
    logged: Mutex<Throttle>,
    failures: Mutex<Failures>,
    history: Mutex<History>,
    pub(super) depth: Mutex<Option<DepthReading>>,
    /// How many lines the log has dropped: it is asked, since the log is there before any consumer.
    pub(super) log_lines_dropped: OnceLock<fn() -> u64>,
    pub(super) dead_letters: Keeper,
    dead_lettered: Mutex<DeadLettered>,
    queue: Mutex<Option<QueueSeen>>,
    now: Mutex<Now>,
    pub(super) phase: watch::Sender<Phase>,
    pub(super) limits: Limits,
    pub(super) started: Instant,
    /// When a message arrived last that had not been received before, in milliseconds after the start.
    last_event: AtomicU64,
}

/// What a consumer may do at the most, as far as watching it needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) concurrency: usize,
    pub(crate) max_in_flight_bytes: usize,
    pub(crate) wait: Duration,
}

/// So that who counts says `telemetry.received.add(1)`, whether a number stands in the table or not.
impl Deref for Telemetry {
    type Target = Counters;

    fn deref(&self) -> &Counters {
        &self.counters
    }
}

impl Telemetry {
    /// Nothing was counted yet. `routes` are the names of the routes, by number.
    pub(crate) fn new(limits: Limits, routes: Vec<Arc<str>>) -> Self {
        let now = Instant::now();
        let routes: Vec<RouteCounts> = distinct(routes).into_iter().map(RouteCounts::new).collect();
        Telemetry {
            counters: Counters::default(),
            undecodable: Kinds::new(&Undecodable::ALL.map(Undecodable::label)),
            request_errors: Request::ALL.map(|_| Kinds::new(&RequestError::ALL.map(RequestError::label))),
            time_in_queue: Histogram::new(TIME_IN_QUEUE_BOUNDS),
            lease_margin: Histogram::new(LEASE_MARGIN_BOUNDS),
            receive_count_at_success: Histogram::new(RECEIVE_COUNT_BOUNDS),
            by_type: Mutex::default(),
            logged: Mutex::default(),
            failures: Mutex::default(),
            history: Mutex::default(),
            depth: Mutex::default(),
            log_lines_dropped: OnceLock::new(),
            dead_letters: Keeper::default(),
            dead_lettered: Mutex::default(),
            queue: Mutex::default(),
            now: Mutex::new(Now::new(limits.concurrency, routes.iter().map(|route| route.name.clone()))),
            phase: watch::Sender::new(Phase::Starting),
            routes,
            limits,
            started: now,
            last_event: AtomicU64::new(0),
        }
    }

    /// A delivery arrived: how often its message was received by now, after how many receives it goes to the dead-letter
    /// queue, and how long it has been in the queue, where these are known.
    pub(crate) fn arrived(&self, receive_count: u32, max_receive_count: Option<u32>, in_queue: Option<Duration>) {
        self.received.add(1);
        self.redelivered.add(u64::from(receive_count > 1));
        // A redelivery says nothing of whether anybody still sends.
        if receive_count <= 1 {
            let after = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.last_event.store(after, Ordering::Relaxed);
        }
        self.last_receives.add(u64::from(max_receive_count.is_some_and(|most| receive_count >= most)));
        if let Some(in_queue) = in_queue {
            self.time_in_queue.observe(in_queue.as_secs_f64());
        }
    }

    /// How long ago a message arrived last that had not been received before, or the start where none has.
    pub(super) fn since_last_event(&self) -> Duration {
        self.started.elapsed().saturating_sub(Duration::from_millis(self.last_event.load(Ordering::Relaxed)))
    }

    /// Counts one event of a type, which this version knows or not; true when it is the first of it, or the first of all
    /// those that are counted together.
    pub(crate) fn seen(&self, name: &str, known: bool) -> bool {
        let name = shown(name);
        let mut types = self.types();
        if let Some(count) = types.get_mut(name) {
            count.seen += 1;
            return false;
        }
        let full = !known && types.values().filter(|count| !count.known).count() >= UNKNOWN_TYPES_COUNTED;
        let name = if full { OTHER } else { name };
        let count = types.entry(name.into()).or_insert(TypeCount { seen: 0, known });
        count.seen += 1;
        count.seen == 1
    }

    /// A handler's call ended, on the route of this number.
    pub(crate) fn called(&self, route: usize, end: CallEnd, took: Duration) {
        let route = &self.routes[route];
        route.add(end);
        route.seconds.observe(took.as_secs_f64());
    }

    /// The name of a route, which no other has.
    pub(crate) fn route_name(&self, route: usize) -> &Arc<str> {
        &self.routes[route].name
    }

    /// The names of all routes, in their order.
    pub(crate) fn route_names(&self) -> impl Iterator<Item = Arc<str>> {
        self.routes.iter().map(|route| route.name.clone())
    }

    /// Remembers a failure for those who watch.
    pub(crate) fn failed(&self, failed: Failed<'_>) {
        self.failures().add(failed);
    }

    /// A message was not handled on its last receive: counts that, and writes down why.
    pub(crate) fn last_receive_failed(&self, failed: FailedLastReceive<'_>) {
        self.last_receives_failed.add(1);
        let record = DeadLetter::new(failed);
        record.log();
        self.dead_letters.keep(&record);
        self.dead_lettered().add(&record);
    }

    /// What failed on its last receive, in groups.
    pub(super) fn dead_lettered(&self) -> MutexGuard<'_, DeadLettered> {
        self.dead_lettered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call on the route of this number did not succeed while its target is down; what is to be told of that.
    pub(crate) fn outage_goes_on(&self, route: usize, outage: Outage) -> Option<Told> {
        let route = &self.routes[route];
        route.story.failed(outage, route.calls())
    }

    /// A call on the route of this number succeeded; what is to be told of that.
    pub(crate) fn outage_is_over(&self, route: usize) -> Option<Told> {
        let route = &self.routes[route];
        route.story.succeeded(|| route.calls())
    }

    /// Whether something that happens again and again is to be logged this time, and how often it has happened since it
    /// was last: a new cause at once, then at most every ten seconds. An outage must not flood the log.
    pub(crate) fn worth_logging<'a>(&self, cause: impl Into<Cause<'a>>) -> Option<u64> {
        self.logged.lock().unwrap_or_else(PoisonError::into_inner).worth_logging(cause.into())
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|now| std::mem::replace(now, phase) != phase);
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// What the queue was found to be: told again when more of it is known.
    pub(crate) fn found(&self, queue: QueueSeen) {
        *self.queue() = Some(queue);
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Option<QueueSeen>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The loop of the engine turned.
    pub(crate) fn turned(&self, turn: Occupancy) {
        let at = Instant::now();
        let mut now = self.now();
        now.turned = at;
        now.at_work = turn.at_work;
        now.slots_free = turn.slots_free;
        now.bytes = turn.bytes;
    }

    /// The engine has looked at the flow to its targets, in the order of the routes.
    pub(crate) fn looked(&self, mut flows: Vec<TargetFlow>) {
        for kind in flows.iter_mut().flat_map(|flow| &mut flow.failing_types) {
            // A sender named it.
            if kind.len() > FOREIGN_SHOWN {
                *kind = shown(kind).into();
            }
        }
        let mut now = self.now();
        now.flows = flows;
        now.looked = Instant::now();
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

    pub(super) fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn types(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, TypeCount>> {
        self.by_type.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many calls of handlers ended like this, on all routes.
    pub(super) fn calls(&self, end: CallEnd) -> u64 {
        self.routes.iter().map(|route| route.count(end)).sum()
    }

    pub(super) fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many lines the log has dropped, where that is counted.
    pub(super) fn log_lines_dropped(&self) -> Option<u64> {
        self.log_lines_dropped.get().map(|count| count())
    }

    pub(super) fn depth(&self) -> Option<DepthReading> {
        let depth = *self.depth.lock().unwrap_or_else(PoisonError::into_inner);
        depth.filter(|reading| reading.at.elapsed() < DEPTH_GOOD_FOR)
    }

    /// The backlog over what one daemon works off in a minute; at least one.
    pub(super) fn desired_replicas(&self) -> Option<u64> {
        if !self.now().all_flow() {
            return None;
        }
        let visible = self.depth()?.depth.visible?;
        let rate = self.history().busy_rate()?;
        Some(((visible as f64 / (rate * BACKLOG_TARGET.as_secs_f64())).ceil() as u64).max(1))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::flow::FlowState;
    use super::*;

    /// Two routes of the same name.
    pub(crate) fn telemetry() -> Telemetry {
        let limits = Limits { concurrency: 64, max_in_flight_bytes: 1 << 20, wait: Duration::from_secs(20) };
        Telemetry::new(limits, vec!["message.*".into(), "message.*".into()])
    }

    pub(crate) fn down(lasts: Duration) -> FlowState {
        FlowState::Down { lasts, next_probe_in: None, next_receive_in: None }
    }

    pub(crate) fn flow(state: FlowState) -> TargetFlow {
        TargetFlow { route: "message.*".into(), state, ..TargetFlow::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_counted_from_the_last_message_that_is_new() {
        let telemetry = telemetry();
        let after = async |seconds| {
            tokio::time::advance(Duration::from_secs(seconds)).await;
            telemetry.since_last_event().as_secs()
        };
        assert_eq!(after(60).await, 60, "from the start, where none has come");
        telemetry.arrived(1, None, None);
        assert_eq!(after(5).await, 5);
        telemetry.arrived(2, None, None);
        assert_eq!(after(5).await, 10, "a redelivery does not show that anybody sends");
    }
}
