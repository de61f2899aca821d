//! How a delivery ends: its message is deleted, nacked, returned, or left to whoever receives it next.
//!
//! Here it is carried out and written down. Which of these it is was decided before.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::clock::later;
use super::engine::Engine;
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
    pub(super) async fn delete(&self) -> Settlement {
        let engine = &self.engine;
        match engine.settler.delete(&self.lease, || engine.jitter()).await {
            Deleted::Confirmed => {
                engine.telemetry.lease_margin.observe(self.lease.left().as_secs_f64());
                engine.dedup.deleted(self.lease.message_id());
                Settlement::Deleted
            }
            Deleted::Unconfirmed => {
                let error = format!("{}, but its delete was not confirmed", self.account.outcome);
                self.write_down("delete_unconfirmed", &error);
                Settlement::Interrupted
            }
        }
    }

    /// Leaves the message undone, to be received again after a delay or to be dead-lettered.
    pub(super) async fn nack(&mut self, delay: Option<Duration>) -> Settlement {
        self.held.drop_bytes();
        let engine = self.engine.clone();
        self.write_down(self.account.outcome, &self.account.error);
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
        self.write_down("returned", &self.account.because(reason));
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

    pub(super) fn interrupted(&mut self) -> Settlement {
        self.engine.telemetry.leases_lost.add(1);
        let handled = self.account.is_handled();
        let reason =
            if handled { "handled, but its lease was lost before it was deleted" } else { "its lease was lost" };
        self.write_down("lease_lost", &self.account.because(reason));
        if let Some(times) = self.engine.telemetry.worth_logging(("lease", "lost")) {
            warn!(message_id = %self.lease.message_id(), times, "the lease of a message is lost; it will be received again");
        }
        if let Some(ticket) = &self.ticket {
            ticket.return_the_rest();
        }
        Settlement::Interrupted
    }

    /// Writes down why a message was not deleted on its last receive, after which SQS moves it to the dead-letter queue.
    fn write_down(&self, outcome: &str, error: &str) {
        if !self.is_last_receive() {
            return;
        }
        let Engine { telemetry, settings, .. } = &*self.engine;
        telemetry.last_receive_failed(FailedLastReceive {
            at: (settings.wall_clock)(),
            message_id: self.lease.message_id().as_str(),
            receive_count: self.receive_count(),
            event_type: self.account.event_type(),
            cid: self.account.cid(),
            route: self.account.route.map(|number| &**telemetry.route_name(number)),
            outcome,
            error,
        });
    }
}
