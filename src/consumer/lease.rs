//! Who holds which message until when, under which newest receipt.
//!
//! Every message that is here has one [`Lease`], from its arrival until it is settled. The table renews leases in
//! batches of ten before they run out, takes in the newer receipt of a duplicate delivery, and tells the worker when a
//! lease is lost. It never decides what becomes of a message.
//!
//! All times here are those of [`Clock`], which goes on while the machine is suspended. A lease counts from when its receive
//! was sent, since from then on the queue may have hidden the message; see [`LeaseTable::counted_from`] for long polls.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, SetOnce};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::warn;

use super::clock::{Clock, later, part};
use super::latency::{Latency, calls_within, time_for};
use crate::queue::{BATCH, Delivery, EntryResult, MAX_VISIBILITY, MessageId, Queue, QueueError, Receipt};
use crate::telemetry::{Cause, Request, Telemetry};

/// How many batches of renewals may be on their way at the same time; more where many leases are held and the queue is slow.
const CALLS: usize = 4;

/// How often it is looked at the clock though no renewal is due: after a suspension one may be long overdue.
const LOOK: Duration = Duration::from_secs(5);

/// All leases of one engine.
#[derive(Debug)]
pub(crate) struct LeaseTable {
    state: Mutex<State>,
    /// Told when the nearest renewal may have changed.
    changed: Notify,
    /// Told when a lease is over whose message has come back.
    over: Notify,
    /// For how long a receive or a renewal hides a message.
    visibility: Duration,
    clock: Clock,
    latency: Arc<Latency>,
}

#[derive(Debug, Default)]
struct State {
    leases: BTreeMap<MessageId, Entry>,
    /// When to renew which lease, nearest first. Exactly the leases that are to be renewed and are not being renewed.
    renewals: BTreeSet<(Instant, MessageId)>,
    /// Leases that were lost while their workers go on, of messages that have come back.
    ending: BTreeSet<(MessageId, u64)>,
    leases_given: u64,
}

#[derive(Debug)]
struct Entry {
    /// Which lease of this message it is: the one before may still be being nacked.
    number: u64,
    receipt: Receipt,
    receive_count: u32,
    deadline: Instant,
    /// When SQS stops extending: 12 hours after the receive.
    ceiling: Instant,
    renew_at: Option<Instant>,
    /// No further renewal: the message is about to be nacked.
    stopped: bool,
    /// A renewal is on its way.
    renewing: bool,
    lost: Arc<SetOnce<()>>,
    /// Told when a renewal came back, where anybody waits for that.
    renewed: Option<Arc<Notify>>,
}

impl Entry {
    /// The message may be somebody else's from now on.
    fn lose(&self) {
        // An error says that it was lost before.
        let _ = self.lost.set(());
    }

    fn is_lost(&self) -> bool {
        self.lost.initialized()
    }

    /// No renewal is on its way any longer.
    fn tell_renewed(&self) {
        if let Some(renewed) = &self.renewed {
            renewed.notify_waiters();
        }
    }
}

/// What an arriving delivery is.
pub(crate) enum Arrival {
    /// The only delivery of its message here.
    New(Lease),
    /// Its message is at work already; the table took its receipt.
    Joined,
}

impl LeaseTable {
    pub(crate) fn new(visibility: Duration, clock: Clock, latency: Arc<Latency>) -> Arc<Self> {
        let (changed, over) = (Notify::new(), Notify::new());
        Arc::new(LeaseTable { state: Mutex::default(), changed, over, visibility, clock, latency })
    }

    /// The time of the clock that leases are counted in.
    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// How many messages are held.
    pub(crate) fn held(&self) -> usize {
        self.state().leases.len()
    }

    /// Until when a delivery is hidden whose receive was sent at a time, and when to renew that.
    ///
    /// It is not known when within a long poll the queue handed it out. One that was open for longer than half of the
    /// visibility timeout has mostly waited, so half of it is counted on, and a renewal makes sure of it soon. Not at once:
    /// most handlers are done before.
    fn counted_from(&self, sent: Instant, now: Instant) -> (Instant, Instant) {
        let sent = if mutant!("count-leases-from-the-answer") { now.max(sent) } else { sent };
        let deadline = later(sent, self.visibility).max(later(now, part(self.visibility, 2)));
        let half = deadline.checked_sub(part(self.visibility, 2)).unwrap_or(now);
        let half = half.checked_sub(self.early(self.held())).unwrap_or(now);
        (deadline, half.max(later(now, part(self.visibility, 16))))
    }

    /// Takes in a delivery that has just arrived, of a receive that was sent at a time of [`LeaseTable::now`].
    pub(crate) fn arrive(self: &Arc<Self>, delivery: &Delivery, sent: Instant) -> Arrival {
        let now = self.now();
        let (deadline, renew_at) = self.counted_from(sent, now);
        let renew_at = if mutant!("renew-too-late") { later(renew_at, self.visibility) } else { renew_at };
        let ceiling = later(sent, MAX_VISIBILITY);
        let id = delivery.receipt.message_id.clone();
        let mut state = self.state();
        let mut returned = false;
        if let Some(entry) = state.leases.get_mut(&id) {
            if entry.deadline <= now {
                entry.lose();
            }
            let lost = entry.is_lost();
            let is_nacked = entry.stopped && !mutant!("take-the-returned-for-a-duplicate");
            let is_lost = lost && !mutant!("join-a-lease-that-was-lost");
            if !is_nacked && !is_lost && !mutant!("run-a-duplicate") {
                // Only the newest receipt settles a message; with an older one SQS may answer OK and delete nothing.
                if !mutant!("keep-the-old-receipt") {
                    entry.receipt = delivery.receipt.clone();
                }
                if !mutant!("keep-the-old-receive-count") {
                    entry.receive_count = entry.receive_count.max(delivery.receive_count);
                }
                entry.deadline = deadline;
                entry.ceiling = ceiling;
                if !entry.renewing {
                    state.schedule(&id, renew_at);
                }
                drop(state);
                self.changed.notify_one();
                return Arrival::Joined;
            }
            // It was nacked and is back before that was confirmed, or its lease was lost: a delivery of its own. A worker
            // that nacks is done with it; one that has lost it may still be at work.
            entry.tell_renewed();
            let (number, at_work) = (entry.number, !entry.stopped);
            if at_work {
                state.ending.insert((id.clone(), number));
            }
            state.unschedule(&id);
            returned = true;
        }
        state.leases_given = state.leases_given.saturating_add(1);
        let number = state.leases_given;
        let entry = Entry {
            number,
            receipt: delivery.receipt.clone(),
            receive_count: delivery.receive_count,
            deadline,
            ceiling,
            renew_at: None,
            stopped: false,
            renewing: false,
            lost: Arc::default(),
            renewed: None,
        };
        let lost = entry.lost.clone();
        state.leases.insert(id.clone(), entry);
        state.schedule(&id, renew_at);
        drop(state);
        self.changed.notify_one();
        Arrival::New(Lease { table: self.clone(), id, number, lost, returned })
    }

    /// Renews leases for as long as it is polled.
    pub(crate) async fn keep<Q: Queue>(self: Arc<Self>, queue: Arc<Q>, telemetry: Arc<Telemetry>) {
        let mut calls = JoinSet::new();
        loop {
            let next = self.state().renewals.first().map(|(at, _)| *at);
            let most = self.calls(self.held());
            let until_next = next.map_or(LOOK, |next| next.saturating_duration_since(self.now()));
            tokio::select! {
                biased;
                Some(_) = calls.join_next(), if !calls.is_empty() => {}
                () = tokio::time::sleep(until_next.min(LOOK)), if calls.len() < most => {
                    let batch = self.take_due();
                    if !batch.is_empty() {
                        calls.spawn(renew(self.clone(), queue.clone(), telemetry.clone(), batch));
                    }
                }
                () = self.changed.notified() => {}
            }
        }
    }

    /// How many renewals may be on their way at the same time with so many leases: enough for all of them to be renewed within
    /// an eighth of the visibility timeout.
    fn calls(&self, held: usize) -> usize {
        let held = if mutant!("four-renewals-whatever-is-held") { held.min(1) } else { held };
        calls_within(held, self.latency.slow(), part(self.visibility, 8), CALLS)
    }

    /// How much before the half of its time a lease is to be renewed, so that all can be within a quarter of the visibility
    /// timeout, and a second time where that fails.
    fn early(&self, held: usize) -> Duration {
        let slow = self.latency.slow();
        let needed = time_for(held, self.calls(held), slow).saturating_add(slow);
        needed.saturating_sub(part(self.visibility, 4)).min(part(self.visibility, 4))
    }

    /// Up to ten leases to be renewed now: those that are due, and with them those that will be soon, since a batch
    /// costs one request however full it is.
    fn take_due(&self) -> Vec<(u64, Receipt, Duration)> {
        let now = self.now();
        let soon = later(now, part(self.visibility, 8));
        let mut state = self.state();
        if state.renewals.first().is_none_or(|(at, _)| *at > now) {
            return Vec::new();
        }
        let mut batch = Vec::new();
        let mut used_up = Vec::new();
        while batch.len() < BATCH
            && state.renewals.first().is_some_and(|(at, _)| *at <= soon)
            && let Some((_, id)) = state.renewals.pop_first()
        {
            let Some(entry) = state.leases.get_mut(&id) else { continue };
            entry.renew_at = None;
            if entry.deadline <= now {
                // This process slept, or no renewal came through in time: the message may be somebody else's by now.
                entry.lose();
                continue;
            }
            // Asking for more than is left of the 12 hours is an error, and what is left is given in whole seconds.
            let left = Duration::from_secs(entry.ceiling.saturating_duration_since(now).as_secs().saturating_sub(1));
            let visibility =
                if mutant!("renew-beyond-twelve-hours") { self.visibility } else { self.visibility.min(left) };
            if later(now, visibility) <= entry.deadline {
                // The 12 hours are used up: nothing can be gained, so the end of the lease is awaited.
                let end = entry.deadline;
                used_up.push((id, end));
                continue;
            }
            entry.renewing = true;
            batch.push((entry.number, entry.receipt.clone(), visibility));
        }
        // After the loop, which would take up at once again what ends soon.
        for (id, end) in used_up {
            state.schedule(&id, end);
        }
        batch
    }

    /// Takes in the answer for one lease of a renewal that was issued at `issued`.
    fn renewed(&self, number: u64, receipt: &Receipt, issued: Instant, visibility: Duration, outcome: Renewal) {
        let now = self.now();
        let mut state = self.state();
        let early = self.early(state.leases.len());
        let Some(entry) = state.entry(&receipt.message_id, number) else { return };
        entry.renewing = false;
        entry.tell_renewed();
        let newer = entry.receipt != *receipt;
        match outcome {
            // The timeout counts from the call; when exactly SQS took it up is not known, so from before the call.
            Renewal::Done if !newer || mutant!("believe-an-old-renewal") => entry.deadline = later(issued, visibility),
            // A duplicate arrived meanwhile: what happened to the old receipt says nothing about the new one.
            _ if newer => {}
            Renewal::Refused if !mutant!("go-on-after-a-refused-renewal") => {
                entry.lose();
                return;
            }
            _ => {}
        }
        if !entry.stopped && !entry.is_lost() {
            let at = match outcome {
                Renewal::Unanswered => later(now, part(self.visibility, 10)).min(entry.deadline.max(now)),
                _ => {
                    let half = part(entry.deadline.saturating_duration_since(issued), 2);
                    later(issued, half.saturating_sub(early))
                        .max(later(now, part(self.visibility, 16)))
                        .min(later(issued, half))
                }
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
    table: Arc<LeaseTable>,
    queue: Arc<Q>,
    telemetry: Arc<Telemetry>,
    batch: Vec<(u64, Receipt, Duration)>,
) {
    let issued = table.now();
    let sent = Instant::now();
    // An answer that comes after the lease has run out is of no use.
    let limit = part(table.visibility, 4).clamp(Duration::from_millis(500), Duration::from_secs(20));
    telemetry.change_visibility_calls.add(1);
    let numbers: Vec<u64> = batch.iter().map(|(number, ..)| *number).collect();
    let batch: Vec<_> = batch.into_iter().map(|(_, receipt, visibility)| (receipt, visibility)).collect();
    let outcomes: Vec<Renewal> = match tokio::time::timeout(limit, queue.change_visibility(&batch)).await {
        Ok(Ok(entries)) => {
            telemetry.requested(Request::ChangeVisibility, Ok(()));
            let read = |entry: EntryResult| match entry {
                Ok(()) => Renewal::Done,
                Err(error) if error.is_final() => Renewal::Refused,
                Err(_) => Renewal::Unanswered,
            };
            entries.into_iter().map(read).collect()
        }
        Ok(Err(error)) => {
            telemetry.requested(Request::ChangeVisibility, Err(error.label()));
            if let Some(times) = telemetry.worth_logging(Cause::new(("renew", error.label()), &error.to_string())) {
                warn!(error = %error, kind = error.label(), times, "leases could not be renewed; trying again");
            }
            Vec::new()
        }
        Err(_) => {
            telemetry.requested(Request::ChangeVisibility, Err(QueueError::TimedOut { after: limit }.label()));
            Vec::new()
        }
    };
    table.latency.observe(sent.elapsed());
    // What was not answered for is tried again.
    let outcomes = outcomes.into_iter().chain(std::iter::repeat(Renewal::Unanswered));
    for ((number, (receipt, visibility)), outcome) in numbers.into_iter().zip(&batch).zip(outcomes) {
        table.renewed(number, receipt, issued, *visibility, outcome);
    }
    table.changed.notify_one();
}

/// The hold on one message. Dropping it ends the renewals; the message then comes back when its visibility runs out,
/// unless it was settled.
#[derive(Debug)]
pub(crate) struct Lease {
    table: Arc<LeaseTable>,
    id: MessageId,
    number: u64,
    lost: Arc<SetOnce<()>>,
    returned: bool,
}

impl Lease {
    pub(crate) fn message_id(&self) -> &MessageId {
        &self.id
    }

    /// Whether the message was here before, and came back before that was over.
    pub(crate) fn returned(&self) -> bool {
        self.returned
    }

    /// Waits until no worker is left that had this message before: it is never at work twice at the same time.
    pub(crate) async fn alone(&self) {
        if !self.returned || mutant!("begin-before-the-worker-before-has-ended") {
            return;
        }
        loop {
            let over = self.table.over.notified();
            let before = (self.id.clone(), 0)..(self.id.clone(), self.number);
            if self.table.state().ending.range(before).next().is_none() {
                return;
            }
            over.await;
        }
    }

    /// How often the message was received by now; a duplicate delivery brings a higher count. None when the hold is gone.
    pub(crate) fn receive_count(&self) -> Option<u32> {
        self.table.state().entry(&self.id, self.number).map(|entry| entry.receive_count)
    }

    /// The receipt to settle with now: a duplicate delivery brings a newer one.
    pub(crate) fn receipt(&self) -> Option<Receipt> {
        self.table.state().entry(&self.id, self.number).map(|entry| entry.receipt.clone())
    }

    /// Set when the message may be somebody else's.
    pub(crate) fn lost(&self) -> &SetOnce<()> {
        &self.lost
    }

    /// Whether the hold is gone, also when that was not noticed by a renewal yet.
    pub(crate) fn is_lost(&self) -> bool {
        let now = self.table.now();
        let over = self.table.state().entry(&self.id, self.number).is_none_or(|entry| entry.deadline <= now);
        over || self.lost.initialized()
    }

    /// How much is left of the hold if it is not renewed.
    pub(crate) fn left(&self) -> Duration {
        let deadline = self.table.state().entry(&self.id, self.number).map(|entry| entry.deadline);
        deadline.map_or(Duration::ZERO, |deadline| deadline.saturating_duration_since(self.table.now()))
    }

    /// Until when the message can be held at the most, on tokio's clock.
    pub(crate) fn ceiling(&self) -> Instant {
        let ceiling = self.table.state().entry(&self.id, self.number).map(|entry| entry.ceiling);
        ceiling.map_or_else(Instant::now, |ceiling| self.table.clock.on_tokios(ceiling))
    }

    /// Ends the renewals and waits for the one that is on its way: a renewal that overtook the letting go would hide the
    /// message again.
    pub(crate) async fn stop_renewing(&self) {
        loop {
            let back = {
                let mut state = self.table.state();
                let Some(entry) = state.entry(&self.id, self.number) else { return };
                entry.stopped = true;
                let back = entry.renewing.then(|| entry.renewed.get_or_insert_default().clone().notified_owned());
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
        let mut state = self.table.state();
        if state.entry(&self.id, self.number).is_some() {
            state.unschedule(&self.id);
            state.leases.remove(&self.id);
        } else if state.ending.remove(&(self.id.clone(), self.number)) {
            drop(state);
            self.table.over.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

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
            webhook_id: None,
            attributes: None,
        }
    }

    thread_local! {
        static SUSPENDED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    fn table(visibility: Duration) -> Arc<LeaseTable> {
        LeaseTable::new(visibility, Clock::new(|| SUSPENDED.get()), Arc::default())
    }

    fn arrive(table: &Arc<LeaseTable>, id: &str) -> Lease {
        match table.arrive(&delivery(id, "first"), table.now()) {
            Arrival::New(lease) => lease,
            Arrival::Joined => panic!("{id} is here already"),
        }
    }

    fn joins(table: &Arc<LeaseTable>, id: &str, handle: &str) {
        assert!(matches!(table.arrive(&delivery(id, handle), table.now()), Arrival::Joined));
    }

    /// In what time the next renewal is due.
    fn next(table: &LeaseTable) -> Option<Duration> {
        table.state().renewals.first().map(|(at, _)| at.duration_since(Instant::now()))
    }

    /// The only renewal that is due.
    fn due(table: &LeaseTable) -> (u64, Receipt, Duration) {
        let mut batch = table.take_due();
        assert_eq!(batch.len(), 1);
        batch.remove(0)
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_renewed_at_half_of_its_time_counted_from_the_call() {
        let table = table(VISIBILITY);
        let lease = arrive(&table, "m");
        assert_eq!((lease.left(), next(&table)), (seconds(40), Some(seconds(20))));
        advance(seconds(19)).await;
        assert!(table.take_due().is_empty(), "not yet due");
        advance(seconds(1)).await;
        let (number, receipt, asked) = due(&table);
        assert_eq!((asked, next(&table)), (VISIBILITY, None));
        let issued = Instant::now();
        advance(seconds(2)).await;
        table.renewed(number, &receipt, issued, asked, Renewal::Done);
        assert_eq!((lease.left(), next(&table)), (seconds(38), Some(seconds(18))));
        assert!(!lease.is_lost());
    }

    #[tokio::test(start_paused = true)]
    async fn renewals_go_ten_to_a_call_and_take_along_what_is_due_soon() {
        let table = table(VISIBILITY);
        let together: Vec<_> = (0..25).map(|n| arrive(&table, &format!("together-{n}"))).collect();
        advance(seconds(20)).await;
        let batches = [(); 4].map(|()| table.take_due().len());
        assert_eq!(batches, [10, 10, 5, 0]);
        drop(together);
        let mut apart = Vec::new();
        for n in 0..9 {
            apart.push(arrive(&table, &format!("apart-{n}")));
            advance(seconds(1)).await;
        }
        advance(seconds(11)).await;
        assert_eq!(table.take_due().len(), 6, "the first is due, and five more within an eighth of the time");
        assert_eq!(next(&table), Some(seconds(6)));
        assert!(table.take_due().is_empty(), "what is due soon is not enough for a call");
    }

    #[tokio::test(start_paused = true)]
    async fn a_duplicate_brings_its_receipt_and_its_time_of_receive() {
        let table = table(VISIBILITY);
        let lease = arrive(&table, "m");
        advance(seconds(15)).await;
        joins(&table, "m", "second");
        assert_eq!(lease.receipt().expect("a receipt").handle, delivery("m", "second").receipt.handle);
        assert_eq!((lease.left(), next(&table)), (seconds(40), Some(seconds(20))));
        assert_eq!(lease.ceiling(), Instant::now() + MAX_VISIBILITY);
    }

    #[tokio::test(start_paused = true)]
    async fn the_fate_of_an_older_receipt_leaves_the_newest_alone() {
        for outcome in [Renewal::Done, Renewal::Refused, Renewal::Unanswered] {
            let table = table(VISIBILITY);
            let lease = arrive(&table, "m");
            advance(seconds(20)).await;
            let (number, older, asked) = due(&table);
            let issued = Instant::now();
            advance(seconds(3)).await;
            joins(&table, "m", "second");
            assert_eq!(next(&table), None, "one renewal of a message at a time");
            advance(seconds(1)).await;
            table.renewed(number, &older, issued, asked, outcome);
            assert!(!lease.is_lost());
            assert_eq!(lease.left(), seconds(39), "as the duplicate brought it");
            assert!(next(&table).is_some_and(|next| next <= seconds(20)), "the newest is renewed in time");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_renewal_loses_the_lease() {
        let table = table(VISIBILITY);
        let lease = arrive(&table, "m");
        advance(seconds(20)).await;
        let (number, receipt, asked) = due(&table);
        table.renewed(number, &receipt, Instant::now(), asked, Renewal::Refused);
        assert!(lease.is_lost() && lease.lost().initialized());
        assert_eq!(next(&table), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unanswered_renewal_is_repeated_until_the_lease_ends() {
        let table = table(VISIBILITY);
        let lease = arrive(&table, "m");
        advance(seconds(20)).await;
        for left in [20, 16, 12, 8, 4] {
            let (number, receipt, asked) = due(&table);
            table.renewed(number, &receipt, Instant::now(), asked, Renewal::Unanswered);
            assert_eq!((lease.left(), next(&table)), (seconds(left), Some(seconds(4))));
            advance(seconds(3)).await;
            assert!(!lease.is_lost());
            advance(seconds(1)).await;
        }
        assert!(lease.is_lost() && !lease.lost().initialized(), "it has run out, and nobody has noticed");
        assert!(table.take_due().is_empty());
        assert!(lease.lost().initialized());
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_try_comes_before_the_lease_runs_out() {
        let table = table(VISIBILITY);
        let lease = arrive(&table, "m");
        advance(seconds(38)).await;
        let (number, receipt, asked) = due(&table);
        table.renewed(number, &receipt, Instant::now(), asked, Renewal::Unanswered);
        assert_eq!(next(&table), Some(seconds(2)), "when it runs out, and not later");
        drop(lease);
        assert_eq!(next(&table), None, "with the lease its renewal is gone");
    }

    #[tokio::test(start_paused = true)]
    async fn a_nack_waits_for_its_renewal_and_stops_further_ones() {
        let table = table(VISIBILITY);
        let lease = arrive(&table, "m");
        advance(seconds(20)).await;
        let (number, receipt, asked) = due(&table);
        let issued = Instant::now();
        assert!(timeout(seconds(1), lease.stop_renewing()).await.is_err(), "a renewal is on its way");
        table.renewed(number, &receipt, issued, asked, Renewal::Done);
        assert_eq!(next(&table), None);
        timeout(seconds(1), lease.stop_renewing()).await.expect("it is back");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_let_go_and_is_back_is_a_delivery_of_its_own() {
        let table = table(VISIBILITY);
        let before = arrive(&table, "m");
        before.stop_renewing().await;
        let after = arrive(&table, "m");
        assert_eq!((before.receipt(), before.is_lost(), before.left()), (None, true, Duration::ZERO));
        drop(before);
        assert_eq!((after.is_lost(), next(&table)), (false, Some(seconds(20))), "the first takes nothing with it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_slept_knows_that_its_leases_are_lost() {
        let table = table(VISIBILITY);
        let (slept, fresh) = (arrive(&table, "slept"), {
            advance(seconds(30)).await;
            arrive(&table, "fresh")
        });
        advance(seconds(20)).await;
        assert_eq!(due(&table).1.message_id, "fresh".into());
        assert!(slept.lost().initialized() && !fresh.lost().initialized());
    }

    /// A lease on a real delivery whose renewal is due, and that renewal.
    async fn on(queue: &MemoryQueue) -> (Arc<LeaseTable>, Lease, impl Future<Output = ()> + use<>) {
        queue.send("{}");
        let delivery = queue.receive(1, Duration::ZERO, Some(VISIBILITY)).await.expect("an answer").remove(0);
        let table = table(VISIBILITY);
        let Arrival::New(lease) = table.arrive(&delivery, table.now()) else { panic!("it is the first") };
        advance(seconds(20)).await;
        let limits = Limits { concurrency: 1, max_in_flight_bytes: 1, wait: Duration::ZERO };
        let telemetry = Arc::new(Telemetry::new(limits, Vec::new()));
        let renewal = renew(table.clone(), Arc::new(queue.clone()), telemetry, table.take_due());
        (table, lease, renewal)
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_renewal_is_given_up_in_time_for_another() {
        let queue = MemoryQueue::new(MemorySettings::default());
        let (table, lease, renewal) = on(&queue).await;
        queue.set_faults(Faults { hang: 1.0, ..Faults::default() });
        renewal.await;
        assert_eq!((lease.left(), next(&table)), (seconds(10), Some(seconds(4))), "after a quarter of its time");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_entry_is_repeated_and_a_refused_one_loses_the_lease() {
        let queue = MemoryQueue::new(MemorySettings::default());
        let (table, lease, renewal) = on(&queue).await;
        queue.set_faults(Faults { entry_error: 1.0, ..Faults::default() });
        renewal.await;
        assert!(!lease.is_lost());
        assert_eq!(next(&table), Some(seconds(4)));

        let queue = MemoryQueue::new(MemorySettings::default());
        let (_, lease, renewal) = on(&queue).await;
        queue.delete(&[lease.receipt().expect("a receipt")]).await.expect("an answer").remove(0).expect("a delete");
        renewal.await;
        assert!(lease.is_lost(), "there is no such message any longer");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_whose_twelve_hours_end_soon_is_looked_at_once() {
        let table = table(seconds(3_600));
        let lease = arrive(&table, "m");
        table.state().entry(&"m".into(), lease.number).expect("a lease").ceiling = lease.ceiling() - seconds(39_600);
        advance(seconds(3_300)).await;
        // It would never return.
        assert!(table.take_due().is_empty());
        assert_eq!(next(&table), Some(seconds(300)));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_asked_for_beyond_twelve_hours() {
        let hours = |n: u64| seconds(n * 3600);
        let table = table(hours(8));
        let lease = arrive(&table, "m");
        let ceiling = Instant::now() + hours(12);
        assert_eq!(lease.ceiling(), ceiling);
        advance(hours(4)).await;
        let (number, receipt, asked) = due(&table);
        assert_eq!(asked, hours(8) - seconds(1), "in whole seconds, and one to spare");
        table.renewed(number, &receipt, Instant::now(), asked, Renewal::Done);
        advance(hours(5)).await;
        assert!(table.take_due().is_empty(), "there is nothing to be gained");
        assert_eq!((lease.left(), next(&table)), (hours(3) - seconds(1), Some(hours(3) - seconds(1))));
        advance(hours(3)).await;
        assert!(table.take_due().is_empty());
        assert!(lease.lost().initialized());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_counts_from_when_its_receive_was_sent() {
        let table = table(VISIBILITY);
        let sent = table.now();
        advance(seconds(15)).await;
        let Arrival::New(lease) = table.arrive(&delivery("m", "first"), sent) else { panic!("it is the first") };
        assert_eq!((lease.left(), next(&table)), (seconds(25), Some(seconds(5))));
        assert_eq!(lease.ceiling(), sent + MAX_VISIBILITY);
    }

    #[tokio::test(start_paused = true)]
    async fn half_of_a_long_poll_is_counted_on_and_renewed_soon() {
        let table = table(VISIBILITY);
        let sent = table.now();
        for waited in [20, 35, 100] {
            advance(seconds(waited)).await;
            let Arrival::New(lease) = table.arrive(&delivery("m", "first"), sent) else { panic!("it is the first") };
            assert_eq!((lease.left(), next(&table)), (seconds(20), Some(VISIBILITY / 16)), "after {waited} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_whose_lease_was_lost_waits_for_its_worker() {
        for noticed in [true, false] {
            let table = table(VISIBILITY);
            let lost = arrive(&table, "m");
            advance(seconds(40)).await;
            if noticed {
                assert!(table.take_due().is_empty());
            }
            let after = arrive(&table, "m");
            assert!(lost.lost().initialized() && !after.is_lost());
            assert!(timeout(seconds(1), after.alone()).await.is_err(), "the first is still at work");
            advance(seconds(20)).await;
            assert_eq!(due(&table).0, after.number, "and the lease of the second is kept meanwhile");
            let (waits, dropped) = (after.alone(), async { drop(lost) });
            timeout(seconds(1), async { tokio::join!(waits, dropped) }).await.expect("the first is over");
            assert!(after.receipt().is_some(), "the first takes nothing with it");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_back_twice_waits_for_every_worker_before_it() {
        let table = table(VISIBILITY);
        let first = arrive(&table, "m");
        advance(seconds(40)).await;
        let second = arrive(&table, "m");
        advance(seconds(40)).await;
        let third = arrive(&table, "m");
        drop(second);
        assert!(timeout(seconds(1), third.alone()).await.is_err(), "the first is still at work");
        drop(first);
        timeout(seconds(1), third.alone()).await.expect("both are over");
        assert!(table.state().ending.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_duplicate_brings_its_receive_count() {
        let table = table(VISIBILITY);
        let lease = arrive(&table, "m");
        for (count, highest) in [(3, 3), (2, 3)] {
            let duplicate = Delivery { receive_count: count, ..delivery("m", "second") };
            assert!(matches!(table.arrive(&duplicate, table.now()), Arrival::Joined));
            assert_eq!(lease.receive_count(), Some(highest));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_that_was_suspended_knows_that_its_leases_are_lost() {
        let table = table(VISIBILITY);
        let suspended = arrive(&table, "suspended");
        let ceiling = suspended.ceiling();
        SUSPENDED.set(seconds(30));
        assert_eq!((suspended.left(), suspended.ceiling()), (seconds(10), ceiling - seconds(30)));
        let (number, receipt, asked) = due(&table);
        let issued = table.now();
        SUSPENDED.set(seconds(65));
        table.renewed(number, &receipt, issued, asked, Renewal::Done);
        assert_eq!(suspended.left(), seconds(5), "a renewal counts from the call too");
        let fresh = arrive(&table, "fresh");
        SUSPENDED.set(seconds(85));
        assert!(suspended.is_lost() && !fresh.is_lost());
        assert_eq!(due(&table).1.message_id, "fresh".into());
        assert!(suspended.lost().initialized());
    }

    #[tokio::test(start_paused = true)]
    async fn where_the_queue_is_slow_renewals_are_more_and_sooner() {
        let table = table(VISIBILITY);
        let leases: Vec<_> = (0..1_000).map(|n| arrive(&table, &format!("m-{n}"))).collect();
        let pace = || (table.calls(table.held()), table.early(table.held()));
        assert_eq!(pace(), (CALLS, Duration::ZERO));
        table.latency.observe(seconds(1));
        assert_eq!(pace(), (20, Duration::ZERO));
        table.latency.observe(seconds(8));
        assert_eq!(pace(), (100, seconds(6)), "8 s for one round and one more, 10 s before the half is over");
        let late = arrive(&table, "late");
        drop(leases);
        assert_eq!(next(&table), Some(seconds(14)));
        advance(seconds(14)).await;
        let (number, receipt, asked) = due(&table);
        let issued = Instant::now();
        advance(seconds(8)).await;
        table.renewed(number, &receipt, issued, asked, Renewal::Done);
        assert_eq!((late.left(), next(&table)), (seconds(32), Some(seconds(6))), "14 s after the call");
        assert_eq!(pace().0, CALLS);
    }
}
