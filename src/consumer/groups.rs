//! FIFO queues: one at a time and in order within a message group, groups side by side.
//!
//! Each message that arrives with a group takes its ticket in the group's queue before anything else happens to it, and
//! keeps it until it is settled. When a message is returned undone, everything that stands behind it then follows, so that
//! nothing overtakes. SQS hands out nothing of a group that has a message in flight, so what arrives later arrived after all
//! of them were nacked, and in order.
//!
//! Not every queue blocks a group whose head is hidden by a retry delay. So it is remembered here until when a head is
//! hidden, and what comes after it is hidden for as long: otherwise it would be received and returned in a loop.

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
    queues: Mutex<BTreeMap<Arc<str>, GroupQueue>>,
    /// Which message of a group is hidden by a retry delay, with all others of the group behind it.
    hidden_heads: Mutex<Expiring<Arc<str>, MessageId>>,
    next: std::sync::atomic::AtomicU64,
}

#[derive(Debug, Default)]
struct GroupQueue {
    tickets: VecDeque<Waiting>,
    /// A message was returned undone: its number, and the first that is not behind it.
    returned: Option<(u64, u64)>,
    /// The head waits to be tried again, so nobody in this queue needs a slot.
    parked: bool,
    moved: Arc<Notify>,
}

#[derive(Debug)]
struct Waiting {
    id: u64,
    message: MessageId,
    /// Where this message stood before it came back, if its former ticket is still there. What stands between the two is over
    /// for the queue.
    former: Option<u64>,
}

/// What the head of a queue is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Work.
    Work,
    /// Return itself unworked, since a message before it was.
    Return,
    /// Give its slot to others and go on waiting: the head is being tried again.
    Park,
}

impl GroupQueue {
    /// Whether a message is returned because one before it was.
    fn is_returned(&self, id: u64) -> bool {
        self.returned.is_some_and(|(first, before)| (first..before).contains(&id) && id != first)
    }
}

impl Default for Groups {
    fn default() -> Self {
        let hidden_heads = Mutex::new(Expiring::new(HIDDEN_HEADS));
        Groups { queues: Mutex::default(), hidden_heads, next: std::sync::atomic::AtomicU64::default() }
    }
}

impl Groups {
    /// Joins the end of a group's queue. `returned` says that the message was here before and has come back.
    pub(crate) fn enqueue(self: &Arc<Self>, group: Arc<str>, message: MessageId, returned: bool) -> Ticket {
        let id = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut queues = self.queues();
        let tickets = &mut queues.entry(group.clone()).or_default().tickets;
        let former = tickets.iter().rev().filter(|_| returned).find(|waiting| waiting.message == message);
        let former = former.map(|waiting| waiting.id);
        tickets.push_back(Waiting { id, message, former });
        drop(queues);
        Ticket { groups: self.clone(), group, id }
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

    fn queues(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, GroupQueue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A ticket in the queue of a group. Dropping it lets the next one come forward.
#[derive(Debug)]
pub(crate) struct Ticket {
    groups: Arc<Groups>,
    group: Arc<str>,
    id: u64,
}

impl Ticket {
    /// Waits to be the head of the queue, or to be told to give up its slot, unless it has done so before.
    pub(crate) async fn turn(&self, parked: bool) -> Step {
        loop {
            let moved = {
                let queues = self.groups.queues();
                let Some(queue) = queues.get(&self.group) else { return Step::Work };
                if queue.tickets.front().is_some_and(|first| first.id == self.id) {
                    return if queue.is_returned(self.id) { Step::Return } else { Step::Work };
                }
                if queue.parked && !parked {
                    return Step::Park;
                }
                queue.moved.clone().notified_owned()
            };
            moved.await;
        }
    }

    /// The head waits to be tried again: nobody behind it needs a slot until then.
    pub(crate) fn park_the_rest(&self) {
        if let Some(queue) = self.groups.queues().get_mut(&self.group)
            && !std::mem::replace(&mut queue.parked, true)
        {
            queue.moved.notify_waiters();
        }
    }

    /// This message is returned undone, and so is everything behind it.
    pub(crate) fn return_the_rest(&self) {
        if let Some(queue) = self.groups.queues().get_mut(&self.group) {
            let mut tickets = queue.tickets.iter();
            let came_back = tickets.any(|waiting| waiting.id == self.id && waiting.former.is_some());
            if queue.is_returned(self.id) && (!came_back || mutant!("leave-what-came-back-behind-it")) {
                // It follows another one itself, and so does what stood behind it then. Where it came back, what came back
                // behind it does not yet.
                return;
            }
            let mut behind = queue.tickets.iter().filter(|waiting| waiting.id > self.id);
            let came_back = |waiting: &&Waiting| {
                waiting.former.is_some_and(|former| former >= self.id) && !mutant!("return-what-came-back")
            };
            let end = behind.clone().find(came_back).map(|waiting| waiting.id);
            let end = end.or_else(|| behind.next_back().map(|last| last.id.saturating_add(1))).unwrap_or_default();
            let (first, before) = queue.returned.unwrap_or((self.id, end));
            queue.returned = Some((first.min(self.id), before.max(end)));
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

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut queues = self.groups.queues();
        if let Some(queue) = queues.get_mut(&self.group) {
            let was_head = queue.tickets.front().is_some_and(|first| first.id == self.id);
            queue.tickets.retain(|waiting| waiting.id != self.id);
            queue.parked &= !was_head;
            queue.moved.notify_waiters();
            if queue.tickets.is_empty() {
                queues.remove(&self.group);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::time::advance;

    use super::*;

    fn enqueue(groups: &Arc<Groups>, message: &str, returned: bool) -> Ticket {
        groups.enqueue("g".into(), message.into(), returned)
    }

    /// Lets everybody have their turn, one after the other.
    fn turns(tickets: Vec<Ticket>) -> Vec<Step> {
        tickets.into_iter().map(|ticket| ticket.turn(false).now_or_never().expect("it is the head")).collect()
    }

    #[test]
    fn what_waits_behind_is_returned_and_what_joins_later_is_not() {
        let groups = Arc::<Groups>::default();
        let tickets = ["1", "2", "3"].map(|message| enqueue(&groups, message, false));
        assert!(tickets[1].turn(false).now_or_never().is_none(), "one at a time");
        tickets[0].return_the_rest();
        let mut tickets = Vec::from(tickets);
        tickets.extend(["1", "4"].map(|message| enqueue(&groups, message, false)));
        drop(tickets.remove(0));
        assert_eq!(turns(tickets), [Step::Return, Step::Return, Step::Work, Step::Work]);
    }

    #[test]
    fn a_message_that_came_back_does_not_follow_what_was_before_it() {
        let groups = Arc::<Groups>::default();
        let mut tickets: Vec<_> = ["1", "2", "1", "2"].map(|message| enqueue(&groups, message, true)).into();
        tickets[0].return_the_rest();
        drop(tickets.remove(0));
        assert_eq!(turns(tickets), [Step::Return, Step::Work, Step::Work]);
        // It follows what came back before it.
        let mut tickets: Vec<_> = ["3", "1", "2", "3"].map(|message| enqueue(&groups, message, true)).into();
        tickets[1].return_the_rest();
        drop(tickets.drain(..2));
        assert_eq!(turns(tickets), [Step::Return, Step::Return]);
        assert!(groups.queues().is_empty());
    }

    #[test]
    fn what_came_back_takes_along_what_came_back_behind_it() {
        let groups = Arc::<Groups>::default();
        let mut tickets: Vec<_> = ["1", "2", "1", "2", "3"].map(|message| enqueue(&groups, message, true)).into();
        // The lease of the second one is seen to be lost before that of the head.
        tickets[1].return_the_rest();
        tickets[0].return_the_rest();
        drop(tickets.drain(..2));
        assert_eq!(tickets[0].turn(false).now_or_never(), Some(Step::Return));
        tickets[0].return_the_rest();
        assert_eq!(turns(tickets), [Step::Return; 3]);
    }

    #[test]
    fn what_is_handed_back_takes_nothing_along_that_joined_later() {
        let groups = Arc::<Groups>::default();
        let mut tickets: Vec<_> = ["1", "2", "3"].map(|message| enqueue(&groups, message, false)).into();
        tickets[0].return_the_rest();
        tickets.push(enqueue(&groups, "1", false));
        tickets[1].return_the_rest();
        drop(tickets.remove(0));
        assert_eq!(turns(tickets), [Step::Return, Step::Return, Step::Work]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hidden_head_hides_its_group_until_it_is_received_again() {
        let (groups, group) = (Arc::<Groups>::default(), Arc::from("g"));
        let seconds = Duration::from_secs;
        let head = enqueue(&groups, "1", false);
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
