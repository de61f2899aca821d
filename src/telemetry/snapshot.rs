//! What those who watch are given: plain values of one moment, which nothing changes any more.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::flow::TargetFlow;
use super::now::Phase;

/// The counts of a run and its state, at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// Where the run stands.
    pub phase: Phase,
    /// Deliveries received.
    pub received: u64,
    /// Deliveries of messages that had been received before.
    pub redelivered: u64,
    /// Deliveries on the last receive before the dead-letter queue, where the redrive policy is known.
    pub last_receives: u64,
    /// Those of them whose message was not deleted: SQS moves it to the dead-letter queue. Each has a
    /// [`DeadLetter`](super::DeadLetter), which says why.
    pub last_receives_failed: u64,
    /// Deliveries whose message was deleted, confirmed by the queue.
    pub deleted: u64,
    /// Deliveries left in the queue, to be received again after a delay or dead-lettered.
    pub nacked: u64,
    /// Deliveries returned at once, unworked or not finished, such as at shutdown.
    pub returned: u64,
    /// Deliveries whose lease was lost or whose delete was not confirmed.
    pub interrupted: u64,
    /// Deliveries that joined one of the same message already at work.
    pub duplicates: u64,
    /// Calls of handlers that succeeded.
    pub handled: u64,
    /// Events that no route took.
    pub unrouted: u64,
    /// Deliveries of messages that had been handled before, deleted without calling a handler again.
    pub repeats_deleted: u64,
    /// Bodies that could not be decoded, and events that did not fit the type of their handler.
    pub undecodable: u64,
    /// Calls of handlers that returned an error.
    pub handler_errors: u64,
    /// Calls of handlers that panicked.
    pub panics: u64,
    /// Calls of handlers that ran out of time.
    pub timeouts: u64,
    /// Leases lost while the message was held.
    pub leases_lost: u64,
    /// Receives issued.
    pub polls: u64,
    /// Receives that brought nothing.
    pub polls_empty: u64,
    /// Receives that ended in an error.
    pub polls_failed: u64,
    /// Receives given up because no answer came in time.
    pub polls_abandoned: u64,
    /// Batch deletes issued.
    pub delete_calls: u64,
    /// Batch changes of visibility issued: renewals, retry delays and releases.
    pub change_visibility_calls: u64,
    /// Reads of the attributes of the queue and of its dead-letter queue.
    pub attributes_calls: u64,
    /// How often the connections were given up and opened again.
    pub reconnects: u64,
    /// Deliveries held now, with and without a slot.
    pub at_work: usize,
    /// The slots: how many deliveries may be worked on at the same time. Those whose target is busy or down are held
    /// beyond them while they wait to be called again.
    pub concurrency: usize,
    /// Slots that are neither taken by a delivery nor claimed by an open receive.
    pub slots_free: usize,
    /// Bytes held or reserved now.
    pub in_flight_bytes: usize,
    /// The most bytes that may be held.
    pub max_in_flight_bytes: usize,
    /// The routes whose target is down; [`Monitor::flows`](super::Monitor::flows) tells more.
    pub targets_down: Vec<Arc<str>>,
    /// Receives that wait for their answer.
    pub open_polls: usize,
    /// The age of the oldest of them.
    pub oldest_poll: Option<Duration>,
}

/// What is counted of one route, at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RouteSnapshot {
    /// Its name, which no other route of the consumer has.
    pub name: Arc<str>,
    /// Calls that succeeded.
    pub handled: u64,
    /// Calls that did not, by the stable word for how they ended; those that never happened are left out.
    pub failed: Vec<(&'static str, u64)>,
    /// How long a call takes on the average; None before the first.
    pub mean_call: Option<Duration>,
    /// The flow to its target.
    pub flow: TargetFlow,
}

/// What the engine found the queue to be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueSeen {
    /// Its name, where it may be known.
    pub name: Option<String>,
    /// Whether order within a message group is kept.
    pub fifo: bool,
    /// For how long the engine hides what it receives.
    pub visibility: Duration,
    /// After how many receives a message goes to the dead-letter queue; None where there is none or that is not known.
    pub max_receive_count: Option<u32>,
    /// The name or ARN of the dead-letter queue.
    pub dead_letter_queue: Option<String>,
}

/// A kind of request that fails at present: its last one did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trouble {
    /// What is asked of the queue.
    pub request: &'static str,
    /// The stable word for why the last one failed.
    pub error: &'static str,
    /// How many failed in a row.
    pub times: u64,
    /// How long ago the first of them did.
    pub since: Duration,
}

/// About how many messages wait, as the queue says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// How many could be received now; None where that may not be read.
    pub visible: Option<u64>,
    /// How many are hidden: in flight somewhere, or waiting out a retry delay.
    pub hidden: Option<u64>,
    /// How many are in the dead-letter queue; None where there is none or it may not be read.
    pub dead_letters: Option<u64>,
}

/// The depth of the queue, and when it was read.
#[derive(Clone, Copy, Debug)]
pub struct DepthReading {
    /// What was read.
    pub depth: Depth,
    /// When.
    pub at: Instant,
}

impl DepthReading {
    pub(super) fn unknown() -> Self {
        DepthReading { depth: Depth::default(), at: Instant::now() }
    }
}
