//! The shutdown summary: what became of every delivery of a run.

use std::fmt;

use crate::queue::MessageId;
use crate::telemetry::Snapshot;

/// What became of every delivery of a run, as [`Consumer::run`](super::Consumer::run) returns it.
///
/// It counts deliveries, not messages, and it speaks for this run alone: that a message was dead-lettered, SQS tells
/// nobody. It adds up:
/// received = deleted + nacked + returned + interrupted + duplicates.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Summary {
    /// The counts of the whole run.
    pub counts: Snapshot,
    /// How many messages are still hidden by a retry delay, as far as this run knows.
    pub still_hidden: usize,
    /// The first few of them.
    pub still_hidden_ids: Vec<MessageId>,
    /// Why the run ended.
    pub ended: Ended,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// It was asked to, and everything here was finished or returned in time.
    Drained,
    /// It was asked to, and the grace ran out before everything here was finished: the rest was returned.
    GraceRanOut,
    /// The queue was empty, and the run was to go on until then.
    QueueEmpty,
    /// The run was to go on until the queue is empty, and nothing succeeded for 15 minutes: what was left was returned.
    TargetUnavailable,
}

impl Summary {
    /// Whether every delivery is accounted for. Anything else is a defect of the engine.
    pub fn adds_up(&self) -> bool {
        let c = &self.counts;
        c.received == c.deleted + c.nacked + c.returned + c.interrupted + c.duplicates
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = &self.counts;
        let ended = match self.ended {
            Ended::Drained => "drained",
            Ended::GraceRanOut => {
                "drained; the grace ran out before everything was finished, and the rest was returned"
            }
            Ended::QueueEmpty => "the queue is empty",
            Ended::TargetUnavailable => "nothing succeeded for 15 minutes, and what was left was returned",
        };
        writeln!(f, "shutdown summary ({ended})")?;
        writeln!(
            f,
            "  received {} = deleted {} + nacked {} + returned {} + interrupted {} + duplicates {}{}",
            c.received,
            c.deleted,
            c.nacked,
            c.returned,
            c.interrupted,
            c.duplicates,
            if self.adds_up() { "" } else { "  (does not add up: please report this)" },
        )?;
        write!(
            f,
            "  handled {}, unrouted {}, undecodable {}, handler errors {}, time limits {}, panics {}",
            c.handled, c.unrouted, c.undecodable, c.handler_errors, c.timeouts, c.panics
        )?;
        if c.repeats_deleted > 0 {
            write!(f, "\n  repeats of a success, deleted without a handler: {}", c.repeats_deleted)?;
        }
        if c.leases_lost > 0 {
            write!(f, "\n  leases lost: {}", c.leases_lost)?;
        }
        if c.polls_abandoned > 0 {
            write!(
                f,
                "\n  polls abandoned: {} (what SQS may have handed out comes back after the visibility timeout)",
                c.polls_abandoned
            )?;
        }
        if self.still_hidden > 0 {
            write!(f, "\n  still in the queue, hidden by a retry delay: {}", self.still_hidden)?;
            for id in &self.still_hidden_ids {
                write!(f, "\n    {id}")?;
            }
            if self.still_hidden > self.still_hidden_ids.len() {
                write!(f, "\n    and {} more", self.still_hidden - self.still_hidden_ids.len())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::telemetry::{Limits, Monitor, Telemetry};

    /// The summary of a run in which nothing happened.
    fn summary() -> Summary {
        let limits = Limits { concurrency: 1, max_in_flight_bytes: 1, wait: Duration::ZERO };
        let telemetry = Arc::new(Telemetry::new(limits, Vec::new()));
        let counts = Monitor::new(telemetry).snapshot();
        Summary { counts, still_hidden: 0, still_hidden_ids: Vec::new(), ended: Ended::Drained }
    }

    #[tokio::test(start_paused = true)]
    async fn the_summary_says_when_a_delivery_is_unaccounted_for() {
        let mut summary = summary();
        let c = &mut summary.counts;
        (c.received, c.deleted, c.nacked, c.returned, c.interrupted, c.duplicates) = (31, 1, 2, 4, 8, 16);
        assert!(summary.adds_up());
        let sums = "received 31 = deleted 1 + nacked 2 + returned 4 + interrupted 8 + duplicates 16\n";
        assert!(summary.to_string().contains(sums), "{summary}");
        summary.counts.received += 1;
        assert!(!summary.adds_up() && summary.to_string().contains("does not add up"), "{summary}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_did_not_happen_is_not_mentioned_and_what_did_is() {
        let mut summary = summary();
        assert_eq!(summary.to_string().lines().count(), 3, "{summary}");
        summary.counts.repeats_deleted = 1;
        summary.counts.leases_lost = 1;
        summary.counts.polls_abandoned = 1;
        summary.still_hidden = 2;
        summary.still_hidden_ids = vec!["a".into(), "b".into()];
        let text = summary.to_string();
        let lines: Vec<&str> = text.lines().skip(3).collect();
        let begins = [
            "  repeats of a success",
            "  leases lost: 1",
            "  polls abandoned: 1",
            "  still in the queue",
            "    a",
            "    b",
        ];
        assert_eq!(lines.len(), begins.len(), "{text}");
        assert!(lines.iter().zip(begins).all(|(line, begin)| line.starts_with(begin)), "{text}");
        summary.still_hidden = 5;
        assert!(summary.to_string().ends_with("    and 3 more"), "{summary}");
    }
}
