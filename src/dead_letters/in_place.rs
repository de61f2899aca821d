//! The dead-letter queue as the engine sees it while letters are handled in place.
//!
//! The engine receives what was judged to be handled, and nothing else. It is told that each message is hidden for a while,
//! and whatever it lets go stays held until the end, so that each is called once. Only a delete goes through as it is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::account::OutcomeKind;
use super::hold::{Holds, Lent, Standing};
use super::letter::Reader;
use crate::consumer::{Became, Observer, Settled};
use crate::queue::{Delivery, EntryError, EntryResult, MessageId, Queue, QueueError, QueueFacts, Receipt};
use crate::router::Mark;
use crate::telemetry::{DeadLetter, FailedLastReceive};

/// For how long the engine counts on a message being hidden. Less than a hold, since a message may have waited here for a
/// while before the engine gets it, and its hold is renewed when half of it is left.
pub(super) const VISIBILITY: Duration = Duration::from_secs(120);

/// How many letters wait for the engine, at the most; and of a FIFO queue, where those of one group wait for each other.
const ROOM: usize = 10;
const ROOM_IN_GROUPS: usize = 100;

/// How many bytes of bodies wait for the engine before no further one is taken in.
const ROOM_IN_BYTES: usize = 16 * 1024 * 1024;

/// The queue that the engine is given.
#[derive(Debug)]
pub(super) struct InPlace<Q> {
    queue: Arc<Q>,
    holds: Arc<Holds<Q>>,
    fifo: bool,
    /// Which routes are done with a letter, where it has a record.
    reader: Option<Arc<Reader>>,
    /// How many letters a second are given to the engine.
    rate: Option<f64>,
    state: Mutex<State>,
    /// Told when a receive may bring something.
    changed: Notify,
    /// Told when something became of a letter.
    settled: Notify,
}

#[derive(Debug, Default)]
struct State {
    inbox: VecDeque<Delivery>,
    bytes: usize,
    at_work: BTreeMap<MessageId, AtWork>,
    /// How many messages of a group are at work.
    busy: BTreeMap<Arc<str>, usize>,
    /// Groups in which a message was not handled: nothing behind it is.
    stopped: BTreeSet<Arc<str>>,
    results: Vec<Fate>,
    closed: bool,
    /// Why nothing can be deleted until somebody acts.
    refusal: Option<QueueError>,
    /// When the first letter was given, and how many were.
    given: Option<(Instant, u64)>,
}

/// A letter that the engine has.
#[derive(Debug)]
struct AtWork {
    group: Option<Arc<str>>,
    /// Its handler succeeded: its delete was asked for.
    is_handled: bool,
}

/// What became of one letter that was offered.
#[derive(Debug)]
pub(super) struct Fate {
    pub(super) message_id: MessageId,
    pub(super) what: What,
}

/// See [`Fate`].
#[derive(Debug)]
pub(super) enum What {
    Handled,
    /// It was handled, and is deleted at the end.
    DeleteUnconfirmed,
    Failed(Box<DeadLetter>),
    /// The engine returned it; what had gone wrong before, if anything had. With a record where some of its routes are done.
    Returned(String, Option<Box<DeadLetter>>),
    /// A message before it in its group was not handled.
    Behind,
    /// Its hold ran out; whether a handler was at work on it.
    Lost {
        at_work: bool,
    },
}

impl What {
    fn returned(failed: FailedLastReceive<'_>) -> Self {
        let before = failed.error.to_owned();
        let record = failed.routes_done.is_some().then(|| Box::new(DeadLetter::new(failed)));
        What::Returned(before, record)
    }
}

impl<Q: Queue> InPlace<Q> {
    pub(super) fn new(
        queue: Arc<Q>,
        holds: Arc<Holds<Q>>,
        fifo: bool,
        reader: Option<Arc<Reader>>,
        rate: Option<f64>,
    ) -> Arc<Self> {
        let (changed, settled) = (Notify::new(), Notify::new());
        Arc::new(InPlace { queue, holds, fifo, reader, rate, state: Mutex::default(), changed, settled })
    }

    /// Whether another letter may be offered.
    pub(super) fn has_room(&self) -> bool {
        let state = self.state();
        state.inbox.len() < if self.fifo { ROOM_IN_GROUPS } else { ROOM } && state.bytes < ROOM_IN_BYTES
    }

    /// Whether nothing waits, nothing is at work, and what became of all of it was told.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.state();
        state.inbox.is_empty() && state.at_work.is_empty() && state.results.is_empty()
    }

    /// Offers a letter to the engine.
    pub(super) fn offer(&self, delivery: Delivery) {
        let mut state = self.state();
        state.bytes += delivery.body.len();
        state.inbox.push_back(delivery);
        drop(state);
        self.changed.notify_one();
    }

    /// Whether a message of this group was offered and not handled.
    pub(super) fn is_stopped(&self, group: Option<&Arc<str>>) -> bool {
        group.is_some_and(|group| self.state().stopped.contains(group))
    }

    /// Whether any group was stopped.
    pub(super) fn stopped_any(&self) -> bool {
        !self.state().stopped.is_empty()
    }

    /// Waits until something has become of a letter.
    pub(super) async fn settled(&self) {
        self.settled.notified().await;
    }

    /// What became of letters since this was last asked.
    pub(super) fn results(&self) -> Vec<Fate> {
        std::mem::take(&mut self.state().results)
    }

    /// The engine receives nothing more. What was offered and not taken is returned.
    pub(super) fn close(&self) -> Vec<Delivery> {
        let mut state = self.state();
        state.closed = true;
        state.bytes = 0;
        let left = state.inbox.drain(..).collect();
        drop(state);
        self.changed.notify_one();
        left
    }

    /// Why nothing can be deleted until somebody acts: no further letter should be handled then.
    pub(super) fn refusal(&self) -> Option<QueueError> {
        self.state().refusal.clone()
    }

    /// Whether the engine only waits for deletes that are refused.
    pub(super) fn only_waits_for_refused_deletes(&self) -> bool {
        let state = self.state();
        state.refusal.is_some() && state.inbox.is_empty() && state.at_work.values().all(|at_work| at_work.is_handled)
    }

    /// What the engine did not finish before it ended, but for what was handled, which is deleted at the end.
    pub(super) fn unfinished(&self) -> Vec<MessageId> {
        let at_work = std::mem::take(&mut self.state().at_work);
        let (handled, left): (Vec<_>, Vec<_>) = at_work.into_iter().partition(|(_, at_work)| at_work.is_handled);
        for (id, _) in handled {
            self.holds.stands(&id, Standing::Unconfirmed { counted: false });
        }
        left.into_iter().map(|(id, _)| id).collect()
    }

    /// Up to `max` letters, and when there may be more.
    fn take(&self, max: usize) -> (Vec<Delivery>, Option<Instant>) {
        let now = Instant::now();
        let mut state = self.state();
        let mut taken = Vec::new();
        // As on SQS: of a group that has messages in flight nothing is handed out.
        let busy: BTreeSet<Arc<str>> = state.busy.keys().filter(|_| self.fifo).cloned().collect();
        let is_free = |delivery: &Delivery| delivery.group.as_ref().is_none_or(|group| !busy.contains(group));
        while taken.len() < max {
            if let Some(next) = state.next_by_rate(self.rate).filter(|next| *next > now) {
                return (taken, Some(next));
            }
            let Some(at) = state.inbox.iter().position(is_free) else { break };
            let Some(mut delivery) = state.inbox.remove(at) else { break };
            let (id, group) = (delivery.receipt.message_id.clone(), delivery.group.clone().filter(|_| self.fifo));
            let lent = match &group {
                Some(group) if state.stopped.contains(group) => None,
                _ => Some(self.holds.lend(&mut delivery, VISIBILITY)),
            };
            let what = match lent {
                Some(Lent::NotYet) => {
                    state.inbox.insert(at, delivery);
                    return (taken, Some(now + Duration::from_secs(1)));
                }
                Some(Lent::Yes) => None,
                Some(Lent::Lost) => Some(What::Lost { at_work: false }),
                None => Some(What::Behind),
            };
            state.bytes -= delivery.body.len();
            match what {
                None => {
                    let (begun, given) = state.given.unwrap_or((now, 0));
                    state.given = Some((begun, given + 1));
                    if let Some(group) = &group {
                        *state.busy.entry(group.clone()).or_default() += 1;
                    }
                    state.at_work.insert(id, AtWork { group, is_handled: false });
                    taken.push(delivery);
                }
                Some(what) => {
                    state.stopped.extend(group);
                    state.results.push(Fate { message_id: id, what });
                    self.settled.notify_one();
                }
            }
        }
        (taken, None)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// When the next letter may be given.
    fn next_by_rate(&self, rate: Option<f64>) -> Option<Instant> {
        let (begun, given) = self.given?;
        Some(begun + Duration::try_from_secs_f64(given as f64 / rate?).unwrap_or(Duration::MAX / 4))
    }
}

impl<Q: Queue> Queue for InPlace<Q> {
    async fn receive(&self, max: usize, wait: Duration, _: Option<Duration>) -> Result<Vec<Delivery>, QueueError> {
        let end = Instant::now() + wait;
        loop {
            let changed = self.changed.notified();
            let (taken, next) = self.take(max);
            if !taken.is_empty() || self.state().closed || Instant::now() >= end {
                // Another receive may be open that could have the rest.
                self.changed.notify_one();
                return Ok(taken);
            }
            tokio::select! {
                biased;
                () = changed => {}
                () = sleep_until(next.map_or(end, |next| next.min(end))) => {}
            }
        }
    }

    async fn delete(&self, batch: &[Receipt]) -> Result<Vec<EntryResult>, QueueError> {
        let newest: Vec<Receipt> = batch.iter().map(|receipt| self.holds.newest(receipt)).collect();
        for receipt in batch {
            if let Some(at_work) = self.state().at_work.get_mut(&receipt.message_id) {
                at_work.is_handled = true;
            }
        }
        let answer = self.queue.delete(&newest).await;
        if let Err(error) = &answer
            && error.needs_action()
        {
            self.state().refusal.get_or_insert_with(|| error.clone());
            self.settled.notify_one();
        }
        answer
    }

    /// Whatever the engine asks for, a message stays hidden: it is renewed, or kept until the end.
    async fn change_visibility(&self, batch: &[(Receipt, Duration)]) -> Result<Vec<EntryResult>, QueueError> {
        let issued = Instant::now();
        let entry = |(receipt, _): &(Receipt, Duration)| {
            let most = self.holds.most_hidden(&receipt.message_id);
            (self.holds.newest(receipt), most)
        };
        let entries: Vec<_> = batch.iter().map(entry).collect();
        // To hide it for no time would show it.
        let possible: Vec<_> = entries.iter().filter(|(_, most)| !most.is_zero()).cloned().collect();
        let mut results = match possible.is_empty() {
            true => Vec::new(),
            false => self.queue.change_visibility(&possible).await?,
        }
        .into_iter();
        let answer = |(receipt, hidden_for): (Receipt, Duration)| {
            if hidden_for.is_zero() {
                return Err(over());
            }
            let result = results.next().unwrap_or_else(|| Err(unanswered()));
            if result.is_ok() {
                self.holds.hidden(&receipt, issued, hidden_for);
            }
            result
        };
        Ok(entries.into_iter().map(answer).collect())
    }

    /// It has no redrive policy as far as the engine is concerned: no receive is the last one.
    async fn facts(&self) -> Result<QueueFacts, QueueError> {
        let facts = self.queue.facts().await?;
        Ok(QueueFacts { max_receive_count: None, dead_letter_queue: None, ..facts })
    }

    fn known(&self) -> QueueFacts {
        QueueFacts { fifo: self.fifo, ..self.queue.known() }
    }

    fn reconnect(&self) {
        self.queue.reconnect();
    }

    fn fallbacks(&self) -> u64 {
        self.queue.fallbacks()
    }
}

impl<Q: Queue> Observer for InPlace<Q> {
    fn done_before(&self, message_id: &MessageId) -> Vec<Mark> {
        self.reader.as_ref().map(|reader| reader.records.done(message_id)).unwrap_or_default()
    }

    fn settled(&self, settled: Settled<'_>) {
        let Settled { message_id, became, failed } = settled;
        let mut state = self.state();
        let Some(AtWork { group, .. }) = state.at_work.remove(message_id) else { return };
        if let Some(group) = &group
            && let Some(busy) = state.busy.get_mut(group)
        {
            *busy -= 1;
            if *busy == 0 {
                state.busy.remove(group);
            }
        }
        let (what, standing) = match became {
            Became::Deleted => (What::Handled, Standing::Gone),
            Became::DeleteUnconfirmed => (What::DeleteUnconfirmed, Standing::Unconfirmed { counted: false }),
            Became::Failed if mutant!("delete-what-failed") => {
                (What::DeleteUnconfirmed, Standing::Unconfirmed { counted: false })
            }
            Became::Failed => (What::Failed(Box::new(DeadLetter::new(failed))), Standing::Judged(OutcomeKind::Failed)),
            Became::Returned => (What::returned(failed), Standing::Judged(OutcomeKind::Left)),
            Became::LeaseLost => (What::Lost { at_work: true }, Standing::Judged(OutcomeKind::Lost)),
        };
        let handled = matches!(became, Became::Deleted | Became::DeleteUnconfirmed);
        if !handled && !mutant!("go-on-behind-a-failure-in-a-group") {
            state.stopped.extend(group);
        }
        self.holds.stands(message_id, standing);
        state.results.push(Fate { message_id: message_id.clone(), what });
        drop(state);
        self.changed.notify_one();
        self.settled.notify_one();
    }
}

fn over() -> EntryError {
    let message = "the message was hidden for 12 hours".to_owned();
    EntryError { code: "MessageNotInflight".to_owned(), message, sender_fault: true }
}

fn unanswered() -> EntryError {
    let message = "the answer does not mention this entry".to_owned();
    EntryError { code: "Unanswered".to_owned(), message, sender_fault: false }
}
