//! Which webhooks were stored, and which are being stored: so that a retry neither doubles one nor is answered too soon.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::answer::is_stored;
use crate::telemetry::RelayOutcome;

/// For how long a webhook that was stored is remembered. Stream has given up trying after 15 s.
pub(super) const REMEMBERED_FOR: Duration = Duration::from_secs(60);

/// How many are remembered at the most, which is some 3,000 a second; beyond them the oldest is forgotten.
const REMEMBERED: usize = 200_000;

/// What is known of recent webhooks. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    fates: HashMap<Arc<str>, Fate>,
    /// Those that were stored, the oldest first.
    stored: VecDeque<(Instant, Arc<str>)>,
}

#[derive(Debug)]
enum Fate {
    Sending(Waiter),
    Stored,
}

/// What a webhook is to the memory.
#[derive(Debug)]
pub(super) enum Seen {
    /// It has not been here: the holder of the ticket is to store it, and says what became of it.
    First(Ticket, Waiter),
    /// Its first attempt is at work.
    AtWork(Waiter),
    /// It was stored.
    Stored,
}

/// Waits for what becomes of a webhook.
#[derive(Clone, Debug)]
pub(super) struct Waiter(watch::Receiver<Option<RelayOutcome>>);

/// The duty to store a webhook. Dropped, it has failed.
#[derive(Debug)]
pub(super) struct Ticket {
    memory: Memory,
    key: Arc<str>,
    told: watch::Sender<Option<RelayOutcome>>,
    is_over: bool,
}

impl Memory {
    /// A webhook has come. `key` is what it is the same by.
    pub(super) fn see(&self, key: String) -> Seen {
        let key: Arc<str> = key.into();
        let mut state = self.state();
        state.forget(Instant::now());
        match state.fates.get(&key) {
            Some(Fate::Stored) => return Seen::Stored,
            Some(Fate::Sending(waiter)) => return Seen::AtWork(waiter.clone()),
            None => {}
        }
        let (told, outcome) = watch::channel(None);
        let waiter = Waiter(outcome);
        state.fates.insert(key.clone(), Fate::Sending(waiter.clone()));
        Seen::First(Ticket { memory: self.clone(), key, told, is_over: false }, waiter)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget(&mut self, now: Instant) {
        while let Some((at, key)) = self.stored.front()
            && (now.duration_since(*at) >= REMEMBERED_FOR || self.stored.len() > REMEMBERED)
        {
            self.fates.remove(key);
            self.stored.pop_front();
        }
    }
}

impl Waiter {
    /// What became of it.
    pub(super) async fn outcome(mut self) -> RelayOutcome {
        match self.0.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.unwrap_or(RelayOutcome::QueueUnavailable),
            Err(_) => RelayOutcome::QueueUnavailable,
        }
    }
}

impl Ticket {
    /// Says what became of it: one that was stored is remembered, and of any other a retry is stored as if it were the first.
    pub(super) fn finish(mut self, outcome: RelayOutcome) {
        self.tell(outcome);
    }

    fn tell(&mut self, outcome: RelayOutcome) {
        self.is_over = true;
        {
            let mut state = self.memory.state();
            if is_stored(outcome) {
                let now = Instant::now();
                state.fates.insert(self.key.clone(), Fate::Stored);
                state.stored.push_back((now, self.key.clone()));
                state.forget(now);
            } else {
                state.fates.remove(&self.key);
            }
        }
        // Nobody may be waiting any more.
        let _ = self.told.send(Some(outcome));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.is_over {
            self.tell(RelayOutcome::QueueUnavailable);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(memory: &Memory, key: &str) -> (Ticket, Waiter) {
        match memory.see(key.to_owned()) {
            Seen::First(ticket, waiter) => (ticket, waiter),
            other => panic!("{key} is {other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_stored_is_known_for_60_s() {
        let memory = Memory::default();
        first(&memory, "a").0.finish(RelayOutcome::Sent);
        tokio::time::advance(Duration::from_millis(59_999)).await;
        assert!(matches!(memory.see("a".to_owned()), Seen::Stored));
        tokio::time::advance(Duration::from_millis(1)).await;
        first(&memory, "a").0.finish(RelayOutcome::Spooled);
        assert!(matches!(memory.see("a".to_owned()), Seen::Stored));
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_during_the_first_attempt_gets_its_outcome() {
        for outcome in [RelayOutcome::Sent, RelayOutcome::QueueUnavailable] {
            let memory = Memory::default();
            let (ticket, waiter) = first(&memory, "a");
            let Seen::AtWork(second) = memory.see("a".to_owned()) else { panic!("it is at work") };
            let wait = async { tokio::join!(waiter.outcome(), second.outcome()) };
            let finish = async { ticket.finish(outcome) };
            let ((one, two), ()) = tokio::join!(wait, finish);
            assert_eq!((one, two), (outcome, outcome));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_or_was_dropped_is_tried_again() {
        let memory = Memory::default();
        first(&memory, "a").0.finish(RelayOutcome::SpoolFull);
        let (ticket, waiter) = first(&memory, "a");
        drop(ticket);
        assert_eq!(waiter.outcome().await, RelayOutcome::QueueUnavailable);
        first(&memory, "a");
    }

    #[tokio::test(start_paused = true)]
    async fn the_memory_is_bounded() {
        let memory = Memory::default();
        for number in 0..REMEMBERED + 10 {
            first(&memory, &number.to_string()).0.finish(RelayOutcome::Sent);
        }
        assert_eq!(memory.state().fates.len(), REMEMBERED);
        first(&memory, "9");
        assert!(matches!(memory.see("10".to_owned()), Seen::Stored));
    }
}
