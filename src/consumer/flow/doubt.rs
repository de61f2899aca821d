//! Whose fault a failure is: the message's, its type's, or the target's.
//!
//! A failure alone says nothing. What does is how other messages fared meanwhile: a message that fails again and again
//! while others succeed is at fault, and as long as everything fails it is the target. Doubt is graded, as the
//! probability that a message which is like the others would have failed so often: at each failure it is multiplied by
//! the share of the *first* calls of other messages that failed since the one before. So a target that fails at random,
//! however often, condemns one message in `1 / CONDEMNED` at the most. Retries do not count, since a few failing messages
//! that are tried often would outvote the many that are fine, and neither do messages that were at fault before. A success
//! counts only if its call began after the failure: a slow target answers calls after it went down that it had taken before.
//!
//! The same holds for the types of events, compared with the other types: where every group of a FIFO queue waits behind
//! one of the same failing type, nothing else is left to compare with. A single message says nothing about its type.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::queue::MessageId;

/// The doubt at which a message is at fault.
const CONDEMNED: f64 = 1.0 / 500.0;

/// The doubt at which a message gives its place to others when there is no room left.
pub(super) const DISPENSABLE: f64 = 1.0 / 64.0;

/// As much as one comparison can say: three are needed at least.
const STRONGEST: f64 = 1.0 / 8.0;

/// The probability at which a message that was at fault before is so again: what a message's first receive leaves of it.
const CONDEMNED_AGAIN: f64 = CONDEMNED / STRONGEST;

/// The share of first calls that may have failed since a message's last failure for it to be condemned.
const MOSTLY_FINE: f64 = 0.5;

/// How much one first call weighs in what happened lately.
const LATELY: f64 = 0.05;

/// For how long what is known of a type is good without a comparison with others.
const TYPE_MEMORY: Duration = Duration::from_secs(3_600);

/// So many messages of a type must fail while others succeed: fewer may be at fault themselves, and their type is not.
const ENOUGH_OF_A_TYPE: u32 = 2;

/// How many types and how many condemned messages are remembered: foreign names, and no more than a few are at fault.
const TYPES: usize = 256;
const MESSAGES: usize = 10_000;

/// Successes of first calls, by when these began: what was in flight when a target went down may have been taken before.
#[derive(Debug, Default)]
struct Successes(VecDeque<(Instant, u64)>);

impl Successes {
    /// Those that began so close together are counted together, and so many such counts are kept.
    const TOGETHER: Duration = Duration::from_millis(100);
    const COUNTS: usize = 2_048;

    fn count(&mut self, begun: Instant) {
        let after = self.0.partition_point(|(first, _)| *first <= begun);
        match after.checked_sub(1).and_then(|last| self.0.get_mut(last)) {
            Some((first, count)) if begun < *first + Self::TOGETHER => *count += 1,
            _ => self.0.insert(after, (begun, 1)),
        }
        if self.0.len() > Self::COUNTS {
            self.0.pop_front();
        }
    }

    fn begun_after(&self, at: Instant) -> u64 {
        self.0.iter().rev().take_while(|(first, _)| *first > at).map(|(_, count)| count).sum()
    }
}

/// First calls of messages and how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct First {
    succeeded: u64,
    failed: u64,
}

impl First {
    /// What they say about one more that failed: the share that did.
    fn share_failed(self) -> f64 {
        (self.failed as f64 + 1.0) / (self.failed as f64 + self.succeeded as f64 + 1.0)
    }
}

/// A moment that what comes later is counted from.
#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Instant,
    /// First calls that had failed by then.
    failed: u64,
}

impl Seen {
    /// Of so many first calls that failed by now, and of the successes, those that count.
    fn compare(self, failed: u64, succeeded: &Successes) -> First {
        First { succeeded: succeeded.begun_after(self.at), failed: failed.saturating_sub(self.failed) }
    }
}

/// What is held against one message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doubt {
    pub(super) value: f64,
    /// Its first failure, or the last one before which others had succeeded.
    seen: Seen,
    pub(super) first_failure: Instant,
    /// It was found at fault at an earlier receive.
    condemned_before: bool,
    /// It timed out so often that timeouts count as failures.
    pub(super) timed_out_too_often: bool,
}

impl Doubt {
    fn new(seen: Seen, first_failure: Instant) -> Self {
        Doubt { value: 1.0, seen, first_failure, condemned_before: false, timed_out_too_often: false }
    }
}

/// What a failure says about its message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fault {
    /// It is at fault: others succeed.
    pub(super) certain: bool,
    /// It, or its type, was found at fault before. It still is, unless there is reason to think that the target is down.
    pub(super) known: bool,
}

/// What is held against one type.
#[derive(Debug)]
struct TypeDoubt {
    value: f64,
    /// First calls of this type that failed.
    own_failed: u64,
    /// The last failure before which other types had succeeded, or the last success.
    seen: Seen,
    compared_at: Instant,
    successes: u64,
    /// Different messages of this type that failed since it last succeeded, and how many of them had when others succeeded.
    failed: u32,
    failed_beside_successes: u32,
}

impl TypeDoubt {
    fn is_at_fault(&self, now: Instant) -> bool {
        let enough = if mutant!("blame-a-type-for-one-message") { 0 } else { ENOUGH_OF_A_TYPE };
        self.failed_beside_successes >= enough
            && self.value <= CONDEMNED
            && now.saturating_duration_since(self.compared_at) < TYPE_MEMORY
    }
}

/// What is held against a type; from a moment on where nothing was.
fn of_type<'a>(types: &'a mut BTreeMap<Arc<str>, TypeDoubt>, kind: &str, seen: Seen) -> Option<&'a mut TypeDoubt> {
    if !types.contains_key(kind) {
        if types.len() >= TYPES {
            return None;
        }
        let fresh = TypeDoubt {
            value: 1.0,
            own_failed: 0,
            seen,
            compared_at: seen.at,
            successes: 0,
            failed: 0,
            failed_beside_successes: 0,
        };
        types.insert(kind.into(), fresh);
    }
    types.get_mut(kind)
}

/// The evidence of one route.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// Since the first failure.
    succeeded: Successes,
    /// First calls that failed, of messages that were not at fault before.
    failed: u64,
    /// The share of first calls that failed lately, of messages that were not known to be at fault.
    failing_lately: f64,
    types: BTreeMap<Arc<str>, TypeDoubt>,
    condemned: BTreeMap<MessageId, Doubt>,
    in_order: VecDeque<MessageId>,
}

impl Evidence {
    /// What is known of a message that was condemned at an earlier receive. It is given a part of its credit back.
    pub(super) fn recall(&mut self, id: &MessageId) -> Option<Doubt> {
        if self.condemned.is_empty() || mutant!("forget-who-was-at-fault") {
            return None;
        }
        let doubt = self.condemned.remove(id)?;
        Some(Doubt { value: doubt.value.max(STRONGEST), condemned_before: true, ..doubt })
    }

    /// A call succeeded that began then.
    pub(super) fn succeeded(&mut self, kind: &str, first_call: bool, begun: Instant, now: Instant) {
        // On a route where nothing ever failed this is all that is done.
        if self.failed == 0 && self.types.is_empty() {
            return;
        }
        if first_call || mutant!("count-the-successes-of-retries") {
            self.succeeded.count(if mutant!("count-the-successes-of-calls-begun-before") { now } else { begun });
            self.failing_lately *= 1.0 - LATELY;
        }
        if let Some(of_type) = self.types.get_mut(kind) {
            of_type.value = 1.0;
            of_type.successes += 1;
            of_type.seen = Seen { at: now, failed: self.failed - of_type.own_failed };
            (of_type.failed, of_type.failed_beside_successes) = (0, 0);
        }
    }

    /// How often the type succeeded since it first failed.
    pub(super) fn successes_of(&mut self, kind: &str, now: Instant) -> u64 {
        let seen = Seen { at: now, failed: self.failed };
        of_type(&mut self.types, kind, seen).map_or(0, |of_type| of_type.successes)
    }

    /// A call failed; what that says about the message.
    pub(super) fn failed(&mut self, kind: &str, doubt: &mut Option<Doubt>, first_call: bool, now: Instant) -> Fault {
        let first_call = first_call || mutant!("count-the-failures-of-retries");
        // That one which was at fault fails again says nothing about the others.
        let known = doubt.is_some_and(|doubt| doubt.condemned_before) && !mutant!("count-what-was-at-fault-again");
        let counts = first_call && !known;
        // Its own failure is not evidence against it.
        let own = u64::from(counts && !mutant!("take-its-own-failure-for-evidence"));
        let seen = Seen { at: now, failed: self.failed + own };
        let mut fault = Fault::default();
        match doubt {
            None => *doubt = Some(Doubt::new(seen, now)),
            Some(doubt) => {
                let others = doubt.seen.compare(self.failed, &self.succeeded);
                let share = others.share_failed();
                if others.succeeded > 0 {
                    doubt.value *= share.max(STRONGEST);
                    doubt.seen = seen;
                } else {
                    doubt.seen.failed += own;
                }
                fault.certain =
                    doubt.value <= CONDEMNED && (share <= MOSTLY_FINE || mutant!("condemn-while-most-fail"));
                fault.known = doubt.condemned_before;
            }
        }
        fault.known |= self.type_failed(kind, counts, now) && !mutant!("ignore-the-evidence-of-types");
        self.failed += u64::from(counts);
        if first_call && !fault.known {
            self.failing_lately += LATELY * (1.0 - self.failing_lately);
        }
        // Where most calls fail at random, a message that failed again was unlucky again.
        fault.known &= self.failing_lately <= MOSTLY_FINE || mutant!("what-is-known-counts-while-most-fail");
        fault
    }

    /// Whether so many failures of a message, one after the other, may be chance by how many first calls failed lately.
    pub(super) fn may_be_chance(&self, failures: u32) -> bool {
        self.failing_lately.powf(f64::from(failures)) > CONDEMNED_AGAIN && !mutant!("four-failures-are-never-chance")
    }

    /// A message of the type failed. It counts once.
    fn type_failed(&mut self, kind: &str, counts: bool, now: Instant) -> bool {
        let seen = Seen { at: now, failed: self.failed };
        let Some(of_type) = of_type(&mut self.types, kind, seen) else { return false };
        let failed = self.failed - of_type.own_failed;
        let compared = of_type.seen.compare(failed, &self.succeeded);
        if compared.succeeded > 0 {
            of_type.compared_at = now;
            of_type.failed_beside_successes = of_type.failed;
            of_type.value *= compared.share_failed().max(STRONGEST);
            of_type.seen = Seen { at: now, failed };
        }
        of_type.failed += u32::from(counts);
        of_type.own_failed += u64::from(counts);
        of_type.is_at_fault(now)
    }

    /// A message that is returned because it is at fault: it comes again.
    pub(super) fn remember(&mut self, id: MessageId, doubt: Doubt) {
        if self.condemned.insert(id.clone(), doubt).is_none() {
            self.in_order.push_back(id);
        }
        while self.in_order.len() > MESSAGES {
            if let Some(oldest) = self.in_order.pop_front() {
                self.condemned.remove(&oldest);
            }
        }
    }

    /// The types that are at fault.
    pub(super) fn types_at_fault(&self, now: Instant) -> Vec<Arc<str>> {
        let found = self.types.iter().filter(|(_, of_type)| of_type.is_at_fault(now));
        found.map(|(kind, _)| kind.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    /// The first calls of other messages, all of a type of their own, that begin from now on.
    async fn others(evidence: &mut Evidence, succeed: u32, fail: u32) {
        advance(Duration::from_millis(200)).await;
        for _ in 0..succeed {
            evidence.succeeded("other", true, Instant::now(), Instant::now());
        }
        for _ in 0..fail {
            evidence.failed("failing", &mut None, true, Instant::now());
        }
    }

    fn fails(evidence: &mut Evidence, doubt: &mut Option<Doubt>, first_call: bool) -> Fault {
        evidence.failed("message.new", doubt, first_call, Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn three_comparisons_are_needed_however_many_others_succeed() {
        let (mut evidence, mut doubt) = (Evidence::default(), None);
        others(&mut evidence, 1_000, 0).await;
        assert_eq!(fails(&mut evidence, &mut doubt, true), Fault::default());
        let mut certain = Vec::new();
        for _ in 0..3 {
            others(&mut evidence, 1_000, 0).await;
            certain.push(fails(&mut evidence, &mut doubt, false).certain);
        }
        assert_eq!(certain, [false, false, true]);
    }

    #[tokio::test(start_paused = true)]
    async fn its_own_failure_says_nothing_about_others() {
        let (mut evidence, mut doubt) = (Evidence::default(), None);
        fails(&mut evidence, &mut doubt, true);
        others(&mut evidence, 7, 0).await;
        fails(&mut evidence, &mut doubt, false);
        assert_eq!(doubt.map(|doubt| doubt.value), Some(1.0 / 8.0));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_certain_or_known_while_most_calls_fail() {
        let (mut evidence, mut doubt) = (Evidence::default(), None);
        fails(&mut evidence, &mut doubt, true);
        for _ in 0..3 {
            others(&mut evidence, 1_000, 0).await;
            fails(&mut evidence, &mut doubt, false);
        }
        assert!(doubt.is_some_and(|doubt| doubt.value <= CONDEMNED), "{doubt:?}");
        let id = MessageId::from("m");
        evidence.remember(id.clone(), doubt.expect("a doubt"));
        others(&mut evidence, 0, 100).await;
        assert_eq!(fails(&mut evidence, &mut doubt, false), Fault::default());
        let mut again = evidence.recall(&id);
        assert_eq!(evidence.failed("another", &mut again, true, Instant::now()), Fault::default());
    }

    #[tokio::test(start_paused = true)]
    async fn the_more_fail_at_random_the_more_failures_are_chance() {
        let mut evidence = Evidence::default();
        assert!(!evidence.may_be_chance(1), "where nothing fails");
        for (lately, failures) in [(0.3, 4), (0.36, 5), (0.5, 6), (0.6, 9)] {
            evidence.failing_lately = lately;
            let needed = (1..20).find(|&failures| !evidence.may_be_chance(failures));
            assert_eq!(needed, Some(failures), "where {lately} of all calls fail");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn as_long_as_everything_fails_it_is_the_target() {
        let (mut evidence, mut doubt) = (Evidence::default(), None);
        for call in 0..100 {
            others(&mut evidence, 0, 5).await;
            assert!(!fails(&mut evidence, &mut doubt, call == 0).certain);
        }
        assert_eq!(doubt.map(|doubt| doubt.value), Some(1.0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_fails_alone_is_not_at_fault() {
        let (mut evidence, mut doubt) = (Evidence::default(), None);
        for call in 0..100 {
            assert_eq!(fails(&mut evidence, &mut doubt, call == 0), Fault::default());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn where_half_of_all_calls_fail_nine_comparisons_are_needed() {
        let (mut evidence, mut doubt) = (Evidence::default(), None);
        fails(&mut evidence, &mut doubt, true);
        let mut comparisons = 0;
        while !fails(&mut evidence, &mut doubt, false).certain {
            others(&mut evidence, 500, 499).await;
            comparisons += 1;
        }
        assert_eq!(comparisons, 9);
    }

    #[tokio::test(start_paused = true)]
    async fn retries_of_other_messages_are_not_evidence() {
        let (mut evidence, mut doubt, mut poison) = (Evidence::default(), None, None);
        evidence.failed("poison", &mut poison, true, Instant::now());
        fails(&mut evidence, &mut doubt, true);
        others(&mut evidence, 1, 0).await;
        for _ in 0..1_000 {
            evidence.failed("poison", &mut poison, false, Instant::now());
        }
        fails(&mut evidence, &mut doubt, false);
        assert_eq!(doubt.map(|doubt| doubt.value), Some(0.5), "one other message succeeded");
    }

    #[tokio::test(start_paused = true)]
    async fn a_type_is_at_fault_until_one_of_it_succeeds() {
        let mut evidence = Evidence::default();
        others(&mut evidence, 10, 0).await;
        for _ in 0..5 {
            let first = fails(&mut evidence, &mut None, true);
            others(&mut evidence, 10, 0).await;
            assert!(!first.certain, "each of them failed once");
        }
        assert!(fails(&mut evidence, &mut None, true).known);
        assert_eq!(evidence.types_at_fault(Instant::now()), ["message.new".into()]);
        evidence.succeeded("message.new", true, Instant::now(), Instant::now());
        assert!(evidence.types_at_fault(Instant::now()).is_empty());
        assert!(!fails(&mut evidence, &mut None, true).known);
    }

    #[tokio::test(start_paused = true)]
    async fn a_type_is_not_at_fault_for_one_of_its_messages() {
        let (mut evidence, mut doubt) = (Evidence::default(), None);
        others(&mut evidence, 10, 0).await;
        for call in 0..10 {
            fails(&mut evidence, &mut doubt, call == 0);
            others(&mut evidence, 10, 0).await;
        }
        let id = MessageId::from("m");
        evidence.remember(id.clone(), doubt.expect("a doubt"));
        let mut again = evidence.recall(&id);
        fails(&mut evidence, &mut again, true);
        others(&mut evidence, 10, 0).await;
        assert!(!fails(&mut evidence, &mut None, true).known, "another one that fails may be the target's fault");
        assert!(!fails(&mut evidence, &mut None, true).known, "and nothing succeeded since");
        others(&mut evidence, 10, 0).await;
        assert!(fails(&mut evidence, &mut None, true).known, "both failed while others succeeded");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_at_fault_before_does_not_excuse_others() {
        let (mut evidence, mut doubt, mut known) = (Evidence::default(), None, None);
        fails(&mut evidence, &mut known, true);
        evidence.remember("known".into(), known.expect("a doubt"));
        fails(&mut evidence, &mut doubt, true);
        for _ in 0..100 {
            let mut again = evidence.recall(&"known".into());
            fails(&mut evidence, &mut again, true);
            evidence.remember("known".into(), again.expect("a doubt"));
        }
        others(&mut evidence, 7, 0).await;
        fails(&mut evidence, &mut doubt, false);
        assert_eq!(doubt.map(|doubt| doubt.value), Some(1.0 / 8.0));
    }

    #[tokio::test(start_paused = true)]
    async fn calls_begun_before_a_failure_are_not_evidence() {
        let (mut evidence, mut doubt) = (Evidence::default(), None);
        let before = Instant::now();
        advance(Duration::from_secs(1)).await;
        fails(&mut evidence, &mut doubt, true);
        for _ in 0..20 {
            advance(Duration::from_secs(1)).await;
            evidence.succeeded("other", true, before, Instant::now());
            fails(&mut evidence, &mut doubt, false);
        }
        assert_eq!(doubt.map(|doubt| doubt.value), Some(1.0));
        others(&mut evidence, 3, 0).await;
        evidence.succeeded("other", true, before, Instant::now());
        fails(&mut evidence, &mut doubt, false);
        assert_eq!(doubt.map(|doubt| doubt.value), Some(0.25), "three began later");
    }

    #[tokio::test(start_paused = true)]
    async fn successes_are_counted_by_when_their_calls_began() {
        let (mut successes, first) = (Successes::default(), Instant::now());
        let at = |millis| first + Duration::from_millis(millis);
        for begun in [500, 550, 2_000, 0, 1_000, 599, 600] {
            successes.count(at(begun));
        }
        let after = |millis| successes.begun_after(at(millis));
        assert_eq!([0, 499, 500, 999, 1_000, 1_999, 2_000].map(after), [6, 6, 3, 2, 1, 1, 0]);
        for number in 0..3_000 {
            successes.count(at(10_000 + 100 * number));
        }
        assert_eq!(successes.begun_after(first), 2_048, "the oldest are forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_at_fault_is_known_again_with_a_part_of_its_credit() {
        let (mut evidence, mut doubt) = (Evidence::default(), None);
        fails(&mut evidence, &mut doubt, true);
        for _ in 0..4 {
            others(&mut evidence, 1_000, 0).await;
            fails(&mut evidence, &mut doubt, false);
        }
        let id = MessageId::from("m");
        evidence.remember(id.clone(), doubt.expect("a doubt"));
        let mut again = evidence.recall(&id);
        assert_eq!(again.map(|doubt| doubt.value), Some(STRONGEST));
        assert!(evidence.recall(&id).is_none(), "it is with its delivery now");
        assert!(evidence.failed("other", &mut again, true, Instant::now()).known);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded() {
        let mut evidence = Evidence::default();
        for n in 0..MESSAGES + 10 {
            evidence.remember(
                MessageId::from(format!("{n}")),
                Doubt::new(Seen { at: Instant::now(), failed: 0 }, Instant::now()),
            );
        }
        for n in 0..TYPES + 10 {
            evidence.failed(&format!("type {n}"), &mut None, true, Instant::now());
        }
        assert_eq!((evidence.condemned.len(), evidence.types.len()), (MESSAGES, TYPES));
        assert!(evidence.recall(&"0".into()).is_none() && evidence.recall(&"10".into()).is_some());
    }
}
