//! How many, why, and until when: letters in groups.

use std::time::SystemTime;

use serde::Serialize;

use super::filter::Filter;
use super::letter::{Letter, time};
use super::opened::{DeadLetterError, DeadLetterQueue};
use super::scan::ScanEnd;
use crate::queue::Queue;

/// What is in a dead-letter queue, in groups; the largest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Listing {
    /// The name of the queue.
    pub queue: Option<String>,
    /// How many messages match the filter.
    pub messages: u64,
    /// When the oldest of them was first sent.
    #[serde(serialize_with = "time")]
    pub oldest_sent_at: Option<SystemTime>,
    /// When the queue gives up the first of them.
    #[serde(serialize_with = "time")]
    pub first_lost_at: Option<SystemTime>,
    /// Letters with the same reason, for the same route.
    pub groups: Vec<Group>,
    /// How the look ended: whether there may be more, how many were seen that do not match.
    #[serde(skip)]
    pub end: ScanEnd,
}

/// Letters with the same reason, for the same route. At the most 1,000 are told apart, and the rest stands in one without
/// a route, whose reason is `other`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Group {
    /// How many.
    pub count: u64,
    /// Why they are here; None where nobody knows.
    pub reason: Option<String>,
    /// The name of the route that takes them now.
    pub route: Option<String>,
    /// The types of their events, by name; at the most 20.
    pub types: Vec<String>,
    /// When the oldest was first sent.
    #[serde(serialize_with = "time")]
    pub oldest_sent_at: Option<SystemTime>,
    /// When the newest was.
    #[serde(serialize_with = "time")]
    pub newest_sent_at: Option<SystemTime>,
    /// The ids of the first ten that were seen.
    pub ids: Vec<String>,
}

impl<Q: Queue> DeadLetterQueue<Q> {
    /// Looks at every message and puts those that match into groups. `seen` is told each message that was looked at.
    ///
    /// # Errors
    ///
    /// As [`Scan::next`](super::Scan::next).
    pub async fn list(
        &self,
        filter: &Filter,
        stop: impl Future<Output = ()> + Send + 'static,
        seen: impl FnMut(&Letter),
    ) -> Result<Listing, DeadLetterError> {
        let _ = (filter, stop, seen);
        todo!()
    }
}
