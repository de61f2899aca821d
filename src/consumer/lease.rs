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

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use tokio::time::{advance, timeout};

    use super::*;
    use crate::queue::Trace;
    use crate::queue::memory::{Faults, MemoryQueue, MemorySettings};
    use crate::telemetry::Limits;

    const VISIBILITY: Duration = Duration::from_secs(40);

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn delivery(id: &str, handle: &str) -> Delivery {
        Delivery {
            receipt: Receipt { message_id: id.into(), handle: handle.into() },
            body: String::new(),
            receive_count: 1,
            sent_at: None,
            group: None,
            trace: Trace::default(),
        }
    }

    fn arrive(ledger: &Arc<Ledger>, id: &str) -> Lease {
        match ledger.arrive(&delivery(id, "first")) {
            Arrival::New(lease) => lease,
            Arrival::Joined => panic!("{id} is here already"),
        }
    }

    fn joins(ledger: &Arc<Ledger>, id: &str, handle: &str) {
        assert!(matches!(ledger.arrive(&delivery(id, handle)), Arrival::Joined));
    }

    /// In what time the next renewal is due.
    fn next(ledger: &Ledger) -> Option<Duration> {
        ledger.state().renewals.first().map(|(at, _)| at.duration_since(Instant::now()))
    }

    /// The only renewal that is due.
    fn due(ledger: &Ledger) -> (u64, Receipt, Duration) {
        let mut batch = ledger.take_due();
        assert_eq!(batch.len(), 1);
        batch.remove(0)
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_renewed_at_half_of_its_time_counted_from_the_call() {
        let ledger = Ledger::new(VISIBILITY);
        let lease = arrive(&ledger, "m");
        assert_eq!((lease.left(), next(&ledger)), (seconds(40), Some(seconds(20))));
        advance(seconds(19)).await;
        assert!(ledger.take_due().is_empty(), "not yet due");
        advance(seconds(1)).await;
        let (number, receipt, asked) = due(&ledger);
        assert_eq!((asked, next(&ledger)), (VISIBILITY, None));
        let issued = Instant::now();
        advance(seconds(2)).await;
        ledger.renewed(number, &receipt, issued, asked, Renewal::Done);
        assert_eq!((lease.left(), next(&ledger)), (seconds(38), Some(seconds(18))));
        assert!(!lease.is_lost());
    }

    #[tokio::test(start_paused = true)]
    async fn renewals_go_ten_to_a_call_and_take_along_what_is_due_soon() {
        let ledger = Ledger::new(VISIBILITY);
        let together: Vec<_> = (0..25).map(|n| arrive(&ledger, &format!("together-{n}"))).collect();
        advance(seconds(20)).await;
        let batches = [(); 4].map(|()| ledger.take_due().len());
        assert_eq!(batches, [10, 10, 5, 0]);
        drop(together);
        let mut apart = Vec::new();
        for n in 0..9 {
            apart.push(arrive(&ledger, &format!("apart-{n}")));
            advance(seconds(1)).await;
        }
        advance(seconds(11)).await;
        assert_eq!(ledger.take_due().len(), 6, "the first is due, and five more within an eighth of the time");
        assert_eq!(next(&ledger), Some(seconds(6)));
        assert!(ledger.take_due().is_empty(), "what is due soon alone is no reason for a call");
    }

    #[tokio::test(start_paused = true)]
    async fn a_duplicate_brings_its_receipt_and_the_time_of_its_own_receive() {
        let ledger = Ledger::new(VISIBILITY);
        let lease = arrive(&ledger, "m");
        advance(seconds(15)).await;
        joins(&ledger, "m", "second");
        assert_eq!(lease.receipt().expect("a receipt").handle, delivery("m", "second").receipt.handle);
        assert_eq!((lease.left(), next(&ledger)), (seconds(40), Some(seconds(20))));
        assert_eq!(lease.ceiling(), Instant::now() + MAX_VISIBILITY);
    }

    #[tokio::test(start_paused = true)]
    async fn what_becomes_of_an_older_receipt_says_nothing_about_the_newest() {
        for outcome in [Renewal::Done, Renewal::Refused, Renewal::Unanswered] {
            let ledger = Ledger::new(VISIBILITY);
            let lease = arrive(&ledger, "m");
            advance(seconds(20)).await;
            let (number, older, asked) = due(&ledger);
            let issued = Instant::now();
            advance(seconds(3)).await;
            joins(&ledger, "m", "second");
            assert_eq!(next(&ledger), None, "one renewal of a message at a time");
            advance(seconds(1)).await;
            ledger.renewed(number, &older, issued, asked, outcome);
            assert!(!lease.is_lost());
            assert_eq!(lease.left(), seconds(39), "as the duplicate brought it");
            assert!(next(&ledger).is_some_and(|next| next <= seconds(20)), "the newest is renewed in time");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_renewal_loses_the_lease() {
        let ledger = Ledger::new(VISIBILITY);
        let lease = arrive(&ledger, "m");
        advance(seconds(20)).await;
        let (number, receipt, asked) = due(&ledger);
        ledger.renewed(number, &receipt, Instant::now(), asked, Renewal::Refused);
        assert!(lease.is_lost() && lease.lost().is_cancelled());
        assert_eq!(next(&ledger), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unanswered_renewal_is_tried_again_until_the_lease_has_run_out() {
        let ledger = Ledger::new(VISIBILITY);
        let lease = arrive(&ledger, "m");
        advance(seconds(20)).await;
        for left in [20, 16, 12, 8, 4] {
            let (number, receipt, asked) = due(&ledger);
            ledger.renewed(number, &receipt, Instant::now(), asked, Renewal::Unanswered);
            assert_eq!((lease.left(), next(&ledger)), (seconds(left), Some(seconds(4))));
            advance(seconds(3)).await;
            assert!(!lease.is_lost());
            advance(seconds(1)).await;
        }
        assert!(lease.is_lost() && !lease.lost().is_cancelled(), "it has run out, and nobody has noticed");
        assert!(ledger.take_due().is_empty());
        assert!(lease.lost().is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_try_comes_before_the_lease_runs_out() {
        let ledger = Ledger::new(VISIBILITY);
        let lease = arrive(&ledger, "m");
        advance(seconds(38)).await;
        let (number, receipt, asked) = due(&ledger);
        ledger.renewed(number, &receipt, Instant::now(), asked, Renewal::Unanswered);
        assert_eq!(next(&ledger), Some(seconds(2)), "when it runs out, and not later");
        drop(lease);
        assert_eq!(next(&ledger), None, "with the lease its renewal is gone");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_let_go_waits_for_its_renewal_and_is_not_renewed_again() {
        let ledger = Ledger::new(VISIBILITY);
        let lease = arrive(&ledger, "m");
        advance(seconds(20)).await;
        let (number, receipt, asked) = due(&ledger);
        let issued = Instant::now();
        assert!(timeout(seconds(1), lease.stop_renewing()).await.is_err(), "a renewal is on its way");
        ledger.renewed(number, &receipt, issued, asked, Renewal::Done);
        assert_eq!(next(&ledger), None);
        timeout(seconds(1), lease.stop_renewing()).await.expect("it is back");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_let_go_and_is_back_is_a_delivery_of_its_own() {
        let ledger = Ledger::new(VISIBILITY);
        let before = arrive(&ledger, "m");
        before.stop_renewing().await;
        let after = arrive(&ledger, "m");
        assert_eq!((before.receipt(), before.is_lost(), before.left()), (None, true, Duration::ZERO));
        drop(before);
        assert_eq!((after.is_lost(), next(&ledger)), (false, Some(seconds(20))), "the first takes nothing with it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_slept_knows_that_its_leases_are_lost() {
        let ledger = Ledger::new(VISIBILITY);
        let (slept, fresh) = (arrive(&ledger, "slept"), {
            advance(seconds(30)).await;
            arrive(&ledger, "fresh")
        });
        advance(seconds(20)).await;
        assert_eq!(due(&ledger).1.message_id, "fresh".into());
        assert!(slept.lost().is_cancelled() && !fresh.lost().is_cancelled());
    }

    /// A lease on a real delivery whose renewal is due, and that renewal.
    async fn on(queue: &MemoryQueue) -> (Arc<Ledger>, Lease, impl Future<Output = ()> + use<>) {
        queue.send("{}");
        let delivery = queue.receive(1, Duration::ZERO, Some(VISIBILITY)).await.expect("an answer").remove(0);
        let ledger = Ledger::new(VISIBILITY);
        let Arrival::New(lease) = ledger.arrive(&delivery) else { panic!("it is the first") };
        advance(seconds(20)).await;
        let limits = Limits { concurrency: 1, max_in_flight_bytes: 1, wait: Duration::ZERO };
        let telemetry = Arc::new(Telemetry::new(limits, Vec::new(), SystemTime::UNIX_EPOCH));
        let renewal = renew(ledger.clone(), Arc::new(queue.clone()), telemetry, ledger.take_due());
        (ledger, lease, renewal)
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_that_hangs_is_given_up_while_there_is_time_for_another() {
        let queue = MemoryQueue::new(MemorySettings::default());
        let (ledger, lease, renewal) = on(&queue).await;
        queue.set_faults(Faults { hang: 1.0, ..Faults::default() });
        renewal.await;
        assert_eq!((lease.left(), next(&ledger)), (seconds(10), Some(seconds(4))), "after a quarter of its time");
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_that_fails_is_tried_again_and_one_that_is_refused_loses_the_lease() {
        let queue = MemoryQueue::new(MemorySettings::default());
        let (ledger, lease, renewal) = on(&queue).await;
        queue.set_faults(Faults { entry_error: 1.0, ..Faults::default() });
        renewal.await;
        assert!(!lease.is_lost());
        assert_eq!(next(&ledger), Some(seconds(4)));

        let queue = MemoryQueue::new(MemorySettings::default());
        let (_, lease, renewal) = on(&queue).await;
        queue.delete(&[lease.receipt().expect("a receipt")]).await.expect("an answer").remove(0).expect("a delete");
        renewal.await;
        assert!(lease.is_lost(), "there is no such message any longer");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_asked_for_beyond_twelve_hours() {
        let hours = |n: u64| seconds(n * 3600);
        let ledger = Ledger::new(hours(8));
        let lease = arrive(&ledger, "m");
        let ceiling = Instant::now() + hours(12);
        assert_eq!(lease.ceiling(), ceiling);
        advance(hours(4)).await;
        let (number, receipt, asked) = due(&ledger);
        assert_eq!(asked, hours(8) - seconds(1), "in whole seconds, and one to spare");
        ledger.renewed(number, &receipt, Instant::now(), asked, Renewal::Done);
        advance(hours(5)).await;
        assert!(ledger.take_due().is_empty(), "there is nothing to be gained");
        assert_eq!((lease.left(), next(&ledger)), (hours(3) - seconds(1), Some(hours(3) - seconds(1))));
        advance(hours(3)).await;
        assert!(ledger.take_due().is_empty());
        assert!(lease.lost().is_cancelled());
    }
}
