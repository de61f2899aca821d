//! Who holds which message until when, under which newest receipt.
//!
//! Every message that is here has one [`Lease`], from its arrival until it is settled. The ledger renews leases in
//! batches of ten before they run out, takes in the newer receipt of a duplicate delivery, and tells the worker when a
//! lease is lost. It never decides what becomes of a message.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::queue::{BATCH, Delivery, EntryResult, MAX_VISIBILITY, MessageId, Queue, QueueError, Receipt};
use crate::telemetry::{Request, Telemetry};

/// How many batches of renewals may be on their way at the same time.
const CALLS: usize = 4;

/// All leases of one engine.
#[derive(Debug)]
pub(crate) struct Ledger {
    state: Mutex<State>,
    /// Told when the nearest renewal may have changed.
    changed: Notify,
    /// For how long a receive or a renewal hides a message.
    visibility: Duration,
}

#[derive(Debug, Default)]
struct State {
    leases: BTreeMap<MessageId, Entry>,
    /// When to renew which lease, nearest first. Exactly the leases that are to be renewed and are not being renewed.
    renewals: BTreeSet<(Instant, MessageId)>,
    leases_given: u64,
}

#[derive(Debug)]
struct Entry {
    /// Which lease of this message it is: the one before may still be being let go.
    number: u64,
    receipt: Receipt,
    deadline: Instant,
    /// When SQS stops extending: 12 hours after the receive.
    ceiling: Instant,
    renew_at: Option<Instant>,
    /// No further renewal: the message is about to be let go.
    stopped: bool,
    /// A renewal is on its way.
    renewing: bool,
    lost: CancellationToken,
    /// Told when a renewal came back.
    renewed: Arc<Notify>,
}

/// What an arriving delivery is.
pub(crate) enum Arrival {
    /// The only delivery of its message here.
    New(Lease),
    /// Its message is at work already; the ledger took its receipt.
    Joined,
}

impl Ledger {
    pub(crate) fn new(visibility: Duration) -> Arc<Self> {
        Arc::new(Ledger { state: Mutex::default(), changed: Notify::new(), visibility })
    }

    /// Takes in a delivery that has just arrived.
    pub(crate) fn arrive(self: &Arc<Self>, delivery: &Delivery) -> Arrival {
        let now = Instant::now();
        let id = delivery.receipt.message_id.clone();
        let mut state = self.state();
        if let Some(entry) = state.leases.get_mut(&id) {
            if !entry.stopped {
                // Only the newest receipt settles a message; with an older one SQS may answer OK and delete nothing.
                entry.receipt = delivery.receipt.clone();
                entry.deadline = now + self.visibility;
                entry.ceiling = now + MAX_VISIBILITY;
                if !entry.renewing {
                    state.schedule(&id, now + self.visibility / 2);
                }
                drop(state);
                self.changed.notify_one();
                return Arrival::Joined;
            }
            // It was let go and is back before that was confirmed: a delivery of its own, to be worked on anew.
            entry.renewed.notify_waiters();
            state.unschedule(&id);
        }
        state.leases_given += 1;
        let number = state.leases_given;
        let entry = Entry {
            number,
            receipt: delivery.receipt.clone(),
            deadline: now + self.visibility,
            ceiling: now + MAX_VISIBILITY,
            renew_at: None,
            stopped: false,
            renewing: false,
            lost: CancellationToken::new(),
            renewed: Arc::new(Notify::new()),
        };
        let lost = entry.lost.clone();
        state.leases.insert(id.clone(), entry);
        state.schedule(&id, now + self.visibility / 2);
        drop(state);
        self.changed.notify_one();
        Arrival::New(Lease { ledger: self.clone(), id, number, lost })
    }

    /// Renews leases for as long as it is polled.
    pub(crate) async fn keep<Q: Queue>(self: Arc<Self>, queue: Arc<Q>, telemetry: Arc<Telemetry>) {
        let mut calls = JoinSet::new();
        loop {
            let next = self.state().renewals.first().map(|(at, _)| *at);
            let far = Instant::now() + Duration::from_secs(3600);
            tokio::select! {
                biased;
                Some(_) = calls.join_next(), if !calls.is_empty() => {}
                () = tokio::time::sleep_until(next.unwrap_or(far)), if calls.len() < CALLS => {
                    let batch = self.take_due();
                    if !batch.is_empty() {
                        calls.spawn(renew(self.clone(), queue.clone(), telemetry.clone(), batch));
                    }
                }
                () = self.changed.notified() => {}
            }
        }
    }

    /// Up to ten leases to be renewed now: those that are due, and with them those that will be soon, since a batch
    /// costs one request however full it is.
    fn take_due(&self) -> Vec<(u64, Receipt, Duration)> {
        let now = Instant::now();
        let soon = now + self.visibility / 8;
        let mut state = self.state();
        if state.renewals.first().is_none_or(|(at, _)| *at > now) {
            return Vec::new();
        }
        let mut batch = Vec::new();
        while batch.len() < BATCH
            && state.renewals.first().is_some_and(|(at, _)| *at <= soon)
            && let Some((_, id)) = state.renewals.pop_first()
        {
            let Some(entry) = state.leases.get_mut(&id) else { continue };
            entry.renew_at = None;
            if entry.deadline <= now {
                // This process slept, or no renewal came through in time: the message may be somebody else's by now.
                entry.lost.cancel();
                continue;
            }
            // Asking for more than is left of the 12 hours is an error, and what is left is given in whole seconds.
            let left = Duration::from_secs(entry.ceiling.saturating_duration_since(now).as_secs().saturating_sub(1));
            let visibility = self.visibility.min(left);
            if now + visibility <= entry.deadline {
                // The 12 hours are used up: nothing can be gained, so the end of the lease is awaited.
                let end = entry.deadline;
                state.schedule(&id, end);
                continue;
            }
            entry.renewing = true;
            batch.push((entry.number, entry.receipt.clone(), visibility));
        }
        batch
    }

    /// Takes in the answer for one lease of a renewal that was issued at `issued`.
    fn renewed(&self, number: u64, receipt: &Receipt, issued: Instant, visibility: Duration, outcome: Renewal) {
        let now = Instant::now();
        let mut state = self.state();
        let Some(entry) = state.entry(&receipt.message_id, number) else { return };
        entry.renewing = false;
        entry.renewed.notify_waiters();
        let newer = entry.receipt != *receipt;
        match outcome {
            // The timeout counts from the call; when exactly SQS took it up is not known, so from before the call.
            Renewal::Done if !newer => entry.deadline = issued + visibility,
            // A duplicate arrived meanwhile: what happened to the old receipt says nothing about the new one.
            _ if newer => {}
            Renewal::Refused => {
                entry.lost.cancel();
                return;
            }
            _ => {}
        }
        if !entry.stopped && !entry.lost.is_cancelled() {
            let at = match outcome {
                Renewal::Unanswered => (now + self.visibility / 10).min(entry.deadline.max(now)),
                _ => entry.deadline - (entry.deadline.saturating_duration_since(issued)) / 2,
            };
            let id = receipt.message_id.clone();
            state.schedule(&id, at);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The entry of one lease; None when it is over, also when its message has a newer one.
    fn entry(&mut self, id: &MessageId, number: u64) -> Option<&mut Entry> {
        self.leases.get_mut(id).filter(|entry| entry.number == number)
    }

    fn schedule(&mut self, id: &MessageId, at: Instant) {
        if let Some(entry) = self.leases.get_mut(id) {
            if let Some(before) = entry.renew_at.replace(at) {
                self.renewals.remove(&(before, id.clone()));
            }
            self.renewals.insert((at, id.clone()));
        }
    }

    fn unschedule(&mut self, id: &MessageId) {
        if let Some(at) = self.leases.get_mut(id).and_then(|entry| entry.renew_at.take()) {
            self.renewals.remove(&(at, id.clone()));
        }
    }
}

/// How the renewal of one lease went.
#[derive(Clone, Copy)]
enum Renewal {
    Done,
    /// The receipt is no longer good.
    Refused,
    /// Not known, or not this time: to be tried again while the lease lasts.
    Unanswered,
}

/// Renews one batch.
async fn renew<Q: Queue>(
    ledger: Arc<Ledger>,
    queue: Arc<Q>,
    telemetry: Arc<Telemetry>,
    batch: Vec<(u64, Receipt, Duration)>,
) {
    let issued = Instant::now();
    // An answer that comes after the lease has run out is of no use.
    let limit = (ledger.visibility / 4).clamp(Duration::from_millis(500), Duration::from_secs(20));
    telemetry.hide_calls.add(1);
    let numbers: Vec<u64> = batch.iter().map(|(number, ..)| *number).collect();
    let batch: Vec<_> = batch.into_iter().map(|(_, receipt, visibility)| (receipt, visibility)).collect();
    let outcomes: Vec<Renewal> = match tokio::time::timeout(limit, queue.hide(&batch)).await {
        Ok(Ok(entries)) => {
            telemetry.requested(Request::Hide, Ok(()));
            let read = |entry: EntryResult| match entry {
                Ok(()) => Renewal::Done,
                Err(error) if error.is_final() => Renewal::Refused,
                Err(_) => Renewal::Unanswered,
            };
            entries.into_iter().map(read).collect()
        }
        Ok(Err(error)) => {
            telemetry.requested(Request::Hide, Err(error.label()));
            if let Some(times) = telemetry.worth_logging(("renew", error.label())) {
                warn!(error = %error, kind = error.label(), times, "leases could not be renewed; trying again");
            }
            Vec::new()
        }
        Err(_) => {
            telemetry.requested(Request::Hide, Err(QueueError::TimedOut { after: limit }.label()));
            Vec::new()
        }
    };
    // What was not answered for is tried again.
    let outcomes = outcomes.into_iter().chain(std::iter::repeat(Renewal::Unanswered));
    for ((number, (receipt, visibility)), outcome) in numbers.into_iter().zip(&batch).zip(outcomes) {
        ledger.renewed(number, receipt, issued, *visibility, outcome);
    }
    ledger.changed.notify_one();
}

/// The hold on one message. Dropping it ends the renewals; the message then comes back when its visibility runs out,
/// unless it was settled.
#[derive(Debug)]
pub(crate) struct Lease {
    ledger: Arc<Ledger>,
    id: MessageId,
    number: u64,
    lost: CancellationToken,
}

impl Lease {
    pub(crate) fn message_id(&self) -> &MessageId {
        &self.id
    }

    /// The receipt to settle with now: a duplicate delivery brings a newer one.
    pub(crate) fn receipt(&self) -> Option<Receipt> {
        self.ledger.state().entry(&self.id, self.number).map(|entry| entry.receipt.clone())
    }

    /// Cancelled when the message may be somebody else's.
    pub(crate) fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Whether the hold is gone, also when that was not noticed by a renewal yet.
    pub(crate) fn is_lost(&self) -> bool {
        let now = Instant::now();
        let over = self.ledger.state().entry(&self.id, self.number).is_none_or(|entry| entry.deadline <= now);
        over || self.lost.is_cancelled()
    }

    /// How much is left of the hold if it is not renewed.
    pub(crate) fn left(&self) -> Duration {
        let deadline = self.ledger.state().entry(&self.id, self.number).map(|entry| entry.deadline);
        deadline.map_or(Duration::ZERO, |deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Until when the message can be held at the most.
    pub(crate) fn ceiling(&self) -> Instant {
        self.ledger.state().entry(&self.id, self.number).map_or_else(Instant::now, |entry| entry.ceiling)
    }

    /// Ends the renewals and waits for the one that is on its way: a renewal that overtook the letting go would hide the
    /// message again.
    pub(crate) async fn stop_renewing(&self) {
        loop {
            let back = {
                let mut state = self.ledger.state();
                let Some(entry) = state.entry(&self.id, self.number) else { return };
                entry.stopped = true;
                let back = entry.renewing.then(|| entry.renewed.clone().notified_owned());
                state.unschedule(&self.id);
                let Some(back) = back else { return };
                back
            };
            back.await;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.ledger.state();
        if state.entry(&self.id, self.number).is_some() {
            state.unschedule(&self.id);
            state.leases.remove(&self.id);
        }
    }
}
