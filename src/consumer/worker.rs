//! One delivery, from its arrival to its settlement.
//!
//! decode → route → [calls](super::call) of the handler, under a lease that is watched → one [`Settlement`]. Above the
//! handler nothing fails: whatever happens in it is an answer. A worker never looks at other messages, except that it waits
//! its turn in its FIFO group and in the flow to its target.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::panic::AssertUnwindSafe;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use tokio::time::Instant;
use tracing::{Instrument, Level, debug, enabled, error, info, info_span, warn};

use super::account::{REPEAT, UNROUTED};
use super::budget::Held;
use super::call::Attempt;
use super::clock::{later, part};
use super::engine::Engine;
use super::flow::{Caller, Next, Returned, Verdict};
use super::groups::Step;
use super::settings::Unrouted;
use super::settlement::Settlement;
use super::work::{At, Work};
use crate::decode::{self, DecodeError, Room};
use crate::event::Event;
use crate::handler::Context;
use crate::queue::{Delivery, WebhookId};
use crate::router::Route;
use crate::telemetry::{CallEnd, Cause, MESSAGE_SPANS, shown};

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

impl Work<Engine> {
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
        let Delivery { receipt, body, receive_count, sent_at, group, trace, webhook_id, attributes: _ } = delivery;
        let decoded = tokio::select! {
            biased;
            decoded = decode(&mut self.held, body, engine.settings.inflate_limit) => Some(decoded),
            () = self.lease.lost().cancelled() => None,
            () = engine.drain.begun() => return self.nack_unworked().await,
        };
        let (event, webhook_id) = match decoded {
            None => return self.interrupted(),
            Some(Ok((event, in_envelope))) => (event, webhook_id.or(in_envelope)),
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
            target: MESSAGE_SPANS,
            "message",
            message_id = %receipt.message_id,
            r#type = shown(event.kind().name()),
            receive_count,
            trace_id = trace.trace_id(),
            aws_trace_id = trace.aws_trace_id(),
        );
        let expires = engine.retention().zip(sent_at).and_then(|(retention, sent_at)| sent_at.checked_add(retention));
        let context = Context::new(receipt.message_id, receive_count, sent_at, group, trace);
        let context = context.with_webhook_id(webhook_id);
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
        let at = At { number, route, event: &event, context: &context };
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
            let (end, ended) = self.call(at, attempt).await;
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

    /// The handler succeeded, which must be known before the delete is asked for.
    async fn remember(&self) {
        let engine = &self.engine;
        if !mutant!("forget-a-success")
            && let Err(failure) = engine.dedup.handled(self.lease.message_id(), engine.settings.wall_clock).await
            && let Some(times) = engine.telemetry.worth_logging(Cause::new(("journal", "write"), &failure.to_string()))
        {
            warn!(message_id = %self.lease.message_id(), error = %failure, times, "a success is not yet in the journal; it is known in memory only");
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
}

/// Decodes a body within the bytes that the budget gives for it, with the webhook id that an SNS envelope around it holds.
async fn decode(held: &mut Held, body: String, limit: usize) -> Result<(Event, Option<WebhookId>), Undecodable> {
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
    match decoded {
        Ok(event) => {
            // A body that is the event itself need not be looked through once more.
            let is_wrapped = event.json().len() != body.len();
            let webhook_id = is_wrapped.then(|| decode::webhook_id_in_envelope(&body)).flatten();
            Ok((event, webhook_id))
        }
        Err(failure) => {
            let hint = decode::may_be_connection_test(&body).then_some(CONNECTION_TEST);
            Err(Undecodable { failure, hint })
        }
    }
}

/// A body that is not an event.
struct Undecodable {
    failure: DecodeError,
    /// What the operator is told of it besides.
    hint: Option<&'static str>,
}

const CONNECTION_TEST: &str = "it may be Stream's connection test, with which nothing is lost";
