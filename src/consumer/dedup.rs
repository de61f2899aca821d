//! Which messages were handled: a repeat of one is deleted without running its handler again.
//!
//! A success outlives its delivery when the delete fails or the lease is lost, and SQS may deliver a message again even
//! after it was deleted. The memory is bounded: the oldest is forgotten first.

use std::collections::VecDeque;
use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::journal::{Journal, NotWritten};
use crate::queue::MessageId;

/// How many successes are remembered of which the queue has not confirmed the delete.
const UNCONFIRMED: usize = 65_536;

/// How many are remembered of which it has: those come again only when two deliveries crossed each other.
const CONFIRMED: usize = 8_192;

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
}

impl DedupCache {
    /// A memory that goes on with what a journal remembers.
    pub(crate) fn with_journal(journal: Journal, known: Vec<MessageId>) -> Self {
        let mut state = State::default();
        for id in known {
            state.handled(&id);
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
            Some(journal) => journal.append(id, now()).await,
            None => Ok(()),
        }
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
