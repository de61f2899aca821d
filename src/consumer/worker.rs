//! One delivery, from its arrival to its settlement.
//!
//! decode → route → handler, with a time limit, with panics caught, under a lease that is watched → one [`Settlement`].
//! Above the handler nothing fails: whatever happens in it is an answer. A worker never looks at other messages, except
//! that it waits its turn in its FIFO group and in the flow to its target.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use tokio::time::Instant;
use tracing::{Instrument, Level, debug, enabled, error, info, info_span, warn};

use super::account::{Account, HANDLED, REPEAT, UNROUTED};
use super::budget::Held;
use super::clock::{later, part};
use super::engine::Engine;
use super::flow::{Caller, Next, Returned, Verdict};
use super::groups::{Step, Ticket};
use super::lease::Lease;
use super::observer::{Became, Settled};
use super::settings::Unrouted;
use super::settle::Deleted;
use crate::decode::{self, DecodeError, Room};
use crate::event::Event;
use crate::handler::{Call, Context, FailureKind};
use crate::queue::{Delivery, MessageId};
use crate::router::{CallError, Route};
use crate::telemetry::{CallEnd, Cause, Failed, FailedLastReceive, Told, shown};

/// How long what a handler left behind may hold its message: longer than it takes to end what can be ended.
const HELD_AT_MOST: Duration = Duration::from_secs(5);

/// How a delivery ended. Every delivery that did not join another one has exactly one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Settlement {
    /// The message was deleted, confirmed.
    Deleted,
    /// It stays, and may be received again at this time.
    Nacked(MessageId, Instant),
    /// It was returned, and may be received again at this time.
    Returned(MessageId, Instant),
    /// Its lease was lost, or its delete or release was not confirmed.
    Interrupted,
}

impl Settlement {
    /// The word for it, as in the metrics.
    fn word(&self) -> &'static str {
        match self {
            Settlement::Deleted => "deleted",
            Settlement::Nacked(..) => "nacked",
            Settlement::Returned(..) => "returned",
            Settlement::Interrupted => "interrupted",
        }
    }
}

/// What a worker is to do with its delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Work on it.
    Work,
    /// Delete it: its handler has succeeded before.
    DeleteRepeat,
    /// Hand it back, to be received again after this long: it arrived while draining, or before the head of its group is
    /// to be received again.
    Return(Duration),
}

/// One delivery and everything that it holds, given back when this is dropped.
pub(super) struct Work<E> {
    engine: Arc<E>,
    lease: Lease,
    held: Held,
    ticket: Option<Ticket>,
    receive_count: u32,
    account: Account,
}

/// Which event is with which handler.
#[derive(Clone, Copy)]
struct At<'a> {
    number: usize,
    route: &'a Route,
    event: &'a Event,
}

/// What the end of one call of a handler means for the message.
enum Attempt {
    Succeeded,
    /// The handler failed, and calling it again may help.
    Failed(Option<Duration>),
    /// Calling it again for this message is of no use.
    Rejected,
    /// The target takes no more for now, whatever the message.
    TargetBusy(Option<Duration>),
    /// The target could not do it.
    TargetDown,
    /// The message may be somebody else's; true when the handler succeeded all the same.
    LeaseLost(bool),
    /// The grace of the shutdown is over.
    GraceOver,
}

impl Work<Engine> {
    pub(super) fn new(
        engine: Arc<Engine>,
        lease: Lease,
        held: Held,
        ticket: Option<Ticket>,
        receive_count: u32,
    ) -> Self {
        Work { engine, lease, held, ticket, receive_count, account: Account::default() }
    }

    /// Works on a delivery until it is settled.
    pub(super) async fn run(mut self, delivery: Delivery, task: Task) -> Settlement {
        let began = enabled!(Level::DEBUG).then(Instant::now);
        let settlement = match AssertUnwindSafe(self.carry_out(delivery, task)).catch_unwind().await {
            Ok(settlement) => settlement,
            Err(_panic) => self.panicked().await,
        };
        self.tell_the_observer(&settlement);
        if let Some(began) = began {
            let route = self.account.route.map(|number| &**self.engine.telemetry.route_name(number));
            debug!(
                message_id = %self.lease.message_id(),
                r#type = self.account.event_type(),
                route,
                outcome = self.account.outcome,
                settled = settlement.word(),
                milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
                "an event is settled"
            );
        }
        settlement
    }

    fn tell_the_observer(&self, settlement: &Settlement) {
        let Some(observer) = &self.engine.observer else { return };
        let became = match settlement {
            Settlement::Deleted => Became::Deleted,
            _ => self.account.became.unwrap_or(Became::Failed),
        };
        let failed = self.failed(self.account.outcome, &self.account.error);
        observer.settled(Settled { message_id: self.lease.message_id(), became, failed });
    }

    async fn carry_out(&mut self, delivery: Delivery, task: Task) -> Settlement {
        tokio::select! {
            biased;
            () = self.lease.lost().cancelled() => return self.interrupted(),
            () = self.lease.alone() => {}
        }
        match task {
            // The worker before may have succeeded after all.
            Task::Work
                if self.lease.returned()
                    && self.engine.dedup.contains(self.lease.message_id())
                    && !mutant!("forget-the-success-of-the-worker-before") =>
            {
                self.delete_repeat().await
            }
            Task::DeleteRepeat => self.delete_repeat().await,
            Task::Return(delay) => self.nack_unworked_for(delay).await,
            Task::Work => self.work(delivery).await,
        }
    }

    async fn delete_repeat(&mut self) -> Settlement {
        self.account.outcome = REPEAT;
        let settlement = self.delete().await;
        if settlement == Settlement::Deleted {
            self.engine.telemetry.repeats_deleted.add(1);
        }
        settlement
    }

    /// Something panicked that is not a handler: the condition of a route, or this crate. The message is left like one whose
    /// handler failed, with what comes after it in its group.
    async fn panicked(&mut self) -> Settlement {
        self.note(None, CallEnd::Panic.label(), "the condition of a route panicked, or this crate; the log says where");
        if let Some(times) = self.engine.telemetry.worth_logging(("worker", "panic")) {
            error!(
                times,
                "the condition of a route panicked, or this crate, which is a defect; the message is left for a retry"
            );
        }
        let given_up = self.lease.is_lost() || mutant!("lose-what-panics");
        if given_up { self.interrupted() } else { self.nack(None).await }
    }

    async fn work(&mut self, delivery: Delivery) -> Settlement {
        let engine = self.engine.clone();
        if let Some(ticket) = &self.ticket {
            let mut parked = false;
            loop {
                let turn = tokio::select! {
                    biased;
                    () = self.lease.lost().cancelled() => None,
                    () = engine.drain.begun() => Some(Step::Return),
                    turn = ticket.turn(parked) => Some(turn),
                };
                match turn {
                    None => return self.interrupted(),
                    Some(Step::Return) => return self.nack_unworked().await,
                    Some(Step::Work) => break,
                    Some(Step::Park) => {
                        parked = true;
                        self.held.park();
                    }
                }
            }
        }
        let Delivery { receipt, body, receive_count, sent_at, group, trace, attributes: _ } = delivery;
        let decoded = tokio::select! {
            biased;
            decoded = decode(&mut self.held, body, engine.settings.inflate_limit) => Some(decoded),
            () = self.lease.lost().cancelled() => None,
            () = engine.drain.begun() => return self.nack_unworked().await,
        };
        let event = match decoded {
            None => return self.interrupted(),
            Some(Ok(event)) => event,
            Some(Err(failure)) => {
                let Undecodable { failure, hint } = failure;
                engine.telemetry.undecodable.add(failure.label());
                let error = failure.to_string();
                self.note(None, failure.label(), &error);
                let cause = Cause::new(("decode", hint.unwrap_or(failure.label())), &error);
                if let Some(times) = engine.telemetry.worth_logging(cause) {
                    warn!(message_id = %receipt.message_id, receive_count, error, hint, times,
                        "a body cannot be decoded; {}", engine.fate());
                }
                return self.nack(None).await;
            }
        };
        let is_asked_for = self.is_last_receive() || engine.observer.is_some();
        self.account.decoded(&event, is_asked_for);
        let first_of_its_type = engine.telemetry.seen(event.kind().name(), event.kind().known().is_some());
        let Some((number, route)) = engine.router.find(&event) else {
            return self.unrouted(&event, first_of_its_type).await;
        };
        self.account.route = Some(number);
        let span = info_span!(
            "message",
            message_id = %receipt.message_id,
            r#type = shown(event.kind().name()),
            receive_count,
            trace_id = trace.trace_id(),
            aws_trace_id = trace.aws_trace_id(),
        );
        let expires = engine.retention().zip(sent_at).and_then(|(retention, sent_at)| sent_at.checked_add(retention));
        let context = Context::new(receipt.message_id, receive_count, sent_at, group, trace);
        // On the heap, so that a message that only waits for its turn does not take this much room.
        Box::pin(self.handle(number, route, event, context, expires).instrument(span)).await
    }

    /// Calls the handler until there is a settlement.
    async fn handle(
        &mut self,
        number: usize,
        route: &Route,
        event: Event,
        context: Context,
        expires: Option<SystemTime>,
    ) -> Settlement {
        let engine = self.engine.clone();
        let mut caller = engine.flow.enter(number, self.lease.message_id().clone());
        let at = At { number, route, event: &event };
        let mut attempt = 0_u32;
        let mut failures = 0_u32;
        loop {
            match self.turn(&mut caller, expires).await {
                None => return self.interrupted(),
                Some(Next::Call) => {}
                Some(Next::Return) => return self.nack_unworked().await,
                Some(Next::Nack(delay)) => return self.nack(Some(delay)).await,
            }
            attempt = attempt.saturating_add(1);
            let began = Instant::now();
            let (end, ended) = self.call(at, &context, attempt).await;
            engine.telemetry.called(number, end, began.elapsed());
            let verdict = self.check(at, &ended, &mut caller);
            match ended {
                Attempt::Succeeded => {
                    drop(caller);
                    engine.telemetry.receive_count_at_success.observe(self.receive_count.into());
                    self.remember().await;
                    drop(event);
                    self.held.drop_bytes();
                    if mutant!("drop-the-lease-before-the-delete") {
                        self.lease.stop_renewing().await;
                    }
                    return self.delete().await;
                }
                Attempt::LeaseLost(succeeded) => {
                    if succeeded {
                        engine.telemetry.receive_count_at_success.observe(self.receive_count.into());
                        // The message comes again, to whomever: if it is to us, its repeat is deleted.
                        self.remember().await;
                    }
                    return self.interrupted();
                }
                Attempt::GraceOver => {
                    engine.drain.cut_short();
                    return self.nack_unworked().await;
                }
                Attempt::Rejected if mutant!("delete-without-success") => return self.delete().await,
                Attempt::Rejected => return self.nack(None).await,
                Attempt::Failed(delay) => {
                    failures = failures.saturating_add(1);
                    if self.ticket.is_none() || failures >= self.fifo_attempts() {
                        return self.nack(delay).await;
                    }
                    let delay = delay.unwrap_or_else(|| engine.settings.retry.after(failures, engine.jitter()));
                    if !self.pause(delay).await {
                        return if self.lease.is_lost() { self.interrupted() } else { self.nack_unworked().await };
                    }
                }
                Attempt::TargetBusy(_) | Attempt::TargetDown => match verdict {
                    Verdict::Nack(delay) => return self.nack(Some(delay)).await,
                    Verdict::Hold if mutant!("spend-receives-in-an-outage") => return self.nack(None).await,
                    Verdict::Hold if mutant!("hold-nothing-beyond-the-slots") => {}
                    Verdict::Hold => self.park(),
                },
            }
        }
    }

    /// Waits for the turn to call the handler; None when the lease is lost.
    async fn turn(&mut self, caller: &mut Caller, expires: Option<SystemTime>) -> Option<Next> {
        let limit = self.hold_limit(expires);
        let next = tokio::select! {
            biased;
            () = self.lease.lost().cancelled() => return None,
            next = caller.turn(limit, self.receive_count(), self.engine.max_receive_count()) => next,
            () = self.engine.drain.handlers_over() => Next::Return,
        };
        if next == Next::Return && Instant::now() >= limit {
            let receives_left = self.engine.max_receive_count().map(|most| most.saturating_sub(self.receive_count()));
            // The last day of its time in the queue is kept for the receives that it has left.
            const LAST_DAY: Duration = Duration::from_secs(24 * 3600);
            let keeps = self.time_left(expires).map(|left| left.saturating_sub(LAST_DAY.min(part(left, 2))));
            let keeps = keeps.filter(|_| !mutant!("spend-no-receives-at-the-end"));
            let at = Instant::now();
            caller.returned(Returned { at, receives_left, spend_from: keeps.map(|keeps| later(at, keeps)) });
        }
        Some(next)
    }

    /// Gives the slot to others while this message, and with it what stands behind it in its group, waits.
    fn park(&mut self) {
        self.held.park();
        if let Some(ticket) = &self.ticket {
            ticket.park_the_rest();
        }
    }

    /// Takes in what the end of a call says about the target; what it means for the message where that is the target's.
    fn check(&mut self, at: At<'_>, ended: &Attempt, caller: &mut Caller) -> Verdict {
        let kind = at.event.kind().name();
        let verdict = match ended {
            Attempt::TargetBusy(named) => caller.refused(kind, *named),
            Attempt::TargetDown => caller.failed(kind),
            Attempt::Succeeded | Attempt::LeaseLost(true) => {
                self.account.outcome = HANDLED;
                caller.succeeded(kind);
                Verdict::Hold
            }
            _ => {
                caller.ended();
                Verdict::Hold
            }
        };
        self.tell_of_the_target(at, ended);
        verdict
    }

    /// Tells the log that a target is down, or that it is back.
    fn tell_of_the_target(&self, at: At<'_>, ended: &Attempt) {
        let Engine { telemetry, flow, .. } = &*self.engine;
        let told = match ended {
            Attempt::Succeeded | Attempt::LeaseLost(true) => telemetry.outage_is_over(at.number),
            Attempt::TargetBusy(_) | Attempt::TargetDown => {
                flow.outage(at.number).and_then(|outage| telemetry.outage_goes_on(at.number, outage))
            }
            _ => None,
        };
        let Some(told) = told else { return };
        let (route, address) = (&**telemetry.route_name(at.number), at.route.address());
        let error = &*self.account.error;
        match told {
            Told::Down { times } => warn!(
                route,
                address,
                error,
                times,
                "the target is down: nothing succeeds; its messages are held and tried again now and then"
            ),
            Told::OnlyOneFails { times } => warn!(
                route,
                address,
                error,
                times,
                "one message fails and nothing else was tried: it may be the message or the target; it is held and tried \
                 again now and then"
            ),
            Told::Back { down_for, attempts } => {
                let down_for_seconds = (down_for.as_secs_f64() * 1e3).round() / 1e3;
                info!(route, address, down_for_seconds, attempts, "the target is back");
            }
        }
    }

    /// Calls the handler once; says how that ended, and what it means for the message.
    async fn call(&mut self, at: At<'_>, context: &Context, attempt: u32) -> (CallEnd, Attempt) {
        let engine = self.engine.clone();
        let cancellation_grace = engine.drain.cancellation_grace();
        let shared = Call::new(engine.settings.handler_timeout, self.lease.ceiling(), cancellation_grace);
        let context = context.attempt_with(attempt, shared.clone());
        enum Stop {
            LeaseLost,
            TimeOver,
            GraceOver,
        }
        let (stop, answer) = {
            let mut call = pin!(AssertUnwindSafe(at.route.call(at.event.clone(), context)).catch_unwind());
            let stop = tokio::select! {
                biased;
                () = self.lease.lost().cancelled() => Err(Stop::LeaseLost),
                answer = &mut call => Ok(answer),
                () = shared.over() => Err(Stop::TimeOver),
                () = engine.drain.handlers_over() => Err(Stop::GraceOver),
            };
            match stop {
                Ok(answer) => (None, Some(answer)),
                Err(stop) => {
                    // A moment for the handler to put its things in order, or even to finish.
                    shared.cancel();
                    (Some(stop), tokio::time::timeout(cancellation_grace, call).await.ok())
                }
            }
        };
        if !matches!(answer, Some(Ok(Ok(())))) {
            self.released(&shared).await;
        }
        match (stop, answer) {
            (None, Some(answer)) => self.read(at, answer),
            (Some(Stop::LeaseLost), Some(Ok(Ok(())))) => (CallEnd::Handled, Attempt::LeaseLost(true)),
            (Some(Stop::LeaseLost), _) => (CallEnd::Interrupted, Attempt::LeaseLost(false)),
            (_, Some(answer @ Ok(Ok(())))) => self.read(at, answer),
            (Some(Stop::GraceOver), _) => (CallEnd::Interrupted, Attempt::GraceOver),
            (_, _) => {
                let limit = engine.settings.handler_timeout;
                let error = format!("the handler did not finish within {limit:?}");
                self.note(Some(at), CallEnd::TimeLimit.label(), &error);
                let cause = Cause::new(("handler", "timeout"), "").on(at.number);
                if let Some(times) = engine.telemetry.worth_logging(cause) {
                    warn!(times, "{error}; the message is left for a retry");
                }
                (CallEnd::TimeLimit, Attempt::Failed(None))
            }
        }
    }

    /// Waits until nothing of a call that did not succeed is at work any more, such as a program that is being ended: the
    /// message must not be worked on by somebody else before.
    async fn released(&self, call: &Call) {
        tokio::select! {
            biased;
            () = call.released() => {}
            () = tokio::time::sleep(HELD_AT_MOST) => {}
            () = self.engine.drain.holds_over() => {}
        }
    }

    /// Reads what a handler returned.
    fn read(&mut self, at: At<'_>, answer: Result<Result<(), CallError>, Box<dyn Any + Send>>) -> (CallEnd, Attempt) {
        let telemetry = self.engine.telemetry.clone();
        match answer {
            // A success whose lease ran out unnoticed is still a success, though not one to delete by.
            Ok(Ok(())) if self.lease.is_lost() => (CallEnd::Handled, Attempt::LeaseLost(true)),
            Ok(Ok(())) => (CallEnd::Handled, Attempt::Succeeded),
            Ok(Err(CallError::Parse(failure))) => {
                self.note(Some(at), CallEnd::DoesNotFit.label(), &failure);
                if let Some(times) = telemetry.worth_logging(Cause::new(("parse", "event"), &failure).on(at.number)) {
                    warn!(error = failure, times, "an event does not fit its type; {}", self.engine.fate());
                }
                (CallEnd::DoesNotFit, Attempt::Rejected)
            }
            Ok(Err(CallError::Handler(failure))) => {
                let (end, attempt) = match failure.kind() {
                    FailureKind::Retry => (CallEnd::Retry, Attempt::Failed(failure.delay())),
                    FailureKind::Reject => (CallEnd::BadMessage, Attempt::Rejected),
                    FailureKind::TargetBusy => (CallEnd::TargetBusy, Attempt::TargetBusy(failure.delay())),
                    FailureKind::TargetDown => (CallEnd::TargetDown, Attempt::TargetDown),
                };
                let (kind, error) = (end.label(), failure.chain());
                self.note(Some(at), kind, &error);
                if let Some(times) = telemetry.worth_logging(Cause::new(("handler", kind), &error).on(at.number)) {
                    warn!(error, kind, times, "the handler failed; the message stays");
                }
                (end, attempt)
            }
            Err(_panic) => {
                self.note(Some(at), CallEnd::Panic.label(), "the handler panicked; the log says where");
                // What it says may quote the message, and the panic hook has printed it already.
                if let Some(times) = telemetry.worth_logging(Cause::new(("handler", "panic"), "").on(at.number)) {
                    error!(times, "the handler panicked; the message is left for a retry");
                }
                (CallEnd::Panic, Attempt::Failed(None))
            }
        }
    }

    /// Remembers a failure for those who watch, and for those who ask later why it was dead-lettered.
    fn note(&mut self, at: Option<At<'_>>, kind: &'static str, error: &str) {
        self.account.failed(kind, error);
        self.engine.telemetry.failed(Failed {
            kind,
            event_type: at.map(|at| at.event.kind().name()),
            route: at.map(|at| self.engine.telemetry.route_name(at.number)),
            error,
            message_id: self.lease.message_id().as_str(),
            receive_count: self.receive_count,
        });
    }

    /// Notes how a delivery ends whose message is not deleted, and, where it was its last receive, writes down why: SQS moves
    /// it to the dead-letter queue then.
    fn write_down(&mut self, became: Became, outcome: &str, error: &str) {
        self.account.became = Some(became);
        if self.is_last_receive() {
            self.engine.telemetry.last_receive_failed(self.failed(outcome, error));
        }
    }

    fn failed<'a>(&'a self, outcome: &'a str, error: &'a str) -> FailedLastReceive<'a> {
        let Engine { telemetry, settings, .. } = &*self.engine;
        FailedLastReceive {
            at: (settings.wall_clock)(),
            message_id: self.lease.message_id().as_str(),
            receive_count: self.receive_count(),
            event_type: self.account.event_type(),
            cid: self.account.cid(),
            route: self.account.route.map(|number| &**telemetry.route_name(number)),
            outcome,
            error,
        }
    }

    /// The handler succeeded, which must be known before the delete is asked for.
    async fn remember(&self) {
        let engine = &self.engine;
        if !mutant!("forget-a-success")
            && let Err(failure) = engine.dedup.handled(self.lease.message_id(), engine.settings.wall_clock).await
            && let Some(times) = engine.telemetry.worth_logging(Cause::new(("journal", "write"), &failure.to_string()))
        {
            warn!(error = %failure, times, "a success is not yet in the journal; it is known in memory only");
        }
    }

    /// Waits before the head of a FIFO group is tried again; false when it is to be returned instead.
    async fn pause(&self, delay: Duration) -> bool {
        let limit = self.hold_limit(None);
        let until = later(Instant::now(), delay);
        tokio::select! {
            biased;
            () = self.lease.lost().cancelled() => false,
            () = self.engine.drain.begun() => false,
            () = tokio::time::sleep_until(limit), if limit < until => false,
            () = tokio::time::sleep_until(until) => true,
        }
    }

    /// Until when a message is held at the most: long enough before the 12 hours are over to be returned in order, and
    /// so that the receives which it has left fit into half of its time in the queue. One that always fails is then
    /// dead-lettered before it expires.
    fn hold_limit(&self, expires: Option<SystemTime>) -> Instant {
        let now = Instant::now();
        let margin =
            Duration::from_secs(120).saturating_add(self.engine.settings.handler_timeout.min(Duration::from_secs(600)));
        let margin = if mutant!("hold-until-the-lease-ends") { Duration::ZERO } else { margin };
        let by_lease = self.lease.ceiling().checked_sub(margin).unwrap_or(now);
        match (self.time_left(expires), self.engine.max_receive_count()) {
            (Some(left), Some(most)) if !mutant!("hold-what-fails-until-it-expires") => {
                let receives = most.saturating_sub(self.receive_count()).saturating_add(1);
                by_lease.min(later(now, part(left, receives.saturating_mul(2))))
            }
            _ => by_lease,
        }
    }

    /// How long the queue still keeps the message.
    fn time_left(&self, expires: Option<SystemTime>) -> Option<Duration> {
        let now = (self.engine.settings.wall_clock)();
        expires.map(|expires| expires.duration_since(now).unwrap_or_default())
    }

    /// How often the message was received by now, also where a duplicate brought a higher count.
    fn receive_count(&self) -> u32 {
        self.lease.receive_count().unwrap_or(self.receive_count)
    }

    fn is_last_receive(&self) -> bool {
        self.engine.max_receive_count().is_some_and(|most| self.receive_count() >= most)
    }

    /// How often a failing head of a FIFO group is tried here.
    fn fifo_attempts(&self) -> u32 {
        const WHEN_UNKNOWN: u32 = 5;
        let left = self.engine.max_receive_count();
        let left = left.map(|most| most.saturating_sub(self.receive_count()).saturating_add(1));
        self.engine.settings.fifo_attempts.or(left).unwrap_or(WHEN_UNKNOWN)
    }

    async fn unrouted(&mut self, event: &Event, first_of_its_type: bool) -> Settlement {
        let engine = self.engine.clone();
        let (outcome, error) = UNROUTED;
        self.account.failed(outcome, error);
        engine.telemetry.unrouted.add(1);
        match engine.settings.unrouted {
            Unrouted::Acknowledge => {
                if first_of_its_type {
                    info!(r#type = shown(event.kind().name()), "no route takes events of this type; they are deleted");
                }
                self.delete().await
            }
            Unrouted::Leave => {
                if first_of_its_type {
                    warn!(
                        r#type = shown(event.kind().name()),
                        "no route takes events of this type; they are left in the queue"
                    );
                }
                self.nack(None).await
            }
        }
    }

    async fn delete(&mut self) -> Settlement {
        let engine = self.engine.clone();
        match engine.settler.delete(&self.lease, || engine.jitter()).await {
            Deleted::Confirmed => {
                engine.telemetry.lease_margin.observe(self.lease.left().as_secs_f64());
                engine.dedup.deleted(self.lease.message_id());
                Settlement::Deleted
            }
            Deleted::Unconfirmed => {
                let error = format!("{}, but its delete was not confirmed", self.account.outcome);
                self.write_down(Became::DeleteUnconfirmed, "delete_unconfirmed", &error);
                Settlement::Interrupted
            }
        }
    }

    /// Leaves the message undone, to be received again after a delay or to be dead-lettered.
    async fn nack(&mut self, delay: Option<Duration>) -> Settlement {
        self.held.drop_bytes();
        let engine = self.engine.clone();
        let error = std::mem::take(&mut self.account.error);
        self.write_down(Became::Failed, self.account.outcome, &error);
        self.account.error = error;
        let delay = delay.unwrap_or_else(|| engine.settings.retry.after(self.receive_count(), engine.jitter()));
        // On its last receive it is given up instead: to return the rest would spend their receives unworked.
        let ticket = self.ticket.as_ref().filter(|_| !self.is_last_receive());
        if let Some(ticket) = ticket
            && !mutant!("let-the-rest-overtake")
        {
            ticket.return_the_rest();
        }
        // Where that is not confirmed, it comes back when its visibility timeout runs out.
        let hidden_for = if engine.settler.nack(&self.lease, delay).await { delay } else { engine.visibility };
        let (id, until) = (self.lease.message_id(), later(Instant::now(), hidden_for));
        if let Some(ticket) = ticket
            && !mutant!("receive-what-a-hidden-head-blocks")
        {
            ticket.hidden_until(id, until);
        }
        Settlement::Nacked(id.clone(), until)
    }

    /// Returns the message: at once, or together with the head of its group.
    async fn nack_unworked(&mut self) -> Settlement {
        let delay = self.ticket.as_ref().map(|ticket| ticket.hidden_for(self.lease.message_id()));
        self.nack_unworked_for(delay.unwrap_or_default()).await
    }

    async fn nack_unworked_for(&mut self, delay: Duration) -> Settlement {
        self.held.drop_bytes();
        let reason = match &self.ticket {
            _ if self.engine.drain.has_begun() => "a shutdown came before it was handled",
            Some(_) => "what comes before it in its group failed, or it was held for as long as can be",
            None => "it was held for as long as can be",
        };
        let error = self.account.because(reason);
        self.write_down(Became::Returned, "returned", &error);
        if let Some(ticket) = &self.ticket {
            ticket.return_the_rest();
        }
        tokio::select! {
            biased;
            () = self.engine.drain.may_return() => {}
            () = self.lease.lost().cancelled() => {}
        }
        let hidden_for = delay.max(self.engine.drain.hidden_for());
        let returned = mutant!("forget-to-release") || self.engine.settler.nack(&self.lease, hidden_for).await;
        let (id, until) = (self.lease.message_id().clone(), later(Instant::now(), hidden_for));
        match returned {
            true if delay.is_zero() => Settlement::Returned(id, until),
            true => Settlement::Nacked(id, until),
            false => Settlement::Interrupted,
        }
    }

    fn interrupted(&mut self) -> Settlement {
        self.engine.telemetry.leases_lost.add(1);
        let handled = self.account.is_handled();
        let reason =
            if handled { "handled, but its lease was lost before it was deleted" } else { "its lease was lost" };
        let error = self.account.because(reason);
        let became = if handled { Became::DeleteUnconfirmed } else { Became::LeaseLost };
        self.write_down(became, "lease_lost", &error);
        if let Some(times) = self.engine.telemetry.worth_logging(("lease", "lost")) {
            warn!(message_id = %self.lease.message_id(), times, "the lease of a message is lost; it will be received again");
        }
        if let Some(ticket) = &self.ticket {
            ticket.return_the_rest();
        }
        Settlement::Interrupted
    }
}

/// Decodes a body within the bytes that the budget gives for it.
async fn decode(held: &mut Held, body: String, limit: usize) -> Result<Event, Undecodable> {
    let hint = decode::size_hint(&body).min(limit);
    held.reserve(hint).await;
    let decoded = match decode::decode_within(&body, hint, Room::Hinted) {
        // The hint comes from the sender and may be wrong.
        Err(DecodeError::TooLarge { .. }) => {
            held.reserve(decode::most_held(limit)).await;
            decode::decode(&body, limit)
        }
        decoded => decoded,
    };
    match &decoded {
        Ok(event) => held.decoded(event.held_bytes()),
        Err(_) => held.give_up_reserved(),
    }
    decoded.map_err(|failure| {
        let hint = decode::may_be_connection_test(&body).then_some(CONNECTION_TEST);
        Undecodable { failure, hint }
    })
}

/// A body that is no event.
struct Undecodable {
    failure: DecodeError,
    /// What the operator is told of it besides.
    hint: Option<&'static str>,
}

const CONNECTION_TEST: &str = "it may be Stream's connection test, with which nothing is lost";
