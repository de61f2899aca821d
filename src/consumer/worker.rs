//! One delivery, from its arrival to its settlement.
//!
//! decode → route → [calls](super::branch) of the handler, under a lease that is watched → one [`Settlement`]. Above the
//! handler nothing fails: whatever happens in it is an answer. A worker never looks at other messages, except that it waits
//! its turn in its FIFO group and in the flow to its target. A message with several routes goes by way of
//! [`fan_out`](super::fan_out).

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::time::Instant;
use tracing::{Instrument, Level, Span, debug, enabled, error, info, info_span, warn};

use super::account::{Branch, REPEAT, UNROUTED};
use super::branch::End;
use super::budget::Held;
use super::engine::Engine;
use super::groups::Step;
use super::settings::Unrouted;
use super::settlement::Settlement;
use super::work::{At, Task, Work};
use crate::decode::{self, DecodeError, Room};
use crate::event::Event;
use crate::handler::Origin;
use crate::queue::WebhookId;
use crate::router::{Route, Router};
use crate::telemetry::{CallEnd, Cause, MESSAGE_SPANS, shown};

impl Work<Engine> {
    /// Works on a delivery until it is settled.
    #[allow(
        clippy::manual_async_fn,
        reason = "it would hold its argument twice, for as long as the handler is at work"
    )]
    pub(super) fn run(mut self) -> impl Future<Output = Settlement> + Send {
        async move {
            let began = enabled!(Level::DEBUG).then(Instant::now);
            let settlement = match AssertUnwindSafe(self.carry_out()).catch_unwind().await {
                Ok(settlement) => settlement,
                Err(_panic) => self.panicked().await,
            };
            self.tell_the_observer(&settlement);
            self.tell_the_log(&settlement, began);
            settlement
        }
    }

    fn tell_the_log(&self, settlement: &Settlement, began: Option<Instant>) {
        let Some(began) = began else { return };
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

    async fn carry_out(&mut self) -> Settlement {
        tokio::select! {
            biased;
            () = self.lease.lost().wait() => return self.interrupted(),
            () = self.lease.alone() => {}
        }
        match self.task {
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
            Task::Work => self.work().await,
        }
    }

    pub(super) async fn delete_repeat(&mut self) -> Settlement {
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
        self.note(CallEnd::Panic.label(), "the condition of a route panicked, or this crate; the log says where");
        if let Some(times) = self.engine.telemetry.worth_logging(("worker", "panic")) {
            error!(
                times,
                "the condition of a route panicked, or this crate, which is a defect; the message is left for a retry"
            );
        }
        let given_up = self.lease.is_lost() || mutant!("lose-what-panics");
        if given_up { self.interrupted() } else { self.nack(None).await }
    }

    /// Waits for the turn in its group. Settles the message where that is not to come.
    async fn wait_in_group(&mut self) -> Option<Settlement> {
        let engine = self.engine.clone();
        let ticket = self.ticket.as_ref()?;
        let mut parked = false;
        loop {
            let turn = tokio::select! {
                biased;
                () = self.lease.lost().wait() => return Some(self.interrupted()),
                () = engine.drain.begun() => Step::Return,
                turn = ticket.turn(parked) => turn,
            };
            match turn {
                Step::Return => return Some(self.nack_unworked().await),
                Step::Work => return None,
                Step::Park => {
                    parked = true;
                    self.held.park();
                }
            }
        }
    }

    async fn work(&mut self) -> Settlement {
        if self.ticket.is_some()
            && let Some(settlement) = self.wait_in_group().await
        {
            return settlement;
        }
        let event = match self.open().await {
            Ok(event) => event,
            Err(settlement) => return settlement,
        };
        let engine = self.engine.clone();
        let first_of_its_type = engine.telemetry.seen(event.kind().name(), event.kind().known().is_some());
        let (first, others) = takers(&engine.router, &event);
        let Some(first) = first else { return self.unrouted(&event, first_of_its_type).await };
        self.account.route = Some(first.0);
        let done = engine.done_before(&self.origin.message_id);
        let span = span_of(&self.origin, &event);
        if others.is_empty() && done.is_empty() {
            return self.send(first, event).instrument(span).await;
        }
        let takers = std::iter::once(first).chain(others).collect();
        // On the heap, so that a message with one route does not take the room of it.
        Box::pin(self.fan_out(takers, &done, event).instrument(span)).await
    }

    /// Decodes the body. Settles the message where there is no event to be worked on.
    async fn open(&mut self) -> Result<Event, Settlement> {
        let engine = self.engine.clone();
        let body = std::mem::take(&mut self.body);
        let decoded = tokio::select! {
            biased;
            decoded = decode(&mut self.held, body, engine.settings.inflate_limit) => Some(decoded),
            () = self.lease.lost().wait() => None,
            () = engine.drain.begun() => return Err(self.nack_unworked().await),
        };
        match decoded {
            None => Err(self.interrupted()),
            Some(Ok((event, webhook_id))) => {
                if webhook_id.is_some() && self.origin.webhook_id.is_none() {
                    Arc::make_mut(&mut self.origin).webhook_id = webhook_id;
                }
                let is_asked_for = self.is_last_receive() || engine.observer.is_some();
                self.account.decoded(&event, is_asked_for);
                Ok(event)
            }
            Some(Err(Undecodable { failure, hint })) => {
                engine.telemetry.undecodable.add(failure.label());
                let error = failure.to_string();
                self.note(failure.label(), &error);
                let cause = Cause::new(("decode", hint.unwrap_or(failure.label())), &error);
                if let Some(times) = engine.telemetry.worth_logging(cause) {
                    warn!(message_id = %self.origin.message_id, receive_count = self.origin.receive_count, error, hint, times,
                        "a body cannot be decoded; {}", engine.fate());
                }
                Err(self.nack(None).await)
            }
        }
    }

    /// Sends an event to its one route.
    async fn send(&mut self, (number, route): (usize, &Route), event: Event) -> Settlement {
        let mut branch = Branch::new(number);
        let at = At { number, route, event: &event, expires: self.expires() };
        let end = self.handle(&mut branch, &at, None).await;
        drop(event);
        self.account.came_to(branch);
        self.settle(end).await
    }

    /// Settles the message by how its handler ended, or all of its handlers.
    pub(super) async fn settle(&mut self, end: End) -> Settlement {
        match end {
            End::Succeeded => {
                self.engine.telemetry.receive_count_at_success.observe(self.origin.receive_count.into());
                self.remember().await;
                self.held.drop_bytes();
                if mutant!("drop-the-lease-before-the-delete") {
                    self.lease.stop_renewing().await;
                }
                self.delete().await
            }
            End::LeaseLost { succeeded } => {
                if succeeded {
                    self.engine.telemetry.receive_count_at_success.observe(self.origin.receive_count.into());
                    // The message comes again, to whomever: if it is to us, its repeat is deleted.
                    self.remember().await;
                }
                self.interrupted()
            }
            End::GraceOver => {
                self.engine.drain.cut_short();
                self.nack_unworked().await
            }
            End::Returned => self.nack_unworked().await,
            End::Failed { .. } if mutant!("delete-without-success") => self.delete().await,
            End::Failed { delay, .. } => self.nack(delay).await,
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

/// A route, with its number.
type Taker<'a> = (usize, &'a Route);

/// The first route that takes an event, and the others. Nothing is allocated where the first is the only one.
fn takers<'a>(router: &'a Router, event: &Event) -> (Option<Taker<'a>>, Vec<Taker<'a>>) {
    let mut takers = router.takers(event);
    (takers.next(), takers.collect())
}

/// What a handler's lines of the log stand in.
fn span_of(origin: &Origin, event: &Event) -> Span {
    info_span!(
        target: MESSAGE_SPANS,
        "message",
        message_id = %origin.message_id,
        r#type = shown(event.kind().name()),
        receive_count = origin.receive_count,
        trace_id = origin.trace.trace_id(),
        aws_trace_id = origin.trace.aws_trace_id(),
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_what<A, F>(_: fn(A) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_message_with_its_handler_takes_a_small_future() {
        // With thousands of messages that wait for their handlers it is the greater part of the memory, after their texts.
        let size = size_of_what(Work::<Engine>::run);
        assert!(size <= 1536, "{size} bytes");
    }
}
