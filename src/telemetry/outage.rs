//! The story of a target that is down, as the log tells it: when it goes, and when it is back.
//!
//! A target that flaps would fill the log, so it is told at most once in [`TELL_EVERY`] that it is down, unless it stays down
//! for longer than a target that flaps. Anyone who was told so is told that it is back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How often it is told that a target is down, at the most.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// An outage that lasts for so long is told of in any case.
const LONG: Duration = Duration::from_secs(10);

/// What flow control says of a target that is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outage {
    pub(crate) since: Instant,
    /// One message fails, and nothing else was tried: it may be the message.
    pub(crate) only_one_fails: bool,
}

/// What is worth a line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Nothing succeeds; it went down so often since that was last told, this time included.
    Down { times: u64 },
    /// One message fails, and nothing else was tried.
    OnlyOneFails { times: u64 },
    /// It is back, after so long and so many calls.
    Back { down_for: Duration, attempts: u64 },
}

/// The story of the target of one route.
#[derive(Debug, Default)]
pub(super) struct Story {
    /// Whether there is an outage, so that who succeeds need not look.
    open: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Since when nothing has succeeded, and how many calls there had been before.
    outage: Option<(Instant, u64)>,
    /// The beginning of what flow control calls the outage: it forgets a target that nobody calls.
    since: Option<Instant>,
    /// Whether the log was told anything of it, and of what flow control calls one outage, that nothing succeeds or that
    /// one message fails.
    told: bool,
    told_down: bool,
    told_one: bool,
    /// When it was last told that it is down.
    last: Option<Instant>,
    /// How often it went down since.
    times: u64,
}

impl Story {
    /// A call did not succeed while the target is down; `calls` is how many there were.
    pub(super) fn failed(&self, outage: Outage, calls: u64) -> Option<Told> {
        let mut state = self.state();
        let now = Instant::now();
        if state.outage.is_none() {
            // The call that found it down belongs to it.
            state.outage = Some((outage.since, calls.saturating_sub(1)));
            self.open.store(true, Ordering::Relaxed);
        }
        if state.since != Some(outage.since) {
            // Where it is not the first, nobody was there to call it in between, so nothing succeeded either.
            state.since = Some(outage.since);
            state.times += 1;
            (state.told_down, state.told_one) = (false, false);
        }
        if state.told_down || (outage.only_one_fails && state.told_one) {
            return None;
        }
        // That it is more than the one is told at once.
        let is_short = now.duration_since(outage.since) < LONG;
        if !state.told_one && is_short && state.last.is_some_and(|last| now.duration_since(last) < TELL_EVERY) {
            return None;
        }
        state.last = Some(now);
        state.told = true;
        let times = std::mem::take(&mut state.times).max(1);
        if outage.only_one_fails {
            state.told_one = true;
            Some(Told::OnlyOneFails { times })
        } else {
            state.told_down = true;
            Some(Told::Down { times })
        }
    }

    /// A call succeeded; `calls` is how many there were, this one included.
    pub(super) fn succeeded(&self, calls: impl FnOnce() -> u64) -> Option<Told> {
        if !self.open.load(Ordering::Relaxed) {
            return None;
        }
        let mut state = self.state();
        self.open.store(false, Ordering::Relaxed);
        let (since, before) = state.outage.take()?;
        (state.since, state.told_down, state.told_one) = (None, false, false);
        let told = std::mem::take(&mut state.told);
        told.then(|| Told::Back { down_for: since.elapsed(), attempts: calls().saturating_sub(before) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn down() -> Outage {
        Outage { since: Instant::now(), only_one_fails: false }
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_told_once_and_its_end_with_its_length() {
        let story = Story::default();
        assert_eq!(story.succeeded(|| 1), None);
        let outage = down();
        assert_eq!(story.failed(outage, 2), Some(Told::Down { times: 1 }));
        for calls in 3..100 {
            tokio::time::advance(10 * SECOND).await;
            assert_eq!(story.failed(outage, calls), None);
        }
        assert_eq!(story.succeeded(|| 100), Some(Told::Back { down_for: 970 * SECOND, attempts: 99 }));
        assert_eq!(story.succeeded(|| 101), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_flaps_is_told_of_once_a_minute() {
        let story = Story::default();
        let mut told = Vec::new();
        for second in 0..150 {
            told.extend(story.failed(down(), 0).map(|told| (second, told)));
            tokio::time::advance(SECOND / 2).await;
            assert_eq!(story.succeeded(|| 1).is_some(), matches!(told.last(), Some((at, _)) if *at == second));
            tokio::time::advance(SECOND / 2).await;
        }
        assert_eq!(
            told,
            [(0, Told::Down { times: 1 }), (60, Told::Down { times: 60 }), (120, Told::Down { times: 60 })]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_kept_quiet_is_told_if_it_lasts() {
        let story = Story::default();
        story.failed(down(), 1);
        story.succeeded(|| 2);
        let outage = down();
        assert_eq!(story.failed(outage, 3), None, "it flaps");
        tokio::time::advance(9 * SECOND).await;
        assert_eq!(story.failed(outage, 4), None);
        tokio::time::advance(SECOND).await;
        assert_eq!(story.failed(outage, 5), Some(Told::Down { times: 1 }));
        assert_eq!(story.succeeded(|| 6), Some(Told::Back { down_for: 10 * SECOND, attempts: 4 }));
    }

    #[tokio::test(start_paused = true)]
    async fn one_message_that_fails_is_told_apart_until_others_do() {
        let story = Story::default();
        let since = Instant::now();
        let [lone, down] = [true, false].map(|only_one_fails| Outage { since, only_one_fails });
        assert_eq!(story.failed(lone, 1), Some(Told::OnlyOneFails { times: 1 }));
        tokio::time::advance(SECOND).await;
        assert_eq!(story.failed(lone, 2), None);
        assert_eq!(story.failed(down, 3), Some(Told::Down { times: 1 }), "at once");
        assert_eq!(story.failed(lone, 4), None, "the others were left");
        assert!(matches!(story.succeeded(|| 5), Some(Told::Back { attempts: 5, .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_message_that_fails_alone_is_told_too() {
        let story = Story::default();
        let lone = || Outage { only_one_fails: true, ..down() };
        assert_eq!(story.failed(lone(), 1), Some(Told::OnlyOneFails { times: 1 }));
        tokio::time::advance(SECOND).await;
        assert_eq!(story.failed(lone(), 2), None, "within a minute");
        tokio::time::advance(3_599 * SECOND).await;
        assert_eq!(story.failed(lone(), 3), Some(Told::OnlyOneFails { times: 2 }));
        assert_eq!(story.succeeded(|| 4), Some(Told::Back { down_for: 3_600 * SECOND, attempts: 4 }));
    }
}
