//! One delivery, from its arrival to its settlement.
//!
//! decode → route → handler, with a time limit, with panics caught, under a lease that is watched → one [`Settlement`].
//! Above the handler nothing fails: whatever happens in it is an answer. A worker never looks at other messages, except
//! that it waits its turn in its FIFO group and for the breaker of its route.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, info, info_span, warn};

use super::Engine;
use super::breaker::{Next, Verdict};
use super::budget::Held;
use super::groups::{Place, Turn};
use super::lease::Lease;
use super::settings::Unrouted;
use super::settle::Deleted;
use crate::decode::{self, DecodeError};
use crate::event::Event;
use crate::handler::{Context, Failure};
use crate::queue::{Delivery, MessageId};
use crate::router::{CallError, Route};
use crate::telemetry::{CallEnd, Failed, shown};

/// How a delivery ended. Every delivery that did not join another one has exactly one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Settlement {
    /// The message was deleted, confirmed.
    Deleted,
    /// It stays, and may be received again at this time.
    Left(MessageId, Instant),
    /// It was handed back at once.
    Released,
    /// Its lease was lost, or its delete or release was not confirmed.
    Interrupted,
}

/// What a worker is to do with its delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Work on it.
    Work,
    /// Delete it: its handler has succeeded before.
    DeleteRepeat,
    /// Hand it back: it arrived while draining.
    Release,
}

/// One delivery and everything that it holds, given back when this is dropped.
pub(super) struct Work<E> {
    pub(super) engine: Arc<E>,
    pub(super) lease: Lease,
    pub(super) held: Held,
    pub(super) place: Option<Place>,
    pub(super) receive_count: u32,
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
    Hopeless,
    /// The target is down, whatever the message.
    TargetDown(Option<Duration>),
    /// The message may be somebody else's; true when the handler succeeded all the same.
    LeaseLost(bool),
    /// The grace of the shutdown is over.
    GraceOver,
}

impl Work<Engine> {
    /// Works on a delivery until it is settled.
    pub(super) async fn run(self, delivery: Delivery, task: Task) -> Settlement {
        match task {
            Task::DeleteRepeat => {
                debug!(message_id = %self.lease.message_id(), "the message was handled before; deleting the repeat");
                let settlement = self.delete().await;
                if settlement == Settlement::Deleted {
                    self.engine.telemetry.repeats_deleted.add(1);
                }
                settlement
            }
            Task::Release => self.release().await,
            Task::Work => self.work(delivery).await,
        }
    }

    async fn work(mut self, delivery: Delivery) -> Settlement {
        let engine = self.engine.clone();
        if let Some(place) = &self.place {
            let turn = tokio::select! {
                biased;
                () = self.lease.lost().cancelled() => None,
                () = engine.drain.begun() => Some(Turn::HandBack),
                turn = place.turn() => Some(turn),
            };
            match turn {
                None => return self.interrupted(),
                Some(Turn::HandBack) => return self.release().await,
                Some(Turn::Work) => {}
            }
        }
        let Delivery { receipt, body, receive_count, sent_at, group, trace } = delivery;
        let decoded = tokio::select! {
            biased;
            decoded = decode(&mut self.held, body, engine.settings.inflate_limit) => Some(decoded),
            () = self.lease.lost().cancelled() => None,
            () = engine.drain.begun() => return self.release().await,
        };
        let event = match decoded {
            None => return self.interrupted(),
            Some(Ok(event)) => event,
            Some(Err(failure)) => {
                engine.telemetry.undecodable.add(failure.label());
                self.note(None, failure.label(), &failure.to_string());
                if let Some(times) = engine.telemetry.worth_logging(("decode", failure.label())) {
                    warn!(message_id = %receipt.message_id, receive_count, error = %failure, times,
                        "a body cannot be decoded; it is left for the dead-letter queue");
                }
                return self.give_up(None).await;
            }
        };
        let first_of_its_type = engine.telemetry.seen(event.kind().name(), event.kind().known().is_some());
        let Some((number, route)) = engine.router.find(&event) else {
            return self.unrouted(&event, first_of_its_type).await;
        };
        let span = info_span!(
            "message",
            message_id = %receipt.message_id,
            r#type = shown(event.kind().name()),
            receive_count,
            trace_id = trace.trace_id(),
            aws_trace_id = trace.aws_trace_id(),
        );
        let context = Context::new(receipt.message_id, receive_count, sent_at, group, trace);
        // On the heap, so that a message that only waits for its turn does not take this much room.
        Box::pin(self.handle(number, route, event, context).instrument(span)).await
    }

    /// Calls the handler until there is a settlement.
    async fn handle(mut self, number: usize, route: &Route, event: Event, context: Context) -> Settlement {
        let engine = self.engine.clone();
        let mut stay = engine.breakers.enter(number, self.lease.message_id().clone());
        let at = At { number, route, event: &event };
        let mut attempt = 0;
        let mut failures = 0;
        loop {
            attempt += 1;
            let began = Instant::now();
            let (end, ended) = self.call(at, &context, attempt).await;
            engine.telemetry.called(number, end, began.elapsed());
            match ended {
                Attempt::Succeeded => {
                    stay.succeeded();
                    engine.telemetry.receive_count_at_success.observe(self.receive_count.into());
                    self.remember();
                    drop(event);
                    self.held.drop_bytes();
                    return self.delete().await;
                }
                Attempt::LeaseLost(succeeded) => {
                    if succeeded {
                        stay.succeeded();
                        engine.telemetry.receive_count_at_success.observe(self.receive_count.into());
                        // The message comes again, to whomever: if it is to us, its repeat is deleted.
                        self.remember();
                    }
                    return self.interrupted();
                }
                Attempt::GraceOver => {
                    engine.drain.cut_short();
                    return self.release().await;
                }
                Attempt::Hopeless => return self.give_up(None).await,
                Attempt::Failed(delay) => {
                    failures += 1;
                    if self.place.is_none() || failures >= self.fifo_attempts() {
                        return self.give_up(delay).await;
                    }
                    let delay = delay.unwrap_or_else(|| engine.settings.retry.after(failures, engine.jitter()));
                    match self.pause(delay).await {
                        Next::Try => {}
                        Next::HandBack if self.lease.is_lost() => return self.interrupted(),
                        Next::HandBack => return self.release().await,
                    }
                }
                Attempt::TargetDown(after) => {
                    let (verdict, opened) = stay.target_down();
                    if opened {
                        warn!(route = &*route.name, "the target is down: nothing is received until it is back");
                    }
                    if verdict == Verdict::Leave {
                        return self.give_up(after).await;
                    }
                    let next = tokio::select! {
                        biased;
                        () = self.lease.lost().cancelled() => None,
                        next = stay.next(after.map(|after| Instant::now() + after), self.hold_limit(), self.is_last_receive()) => Some(next),
                        () = engine.drain.handlers_over() => Some(Next::HandBack),
                    };
                    match next {
                        None => return self.interrupted(),
                        Some(Next::HandBack) => return self.release().await,
                        Some(Next::Try) => {}
                    }
                }
            }
        }
    }

    /// Calls the handler once; says how that ended, and what it means for the message.
    async fn call(&mut self, at: At<'_>, context: &Context, attempt: u32) -> (CallEnd, Attempt) {
        let engine = self.engine.clone();
        let deadline = (Instant::now() + engine.settings.handler_timeout).min(self.lease.ceiling());
        let cancelled = CancellationToken::new();
        let context = context.attempt_with(attempt, deadline, cancelled.clone());
        let call = AssertUnwindSafe(at.route.call(at.event.clone(), context)).catch_unwind();
        tokio::pin!(call);
        enum Stop {
            LeaseLost,
            TimeOver,
            GraceOver,
        }
        let stop = tokio::select! {
            biased;
            () = self.lease.lost().cancelled() => Stop::LeaseLost,
            answer = &mut call => return self.read(at, answer),
            () = tokio::time::sleep_until(deadline) => Stop::TimeOver,
            () = engine.drain.handlers_over() => Stop::GraceOver,
        };
        // A moment for the handler to put its things in order, or even to finish.
        cancelled.cancel();
        let answer = tokio::time::timeout(engine.drain.courtesy(), &mut call).await;
        match (stop, answer) {
            (Stop::LeaseLost, Ok(Ok(Ok(())))) => (CallEnd::Handled, Attempt::LeaseLost(true)),
            (Stop::LeaseLost, _) => (CallEnd::Interrupted, Attempt::LeaseLost(false)),
            (_, Ok(answer @ Ok(Ok(())))) => self.read(at, answer),
            (Stop::GraceOver, _) => (CallEnd::Interrupted, Attempt::GraceOver),
            (Stop::TimeOver, _) => {
                let limit = engine.settings.handler_timeout;
                self.note(
                    Some(at),
                    CallEnd::TimeLimit.label(),
                    &format!("the handler did not finish within {limit:?}"),
                );
                if let Some(times) = engine.telemetry.worth_logging(("handler", "time limit")) {
                    warn!(times, "the handler did not finish within {limit:?}; the message is left for a retry");
                }
                (CallEnd::TimeLimit, Attempt::Failed(None))
            }
        }
    }

    /// Reads what a handler returned.
    fn read(&self, at: At<'_>, answer: Result<Result<(), CallError>, Box<dyn Any + Send>>) -> (CallEnd, Attempt) {
        let telemetry = &self.engine.telemetry;
        match answer {
            // A success whose lease ran out unnoticed is still a success, though not one to delete by.
            Ok(Ok(())) if self.lease.is_lost() => (CallEnd::Handled, Attempt::LeaseLost(true)),
            Ok(Ok(())) => (CallEnd::Handled, Attempt::Succeeded),
            Ok(Err(CallError::Parse(failure))) => {
                self.note(Some(at), CallEnd::DoesNotFit.label(), &failure);
                if let Some(times) = telemetry.worth_logging(("parse", "event")) {
                    warn!(
                        error = failure,
                        times, "an event does not fit its type; it is left for the dead-letter queue"
                    );
                }
                (CallEnd::DoesNotFit, Attempt::Hopeless)
            }
            Ok(Err(CallError::Handler(failure))) => {
                let (end, attempt) = match failure.failure() {
                    Failure::Retry => (CallEnd::Retry, Attempt::Failed(failure.delay())),
                    Failure::Bad => (CallEnd::BadMessage, Attempt::Hopeless),
                    Failure::TargetBusy => (CallEnd::TargetBusy, Attempt::TargetDown(failure.delay())),
                    Failure::TargetDown => (CallEnd::TargetDown, Attempt::TargetDown(failure.delay())),
                };
                let (kind, error) = (end.label(), failure.chain());
                self.note(Some(at), kind, &error);
                if let Some(times) = telemetry.worth_logging(("handler", kind)) {
                    warn!(error, kind, times, "the handler failed; the message stays");
                }
                (end, attempt)
            }
            Err(_panic) => {
                self.note(Some(at), CallEnd::Panic.label(), "the handler panicked; the log says where");
                // What it says may quote the message, and the panic hook has printed it already.
                if let Some(times) = telemetry.worth_logging(("handler", "panic")) {
                    error!(times, "the handler panicked; the message is left for a retry");
                }
                (CallEnd::Panic, Attempt::Failed(None))
            }
        }
    }

    /// Remembers a failure for those who watch.
    fn note(&self, at: Option<At<'_>>, kind: &'static str, error: &str) {
        self.engine.telemetry.failed(Failed {
            kind,
            event_type: at.map(|at| at.event.kind().name()),
            route: at.map(|at| self.engine.telemetry.route_name(at.number)),
            error,
            message_id: self.lease.message_id().as_str(),
            receive_count: self.receive_count,
        });
    }

    /// The handler succeeded, which must be known before the delete is asked for.
    fn remember(&self) {
        let engine = &self.engine;
        if let Err(failure) = engine.recent.handled(self.lease.message_id(), engine.settings.wall_clock)
            && let Some(times) = engine.telemetry.worth_logging(("journal", "write"))
        {
            warn!(error = %failure, times, "a success could not be written to the journal; it is known in memory only");
        }
    }

    /// Waits before the head of a FIFO group is tried again.
    async fn pause(&self, delay: Duration) -> Next {
        let until = Instant::now() + delay;
        tokio::select! {
            biased;
            () = self.lease.lost().cancelled() => Next::HandBack,
            () = self.engine.drain.begun() => Next::HandBack,
            () = tokio::time::sleep_until(self.hold_limit()), if self.hold_limit() < until => Next::HandBack,
            () = tokio::time::sleep_until(until) => Next::Try,
        }
    }

    /// Until when a message is held at the most: long enough before the 12 hours are over to be handed back in order.
    fn hold_limit(&self) -> Instant {
        let margin = Duration::from_secs(120) + self.engine.settings.handler_timeout.min(Duration::from_secs(600));
        self.lease.ceiling().checked_sub(margin).unwrap_or_else(Instant::now)
    }

    fn is_last_receive(&self) -> bool {
        self.engine.max_receive_count.is_some_and(|most| self.receive_count >= most)
    }

    /// How often a failing head of a FIFO group is tried here.
    fn fifo_attempts(&self) -> u32 {
        const WHEN_UNKNOWN: u32 = 5;
        let left = self.engine.max_receive_count.map(|most| most.saturating_sub(self.receive_count) + 1);
        self.engine.settings.fifo_attempts.or(left).unwrap_or(WHEN_UNKNOWN)
    }

    async fn unrouted(self, event: &Event, first_of_its_type: bool) -> Settlement {
        let engine = self.engine.clone();
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
                self.give_up(None).await
            }
        }
    }

    async fn delete(&self) -> Settlement {
        let engine = &self.engine;
        match engine.settler.delete(&self.lease, || engine.jitter()).await {
            Deleted::Confirmed => {
                engine.telemetry.lease_margin.observe(self.lease.left().as_secs_f64());
                engine.recent.deleted(self.lease.message_id());
                Settlement::Deleted
            }
            Deleted::Unconfirmed => Settlement::Interrupted,
        }
    }

    /// Leaves the message undone, to be received again after a delay or to be dead-lettered.
    async fn give_up(mut self, delay: Option<Duration>) -> Settlement {
        self.held.drop_bytes();
        let engine = self.engine.clone();
        engine.telemetry.last_receives_failed.add(u64::from(self.is_last_receive()));
        let delay = delay.unwrap_or_else(|| engine.settings.retry.after(self.receive_count, engine.jitter()));
        if let Some(place) = &self.place
            && !self.is_last_receive()
        {
            // On its last receive it is given up instead: to hand back the rest would spend their receives unworked.
            place.hand_back_the_rest();
        }
        if engine.settler.let_go(&self.lease, delay).await {
            Settlement::Left(self.lease.message_id().clone(), Instant::now() + delay)
        } else {
            // It comes back when its visibility timeout runs out.
            Settlement::Left(self.lease.message_id().clone(), Instant::now() + engine.visibility)
        }
    }

    /// Hands the message back at once.
    async fn release(mut self) -> Settlement {
        self.held.drop_bytes();
        if let Some(place) = &self.place {
            place.hand_back_the_rest();
        }
        if self.engine.settler.let_go(&self.lease, Duration::ZERO).await {
            Settlement::Released
        } else {
            Settlement::Interrupted
        }
    }

    fn interrupted(self) -> Settlement {
        self.engine.telemetry.leases_lost.add(1);
        if let Some(times) = self.engine.telemetry.worth_logging(("lease", "lost")) {
            warn!(message_id = %self.lease.message_id(), times, "the lease of a message is lost; it will be received again");
        }
        if let Some(place) = &self.place {
            place.hand_back_the_rest();
        }
        Settlement::Interrupted
    }
}

/// Decodes a body within the bytes that the budget gives for it.
async fn decode(held: &mut Held, body: String, limit: usize) -> Result<Event, DecodeError> {
    let hint = decode::size_hint(&body).min(limit);
    held.reserve(hint).await;
    let decoded = match decode::decode(&body, hint) {
        // The hint comes from the sender and may be wrong.
        Err(DecodeError::TooLarge { .. }) if hint < limit => {
            held.reserve(limit).await;
            decode::decode(&body, limit)
        }
        decoded => decoded,
    };
    match &decoded {
        Ok(event) => held.decoded(event.json().len()),
        Err(_) => held.give_up_reserved(),
    }
    decoded
}
