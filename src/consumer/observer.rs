//! What became of each delivery, for one who started a run to know that of every message.

use std::sync::Arc;

use crate::queue::MessageId;
use crate::router::Mark;
use crate::telemetry::{FailedLastReceive, Telemetry};

/// How a delivery ended, for its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Became {
    /// It was handled and deleted, which the queue confirmed.
    Deleted,
    /// It was handled, and its delete was not confirmed.
    DeleteUnconfirmed,
    /// It could not be decoded, no route takes it, or its handler failed.
    Failed,
    /// It was returned: a shutdown, another message of its group, or it was held for as long as can be.
    Returned,
    /// Its lease was lost before its handler succeeded.
    LeaseLost,
}

/// How one delivery ended.
#[derive(Debug)]
pub(crate) struct Settled<'a> {
    pub(crate) message_id: &'a MessageId,
    pub(crate) became: Became,
    /// What went wrong, and all else that is known of it.
    pub(crate) failed: FailedLastReceive<'a>,
}

/// Who is told how each delivery ended: the engine calls it once for each, when nothing more is asked of the queue for it.
pub(crate) trait Observer: Send + Sync + 'static {
    /// It must not block.
    fn settled(&self, settled: Settled<'_>);

    /// The routes that were done with a message before it came here.
    fn done_before(&self, message_id: &MessageId) -> Vec<Mark>;
}

/// All who are told of a run.
pub(super) struct Watchers {
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) observer: Option<Arc<dyn Observer>>,
}
