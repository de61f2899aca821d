//! Which messages were handled: a repeat of one is deleted without running its handler again.
//!
//! A success outlives its delivery when the delete fails or the lease is lost, and SQS may deliver a message again even
//! after it was deleted. Of a message with several routes it is known which are done, until all of them are. The memory is
//! bounded: the oldest is forgotten first.

use std::collections::VecDeque;
use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::journal::{Journal, NotWritten, Success};
use crate::queue::MessageId;
use crate::router::Mark;

/// How many successes are remembered of which the queue has not confirmed the delete.
const UNCONFIRMED: usize = 65_536;

/// How many are remembered of which it has: those come again only when two deliveries crossed each other.
const CONFIRMED: usize = 8_192;

/// How many routes are remembered, over all messages, that are done while others of the same message are not.
const PARTS: usize = 65_536;

/// The messages that were handled.
#[derive(Debug, Default)]
pub(crate) struct DedupCache {
    state: Mutex<State>,
    journal: Option<Journal>,
}

#[derive(Debug, Default)]
struct State {
    known: BTreeMap<MessageId, Known>,
    /// In the order in which their handlers succeeded.
    unconfirmed: BTreeMap<u64, MessageId>,
    /// In the order in which their deletes were confirmed.
    confirmed: VecDeque<MessageId>,
    /// Messages of which some routes are done: which, and a number in the order in which their first one was.
    parts: BTreeMap<MessageId, (u64, Vec<Mark>)>,
    parts_in_order: BTreeMap<u64, MessageId>,
    /// How many routes these are together.
    parts_known: usize,
    next: u64,
}

/// What is known of a message that was handled.
#[derive(Debug)]
enum Known {
    /// Its number among the unconfirmed.
    Unconfirmed(u64),
    Confirmed,
}

impl State {
    fn handled(&mut self, id: &MessageId) {
        self.forget_parts(id);
        let Entry::Vacant(vacant) = self.known.entry(id.clone()) else { return };
        self.next += 1;
        vacant.insert(Known::Unconfirmed(self.next));
        self.unconfirmed.insert(self.next, id.clone());
        if self.unconfirmed.len() > UNCONFIRMED
            && let Some((_, oldest)) = self.unconfirmed.pop_first()
        {
            self.known.remove(&oldest);
        }
    }

    fn deleted(&mut self, id: &MessageId) {
        self.forget_parts(id);
        match self.known.insert(id.clone(), Known::Confirmed) {
            Some(Known::Confirmed) => return,
            Some(Known::Unconfirmed(number)) => drop(self.unconfirmed.remove(&number)),
            None => {}
        }
        self.confirmed.push_back(id.clone());
        if self.confirmed.len() > CONFIRMED
            && let Some(oldest) = self.confirmed.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    fn part(&mut self, id: &MessageId, mark: Mark) {
        if self.known.contains_key(id) {
            return;
        }
        let next = &mut self.next;
        let (number, marks) = self.parts.entry(id.clone()).or_insert_with(|| {
            *next += 1;
            (*next, Vec::new())
        });
        if marks.contains(&mark) {
            return;
        }
        marks.push(mark);
        self.parts_known += 1;
        self.parts_in_order.entry(*number).or_insert_with(|| id.clone());
        while self.parts_known > PARTS
            && let Some((_, oldest)) = self.parts_in_order.pop_first()
        {
            self.forget_parts(&oldest);
        }
    }

    fn forget_parts(&mut self, id: &MessageId) {
        if let Some((number, marks)) = self.parts.remove(id) {
            self.parts_in_order.remove(&number);
            self.parts_known -= marks.len();
        }
    }
}

impl DedupCache {
    /// A memory that goes on with what a journal remembers.
    pub(crate) fn with_journal(journal: Journal, known: Vec<Success>) -> Self {
        let mut state = State::default();
        for success in known {
            match success {
                Success { message, mark: None } => state.handled(&message),
                Success { mark: Some(_), .. } if mutant!("believe-no-route-of-a-journal") => {}
                Success { message, mark: Some(mark) } => state.part(&message, mark),
            }
        }
        DedupCache { state: Mutex::new(state), journal: Some(journal) }
    }

    /// Whether the message was handled.
    pub(crate) fn contains(&self, id: &MessageId) -> bool {
        self.state().known.contains_key(id)
    }

    /// The handler of the message succeeded. Returns at once without a journal, and with one when the record is written or
    /// has taken too long.
    ///
    /// An error is the journal's: the memory has it all the same.
    pub(crate) async fn handled(&self, id: &MessageId, now: fn() -> SystemTime) -> Result<(), NotWritten> {
        self.state().handled(id);
        match &self.journal {
            Some(journal) => journal.append(id, None, now()).await,
            None => Ok(()),
        }
    }

    /// One of several handlers of the message succeeded. Otherwise as [`DedupCache::handled`].
    pub(crate) async fn part(&self, id: &MessageId, mark: Mark, now: fn() -> SystemTime) -> Result<(), NotWritten> {
        self.state().part(id, mark);
        match &self.journal {
            Some(journal) => journal.append(id, Some(mark), now()).await,
            None => Ok(()),
        }
    }

    /// The routes of a message that are done, while others are not.
    pub(crate) fn done(&self, id: &MessageId) -> Vec<Mark> {
        self.state().parts.get(id).map(|(_, marks)| marks.clone()).unwrap_or_default()
    }

    /// Its delete was confirmed.
    pub(crate) fn deleted(&self, id: &MessageId) {
        self.state().deleted(id);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_memory_is_bounded_and_forgets_the_oldest() {
        let dedup = DedupCache::default();
        let id = |n: usize| MessageId::from(format!("m{n}"));
        for n in 0..=UNCONFIRMED {
            dedup.handled(&id(n), || SystemTime::UNIX_EPOCH).await.expect("no journal, no error");
        }
        assert!(!dedup.contains(&id(0)) && dedup.contains(&id(1)) && dedup.contains(&id(UNCONFIRMED)));
        for n in 1..=UNCONFIRMED {
            dedup.deleted(&id(n));
        }
        assert!(
            !dedup.contains(&id(1)) && dedup.contains(&id(UNCONFIRMED)),
            "the confirmed are remembered for less long"
        );
        let state = dedup.state();
        assert_eq!((state.unconfirmed.len(), state.confirmed.len(), state.known.len()), (0, CONFIRMED, CONFIRMED));
    }

    #[tokio::test]
    async fn of_routes_that_are_done_the_oldest_message_is_forgotten() {
        let dedup = DedupCache::default();
        let (marks, now) = (marks(), || SystemTime::UNIX_EPOCH);
        let id = |n: usize| MessageId::from(format!("m{n}"));
        for n in 0..=PARTS / 2 {
            for mark in [marks[0], marks[1], marks[0]] {
                dedup.part(&id(n), mark, now).await.expect("no journal, no error");
            }
        }
        assert_eq!((dedup.done(&id(0)), dedup.done(&id(1))), (Vec::new(), marks.clone()));
        let state = dedup.state();
        assert_eq!((state.parts.len(), state.parts_in_order.len(), state.parts_known), (PARTS / 2, PARTS / 2, PARTS));
    }

    #[tokio::test]
    async fn a_message_that_was_handled_has_no_parts_any_longer() {
        let (marks, now) = (marks(), || SystemTime::UNIX_EPOCH);
        let (handled, deleted) = (MessageId::from("handled"), MessageId::from("deleted"));
        let dedup = DedupCache::default();
        for id in [&handled, &deleted] {
            dedup.part(id, marks[0], now).await.expect("no journal, no error");
        }
        dedup.handled(&handled, now).await.expect("no journal, no error");
        dedup.deleted(&deleted);
        for id in [&handled, &deleted] {
            dedup.part(id, marks[1], now).await.expect("no journal, no error");
            assert_eq!(dedup.done(id), []);
        }
        let state = dedup.state();
        assert_eq!((state.parts.len(), state.parts_in_order.len(), state.parts_known), (0, 0, 0));
    }

    fn marks() -> Vec<Mark> {
        ["00000000000000aa", "00000000000000bb"].map(|text| text.parse().expect("a mark")).to_vec()
    }

    #[tokio::test]
    async fn what_is_confirmed_is_known_once_however_often_it_is_deleted() {
        let dedup = DedupCache::default();
        let id = MessageId::from("m");
        // An event that no route takes is deleted without a handler.
        dedup.deleted(&id);
        for _ in 0..2 {
            dedup.handled(&id, || SystemTime::UNIX_EPOCH).await.expect("no journal, no error");
            dedup.deleted(&id);
        }
        let state = dedup.state();
        assert_eq!((state.unconfirmed.len(), state.confirmed.len(), state.known.len()), (0, 1, 1));
    }
}
