//! Flow control: when a handler may be called, how much may be received, and whose fault a failure is.
//!
//! An adaptive circuit breaker for each route. SQS counts receives, and handing a message back never lowers the count. So
//! anyone who receives at a target that takes less than it is sent fills the dead-letter queue with good messages. Here the
//! rate and the number of calls follow what the target takes (`limit`); a message whose target is busy or down stays in
//! this process, under lease, and is tried again, which spends no receive; and a message is at fault only when others
//! succeed meanwhile (`doubt`).
//!
//! A route is in one of these states:
//!
//! - flowing: every delivery is called as soon as there is a slot;
//! - limited or paused: the target refused calls, and they start at the rate and in the number that it takes;
//! - down: nothing succeeds. What was never called is called once; beyond that one probe at a time, ever more rarely. A
//!   few more messages are received as time goes on, in case that all those which are here can never succeed;
//! - returning: it was down or paused for a while, and the rate grows from two calls a second.
//!
//! A receive cannot choose its route, so a route that is limited or down holds up the receives of the whole queue.
//!
//! Workers wait here for their turn; `Flow::drive` gives the turns that come with time.

mod doubt;
mod limit;
mod route;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use doubt::Doubt;
use limit::Begun;
use route::{Grant, Key, Pick, RouteFlow, Waiter};
pub(crate) use route::{Returned, most_held};

use crate::queue::MessageId;
use crate::telemetry::{Outage, TargetFlow};

/// A message that is at fault is dead-lettered no sooner than this after its first failure: a shorter fault of one type of
/// event costs nothing.
const DEAD_LETTERED_AFTER: Duration = Duration::from_secs(300);

/// The receives that are counted on where the queue's maxReceiveCount is not known.
const RECEIVES_WHEN_UNKNOWN: u32 = 5;

/// The shortest time for which a message that is at fault is hidden.
const SHORTEST_DELAY: Duration = Duration::from_secs(5);

/// A message that was found at fault before, or whose type was, is so again after so many failures at one receive and one
/// more, and after further ones where many calls fail at random: few may be chance.
const KNOWN_AFTER: u32 = 3;

/// The time to the second call of a message that failed, doubled by each further one up to `SLOWEST_RETRY`.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const SLOWEST_RETRY: Duration = Duration::from_secs(10);

/// So many timeouts of one message, with a success of its type between each two, count as failures.
const TIMED_OUT_TOO_OFTEN: u32 = 5;

/// The flow on all routes of one engine.
#[derive(Debug)]
pub(crate) struct Flow {
    state: Mutex<State>,
    /// Told when the next turn may come sooner.
    sooner: Notify,
    /// Told when more may be received: the engine's loop.
    allowance_changed: Notify,
    /// Told when a message was returned since it could not be held any longer.
    depth_matters: Notify,
}

#[derive(Debug)]
struct State {
    routes: Vec<RouteFlow>,
    /// Calls at the same time, at the most, and those that are in flight.
    slots: usize,
    active: usize,
    /// Deliveries that wait for their turn.
    waiting: usize,
    /// The route that is looked at first, so that each gets its turn.
    first: usize,
    next_number: u64,
    draining: bool,
    /// When something was first held, or the last success: whichever is later.
    stuck_since: Option<Instant>,
    /// Messages that are visible in the queue, asked for while a target is down for more than 12 hours.
    visible: Option<usize>,
    random: fastrand::Rng,
}

/// What a delivery is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Call the handler.
    Call,
    /// Return the message, through no fault of its own.
    Return,
    /// Leave it, to be received again after this delay: it is at fault.
    Nack(Duration),
}

/// What a failure means for its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Keep it and try again here.
    Hold,
    /// It is at fault: leave it for this long, which spends a receive.
    Nack(Duration),
}

impl Flow {
    /// The flow to routes with so many places each: how many calls a handler can make at a time.
    pub(crate) fn new(
        places: impl IntoIterator<Item = Option<usize>>,
        slots: usize,
        random: fastrand::Rng,
    ) -> Arc<Self> {
        let now = Instant::now();
        let state = State {
            routes: places.into_iter().map(|places| RouteFlow::new(places, slots, now)).collect(),
            slots,
            active: 0,
            waiting: 0,
            first: 0,
            next_number: 0,
            draining: false,
            stuck_since: None,
            visible: None,
            random,
        };
        Arc::new(Flow {
            state: Mutex::new(state),
            sooner: Notify::new(),
            allowance_changed: Notify::new(),
            depth_matters: Notify::new(),
        })
    }

    /// A delivery comes to a route.
    pub(crate) fn enter(self: &Arc<Self>, route: usize, message: MessageId) -> Caller {
        let mut state = self.state();
        state.next_number += 1;
        let number = state.next_number;
        let on = &mut state.routes[route];
        on.here += 1;
        let doubt = on.evidence.recall(&message);
        let timed_out_too_often = doubt.is_some_and(|doubt| doubt.timed_out_too_often);
        drop(state);
        Caller {
            flow: self.clone(),
            route,
            number,
            place: number,
            message,
            receive_count: 0,
            max_receive_count: None,
            calls: 0,
            failures: 0,
            time_outs: if timed_out_too_often { TIMED_OUT_TOO_OFTEN } else { 0 },
            successes_seen: None,
            doubt,
            retry_at: None,
            calling: None,
        }
    }

    /// A route is done with a message that is here for others of its routes, for as long as the answer lives.
    pub(crate) fn done_here(self: &Arc<Self>, route: usize) -> DoneHere {
        self.state().routes[route].done += 1;
        DoneHere { flow: self.clone(), route }
    }

    /// Gives the turns that come with time, for as long as it is polled.
    pub(crate) async fn drive(self: Arc<Self>) {
        loop {
            let now = Instant::now();
            let next = {
                let mut state = self.state();
                let turn = state.give_turns(now);
                let changes = state.routes.iter().filter_map(|route| route.allowance_grows(now));
                changes.chain(turn).min()
            };
            match next {
                Some(next) => {
                    self.allowance_changed.notify_one();
                    tokio::select! {
                        biased;
                        () = self.sooner.notified() => {}
                        () = tokio::time::sleep_until(next) => {}
                    }
                }
                None => self.sooner.notified().await,
            }
        }
    }

    /// How many further messages may be received; None for as many as there is room for.
    pub(crate) fn allowance(&self) -> Option<usize> {
        let now = Instant::now();
        let state = self.state();
        state.routes.iter().filter_map(|route| route.allowance(now, state.visible)).min()
    }

    /// Waits until the allowance may have changed.
    pub(crate) async fn allowance_changed(&self) {
        self.allowance_changed.notified().await;
    }

    /// The numbers of the routes whose target is down.
    pub(crate) fn down(&self) -> Vec<usize> {
        let state = self.state();
        (0..state.routes.len()).filter(|&number| state.routes[number].down.is_some()).collect()
    }

    /// The outage of the target of a route, if it is down.
    pub(crate) fn outage(&self, route: usize) -> Option<Outage> {
        let state = self.state();
        let on = &state.routes[route];
        on.down.map(|down| Outage { since: down.since, only_one_fails: on.only_one_fails(state.visible) })
    }

    /// What there is to see of the routes, by their names.
    pub(crate) fn look(&self, names: impl IntoIterator<Item = Arc<str>>) -> Vec<TargetFlow> {
        let now = Instant::now();
        let state = self.state();
        let routes = state.routes.iter().zip(names);
        routes.map(|(route, name)| route.look(name, state.visible, now)).collect()
    }

    /// Waits until it matters how many messages are visible in the queue.
    pub(crate) async fn wants_depth(&self) {
        loop {
            let told = self.depth_matters.notified();
            let beyond = |route: &RouteFlow| route.down.is_some_and(|down| down.returned.is_some());
            if self.state().routes.iter().any(beyond) {
                return;
            }
            told.await;
        }
    }

    /// So many messages are visible in the queue.
    pub(crate) fn depth_is(&self, visible: Option<usize>) {
        self.state().visible = visible;
        self.allowance_changed.notify_one();
    }

    /// There is no room for what is received: who waits with the most against it leaves. False when nobody does.
    pub(crate) fn make_room(&self) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        let doubted = |(number, route): (usize, &RouteFlow)| {
            let healthy = route.down.is_none();
            route.most_doubted(now).filter(|_| healthy).map(|(doubt, key)| (doubt, number, key))
        };
        let found = state.routes.iter().enumerate().filter_map(doubted);
        let Some((_, number, (at, key))) = found.min_by(|one, other| one.0.total_cmp(&other.0)) else { return false };
        let Some(waiter) = state.routes[number].take(Key::Retry(at, key)) else { return false };
        state.waiting -= 1;
        waiter.go.send(Grant::Nack).is_ok()
    }

    /// For how long nothing has succeeded while something is held.
    pub(crate) fn stuck_for(&self) -> Duration {
        self.state().stuck_since.map(|since| since.elapsed()).unwrap_or_default()
    }

    /// From now on what is held is returned, except messages on their last receive, which have until their limit.
    pub(crate) fn drain(&self) {
        let mut state = self.state();
        state.draining = true;
        let keep = |waiter: &Waiter| waiter.last_receive && !mutant!("drain-also-the-last-receives");
        let mut left = 0;
        for route in &mut state.routes {
            // A sender that is dropped tells its worker to return.
            route.fresh.retain(|_, waiter| keep(waiter));
            route.retries.retain(|_, waiter| keep(waiter));
            left += route.fresh.len() + route.retries.len();
        }
        state.waiting = left;
        drop(state);
        self.sooner.notify_one();
        self.allowance_changed.notify_one();
    }

    /// A call is over.
    fn end(&self, state: &mut State, route: usize, call: Calling) {
        state.active -= 1;
        let route = &mut state.routes[route];
        route.ends(call.probe);
        let down = route.down.is_some();
        if state.waiting > 0 || down {
            self.sooner.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Gives every turn that is due; when the next one may be.
    fn give_turns(&mut self, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let routes = self.routes.len();
        // Routes that have been looked at in vain since the last turn was given.
        let mut in_vain = 0;
        while self.waiting > 0 && in_vain < routes && self.active < self.slots {
            let number = self.first % routes;
            self.first = (self.first + 1) % routes;
            match self.routes[number].pick(now) {
                Pick::Start { waiter, probe, begun } => {
                    self.waiting -= 1;
                    self.active += 1;
                    in_vain = 0;
                    next = None;
                    // Anyone who is gone meanwhile gives it back: see `Turn`.
                    let _ = waiter.go.send(Grant::Call { probe, begun });
                    continue;
                }
                Pick::At(at) => next = Some(next.map_or(at, |next| next.min(at))),
                Pick::Nothing => {}
            }
            in_vain += 1;
        }
        next
    }
}

/// The calls of the handler for one delivery, from the first to the last.
#[derive(Debug)]
pub(crate) struct Caller {
    flow: Arc<Flow>,
    route: usize,
    number: u64,
    /// Where it stands among those that were never called, or only refused.
    place: u64,
    message: MessageId,
    receive_count: u32,
    /// How often a message is received before it is dead-lettered, where that is known.
    max_receive_count: Option<u32>,
    calls: u32,
    failures: u32,
    /// Time-outs that count: see `TIMED_OUT_TOO_OFTEN`.
    time_outs: u32,
    successes_seen: Option<u64>,
    doubt: Option<Doubt>,
    retry_at: Option<Instant>,
    calling: Option<Calling>,
}

/// A call that is in flight.
#[derive(Clone, Copy, Debug)]
struct Calling {
    begun: Begun,
    probe: bool,
}

impl Caller {
    /// Waits until the handler may be called, at the latest until `limit`, for a message that was received so often, of so
    /// many times before it is dead-lettered.
    pub(crate) async fn turn(&mut self, limit: Instant, receive_count: u32, max_receive_count: Option<u32>) -> Next {
        let now = Instant::now();
        (self.receive_count, self.max_receive_count) = (receive_count, max_receive_count);
        let last_receive = self.is_last_receive();
        let (key, answer) = {
            let mut state = self.flow.state();
            let slots_free = state.waiting == 0 && state.active < state.slots;
            let draining = state.draining;
            let route = &mut state.routes[self.route];
            if slots_free && self.calls == 0 && route.is_open() {
                let begun = route.starts(now);
                state.active += 1;
                drop(state);
                return self.begin(begun, false);
            }
            if draining && !last_receive {
                return Next::Return;
            }
            let key = match self.retry_at.take() {
                Some(at) => Key::Retry(at, self.number),
                None => Key::Fresh(self.place),
            };
            let (go, answer) = oneshot::channel();
            let doubt = self.doubt.map_or(1.0, |doubt| doubt.value);
            let may_nack = self.doubt.map_or(now, |doubt| doubt.first_failure) + DEAD_LETTERED_AFTER;
            route.wait(self.number, key, Waiter { go, doubt, last_receive, may_nack, limit });
            state.waiting += 1;
            (key, answer)
        };
        self.flow.sooner.notify_one();
        let mut turn = Turn { flow: self.flow.clone(), route: self.route, key, answer: Some(answer) };
        let grant = tokio::select! {
            biased;
            grant = turn.wait() => grant,
            () = tokio::time::sleep_until(limit) => None,
        };
        match grant {
            Some(Grant::Call { probe, begun }) => {
                turn.answer = None;
                self.begin(begun, probe)
            }
            Some(Grant::Nack) => {
                turn.answer = None;
                self.nack()
            }
            None => Next::Return,
        }
    }

    fn begin(&mut self, begun: Begun, probe: bool) -> Next {
        self.calls += 1;
        self.calling = Some(Calling { begun, probe });
        Next::Call
    }

    /// The handler succeeded: the target is there.
    pub(crate) fn succeeded(&mut self, kind: &str) {
        let now = Instant::now();
        let Some(call) = self.calling.take() else { return };
        let first_call = self.calls == 1;
        let mut state = self.flow.state();
        let route = &mut state.routes[self.route];
        route.evidence.succeeded(kind, first_call, call.begun.at, now);
        route.succeeded(call.begun, now);
        if state.stuck_since.is_some() {
            state.stuck_since = None;
        }
        self.flow.end(&mut state, self.route, call);
    }

    /// The target takes no more for now, and perhaps names a delay.
    pub(crate) fn refused(&mut self, kind: &str, named: Option<Duration>) -> Verdict {
        let now = Instant::now();
        let Some(call) = self.calling else { return Verdict::Hold };
        let mut state = self.flow.state();
        state.stuck_since.get_or_insert(now);
        let route = &mut state.routes[self.route];
        let successes = route.evidence.successes_of(kind, now);
        let timed_out = route.limits.is_time_out(now.saturating_duration_since(call.begun.at));
        if timed_out && self.successes_seen.replace(successes).is_some_and(|before| successes > before) {
            self.time_outs += 1;
        }
        if timed_out && self.time_outs >= TIMED_OUT_TOO_OFTEN && !mutant!("timeouts-never-count") {
            drop(state);
            return self.failed(kind);
        }
        route.limits.refused(call.begun, route.active.saturating_sub(1), named, now);
        route.not_succeeded(self.number, call.begun, false, true, now);
        let learnt = self.failures > 0 || timed_out || route.down.is_some();
        if learnt || mutant!("wait-behind-those-that-failed") {
            self.retry_at = Some(now);
        } else {
            // Nothing was learnt of it, so its next call is its first: it waits behind those that were never called, and
            // not behind those that fail.
            self.calls = 0;
            state.next_number += 1;
            self.place = state.next_number;
        }
        self.calling = None;
        self.flow.end(&mut state, self.route, call);
        Verdict::Hold
    }

    /// The target could not do it.
    pub(crate) fn failed(&mut self, kind: &str) -> Verdict {
        let now = Instant::now();
        let Some(call) = self.calling.take() else { return Verdict::Hold };
        let mut state = self.flow.state();
        state.stuck_since.get_or_insert(now);
        let jitter = state.random.f64();
        let route = &mut state.routes[self.route];
        let fault = route.evidence.failed(kind, &mut self.doubt, self.calls == 1, now);
        route.not_succeeded(self.number, call.begun, fault.known, false, now);
        let enough = self.failures >= KNOWN_AFTER && !route.evidence.may_be_chance(self.failures + 1);
        let known = fault.known && (enough || mutant!("known-at-once"));
        let certain = fault.certain || mutant!("judge-at-the-first-failure");
        let at_fault = (certain || (known && route.is_explained())) && !mutant!("never-judge");
        let is_down = route.down.is_some();
        self.flow.end(&mut state, self.route, call);
        drop(state);
        if at_fault
            && self.may_nack(now)
            && let Next::Nack(delay) = self.nack()
        {
            return Verdict::Nack(delay);
        }
        self.failures += 1;
        let wait = (FIRST_RETRY * (1 << (self.failures - 1).min(6))).min(SLOWEST_RETRY);
        // While the target is down each waits for a probe, those that have waited longest first.
        self.retry_at = Some(if is_down { now } else { now + wait.mul_f64(0.75 + jitter / 2.0) });
        Verdict::Hold
    }

    /// Whether a message that is at fault may be left now: on its last receive only after it has failed for long enough.
    fn may_nack(&self, now: Instant) -> bool {
        let failed_for = self.doubt.map_or(Duration::ZERO, |doubt| now.saturating_duration_since(doubt.first_failure));
        let dispensable = !self.is_last_receive() || mutant!("give-up-at-once-on-the-last-receive");
        dispensable || self.max_receive_count == Some(1) || failed_for >= DEAD_LETTERED_AFTER
    }

    fn nack(&mut self) -> Next {
        let mut state = self.flow.state();
        if let Some(mut doubt) = self.doubt {
            doubt.timed_out_too_often = self.time_outs >= TIMED_OUT_TOO_OFTEN;
            state.routes[self.route].evidence.remember(self.message.clone(), doubt);
        }
        if self.is_last_receive() {
            return Next::Nack(SHORTEST_DELAY);
        }
        let jitter = state.random.f64();
        Next::Nack(self.delay(jitter))
    }

    /// For how long a message that is at fault is hidden. Its receives take five minutes together, each one longer than the
    /// one before. What it waited in the queue is part of them, up to half of the time: its type may fail once more for
    /// two minutes.
    fn delay(&self, jitter: f64) -> Duration {
        let most = self.max_receive_count.unwrap_or(RECEIVES_WHEN_UNKNOWN);
        let last = f64::from(most.saturating_sub(1).max(1));
        let receive = f64::from(self.receive_count).clamp(1.0, last);
        // The sum of the numbers of the receives from this one on, without the last one.
        let shares = |from: f64| (from + last) * (last - from + 1.0) / 2.0;
        let planned = DEAD_LETTERED_AFTER.mul_f64(receive / shares(1.0));
        let failed_for = self.doubt.map_or(Duration::ZERO, |doubt| doubt.first_failure.elapsed());
        let left = DEAD_LETTERED_AFTER.saturating_sub(failed_for).mul_f64(receive / shares(receive));
        let delay = if mutant!("wait-again-for-what-the-queue-took") { planned } else { left.max(planned / 2) };
        delay.mul_f64(1.0 + jitter / 10.0).max(SHORTEST_DELAY)
    }

    fn is_last_receive(&self) -> bool {
        self.max_receive_count.is_some_and(|most| self.receive_count >= most)
    }

    /// The message could not be held any longer and is returned.
    pub(crate) fn returned(&mut self, returned: Returned) {
        let mut state = self.flow.state();
        let visible = state.visible;
        if let Some(down) = &mut state.routes[self.route].down {
            down.returned = Some(down.returned.map_or(returned, |before| before.then(returned, visible)));
            self.flow.depth_matters.notify_one();
        }
    }

    /// The call ended in a way that says nothing about the target.
    pub(crate) fn ended(&mut self) {
        if let Some(call) = self.calling.take() {
            let mut state = self.flow.state();
            self.flow.end(&mut state, self.route, call);
        }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.ended();
        let mut state = self.flow.state();
        state.routes[self.route].leaves(self.number);
        let held = state.routes.iter().any(|route| !route.failing.is_empty());
        if !held {
            state.stuck_since = None;
        }
        let restless = state.routes[self.route].down.is_some() || state.routes[self.route].limits.any();
        drop(state);
        if restless {
            self.flow.sooner.notify_one();
            self.flow.allowance_changed.notify_one();
        }
    }
}

/// See [`Flow::done_here`].
#[derive(Debug)]
pub(crate) struct DoneHere {
    flow: Arc<Flow>,
    route: usize,
}

impl Drop for DoneHere {
    fn drop(&mut self) {
        self.flow.state().routes[self.route].done -= 1;
    }
}

/// A place among those that wait. Dropping it gives the place up, and the turn where one was given meanwhile.
struct Turn {
    flow: Arc<Flow>,
    route: usize,
    key: Key,
    answer: Option<oneshot::Receiver<Grant>>,
}

impl Turn {
    /// None when the engine drains.
    async fn wait(&mut self) -> Option<Grant> {
        self.answer.as_mut()?.await.ok()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(mut answer) = self.answer.take() else { return };
        let mut state = self.flow.state();
        if state.routes[self.route].take(self.key).is_some() {
            state.waiting -= 1;
        } else if let Ok(Grant::Call { probe, .. }) = answer.try_recv() {
            state.active -= 1;
            state.routes[self.route].ends(probe);
        }
        drop(state);
        self.flow.sooner.notify_one();
    }
}
