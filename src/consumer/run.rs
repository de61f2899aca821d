//! The loop of one run, which owns every task: polls → arrivals → settlements.
//!
//! It decides when to receive and when the run is over. What becomes of a message is its worker's decision.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tracing::{debug, error, warn};

use super::attributes;
use super::budget::{Budget, Claim};
use super::clock::Clock;
use super::dedup::DedupCache;
use super::drain::Drain;
use super::engine::Engine;
use super::expiring::Expiring;
use super::facts::Facts;
use super::flow::{self, Flow};
use super::latency::Latency;
use super::lease::{Arrival, LeaseTable};
use super::observer::Watchers;
use super::pace::{PATIENCE, Pace};
use super::receive::{Outcome, Poll, Polled};
use super::settings::{MIN_VISIBILITY, Settings};
use super::settle::Settler;
use super::settlement::Settlement;
use super::summary::{Ended, Summary};
use super::work::{Task, Work};
use crate::queue::{BATCH, Delivery, MAX_MESSAGE_SIZE, MAX_VISIBILITY, MessageId, Queue, QueueError};
use crate::router::Router;
use crate::telemetry::{Monitor, Occupancy, Phase, Request, Telemetry};

/// The visibility timeout that is asked for when the queue's own cannot be read.
const DEFAULT_VISIBILITY: Duration = Duration::from_secs(60);

/// The wait of the first receive: short, so that a wrong queue is known at once.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// How often the first receive is tried where nothing answers: a connection may break, but a supervisor should know soon.
const FIRST_TRIES: u32 = 3;

/// The engine's loop turns at least this often, which is how it is known to be alive.
const TICK: Duration = Duration::from_secs(5);

/// How often those who watch are told of the flow to the targets, at the most.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How often the queue is asked how many messages are visible, where that matters.
const DEPTH_ASKED: Duration = Duration::from_secs(600);

/// How long that may take.
const DEPTH_LIMIT: Duration = Duration::from_secs(10);

/// With `until_empty`, a run ends when nothing has succeeded for so long and what is left fails.
const STUCK: Duration = Duration::from_secs(15 * 60);

/// Of how many messages the summary remembers that they are hidden by a retry delay.
const HIDDEN_REMEMBERED: usize = 100_000;

/// One run: what its loop owns. Dropping it ends every task.
pub(super) struct Run<Q> {
    queue: Arc<Q>,
    engine: Arc<Engine>,
    polls: JoinSet<Polled>,
    workers: JoinSet<Settlement>,
    services: JoinSet<()>,
    pace: Pace,
    next_poll: u64,
    /// When the flow to the targets was last looked at, for those who watch.
    looked: Instant,
    /// When the last receive was opened, and for how long it waits.
    last_poll: Option<(Instant, Duration)>,
    /// How many messages the open receives may bring.
    asked_for: usize,
    /// Nothing succeeded for too long: see `is_stuck`.
    gave_up: bool,
    /// What a message is taken to weigh before it has arrived.
    message_size: usize,
    /// Messages that are hidden by a retry delay, and until when.
    hidden: Expiring<MessageId, ()>,
}

impl<Q: Queue> Run<Q> {
    pub(super) fn assemble(
        queue: Arc<Q>,
        router: Router,
        settings: Settings,
        watchers: Watchers,
        facts: Option<attributes::Read>,
        dedup: DedupCache,
        latency: Arc<Latency>,
    ) -> Self {
        let Watchers { telemetry, observer } = watchers;
        let known = facts.as_ref().and_then(|read| read.as_ref().ok());
        let whole = known.and_then(|facts| facts.visibility_timeout);
        let own = whole.filter(|own| (MIN_VISIBILITY..=MAX_VISIBILITY).contains(own));
        if let (None, None, Some(own)) = (settings.visibility, own, whole) {
            warn!("the queue's visibility timeout of {own:?} cannot be renewed; asking for {DEFAULT_VISIBILITY:?}");
        }
        // It is named in every receive, also when it is the queue's own: anyone who changes the queue's must not shorten
        // leases that are counted on here.
        let visibility = settings.visibility.or(own).unwrap_or(DEFAULT_VISIBILITY);
        let message_size = known.and_then(|facts| facts.max_message_size).unwrap_or(MAX_MESSAGE_SIZE);
        let leases = LeaseTable::new(visibility, Clock::new(settings.time_suspended), latency.clone());
        let (settler, deletes, visibility_changes) = Settler::new(&queue, &telemetry, &latency, settings.concurrency);
        let mut services = JoinSet::new();
        services.spawn(leases.clone().keep(queue.clone(), telemetry.clone()));
        services.spawn(deletes);
        services.spawn(visibility_changes);
        let mut random = match settings.random_seed {
            Some(seed) => fastrand::Rng::with_seed(seed),
            None => chance(),
        };
        let flow = Flow::new(router.places(), settings.concurrency, random.fork());
        services.spawn(flow.clone().drive());
        services.spawn(look_at_the_depth(queue.clone(), flow.clone(), telemetry.clone()));
        let engine = Engine {
            budget: Budget::new(
                settings.concurrency,
                flow::most_held(settings.concurrency),
                settings.max_in_flight_bytes,
            ),
            flow,
            leases,
            groups: Arc::default(),
            dedup,
            settler,
            drain: Drain::new(settings.grace),
            latency,
            visibility,
            facts: Facts::new(queue.known()),
            random: Mutex::new(random),
            marks: router.marks(),
            router,
            telemetry,
            settings,
            observer,
        };
        let engine = Arc::new(engine);
        if let Some(failure) = attributes::take_in(&engine, facts)
            && !mutant!("ask-for-attributes-once")
        {
            services.spawn(attributes::ask_again(engine.clone(), queue.clone(), failure));
        }
        Run {
            queue,
            pace: Pace::new(engine.settings.concurrency),
            engine,
            polls: JoinSet::new(),
            workers: JoinSet::new(),
            services,
            next_poll: 0,
            looked: Instant::now(),
            last_poll: None,
            asked_for: 0,
            gave_up: false,
            message_size: message_size.min(MAX_MESSAGE_SIZE),
            hidden: Expiring::new(HIDDEN_REMEMBERED),
        }
    }

    /// The loop: until the run is over, or a first receive is refused.
    pub(super) async fn until_over(
        mut self,
        mut shutdown: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Summary, QueueError> {
        loop {
            self.open_polls();
            if self.engine.drain.has_begun() && self.polls.is_empty() {
                self.engine.drain.end_receives();
            }
            if let Some(ended) = self.ended() {
                return Ok(self.close(ended));
            }
            if self.is_stuck() {
                self.begin_drain();
            }
            let wake = self.end_handlers_in_time().map_or_else(|| self.next_wake(), |at| self.next_wake().min(at));
            tokio::select! {
                biased;
                () = &mut shutdown, if !self.engine.drain.has_begun() => self.begin_drain(),
                Some(done) = self.workers.join_next(), if !self.workers.is_empty() => self.settled(done),
                Some(done) = self.polls.join_next(), if !self.polls.is_empty() => self.polled(unwind(done))?,
                Some(done) = self.services.join_next() => unwind(done),
                () = self.engine.budget.freed() => {}
                () = self.engine.flow.allowance_changed() => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    /// Issues the receives that there is a wish and room for.
    fn open_polls(&mut self) {
        let now = Instant::now();
        let engine = &self.engine;
        engine.telemetry.turned(Occupancy {
            at_work: self.workers.len(),
            slots_free: engine.budget.free_slots(),
            bytes: engine.budget.bytes_used(),
        });
        self.look_at_the_flow(now);
        let engine = &self.engine;
        if engine.drain.has_begun() || now < self.pace.not_before || self.is_empty_for_good() {
            return;
        }
        while self.polls.len() < self.pace.wanted {
            let Some(claim) = self.claim(now) else { return };
            self.pace.waiting_since = None;
            let wait = self.engine.settings.wait;
            let wait = if self.pace.started { wait } else { wait.min(FIRST_WAIT) };
            self.next_poll += 1;
            self.last_poll = Some((now, wait));
            self.asked_for += claim.slots();
            let sent = self.engine.leases.now();
            let poll = Poll { id: self.next_poll, sent, wait, visibility: self.engine.visibility, claim };
            self.engine.telemetry.poll_opened(poll.id);
            self.polls.spawn(Box::pin(poll.receive(self.queue.clone(), self.engine.drain.token())));
        }
    }

    /// Tells those who watch of the flow to the targets, now and then: the look takes time for each message that waits.
    fn look_at_the_flow(&mut self, now: Instant) {
        /// Of so many messages each further time makes the looks rarer by `LOOK_EVERY`.
        const MANY: usize = 4_096;
        let many = u32::try_from(self.workers.len() / MANY).unwrap_or(u32::MAX);
        if now >= self.looked + LOOK_EVERY.saturating_mul(1 + many).min(TICK) {
            self.looked = now;
            let telemetry = &self.engine.telemetry;
            telemetry.looked(self.engine.flow.look(telemetry.route_names()));
        }
    }

    /// Room for one more receive, where there is any and the targets take more.
    fn claim(&mut self, now: Instant) -> Option<Claim> {
        let engine = &self.engine;
        let mut allowed = engine.flow.allowance().map(|allowed| allowed.saturating_sub(self.asked_for));
        if engine.budget.is_full() && !engine.flow.make_room() {
            // What is held fails, and others may not: one at a time is received to see.
            let one = self.polls.is_empty() && engine.budget.only_parked() && engine.flow.down().is_empty();
            allowed = Some(usize::from(one));
        }
        match allowed {
            Some(0) => None,
            Some(few) if few < BATCH => engine.budget.claim(few, self.message_size),
            _ => {
                let since = *self.pace.waiting_since.get_or_insert(now);
                let make_do = self.workers.is_empty() || now >= since + PATIENCE;
                let ready = make_do || engine.budget.free_slots() >= BATCH;
                if ready { engine.budget.claim(BATCH, self.message_size) } else { None }
            }
        }
    }

    /// When the loop has to look again though nothing happened.
    fn next_wake(&self) -> Instant {
        let now = Instant::now();
        let mut wake = now + TICK;
        if self.pace.not_before > now {
            wake = wake.min(self.pace.not_before);
        }
        if let Some(since) = self.pace.waiting_since
            && since + PATIENCE > now
        {
            wake = wake.min(since + PATIENCE);
        }
        match self.engine.drain.end() {
            Some(end) => wake.min(end),
            None => wake,
        }
    }

    /// While draining, ends the time of the handlers when the rest is needed for returning; says when to look again.
    fn end_handlers_in_time(&self) -> Option<Instant> {
        self.engine.drain.end_handlers_in_time(self.engine.leases.held(), self.engine.latency.slow())
    }

    /// One receive came back.
    fn polled(&mut self, mut polled: Polled) -> Result<(), QueueError> {
        let telemetry = self.engine.telemetry.clone();
        telemetry.poll_closed(polled.poll.id);
        telemetry.client_fallbacks.rise_to(self.queue.fallbacks());
        self.asked_for -= polled.poll.claim.slots();
        let deliveries = match std::mem::replace(&mut polled.outcome, Outcome::Hung) {
            Outcome::Answered(deliveries) => deliveries,
            Outcome::Failed(failure) => {
                telemetry.polls_failed.add(1);
                telemetry.requested(Request::Receive, Err(failure.label()));
                let passes = matches!(
                    failure,
                    QueueError::Throttled { .. } | QueueError::OverLimit | QueueError::Service { .. }
                );
                let last_try = failure.needs_action() || self.pace.failures + 1 >= FIRST_TRIES;
                if !self.pace.started && !passes && last_try && !self.engine.drain.has_begun() {
                    return Err(failure);
                }
                self.pace.failed(&failure, self.engine.jitter(), &telemetry);
                return Ok(());
            }
            Outcome::Hung => {
                telemetry.polls_abandoned.add(1);
                let failure = QueueError::TimedOut { after: polled.took };
                telemetry.requested(Request::Receive, Err(failure.label()));
                if !self.pace.started && !self.engine.drain.has_begun() {
                    return Err(failure);
                }
                if self.pace.hung(self.engine.jitter()) {
                    warn!("two receives in a row hung; opening new connections");
                    telemetry.reconnects.add(1);
                    self.queue.reconnect();
                }
                return Ok(());
            }
        };
        if !self.pace.started {
            telemetry.enter(Phase::Receiving);
        }
        self.pace.answered(&polled, deliveries.len(), self.engine.settings.wait);
        let outcome = if deliveries.is_empty() { &telemetry.polls_empty } else { &telemetry.polls_filled };
        outcome.add(1);
        telemetry.requested(Request::Receive, Ok(()));
        for delivery in deliveries {
            self.arrived(delivery, &mut polled.poll);
        }
        Ok(())
    }

    /// One delivery is here: it gets a worker, unless its message has one already.
    fn arrived(&mut self, delivery: Delivery, poll: &mut Poll) {
        let engine = &self.engine;
        let held = poll.claim.take(delivery.body.len());
        // A sender's clock may be ahead of ours; then the message has just been sent.
        let in_queue = |sent_at| (engine.settings.wall_clock)().duration_since(sent_at).unwrap_or_default();
        let in_queue = delivery.sent_at.map(in_queue);
        engine.telemetry.arrived(delivery.receive_count, engine.max_receive_count(), in_queue);
        self.hidden.remove(&delivery.receipt.message_id);
        let lease = match engine.leases.arrive(&delivery, poll.sent) {
            Arrival::New(lease) => lease,
            Arrival::Joined => {
                engine.telemetry.duplicates.add(1);
                debug!(message_id = %delivery.receipt.message_id, "a duplicate of a message at work brought its newer receipt");
                return;
            }
        };
        let group = delivery.group.clone().filter(|_| engine.fifo());
        let hidden_for = group.as_ref().map(|group| engine.groups.hidden_for(group, lease.message_id()));
        let hidden_for = hidden_for.unwrap_or_default();
        let task = if engine.dedup.contains(lease.message_id()) {
            Task::DeleteRepeat
        } else if engine.drain.has_begun() || !hidden_for.is_zero() {
            Task::Return(hidden_for)
        } else {
            Task::Work
        };
        let group = group.filter(|_| task == Task::Work && !mutant!("no-order-in-a-group"));
        let ticket = group.map(|group| engine.groups.enqueue(group, lease.message_id().clone(), lease.returned()));
        let work = Work::new(engine.clone(), lease, held, ticket, delivery, task);
        // On the heap once, rather than moved from the stack into the task and about in it.
        self.workers.spawn(Box::pin(work.run()));
    }

    /// One delivery is settled, and with it perhaps others: those of a batch of deletes end together.
    fn settled(&mut self, first: Result<Settlement, JoinError>) {
        let mut done = Some(first);
        while let Some(one) = done {
            self.count(one);
            done = self.workers.try_join_next();
        }
    }

    fn count(&mut self, done: Result<Settlement, JoinError>) {
        let telemetry = &self.engine.telemetry;
        match done {
            Ok(Settlement::Deleted) => telemetry.deleted.add(1),
            Ok(Settlement::Nacked(id, until)) => {
                telemetry.nacked.add(1);
                self.hidden.insert(id, (), until);
            }
            Ok(Settlement::Returned(id, until)) => {
                telemetry.returned.add(1);
                if until > Instant::now() {
                    self.hidden.insert(id, (), until);
                }
            }
            Ok(Settlement::Interrupted) => telemetry.interrupted.add(1),
            Err(failure) => {
                telemetry.interrupted.add(1);
                error!(error = %failure, "a worker ended abnormally, which is a defect; its message will be received again");
            }
        }
    }

    pub(super) fn begin_drain(&mut self) {
        let open = self.last_poll.filter(|_| !self.polls.is_empty());
        self.engine.drain.begin(open.map(|(opened, wait)| opened + wait));
        self.engine.flow.drain();
        self.engine.telemetry.enter(Phase::Draining);
        debug!(polls = self.polls.len(), at_work = self.workers.len(), "draining");
    }

    /// The queue was empty at the last look, and nothing is here that could change that.
    fn is_empty_for_good(&self) -> bool {
        self.engine.settings.until_empty && self.pace.empty && self.polls.is_empty() && self.workers.is_empty()
    }

    /// Until the queue is empty was asked for, and it never will be: whatever is left fails.
    fn is_stuck(&mut self) -> bool {
        let stuck =
            self.engine.settings.until_empty && !self.engine.drain.has_begun() && self.engine.flow.stuck_for() >= STUCK;
        if stuck {
            warn!("nothing has succeeded for {STUCK:?}: what is left is returned");
            self.gave_up = true;
        }
        stuck
    }

    /// Whether the run is over, and why.
    fn ended(&self) -> Option<Ended> {
        let nothing_here = self.polls.is_empty() && self.workers.is_empty();
        match self.engine.drain.end() {
            Some(_) if nothing_here && self.engine.drain.was_cut_short() => Some(Ended::GraceRanOut),
            Some(_) if nothing_here && self.gave_up => Some(Ended::TargetUnavailable),
            Some(_) if nothing_here => Some(Ended::Drained),
            Some(end) if Instant::now() >= end => Some(Ended::GraceRanOut),
            Some(_) => None,
            None => self.is_empty_for_good().then_some(Ended::QueueEmpty),
        }
    }

    fn close(mut self, ended: Ended) -> Summary {
        let telemetry = self.engine.telemetry.clone();
        // What is still here has run out of time: whether it was settled is not known.
        telemetry.interrupted.add(self.workers.len() as u64);
        telemetry.polls_abandoned.add(self.polls.len() as u64);
        self.hidden.expire(Instant::now());
        telemetry.turned(Occupancy { slots_free: self.engine.settings.concurrency, ..Occupancy::default() });
        telemetry.looked(self.engine.flow.look(telemetry.route_names()));
        telemetry.enter(Phase::Ended);
        Summary {
            counts: Monitor::new(telemetry).snapshot(),
            still_hidden: self.hidden.len(),
            still_hidden_ids: self.hidden.keys().take(10).cloned().collect(),
            ended,
        }
    }
}

/// Asks how many messages wait, while a target has been down for longer than SQS lets a message be held.
async fn look_at_the_depth<Q: Queue>(queue: Arc<Q>, flow: Arc<Flow>, telemetry: Arc<Telemetry>) {
    loop {
        flow.wants_depth().await;
        telemetry.attributes_calls.add(1);
        let facts = tokio::time::timeout(DEPTH_LIMIT, queue.facts()).await;
        // On a FIFO queue the same messages come first however many wait behind them.
        let facts = facts.ok().and_then(Result::ok).filter(|facts| !facts.fifo);
        let visible = facts.and_then(|facts| facts.visible);
        flow.depth_is(visible.map(|visible| usize::try_from(visible).unwrap_or(usize::MAX)));
        tokio::time::sleep(DEPTH_ASKED).await;
    }
}

/// A seed from outside: the one place where ambient chance enters the engine.
#[allow(clippy::disallowed_methods, reason = "nobody has named a seed")]
fn chance() -> fastrand::Rng {
    fastrand::Rng::new()
}

/// Poll tasks and services do not panic; if one does, that is a defect, and it is not hidden.
fn unwind<T>(done: Result<T, JoinError>) -> T {
    match done {
        Ok(value) => value,
        Err(failure) => std::panic::resume_unwind(failure.into_panic()),
    }
}
