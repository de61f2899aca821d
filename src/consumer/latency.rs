//! How long the queue takes to answer, and how many calls at the same time follow from it.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::queue::BATCH;

/// The most batch calls of one kind at the same time. Each needs a connection of its own.
const MOST_CALLS: usize = 128;

/// The slowest of the last few answers to batch calls.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    micros: AtomicU64,
}

impl Latency {
    /// A call was answered, or given up, after so long.
    pub(crate) fn observe(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let before = self.micros.load(Ordering::Relaxed);
        // It falls by a sixteenth with each answer that is sooner.
        self.micros.store(took.max(before.saturating_sub(before / 16)), Ordering::Relaxed);
    }

    /// How long a call may take that is made now; zero before the first was answered.
    pub(crate) fn slow(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }
}

/// How many calls at the same time are right for so many entries that wait: as many as there are batches among half of them,
/// so that each place is used twice, but not fewer than `least`.
pub(crate) fn calls_for(entries: usize, least: usize) -> usize {
    (entries.div_ceil(BATCH) / 2).clamp(least.min(MOST_CALLS), MOST_CALLS)
}

/// How many calls at the same time carry out so many entries within a time.
pub(crate) fn calls_within(entries: usize, slow: Duration, within: Duration, least: usize) -> usize {
    let batches = entries.div_ceil(BATCH);
    let needed = slow.as_secs_f64() * batches as f64 / within.as_secs_f64().max(0.001);
    (needed.ceil() as usize).clamp(least, MOST_CALLS.min(batches.max(least)))
}

/// How long so many entries take by so many calls at the same time.
pub(crate) fn time_for(entries: usize, calls: usize, slow: Duration) -> Duration {
    let rounds = entries.div_ceil(BATCH).div_ceil(calls.max(1));
    slow.saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_slowest_answer_counts_until_later_ones_outweigh_it() {
        let latency = Latency::default();
        assert_eq!(latency.slow(), Duration::ZERO);
        latency.observe(SECOND);
        latency.observe(SECOND / 100);
        assert!(latency.slow() > SECOND.mul_f64(0.9));
        for _ in 0..100 {
            latency.observe(SECOND / 100);
        }
        assert!(latency.slow() < SECOND / 50, "{:?}", latency.slow());
        latency.observe(Duration::MAX);
        assert!(latency.slow() > SECOND);
    }

    #[test]
    fn calls_follow_what_waits_and_how_slow_the_queue_is() {
        assert_eq!([0, 64, 400, 2_000, 10_000].map(|entries| calls_for(entries, 16)), [16, 16, 20, 100, 128]);
        assert_eq!([calls_for(0, 100), calls_for(10_000, 1_000)], [100, 128]);
        let within = |entries, slow| calls_within(entries, slow, 3 * SECOND, 4);
        assert_eq!([within(3_000, SECOND / 100), within(3_000, SECOND / 2)], [4, 50]);
        assert_eq!([within(100_000, SECOND), within(20, 100 * SECOND), within(0, SECOND)], [128, 4, 4]);
        assert_eq!(time_for(3_000, 50, SECOND / 2), 3 * SECOND);
    }
}
