//! The last hour in steps of ten seconds: what a plot is drawn from, and how fast this daemon is when it has enough to do.

use std::collections::VecDeque;
use std::time::Duration;

/// The time between two samples.
pub const SAMPLE_EVERY: Duration = Duration::from_secs(10);

/// How many samples are kept: an hour of them.
pub const SAMPLES_KEPT: usize = 360;

/// Of how many busy samples the speed is taken: the last busy minute.
const BUSY_SAMPLES: usize = 6;

/// What happened between one sample and the one before it, and what was the case at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Sample {
    /// How long it covers, in seconds.
    pub seconds: f64,
    /// Deliveries received.
    pub received: u64,
    /// Deliveries whose message was deleted.
    pub deleted: u64,
    /// Failures of messages, each of which is among [`Monitor::failures`](super::Monitor::failures) for a while.
    pub failed: u64,
    /// The longest time in seconds that a message had been in the queue when it arrived.
    pub oldest: f64,
    /// Deliveries held at its end.
    pub at_work: u64,
    /// Whether the target of a route was down at its end.
    pub target_down: bool,
    /// Whether it began and ended with more to do than could be done at the same time.
    pub busy: bool,
}

/// Counts at the time of a sample, to be subtracted from those of the next one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) received: u64,
    pub(super) deleted: u64,
    pub(super) failed: u64,
    pub(super) full: bool,
}

#[derive(Debug, Default)]
pub(super) struct History {
    samples: VecDeque<Sample>,
    before: Counts,
}

impl History {
    pub(super) fn add(&mut self, counts: Counts, sample: Sample) {
        let before = std::mem::replace(&mut self.before, counts);
        if self.samples.len() >= SAMPLES_KEPT {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample {
            received: counts.received.saturating_sub(before.received),
            deleted: counts.deleted.saturating_sub(before.deleted),
            failed: counts.failed.saturating_sub(before.failed),
            busy: before.full && counts.full,
            ..sample
        });
    }

    /// The oldest first.
    pub(super) fn list(&self) -> Vec<Sample> {
        self.samples.iter().copied().collect()
    }

    /// How many failures there were within this time at least, of which there were so many in all by now.
    pub(super) fn failed_within(&self, time: Duration, counted: u64) -> u64 {
        let mut covered = 0.0;
        let within = self.samples.iter().rev().take_while(|sample| {
            let begins_later = covered < time.as_secs_f64();
            covered += sample.seconds;
            begins_later
        });
        within.map(|sample| sample.failed).sum::<u64>() + counted.saturating_sub(self.before.failed)
    }

    /// Messages a second in the last busy minute of the hour; None when there was none, since what an idle daemon
    /// could do is not known.
    pub(super) fn busy_rate(&self) -> Option<f64> {
        let busy = self.samples.iter().rev().filter(|sample| sample.busy && sample.deleted > 0).take(BUSY_SAMPLES);
        let (deleted, seconds) =
            busy.fold((0, 0.0), |(deleted, seconds), sample| (deleted + sample.deleted, seconds + sample.seconds));
        (seconds > 0.0).then(|| deleted as f64 / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(history: &mut History, deleted: u64, full: bool) {
        let counts = Counts { deleted: history.before.deleted + deleted, full, ..Counts::default() };
        history.add(counts, Sample { seconds: 10.0, ..Sample::default() });
    }

    #[test]
    fn an_hour_is_kept() {
        let mut history = History::default();
        for n in 0..500 {
            add(&mut history, n, false);
        }
        let samples = history.list();
        assert_eq!(samples.len(), SAMPLES_KEPT);
        assert_eq!((samples[0].deleted, samples[359].deleted), (140, 499));
    }

    #[test]
    fn the_speed_is_that_of_the_busy_samples_alone() {
        let mut history = History::default();
        add(&mut history, 5, false);
        assert_eq!(history.busy_rate(), None, "what an idle daemon could do is not known");
        add(&mut history, 90, true);
        assert_eq!(history.busy_rate(), None, "it was not busy from the beginning");
        add(&mut history, 1_000, true);
        add(&mut history, 3_000, true);
        add(&mut history, 7, false);
        assert_eq!(history.busy_rate(), Some(200.0));
    }
}
