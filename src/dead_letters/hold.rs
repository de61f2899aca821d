//! Which messages are held, under which newest receipt, until when, and how they stand.
//!
//! Every message that a look received has one entry here until the look ends. It is renewed here, unless a handler works on
//! it: then the engine renews it. No body is kept.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::account::OutcomeKind;
use super::opened::HOLD;
use crate::queue::{BATCH, Delivery, EntryResult, MAX_VISIBILITY, MessageId, Queue, QueueError, Receipt};

/// How many batch calls of one kind may be on their way at the same time.
const CALLS: usize = 16;

/// How long one call may take.
const CALL_LIMIT: Duration = Duration::from_secs(15);

/// How long it is tried to make visible what is held, and to delete what was handled. Beyond that the end of the hold does
/// it.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);

/// How soon a renewal is tried again that was not answered.
const AGAIN: Duration = Duration::from_secs(10);

/// Renewals that are due so soon go with those that are due now: a batch costs one request however full it is.
const SOON: Duration = Duration::from_secs(30);

/// How many messages that were deleted are remembered: those come again only when two deliveries crossed each other.
const GONE: usize = 8_192;

/// The messages that one look holds.
#[derive(Debug)]
pub(super) struct Holds<Q> {
    queue: Arc<Q>,
    state: Mutex<State>,
    /// Told when the nearest renewal may have changed.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    held: BTreeMap<MessageId, Held>,
    /// When to renew which, nearest first.
    renewals: BTreeSet<(Instant, MessageId)>,
    /// Those that were deleted, the oldest first.
    gone: VecDeque<MessageId>,
    next: u64,
}

/// One message that is held.
#[derive(Debug)]
struct Held {
    receipt: Receipt,
    /// In which order they were received.
    number: u64,
    /// When its receive was sent: from then on it can be hidden for 12 hours.
    received: Instant,
    until: Instant,
    renew_at: Option<Instant>,
    standing: Standing,
}

/// How a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It waits for what becomes of it, or for the end of the look.
    Waiting,
    /// A handler works on it, and the engine renews its hold.
    AtWork,
    /// What becomes of it is certain.
    Judged(OutcomeKind),
    /// Its handler succeeded and its delete was not confirmed: it is tried once more at the end. The flag says that it was
    /// counted as handled before, and has come again.
    Unconfirmed { counted: bool },
    /// It was deleted.
    Gone,
}

/// What a delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The first of its message.
    New,
    /// Its message is known, and has a newer receipt now.
    Again,
}

/// Whether a message was given to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lent {
    Yes,
    /// Its hold ends too soon; it is being renewed.
    NotYet,
    /// Its hold ran out.
    Lost,
}

impl<Q: Queue> Holds<Q> {
    pub(super) fn new(queue: Arc<Q>) -> Arc<Self> {
        Arc::new(Holds { queue, state: Mutex::default(), changed: Notify::new() })
    }

    /// Takes in a delivery of a receive that was sent at a time.
    pub(super) fn arrive(&self, delivery: &Delivery, sent: Instant) -> Arrival {
        let id = &delivery.receipt.message_id;
        let mut state = self.state();
        let arrival = match state.held.get_mut(id) {
            Some(held) => {
                held.receipt = delivery.receipt.clone();
                (held.received, held.until) = (sent, sent + HOLD);
                if held.standing == Standing::Gone {
                    held.standing = Standing::Unconfirmed { counted: true };
                }
                Arrival::Again
            }
            None => {
                state.next += 1;
                let held = Held {
                    receipt: delivery.receipt.clone(),
                    number: state.next,
                    received: sent,
                    until: sent + HOLD,
                    renew_at: None,
                    standing: Standing::Waiting,
                };
                state.held.insert(id.clone(), held);
                Arrival::New
            }
        };
        if state.held.get(id).is_some_and(|held| held.standing != Standing::AtWork) {
            state.schedule(id, Some(sent + HOLD / 2));
        }
        drop(state);
        self.changed.notify_one();
        arrival
    }

    /// How many messages are in flight for this look, at the most.
    pub(super) fn len(&self) -> usize {
        let state = self.state();
        state.held.len() - state.gone.len()
    }

    /// From now on a message stands like this.
    pub(super) fn stands(&self, id: &MessageId, standing: Standing) {
        let mut state = self.state();
        let Some(held) = state.held.get_mut(id) else { return };
        held.standing = standing;
        let renew_at = match standing {
            Standing::AtWork | Standing::Gone => None,
            _ => Some(held.until - (held.until.saturating_duration_since(Instant::now())) / 2),
        };
        state.schedule(id, renew_at);
        if standing == Standing::Gone {
            state.gone.push_back(id.clone());
            state.forget_gone();
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Forgets a message.
    pub(super) fn forget(&self, id: &MessageId) {
        let mut state = self.state();
        state.schedule(id, None);
        state.held.remove(id);
    }

    /// Gives a message to the engine, which renews it from now on: with its newest receipt, and only where its hold lasts for
    /// so long.
    pub(super) fn lend(&self, delivery: &mut Delivery, at_least: Duration) -> Lent {
        let now = Instant::now();
        let mut state = self.state();
        let id = delivery.receipt.message_id.clone();
        match state.held.get_mut(&id) {
            Some(held) if held.until >= now + at_least => {
                held.standing = Standing::AtWork;
                delivery.receipt = held.receipt.clone();
                state.schedule(&id, None);
                Lent::Yes
            }
            Some(held) if held.until > now => Lent::NotYet,
            _ => Lent::Lost,
        }
    }

    /// The newest receipt of a message; None where it is not held.
    pub(super) fn receipt(&self, id: &MessageId) -> Option<Receipt> {
        self.state().held.get(id).map(|held| held.receipt.clone())
    }

    /// The newest receipt of the message that a receipt is of.
    pub(super) fn newest(&self, receipt: &Receipt) -> Receipt {
        self.state().held.get(&receipt.message_id).map_or_else(|| receipt.clone(), |held| held.receipt.clone())
    }

    /// For how long a message can be hidden from now on, at the most [`HOLD`].
    pub(super) fn most_hidden(&self, id: &MessageId) -> Duration {
        let state = self.state();
        state.held.get(id).map_or(HOLD, |held| held.most_hidden(Instant::now()))
    }

    /// It was confirmed that a message is hidden from `issued` on for so long.
    pub(super) fn hidden(&self, receipt: &Receipt, issued: Instant, hidden_for: Duration) {
        if let Some(held) = self.state().held.get_mut(&receipt.message_id)
            && held.receipt == *receipt
        {
            held.until = issued + hidden_for;
        }
    }

    /// Each message and how it stands, in the order in which they were received.
    pub(super) fn all(&self) -> Vec<(MessageId, Standing)> {
        let state = self.state();
        let mut all: Vec<_> = state.held.iter().map(|(id, held)| (held.number, id.clone(), held.standing)).collect();
        all.sort_unstable_by_key(|(number, ..)| *number);
        all.into_iter().map(|(_, id, standing)| (id, standing)).collect()
    }

    /// Renews holds for as long as it is polled.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut calls = JoinSet::new();
        loop {
            let next = self.state().renewals.first().map(|(at, _)| *at);
            tokio::select! {
                biased;
                Some(_) = calls.join_next(), if !calls.is_empty() => {}
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() && calls.len() < CALLS => {
                    let batch = self.due();
                    if !batch.is_empty() {
                        calls.spawn(self.clone().renew(batch));
                    }
                }
                () = self.changed.notified() => {}
            }
        }
    }

    /// Up to ten messages to be renewed now, and for how long.
    fn due(&self) -> Vec<(Receipt, Duration)> {
        let now = Instant::now();
        let mut state = self.state();
        let mut batch = Vec::new();
        if state.renewals.first().is_none_or(|(at, _)| *at > now) {
            return batch;
        }
        while batch.len() < BATCH
            && state.renewals.first().is_some_and(|(at, _)| *at <= now + SOON)
            && let Some((_, id)) = state.renewals.pop_first()
        {
            let Some(held) = state.held.get_mut(&id) else { continue };
            held.renew_at = None;
            let hidden_for = held.most_hidden(now);
            // What has run out, or cannot gain anything, comes back by itself.
            if held.until > now && now + hidden_for > held.until {
                batch.push((held.receipt.clone(), hidden_for));
            }
        }
        batch
    }

    async fn renew(self: Arc<Self>, batch: Vec<(Receipt, Duration)>) {
        let issued = Instant::now();
        let results = timeout(CALL_LIMIT, self.queue.change_visibility(&batch)).await;
        let results = results.ok().and_then(Result::ok).unwrap_or_default().into_iter().map(Some);
        for ((receipt, hidden_for), result) in batch.iter().zip(results.chain(std::iter::repeat_with(|| None))) {
            let next = match result {
                Some(Ok(())) => {
                    self.hidden(receipt, issued, *hidden_for);
                    Some(issued + *hidden_for / 2)
                }
                Some(Err(error)) if error.is_final() => None,
                _ => Some(Instant::now() + AGAIN),
            };
            let mut state = self.state();
            let is_same =
                |held: &Held| held.receipt == *receipt && !matches!(held.standing, Standing::AtWork | Standing::Gone);
            if state.held.get(&receipt.message_id).is_some_and(is_same) {
                state.schedule(&receipt.message_id, next);
            }
        }
        self.changed.notify_one();
    }

    /// Deletes these messages by their newest receipts, trying again for a while; those of which it was confirmed.
    pub(super) async fn delete(&self, ids: &[MessageId]) -> Vec<MessageId> {
        let receipts: Vec<Receipt> = {
            let state = self.state();
            ids.iter().filter_map(|id| state.held.get(id)).map(|held| held.receipt.clone()).collect()
        };
        let queue = &self.queue;
        let call = |batch: Vec<Receipt>| {
            let queue = queue.clone();
            async move { queue.delete(&batch).await }
        };
        let Settled { done, .. } = settle(receipts, CALLS, call).await;
        done.into_iter().map(|receipt| receipt.message_id).collect()
    }

    /// Makes everything visible that is held, trying again for a while. How many could not be: they come back when their hold
    /// runs out.
    pub(super) async fn release(&self, fifo: bool) -> u64 {
        let now = Instant::now();
        let mut held: Vec<_> = {
            let mut state = self.state();
            state.renewals.clear();
            let held = state.held.values().filter(|held| held.standing != Standing::Gone && held.until > now);
            held.map(|held| (held.number, held.receipt.clone())).collect()
        };
        if mutant!("forget-to-make-visible") {
            return 0;
        }
        // The first of a group first: not every queue blocks a group of which a later message is hidden.
        held.sort_unstable_by_key(|(number, _)| *number);
        let receipts = held.into_iter().map(|(_, receipt)| receipt).collect();
        let call = |batch: Vec<Receipt>| {
            let queue = self.queue.clone();
            async move {
                let batch: Vec<_> = batch.into_iter().map(|receipt| (receipt, Duration::ZERO)).collect();
                queue.change_visibility(&batch).await
            }
        };
        settle(receipts, if fifo { 1 } else { CALLS }, call).await.unanswered
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn most_hidden(&self, now: Instant) -> Duration {
        let ceiling = self.received + MAX_VISIBILITY;
        // In the whole seconds of SQS, and a second less than would be refused.
        let left = ceiling.saturating_duration_since(now).as_secs().saturating_sub(1);
        HOLD.min(Duration::from_secs(left))
    }
}

impl State {
    fn schedule(&mut self, id: &MessageId, renew_at: Option<Instant>) {
        let Some(held) = self.held.get_mut(id) else { return };
        if let Some(before) = std::mem::replace(&mut held.renew_at, renew_at) {
            self.renewals.remove(&(before, id.clone()));
        }
        self.renewals.extend(renew_at.map(|at| (at, id.clone())));
    }

    fn forget_gone(&mut self) {
        while self.gone.len() > GONE
            && let Some(oldest) = self.gone.pop_front()
        {
            // One that came again meanwhile is deleted once more at the end.
            if self.held.get(&oldest).is_some_and(|held| held.standing == Standing::Gone) {
                self.held.remove(&oldest);
            }
        }
    }
}

/// What came of settling many messages.
#[derive(Default)]
struct Settled {
    done: Vec<Receipt>,
    /// How many were not answered until the time was over.
    unanswered: u64,
}

/// Carries out a batch call for many messages, ten at a time, and again for those that were not answered for, unless nobody
/// is allowed to make it.
async fn settle<C, F>(mut receipts: Vec<Receipt>, calls_at_a_time: usize, call: C) -> Settled
where
    C: Fn(Vec<Receipt>) -> F,
    F: Future<Output = Result<Vec<EntryResult>, QueueError>> + Send + 'static,
{
    let end = Instant::now() + SETTLE_LIMIT;
    let mut pause = Duration::from_millis(200);
    let mut settled = Settled::default();
    let mut is_allowed = true;
    loop {
        let mut calls = JoinSet::new();
        let mut again = Vec::new();
        let mut batches = receipts.chunks(BATCH);
        loop {
            while calls.len() < calls_at_a_time
                && Instant::now() < end
                && let Some(batch) = batches.next()
            {
                let (batch, answer) = (batch.to_vec(), call(batch.to_vec()));
                calls.spawn(async move { (batch, timeout(CALL_LIMIT, answer).await) });
            }
            let Some(done) = calls.join_next().await else { break };
            let Ok((batch, answer)) = done else { continue };
            // Credentials may be renewed meanwhile.
            let refuses = |error: &QueueError| error.needs_action() && !matches!(error, QueueError::Credentials { .. });
            is_allowed &= !matches!(&answer, Ok(Err(error)) if refuses(error));
            let results = answer.ok().and_then(Result::ok).unwrap_or_default().into_iter().map(Some);
            for (receipt, result) in batch.into_iter().zip(results.chain(std::iter::repeat_with(|| None))) {
                match result {
                    Some(Ok(())) => settled.done.push(receipt),
                    // It is no longer ours: visible again, or gone.
                    Some(Err(error)) if error.is_final() => {}
                    _ => again.push(receipt),
                }
            }
        }
        again.extend(batches.flatten().cloned());
        if again.is_empty() || !is_allowed || Instant::now() >= end {
            settled.unanswered = again.len() as u64;
            return settled;
        }
        receipts = again;
        sleep(pause).await;
        pause = (pause * 2).min(AGAIN);
    }
}
