//! One delivery while it is here, and what can be said of it: how often it was received, and for how long it may be held.
//!
//! What is done with it stands in [`worker`](super::worker), [`branch`](super::branch), [`call`](super::call) and
//! [`settlement`](super::settlement).

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::account::{Account, Branch};
use super::budget::Held;
use super::clock::{later, part};
use super::engine::Engine;
use super::groups::Ticket;
use super::lease::Lease;
use crate::event::Event;
use crate::handler::Origin;
use crate::queue::Delivery;
use crate::router::Route;
use crate::telemetry::Failed;

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
    pub(super) engine: Arc<E>,
    pub(super) lease: Lease,
    pub(super) held: Held,
    pub(super) ticket: Option<Ticket>,
    /// As it came; empty once it is decoded.
    pub(super) body: String,
    /// What came with it. For the receive count see [`Work::receive_count`].
    pub(super) origin: Arc<Origin>,
    pub(super) task: Task,
    pub(super) account: Account,
}

/// Which event is with which handler.
pub(super) struct At<'a> {
    pub(super) number: usize,
    pub(super) route: &'a Route,
    pub(super) event: &'a Event,
    /// When the queue gives the message up, where that is known.
    pub(super) expires: Option<SystemTime>,
}

impl Work<Engine> {
    pub(super) fn new(
        engine: Arc<Engine>,
        lease: Lease,
        held: Held,
        ticket: Option<Ticket>,
        delivery: Delivery,
        task: Task,
    ) -> Self {
        let Delivery { receipt, body, receive_count, sent_at, group, trace, webhook_id, attributes: _ } = delivery;
        let origin = Origin { message_id: receipt.message_id, receive_count, sent_at, group, trace, webhook_id };
        Work { engine, lease, held, ticket, body, origin: Arc::new(origin), task, account: Account::default() }
    }

    /// How often the message was received by now, also where a duplicate brought a higher count.
    pub(super) fn receive_count(&self) -> u32 {
        self.lease.receive_count().unwrap_or(self.origin.receive_count)
    }

    pub(super) fn is_last_receive(&self) -> bool {
        self.engine.max_receive_count().is_some_and(|most| self.receive_count() >= most)
    }

    /// When the queue gives the message up, as far as is known.
    pub(super) fn expires(&self) -> Option<SystemTime> {
        let (retention, sent_at) = self.engine.retention().zip(self.origin.sent_at)?;
        sent_at.checked_add(retention)
    }

    /// How long the queue still keeps the message.
    pub(super) fn time_left(&self, expires: Option<SystemTime>) -> Option<Duration> {
        let now = (self.engine.settings.wall_clock)();
        expires.map(|expires| expires.duration_since(now).unwrap_or_default())
    }

    /// Until when a message is held at the most: long enough before the 12 hours are over to be returned in order, and
    /// so that the receives which it has left fit into half of its time in the queue. One that always fails is then
    /// dead-lettered before it expires.
    pub(super) fn hold_limit(&self, expires: Option<SystemTime>) -> Instant {
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

    /// Remembers a failure that came before any route, for those who watch, and for those who ask later why it was
    /// dead-lettered.
    pub(super) fn note(&mut self, kind: &'static str, error: &str) {
        self.account.failed(kind, error);
        self.tell_of_a_failure(None, kind, error);
    }

    /// The same for a failure on a route.
    pub(super) fn note_on(&self, branch: &mut Branch, at: &At<'_>, kind: &'static str, error: &str) {
        branch.failed(kind, error);
        self.tell_of_a_failure(Some(at), kind, error);
    }

    fn tell_of_a_failure(&self, at: Option<&At<'_>>, kind: &'static str, error: &str) {
        self.engine.telemetry.failed(Failed {
            kind,
            event_type: at.map(|at| at.event.kind().name()),
            route: at.map(|at| self.engine.telemetry.route_name(at.number)),
            error,
            message_id: self.lease.message_id().as_str(),
            receive_count: self.origin.receive_count,
        });
    }
}
