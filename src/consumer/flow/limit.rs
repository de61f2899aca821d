//! How much a target takes: a limit on the rate of calls, one on their number at a time, and pauses.
//!
//! The limits are found, not configured. A refusal while other calls of ours were in flight lowers the concurrency limit;
//! one while the call was alone, or beside as many calls as others succeeded beside just before, lowers the rate. In between both grow back along the curve of CUBIC (the TCP congestion
//! control): fast to just below where the target last refused, slowly across it, then fast beyond it. A limit that is far
//! beyond what is used is dropped.
//!
//! Nothing here knows of messages or of whose fault a failure is: that is `doubt`.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How far below the last refusal a limit starts again. On average a limit is then at 96 % of it.
const CUT: f64 = 0.15;

/// How long a limit takes to grow back to where the target last refused: this, or as long as five calls take at that rate.
const PERIOD: Duration = Duration::from_secs(10);

/// By how much a limit grows each second once it is far beyond the last refusal, and a rate after an outage.
const GROWTH: f64 = 1.5;

/// The rate with which a target is met that was down or paused for `PERIOD`, in calls a second.
const FIRST_RATE: f64 = 2.0;

/// A rate beyond which it limits nothing.
const NO_LIMIT: f64 = 20_000.0;

/// The lowest rate, in calls a second: one call in a minute is made to any target that is not down.
const LOWEST_RATE: f64 = 1.0 / 60.0;

/// The longest time for which a delay that a target names stops its route.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The wait after a refusal with no success since, doubled by each further one up to `LONGEST_BACK_OFF`.
const FIRST_BACK_OFF: Duration = Duration::from_millis(20);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(1);

/// For how long it counts that a call succeeded beside so many others: a target may come to take fewer.
const LATELY: Duration = Duration::from_secs(60);

/// How late a call may be and the next one still be on time: timers are exact to the millisecond.
const LATENESS: Duration = Duration::from_millis(2);

/// A limit that was cut and grows back.
#[derive(Clone, Copy, Debug)]
struct Ceiling {
    /// Where the target refused.
    max: f64,
    cut_at: Instant,
    period: Duration,
}

impl Ceiling {
    fn at(&self, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(self.cut_at).as_secs_f64();
        let period = self.period.as_secs_f64();
        let x = if mutant!("never-grow-a-limit-back") { 0.0 } else { elapsed / period };
        if x <= 2.0 {
            self.max * (1.0 + CUT * (x - 1.0).powi(3))
        } else {
            // Bounded, since a limit that nobody asks for grows for days.
            self.max * (1.0 + CUT) * GROWTH.powf((elapsed - 2.0 * period).min(100.0))
        }
    }
}

/// A rate that grows until something limits it.
#[derive(Clone, Copy, Debug)]
struct SlowStart {
    rate: f64,
    since: Instant,
}

impl SlowStart {
    fn at(&self, now: Instant) -> f64 {
        self.rate * GROWTH.powf(now.saturating_duration_since(self.since).as_secs_f64().min(100.0))
    }
}

/// The beginning of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    pub(super) at: Instant,
    /// Calls that were in flight then, without this one.
    pub(super) beside: usize,
}

/// When a call may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Now,
    /// Not before this.
    At(Instant),
    /// Not before a call that is in flight has ended.
    AfterACall,
}

/// The limits of one route.
#[derive(Debug)]
pub(super) struct Limits {
    rate: Option<Ceiling>,
    calls: Option<Ceiling>,
    slow_start: Option<SlowStart>,
    /// When the next call may start by the rate.
    next_start: Instant,
    /// Until when the target asked to be left alone, and since when.
    pause: Option<(Instant, Instant)>,
    /// Refused with no success since: until when nothing starts, and the wait after the next refusal.
    back_off: Option<(Instant, Duration)>,
    last_cut: Instant,
    refused_since_cut: u32,
    succeeded_since_cut: u32,
    /// The most calls beside which one began and succeeded lately, and when. As many are not a reason for a refusal.
    succeeded_beside: (usize, Instant),
    /// How long a successful call takes, in seconds, on average of the last ones.
    latency: f64,
    taken: Taken,
}

impl Limits {
    pub(super) fn new(now: Instant) -> Self {
        Limits {
            rate: None,
            calls: None,
            slow_start: None,
            next_start: now,
            pause: None,
            back_off: None,
            last_cut: now,
            refused_since_cut: 0,
            succeeded_since_cut: 0,
            succeeded_beside: (0, now),
            latency: 0.0,
            taken: Taken::default(),
        }
    }

    /// Whether anything limits the route.
    pub(super) fn any(&self) -> bool {
        self.has_limit() || self.pause.is_some() || self.back_off.is_some()
    }

    fn has_limit(&self) -> bool {
        self.rate.is_some() || self.calls.is_some() || self.slow_start.is_some()
    }

    /// The rate that the route is limited to, in calls a second.
    pub(super) fn rate(&self, now: Instant) -> Option<f64> {
        let rate = self.rate.map(|ceiling| ceiling.at(now));
        let slow = self.slow_start.map(|start| start.at(now));
        let least = match (rate, slow) {
            (Some(rate), Some(slow)) => rate.min(slow),
            (rate, slow) => rate.or(slow)?,
        };
        Some(least.max(LOWEST_RATE)).filter(|rate| *rate < NO_LIMIT)
    }

    /// How many calls the route is limited to at a time.
    pub(super) fn calls(&self, now: Instant) -> Option<usize> {
        if self.back_off.is_some() {
            return Some(1);
        }
        // Beyond any number of slots it is none, also where it was not looked at for days.
        let calls = self.calls.map(|ceiling| ceiling.at(now)).filter(|calls| *calls < NO_LIMIT * NO_LIMIT)?;
        Some((calls.round() as usize).max(1))
    }

    /// The rate of successes, in calls a second.
    pub(super) fn taken(&self, now: Instant) -> f64 {
        self.taken.rate(now)
    }

    /// Until when the target asked to be left alone.
    pub(super) fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.pause.map(|(until, _)| until).filter(|until| *until > now)
    }

    /// The time up to which the limits have grown: while paused they do not.
    pub(super) fn frozen_at(&self, now: Instant) -> Instant {
        self.pause.map_or(now, |(until, since)| if until > now { since } else { now })
    }

    /// Whether the rate still grows after an outage.
    pub(super) fn is_returning(&self, now: Instant) -> bool {
        match (self.slow_start, self.rate) {
            (Some(start), Some(rate)) => start.at(now) < rate.at(now),
            (start, _) => start.is_some(),
        }
    }

    /// How long the route must be quiet for a refusal to mean more than its rate: three times what lies between two calls.
    pub(super) fn quiet(&self, now: Instant) -> Duration {
        let apart = self.rate(now).map_or(0.0, |rate| 3.0 / rate);
        Duration::from_secs_f64(apart.clamp(1.0, 30.0))
    }

    /// Forgets limits that no longer limit anything with so many slots.
    pub(super) fn tidy(&mut self, now: Instant, slots: usize) {
        if let Some((until, _)) = self.pause {
            if until > now {
                return;
            }
            self.end_pause(until);
        }
        self.slow_start = self.slow_start.filter(|start| start.at(now) < NO_LIMIT && self.is_returning(now));
        self.rate = self.rate.filter(|ceiling| ceiling.at(now) < NO_LIMIT);
        self.calls = self.calls.filter(|ceiling| ceiling.at(now) <= slots as f64);
    }

    /// The pause is over. The limits have not grown meanwhile, since nothing was tried. After a longer one the target is met
    /// as slowly as one that was down: perhaps it was.
    fn end_pause(&mut self, now: Instant) {
        let Some((_, since)) = self.pause.take() else { return };
        let stood = now.saturating_duration_since(since);
        for ceiling in [&mut self.rate, &mut self.calls].into_iter().flatten() {
            ceiling.cut_at += stood;
        }
        if stood >= PERIOD && !mutant!("no-slow-start-after-a-pause") {
            self.slow_start = Some(SlowStart { rate: FIRST_RATE, since: now });
        } else if let Some(start) = &mut self.slow_start {
            start.since += stood;
        }
    }

    /// Whether a call that took so long ended by a time limit rather than by a refusal: much later than successes do.
    pub(super) fn is_time_out(&self, took: Duration) -> bool {
        took >= Duration::from_secs(1) && took.as_secs_f64() >= 4.0 * self.latency
    }

    /// When a call may start while `active` ones are in flight.
    pub(super) fn when(&self, active: usize, now: Instant) -> When {
        if let Some(until) = self.paused_until(now) {
            return When::At(until);
        }
        if self.calls(now).is_some_and(|calls| active >= calls) {
            return When::AfterACall;
        }
        let until = match self.back_off {
            Some((until, _)) => until.max(self.next_start),
            None => self.next_start,
        };
        if until > now { When::At(until) } else { When::Now }
    }

    /// A call starts now.
    pub(super) fn starts(&mut self, now: Instant) {
        let mut gap = self.rate(now).map_or(0.0, |rate| 1.0 / rate);
        if let Some(calls) = self.calls
            && self.back_off.is_none()
        {
            // Half of what would keep them evenly apart: a target with a limit in calls is not met by all of them at once.
            gap = gap.max(0.5 * self.latency / calls.at(now).max(1.0));
        }
        if gap > 0.0 {
            let on_time = now.checked_sub(LATENESS).map_or(now, |early| self.next_start.max(early));
            self.next_start = on_time + Duration::from_secs_f64(gap.min(60.0));
        }
    }

    /// A call succeeded with `others` in flight.
    pub(super) fn succeeded(&mut self, call: Begun, others: usize, now: Instant) {
        self.succeeded_since_cut = self.succeeded_since_cut.saturating_add(1);
        // Those beside which it began may have been answered in the same moment: the target had none but this one.
        let beside = if mutant!("count-what-was-just-answered") { call.beside } else { call.beside.min(others) };
        if beside >= self.succeeded_beside(now) {
            self.succeeded_beside = (beside, now);
        }
        let took = now.saturating_duration_since(call.at).as_secs_f64();
        self.latency = if self.latency == 0.0 { took } else { self.latency * 0.9 + took * 0.1 };
        self.taken.count(now);
        self.back_off = None;
        if let Some((_, since)) = self.pause
            && call.at < since
        {
            // The target takes calls all the same, so what it named was not meant for all.
            self.end_pause(now);
        }
    }

    fn succeeded_beside(&self, now: Instant) -> usize {
        let (beside, at) = self.succeeded_beside;
        if now.saturating_duration_since(at) < LATELY { beside } else { 0 }
    }

    /// The target refused a call with `others` in flight, and perhaps named a delay.
    pub(super) fn refused(&mut self, call: Begun, others: usize, named: Option<Duration>, now: Instant) {
        self.refused_since_cut = self.refused_since_cut.saturating_add(1);
        if let Some(named) = named.filter(|named| !named.is_zero() && !mutant!("ignore-a-named-delay")) {
            let most = if mutant!("pause-for-a-named-day") { Duration::MAX } else { LONGEST_PAUSE };
            let until = now + named.min(most);
            if self.paused_until(now).is_none_or(|before| before < until) {
                self.pause = Some((until, now));
            }
        }
        if call.at < self.last_cut && !mutant!("cut-for-each-refusal") {
            // One cut for all that was in flight together.
            return;
        }
        if self.succeeded_since_cut == 0 && self.has_limit() {
            let wait = self.back_off.map_or(FIRST_BACK_OFF, |(_, wait)| (wait * 2).min(LONGEST_BACK_OFF));
            self.back_off = Some((now + wait, wait));
            return;
        }
        if !mutant!("never-cut-a-limit") {
            let too_many = call.beside > self.succeeded_beside(now) || mutant!("blame-the-number-of-calls");
            self.cut(if too_many { others } else { 0 }, now);
        }
    }

    /// Fewer calls at a time than the `others` that were in flight, or a lower rate where that was not the reason.
    fn cut(&mut self, others: usize, now: Instant) {
        let factor = if self.refused_since_cut > self.succeeded_since_cut { 0.5 } else { 1.0 };
        let rate = self.rate(now);
        if !self.has_limit() {
            // Nothing is known of this target yet.
            self.slow_start = Some(SlowStart { rate: self.taken(now).max(1.0), since: now });
        } else if others > 0 {
            let calls = self.calls(now).map_or(others, |calls| calls.min(others));
            let max = (calls as f64 * factor).max(1.0);
            self.calls = Some(Ceiling { max, cut_at: now, period: PERIOD });
        } else {
            // A rate that was not used up has grown beyond what it says of the target.
            let used = (2.0 * self.taken(now)).max(1.0);
            let max = (rate.map_or(used, |rate| rate.min(used)) * factor).max(LOWEST_RATE);
            let period = PERIOD.max(Duration::from_secs_f64((5.0 / max).min(300.0)));
            self.rate = Some(Ceiling { max, cut_at: now, period });
            self.slow_start = None;
        }
        self.last_cut = now;
        self.refused_since_cut = 0;
        self.succeeded_since_cut = 0;
        self.back_off = Some((now + FIRST_BACK_OFF, FIRST_BACK_OFF));
    }

    /// The target took a call after having refused all for so long: perhaps it was down, and too few were tried to notice.
    pub(super) fn taken_after(&mut self, refusing: Duration, now: Instant) {
        if refusing >= PERIOD && !mutant!("no-slow-start-after-refusals") {
            self.slow_start = Some(SlowStart { rate: FIRST_RATE, since: now });
        }
    }

    /// The target is back after having been down for so long: it is met slowly, and what was known of it before a longer
    /// outage is no longer true.
    pub(super) fn back_after(&mut self, outage: Duration, now: Instant) {
        self.pause = self.pause.filter(|(until, _)| *until > now);
        if outage > PERIOD {
            self.rate = None;
            self.calls = None;
        }
        if !mutant!("no-slow-start-after-an-outage") {
            self.slow_start = Some(SlowStart { rate: FIRST_RATE, since: now });
        }
        self.next_start = now;
        // Refusals of calls that began while it was down say nothing about it now.
        self.last_cut = now;
        self.refused_since_cut = 0;
        self.succeeded_since_cut = 0;
        self.succeeded_beside = (0, now);
    }
}

/// The rate of successes: of the last second, or of the last eight where these took longer.
#[derive(Debug, Default)]
struct Taken {
    last: VecDeque<Instant>,
    second: Option<Instant>,
    in_this_second: u32,
    in_the_one_before: u32,
}

impl Taken {
    const KEPT: usize = 8;

    fn count(&mut self, now: Instant) {
        if self.last.len() == Self::KEPT {
            self.last.pop_front();
        }
        self.last.push_back(now);
        self.turn_over(now);
        self.in_this_second = self.in_this_second.saturating_add(1);
    }

    fn turn_over(&mut self, now: Instant) {
        let second = *self.second.get_or_insert(now);
        let elapsed = now.saturating_duration_since(second);
        if elapsed >= Duration::from_secs(1) {
            let before = std::mem::take(&mut self.in_this_second);
            self.in_the_one_before = if elapsed < Duration::from_secs(2) { before } else { 0 };
            self.second = Some(now);
        }
    }

    fn rate(&self, now: Instant) -> f64 {
        let Some((first, second)) = self.last.front().zip(self.second) else { return 0.0 };
        let span = now.saturating_duration_since(*first).as_secs_f64().max(1.0);
        let of_the_last = self.last.len() as f64 / span;
        let part = now.saturating_duration_since(second).as_secs_f64();
        let of_the_second = if part < 1.0 {
            f64::from(self.in_the_one_before) * (1.0 - part) + f64::from(self.in_this_second)
        } else {
            f64::from(self.in_this_second) / part
        };
        of_the_last.max(of_the_second)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn alone(at: Instant) -> Begun {
        Begun { at, beside: 0 }
    }

    /// Limits of a target that has taken so many calls of 20 ms, one after the other.
    async fn after(successes: u32) -> Limits {
        let mut limits = Limits::new(Instant::now());
        for _ in 0..successes {
            let began = Instant::now();
            advance(Duration::from_millis(20)).await;
            limits.succeeded(alone(began), 0, Instant::now());
        }
        limits
    }

    /// A call that is refused at once, with others in flight.
    async fn refused(limits: &mut Limits, others: usize, named: Option<Duration>) {
        let began = Instant::now();
        advance(Duration::from_millis(1)).await;
        limits.refused(Begun { at: began, beside: others }, others, named, Instant::now());
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_refusal_starts_slowly_from_what_was_taken() {
        let mut limits = after(50).await;
        assert_eq!((limits.any(), limits.when(63, Instant::now())), (false, When::Now));
        refused(&mut limits, 13, None).await;
        let rate = limits.rate(Instant::now()).expect("a rate");
        assert!((45.0..55.0).contains(&rate), "fifty were taken in the last second: {rate}");
        advance(seconds(2)).await;
        let rate = limits.rate(Instant::now()).expect("a rate");
        assert!((100.0..125.0).contains(&rate), "it grows by half each second: {rate}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_refusal_of_many_lowers_concurrency_a_lone_one_the_rate() {
        let mut limits = after(50).await;
        refused(&mut limits, 13, None).await;
        limits.succeeded(alone(Instant::now()), 0, Instant::now());
        limits.succeeded(alone(Instant::now()), 0, Instant::now());
        refused(&mut limits, 8, None).await;
        limits.succeeded(alone(Instant::now()), 0, Instant::now());
        assert_eq!(limits.calls(Instant::now()), Some(7), "85 % of eight");
        limits.succeeded(alone(Instant::now()), 0, Instant::now());
        let before = limits.rate(Instant::now()).expect("a rate");
        refused(&mut limits, 0, None).await;
        let after = limits.rate(Instant::now()).expect("a rate");
        assert!(after < 0.9 * before, "from {before} to {after}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_among_as_many_as_succeeded_lowers_the_rate() {
        let mut limits = after(50).await;
        refused(&mut limits, 13, None).await;
        advance(seconds(1)).await;
        let began = Begun { at: Instant::now(), beside: 3 };
        limits.succeeded(began, 3, Instant::now());
        let before = limits.rate(Instant::now()).expect("a rate");
        refused(&mut limits, 3, None).await;
        limits.succeeded(alone(Instant::now()), 0, Instant::now());
        let after = limits.rate(Instant::now()).expect("a rate");
        assert!(limits.calls(Instant::now()).is_none() && after < 0.9 * before, "from {before} to {after}");
        advance(LATELY).await;
        refused(&mut limits, 3, None).await;
        limits.succeeded(alone(Instant::now()), 0, Instant::now());
        assert_eq!(limits.calls(Instant::now()), Some(3), "none succeeded beside three lately");
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_beside_what_was_just_answered_does_not_count() {
        let mut limits = after(50).await;
        refused(&mut limits, 13, None).await;
        advance(seconds(1)).await;
        limits.succeeded(Begun { at: Instant::now(), beside: 1 }, 0, Instant::now());
        refused(&mut limits, 1, None).await;
        limits.succeeded(alone(Instant::now()), 0, Instant::now());
        assert_eq!(limits.calls(Instant::now()), Some(1), "it was refused beside one");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_in_flight_together_is_refused_as_one() {
        let mut limits = after(50).await;
        refused(&mut limits, 13, None).await;
        limits.succeeded(alone(Instant::now()), 0, Instant::now());
        let began = Instant::now();
        advance(Duration::from_millis(5)).await;
        for others in (1..9).rev() {
            limits.refused(Begun { at: began, beside: others }, others, None, Instant::now());
        }
        assert_eq!(limits.back_off.map(|(_, wait)| wait), Some(FIRST_BACK_OFF));
        limits.succeeded(alone(Instant::now()), 0, Instant::now());
        assert_eq!(limits.calls(Instant::now()), Some(7), "85 % of eight");
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_grows_back_to_the_last_refusal_and_beyond() {
        let now = Instant::now();
        let ceiling = Ceiling { max: 100.0, cut_at: now, period: seconds(10) };
        let at = |after: u64| ceiling.at(now + seconds(after)).round();
        assert_eq!([0, 5, 10, 15, 20, 22].map(at), [85.0, 98.0, 100.0, 102.0, 115.0, 259.0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_named_delay_stops_the_route_and_an_earlier_call_ends_it() {
        let mut limits = after(3).await;
        let earlier = Instant::now();
        refused(&mut limits, 1, Some(seconds(60))).await;
        let until = Instant::now() + seconds(60);
        assert_eq!(limits.when(0, Instant::now()), When::At(until));
        limits.succeeded(alone(Instant::now()), 0, Instant::now());
        assert_eq!(limits.paused_until(Instant::now()), Some(until), "a call that began later says nothing of it");
        limits.succeeded(alone(earlier), 0, Instant::now());
        assert_eq!(limits.paused_until(Instant::now()), None);
        refused(&mut limits, 0, Some(seconds(86_400))).await;
        assert_eq!(
            limits.paused_until(Instant::now()),
            Some(Instant::now() + LONGEST_PAUSE),
            "five minutes at the most"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn limits_do_not_grow_while_the_route_stands() {
        let mut limits = after(50).await;
        refused(&mut limits, 0, Some(seconds(9))).await;
        let before = limits.rate(Instant::now()).expect("a rate").round();
        for _ in 0..9 {
            advance(seconds(1)).await;
            limits.tidy(Instant::now(), 64);
        }
        assert_eq!(limits.rate(Instant::now()).map(f64::round), Some(before));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_long_pause_the_target_is_met_slowly() {
        let mut limits = after(50).await;
        refused(&mut limits, 13, Some(seconds(60))).await;
        advance(seconds(60)).await;
        limits.tidy(Instant::now(), 64);
        assert_eq!(limits.rate(Instant::now()), Some(FIRST_RATE));
        advance(seconds(1)).await;
        assert_eq!(limits.rate(Instant::now()), Some(FIRST_RATE * GROWTH));
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_with_no_success_between_wait_ever_longer_one_by_one() {
        let mut limits = after(3).await;
        refused(&mut limits, 5, None).await;
        let mut waits = Vec::new();
        for _ in 0..7 {
            let When::At(at) = limits.when(0, Instant::now()) else { panic!("it waits") };
            assert_eq!(limits.calls(Instant::now()), Some(1));
            advance(at.saturating_duration_since(Instant::now())).await;
            let now = Instant::now();
            refused(&mut limits, 0, None).await;
            let Some((until, _)) = limits.back_off else { panic!("it was refused") };
            waits.push(until.saturating_duration_since(now).as_millis() - 1);
        }
        assert_eq!(waits, [40, 80, 160, 320, 640, 1_000, 1_000]);
        limits.succeeded(alone(Instant::now()), 0, Instant::now());
        assert!(limits.back_off.is_none());
    }
}
