//! What is known of the queue: what its URL says, and its attributes once they were read.

use std::sync::OnceLock;
use std::time::Duration;

use crate::queue::QueueFacts;
use crate::telemetry::QueueSeen;

/// What is known of the queue now.
#[derive(Debug)]
pub(super) struct Facts {
    /// Without asking.
    known: QueueFacts,
    read: OnceLock<QueueFacts>,
}

impl Facts {
    pub(super) fn new(known: QueueFacts) -> Self {
        Facts { known, read: OnceLock::new() }
    }

    /// Takes in what was read, once.
    pub(super) fn learn(&self, read: QueueFacts) {
        let _ = self.read.set(read);
    }

    /// What was read; None while nothing was.
    pub(super) fn read(&self) -> Option<&QueueFacts> {
        self.read.get()
    }

    /// Whether order within a group is kept.
    pub(super) fn fifo(&self) -> bool {
        let known = self.known.fifo && !mutant!("no-order-without-attributes");
        known || self.read.get().is_some_and(|read| read.fifo)
    }

    /// What is to be shown of it.
    pub(super) fn seen(&self, visibility: Duration) -> QueueSeen {
        let best = self.read.get().unwrap_or(&self.known);
        QueueSeen {
            name: best.name.clone().or_else(|| self.known.name.clone()),
            fifo: self.fifo(),
            visibility,
            max_receive_count: best.max_receive_count,
            dead_letter_queue: best.dead_letter_queue.clone(),
        }
    }
}
