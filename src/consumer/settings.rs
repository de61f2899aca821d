//! What can be set on the engine, with its limits, and the check that it fits together.
//!
//! No flags, files or environment variables: those are the daemon's.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::queue::{MAX_VISIBILITY, MAX_WAIT};

/// The settings of a [`Consumer`](super::Consumer). The defaults are right for most, and a method changes each:
///
/// ```
/// # use std::time::Duration;
/// # use stream_sqsd::consumer::Settings;
/// let settings = Settings::new().with_concurrency(16).with_handler_timeout(Duration::from_secs(10));
/// assert!(settings.check().is_ok());
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// The slots: how many handlers are called at the same time, at the most, each for one message. 1 to 120,000, which is
    /// how many messages of a queue SQS lets be in flight; default 64. Messages whose target is busy or down give their
    /// slot to others while they wait to be called again: up to ten times as many are held beyond the slots, within
    /// [`Settings::max_in_flight_bytes`].
    pub concurrency: usize,
    /// How many bytes of messages are held at the same time, at the most, inflated bytes included. One message always
    /// goes on, however large. At least 1; default 256 MiB.
    pub max_in_flight_bytes: usize,
    /// How long one receive waits for a first message, 0 to 20 s; default 20 s. A shorter wait costs more requests.
    pub wait: Duration,
    /// For how long a received message is hidden, 2 s to 12 h; renewed while it is worked on. Default: the queue's own
    /// visibility timeout, or 60 s when that cannot be read at the start.
    pub visibility: Option<Duration>,
    /// How long one call of a handler may take; more than zero, default 30 s.
    pub handler_timeout: Duration,
    /// How long a drain may take; default 25 s. At least [`Settings::wait`] and 2 s, since the open long poll is waited
    /// for, and less than what the supervisor allows before it kills (30 s on ECS).
    pub grace: Duration,
    /// How many bytes one body may decode to; at least 1, default 16 MiB. More than that is never deleted, but left for
    /// the dead-letter queue.
    pub inflate_limit: usize,
    /// What becomes of an event that no route takes.
    pub unrouted: Unrouted,
    /// Whether the run ends when the queue is empty: after a full long poll that brought nothing, with nothing at work.
    pub until_empty: bool,
    /// How long a failed message is hidden before it is received again.
    pub retry: RetryDelay,
    /// FIFO queues: how often a failing message is tried in this process before it and what is held behind it are
    /// returned. At least 1. Default: the receives that are left before the dead-letter queue, or 5 when unknown.
    pub fifo_attempts: Option<u32>,
    /// Where to remember, across a crash, which messages were handled and not yet confirmed as deleted. Default: only in
    /// memory.
    pub journal: Option<PathBuf>,
    /// What jitter is drawn from. Default: another seed in each run; a simulation names one, so that it repeats.
    pub random_seed: Option<u64>,
    /// The time of day. Default: the system's.
    pub wall_clock: fn() -> SystemTime,
    /// For how long the machine has been suspended since some fixed time. Leases run out meanwhile, and the clock that
    /// tokio goes by stands still. Default: the system's on Linux, and never on other systems, where a suspended process
    /// does not notice that it has lost its leases before SQS refuses their renewal.
    pub time_suspended: fn() -> Duration,
}

impl Settings {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`Settings::concurrency`]: 1 to 120,000 slots.
    pub fn with_concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = concurrency;
        self
    }

    /// Sets [`Settings::max_in_flight_bytes`]: at least 1 byte.
    pub fn with_max_in_flight_bytes(mut self, max_in_flight_bytes: usize) -> Self {
        self.max_in_flight_bytes = max_in_flight_bytes;
        self
    }

    /// Sets [`Settings::wait`]: 0 to 20 s.
    pub fn with_wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Sets [`Settings::visibility`]: 2 s to 12 h, or None for the queue's own visibility timeout.
    pub fn with_visibility(mut self, visibility: impl Into<Option<Duration>>) -> Self {
        self.visibility = visibility.into();
        self
    }

    /// Sets [`Settings::handler_timeout`]: more than zero, at most 12 h.
    pub fn with_handler_timeout(mut self, handler_timeout: Duration) -> Self {
        self.handler_timeout = handler_timeout;
        self
    }

    /// Sets [`Settings::grace`]: at least [`Settings::wait`] and 2 s.
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Sets [`Settings::inflate_limit`]: at least 1 byte.
    pub fn with_inflate_limit(mut self, inflate_limit: usize) -> Self {
        self.inflate_limit = inflate_limit;
        self
    }

    /// Sets [`Settings::unrouted`].
    pub fn with_unrouted(mut self, unrouted: Unrouted) -> Self {
        self.unrouted = unrouted;
        self
    }

    /// Sets [`Settings::until_empty`].
    pub fn with_until_empty(mut self, until_empty: bool) -> Self {
        self.until_empty = until_empty;
        self
    }

    /// Sets [`Settings::retry`].
    pub fn with_retry(mut self, retry: RetryDelay) -> Self {
        self.retry = retry;
        self
    }

    /// Sets [`Settings::fifo_attempts`]: at least 1, or None for the receives that are left.
    pub fn with_fifo_attempts(mut self, fifo_attempts: impl Into<Option<u32>>) -> Self {
        self.fifo_attempts = fifo_attempts.into();
        self
    }

    /// Sets [`Settings::journal`]: the path of a file, or None to remember in memory only.
    pub fn with_journal(mut self, journal: impl Into<Option<PathBuf>>) -> Self {
        self.journal = journal.into();
        self
    }

    /// Sets [`Settings::random_seed`], or None for another seed in each run.
    pub fn with_random_seed(mut self, random_seed: impl Into<Option<u64>>) -> Self {
        self.random_seed = random_seed.into();
        self
    }

    /// Sets [`Settings::wall_clock`].
    pub fn with_wall_clock(mut self, wall_clock: fn() -> SystemTime) -> Self {
        self.wall_clock = wall_clock;
        self
    }

    /// Sets [`Settings::time_suspended`].
    pub fn with_time_suspended(mut self, time_suspended: fn() -> Duration) -> Self {
        self.time_suspended = time_suspended;
        self
    }
}

/// What becomes of an event that no route takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unrouted {
    /// It is deleted, counted by type, and logged once for each type.
    #[default]
    Acknowledge,
    /// It is left in the queue, for another consumer or in the end for the dead-letter queue.
    Leave,
}

/// How long a failed message is hidden: doubling with each receive, from `min` to `max`, with jitter of a quarter either
/// way. A handler that names a delay gets that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryDelay {
    /// The delay after the first receive; default 1 s.
    pub min: Duration,
    /// The longest delay; default 15 minutes, at most 12 hours.
    pub max: Duration,
}

impl RetryDelay {
    /// Delays from `min` to `max`; [`Settings::check`] holds that `min` is at most `max`, and `max` at most 12 hours.
    pub fn new(min: Duration, max: Duration) -> Self {
        RetryDelay { min, max }
    }

    /// The delay after the given receive (counted from 1), with `jitter` from 0 to 1.
    pub fn after(&self, receive_count: u32, jitter: f64) -> Duration {
        let doublings = receive_count.saturating_sub(1).min(31);
        let delay = self.min.saturating_mul(1 << doublings).min(self.max);
        delay.mul_f64(0.75 + jitter.clamp(0.0, 1.0) / 2.0).min(self.max)
    }
}

impl Default for RetryDelay {
    fn default() -> Self {
        RetryDelay { min: Duration::from_secs(1), max: Duration::from_secs(15 * 60) }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            concurrency: 64,
            max_in_flight_bytes: 256 * 1024 * 1024,
            wait: MAX_WAIT,
            visibility: None,
            handler_timeout: Duration::from_secs(30),
            grace: Duration::from_secs(25),
            inflate_limit: 16 * 1024 * 1024,
            unrouted: Unrouted::default(),
            until_empty: false,
            retry: RetryDelay::default(),
            fifo_attempts: None,
            journal: None,
            random_seed: None,
            wall_clock: system_time,
            time_suspended,
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "the one place where the ambient clock enters the engine")]
fn system_time() -> SystemTime {
    SystemTime::now()
}

/// Of the two clocks one goes on while the machine is suspended. The difference comes out too small rather than too large
/// when this thread is held up between the two looks.
#[cfg(target_os = "linux")]
fn time_suspended() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    let since_boot = clock_gettime(ClockId::Boottime);
    let awake = clock_gettime(ClockId::Monotonic);
    since_boot.checked_sub(awake).and_then(|suspended| suspended.try_into().ok()).unwrap_or_default()
}

#[cfg(not(target_os = "linux"))]
fn time_suspended() -> Duration {
    Duration::ZERO
}

/// Beyond [`Settings::wait`], what a drain needs for polls to return.
pub const GRACE_BEYOND_WAIT: Duration = Duration::from_secs(2);

/// How many messages of a standard queue can be received and not yet deleted.
const MAX_IN_FLIGHT: usize = 120_000;

/// The shortest visibility timeout that can be renewed in time.
pub const MIN_VISIBILITY: Duration = Duration::from_secs(2);

impl Settings {
    /// How long after the beginning of a shutdown handlers may still work: [`Settings::grace`] less a quarter of it, at the
    /// most 3 s, which is kept for returning what they did not finish. What is at work for longer is interrupted.
    ///
    /// Where so much is held, or the queue answers so slowly, that returning takes longer, more is kept for it, up to half
    /// of the grace: ten thousand messages at half a second for an answer need 6 s. What cannot be returned within that
    /// comes back when its visibility timeout runs out.
    pub fn handler_grace(&self) -> Duration {
        self.grace - reserve_of(self.grace)
    }

    /// Checks the limits and that the times fit each other. [`Consumer::run`](super::Consumer::run) does it too.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] names the first setting that does not fit, and why.
    pub fn check(&self) -> Result<(), SettingsError> {
        let refuse = |setting, reason: String| Err(SettingsError { setting, reason });
        if !(1..=MAX_IN_FLIGHT).contains(&self.concurrency) {
            let reason = format!(
                "{} is not between 1 and {MAX_IN_FLIGHT}, which is how many messages of a queue SQS lets be in flight",
                self.concurrency
            );
            return refuse("concurrency", reason);
        }
        if self.max_in_flight_bytes == 0 {
            return refuse("max_in_flight_bytes", "must be at least 1".into());
        }
        if self.wait > MAX_WAIT {
            return refuse("wait", format!("{:?} is more than the 20 s that SQS allows", self.wait));
        }
        if let Some(visibility) = self.visibility
            && !(MIN_VISIBILITY..=MAX_VISIBILITY).contains(&visibility)
        {
            return refuse("visibility", format!("{visibility:?} is not between 2 s and 12 h"));
        }
        if self.handler_timeout.is_zero() || self.handler_timeout > MAX_VISIBILITY {
            let reason = format!("{:?} is not more than zero and at most 12 h", self.handler_timeout);
            return refuse("handler_timeout", reason);
        }
        if self.grace < self.wait + GRACE_BEYOND_WAIT {
            let reason = format!(
                "{:?} is too short: a drain waits for the open long poll, which takes up to {:?} (wait) and 2 s; lengthen \
                 grace or shorten wait",
                self.grace, self.wait
            );
            return refuse("grace", reason);
        }
        if self.inflate_limit == 0 {
            return refuse("inflate_limit", "must be at least 1".into());
        }
        if self.retry.min > self.retry.max || self.retry.max > MAX_VISIBILITY {
            return refuse("retry", "min must be at most max, and max at most 12 h".into());
        }
        if self.fifo_attempts == Some(0) {
            return refuse("fifo_attempts", "must be at least 1".into());
        }
        Ok(())
    }
}

/// What of a grace is kept for returning and for the last deletes.
pub(super) fn reserve_of(grace: Duration) -> Duration {
    (grace / 4).min(Duration::from_secs(3))
}

/// A setting that is out of its limits or does not fit the others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {reason}")]
#[non_exhaustive]
pub struct SettingsError {
    /// The name of the setting, as the field of [`Settings`].
    pub setting: &'static str,
    /// What is wrong, and what to do.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_retry_delay_doubles_with_jitter_up_to_its_limit() {
        let retry = RetryDelay { min: SECOND, max: 10 * SECOND };
        let middle = [1, 2, 3, 4, 5, 100].map(|receive| retry.after(receive, 0.5).as_secs());
        assert_eq!(middle, [1, 2, 4, 8, 10, 10]);
        assert_eq!((retry.after(3, 0.0), retry.after(3, 1.0)), (3 * SECOND, 5 * SECOND));
        assert_eq!(retry.after(5, 1.0), 10 * SECOND, "the limit is one with jitter too");
    }

    #[test]
    fn settings_beyond_their_limits_are_refused_by_name() {
        let check = |change: &dyn Fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            settings.check().map_err(|error| error.setting)
        };
        let hours = 3600 * SECOND;
        assert_eq!(check(&|_| {}), Ok(()));
        for (concurrency, taken) in [(0, false), (1, true), (120_000, true), (120_001, false), (usize::MAX, false)] {
            let expected = if taken { Ok(()) } else { Err("concurrency") };
            assert_eq!(check(&|s| s.concurrency = concurrency), expected, "{concurrency}");
        }
        assert_eq!(check(&|s| s.max_in_flight_bytes = 0), Err("max_in_flight_bytes"));
        assert_eq!(check(&|s| (s.wait, s.grace) = (20 * SECOND, 22 * SECOND)), Ok(()));
        assert_eq!(check(&|s| (s.wait, s.grace) = (21 * SECOND, hours)), Err("wait"));
        assert_eq!(check(&|s| s.grace = 21 * SECOND), Err("grace"));
        for (visibility, taken) in [(SECOND, false), (2 * SECOND, true), (12 * hours, true), (13 * hours, false)] {
            let expected = if taken { Ok(()) } else { Err("visibility") };
            assert_eq!(check(&|s| s.visibility = Some(visibility)), expected, "{visibility:?}");
        }
        assert_eq!(check(&|s| s.handler_timeout = Duration::ZERO), Err("handler_timeout"));
        assert_eq!(check(&|s| s.handler_timeout = 12 * hours), Ok(()));
        assert_eq!(check(&|s| s.handler_timeout = 13 * hours), Err("handler_timeout"));
        assert_eq!(check(&|s| s.inflate_limit = 0), Err("inflate_limit"));
        assert_eq!(check(&|s| s.retry = RetryDelay { min: SECOND, max: SECOND }), Ok(()));
        assert_eq!(check(&|s| s.retry = RetryDelay { min: 2 * SECOND, max: SECOND }), Err("retry"));
        assert_eq!(check(&|s| s.retry.max = 12 * hours), Ok(()));
        assert_eq!(check(&|s| s.retry.max = 13 * hours), Err("retry"));
        assert_eq!(check(&|s| s.fifo_attempts = Some(0)), Err("fifo_attempts"));
    }
}
