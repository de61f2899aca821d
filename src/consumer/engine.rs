//! What the tasks of one run share: the parts of the engine, and what is known of the queue.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::budget::Budget;
use super::dedup::DedupCache;
use super::drain::Drain;
use super::facts::Facts;
use super::flow::Flow;
use super::groups::Groups;
use super::latency::Latency;
use super::lease::LeaseTable;
use super::observer::Observer;
use super::settings::Settings;
use super::settle::Settler;
use crate::queue::MessageId;
use crate::router::{Mark, Router};
use crate::telemetry::Telemetry;

/// What the tasks of one run share.
pub(crate) struct Engine {
    pub(super) router: Router,
    /// What is remembered of a success on each route.
    pub(super) marks: Vec<Mark>,
    pub(super) settings: Settings,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) budget: Arc<Budget>,
    pub(super) leases: Arc<LeaseTable>,
    pub(super) groups: Arc<Groups>,
    pub(super) flow: Arc<Flow>,
    pub(super) dedup: DedupCache,
    pub(super) settler: Settler,
    pub(super) drain: Drain,
    pub(super) latency: Arc<Latency>,
    pub(super) visibility: Duration,
    pub(super) facts: Facts,
    pub(super) random: Mutex<fastrand::Rng>,
    pub(super) observer: Option<Arc<dyn Observer>>,
}

impl Engine {
    /// A random number from 0 to 1.
    pub(super) fn jitter(&self) -> f64 {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).f64()
    }

    /// After how many receives a message goes to the dead-letter queue; None while that is not known.
    pub(super) fn max_receive_count(&self) -> Option<u32> {
        self.facts.read().and_then(|facts| facts.max_receive_count)
    }

    /// For how long the queue keeps a message; None while that is not known.
    pub(super) fn retention(&self) -> Option<Duration> {
        self.facts.read().and_then(|facts| facts.retention)
    }

    pub(super) fn fifo(&self) -> bool {
        self.facts.fifo()
    }

    /// The routes that are done with a message which came before.
    pub(super) fn done_before(&self, message: &MessageId) -> Vec<Mark> {
        let mut done = self.dedup.done(message);
        if let Some(observer) = &self.observer {
            done.extend(observer.done_before(message));
        }
        done
    }

    /// What becomes of a message that fails each time, as far as the queue's attributes tell.
    pub(super) fn fate(&self) -> &'static str {
        match self.facts.read().map(|facts| facts.max_receive_count) {
            Some(Some(_)) => "it is left for the dead-letter queue",
            Some(None) => "it stays in the queue, and comes again until the queue's retention ends",
            None => "it stays in the queue",
        }
    }
}
