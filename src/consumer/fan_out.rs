//! A message with several routes: its handlers are called side by side, and it is settled when each has come to its end.
//!
//! All of it is one task, so that dropping it is what a crash is. A route that has succeeded is remembered by its
//! [`Mark`], and not called again. One that failed waits for the others: it is tried again here in the meantime, after the
//! delay after which it would have been received again, since a receive is spent only when no other route is at work or
//! held by its target.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;
use tracing::warn;

use super::account::Branch;
use super::branch::End;
use super::clock::later;
use super::engine::Engine;
use super::settlement::Settlement;
use super::together::{Place, Standing, Together};
use super::work::{At, Work};
use crate::event::Event;
use crate::router::{Mark, Route};
use crate::telemetry::Cause;

/// The shortest time before a route that failed is tried again here: its handler may name none at all.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

impl Work<Engine> {
    /// Works on an event with several routes, without those that are done.
    pub(super) async fn fan_out(&mut self, takers: Vec<(usize, &Route)>, done: &[Mark], event: Event) -> Settlement {
        let engine = self.engine.clone();
        let is_done = |(number, _): &(usize, &Route)| {
            engine.marks.get(*number).is_some_and(|mark| done.contains(mark)) && !mutant!("call-again-what-is-done")
        };
        let (done, missing): (Vec<_>, Vec<_>) = takers.into_iter().partition(is_done);
        self.account.done = done.into_iter().map(|(number, _)| number).collect();
        if missing.is_empty() {
            return self.delete_repeat().await;
        }
        // For those who watch, until the message is settled.
        let _here: Vec<_> = self.account.done.iter().map(|number| engine.flow.done_here(*number)).collect();
        if mutant!("leave-the-group-before-each-route-is-done") {
            self.ticket = None;
        }
        let together = Together::new(missing.len());
        let (work, expires) = (&*self, self.expires());
        let branches = missing.into_iter().enumerate().map(|(position, (number, route))| {
            let (at, place) = (At { number, route, event: &event, expires }, together.place(position));
            work.beside_others(at, place)
        });
        let ended = join_all(branches).await;
        drop(event);
        let end = self.decide(ended);
        self.settle(end).await
    }

    /// Calls one of several handlers until it has succeeded, or until nothing is gained by waiting any longer.
    async fn beside_others(&self, at: At<'_>, place: Place<'_>) -> (Branch, End) {
        let mut branch = Branch::new(at.number);
        let mut failures = 0_u32;
        loop {
            let end = self.handle(&mut branch, &at, Some(place)).await;
            match end {
                End::Succeeded | End::LeaseLost { succeeded: true } => {
                    // All of them are remembered as the message.
                    if !place.is_last_to_succeed() {
                        branch.done = Some(self.engine.flow.done_here(at.number));
                        self.remember_part(at.number).await;
                    }
                }
                End::Failed { delay, rejected } => {
                    let receives = self.receive_count().saturating_add(failures);
                    failures = failures.saturating_add(1);
                    let delay =
                        delay.unwrap_or_else(|| self.engine.settings.retry.after(receives, self.engine.jitter()));
                    let again = later(Instant::now(), delay.max(SHORTEST_PAUSE));
                    place.stands(Standing::Failed);
                    if place.only_waits() {
                        self.park();
                    }
                    match self.wait_for_others(place, again, rejected).await {
                        Some(end) => return (branch, end),
                        None => place.stands(Standing::AtWork),
                    }
                    continue;
                }
                _ => place.stands(Standing::Over),
            }
            if place.only_waits() {
                self.park();
            }
            return (branch, end);
        }
    }

    /// Waits until all others have ended, or until this one is to be tried again, which is None.
    async fn wait_for_others(&self, place: Place<'_>, again: Instant, rejected: bool) -> Option<End> {
        if mutant!("spend-a-receive-beside-what-is-held") {
            return Some(End::Failed { delay: None, rejected });
        }
        tokio::select! {
            biased;
            () = self.lease.lost().wait() => {
                place.stands(Standing::Over);
                return Some(End::LeaseLost { succeeded: false });
            }
            () = place.others_rest() => {}
            () = self.engine.drain.begun(), if !mutant!("call-again-in-a-shutdown") => {}
            () = tokio::time::sleep_until(again), if !rejected || mutant!("call-again-what-was-rejected") => return None,
        }
        let now = if mutant!("wait-longer-than-was-asked") {
            Instant::now().checked_sub(SHORTEST_PAUSE.saturating_mul(10))
        } else {
            None
        };
        let left = again.saturating_duration_since(now.unwrap_or_else(Instant::now));
        Some(End::Failed { delay: Some(left).filter(|_| !rejected), rejected })
    }

    /// What becomes of a message whose branches have all ended: it is deleted when each has succeeded; otherwise what must
    /// be comes before what is left for a retry, and of that the worst decides.
    fn decide(&mut self, mut ended: Vec<(Branch, End)>) -> End {
        let succeeded = |end: &End| matches!(end, End::Succeeded | End::LeaseLost { succeeded: true });
        let all = ended.iter().all(|(_, end)| succeeded(end));
        let done = ended.iter().filter(|(_, end)| succeeded(end)).map(|(branch, _)| branch.number);
        self.account.done.extend(done);
        self.account.done.sort_unstable();
        if all || mutant!("let-one-success-do") && ended.iter().any(|(_, end)| succeeded(end)) {
            let lost = ended.iter().any(|(_, end)| matches!(end, End::LeaseLost { .. }));
            ended.into_iter().take(1).for_each(|(branch, _)| self.account.came_to(branch));
            return if lost { End::LeaseLost { succeeded: true } } else { End::Succeeded };
        }
        let rank = |end: &End| match end {
            End::LeaseLost { succeeded: false } => (5, Duration::ZERO),
            End::GraceOver => (4, Duration::ZERO),
            End::Returned => (3, Duration::ZERO),
            End::Failed { rejected: true, .. } => (2, Duration::ZERO),
            End::Failed { delay, .. } => (1, delay.unwrap_or_default()),
            End::Succeeded | End::LeaseLost { succeeded: true } => (0, Duration::ZERO),
        };
        let lost = ended.iter().any(|(_, end)| matches!(end, End::LeaseLost { .. }));
        // Of several such the first.
        let worst = ended.iter().enumerate().rev().max_by_key(|(_, (_, end))| rank(end)).map(|(position, _)| position);
        let Some(worst) = worst else { return End::Returned };
        let (mut branch, end) = ended.remove(worst);
        for (other, _) in ended.iter().filter(|(_, end)| matches!(end, End::Failed { .. })) {
            let name = self.engine.telemetry.route_name(other.number);
            branch.error.push_str(&format!("; {name}: {}", other.error));
        }
        self.account.came_to(branch);
        if lost { End::LeaseLost { succeeded: false } } else { end }
    }

    /// One of several handlers succeeded, which is to be known when the message comes again.
    async fn remember_part(&self, number: usize) {
        let engine = &self.engine;
        let Some(mark) = engine.marks.get(number) else { return };
        if !mutant!("forget-what-is-done")
            && let Err(failure) = engine.dedup.part(self.lease.message_id(), *mark, engine.settings.wall_clock).await
            && let Some(times) = engine.telemetry.worth_logging(Cause::new(("journal", "write"), &failure.to_string()))
        {
            warn!(message_id = %self.lease.message_id(), error = %failure, times, "a success is not yet in the journal; it is known in memory only");
        }
    }
}
