//! Receives of a FIFO queue that SQS can be asked to repeat: one of which no answer came holds messages that nobody has, and
//! their groups stand until they are visible again.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::queue::interface::QueueError;

/// For how long SQS answers a repeated `ReceiveRequestAttemptId` with the same messages.
///
/// Source: `ReceiveRequestAttemptId` of `ReceiveMessage`, five minutes.
const ATTEMPT_ID_GOOD_FOR: Duration = Duration::from_secs(300);

/// How many lost receives of a FIFO queue are remembered: more than that, and the queue has been away altogether.
const LOST_ATTEMPTS: usize = 64;

/// A receive of a FIFO queue of which no answer came. Its messages block their groups until they are visible again,
/// unless a further receive with the same id brings them.
#[derive(Debug)]
pub(super) struct LostAttempt {
    id: String,
    since: Instant,
}

/// One receive of a FIFO queue, by the id under which SQS repeats its answer. Dropped without an end (the engine gave it
/// up), it is lost as well.
pub(super) struct Attempt<'a> {
    pub(super) id: String,
    lost: &'a Mutex<Vec<LostAttempt>>,
    answered: bool,
}

impl<'a> Attempt<'a> {
    /// Takes up the oldest receive that was lost and can still be repeated, or begins a new one.
    #[allow(
        clippy::disallowed_methods,
        reason = "an id that nobody else has, not a draw that a simulation must repeat"
    )]
    pub(super) fn begin(lost: &'a Mutex<Vec<LostAttempt>>) -> Self {
        let mut known = lost.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|attempt| attempt.since.elapsed() < ATTEMPT_ID_GOOD_FOR);
        let id = if known.is_empty() { format!("{:032x}", fastrand::u128(..)) } else { known.remove(0).id };
        Attempt { id, lost, answered: false }
    }

    pub(super) fn end<T>(mut self, answer: &Result<T, QueueError>) {
        use QueueError::{BadAnswer, TimedOut, Unreachable};
        self.answered = !matches!(answer, Err(Unreachable { .. } | TimedOut { .. } | BadAnswer { .. }));
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.answered {
            let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
            if lost.len() < LOST_ATTEMPTS {
                lost.push(LostAttempt { id: std::mem::take(&mut self.id), since: Instant::now() });
            }
        }
    }
}
