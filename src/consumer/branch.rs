//! One route of a message: its handler is called until it is clear how that ends.
//!
//! What comes of it for the message is decided by the [`worker`](super::worker), or with other routes by
//! [`fan_out`](super::fan_out).

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::time::Duration;

use tokio::time::Instant;

use super::account::Branch;
use super::call::Attempt;
use super::clock::{later, part};
use super::engine::Engine;
use super::flow::{Caller, Next, Returned, Verdict};
use super::together::Place;
use super::work::{At, Work};

/// How a branch ended, for this receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The handler succeeded.
    Succeeded,
    /// It failed, which spends a receive: after this delay, or after that of the settings. `rejected` says that to call it
    /// again is of no use.
    Failed { delay: Option<Duration>, rejected: bool },
    /// It is returned, through no fault of its own: a shutdown, or it was held for as long as can be.
    Returned,
    /// The grace of the shutdown is over, and its handler was at work.
    GraceOver,
    /// The message may be somebody else's; whether the handler succeeded all the same.
    LeaseLost { succeeded: bool },
}

impl End {
    fn failed(delay: Option<Duration>) -> Self {
        End::Failed { delay, rejected: false }
    }
}

impl Work<Engine> {
    /// Calls the handler until there is an end. `beside` is the place of this branch among several of the message.
    pub(super) async fn handle(&self, branch: &mut Branch, at: &At<'_>, beside: Option<Place<'_>>) -> End {
        let engine = &self.engine;
        let mut caller = engine.flow.enter(at.number, self.lease.message_id().clone());
        let mut failures = 0_u32;
        loop {
            let no_slot = beside.is_some() && branch.attempt == 0 && mutant!("call-several-routes-in-one-slot");
            match if no_slot { Some(Next::Call) } else { self.turn(&mut caller, at).await } {
                None => return End::LeaseLost { succeeded: false },
                Some(Next::Call) => {}
                Some(Next::Return) => return End::Returned,
                Some(Next::Nack(delay)) => return End::failed(Some(delay)),
            }
            branch.attempt = branch.attempt.saturating_add(1);
            let began = Instant::now();
            let (end, ended) = self.call(branch, at).await;
            engine.telemetry.called(at.number, end, began.elapsed());
            let verdict = self.check(branch, at, &ended, &mut caller);
            match ended {
                Attempt::Succeeded => return End::Succeeded,
                Attempt::LeaseLost(succeeded) => return End::LeaseLost { succeeded },
                Attempt::GraceOver => return End::GraceOver,
                Attempt::Rejected => return End::Failed { delay: None, rejected: true },
                Attempt::Failed(delay) => {
                    failures = failures.saturating_add(1);
                    if self.ticket.is_none() || failures >= self.fifo_attempts() {
                        return End::failed(delay);
                    }
                    let delay = delay.unwrap_or_else(|| engine.settings.retry.after(failures, engine.jitter()));
                    if !self.pause(delay).await {
                        let lost = self.lease.is_lost();
                        return if lost { End::LeaseLost { succeeded: false } } else { End::Returned };
                    }
                }
                Attempt::TargetBusy(_) | Attempt::TargetDown => match verdict {
                    Verdict::Nack(delay) => return End::failed(Some(delay)),
                    Verdict::Hold if mutant!("spend-receives-in-an-outage") => return End::failed(None),
                    Verdict::Hold if mutant!("hold-nothing-beyond-the-slots") => {}
                    Verdict::Hold => match beside {
                        Some(place) => {
                            if place.is_held() {
                                self.park();
                            }
                        }
                        None => self.park(),
                    },
                },
            }
        }
    }

    /// Waits for the turn to call the handler; None when the lease is lost.
    async fn turn(&self, caller: &mut Caller, at: &At<'_>) -> Option<Next> {
        let limit = self.hold_limit(at.expires);
        let next = tokio::select! {
            biased;
            () = self.lease.lost().wait() => return None,
            next = caller.turn(limit, self.receive_count(), self.engine.max_receive_count()) => next,
            () = self.engine.drain.handlers_over() => Next::Return,
        };
        if next == Next::Return && Instant::now() >= limit {
            let receives_left = self.engine.max_receive_count().map(|most| most.saturating_sub(self.receive_count()));
            // The last day of its time in the queue is kept for the receives that it has left.
            const LAST_DAY: Duration = Duration::from_secs(24 * 3600);
            let keeps = self.time_left(at.expires).map(|left| left.saturating_sub(LAST_DAY.min(part(left, 2))));
            let keeps = keeps.filter(|_| !mutant!("spend-no-receives-at-the-end"));
            let now = Instant::now();
            caller.returned(Returned { at: now, receives_left, spend_from: keeps.map(|keeps| later(now, keeps)) });
        }
        Some(next)
    }

    /// Gives the slot to others while this message, and with it what stands behind it in its group, waits.
    pub(super) fn park(&self) {
        self.held.park();
        if let Some(ticket) = &self.ticket {
            ticket.park_the_rest();
        }
    }

    /// Waits before the head of a FIFO group is tried again; false when it is to be returned instead.
    async fn pause(&self, delay: Duration) -> bool {
        let limit = self.hold_limit(None);
        let until = later(Instant::now(), delay);
        tokio::select! {
            biased;
            () = self.lease.lost().wait() => false,
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
}
