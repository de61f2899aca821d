//! What became of every message that was seen.

use serde::{Serialize, Serializer};

use crate::queue::MessageId;
use crate::telemetry::DeadLetter;

/// What became of every message that was seen, each counted once however often it was received. It adds up:
/// seen = handled + failed + dropped + not_matched + left + lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Account {
    /// Messages that were received.
    pub seen: u64,
    /// Its handler succeeded, and it was deleted.
    pub handled: u64,
    /// Its handler was called and failed, or it could not come to one; it is in the queue.
    pub failed: u64,
    /// It was deleted without a handler, since it is in a file.
    pub dropped: u64,
    /// The filter, or the file, does not name it; it is in the queue.
    pub not_matched: u64,
    /// It matched and was not tried to the end: the limit was reached, its target was down, it stands behind another one of its
    /// group, or the run was told to stop. It is in the queue.
    pub left: u64,
    /// It is not known to be in the queue, nor to be deleted: its hold ran out, or its delete was not confirmed.
    pub lost: u64,
}

impl Account {
    /// Whether every message is accounted for. Anything else is a defect of this crate.
    pub fn adds_up(&self) -> bool {
        let Account { seen, handled, failed, dropped, not_matched, left, lost } = *self;
        seen == handled + failed + dropped + not_matched + left + lost
    }

    pub(super) fn count(&mut self, kind: OutcomeKind) {
        self.seen += 1;
        *match kind {
            OutcomeKind::Handled => &mut self.handled,
            OutcomeKind::Failed => &mut self.failed,
            OutcomeKind::Dropped => &mut self.dropped,
            OutcomeKind::NotMatched => &mut self.not_matched,
            OutcomeKind::Left => &mut self.left,
            OutcomeKind::Lost => &mut self.lost,
        } += 1;
    }
}

/// What became of one message: the fields of [`Account`], one each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum OutcomeKind {
    /// As [`Account::handled`].
    Handled,
    /// As [`Account::failed`].
    Failed,
    /// As [`Account::dropped`].
    Dropped,
    /// As [`Account::not_matched`].
    NotMatched,
    /// As [`Account::left`].
    Left,
    /// As [`Account::lost`].
    Lost,
}

impl OutcomeKind {
    /// The stable word for it.
    pub fn word(self) -> &'static str {
        match self {
            OutcomeKind::Handled => "handled",
            OutcomeKind::Failed => "failed",
            OutcomeKind::Dropped => "dropped",
            OutcomeKind::NotMatched => "not_matched",
            OutcomeKind::Left => "left",
            OutcomeKind::Lost => "lost",
        }
    }
}

impl Serialize for OutcomeKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

/// What became of one message. As JSON: `{"message_id":…,"outcome":…,"reason":…}`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Outcome {
    /// The message.
    #[serde(serialize_with = "id_as_text")]
    pub message_id: MessageId,
    /// What became of it.
    #[serde(rename = "outcome")]
    pub kind: OutcomeKind,
    /// Why; None where it was handled. There is no text of the message in it, as far as its handler keeps to that.
    pub reason: Option<String>,
    /// Of one that failed: why, to be kept where [`Records`](super::Records) are read from.
    #[serde(skip)]
    pub record: Option<Box<DeadLetter>>,
}

impl Outcome {
    pub(super) fn new(message_id: MessageId, kind: OutcomeKind, reason: Option<String>) -> Self {
        Outcome { message_id, kind, reason, record: None }
    }
}

pub(super) fn id_as_text<S: Serializer>(id: &MessageId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(id.as_str())
}
