//! FIFO queues: one at a time and in order within a message group, groups side by side.
//!
//! Each message that arrives with a group takes its place in the group's line before anything else happens to it, and
//! keeps it until it is settled. When a message is handed back undone, everything that stands behind it then follows, so that
//! nothing overtakes. SQS hands out nothing of a group that has a message in flight, so what arrives later arrived after all
//! of them were let go, and in order.
//!
//! Not every queue blocks a group whose head is hidden by a retry delay. So it is remembered here until when a head is
//! hidden, and what comes after it is hidden for as long: otherwise it would be received and handed back in a loop.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::expiring::Expiring;
use crate::queue::MessageId;

/// Of how many groups it is remembered that their head is hidden.
const HIDDEN_HEADS: usize = 10_000;

/// The lines of all groups that have messages here.
#[derive(Debug)]
pub(crate) struct Groups {
    lines: Mutex<BTreeMap<Arc<str>, Line>>,
    /// Which message of a group is hidden by a retry delay, with all others of the group behind it.
    hidden_heads: Mutex<Expiring<Arc<str>, MessageId>>,
    next: std::sync::atomic::AtomicU64,
}

#[derive(Debug, Default)]
struct Line {
    places: VecDeque<Standing>,
    /// A message was handed back undone: its number, and the first that is not behind it.
    handed_back: Option<(u64, u64)>,
    /// The head waits to be tried again, so nobody in this line needs a slot.
    parked: bool,
    moved: Arc<Notify>,
}

#[derive(Debug)]
struct Standing {
    id: u64,
    message: MessageId,
    /// Where this message stood before it came back, if its former place is still there. What stands between the two is over
    /// for the queue.
    former: Option<u64>,
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

impl Line {
    /// Whether a message is handed back because one before it was.
    fn hands_back(&self, id: u64) -> bool {
        self.handed_back.is_some_and(|(first, before)| (first..before).contains(&id) && id != first)
    }
}

impl Default for Groups {
    fn default() -> Self {
        let hidden_heads = Mutex::new(Expiring::new(HIDDEN_HEADS));
        Groups { lines: Mutex::default(), hidden_heads, next: std::sync::atomic::AtomicU64::default() }
    }
}

impl Groups {
    /// Joins the end of a group's line. `returned` says that the message was here before and has come back.
    pub(crate) fn join(self: &Arc<Self>, group: Arc<str>, message: MessageId, returned: bool) -> Place {
        let id = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut lines = self.lines();
        let places = &mut lines.entry(group.clone()).or_default().places;
        let former = places.iter().rev().filter(|_| returned).find(|standing| standing.message == message);
        let former = former.map(|standing| standing.id);
        places.push_back(Standing { id, message, former });
        drop(lines);
        Place { groups: self.clone(), group, id }
    }

    /// For how long a message of a group must be hidden because the head of its group is. The head itself is not: that it
    /// is here shows that it is hidden no longer.
    pub(crate) fn hidden_for(&self, group: &Arc<str>, message: &MessageId) -> Duration {
        let now = Instant::now();
        let mut heads = self.hidden_heads();
        match heads.get(group, now) {
            Some((_, head)) if head == message => {
                heads.remove(group);
                Duration::ZERO
            }
            Some((until, _)) => until.saturating_duration_since(now),
            None => Duration::ZERO,
        }
    }

    fn hidden_heads(&self) -> MutexGuard<'_, Expiring<Arc<str>, MessageId>> {
        self.hidden_heads.lock().unwrap_or_else(PoisonError::into_inner)
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
                if line.places.front().is_some_and(|first| first.id == self.id) {
                    return if line.hands_back(self.id) { Turn::HandBack } else { Turn::Work };
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
            if line.hands_back(self.id) {
                // It follows another one itself, and so does what stood behind it then.
                return;
            }
            let mut behind = line.places.iter().filter(|standing| standing.id > self.id);
            let came_back = |standing: &&Standing| {
                standing.former.is_some_and(|former| former >= self.id) && !mutant!("hand-back-what-came-back")
            };
            let end = behind.clone().find(came_back).map(|standing| standing.id);
            let end = end.or_else(|| behind.next_back().map(|last| last.id.saturating_add(1))).unwrap_or_default();
            let (first, before) = line.handed_back.unwrap_or((self.id, end));
            line.handed_back = Some((first.min(self.id), before.max(end)));
        }
    }

    /// This message is hidden until a time, and with it the rest of its group.
    pub(crate) fn hidden_until(&self, message: &MessageId, until: Instant) {
        self.groups.hidden_heads().insert(self.group.clone(), message.clone(), until);
    }

    /// For how long this message must be hidden because the head of its group is.
    pub(crate) fn hidden_for(&self, message: &MessageId) -> Duration {
        self.groups.hidden_for(&self.group, message)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.groups.lines();
        if let Some(line) = lines.get_mut(&self.group) {
            let was_head = line.places.front().is_some_and(|first| first.id == self.id);
            line.places.retain(|standing| standing.id != self.id);
            line.parked &= !was_head;
            line.moved.notify_waiters();
            if line.places.is_empty() {
                lines.remove(&self.group);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::time::advance;

    use super::*;

    fn join(groups: &Arc<Groups>, message: &str, returned: bool) -> Place {
        groups.join("g".into(), message.into(), returned)
    }

    /// Lets everybody have their turn, one after the other.
    fn turns(places: Vec<Place>) -> Vec<Turn> {
        places.into_iter().map(|place| place.turn(false).now_or_never().expect("it is the head")).collect()
    }

    #[test]
    fn what_stands_behind_is_handed_back_and_what_joins_later_is_not() {
        let groups = Arc::<Groups>::default();
        let places = ["1", "2", "3"].map(|message| join(&groups, message, false));
        assert!(places[1].turn(false).now_or_never().is_none(), "one at a time");
        places[0].hand_back_the_rest();
        let mut places = Vec::from(places);
        places.extend(["1", "4"].map(|message| join(&groups, message, false)));
        drop(places.remove(0));
        assert_eq!(turns(places), [Turn::HandBack, Turn::HandBack, Turn::Work, Turn::Work]);
    }

    #[test]
    fn a_message_that_came_back_does_not_follow_what_was_before_it() {
        let groups = Arc::<Groups>::default();
        let mut places: Vec<_> = ["1", "2", "1", "2"].map(|message| join(&groups, message, true)).into();
        places[0].hand_back_the_rest();
        drop(places.remove(0));
        assert_eq!(turns(places), [Turn::HandBack, Turn::Work, Turn::Work]);
        // It follows what came back before it.
        let mut places: Vec<_> = ["3", "1", "2", "3"].map(|message| join(&groups, message, true)).into();
        places[1].hand_back_the_rest();
        drop(places.drain(..2));
        assert_eq!(turns(places), [Turn::HandBack, Turn::HandBack]);
        assert!(groups.lines().is_empty());
    }

    #[test]
    fn what_is_handed_back_takes_nothing_along_that_joined_later() {
        let groups = Arc::<Groups>::default();
        let mut places: Vec<_> = ["1", "2", "3"].map(|message| join(&groups, message, false)).into();
        places[0].hand_back_the_rest();
        places.push(join(&groups, "1", false));
        places[1].hand_back_the_rest();
        drop(places.remove(0));
        assert_eq!(turns(places), [Turn::HandBack, Turn::HandBack, Turn::Work]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hidden_head_hides_its_group_until_it_is_received_again() {
        let (groups, group) = (Arc::<Groups>::default(), Arc::from("g"));
        let seconds = Duration::from_secs;
        let head = join(&groups, "1", false);
        head.hidden_until(&"1".into(), Instant::now() + seconds(10));
        advance(seconds(4)).await;
        assert_eq!(groups.hidden_for(&group, &"2".into()), seconds(6));
        assert_eq!(groups.hidden_for(&Arc::from("other"), &"2".into()), Duration::ZERO);
        advance(seconds(6)).await;
        assert_eq!(groups.hidden_for(&group, &"2".into()), Duration::ZERO);
        head.hidden_until(&"1".into(), Instant::now() + seconds(10));
        assert_eq!(groups.hidden_for(&group, &"1".into()), Duration::ZERO, "it is here");
        assert_eq!(groups.hidden_for(&group, &"2".into()), Duration::ZERO, "and so is what comes after it");
    }
}
