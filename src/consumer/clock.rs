//! The time that leases are counted in: it goes on while the machine is suspended, as it does for the queue.
//!
//! tokio's clock stands still then. This one is tokio's, put forward by the time for which the machine was suspended, so
//! that what ran out meanwhile has run out here too.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// What is suspended for less than this is not noticed: the two clocks of the system are not read at the same moment.
const NOTICED: Duration = Duration::from_secs(1);

/// Later than anything that is waited for.
const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);

/// An instant that is so much later; far off where there is no such instant. For delays that come from outside.
pub(crate) fn later(at: Instant, by: Duration) -> Instant {
    at.checked_add(by.min(FAR)).unwrap_or(at)
}

/// A fraction of a time.
pub(crate) fn part(of: Duration, parts: u32) -> Duration {
    of.checked_div(parts).unwrap_or_default()
}

/// The clock of one run.
#[derive(Debug)]
pub(crate) struct Clock {
    /// For how long the machine has been suspended, since some fixed time.
    suspended: fn() -> Duration,
    before: Duration,
    /// For how long it was suspended during this run. It never falls.
    noticed: Mutex<Duration>,
}

impl Clock {
    pub(crate) fn new(suspended: fn() -> Duration) -> Self {
        Clock { suspended, before: suspended(), noticed: Mutex::default() }
    }

    /// The time now. Only times of this clock may be compared with it.
    pub(crate) fn now(&self) -> Instant {
        later(Instant::now(), self.noticed())
    }

    /// When a time of this clock is on tokio's, as far as is known now.
    pub(crate) fn on_tokios(&self, at: Instant) -> Instant {
        at.checked_sub(self.noticed()).unwrap_or(at)
    }

    fn noticed(&self) -> Duration {
        let suspended = (self.suspended)().saturating_sub(self.before);
        let mut noticed = self.noticed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if suspended >= noticed.saturating_add(NOTICED) && !mutant!("do-not-notice-a-suspension") {
            *noticed = suspended;
        }
        *noticed
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static SUSPENDED: Cell<Duration> = const { Cell::new(Duration::from_secs(100)) };
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_a_suspension_is_added_and_never_taken_back() {
        let clock = Clock::new(|| SUSPENDED.get());
        let began = Instant::now();
        assert_eq!(clock.now(), began, "what was before the run does not count");
        for (suspended, added) in [(100_500, 0), (160_000, 60), (160_900, 60), (130_000, 60), (161_000, 61)] {
            SUSPENDED.set(Duration::from_millis(suspended));
            assert_eq!(clock.now(), began + Duration::from_secs(added), "{suspended}");
            assert_eq!(clock.on_tokios(clock.now()), began);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_delay_is_too_long_to_be_added() {
        let now = Instant::now();
        assert_eq!(later(now, Duration::from_secs(5)), now + Duration::from_secs(5));
        assert!(later(now, Duration::MAX) > now + Duration::from_secs(86_400 * 365));
        assert!(later(later(now, Duration::MAX), Duration::MAX) > now);
    }
}
