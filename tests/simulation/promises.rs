//! What is promised where a target is degraded, computed from the record of a scenario. Each promise names what was
//! expected and what was seen; the scenario is told beside it.

use std::time::Duration;

use crate::record::{Call, Record};
use crate::scenario::{Message, Scenario};
use crate::target::{Answer, Down, Latency, Limit, Nature, Outage, Target};

pub(crate) type Kept = Result<(), String>;

type Promise = fn(&Scenario, &Record) -> Kept;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// No named delay is honoured for longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The longest outage of a whole route that dead-letters nothing.
const LONGEST_OUTAGE: Duration = Duration::from_secs(64 * 3600);

/// How long a free slot waits for nine others before a receive, with or without flow control.
const PATIENCE: Duration = Duration::from_millis(50);

/// A message that is held goes back before its 12 hours are over, by two minutes and the limit of a handler.
const HELD_FOR: Duration = Duration::from_secs(12 * 3600 - 720);

/// All promises, each with its name.
pub(crate) const PROMISES: [(&str, Promise); 9] = [
    ("nothing went wrong", nothing_went_wrong),
    ("1: what can succeed is not dead-lettered", what_can_succeed_is_not_dead_lettered),
    ("1: an outage costs a receive for each 12 hours", an_outage_costs_a_receive_for_each_twelve_hours),
    ("2: a named delay is honoured up to 5 min", a_named_delay_is_honoured),
    ("2: nothing stands for longer by a named delay", nothing_stands_by_a_named_delay),
    ("3: the target gets what it takes", the_target_gets_what_it_takes),
    ("4: the return of a target is noticed in time", a_return_is_noticed),
    ("4: the rate grows slowly and is whole in 60 s", the_rate_comes_back),
    ("5: poison is dead-lettered in 5 to 10 min", poison_is_dead_lettered_in_time),
];

/// The first promise that was broken, with all that is needed to see it again.
pub(crate) fn check(scenario: &Scenario, record: &Record) -> Kept {
    for (name, promise) in PROMISES {
        promise(scenario, record)
            .map_err(|seen| format!("seed {}\n{}\n{name}: {seen}", scenario.seed, scenario.describe()))?;
    }
    Ok(())
}

/// What was seen while it happened (6: a queue that stands; order in groups; summaries), and that all good ones were done.
fn nothing_went_wrong(scenario: &Scenario, record: &Record) -> Kept {
    // Where nearly all calls fail there is next to nothing to compare with, and the target seems to be down now and then.
    let hopeless = scenario.targets.iter().any(|target| target.random > 0.9);
    let lasting = scenario.targets.iter().flat_map(|target| &target.outages).any(|one| one.lasts() > 11 * HOUR);
    let always = (0..scenario.messages.len()).any(|number| scenario.always_fails(number));
    // What always fails and is left alone on its route looks like an outage, and holds up the other routes.
    let holds_up_others = lasting && always && scenario.targets.len() > 1;
    let stood = if hopeless || holds_up_others { &[] } else { &record.stood[..] };
    if let Some(wrong) = record.wrong.iter().chain(stood).next() {
        return Err(format!("6: {wrong} ({} such)", record.wrong.len() + stood.len()));
    }
    // What fails by chance until nothing but poison is left beside it waits like poison.
    let unlucky = |number: usize| {
        let calls = || record.calls.iter().filter(|call| call.message == number).count();
        always && scenario.targets[scenario.messages[number].route].random > 0.0 && calls() >= 8
    };
    let left = |number: &usize| {
        let number = *number;
        let good = scenario.can_succeed(number) && !scenario.is_behind_poison(number);
        good && !record.over[number] && !unlucky(number)
    };
    let left: Vec<_> = (0..scenario.messages.len()).filter(left).collect();
    // More of those that always fail than can be held, with what is behind them, may stand before them for longer.
    let stands = |number: &usize| scenario.always_fails(*number) || scenario.is_behind_poison(*number);
    let standing = (0..scenario.messages.len()).filter(stands);
    let bytes: usize = standing.clone().map(|number| scenario.messages[number].bytes).sum();
    let can_be_held = standing.count() <= 10 * scenario.slots && bytes < scenario.bytes / 2;
    // After a long outage, or where most calls fail at random, what always fails may be all that is received: for ever
    // where there is no redrive policy, and for days where it holds up another route or stands at the head of all groups.
    let holds_up = scenario.max_receive_count.is_none() || scenario.targets.len() > 1 || scenario.fifo;
    let mostly_fails = scenario.targets.iter().any(|target| target.random >= 0.8);
    let outlived = always && ((lasting && holds_up) || mostly_fails);
    if !left.is_empty() && scenario.retention.is_none() && can_be_held && !hopeless && !outlived {
        let first = left[0];
        return Err(format!("{} that can succeed were not handled by {:?}, such as {first}", left.len(), record.end));
    }
    Ok(())
}

/// Whether an outage is one that nothing may be dead-lettered by, of what had spent so many receives before it.
fn may_not_cost(scenario: &Scenario, record: &Record, route: usize, outage: &Outage, spent: usize) -> bool {
    let Some(most) = scenario.max_receive_count else { return true };
    let (from, until) = (outage.from, outage.until);
    // A restart costs what is held one receive.
    let most = most.saturating_sub((record.restarts(from, until) + spent) as u32);
    let lasts = until - from;
    let waiting = record.waiting(from + (lasts / 2).min(HOUR), |number| scenario.messages[number].route == route);
    let limit = if most >= 3 && waiting >= 3 { LONGEST_OUTAGE } else { 12 * HOUR * most.saturating_sub(1) };
    lasts <= limit
}

fn what_can_succeed_is_not_dead_lettered(scenario: &Scenario, record: &Record) -> Kept {
    let cheap = |number: usize| {
        let route = scenario.messages[number].route;
        // A short fault of its type costs receives, which an outage just afterwards may need.
        let received =
            |before: Duration| record.received.iter().filter(move |one| one.message == number && one.at < before);
        let mut faults = scenario.targets[route].failing.iter();
        let faulty = faults.any(|fault| fault.kind == scenario.messages[number].kind);
        let spent = |one: &Outage| if faulty { received(one.from).count() } else { 0 };
        scenario.targets[route].outages.iter().all(|one| may_not_cost(scenario, record, route, one, spent(one)))
    };
    // What stands behind one that always fails in its group is received with it each time; an outage or a restart at its
    // last receive is then too much. And where nearly all calls fail at random, one message in some hundreds is lost.
    let disturbed = !scenario.lives.is_empty() || scenario.targets.iter().any(|target| !target.outages.is_empty());
    let behind = |number: usize| disturbed && scenario.is_behind_poison(number);
    let hopeless = |number: usize| scenario.targets[scenario.messages[number].route].random > 0.9;
    let may_not = |number: usize| scenario.can_succeed(number) && !behind(number) && !hopeless(number) && cheap(number);
    let dead: Vec<_> = record.dead.iter().filter(|(_, number)| may_not(*number)).collect();
    match dead.first() {
        None => Ok(()),
        Some((at, number)) => Err(format!(
            "{} of {} were dead-lettered; the first is message {number} at {at:?}; received at {:?}; its calls: {:?}",
            dead.len(),
            scenario.messages.len(),
            record.received.iter().filter(|one| one.message == *number).map(|one| one.at).collect::<Vec<_>>(),
            calls_of(record, *number),
        )),
    }
}

/// The first and last calls for a message, short.
fn calls_of(record: &Record, number: usize) -> Vec<(Duration, Option<Answer>)> {
    let calls = record.calls.iter().filter(|call| call.message == number).map(|call| (call.begun, call.answer));
    let mut calls: Vec<_> = calls.collect();
    if calls.len() > 12 {
        calls.drain(6..calls.len() - 6);
    }
    calls
}

fn an_outage_costs_a_receive_for_each_twelve_hours(scenario: &Scenario, record: &Record) -> Kept {
    let fails_in_part = scenario.targets.iter().any(|target| !target.failing.is_empty() || target.random > 0.0);
    for (route, target) in scenario.targets.iter().enumerate() {
        // What fails while others of its route succeed is another matter, also when all fail afterwards.
        let falls_under_5 = target.random > 0.0 || !target.failing.is_empty();
        let successes = record.successes(route);
        for outage in target.outages.iter().filter(|one| !falls_under_5 && one.from < record.end) {
            let back = successes.iter().find(|at| **at >= outage.until).copied().unwrap_or(record.end);
            let within = record.received.iter().filter(|one| one.at > outage.from && one.at < back);
            let mut counts = std::collections::BTreeMap::new();
            for one in within {
                let message = &scenario.messages[one.message];
                // What stands behind poison in its group is returned with it.
                let behind = scenario.is_behind_poison(one.message) || (scenario.fifo && fails_in_part);
                if message.route == route && scenario.can_succeed(one.message) && !behind {
                    *counts.entry(one.message).or_insert(0) += 1;
                }
            }
            let span = back - outage.from;
            let may = 1 + (span.as_secs() / HELD_FOR.as_secs()) as usize + record.restarts(outage.from, back);
            // Two poison messages of a type that failed just before make it look like one that fails.
            let blamed = |number: usize| {
                let kind = scenario.messages[number].kind;
                let poison =
                    |other: &&Message| other.nature != Nature::Good && other.route == route && other.kind == kind;
                usize::from(scenario.messages.iter().filter(poison).count() >= 2)
            };
            let may = |number: usize| may + blamed(number);
            if let Some((message, seen)) = counts.into_iter().find(|(message, seen)| *seen > may(*message)) {
                return Err(format!(
                    "message {message} was received {seen} times from {:?} to {back:?}, and {} are allowed",
                    outage.from,
                    may(message)
                ));
            }
        }
    }
    Ok(())
}

/// The refusals of a route that named a delay, and until when each is to be honoured.
fn pauses(record: &Record, route: usize) -> impl Iterator<Item = (&Call, Duration)> {
    record.calls.iter().filter(move |call| call.route == route).filter_map(|call| match call.answer {
        Some(Answer::Busy(Some(delay))) => Some((call, call.ended + delay.min(LONGEST_PAUSE))),
        _ => None,
    })
}

fn a_named_delay_is_honoured(scenario: &Scenario, record: &Record) -> Kept {
    for route in 0..scenario.targets.len() {
        let of_route: Vec<&Call> = record.calls.iter().filter(|call| call.route == route).collect();
        for (refused, until) in pauses(record, route) {
            let after = of_route.partition_point(|call| call.begun <= refused.ended);
            let Some(next) = of_route.get(after).filter(|next| next.begun < until) else { continue };
            let ended_it = |call: &&&Call| {
                call.begun < refused.ended
                    && call.ended >= refused.ended
                    && call.ended <= next.begun
                    && call.answer == Some(Answer::Taken)
            };
            if next.life == refused.life && !of_route[..after].iter().rev().take(10_000).any(|call| ended_it(&call)) {
                return Err(format!(
                    "the call at {:?} was answered at {:?} by {:?}, and message {} was called at {:?}",
                    refused.begun, refused.ended, refused.answer, next.message, next.begun
                ));
            }
        }
    }
    Ok(())
}

fn nothing_stands_by_a_named_delay(scenario: &Scenario, record: &Record) -> Kept {
    // Where nearly all calls fail any message may seem to be at fault.
    for (route, _) in scenario.targets.iter().enumerate().filter(|(_, target)| target.random <= 0.9) {
        let begun: Vec<Duration> =
            record.calls.iter().filter(|call| call.route == route).map(|call| call.begun).collect();
        for (refused, until) in pauses(record, route) {
            let next = begun[begun.partition_point(|at| *at <= refused.ended)..].first().copied().unwrap_or(record.end);
            // The next probe of a target that is down, at the latest, and no pause that was named before goes on.
            let earlier = pauses(record, route).filter(|(call, _)| call.ended <= refused.ended).map(|(_, until)| until);
            let latest = earlier.max().unwrap_or(until).max(until) + 30 * SECOND;
            // A receive cannot choose its route: one that is down holds up the others for as long. And beyond 12 hours
            // little is received, also where nothing is left but what always fails, which looks like an outage.
            let holds_up = |(other, target): (usize, &Target)| {
                let overlaps = |one: &Outage| one.from <= next && refused.ended <= one.until;
                let down = other != route && target.outages.iter().any(overlaps);
                down || seems_down(scenario, record, other, refused.ended)
            };
            let down = || scenario.targets.iter().enumerate().any(holds_up);
            let waiting = || {
                record.waiting(until, |number| scenario.messages[number].route == route && scenario.can_succeed(number))
            };
            // A process that drains calls nobody, and what one held that was killed is hidden for its visibility timeout.
            let restarted = record.restarts(refused.begun, next) > 0;
            if next > latest && !restarted && waiting() > 0 && !down() {
                return Err(format!(
                    "refused at {:?}, and the next call is at {next:?}, not by {latest:?}",
                    refused.ended
                ));
            }
        }
    }
    Ok(())
}

/// Whether messages wait for a route and nothing has succeeded on it for about twelve hours.
fn seems_down(scenario: &Scenario, record: &Record, route: usize, at: Duration) -> bool {
    let Some(since) = at.checked_sub(11 * HOUR) else { return false };
    !record.successes(route).iter().any(|success| (since..at).contains(success))
        && record.waiting(at, |number| scenario.messages[number].route == route) > 0
}

/// What a target takes, as far as it is promised to get it.
struct Share {
    per_second: f64,
    /// What its bucket holds.
    burst: f64,
    least: f64,
    most_refused: f64,
}

/// None where nothing is promised.
fn share(scenario: &Scenario, target: &Target, limits: &[Limit]) -> Option<Share> {
    let latency = target.latency.mean().as_secs_f64();
    let ours = scenario.slots as f64 / (latency + (PATIENCE + scenario.queue_latency).as_secs_f64());
    let others = scenario.messages.iter().filter(|message| message.nature != Nature::Good).count();
    // More that always fail than there are slots may come first: see `good_ones_behind_poison_begin_in_time`.
    let always = (0..scenario.messages.len()).filter(|number| scenario.always_fails(*number)).count();
    if others > scenario.slots || always > 5 * scenario.slots {
        return None;
    }
    if target.names_long_delays() || target.random > 0.0 || scenario.targets.len() > 1 || scenario.bytes < 256 << 20 {
        return None;
    }
    let mut share = Share { per_second: ours, burst: 0.0, least: 0.95, most_refused: 1.0 };
    for limit in limits {
        match *limit {
            Limit::Rate { per_second, burst } => {
                if limit.wants_spacing(latency) {
                    return None;
                }
                if per_second < share.per_second {
                    share.per_second = per_second;
                    share.burst = burst;
                    let least = if per_second >= 2.0 { 0.85 } else { 0.8 };
                    share.least = share.least.min(if per_second >= 1.0 { least } else { 0.5 });
                    share.most_refused = if per_second >= 5.0 { 0.1 } else { 0.35 };
                    share.most_refused = if per_second >= 1.0 { share.most_refused } else { 1.0 };
                }
            }
            Limit::Concurrency(most) => {
                if most < scenario.slots {
                    share.per_second = share.per_second.min(most as f64 / latency);
                    share.least = share.least.min(if most >= 5 { 0.85 } else { 0.5 });
                }
            }
            Limit::Window { .. } => return None,
        }
    }
    let times_out = target.often_times_out();
    if (others > 0 || !target.failing.is_empty()) && share.per_second < 1.0 {
        return None;
    }
    // To call each of those that always fail twice takes longer than the time that is left for it.
    if others as f64 > share.per_second * 30.0 {
        return None;
    }
    let mixed = times_out || limits.len() > 1 || others > 0 || !target.failing.is_empty();
    if mixed {
        // Of the first calls, as many are for those that always fail as these are of the messages.
        let good = 1.0 - always as f64 / scenario.messages.len() as f64;
        share = Share { least: share.least.min(0.5) * good, most_refused: 1.0, ..share };
    }
    // A message whose type failed keeps its group waiting for a while.
    if times_out || (scenario.fifo && !target.failing.is_empty()) {
        return None;
    }
    if scenario.fifo {
        // Now and then all messages that are here are of the same few groups.
        share.least *= 0.95;
        // A group is one message at a time, and its next one comes with another receive.
        let groups = scenario.messages.iter().map(|message| message.group).max().unwrap_or_default() as f64;
        if groups / (latency + 0.1) < 2.0 * share.per_second {
            return None;
        }
    }
    Some(share)
}

fn the_target_gets_what_it_takes(scenario: &Scenario, record: &Record) -> Kept {
    let poison = (0..scenario.messages.len()).filter(|number| scenario.always_fails(*number)).count();
    let failed = &first_answered(record, &[Answer::Failed]);
    for (route, target) in scenario.targets.iter().enumerate() {
        let mut changes = target.changes();
        changes.extend(record.lives.iter().map(|(began, _)| *began));
        changes.extend([Duration::ZERO, record.end]);
        changes.retain(|at| *at <= record.end);
        changes.sort();
        for stretch in changes.windows(2) {
            let (from, until) = (noticed(scenario, record, route, stretch[0]) + MINUTE, stretch[1]);
            let Some(share) = share(scenario, target, &target.limits_at(stretch[0])) else { continue };
            if target.is_down(stretch[0]).is_some() {
                continue;
            }
            // After more than twelve hours only a few messages probe the target, and they may all be such that always fail,
            // or wait behind others in their groups.
            let long = |one: &Outage| one.until <= stretch[1] && one.lasts() > 11 * HOUR;
            let always = || (0..scenario.messages.len()).any(|number| scenario.always_fails(number));
            if target.outages.iter().any(long) && (scenario.fifo || always()) {
                continue;
            }
            let window = MINUTE.max(Duration::from_secs_f64(50.0 / share.per_second));
            let mut from = from;
            // What a process held that was killed is hidden for as long as its visibility timeout.
            if record.restarts(from.saturating_sub(scenario.visibility), until) > 0 {
                continue;
            }
            // What failed waits in the queue until its delay is over.
            let ready = |until: Duration| move |number: usize| failed[number].is_none_or(|at| at >= until);
            while from + window <= until && has_more(scenario, record, route, from + window, ready(from + window)) {
                let ended = |call: &&Call| call.route == route && (from..from + window).contains(&call.ended);
                let calls: Vec<&Call> = record.calls.iter().filter(ended).collect();
                let count =
                    |what: fn(Answer) -> bool| calls.iter().filter(|call| call.answer.is_some_and(what)).count() as f64;
                let taken = count(|answer| answer == Answer::Taken);
                let refused = count(|answer| matches!(answer, Answer::Busy(_) | Answer::TimedOut));
                // What a bucket saved may have been spent just before the window.
                let expected = share.least * share.per_second * window.as_secs_f64() - share.burst;
                // Where calls take as long as chance will have it, so does their number.
                let chance = matches!(target.latency, Latency::Exponential(_));
                let expected = if chance { expected - 3.0 * expected.sqrt() } else { expected };
                // What always fails takes four calls at a receive, and may come all at once.
                let at_fault = count(|answer| answer == Answer::Failed).min(4.0 * poison as f64);
                if taken + at_fault < expected {
                    return Err(format!(
                        "{taken} taken and {refused} refused in {window:?} from {from:?}, expected {expected:.0}"
                    ));
                }
                if refused > share.most_refused * (taken + refused) {
                    return Err(format!(
                        "{refused} of {} were refused in {window:?} from {from:?}, at most {} are allowed",
                        taken + refused,
                        share.most_refused
                    ));
                }
                from += window;
            }
        }
    }
    Ok(())
}

/// When a change of the target at a time is noticed. After an outage that is the first success where messages always fail:
/// each probe with one of them says that the target is down still.
fn noticed(scenario: &Scenario, record: &Record, route: usize, at: Duration) -> Duration {
    let outages = &scenario.targets[route].outages;
    let back = outages.iter().map(|one| one.until).filter(|until| *until <= at).max();
    let fails = |number: usize| scenario.messages[number].route == route && scenario.always_fails(number);
    let Some(back) = back.filter(|_| (0..scenario.messages.len()).any(fails)) else { return at };
    record.successes(route).into_iter().find(|success| *success >= back).unwrap_or(record.end).max(at)
}

/// Whether there is more to do than the engine holds.
fn has_backlog(scenario: &Scenario, record: &Record, route: usize, at: Duration) -> bool {
    has_more(scenario, record, route, at, |_| true)
}

/// Whether there is more of these to do than the engine holds.
fn has_more(scenario: &Scenario, record: &Record, route: usize, at: Duration, these: impl Fn(usize) -> bool) -> bool {
    let good = |number: usize| {
        these(number)
            && scenario.messages[number].route == route
            && scenario.can_succeed(number)
            && !scenario.is_behind_poison(number)
    };
    record.waiting(at, good) >= 2 * scenario.slots + 10
}

/// The outages whose end is promised to be noticed: nothing else is wrong with the target or with its messages.
fn plain_outages<'a>(scenario: &'a Scenario, record: &'a Record) -> impl Iterator<Item = (usize, &'a Target, usize)> {
    let plain = |target: &Target| target.failing.is_empty() && target.random == 0.0 && !target.absurd;
    let alone = scenario.targets.len() == 1 && scenario.messages.iter().all(|message| message.nature == Nature::Good);
    // What a process held that was killed is hidden for as long as its visibility timeout.
    let hidden = scenario.visibility;
    let restarted = move |from: Duration, until| record.restarts(from.saturating_sub(hidden), until + MINUTE * 2) > 0;
    scenario.targets.iter().enumerate().filter(move |(_, target)| alone && plain(target)).flat_map(
        move |(route, target)| {
            let outages = 0..target.outages.len();
            outages
                .filter(move |number| {
                    let outage = &target.outages[*number];
                    let overlaps = target.outages.iter().enumerate().any(|(other, next)| {
                        other != *number && next.from < outage.until + 2 * MINUTE && next.until > outage.from
                    });
                    // One that comes before the end of the last one was noticed goes on with it.
                    let before = target.outages.iter().map(|one| one.until).filter(|until| *until <= outage.from).max();
                    let successes = record.successes(route);
                    let noticed = |until: Duration| successes.iter().any(|at| (until..outage.from).contains(at));
                    let again = before.is_none_or(noticed);
                    !overlaps && again && outage.until < record.end && !restarted(outage.from, outage.until)
                })
                .map(move |number| (route, target, number))
        },
    )
}

/// What the target takes to answer, its silence at the moment of its return included.
fn answers_within(target: &Target, how: Down) -> Duration {
    let hangs = if how == Down::Hangs { target.timeout } else { Duration::ZERO };
    target.latency.most().min(target.timeout) + hangs + Duration::from_millis(100)
}

fn a_return_is_noticed(scenario: &Scenario, record: &Record) -> Kept {
    for (route, target, number) in plain_outages(scenario, record) {
        let outage = target.outages[number];
        let back = outage.until;
        let waiting = record.waiting(back, |number| scenario.messages[number].route == route);
        if waiting == 0 || !may_not_cost(scenario, record, route, &outage, 0) {
            continue;
        }
        let first = record.successes(route).into_iter().find(|at| *at >= back);
        let earlier = |call: &Call| first.is_none_or(|first| call.ended < first);
        let paused =
            pauses(record, route).filter(|(call, _)| call.begun < back && earlier(call)).map(|(_, until)| until);
        let rest = paused.max().unwrap_or_default().saturating_sub(back);
        let probe = (outage.lasts() / 64).clamp(SECOND, 28 * SECOND) + SECOND;
        // The heads of groups come again and again, however many messages wait behind them.
        let many = waiting >= 32 && !scenario.fifo;
        let within = if outage.lasts() <= HELD_FOR || many { probe.max(rest) } else { 24 * HOUR };
        // What is left of a window that is used up is not part of the outage.
        let windows = target.limits.iter().map(|limit| match limit {
            Limit::Window { length, .. } => *length,
            _ => Duration::ZERO,
        });
        let window = windows.max().unwrap_or_default();
        // A probe that the target answers too late by chance says that it is down still.
        let late = |call: &&Call| call.begun >= back && earlier(call) && call.answer == Some(Answer::TimedOut);
        let late = record.calls.iter().filter(late).count() as u32 * (probe + target.timeout);
        let latest = back + within + window + late + answers_within(target, outage.how) + 2 * scenario.queue_latency;
        // One that begins before then goes on with it.
        let again = target.outages.iter().any(|next| next.from >= back && next.from < latest);
        if first.is_none_or(|first| first > latest) && !again {
            let then =
                record.calls.iter().filter(|call| call.begun + MINUTE * 2 > back && call.begun < latest + MINUTE);
            let then: Vec<_> = then.map(|call| (call.begun, call.answer)).take(20).collect();
            return Err(format!(
                "back at {back:?} after {:?} with {waiting} waiting, the first success is at {first:?}, not by {latest:?}: {then:?}",
                outage.lasts()
            ));
        }
    }
    Ok(())
}

fn the_rate_comes_back(scenario: &Scenario, record: &Record) -> Kept {
    for (route, target, number) in plain_outages(scenario, record) {
        let outage = target.outages[number];
        let successes = record.successes(route);
        let Some(first) = successes.iter().find(|at| **at >= outage.until).copied() else { continue };
        let in_time = |from: Duration, until: Duration| {
            successes.partition_point(|at| *at < until) - successes.partition_point(|at| *at < from)
        };
        let before_from = outage.from.saturating_sub(10 * SECOND);
        let settled = before_from >= MINUTE && has_backlog(scenario, record, route, outage.from);
        let before = in_time(before_from, outage.from) as f64 / 10.0;
        if outage.lasts() >= 10 * SECOND {
            grows_slowly(record, route, first, if settled { before } else { f64::MAX })?;
        }
        let soon = first + MINUTE;
        let same = target.recovery.is_none() && !target.often_times_out();
        let latency = target.latency.mean().as_secs_f64();
        let spaced = target.limits_at(outage.until).iter().any(|limit| limit.wants_spacing(latency));
        if !settled || before < 1.0 || !same || spaced || !has_backlog(scenario, record, route, soon) {
            continue;
        }
        let long = (3 * SECOND).max(Duration::from_secs_f64(10.0 / before));
        let starts = (0..).map(|tenths| first + SECOND * tenths / 10).take_while(|from| *from + long <= soon);
        let best = starts.map(|from| in_time(from, from + long)).max().unwrap_or_default() as f64 / long.as_secs_f64();
        if best < 0.85 * before {
            return Err(format!(
                "{before}/s before {:?}, and at most {best:.1}/s within 60 s of {first:?}",
                outage.from
            ));
        }
    }
    Ok(())
}

/// In seconds, from the one before the first success, until the rate is what it was before.
fn grows_slowly(record: &Record, route: usize, first: Duration, before: f64) -> Kept {
    let mut seconds = [0_usize; 62];
    for call in record.calls.iter().filter(|call| call.route == route) {
        let Some(since) = (call.begun + SECOND).checked_sub(first) else { continue };
        if let Some(second) = seconds.get_mut(since.as_secs() as usize) {
            *second += 1;
        }
    }
    // A limit that the target still has makes single seconds differ: the best one so far counts.
    for (number, pair) in seconds.windows(2).enumerate() {
        let best = seconds[..=number].iter().copied().max().unwrap_or_default();
        if pair[1] > 2 * best + 5 {
            return Err(format!(
                "{} calls in second {number} after the first success at {first:?}: {seconds:?}",
                pair[1]
            ));
        }
        if pair[1] as f64 >= 0.85 * before {
            break;
        }
    }
    Ok(())
}

fn poison_is_dead_lettered_in_time(scenario: &Scenario, record: &Record) -> Kept {
    if scenario.max_receive_count.is_none_or(|most| most < 2) {
        return Ok(());
    }
    let all: Vec<usize> = (0..scenario.messages.len()).filter(|number| scenario.always_fails(*number)).collect();
    let first_failures = first_answered(record, &[Answer::Failed, Answer::Refused]);
    let successes: Vec<_> = (0..scenario.targets.len()).map(|route| record.successes(route)).collect();
    for number in all.iter().copied() {
        let Some(failed) = first_failures[number] else { continue };
        let route = scenario.messages[number].route;
        // A target with limits of its own is asked more slowly.
        let limited = !scenario.targets[route].limits.is_empty() || scenario.targets[route].latency.most() > SECOND;
        let slack = if limited { MINUTE } else { 5 * SECOND };
        let (soonest, latest) = (failed + LONGEST_PAUSE, failed + 2 * LONGEST_PAUSE + slack);
        // Those behind it in its group are at work when it is over, and keep its group until they are over too.
        let group = |number: usize| scenario.messages[number].group;
        let behind = all.iter().filter(|other| scenario.fifo && **other > number && group(**other) == group(number));
        let later = latest + behind.count() as u32 * 2 * LONGEST_PAUSE;
        let disturbed = scenario.targets[route].outages.iter().any(|one| one.until > failed && one.from < latest);
        if disturbed || record.restarts(failed, latest) > 0 {
            continue;
        }
        let died = record.died(number);
        let late = died.is_none_or(|died| died > later) && record.end > later;
        // A target that takes less than a call a second does not take as many as it needs to be sure.
        let slow = |limit: &Limit| matches!(limit, Limit::Rate { per_second, .. } if *per_second < 1.0);
        // What is returned comes again when it is its turn in the queue, which with a long backlog may be late.
        let promised = all.len() <= 5 * scenario.slots
            && !scenario.targets.iter().any(|target| target.limits.iter().any(slow))
            && takes_enough(scenario, route, all.len())
            && scenario.targets[route].random == 0.0
            && succeeds_often(&successes[route], failed, latest)
            && (scenario.fifo || !has_backlog(scenario, record, route, soonest));
        if died.is_some_and(|died| died < soonest) || (late && promised) {
            return Err(format!(
                "message {number} first failed at {failed:?} and was dead-lettered at {died:?}, not from {soonest:?} to {later:?}: {:?}",
                calls_of(record, number)
            ));
        }
    }
    Ok(())
}

/// Whether the target of a route takes the calls by which so many messages are found at fault, four at each receive, when
/// other messages wait: then one call in four is a retry.
fn takes_enough(scenario: &Scenario, route: usize, at_fault: usize) -> bool {
    let needed = 4 * scenario.max_receive_count.unwrap_or_default() as usize * at_fault;
    let retries = scenario.targets[route].slowest_rate(scenario.slots) * 2.0 * LONGEST_PAUSE.as_secs_f64() / 4.0;
    needed as f64 <= retries
}

/// When each message was first answered by one of these.
fn first_answered(record: &Record, these: &[Answer]) -> Vec<Option<Duration>> {
    let mut first = vec![None; record.sent.len()];
    for call in record.calls.iter().filter(|call| call.answer.is_some_and(|answer| these.contains(&answer))) {
        first[call.message].get_or_insert(call.ended);
    }
    first
}

/// A success every ten seconds or more.
fn succeeds_often(successes: &[Duration], from: Duration, until: Duration) -> bool {
    let within = successes.iter().copied().filter(|at| (from..until).contains(at));
    let mut last = from;
    for at in within.chain([until]) {
        if at - last > 10 * SECOND {
            return false;
        }
        last = at;
    }
    true
}

/// Good messages behind ones that always fail begin within 2 min of the first failure.
pub(crate) fn good_ones_behind_poison_begin_in_time(scenario: &Scenario, record: &Record) -> Kept {
    let first = |nature: Nature| record.calls.iter().find(|call| scenario.messages[call.message].nature == nature);
    let failed = first(Nature::Poison).map(|call| call.begun).ok_or("nothing failed")?;
    match first(Nature::Good).map(|call| call.begun) {
        Some(begun) if begun <= failed + 2 * MINUTE => Ok(()),
        begun => Err(format!("the first failure is at {failed:?}, and the first good one begins at {begun:?}")),
    }
}
