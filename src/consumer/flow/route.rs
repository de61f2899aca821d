//! The flow on one route: who waits for a call, what is in flight, and whether the target is down.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::doubt::{DISPENSABLE, Evidence};
use super::limit::{Begun, Limits, When};
use crate::telemetry::{FlowState, TargetFlow};

/// How many different messages must fail with no success between for a target to be down; all that are here, if fewer.
const ENOUGH: usize = 3;

/// As many refusals in a row tell the same.
const REFUSALS: u32 = 4;

/// So many different failures in a row say it at once. With half of the calls failing at random this never happens.
const CERTAIN: usize = 32;

/// So many different failures in a row stop further receives until there is a success.
const SUSPICIOUS: usize = 8;

/// The time between two probes of a target that is down: a part of the outage so far, within limits.
const PROBE_PART: u32 = 64;
const FIRST_PROBE: Duration = Duration::from_secs(1);
const SLOWEST_PROBE: Duration = Duration::from_secs(28);

/// How many probes may be in flight: one that hangs must not be waited for.
const PROBES: usize = 4;

/// The messages that may be held while a target is down: so many at first, doubled by each such time that passes.
const HELD_AT_FIRST: f64 = 3.0;
const HELD_DOUBLES: Duration = Duration::from_secs(12);

/// How long before a message is returned for good nothing is received any longer: more than a long poll lasts.
const LONG_POLL_OVER: Duration = Duration::from_secs(35);

/// Of those that wait, so many that were never called are called before one that is to be called again. Half of a low
/// rate would be too much for a few that always fail.
const FRESH_FOR_A_RETRY: u32 = 3;

/// For how long the messages that wait may wait at the rate that the target takes.
const PREFETCH: f64 = 2.0;

/// So many messages in the queue are enough for each of them to be received rarely, where one at a time is.
const MANY: usize = 32;

/// For how long SQS lets a message be held.
const HALF_A_DAY: Duration = Duration::from_secs(12 * 3600);

/// How many messages that wait to be tried again may be held: ten for each slot, and well below the 120,000 that SQS lets
/// a queue have in flight.
pub(crate) fn most_held(slots: usize) -> usize {
    slots.saturating_mul(10).min(100_000)
}

/// A turn that was given.
#[derive(Clone, Copy, Debug)]
pub(super) enum Grant {
    /// The handler is called, perhaps as a probe of a target that is down.
    Call { probe: bool, begun: Begun },
    /// Its place is needed: it is treated as at fault.
    Nack,
}

/// Who waits for a call of the handler.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) go: oneshot::Sender<Grant>,
    /// How likely it is that a failure is not the message's fault: 1 where nothing speaks against it.
    pub(super) doubt: f64,
    pub(super) last_receive: bool,
    /// Before this it is not given up on its last receive.
    pub(super) may_nack: Instant,
    /// Until when it can be held.
    pub(super) limit: Instant,
}

/// Where a waiter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// Among those that were never called, or only refused, in the order of their arrival.
    Fresh(u64),
    /// Among those that are to be called again, by the time of that.
    Retry(Instant, u64),
}

/// A target that is down.
#[derive(Clone, Copy, Debug)]
pub(super) struct Down {
    pub(super) since: Instant,
    last_probe: Instant,
    probes: usize,
    /// A message was held for as long as SQS lets it.
    pub(super) returned: Option<Returned>,
}

impl Down {
    fn interval(&self, now: Instant) -> Duration {
        let part = now.saturating_duration_since(self.since) / PROBE_PART;
        if mutant!("probe-without-a-pause") { Duration::ZERO } else { part.clamp(FIRST_PROBE, SLOWEST_PROBE) }
    }

    /// When the next probe may start.
    pub(super) fn next_probe(&self, now: Instant) -> Instant {
        self.last_probe + self.interval(now)
    }
}

/// A message that was returned while its target was down, because it could not be held any longer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Returned {
    pub(crate) at: Instant,
    /// How often it can be received again before it is dead-lettered; None where that is not known or never.
    pub(crate) receives_left: Option<u32>,
    /// From then on receives are spent, so that a message that always fails is dead-lettered before it expires.
    pub(crate) spend_from: Option<Instant>,
}

impl Returned {
    /// Another one is returned. Until what is received next, the one of both counts that has fewer receives left.
    pub(super) fn then(self, other: Returned, visible: Option<usize>) -> Returned {
        let together = other.at < self.next_receive(visible) && self.receives_left <= other.receives_left;
        if together && !mutant!("only-the-last-that-was-returned-counts") {
            return Returned { at: other.at, ..self };
        }
        other
    }

    /// When the next message may be received, with so many visible in the queue.
    ///
    /// Where many messages wait, each of them is received once in a long time. Where few do, the same ones would be
    /// received every 12 hours and soon be dead-lettered: so their last two receives are kept for later.
    fn next_receive(&self, visible: Option<usize>) -> Instant {
        let gap = match self.receives_left {
            _ if mutant!("no-gap-though-few-wait") => Duration::ZERO,
            _ if mutant!("a-gap-though-many-wait") => 2 * HALF_A_DAY,
            _ if visible.is_some_and(|visible| visible >= MANY) => Duration::ZERO,
            Some(0 | 1) => 2 * HALF_A_DAY,
            Some(2) => HALF_A_DAY,
            _ => Duration::ZERO,
        };
        self.spend_from.map_or(self.at + gap, |spend| spend.min(self.at + gap))
    }
}

/// What may happen next on a route.
pub(super) enum Pick {
    /// This one's handler is called.
    Start { waiter: Waiter, probe: bool, begun: Begun },
    /// Nothing before this.
    At(Instant),
    /// Nothing until something ends or arrives.
    Nothing,
}

#[derive(Debug)]
pub(super) struct RouteFlow {
    pub(super) limits: Limits,
    pub(super) evidence: Evidence,
    /// How many calls the handler itself can make at a time.
    places: usize,
    /// The slots of the engine.
    slots: usize,
    /// Deliveries that are on this route, and those of them whose handler is at work.
    pub(super) here: usize,
    pub(super) active: usize,
    /// Messages that are here for other routes, and that this one is done with.
    pub(super) done: usize,
    pub(super) fresh: BTreeMap<u64, Waiter>,
    pub(super) retries: BTreeMap<(Instant, u64), Waiter>,
    /// Until when each delivery can be held that has waited here and has not left, also while its handler is at work.
    held_until: BTreeMap<u64, Instant>,
    fresh_in_a_row: u32,
    pub(super) last_success: Option<Instant>,
    /// The first success after it was last down.
    back_since: Option<Instant>,
    /// The deliveries that failed since the last success, each with whether it was found at fault before, and since when
    /// there are any.
    pub(super) failing: BTreeMap<u64, bool>,
    failing_since: Option<Instant>,
    refusals_in_a_row: u32,
    pub(super) down: Option<Down>,
    pub(super) refused: RecentCount,
}

impl RouteFlow {
    pub(super) fn new(places: Option<usize>, slots: usize, now: Instant) -> Self {
        RouteFlow {
            limits: Limits::new(now),
            evidence: Evidence::default(),
            places: places.unwrap_or(usize::MAX).max(1),
            slots,
            here: 0,
            active: 0,
            done: 0,
            fresh: BTreeMap::new(),
            retries: BTreeMap::new(),
            held_until: BTreeMap::new(),
            fresh_in_a_row: 0,
            last_success: None,
            back_since: None,
            failing: BTreeMap::new(),
            failing_since: None,
            refusals_in_a_row: 0,
            down: None,
            refused: RecentCount::default(),
        }
    }

    /// Whether a delivery that has just come may be called without waiting.
    pub(super) fn is_open(&self) -> bool {
        self.fresh.is_empty()
            && self.retries.is_empty()
            && self.down.is_none()
            && self.active < self.places
            && !self.limits.any()
    }

    /// Who is to be called next, if somebody is.
    pub(super) fn pick(&mut self, now: Instant) -> Pick {
        if (self.fresh.is_empty() && self.retries.is_empty())
            || (self.active >= self.places && !mutant!("call-a-handler-more-often-than-it-can"))
        {
            return Pick::Nothing;
        }
        if self.down.is_some() {
            return self.pick_while_down(now);
        }
        self.limits.tidy(now, self.slots);
        let due = self.retries.first_key_value().map(|((at, _), _)| *at);
        let retry = match (due, self.fresh.is_empty()) {
            (Some(at), true) if at > now => return Pick::At(at),
            (Some(at), false) => at <= now && self.fresh_in_a_row >= FRESH_FOR_A_RETRY,
            (due, _) => due.is_some(),
        };
        match self.limits.when(self.active, now) {
            When::At(at) => return Pick::At(at),
            When::AfterACall => return Pick::Nothing,
            When::Now => {}
        }
        self.fresh_in_a_row = if retry { 0 } else { self.fresh_in_a_row.saturating_add(1) };
        let next = if retry {
            self.retries.pop_first().map(|(_, waiter)| waiter)
        } else {
            self.fresh.pop_first().map(|(_, waiter)| waiter)
        };
        self.started(next, false, now)
    }

    /// Those that were never called are called at once, a few at a time: each says something about the target. The others
    /// take turns.
    fn pick_while_down(&mut self, now: Instant) -> Pick {
        if let Some(until) = self.limits.paused_until(now) {
            return Pick::At(until);
        }
        if self.active < 2 * PROBES
            && let Some((_, waiter)) = self.fresh.pop_first()
        {
            return self.started(Some(waiter), false, now);
        }
        let Some(down) = &mut self.down else { return Pick::Nothing };
        if down.probes >= PROBES {
            return Pick::Nothing;
        }
        let at = down.next_probe(now);
        if at > now {
            return Pick::At(at);
        }
        let next = self.retries.pop_first().map(|(_, waiter)| waiter);
        down.last_probe = now;
        down.probes += usize::from(next.is_some());
        self.started(next, true, now)
    }

    fn started(&mut self, waiter: Option<Waiter>, probe: bool, now: Instant) -> Pick {
        let Some(waiter) = waiter else { return Pick::Nothing };
        let begun = self.starts(now);
        Pick::Start { waiter, probe, begun }
    }

    /// A call starts now.
    pub(super) fn starts(&mut self, now: Instant) -> Begun {
        let begun = Begun { at: now, beside: self.active };
        self.active += 1;
        self.limits.starts(now);
        begun
    }

    /// A call is over, however it ended.
    pub(super) fn ends(&mut self, probe: bool) {
        self.active -= 1;
        if let Some(down) = &mut self.down
            && probe
        {
            down.probes = down.probes.saturating_sub(1);
        }
    }

    /// A call succeeded, so the target is there.
    pub(super) fn succeeded(&mut self, call: Begun, now: Instant) {
        self.limits.succeeded(call, self.active.saturating_sub(1), now);
        self.last_success = Some(now);
        if let Some(since) = self.failing_since.take() {
            self.failing.clear();
            if self.refusals_in_a_row > 0 {
                self.limits.taken_after(now.saturating_duration_since(since), now);
            }
        }
        self.refusals_in_a_row = 0;
        if let Some(down) = self.down.take() {
            self.limits.back_after(now.saturating_duration_since(down.since), now);
            self.back_since = Some(now);
        }
    }

    /// Whether nothing fails but what was found at fault before. Then nothing speaks against the target.
    pub(super) fn is_explained(&self) -> bool {
        self.unexplained() == 0
    }

    /// How many fail that were not found at fault before.
    fn unexplained(&self) -> usize {
        self.failing.values().filter(|at_fault| !**at_fault).count()
    }

    /// A call of this delivery did not succeed, by which the target may be down.
    pub(super) fn not_succeeded(&mut self, number: u64, call: Begun, at_fault: bool, refused: bool, now: Instant) {
        if refused {
            self.refused.count(now);
        }
        let of_the_outage = self.down.is_none() && self.back_since.is_some_and(|back| call.at < back);
        if of_the_outage && !mutant!("down-again-by-calls-of-the-outage") {
            return;
        }
        self.failing.insert(number, at_fault);
        let since = *self.failing_since.get_or_insert(now);
        if refused {
            self.refusals_in_a_row = self.refusals_in_a_row.saturating_add(1);
        }
        if self.down.is_some() || self.is_explained() {
            return;
        }
        let failing = if mutant!("count-what-is-at-fault") { self.failing.len() } else { self.unexplained() };
        let known = self.failing.len() - failing;
        let many = failing >= ENOUGH.min(self.here.saturating_sub(known)) || self.refusals_in_a_row >= REFUSALS;
        let quiet = now.saturating_duration_since(since) >= self.limits.quiet(now);
        let down = ((many && quiet) || (failing >= CERTAIN && !refused)) && !mutant!("never-find-it-down");
        if down {
            self.down = Some(Down { since, last_probe: now, probes: 0, returned: None });
        }
    }

    /// A delivery leaves this route. What is no longer here says nothing about what is.
    pub(super) fn leaves(&mut self, number: u64) {
        self.here -= 1;
        self.failing.remove(&number);
        self.held_until.remove(&number);
        if self.failing.is_empty() {
            self.failing_since = None;
        }
        if self.here == 0 && self.down.is_some_and(|down| down.returned.is_none()) {
            self.down = None;
        }
    }

    /// How many further messages may be received as far as this route is concerned; None for any number.
    pub(super) fn allowance(&self, now: Instant, visible: Option<usize>) -> Option<usize> {
        if self.limits.paused_until(now).is_some() {
            return Some(0);
        }
        if let Some(down) = &self.down
            && !mutant!("receive-in-an-outage")
        {
            let soon = now + if mutant!("receive-until-it-is-handed-back") { Duration::ZERO } else { LONG_POLL_OVER };
            let idle = |number: &u64| self.retries.keys().any(|(_, waits)| waits == number);
            let counts = |number: &u64| !mutant!("receive-while-a-call-outlasts-its-limit") || idle(number);
            if self.held_until.iter().any(|(number, limit)| *limit < soon && counts(number)) {
                // A long poll that is open when a message is returned takes it straight back.
                return Some(0);
            }
            if let Some(returned) = down.returned
                && returned.spend_from.is_none_or(|spend| now < spend)
            {
                let over = now >= returned.next_receive(visible);
                return Some(if over { self.probes_held(down, visible, now).saturating_sub(self.here) } else { 0 });
            }
            return Some(self.may_hold(down.since, now).saturating_sub(self.here));
        }
        if let Some(since) = self.suspicious_since() {
            return Some(self.may_hold(since, now).saturating_sub(self.here));
        }
        let by_rate = self.limits.rate(now).map(|rate| ((rate * PREFETCH) as usize).max(1));
        let by_calls = self.limits.calls(now);
        let by_places = Some(self.places).filter(|places| *places < self.slots);
        let most = [by_rate, by_calls, by_places].into_iter().flatten().min()?;
        let more = most.saturating_sub(self.fresh.len());
        // Half of it at a time: one by one they would cost a request each.
        Some(if more > most / 2 { more } else { 0 })
    }

    /// How many messages may be held to probe a target with that was down for longer than SQS lets a message be held. Where
    /// many wait it is one at first, and twice as many every two hours, since all of them may be messages that always fail;
    /// up to a part of those that wait, so that each spends a receive only rarely. Where few do, each of them spends a
    /// receive after a gap, and it makes no difference to it how many others do.
    fn probes_held(&self, down: &Down, visible: Option<usize>, now: Instant) -> usize {
        const TWICE_AFTER: u64 = 2 * 3600;
        const FEW: usize = 6;
        const PART: usize = 8;
        let visible = visible.unwrap_or_default();
        if visible < MANY {
            return FEW;
        }
        let beyond = now.saturating_duration_since(down.since).saturating_sub(HALF_A_DAY);
        let doublings = (beyond.as_secs() / TWICE_AFTER).min(30);
        (1 << doublings).min(FEW.max(visible / PART)).min(most_held(self.slots))
    }

    /// When the allowance may have grown though nothing happened.
    pub(super) fn allowance_grows(&self, now: Instant) -> Option<Instant> {
        let suspicious = self.suspicious_since();
        let down = self.down.map(|down| now + down.interval(now));
        let paused = self.limits.paused_until(now);
        down.or(suspicious.map(|_| now + FIRST_PROBE)).into_iter().chain(paused).min()
    }

    /// Since when so many fail that the target may be down, and not because they were found at fault before.
    fn suspicious_since(&self) -> Option<Instant> {
        self.failing_since.filter(|_| self.unexplained() >= SUSPICIOUS)
    }

    fn may_hold(&self, since: Instant, now: Instant) -> usize {
        let doublings = now.saturating_duration_since(since).as_secs_f64() / HELD_DOUBLES.as_secs_f64();
        // One more, so that a good message behind as many as can be held is found.
        let most = most_held(self.slots) + 1;
        let doublings = if mutant!("hold-only-three-while-down") { 0.0 } else { doublings };
        most.min((HELD_AT_FIRST * doublings.min(40.0).exp2()) as usize)
    }

    /// Who waits with the most against it, and may give its place to another message.
    pub(super) fn most_doubted(&self, now: Instant) -> Option<(f64, (Instant, u64))> {
        let leaves = |waiter: &Waiter| waiter.doubt <= DISPENSABLE && (!waiter.last_receive || waiter.may_nack <= now);
        let found = self.retries.iter().filter(|(_, waiter)| leaves(waiter));
        found.map(|(key, waiter)| (waiter.doubt, *key)).min_by(|(one, _), (other, _)| one.total_cmp(other))
    }

    /// What there is to see of this route, by its name.
    pub(super) fn look(&self, route: Arc<str>, visible: Option<usize>, now: Instant) -> TargetFlow {
        let waiters = || self.fresh.values().chain(self.retries.values());
        let until = |at: Instant| at.saturating_duration_since(now);
        TargetFlow {
            route,
            state: self.state(visible, now),
            rate: self.limits.taken(now),
            rate_limit: self.limits.rate(self.limits.frozen_at(now)),
            calls: self.active,
            calls_limit: self.limits.calls(now).or(Some(self.places).filter(|places| *places < self.slots)),
            refused_last_minute: self.refused.about(now),
            waiting: self.fresh.len(),
            retrying: self.retries.len(),
            done: self.done,
            doubted: waiters().filter(|waiter| waiter.doubt <= DISPENSABLE).count(),
            on_last_receive: waiters().filter(|waiter| waiter.last_receive).count(),
            failing_types: self.evidence.types_at_fault(now),
            only_one_fails: self.only_one_fails(visible),
            returned_in: self.retries.values().map(|waiter| until(waiter.limit)).min(),
        }
    }

    /// Whether one message fails and nothing else was tried. Beyond SQS's 12 hours one at a time is received, however many
    /// wait; then it is the only one if none is visible beside it.
    pub(super) fn only_one_fails(&self, visible: Option<usize>) -> bool {
        match self.down.and_then(|down| down.returned) {
            Some(_) => self.here <= 1 && visible.is_some_and(|visible| visible + self.here <= 1),
            None => self.here == 1 && self.failing.len() == 1,
        }
    }

    fn state(&self, visible: Option<usize>, now: Instant) -> FlowState {
        let until = |at: Instant| at.saturating_duration_since(now);
        if let Some(down) = &self.down {
            let probe = !self.retries.is_empty() && down.probes < PROBES;
            let at = down.next_probe(now).max(self.limits.paused_until(now).unwrap_or(now));
            let next_receive = down.returned.filter(|_| self.here == 0).map(|back| back.next_receive(visible));
            return FlowState::Down {
                lasts: now.saturating_duration_since(down.since),
                next_probe_in: probe.then(|| until(at)),
                next_receive_in: next_receive.map(until),
            };
        }
        if let Some(at) = self.limits.paused_until(now) {
            return FlowState::Paused { ends_in: until(at) };
        }
        match () {
            () if self.limits.is_returning(now) => FlowState::Returning,
            () if self.limits.any() => FlowState::Limited,
            () => FlowState::Flowing,
        }
    }

    pub(super) fn take(&mut self, key: Key) -> Option<Waiter> {
        match key {
            Key::Fresh(number) => self.fresh.remove(&number),
            Key::Retry(at, number) => self.retries.remove(&(at, number)),
        }
    }

    /// The delivery of this number waits for its turn.
    pub(super) fn wait(&mut self, number: u64, key: Key, waiter: Waiter) {
        self.held_until.insert(number, waiter.limit);
        match key {
            Key::Fresh(place) => drop(self.fresh.insert(place, waiter)),
            Key::Retry(at, number) => drop(self.retries.insert((at, number), waiter)),
        }
    }
}

/// How often something happened in the last minute.
#[derive(Debug, Default)]
pub(super) struct RecentCount {
    minute: Option<Instant>,
    this: u64,
    before: u64,
}

impl RecentCount {
    const MINUTE: Duration = Duration::from_secs(60);

    fn count(&mut self, now: Instant) {
        let began = *self.minute.get_or_insert(now);
        let elapsed = now.saturating_duration_since(began);
        if elapsed >= Self::MINUTE {
            self.before = if elapsed < 2 * Self::MINUTE { self.this } else { 0 };
            self.this = 0;
            self.minute = Some(now);
        }
        self.this += 1;
    }

    /// About how often, within the last minute.
    pub(super) fn about(&self, now: Instant) -> u64 {
        let Some(began) = self.minute else { return 0 };
        let elapsed = now.saturating_duration_since(began);
        match () {
            () if elapsed >= 2 * Self::MINUTE => 0,
            () if elapsed >= Self::MINUTE => self.this,
            () => self.this + (self.before as f64 * (1.0 - elapsed.as_secs_f64() / 60.0)) as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn begun(at: Instant) -> Begun {
        Begun { at, beside: 0 }
    }

    #[tokio::test(start_paused = true)]
    async fn poison_beside_one_refusal_does_not_look_like_an_outage() {
        let now = Instant::now();
        let mut route = RouteFlow::new(None, 10, now);
        route.here = 5;
        for number in 0..3 {
            route.not_succeeded(number, begun(now), true, false, now);
        }
        route.not_succeeded(3, begun(now), false, true, now + 2 * SECOND);
        assert!(route.down.is_none(), "one of two that are not known to be at fault");
        route.not_succeeded(4, begun(now), false, true, now + 2 * SECOND);
        assert!(route.down.is_some(), "both of them");
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_began_in_an_outage_do_not_tell_of_another() {
        let now = Instant::now();
        let mut route = RouteFlow::new(None, 10, now);
        route.here = 8;
        for number in 0..5 {
            route.not_succeeded(number, begun(now), false, true, now + SECOND * number as u32);
        }
        assert!(route.down.is_some());
        let back = now + 60 * SECOND;
        route.succeeded(begun(back), back);
        for number in 0..5 {
            route.not_succeeded(number, begun(now + 59 * SECOND), false, true, back + SECOND * number as u32);
        }
        assert!(route.down.is_none(), "they began before it was back");
        for number in 0..5 {
            route.not_succeeded(number, begun(back + SECOND), false, true, back + SECOND * (10 + number as u32));
        }
        assert!(route.down.is_some());
    }
}
