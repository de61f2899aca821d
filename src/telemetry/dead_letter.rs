//! Why a message goes to the dead-letter queue: one record for each last receive that failed.
//!
//! SQS moves a message without a word, and the dead-letter queue keeps body and id but no reason. So the reason is written
//! down here, at the last receive, and joined with the message by its id later.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::text::{ERROR_SHOWN, cut};

/// The target of the tracing events that are made of [`DeadLetter`]s, at the level WARN. The fields of each are those of the
/// record, and what is None is left out.
pub const DEAD_LETTERS: &str = "stream_sqsd::dead_letters";

/// Why one message was not handled on its last receive, after which SQS moves it to the dead-letter queue.
///
/// Each delivery has one that is on its last receive, as far as the queue's `maxReceiveCount` may be read, and whose message
/// was not deleted. As JSON, without what is None, it is one line of the file of reasons, and a part of a line of a JSON log,
/// which has further keys: it is read from either. There is no text of a message in it. Lost with the process are those of messages that were
/// at work when it was killed.
///
/// ```
/// # use stream_sqsd::telemetry::DeadLetter;
/// let line = r#"{"time":"2026-11-21T03:12:45.003Z","message_id":"5fea7756-0ea4-451a-a703-a558b933e274","receive_count":5,
///     "type":"message.new","cid":"messaging:42","route":"message.*","outcome":"rejected",
///     "error":"the endpoint answered 422 Unprocessable Entity","version":"0.1.0"}"#;
/// let record: DeadLetter = serde_json::from_str(line).unwrap();
/// assert_eq!((&*record.outcome, record.receive_count), ("rejected", 5));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeadLetter {
    /// When it failed: RFC 3339 in UTC, with milliseconds.
    pub time: String,
    /// The id that SQS gave to the message. It stays the same in the dead-letter queue.
    pub message_id: String,
    /// How often the message was received, this time included.
    pub receive_count: u32,
    /// The type of the event, with control characters escaped, cut to 120 bytes; None where none was decoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
    /// The channel that the event names, in the same way; None where it names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cid: Option<String>,
    /// The name of the route, as in the metrics; None where it came to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Of an event with several routes those that are done with it, each with a digest of its name and its target:
    /// `archive@0123456789abcdef, search@…`. None where none is. A retry of the dead letter does not call them again, as long as
    /// they lead to the same targets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes_done: Option<String>,
    /// A stable word for what happened: how the last call of the handler ended, as in `stream_sqsd_handler_calls_total`; why
    /// the body could not be decoded, as in `stream_sqsd_undecodable_total`; or `unrouted`, `returned` (a shutdown, or
    /// its target was down for longer than SQS lets a message be held), `lease lost`, `delete unconfirmed`.
    pub outcome: String,
    /// What went wrong, cut to 300 bytes. Never what the message said, as far as its handler keeps to that.
    pub error: String,
    /// The version of the daemon, or of this library.
    pub version: String,
}

/// What keeps [`DeadLetter`]s, beside the log: see [`Monitor::keep_dead_letters`](super::Monitor::keep_dead_letters).
pub trait DeadLetterKeeper: Send + Sync + 'static {
    /// Takes a record. It is called by the engine in the middle of its work, so it must not block: anyone who writes to a disk
    /// does so on a thread of its own.
    fn keep(&self, record: &DeadLetter);

    /// How many records could not be kept so far.
    fn dropped(&self) -> u64;
}

/// What is known of a message that failed on its last receive, as it is handed in.
#[derive(Debug)]
pub(crate) struct FailedLastReceive<'a> {
    pub(crate) at: SystemTime,
    pub(crate) message_id: &'a str,
    pub(crate) receive_count: u32,
    /// This and the next are fit for a log.
    pub(crate) event_type: Option<String>,
    pub(crate) cid: Option<String>,
    pub(crate) route: Option<&'a str>,
    pub(crate) routes_done: Option<String>,
    pub(crate) outcome: &'a str,
    pub(crate) error: &'a str,
}

impl DeadLetter {
    pub(crate) fn new(failed: FailedLastReceive<'_>) -> Self {
        let since_1970 = failed.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let milliseconds = i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX);
        // Times that have no name are those of a clock that is far off.
        let time = Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::UNIX_EPOCH);
        DeadLetter {
            time: format!("{time:.3}"),
            message_id: failed.message_id.to_owned(),
            receive_count: failed.receive_count,
            r#type: failed.event_type,
            cid: failed.cid,
            route: failed.route.map(str::to_owned),
            routes_done: failed.routes_done,
            outcome: failed.outcome.to_owned(),
            error: cut(failed.error, ERROR_SHOWN).to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Writes it to the log, outside of every span: it says for itself what it is about.
    pub(super) fn log(&self) {
        tracing::warn!(
            target: DEAD_LETTERS,
            parent: None,
            time = self.time,
            message_id = self.message_id,
            receive_count = self.receive_count,
            r#type = self.r#type,
            cid = self.cid,
            route = self.route,
            routes_done = self.routes_done,
            outcome = self.outcome,
            error = self.error,
            version = self.version,
            "failed on its last receive: SQS moves it to the dead-letter queue"
        );
    }
}

/// Who keeps the records, if anybody does.
#[derive(Default)]
pub(super) struct Keeper(std::sync::OnceLock<Box<dyn DeadLetterKeeper>>);

impl Keeper {
    /// The first one stays.
    pub(super) fn set(&self, keeper: impl DeadLetterKeeper) {
        // A second one has nowhere to go.
        let _ = self.0.set(Box::new(keeper));
    }

    pub(super) fn keep(&self, record: &DeadLetter) {
        if let Some(keeper) = self.0.get() {
            keeper.keep(record);
        }
    }

    pub(super) fn dropped(&self) -> Option<u64> {
        self.0.get().map(|keeper| keeper.dropped())
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Keeper").field(&self.0.get().is_some()).finish()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use std::time::Duration;

    use super::*;

    fn record() -> DeadLetter {
        DeadLetter::new(FailedLastReceive {
            at: UNIX_EPOCH + Duration::from_millis(1_795_230_765_003),
            message_id: "m1",
            receive_count: 3,
            event_type: Some("message.new".to_owned()),
            cid: None,
            route: Some("message.*"),
            routes_done: Some("archive@0123456789abcdef".to_owned()),
            outcome: "retry",
            error: &"ä".repeat(400),
        })
    }

    #[test]
    fn a_record_is_read_from_a_file_and_from_a_log() {
        let record = record();
        assert_eq!((&*record.time, record.error.len()), ("2026-11-21T03:12:45.003Z", 300));
        let line = serde_json::to_string(&record).unwrap();
        assert!(!line.contains("cid"), "{line}");
        assert_eq!(serde_json::from_str::<DeadLetter>(&line).unwrap(), record);
        // A log adds what is its own.
        let mut logged: serde_json::Value = serde_json::from_str(&line).unwrap();
        let fields = logged.as_object_mut().unwrap();
        fields.insert("level".to_owned(), "WARN".into());
        assert_eq!(serde_json::from_value::<DeadLetter>(logged).unwrap(), record);
    }
}
