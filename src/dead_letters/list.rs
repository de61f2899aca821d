//! How many, why, and until when: letters in groups.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde::Serialize;

use super::filter::Filter;
use super::letter::{Letter, time};
use super::opened::{DeadLetterError, DeadLetterQueue};
use super::scan::ScanEnd;
use crate::queue::Queue;

/// How many groups are told apart.
const MOST_GROUPS: usize = 1_000;

/// The reason of the group that the rest stands in.
const OTHER: &str = "other";

/// How many types of events of a group are named.
const MOST_TYPES: usize = 20;

/// How many ids of a group are named.
const IDS: usize = 10;

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
        mut seen: impl FnMut(&Letter),
    ) -> Result<Listing, DeadLetterError> {
        let mut scan = self.scan(stop);
        let mut groups = Groups::default();
        let looked = loop {
            match scan.next().await {
                Ok(Some(found)) => {
                    seen(&found.letter);
                    if filter.matches(&found.letter) {
                        groups.add(found.letter);
                    }
                }
                Ok(None) => break Ok(()),
                Err(failure) => break Err(failure),
            }
        };
        let end = scan.end().await;
        looked.map(|()| groups.listing(self.facts.name.clone(), end))
    }
}

/// The groups as they grow.
#[derive(Debug, Default)]
struct Groups {
    messages: u64,
    oldest_sent_at: Option<SystemTime>,
    first_lost_at: Option<SystemTime>,
    groups: BTreeMap<(Option<String>, Option<String>), Growing>,
}

#[derive(Debug, Default)]
struct Growing {
    count: u64,
    types: BTreeSet<String>,
    oldest_sent_at: Option<SystemTime>,
    newest_sent_at: Option<SystemTime>,
    ids: Vec<String>,
}

impl Groups {
    fn add(&mut self, letter: Letter) {
        let Letter { message_id, sent_at, event_type, route, reason, lost_at, .. } = letter;
        self.messages += 1;
        self.oldest_sent_at = earlier(self.oldest_sent_at, sent_at);
        self.first_lost_at = earlier(self.first_lost_at, lost_at);
        let mut key = (reason.map(|reason| reason.to_string()), route);
        if self.groups.len() >= MOST_GROUPS && !self.groups.contains_key(&key) {
            key = (Some(OTHER.to_owned()), None);
        }
        let group = self.groups.entry(key).or_default();
        group.count += 1;
        group.oldest_sent_at = earlier(group.oldest_sent_at, sent_at);
        group.newest_sent_at = group.newest_sent_at.max(sent_at);
        if group.ids.len() < IDS {
            group.ids.push(message_id.as_str().to_owned());
        }
        if group.types.len() < MOST_TYPES {
            group.types.extend(event_type);
        }
    }

    fn listing(self, queue: Option<String>, end: ScanEnd) -> Listing {
        let Groups { messages, oldest_sent_at, first_lost_at, groups } = self;
        let group = |((reason, route), group): (_, Growing)| {
            let Growing { count, types, oldest_sent_at, newest_sent_at, ids } = group;
            let types = types.into_iter().collect();
            Group { count, reason, route, types, oldest_sent_at, newest_sent_at, ids }
        };
        let mut groups: Vec<Group> = groups.into_iter().map(group).collect();
        // Groups of one size stay in the order of their reasons.
        groups.sort_by_key(|group| std::cmp::Reverse(group.count));
        Listing { queue, messages, oldest_sent_at, first_lost_at, groups, end }
    }
}

/// The earlier one of two times that may not be known.
fn earlier(one: Option<SystemTime>, other: Option<SystemTime>) -> Option<SystemTime> {
    one.into_iter().chain(other).min()
}
