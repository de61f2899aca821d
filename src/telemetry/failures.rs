//! The last failures, alike ones together: what a person wants to see first.
//!
//! Here is what a failure was, never what the message said.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};
use tokio::time::Instant;

use super::seconds;
use super::text::{ERROR_SHOWN, cut, shown};

/// How many different failures are remembered.
const REMEMBERED: usize = 30;

/// One failure, as it is handed in.
#[derive(Debug)]
pub(crate) struct Failed<'a> {
    pub(crate) kind: &'static str,
    /// None where the body could not be decoded.
    pub(crate) event_type: Option<&'a str>,
    /// None where it came to no route.
    pub(crate) route: Option<&'a Arc<str>>,
    pub(crate) error: &'a str,
    pub(crate) message_id: &'a str,
    pub(crate) receive_count: u32,
}

/// Failures that are alike, of which only the last one is described.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct RecentFailure {
    /// A stable word for the kind of failure, as in the log and in the metrics.
    pub kind: &'static str,
    /// The type of the event; None where the body could not be decoded.
    #[serde(rename = "type")]
    pub event_type: Option<String>,
    /// The name of the route; None where it came to none.
    #[serde(serialize_with = "name")]
    pub route: Option<Arc<str>>,
    /// What went wrong, without the message's text, cut to 300 bytes.
    pub error: String,
    /// The message of the last one.
    pub message_id: String,
    /// How often that message had been received.
    pub receive_count: u32,
    /// How many there were.
    pub times: u64,
    /// How long ago the last one was.
    #[serde(rename = "age_seconds", serialize_with = "seconds::of")]
    pub age: Duration,
}

fn name<S: Serializer>(name: &Option<Arc<str>>, serializer: S) -> Result<S::Ok, S::Error> {
    name.as_deref().serialize(serializer)
}

#[derive(Debug, Default)]
pub(super) struct Failures {
    /// The latest last.
    recent: VecDeque<(Instant, RecentFailure)>,
    /// How many there were, those that are forgotten included.
    counted: u64,
}

impl Failures {
    pub(super) fn add(&mut self, failed: Failed<'_>) {
        self.counted += 1;
        let error = cut(failed.error, ERROR_SHOWN);
        let event_type = failed.event_type.map(|name| shown(name).to_owned());
        let alike = |(_, known): &(Instant, RecentFailure)| {
            known.kind == failed.kind
                && known.event_type == event_type
                && known.route.as_ref() == failed.route
                && known.error == error
        };
        let known = self.recent.iter().position(alike).and_then(|at| self.recent.remove(at));
        let times = known.map_or(0, |(_, known)| known.times) + 1;
        if self.recent.len() >= REMEMBERED {
            self.recent.pop_front();
        }
        let failure = RecentFailure {
            kind: failed.kind,
            route: failed.route.cloned(),
            error: error.to_owned(),
            message_id: failed.message_id.to_owned(),
            receive_count: failed.receive_count,
            event_type,
            times,
            age: Duration::ZERO,
        };
        self.recent.push_back((Instant::now(), failure));
    }

    /// How many there were.
    pub(super) fn counted(&self) -> u64 {
        self.counted
    }

    /// How long ago the latest was.
    pub(super) fn latest(&self) -> Option<Duration> {
        self.recent.back().map(|(at, _)| at.elapsed())
    }

    /// The latest first.
    pub(super) fn list(&self) -> Vec<RecentFailure> {
        let aged = |(at, failure): &(Instant, RecentFailure)| RecentFailure { age: at.elapsed(), ..failure.clone() };
        self.recent.iter().rev().map(aged).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed<'a>(error: &'a str, message_id: &'a str) -> Failed<'a> {
        Failed { kind: "retry", event_type: Some("message.new"), route: None, error, message_id, receive_count: 1 }
    }

    #[tokio::test(start_paused = true)]
    async fn failures_that_are_alike_are_one_with_the_last_message() {
        let mut failures = Failures::default();
        for (error, id) in [("full", "m1"), ("locked", "m2"), ("full", "m3")] {
            failures.add(failed(error, id));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let list = failures.list();
        let told: Vec<_> = list.iter().map(|f| (&*f.error, &*f.message_id, f.times, f.age.as_secs())).collect();
        assert_eq!(told, [("full", "m3", 2, 1), ("locked", "m2", 1, 2)]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_memory_is_bounded_in_number_and_in_text() {
        let mut failures = Failures::default();
        for n in 0..100 {
            failures.add(failed(&format!("{n} {}", "ä".repeat(ERROR_SHOWN)), "m"));
        }
        let list = failures.list();
        assert_eq!(list.len(), REMEMBERED);
        assert!(list[0].error.starts_with("99 "), "the oldest are forgotten first");
        assert!(list.iter().all(|failure| failure.error.len() <= ERROR_SHOWN));
    }
}
