//! How a delivery ends: its message is deleted, nacked, returned, or left for the next receive.
//!
//! Here it is carried out and written down. Which of these it is was decided before.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::account::fit_for_log;
use super::clock::later;
use super::engine::Engine;
use super::observer::{Became, Settled};
use super::settle::Deleted;
use super::work::Work;
use crate::queue::MessageId;
use crate::telemetry::FailedLastReceive;

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
    pub(super) fn word(&self) -> &'static str {
        match self {
            Settlement::Deleted => "deleted",
            Settlement::Nacked(..) => "nacked",
            Settlement::Returned(..) => "returned",
            Settlement::Interrupted => "interrupted",
        }
    }
}

impl Work<Engine> {
    pub(super) async fn delete(&mut self) -> Settlement {
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
    pub(super) async fn nack(&mut self, delay: Option<Duration>) -> Settlement {
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
    pub(super) async fn nack_unworked(&mut self) -> Settlement {
        let delay = self.ticket.as_ref().map(|ticket| ticket.hidden_for(self.lease.message_id()));
        self.nack_unworked_for(delay.unwrap_or_default()).await
    }

    pub(super) async fn nack_unworked_for(&mut self, delay: Duration) -> Settlement {
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
            () = self.lease.lost().wait() => {}
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

    pub(super) fn interrupted(&mut self) -> Settlement {
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
            routes_done: self.routes_done(),
            outcome,
            error,
        }
    }

    /// Of several routes those that are done, for a record.
    fn routes_done(&self) -> Option<String> {
        let Engine { telemetry, marks, .. } = &*self.engine;
        let told = |number: &usize| {
            let mark = marks.get(*number)?;
            Some(format!("{}@{mark}", fit_for_log(telemetry.route_name(*number))))
        };
        let told: Vec<String> = self.account.done.iter().filter_map(told).collect();
        Some(told.join(", ")).filter(|told| !told.is_empty())
    }

    /// Tells who asked for it how the delivery ended.
    pub(super) fn tell_the_observer(&self, settlement: &Settlement) {
        let Some(observer) = &self.engine.observer else { return };
        let became = match settlement {
            Settlement::Deleted => Became::Deleted,
            _ => self.account.became.unwrap_or(Became::Failed),
        };
        let failed = self.failed(self.account.outcome, &self.account.error);
        observer.settled(Settled { message_id: self.lease.message_id(), became, failed });
    }
}
