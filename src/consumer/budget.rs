//! What may be held at the same time: slots and bytes.
//!
//! Slots and bytes are claimed before a receive, for the largest messages that it can bring, and the rest is given back
//! on arrival. So a received message never waits for room. What a body inflates to is asked for before it is decoded.
//!
//! A message whose target is busy or down is parked: it gives its slot to others and keeps its bytes. How many may be
//! parked is bounded apart from the slots, so that good messages behind failing ones are found.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The room of one engine.
#[derive(Debug)]
pub(crate) struct Budget {
    state: Mutex<State>,
    /// Told whenever room was given back: the engine's loop, which claims for polls.
    freed: Notify,
    /// Told likewise: the deliveries that wait for bytes to decode into.
    bytes_freed: Notify,
}

#[derive(Debug)]
struct State {
    slots: usize,
    slots_used: usize,
    /// Deliveries that are held beyond the slots, and how many may be.
    parked: usize,
    park: usize,
    bytes: usize,
    bytes_used: usize,
    /// How many deliveries that are not parked have been given bytes to decode into.
    decoding: usize,
    /// Deliveries that wait for bytes to decode into, in order.
    waiting: VecDeque<u64>,
    next_ticket: u64,
}

impl Budget {
    pub(crate) fn new(slots: usize, park: usize, bytes: usize) -> Arc<Self> {
        let state = State {
            slots,
            slots_used: 0,
            parked: 0,
            park,
            bytes,
            bytes_used: 0,
            decoding: 0,
            waiting: VecDeque::new(),
            next_ticket: 0,
        };
        Arc::new(Budget { state: Mutex::new(state), freed: Notify::new(), bytes_freed: Notify::new() })
    }

    /// How many slots are free.
    pub(crate) fn free_slots(&self) -> usize {
        let state = self.state();
        state.slots - state.slots_used
    }

    /// How many bytes are held or reserved.
    pub(crate) fn bytes_used(&self) -> usize {
        self.state().bytes_used
    }

    /// Whether there is no room for another message that would have to be parked.
    pub(crate) fn is_full(&self) -> bool {
        let state = self.state();
        state.parked > state.park || (state.parked > 0 && state.bytes_used > state.bytes)
    }

    /// Whether everything that is held is parked.
    pub(crate) fn only_parked(&self) -> bool {
        self.state().slots_used == 0
    }

    /// Claims up to `most` slots with `each` bytes for every one of them; None when there is no room for even one.
    ///
    /// When nothing is held but what is parked, one slot is given whatever its bytes, unless too many are held already:
    /// something always goes on.
    pub(crate) fn claim(self: &Arc<Self>, most: usize, each: usize) -> Option<Claim> {
        let mut state = self.state();
        let free = state.slots - state.slots_used;
        // Those who hold a message and wait for room to decode it come before new messages.
        let room =
            if state.waiting.is_empty() { state.bytes.saturating_sub(state.bytes_used) / each.max(1) } else { 0 };
        let mut slots = most.min(free).min(room);
        let over = state.parked > 0 && state.bytes_used > state.bytes;
        if slots == 0 && state.slots_used == 0 && !over {
            slots = 1;
        }
        if slots == 0 {
            return None;
        }
        state.slots_used += slots;
        state.bytes_used += slots * each;
        Some(Claim { budget: self.clone(), slots, each })
    }

    /// Waits until room is given back.
    pub(crate) async fn freed(&self) {
        self.freed.notified().await;
    }

    fn give_back(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.freed.notify_one();
        self.bytes_freed.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room for the messages of one receive.
#[derive(Debug)]
pub(crate) struct Claim {
    budget: Arc<Budget>,
    slots: usize,
    each: usize,
}

impl Claim {
    /// For how many messages there is room.
    pub(crate) fn slots(&self) -> usize {
        self.slots
    }

    /// Turns a part of the claim into the room of one message that arrived, and gives the rest of that part back.
    pub(crate) fn take(&mut self, body_bytes: usize) -> Held {
        let each = self.each;
        // A queue that brings more messages than were asked for has no room reserved for them; they are here all the same.
        let reserved = self.slots > 0;
        self.slots = self.slots.saturating_sub(1);
        self.budget.give_back(|state| {
            if reserved {
                state.bytes_used -= each;
            } else {
                state.slots_used += 1;
            }
            state.bytes_used += body_bytes;
        });
        Held {
            budget: self.budget.clone(),
            bytes: body_bytes,
            decoding: 0,
            counted: AtomicBool::new(false),
            parked: AtomicBool::new(false),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let (slots, bytes) = (self.slots, self.slots * self.each);
        if slots > 0 {
            self.budget.give_back(|state| {
                state.slots_used -= slots;
                state.bytes_used -= bytes;
            });
        }
    }
}

/// The slot and the bytes of one message that is held.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Arc<Budget>,
    /// The body, and later the event.
    bytes: usize,
    /// What was given to decode into.
    decoding: usize,
    /// It is one of those that are counted in `State::decoding`.
    counted: AtomicBool,
    parked: AtomicBool,
}

impl Held {
    /// Gives the slot to others: this one waits to be tried again.
    pub(crate) fn park(&self) {
        if self.parked.swap(true, Ordering::Relaxed) {
            return;
        }
        let counted = self.counted.swap(false, Ordering::Relaxed);
        self.budget.give_back(|state| {
            state.slots_used -= 1;
            state.parked += 1;
            state.decoding -= usize::from(counted);
        });
    }

    /// Waits for bytes to decode into, first come first served. When nobody else has any, they are given however many
    /// they are.
    pub(crate) async fn reserve(&mut self, bytes: usize) {
        self.give_up_reserved();
        let place = Place::new(self.budget.clone());
        loop {
            // Made before the look, so that what is given back between the two is not missed.
            let freed = place.budget.bytes_freed.notified();
            if place.try_reserve(bytes) {
                self.decoding = bytes;
                *self.counted.get_mut() = bytes > 0;
                return;
            }
            freed.await;
        }
    }

    /// Gives back what was reserved for decoding.
    pub(crate) fn give_up_reserved(&mut self) {
        let bytes = std::mem::take(&mut self.decoding);
        let counted = std::mem::take(self.counted.get_mut());
        if bytes > 0 || counted {
            self.budget.give_back(|state| {
                state.bytes_used -= bytes;
                state.decoding -= usize::from(counted);
            });
        }
    }

    /// The body was decoded and dropped: from now on the event's bytes are held.
    pub(crate) fn decoded(&mut self, event_bytes: usize) {
        let decoding = std::mem::replace(&mut self.decoding, event_bytes);
        let now_counted = !*self.parked.get_mut();
        let counted = std::mem::replace(self.counted.get_mut(), now_counted);
        let body = std::mem::take(&mut self.bytes);
        self.budget.give_back(|state| {
            state.decoding = state.decoding - usize::from(counted) + usize::from(now_counted);
            state.bytes_used = state.bytes_used - decoding - body + event_bytes;
        });
    }

    /// The work is over and nothing but the receipt is held any longer.
    pub(crate) fn drop_bytes(&mut self) {
        self.give_up_reserved();
        let bytes = std::mem::take(&mut self.bytes);
        if bytes > 0 {
            self.budget.give_back(|state| state.bytes_used -= bytes);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.drop_bytes();
        let parked = *self.parked.get_mut();
        self.budget.give_back(|state| *if parked { &mut state.parked } else { &mut state.slots_used } -= 1);
    }
}

/// A place in the line for bytes.
struct Place {
    budget: Arc<Budget>,
    ticket: u64,
}

impl Place {
    fn new(budget: Arc<Budget>) -> Self {
        let ticket = {
            let mut state = budget.state();
            state.next_ticket += 1;
            let ticket = state.next_ticket;
            state.waiting.push_back(ticket);
            ticket
        };
        Place { budget, ticket }
    }

    fn try_reserve(&self, bytes: usize) -> bool {
        let mut state = self.budget.state();
        let first = state.waiting.front() == Some(&self.ticket);
        let fits = state.bytes_used.saturating_add(bytes) <= state.bytes || state.decoding == 0;
        if first && fits {
            state.bytes_used += bytes;
            state.decoding += usize::from(bytes > 0);
        }
        first && fits
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let ticket = self.ticket;
        self.budget.give_back(|state| state.waiting.retain(|&other| other != ticket));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_gives_back_what_did_not_arrive() {
        let budget = Budget::new(64, 640, 100);
        let mut claim = budget.claim(10, 10).expect("room for ten");
        assert_eq!((claim.slots(), budget.bytes_used()), (10, 100));
        let held = claim.take(3);
        drop(claim);
        assert_eq!((budget.free_slots(), budget.bytes_used()), (63, 3));
        drop(held);
        assert_eq!((budget.free_slots(), budget.bytes_used()), (64, 0));
    }

    #[test]
    fn bytes_bound_a_claim_and_one_message_always_goes_on() {
        let budget = Budget::new(64, 640, 25);
        let claim = budget.claim(10, 10).expect("room for two");
        assert_eq!(claim.slots(), 2);
        assert!(budget.claim(10, 10).is_none());
        drop(claim);
        assert_eq!(budget.claim(10, 1_000).expect("one, since nothing else is held").slots(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn decoding_goes_in_order_and_one_always_goes_on() {
        let budget = Budget::new(3, 30, 10);
        let mut claim = budget.claim(3, 1).expect("room");
        let (mut first, mut second) = (claim.take(1), claim.take(1));
        first.reserve(1_000).await;
        let waits = tokio::time::timeout(std::time::Duration::from_secs(1), second.reserve(5)).await;
        assert!(waits.is_err(), "the first holds more than there is");
        first.decoded(2);
        second.reserve(5).await;
        assert_eq!(budget.bytes_used(), 1 + 2 + 1 + 5, "one of the claim is unused, one body is decoded");
        drop((first, second, claim));
        assert_eq!((budget.free_slots(), budget.bytes_used()), (3, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn more_messages_than_were_asked_for_are_counted_all_the_same() {
        let budget = Budget::new(5, 50, 100);
        let mut claim = budget.claim(1, 10).expect("room");
        let held = [claim.take(3), claim.take(4), claim.take(5)];
        assert_eq!((budget.free_slots(), budget.bytes_used()), (2, 12));
        drop(held);
        assert_eq!((budget.free_slots(), budget.bytes_used()), (5, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_claim_lets_the_next_one_decode_however_large() {
        let all_of_it = async {
            let budget = Budget::new(2, 20, 10);
            let mut claim = budget.claim(2, 1).expect("room");
            let (mut first, mut second) = (claim.take(1), claim.take(1));
            first.reserve(1_000).await;
            first.give_up_reserved();
            second.reserve(1_000).await;
            second.decoded(900);
            drop(second);
            first.reserve(1_000).await;
            first.give_up_reserved();
            // One that needed no room to decode holds its event all the same.
            first.decoded(500);
            let mut third = claim.take(1);
            let waits = tokio::time::timeout(std::time::Duration::from_secs(1), third.reserve(1_000)).await;
            assert!(waits.is_err());
            drop(first);
            third.reserve(1_000).await;
        };
        // Room that is not given back would be waited for until the end of the test run.
        tokio::time::timeout(std::time::Duration::from_secs(60), all_of_it).await.expect("everybody gets room");
    }
}
