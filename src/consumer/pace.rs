//! The pace of receives: how many are to be open, and how soon the next one may follow an empty one or an error.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, error, warn};

use super::receive::Polled;
use crate::queue::{BATCH, QueueError};
use crate::telemetry::{Cause, Telemetry};

/// After how many hung receives in a row the connections are opened again.
const HUNG_RECONNECT: u32 = 2;

/// How long after one empty receive was issued the next one may be, at the soonest.
const EMPTY_RECEIVES_APART: Duration = Duration::from_secs(1);

/// How long a poll waits for ten free slots before it makes do with fewer: fuller receives are fewer requests.
pub(super) const PATIENCE: Duration = Duration::from_millis(50);

/// How many receives are to be open, and when the next one may be issued.
#[derive(Debug)]
pub(super) struct Pace {
    /// How many receives are to be open: one on an idle queue, more as long as they come back full.
    pub(super) wanted: usize,
    most: usize,
    /// No receive before this.
    pub(super) not_before: Instant,
    /// Receives in a row that failed or hung.
    pub(super) failures: u32,
    hung: u32,
    /// Since when a receive waits for ten free slots.
    pub(super) waiting_since: Option<Instant>,
    /// The last receive waited its full time and brought nothing.
    pub(super) empty: bool,
    /// A receive has succeeded.
    pub(super) started: bool,
}

impl Pace {
    pub(super) fn new(concurrency: usize) -> Self {
        Pace {
            wanted: 1,
            most: concurrency.div_ceil(BATCH),
            not_before: Instant::now(),
            failures: 0,
            hung: 0,
            waiting_since: None,
            empty: false,
            started: false,
        }
    }

    /// A receive was answered with so many messages.
    pub(super) fn answered(&mut self, polled: &Polled, messages: usize, full_wait: Duration) {
        self.failures = 0;
        self.hung = 0;
        self.started = true;
        let waited = polled.took + Duration::from_millis(100) >= polled.poll.wait;
        if messages > 0 {
            self.empty = false;
            if messages >= polled.poll.claim.slots() {
                self.wanted = (self.wanted + 1).min(self.most);
            }
        } else {
            // A standard queue with too much in flight answers a long poll at once, with nothing and no error; and a wait of
            // zero is allowed. Neither may become a tight loop.
            self.empty = waited && polled.poll.wait >= full_wait;
            self.wanted = if waited { self.wanted.saturating_sub(1).max(1) } else { 1 };
            let early = EMPTY_RECEIVES_APART.saturating_sub(polled.took);
            self.not_before = self.not_before.max(Instant::now() + early);
        }
    }

    /// A receive ended in an error; says for how long nothing is received.
    pub(super) fn failed(&mut self, failure: &QueueError, jitter: f64, telemetry: &Telemetry) -> Duration {
        self.hung = 0;
        self.empty = false;
        let pause = self.back_off(if failure.needs_action() { 5 } else { 1 }, jitter);
        let cause = failure.to_string();
        let cause = Cause::new(("receive", failure.label()), &cause);
        let Some(times) = telemetry.worth_logging(cause) else { return pause };
        let (kind, retry_in_seconds) = (failure.label(), pause.as_secs_f64());
        match failure {
            QueueError::Throttled { .. } | QueueError::OverLimit => {
                debug!(error = %failure, kind, times, retry_in_seconds, "receiving more slowly");
            }
            _ if failure.needs_action() => {
                error!(error = %failure, kind, times, retry_in_seconds, "nothing can be received");
            }
            _ => warn!(error = %failure, kind, times, retry_in_seconds, "a receive failed"),
        }
        pause
    }

    /// A receive was given up; true when the connections are to be opened again.
    pub(super) fn hung(&mut self, jitter: f64) -> bool {
        self.empty = false;
        self.hung += 1;
        self.back_off(1, jitter);
        warn!(
            in_a_row = self.hung,
            "a receive hung and was given up; what it may have handed out comes back after the visibility timeout"
        );
        self.hung.is_multiple_of(HUNG_RECONNECT)
    }

    /// Doubles from `first` seconds to a minute at the most.
    fn back_off(&mut self, first: u64, jitter: f64) -> Duration {
        let doubled = Duration::from_secs(first << self.failures.min(6)).min(Duration::from_secs(60));
        let pause = doubled.mul_f64(0.75 + jitter / 2.0);
        self.failures += 1;
        self.wanted = 1;
        if !mutant!("no-back-off") {
            self.not_before = self.not_before.max(Instant::now() + pause);
        }
        pause
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::telemetry::Limits;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn each_failure_in_a_row_doubles_the_pause_up_to_a_minute() {
        let limits = Limits { concurrency: 1, max_in_flight_bytes: 1, wait: Duration::ZERO };
        let telemetry = Telemetry::new(limits, Vec::new());
        let mut pace = Pace::new(64);
        let pauses = [(); 8].map(|()| pace.failed(&QueueError::OverLimit, 0.5, &telemetry).as_secs());
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!((pace.wanted, pace.not_before), (1, Instant::now() + 60 * SECOND));
        let denied = QueueError::NoSuchQueue { message: String::new() };
        let mut pace = Pace::new(64);
        assert_eq!(pace.failed(&denied, 0.5, &telemetry), 5 * SECOND, "what somebody must act on is asked more slowly");
        let mut pace = Pace::new(64);
        assert_eq!(pace.failed(&QueueError::OverLimit, 0.0, &telemetry), SECOND.mul_f64(0.75));
        assert_eq!(pace.failed(&QueueError::OverLimit, 1.0, &telemetry), SECOND.mul_f64(2.5));
    }

    #[tokio::test(start_paused = true)]
    async fn every_second_hang_in_a_row_asks_for_new_connections() {
        let mut pace = Pace::new(64);
        assert_eq!([(); 4].map(|()| pace.hung(0.5)), [false, true, false, true]);
        assert_eq!(pace.not_before, Instant::now() + 8 * SECOND);
    }
}
