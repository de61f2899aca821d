//! What failed on its last receive in this process, alike ones together, with ids to look for in the dead-letter queue.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::dead_letter::DeadLetter;
use super::seconds;

/// How many groups are remembered.
const REMEMBERED: usize = 30;

/// How many ids of each group are.
const IDS: usize = 10;

/// Messages that failed in the same way on their last receive, in this process.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct DeadLetterGroup {
    /// How many there were.
    pub count: u64,
    /// The stable word for what happened: see [`DeadLetter::outcome`].
    pub outcome: String,
    /// What went wrong, without the message's text.
    pub error: String,
    /// The type of their events; None where none was decoded.
    #[serde(rename = "type")]
    pub event_type: Option<String>,
    /// The name of the route; None where they came to none.
    pub route: Option<String>,
    /// The ids of the last ten, the latest first.
    pub message_ids: Vec<String>,
    /// How long ago the last one was.
    #[serde(rename = "age_seconds", serialize_with = "seconds::of")]
    pub age: Duration,
}

impl DeadLetterGroup {
    fn is_of(&self, record: &DeadLetter) -> bool {
        self.outcome == record.outcome
            && self.error == record.error
            && self.event_type == record.r#type
            && self.route == record.route
    }
}

#[derive(Debug, Default)]
pub(super) struct DeadLettered {
    /// The latest last.
    groups: VecDeque<(Instant, DeadLetterGroup)>,
}

impl DeadLettered {
    pub(super) fn add(&mut self, record: &DeadLetter) {
        let known = self.groups.iter().position(|(_, group)| group.is_of(record)).and_then(|at| self.groups.remove(at));
        let mut group = known.map(|(_, group)| group).unwrap_or_else(|| DeadLetterGroup {
            count: 0,
            outcome: record.outcome.clone(),
            error: record.error.clone(),
            event_type: record.r#type.clone(),
            route: record.route.clone(),
            message_ids: Vec::new(),
            age: Duration::ZERO,
        });
        group.count += 1;
        group.message_ids.insert(0, record.message_id.clone());
        group.message_ids.truncate(IDS);
        if self.groups.len() >= REMEMBERED {
            self.groups.pop_front();
        }
        self.groups.push_back((Instant::now(), group));
    }

    /// The latest first.
    pub(super) fn list(&self) -> Vec<DeadLetterGroup> {
        let aged = |(at, group): &(Instant, DeadLetterGroup)| DeadLetterGroup { age: at.elapsed(), ..group.clone() };
        self.groups.iter().rev().map(aged).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::super::dead_letter::FailedLastReceive;
    use super::*;

    fn record(error: &str, message_id: &str) -> DeadLetter {
        DeadLetter::new(FailedLastReceive {
            at: UNIX_EPOCH,
            message_id,
            receive_count: 3,
            event_type: Some("message.new".to_owned()),
            cid: None,
            route: None,
            routes_done: None,
            outcome: "rejected",
            error,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_failed_alike_are_one_group_with_the_last_ids() {
        let mut seen = DeadLettered::default();
        for n in 0..12 {
            seen.add(&record("422", &format!("m{n}")));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        seen.add(&record("410", "other"));
        let groups = seen.list();
        let told: Vec<_> = groups.iter().map(|group| (&*group.error, group.count, group.age.as_secs())).collect();
        assert_eq!(told, [("410", 1, 0), ("422", 12, 1)]);
        assert_eq!(groups[1].message_ids.len(), IDS);
        assert_eq!(groups[1].message_ids[0], "m11");
    }

    #[tokio::test(start_paused = true)]
    async fn the_memory_is_bounded_and_the_oldest_group_is_forgotten() {
        let mut seen = DeadLettered::default();
        for n in 0..100 {
            seen.add(&record(&n.to_string(), "m"));
        }
        let groups = seen.list();
        assert_eq!((groups.len(), &*groups[0].error), (REMEMBERED, "99"));
    }
}
