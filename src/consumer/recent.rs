//! Which messages were handled: a repeat of one is deleted without running its handler again.
//!
//! A success outlives its delivery when the delete fails or the lease is lost, and SQS may deliver a message again even
//! after it was deleted. The memory is bounded: the oldest is forgotten first.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::journal::Journal;
use crate::queue::MessageId;

/// How many successes are remembered of which the queue has not confirmed the delete.
const UNCONFIRMED: usize = 65_536;

/// How many are remembered of which it has: those come again only when two deliveries crossed each other.
const CONFIRMED: usize = 8_192;

/// The messages that were handled.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    confirmed: Memory,
    unconfirmed: Memory,
    journal: Option<Journal>,
}

#[derive(Debug, Default)]
struct Memory {
    known: BTreeMap<MessageId, u64>,
    /// The same in the order in which they came.
    order: BTreeMap<u64, MessageId>,
    next: u64,
}

impl Memory {
    fn remember(&mut self, id: MessageId, limit: usize) {
        if self.known.contains_key(&id) {
            return;
        }
        self.next += 1;
        self.known.insert(id.clone(), self.next);
        self.order.insert(self.next, id);
        while self.order.len() > limit
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.known.remove(&oldest);
        }
    }

    fn forget(&mut self, id: &MessageId) {
        if let Some(at) = self.known.remove(id) {
            self.order.remove(&at);
        }
    }
}

impl Recent {
    /// A memory that goes on with what a journal remembers.
    pub(crate) fn with_journal(journal: Journal, known: Vec<MessageId>) -> Self {
        let mut state = State { journal: Some(journal), ..State::default() };
        for id in known {
            state.unconfirmed.remember(id, UNCONFIRMED);
        }
        Recent { state: Mutex::new(state) }
    }

    /// Whether the message was handled.
    pub(crate) fn knows(&self, id: &MessageId) -> bool {
        let state = self.state();
        state.unconfirmed.known.contains_key(id) || state.confirmed.known.contains_key(id)
    }

    /// The handler of the message succeeded.
    ///
    /// An error is the journal's: the memory has it all the same.
    pub(crate) fn handled(&self, id: &MessageId, now: impl FnOnce() -> SystemTime) -> io::Result<()> {
        let mut state = self.state();
        state.unconfirmed.remember(id.clone(), UNCONFIRMED);
        match &mut state.journal {
            Some(journal) => journal.append(id, now()),
            None => Ok(()),
        }
    }

    /// Its delete was confirmed.
    pub(crate) fn deleted(&self, id: &MessageId) {
        let mut state = self.state();
        state.unconfirmed.forget(id);
        state.confirmed.remember(id.clone(), CONFIRMED);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_is_bounded_and_forgets_the_oldest() {
        let recent = Recent::default();
        let id = |n: usize| MessageId::from(format!("m{n}"));
        for n in 0..=UNCONFIRMED {
            recent.handled(&id(n), || SystemTime::UNIX_EPOCH).expect("no journal, no error");
        }
        assert!(!recent.knows(&id(0)) && recent.knows(&id(1)) && recent.knows(&id(UNCONFIRMED)));
        for n in 1..=UNCONFIRMED {
            recent.deleted(&id(n));
        }
        assert!(!recent.knows(&id(1)) && recent.knows(&id(UNCONFIRMED)), "the confirmed are remembered for less long");
        assert_eq!(recent.state().unconfirmed.order.len(), 0);
    }
}
