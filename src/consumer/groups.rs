//! FIFO queues: one at a time and in order within a message group, groups side by side.
//!
//! Each message that arrives with a group takes its place in the group's line before anything else happens to it, and
//! keeps it until it is settled. When a message is handed back undone, everything behind it follows, so that nothing
//! overtakes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The lines of all groups that have messages here.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    lines: Mutex<BTreeMap<Arc<str>, Line>>,
    next: std::sync::atomic::AtomicU64,
}

#[derive(Debug, Default)]
struct Line {
    places: VecDeque<u64>,
    /// The head was handed back undone: so is everybody else in this line, until it is empty.
    handing_back: bool,
    /// The head waits to be tried again, so nobody in this line needs a slot.
    parked: bool,
    moved: Arc<Notify>,
}

/// What the head of a line is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Work.
    Work,
    /// Hand itself back unworked, since a message before it was.
    HandBack,
    /// Give its slot to others and go on waiting: the head is being tried again.
    Park,
}

impl Groups {
    /// Joins the end of a group's line.
    pub(crate) fn join(self: &Arc<Self>, group: Arc<str>) -> Place {
        let id = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.lines().entry(group.clone()).or_default().places.push_back(id);
        Place { groups: self.clone(), group, id }
    }

    fn lines(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the line of a group. Dropping it lets the next one come forward.
#[derive(Debug)]
pub(crate) struct Place {
    groups: Arc<Groups>,
    group: Arc<str>,
    id: u64,
}

impl Place {
    /// Waits to be the head of the line, or to be told to give up its slot, unless it has done so before.
    pub(crate) async fn turn(&self, parked: bool) -> Turn {
        loop {
            let moved = {
                let lines = self.groups.lines();
                let Some(line) = lines.get(&self.group) else { return Turn::Work };
                if line.places.front() == Some(&self.id) {
                    return if line.handing_back { Turn::HandBack } else { Turn::Work };
                }
                if line.parked && !parked {
                    return Turn::Park;
                }
                line.moved.clone().notified_owned()
            };
            moved.await;
        }
    }

    /// The head waits to be tried again: nobody behind it needs a slot until then.
    pub(crate) fn park_the_rest(&self) {
        if let Some(line) = self.groups.lines().get_mut(&self.group)
            && !std::mem::replace(&mut line.parked, true)
        {
            line.moved.notify_waiters();
        }
    }

    /// This message is handed back undone, and so is everything behind it.
    pub(crate) fn hand_back_the_rest(&self) {
        if let Some(line) = self.groups.lines().get_mut(&self.group) {
            line.handing_back = true;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.groups.lines();
        if let Some(line) = lines.get_mut(&self.group) {
            let was_head = line.places.front() == Some(&self.id);
            line.places.retain(|&id| id != self.id);
            line.parked &= !was_head;
            line.moved.notify_waiters();
            if line.places.is_empty() {
                lines.remove(&self.group);
            }
        }
    }
}
