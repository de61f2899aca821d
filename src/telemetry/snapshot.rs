//! What those who watch are given: plain values of one moment, which nothing changes any more.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::flow::TargetFlow;
use super::seconds;

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct QueueSeen {
    /// Its name, where it may be known.
    pub name: Option<String>,
    /// Whether order within a message group is kept.
    pub fifo: bool,
    /// For how long the engine hides what it receives.
    #[serde(rename = "visibility_seconds", serialize_with = "seconds::of")]
    pub visibility: Duration,
    /// After how many receives a message goes to the dead-letter queue; None where there is none or that is not known.
    pub max_receive_count: Option<u32>,
    /// The name or ARN of the dead-letter queue.
    pub dead_letter_queue: Option<String>,
}

/// A kind of request that fails at present: its last one did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Trouble {
    /// What is asked of the queue.
    pub request: &'static str,
    /// The stable word for why the last one failed.
    pub error: &'static str,
    /// How many failed in a row.
    pub times: u64,
    /// How long ago the first of them did.
    #[serde(rename = "for_seconds", serialize_with = "seconds::of")]
    pub since: Duration,
}

/// About how many messages wait, as the queue says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Depth {
    /// How many could be received now; None where that may not be read.
    pub visible: Option<u64>,
    /// How many are hidden: in flight somewhere, or waiting out a retry delay.
    pub hidden: Option<u64>,
    /// How many are in the dead-letter queue; None where there is none or it may not be read.
    pub dead_letters: Option<u64>,
}

/// The depth of the queue, and when it was read.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct DepthReading {
    /// What was read.
    #[serde(flatten)]
    pub depth: Depth,
    /// When.
    #[serde(rename = "age_seconds", serialize_with = "seconds::since")]
    pub at: Instant,
}

impl DepthReading {
    pub(super) fn unknown() -> Self {
        DepthReading { depth: Depth::default(), at: Instant::now() }
    }
}
