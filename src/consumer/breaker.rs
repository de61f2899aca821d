//! Stops receiving while a target is down.
//!
//! SQS counts receives, and handing a message back never lowers the count. So a queue that is received from during an
//! outage of its target ends up in the dead-letter queue. Here the messages whose target is down stay in this process,
//! under lease, and nothing more is received: now and then one of them is tried again, which spends no receive. The
//! first success lets everything go on.
//!
//! Each route has a breaker of its own; an open one stops the receives of the whole queue, since a receive cannot choose.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::queue::MessageId;

/// How many different messages must fail with no success between for a breaker to open; all that are here, if fewer. One
/// message that always fails is not a target that is down.
const ENOUGH: usize = 3;

/// The time to the first probe, doubled by each that fails.
const FIRST_PROBE: Duration = Duration::from_secs(1);

/// The longest time between probes.
const SLOWEST_PROBE: Duration = Duration::from_secs(30);

/// The breakers of all routes.
#[derive(Debug)]
pub(crate) struct Breakers {
    state: Mutex<State>,
    changed: Notify,
    /// Told with `changed`: the engine's loop.
    allowance_changed: Notify,
}

#[derive(Debug)]
struct State {
    routes: Vec<Route>,
    draining: bool,
}

#[derive(Debug)]
struct Route {
    /// Deliveries that are on this route.
    here: usize,
    successes: u64,
    /// The messages whose target was down since the last success.
    failing: BTreeSet<MessageId>,
    /// Deliveries whose target was down and that wait or are being tried again.
    held: usize,
    /// Those of them that wait, in the order in which they will be tried.
    waiting: VecDeque<MessageId>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    interval: Duration,
    next_probe: Instant,
    /// The message that is being tried.
    probe: Option<MessageId>,
    /// How many probes have failed.
    failed: usize,
}

/// How much may be received now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowance {
    /// As much as there is room for.
    Free,
    /// One message, and only when nothing else is going on. To tell messages that are never going to succeed from a target
    /// that is down, up to three are held at first, and one more after each probe that failed: otherwise three bad
    /// messages in a row could stop a queue for hours. A message that is held has spent no receive in vain.
    One,
    /// Nothing.
    Nothing,
}

/// What to do with a delivery whose target was down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Keep it and try again here.
    Hold,
    /// Others have succeeded since it first failed, so it is the message: leave it, which spends a receive.
    Leave,
}

/// What a held delivery is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Call the handler again.
    Try,
    /// Hand itself back.
    HandBack,
}

impl Breakers {
    pub(crate) fn new(routes: usize) -> Arc<Self> {
        let routes = (0..routes)
            .map(|_| Route {
                here: 0,
                successes: 0,
                failing: BTreeSet::new(),
                held: 0,
                waiting: VecDeque::new(),
                open: None,
            })
            .collect();
        Arc::new(Breakers {
            state: Mutex::new(State { routes, draining: false }),
            changed: Notify::new(),
            allowance_changed: Notify::new(),
        })
    }

    /// A delivery comes to a route.
    pub(crate) fn enter(self: &Arc<Self>, route: usize, message: MessageId) -> Stay {
        self.state().routes[route].here += 1;
        Stay { breakers: self.clone(), route, message, first_failure: None, failures: 0, held: false }
    }

    /// How much may be received, and how many deliveries are held.
    pub(crate) fn allowance(&self) -> (Allowance, usize) {
        let state = self.state();
        let held = state.routes.iter().map(|route| route.held).sum();
        let mut allowance = Allowance::Free;
        for route in &state.routes {
            match &route.open {
                None => {}
                Some(open) if route.held < ENOUGH + open.failed => allowance = Allowance::One,
                Some(_) => return (Allowance::Nothing, held),
            }
        }
        (allowance, held)
    }

    /// The numbers of the routes whose target is down.
    pub(crate) fn open(&self) -> Vec<usize> {
        let state = self.state();
        (0..state.routes.len()).filter(|&number| state.routes[number].open.is_some()).collect()
    }

    /// Waits until the allowance may have changed.
    pub(crate) async fn allowance_changed(&self) {
        self.allowance_changed.notified().await;
    }

    /// From now on what is held is handed back, except messages on their last receive, which have until their limit.
    pub(crate) fn drain(&self) {
        self.state().draining = true;
        self.tell();
    }

    fn tell(&self) {
        self.changed.notify_waiters();
        self.allowance_changed.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Route {
    fn open_if_enough(&mut self) {
        let enough = self.failing.len() >= ENOUGH.min(self.here);
        if self.open.is_none() && !self.failing.is_empty() && enough {
            let next_probe = Instant::now() + FIRST_PROBE;
            self.open = Some(Open { interval: FIRST_PROBE, next_probe, probe: None, failed: 0 });
        }
    }

    fn close_if_nobody_is_here(&mut self) {
        if self.here == 0 {
            self.open = None;
        }
    }
}

/// The stay of one delivery on its route, over all calls of the handler.
#[derive(Debug)]
pub(crate) struct Stay {
    breakers: Arc<Breakers>,
    route: usize,
    message: MessageId,
    /// How many successes the route had when the target of this delivery was first down.
    first_failure: Option<u64>,
    failures: u32,
    held: bool,
}

impl Stay {
    /// The handler succeeded: the target is there.
    pub(crate) fn succeeded(&mut self) {
        let mut state = self.breakers.state();
        let route = &mut state.routes[self.route];
        route.successes += 1;
        route.failing.clear();
        let was_open = route.open.take().is_some();
        drop(state);
        if was_open {
            self.breakers.tell();
        }
    }

    /// The target was down. True in the second place when this opened the breaker.
    pub(crate) fn target_down(&mut self) -> (Verdict, bool) {
        let mut state = self.breakers.state();
        let route = &mut state.routes[self.route];
        let since = *self.first_failure.get_or_insert(route.successes);
        if route.successes > since {
            return (Verdict::Leave, false);
        }
        self.failures += 1;
        if !self.held {
            self.held = true;
            route.held += 1;
        }
        route.failing.insert(self.message.clone());
        if let Some(open) = &mut route.open
            && open.probe.take_if(|probe| *probe == self.message).is_some()
        {
            open.interval = (open.interval * 2).min(SLOWEST_PROBE);
            open.next_probe = Instant::now() + open.interval;
            open.failed += 1;
        }
        let was_open = route.open.is_some();
        route.open_if_enough();
        let opened = !was_open && route.open.is_some();
        drop(state);
        self.breakers.tell();
        (Verdict::Hold, opened)
    }

    /// Waits until this delivery is to be tried again, not before `not_before`, or handed back, at the latest at `limit`.
    pub(crate) async fn next(&mut self, not_before: Option<Instant>, limit: Instant, last_receive: bool) -> Next {
        let now = Instant::now();
        // While the breaker is closed, each delivery waits on its own, in steps like those of the probes.
        let alone = now + (FIRST_PROBE * (1 << self.failures.saturating_sub(1).min(5))).min(SLOWEST_PROBE);
        let named = not_before.unwrap_or(now);
        let mut opened = false;
        self.breakers.state().routes[self.route].waiting.push_back(self.message.clone());
        let _place = Waiting(self.breakers.clone(), self.route, self.message.clone());
        loop {
            let changed = self.breakers.changed.notified();
            let until = {
                let now = Instant::now();
                let mut state = self.breakers.state();
                if now >= limit || (state.draining && !last_receive) {
                    return Next::HandBack;
                }
                let route = &mut state.routes[self.route];
                match &mut route.open {
                    // The breaker closed while this one waited: the target is there again.
                    None if opened => return Next::Try,
                    None => {
                        let at = alone.max(named);
                        if now >= at {
                            return Next::Try;
                        }
                        at
                    }
                    Some(open) => {
                        opened = true;
                        let first = open.probe.is_none() && route.waiting.front() == Some(&self.message);
                        let at = open.next_probe.max(named);
                        if first && now >= at {
                            open.probe = Some(self.message.clone());
                            return Next::Try;
                        }
                        if first { at } else { limit }
                    }
                }
            };
            tokio::select! {
                biased;
                () = changed => {}
                () = tokio::time::sleep_until(until.min(limit)) => {}
            }
        }
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        let mut state = self.breakers.state();
        let route = &mut state.routes[self.route];
        route.here -= 1;
        route.held -= usize::from(self.held);
        if let Some(open) = &mut route.open
            && open.probe.take_if(|probe| *probe == self.message).is_some()
        {
            // The probe ended otherwise, with an answer that says nothing about the target.
            open.next_probe = Instant::now() + open.interval;
        }
        // A message that is no longer here says nothing about those that are.
        route.failing.remove(&self.message);
        route.open_if_enough();
        route.close_if_nobody_is_here();
        drop(state);
        self.breakers.tell();
    }
}

/// A place among those that wait to be tried again.
struct Waiting(Arc<Breakers>, usize, MessageId);

impl Drop for Waiting {
    fn drop(&mut self) {
        {
            let mut state = self.0.state();
            state.routes[self.1].waiting.retain(|id| *id != self.2);
        }
        // Whoever is first now must look at the time of the next probe.
        self.0.tell();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const FAR: Duration = Duration::from_secs(3600);

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn enter<const N: usize>(breakers: &Arc<Breakers>, route: usize, ids: [&str; N]) -> [Stay; N] {
        ids.map(|id| breakers.enter(route, id.into()))
    }

    fn fails(stay: &mut Stay) -> bool {
        let (verdict, opened) = stay.target_down();
        assert_eq!(verdict, Verdict::Hold);
        opened
    }

    /// What comes next, and after how long.
    async fn next(stay: &mut Stay) -> (Next, Duration) {
        let began = Instant::now();
        (stay.next(None, began + FAR, false).await, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn three_different_messages_open_a_breaker_or_all_that_are_here() {
        let breakers = Breakers::new(2);
        let [mut a, mut b, mut c, mut d] = enter(&breakers, 0, ["a", "b", "c", "d"]);
        assert!(!fails(&mut a) && !fails(&mut a) && !fails(&mut b), "one message twice is one message");
        assert_eq!((breakers.allowance(), breakers.open()), ((Allowance::Free, 2), vec![]));
        assert!(fails(&mut c));
        assert!(!fails(&mut d), "it is open already");
        assert_eq!((breakers.allowance(), breakers.open()), ((Allowance::Nothing, 4), vec![0]));
        let [mut e] = enter(&breakers, 1, ["e"]);
        assert!(fails(&mut e), "nobody else is on its route");
        assert_eq!(breakers.open(), [0, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_breaker_holds_three_and_one_more_after_each_probe_that_failed() {
        let breakers = Breakers::new(1);
        let [mut a] = enter(&breakers, 0, ["a"]);
        fails(&mut a);
        assert_eq!(breakers.allowance(), (Allowance::One, 1));
        let [mut b] = enter(&breakers, 0, ["b"]);
        fails(&mut b);
        assert_eq!(breakers.allowance(), (Allowance::One, 2));
        let [mut c] = enter(&breakers, 0, ["c"]);
        fails(&mut c);
        for held in 3..6 {
            assert_eq!(breakers.allowance(), (Allowance::Nothing, held));
            assert_eq!(next(&mut a).await.0, Next::Try);
            fails(&mut a);
            assert_eq!(breakers.allowance(), (Allowance::One, held));
            let mut more = breakers.enter(0, format!("more-{held}").as_str().into());
            fails(&mut more);
            // It stays until the end of the test.
            std::mem::forget(more);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_to_the_next_probe_doubles_from_a_second_to_half_a_minute() {
        let breakers = Breakers::new(1);
        let [mut a] = enter(&breakers, 0, ["a"]);
        for after in [1, 2, 4, 8, 16, 30, 30] {
            fails(&mut a);
            assert_eq!(next(&mut a).await, (Next::Try, seconds(after)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn while_it_is_closed_each_message_waits_by_itself_and_as_long_as_its_handler_says() {
        let breakers = Breakers::new(1);
        let [mut a, _b] = enter(&breakers, 0, ["a", "b"]);
        for after in [1, 2, 4, 8, 16, 30, 30] {
            assert!(!fails(&mut a));
            assert_eq!(next(&mut a).await, (Next::Try, seconds(after)));
        }
        let began = Instant::now();
        assert_eq!(a.next(Some(began + seconds(100)), began + FAR, false).await, Next::Try);
        assert_eq!(began.elapsed(), seconds(100));
    }

    #[tokio::test(start_paused = true)]
    async fn one_is_tried_at_a_time_and_its_success_lets_all_go_on_at_once() {
        let breakers = Breakers::new(1);
        let [mut a, mut b] = enter(&breakers, 0, ["a", "b"]);
        fails(&mut a);
        fails(&mut b);
        // By itself it would wait for half a minute now.
        for _ in 0..6 {
            fails(&mut a);
        }
        assert_eq!(next(&mut b).await, (Next::Try, seconds(1)));
        let waits = a.next(None, Instant::now() + FAR, false);
        tokio::pin!(waits);
        assert!(timeout(seconds(20), &mut waits).await.is_err(), "the other is being tried");
        b.succeeded();
        assert_eq!(timeout(Duration::ZERO, &mut waits).await, Ok(Next::Try));
        assert_eq!(breakers.allowance().0, Allowance::Free);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_ends_in_another_way_is_followed_by_the_next_in_line() {
        let breakers = Breakers::new(1);
        let [mut a, mut b] = enter(&breakers, 0, ["a", "b"]);
        fails(&mut a);
        fails(&mut b);
        assert_eq!(next(&mut a).await, (Next::Try, seconds(1)));
        drop(a);
        assert_eq!(next(&mut b).await, (Next::Try, seconds(1)));
        assert_eq!(breakers.allowance(), (Allowance::One, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_in_the_line_is_given_up_with_the_wait() {
        let breakers = Breakers::new(1);
        let [mut a, mut b] = enter(&breakers, 0, ["a", "b"]);
        fails(&mut a);
        fails(&mut b);
        let began = Instant::now();
        let waits = b.next(None, began + FAR, false);
        tokio::pin!(waits);
        tokio::select! {
            biased;
            _ = timeout(Duration::from_millis(500), next(&mut a)) => {}
            _ = &mut waits => panic!("it is not its turn"),
        }
        assert_eq!((waits.await, began.elapsed()), (Next::Try, seconds(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_fails_after_another_has_succeeded_is_left() {
        let breakers = Breakers::new(1);
        let [mut a, mut b] = enter(&breakers, 0, ["a", "b"]);
        fails(&mut a);
        fails(&mut a);
        b.succeeded();
        assert_eq!(a.target_down(), (Verdict::Leave, false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_is_gone_says_nothing_about_the_target() {
        let breakers = Breakers::new(1);
        let [mut a, mut b, mut c, d] = enter(&breakers, 0, ["a", "b", "c", "d"]);
        fails(&mut a);
        fails(&mut b);
        drop(a);
        assert!(!fails(&mut c));
        drop(d);
        assert_eq!(breakers.open(), [0], "now all that are here have failed");
        drop((b, c));
        assert_eq!((breakers.allowance(), breakers.open()), ((Allowance::Free, 0), vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_hands_back_what_is_held_except_on_its_last_receive() {
        let breakers = Breakers::new(1);
        let [mut a] = enter(&breakers, 0, ["a"]);
        fails(&mut a);
        let began = Instant::now();
        {
            let waits = a.next(None, began + FAR, false);
            tokio::pin!(waits);
            assert!(timeout(Duration::from_millis(500), &mut waits).await.is_err());
            breakers.drain();
            assert_eq!(timeout(Duration::ZERO, &mut waits).await, Ok(Next::HandBack));
        }
        assert_eq!(a.next(None, began + FAR, true).await, Next::Try, "it is still tried");
        fails(&mut a);
        let began = Instant::now();
        assert_eq!(a.next(None, began + seconds(1), true).await, Next::HandBack);
        assert_eq!(began.elapsed(), seconds(1), "its limit, and not later");
    }
}
