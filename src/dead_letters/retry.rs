//! Handles letters in place: the engine, on the dead-letter queue itself.

use std::io;
use std::time::SystemTime;

use super::account::{Account, Outcome};
use super::filter::Filter;
use super::opened::{DeadLetterError, DeadLetterQueue};
use super::scan::{Found, Scan};
use crate::consumer::Settings;
use crate::queue::{MessageId, Queue};
use crate::router::Router;

/// How letters are handled.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RetrySettings {
    /// The settings of the engine: slots, bytes, limits, grace. What a retry decides itself is not heeded: `wait`,
    /// `visibility`, `until_empty`, `unrouted`, `fifo_attempts` and `journal`.
    pub engine: Settings,
    /// How many letters that match are handled, at the most. Default: all.
    pub limit: Option<u64>,
    /// How many letters a second are given to handlers, at the most; more than 0. Default: as fast as the targets take them.
    pub rate: Option<f64>,
}

impl RetrySettings {
    /// These settings of the engine, without limits.
    pub fn new(engine: Settings) -> Self {
        RetrySettings { engine, limit: None, rate: None }
    }

    /// The same with another [`RetrySettings::limit`].
    pub fn with_limit(mut self, limit: Option<u64>) -> Self {
        self.limit = limit;
        self
    }

    /// The same with another [`RetrySettings::rate`].
    pub fn with_rate(mut self, per_second: Option<f64>) -> Self {
        self.rate = per_second;
        self
    }
}

/// What a retry did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetrySummary {
    /// What became of the messages that were seen.
    pub account: Account,
    /// Why it ended.
    pub ended: RetryEnded,
    /// Whether there may be more in the queue that matches.
    pub at_least: bool,
    /// How many messages could not be made visible: they come back when the hold of [`HOLD`](super::HOLD) runs out.
    pub not_returned: u64,
}

/// Why a retry ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetryEnded {
    /// Everything that could be seen was handled, failed, or did not match.
    Done,
    /// As many were handled as were asked for.
    LimitReached,
    /// Nothing succeeded for 5 minutes, and a target is down.
    TargetDown,
    /// It was told to stop.
    Stopped,
    /// As many messages are held as may be, or the queue says that too many are in flight.
    TooManyInFlight,
}

impl<Q: Queue> DeadLetterQueue<Q> {
    /// Sends every letter that matches to its handler, in place, and deletes those that succeeded.
    ///
    /// Each is called once, save that one whose target is busy or down is tried again here, as everywhere; when nothing has
    /// succeeded for 5 minutes, the run ends with what is left. One that fails stays, and so does an event that no route
    /// takes, whatever [`Settings::unrouted`] says. `done` is told what became of each message as soon as that is certain:
    /// of those that did not match or are left, at the end.
    ///
    /// On a FIFO queue each group is worked on in order, and stops at the first message that was not handled: at one that
    /// failed, and also at one that does not match. SQS shows nothing behind it beyond the ten of one receive, so to skip it
    /// would hold or break the order by chance. What is in the way can be exported and dropped.
    ///
    /// # Errors
    ///
    /// As [`Scan::next`](super::Scan::next), and [`DeadLetterError::Run`] when the settings of the engine do not fit together.
    pub async fn retry(
        &self,
        filter: Filter,
        settings: RetrySettings,
        stop: impl Future<Output = ()> + Send + 'static,
        done: impl FnMut(&Outcome),
    ) -> Result<RetrySummary, DeadLetterError> {
        let _ = (filter, settings, stop, done);
        todo!()
    }
}

impl<Q: Queue> Scan<Q> {
    /// Sends an event to its route in the place of one that was found, which is deleted when the handler succeeded: for one
    /// that was edited. Its id, its times and its group stay.
    ///
    /// # Errors
    ///
    /// [`DeadLetterError::Run`] when the settings do not fit together.
    pub async fn handle(
        &mut self,
        found: &Found,
        json: String,
        settings: &RetrySettings,
    ) -> Result<Outcome, DeadLetterError> {
        let _ = (found, json, settings);
        todo!()
    }
}

/// A message that comes from a file: of an export, or of an archive.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Replayed {
    /// What its handler is told as its id.
    pub message_id: MessageId,
    /// Its body, in any form that is decoded.
    pub body: String,
    /// When it was first sent.
    pub sent_at: Option<SystemTime>,
}

impl Replayed {
    /// A message whose time is not known.
    pub fn new(message_id: impl Into<MessageId>, body: String) -> Self {
        Replayed { message_id: message_id.into(), body, sent_at: None }
    }

    /// The same, first sent at this time.
    pub fn with_sent_at(mut self, sent_at: Option<SystemTime>) -> Self {
        self.sent_at = sent_at;
        self
    }
}

/// Sends messages that are in no queue to their handlers, in order, each once. `done` is told what became of each.
///
/// What is left when it ends was not tried to the end: a limit, a target that is down, or `stop`.
///
/// # Errors
///
/// [`ReplayError`]: the messages cannot be read on, or the settings do not fit together.
pub async fn replay(
    messages: impl Iterator<Item = io::Result<Replayed>> + Send,
    router: Router,
    settings: RetrySettings,
    stop: impl Future<Output = ()> + Send + 'static,
    done: impl FnMut(&Outcome),
) -> Result<RetrySummary, ReplayError> {
    let _ = (messages, router, settings, stop, done);
    todo!()
}

/// Why a replay ended before its time.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// A message could not be read.
    #[error("cannot read the next message")]
    Read(#[source] io::Error),
    /// The engine did not start.
    #[error(transparent)]
    Run(#[from] crate::consumer::RunError),
}
