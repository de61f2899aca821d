//! The view of a consumer from outside.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::count::RouteCounts;
use super::counters::Snapshot;
use super::dead_letter::DeadLetterKeeper;
use super::dead_lettered::DeadLetterGroup;
use super::failures::RecentFailure;
use super::flow::TargetFlow;
use super::histogram::Reading;
use super::history::{Counts, Sample};
use super::label::{CallEnd, Request};
use super::metrics;
use super::now::{Failing, Phase};
use super::record::Telemetry;
use super::snapshot::{Depth, DepthReading, QueueSeen, RouteSnapshot, Trouble};

/// How long a failure counts as one of late.
const LATELY: Duration = Duration::from_secs(600);

/// A view of a consumer from outside, taken before it runs and good until after it ended. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Monitor {
    telemetry: Arc<Telemetry>,
}

impl Monitor {
    pub(crate) fn new(telemetry: Arc<Telemetry>) -> Self {
        Monitor { telemetry }
    }

    /// The counts and the state at this moment.
    pub fn snapshot(&self) -> Snapshot {
        let t = &self.telemetry;
        let now = t.now().clone();
        Snapshot {
            phase: t.phase(),
            handled: t.calls(CallEnd::Handled),
            undecodable: t.undecodable.total() + t.calls(CallEnd::DoesNotFit),
            handler_errors: t.calls(CallEnd::Retry)
                + t.calls(CallEnd::BadMessage)
                + t.calls(CallEnd::TargetBusy)
                + t.calls(CallEnd::TargetDown),
            panics: t.calls(CallEnd::Panic),
            timeouts: t.calls(CallEnd::TimeLimit),
            at_work: now.at_work,
            concurrency: t.limits.concurrency,
            slots_free: now.slots_free,
            in_flight_bytes: now.bytes,
            max_in_flight_bytes: t.limits.max_in_flight_bytes,
            targets_down: now.flows.iter().filter(|flow| flow.is_down()).map(|flow| flow.route.clone()).collect(),
            open_polls: now.polls.len(),
            oldest_poll: now.oldest_poll(),
            since_last_event: t.since_last_event(),
            ..t.read()
        }
    }

    /// How many events of each type were decoded.
    pub fn by_type(&self) -> BTreeMap<Arc<str>, u64> {
        self.telemetry.types().iter().map(|(name, count)| (name.clone(), count.seen)).collect()
    }

    /// What is counted of each route, in the order in which they are asked.
    pub fn routes(&self) -> Vec<RouteSnapshot> {
        let route = |(route, flow): (&RouteCounts, TargetFlow)| {
            let seconds = route.seconds.read();
            let failed = CallEnd::ALL.into_iter().filter(|end| *end != CallEnd::Handled);
            RouteSnapshot {
                name: route.name.clone(),
                handled: route.count(CallEnd::Handled),
                failed: failed.map(|end| (end.label(), route.count(end))).filter(|(_, count)| *count > 0).collect(),
                mean_call: mean(&seconds).map(Duration::from_secs_f64),
                flow,
            }
        };
        self.telemetry.routes.iter().zip(self.flows()).map(route).collect()
    }

    /// The flow to the target of each route, in the order in which they are asked. The engine looks at it four times a
    /// second at the most, and every 5 s at the least.
    pub fn flows(&self) -> Vec<TargetFlow> {
        self.telemetry.now().flows().collect()
    }

    /// How often messages had been received when their handler succeeded: for each receive count from 1, how many; those
    /// from 6 on together, with None.
    pub fn receive_counts(&self) -> Vec<(Option<u32>, u64)> {
        let reading = self.telemetry.receive_count_at_success.read();
        let mut before = 0;
        let mut counts: Vec<(Option<u32>, u64)> = Vec::new();
        for (bound, up_to) in reading.steps.iter().take(5) {
            counts.push((Some(*bound as u32), up_to - before));
            before = *up_to;
        }
        counts.push((None, reading.count - before));
        counts
    }

    /// The kinds of requests to the queue that fail at present.
    pub fn troubles(&self) -> Vec<Trouble> {
        let failing = self.telemetry.now().failing.clone();
        let trouble = |(request, failing): (Request, Failing)| Trouble {
            request: request.label(),
            error: failing.error,
            times: failing.times,
            since: failing.since.elapsed(),
        };
        failing.into_iter().map(trouble).collect()
    }

    /// The last failures, alike ones together, the latest first.
    pub fn failures(&self) -> Vec<RecentFailure> {
        self.telemetry.failures().list()
    }

    /// What failed on its last receive, after which SQS moves it to the dead-letter queue: the last groups, the latest first.
    pub fn dead_lettered(&self) -> Vec<DeadLetterGroup> {
        self.telemetry.dead_lettered().list()
    }

    /// How many failures there were in the last ten minutes or a little longer, those included that no sample has yet. More
    /// than 0 exactly where the latest of [`Monitor::failures`] is from these ten minutes.
    pub fn failed_lately(&self) -> u64 {
        let (counted, latest) = {
            let failures = self.telemetry.failures();
            (failures.counted(), failures.latest())
        };
        if latest.is_none_or(|age| age >= LATELY) { 0 } else { self.telemetry.history().failed_within(LATELY, counted) }
    }

    /// The last hour, as far as somebody took samples, which the admin listener does while it serves; the oldest first.
    pub fn history(&self) -> Vec<Sample> {
        self.telemetry.history().list()
    }

    /// Takes a sample of what happened since the last one. To be called by one who watches, every
    /// [`SAMPLE_EVERY`](super::SAMPLE_EVERY).
    #[cfg_attr(not(feature = "admin"), allow(dead_code, reason = "the admin listener is who watches"))]
    pub(crate) fn sample(&self, since_last: Duration) {
        let t = &self.telemetry;
        let now = t.now().clone();
        let sample = Sample {
            seconds: since_last.as_secs_f64(),
            oldest: t.time_in_queue.take_largest(),
            at_work: now.at_work as u64,
            target_down: now.flows.iter().any(TargetFlow::is_down),
            ..Sample::default()
        };
        let counts = Counts {
            received: t.received.get(),
            deleted: t.deleted.get(),
            failed: t.failures().counted(),
            full: now.is_full(t.limits.concurrency),
        };
        t.history().add(counts, sample);
    }

    /// What the engine found the queue to be; None before it has looked.
    pub fn queue(&self) -> Option<QueueSeen> {
        self.telemetry.queue().clone()
    }

    /// The depth of the queue as the admin listener last read it; None when that is more than five minutes ago, or when there
    /// is no such listener.
    pub fn depth(&self) -> Option<DepthReading> {
        self.telemetry.depth()
    }

    /// Tells those who watch how deep the queue is; `requests` is how many requests it took to know.
    #[cfg_attr(not(feature = "admin"), allow(dead_code, reason = "the admin listener is who watches"))]
    pub(crate) fn depth_was(&self, depth: Depth, requests: u64) {
        self.telemetry.attributes_calls.add(requests);
        let reading = DepthReading { depth, at: Instant::now() };
        *self.telemetry.depth.lock().unwrap_or_else(PoisonError::into_inner) = Some(reading);
    }

    /// Names the count of the lines that the program's log has dropped, for the metrics. The first that is named stays.
    pub fn counts_dropped_log_lines(&self, count: fn() -> u64) {
        // A second one has nowhere to go.
        let _ = self.telemetry.log_lines_dropped.set(count);
    }

    /// How many lines the program's log has dropped; None where nobody counts them.
    pub fn log_lines_dropped(&self) -> Option<u64> {
        self.telemetry.log_lines_dropped()
    }

    /// Names who keeps the record of each message that was not handled on its last receive, besides the log. To be called
    /// before the run. The first that is named stays.
    pub fn keep_dead_letters(&self, keeper: impl DeadLetterKeeper) {
        self.telemetry.dead_letters.set(keeper);
    }

    /// How many of these records could not be kept; None where nobody keeps them.
    pub fn dead_letter_records_dropped(&self) -> Option<u64> {
        self.telemetry.dead_letters.dropped()
    }

    /// How many daemons like this one would handle the visible messages within a minute: the backlog over the speed of
    /// the last busy minute of the hour. None while either is unknown, and while a target is down or limits the calls:
    /// more daemons would only be refused more often.
    pub fn desired_replicas(&self) -> Option<u64> {
        self.telemetry.desired_replicas()
    }

    /// For how long the consumer has been there.
    pub fn uptime(&self) -> Duration {
        self.telemetry.started.elapsed()
    }

    /// All metrics, in the text format of Prometheus.
    pub fn metrics(&self) -> String {
        metrics::page(&self.telemetry, self.is_live()).text
    }

    /// Whether the consumer is alive: false only when an open poll is older than its wait and 15 s, or when the engine's
    /// loop has not turned for 15 s. No free slot, a target that is down, back-off and draining are not failures.
    pub fn is_live(&self) -> bool {
        const MARGIN: Duration = Duration::from_secs(15);
        let now = self.telemetry.now();
        let over = self.telemetry.phase() == Phase::Ended;
        let wait = self.telemetry.limits.wait;
        over || now.turned.elapsed() < MARGIN && now.oldest_poll().is_none_or(|age| age < wait + MARGIN)
    }

    /// Waits until the run has come to this phase, or past it.
    pub async fn reached(&self, phase: Phase) {
        let mut phases = self.telemetry.phase.subscribe();
        // The sender lives as long as this monitor, so the wait cannot end in an error.
        let _ = phases.wait_for(|now| *now >= phase).await;
    }
}

fn mean(reading: &Reading) -> Option<f64> {
    (reading.count > 0).then(|| reading.sum / reading.count as f64)
}

#[cfg(test)]
mod tests {
    use super::super::failures::Failed;
    use super::super::flow::FlowState;
    use super::super::history::SAMPLE_EVERY;
    use super::super::now::Occupancy;
    use super::super::record::tests::{down, flow, telemetry};
    use super::super::record::{DEPTH_GOOD_FOR, UNKNOWN_TYPES_COUNTED};
    use super::super::text::FOREIGN_SHOWN;
    use super::*;

    fn monitor() -> Monitor {
        Monitor::new(Arc::new(telemetry()))
    }

    #[tokio::test(start_paused = true)]
    async fn unknown_types_are_bounded_and_push_out_no_known_one() {
        let monitor = monitor();
        for n in 0..1_000 {
            monitor.telemetry.seen(&format!("{n}{}", "x".repeat(10_000)), false);
        }
        assert!(monitor.telemetry.seen("message.new", true));
        assert!(!monitor.telemetry.seen("message.new", true));
        let types = monitor.by_type();
        assert_eq!(types.len(), UNKNOWN_TYPES_COUNTED + 2, "one for all others, one for the known one");
        assert_eq!(types["other"], 1_000 - UNKNOWN_TYPES_COUNTED as u64);
        assert_eq!(types["message.new"], 2);
        assert!(types.keys().all(|name| name.len() <= FOREIGN_SHOWN));
    }

    #[tokio::test(start_paused = true)]
    async fn replicas_are_wanted_by_backlog_and_by_the_speed_when_busy() {
        let monitor = monitor();
        monitor.depth_was(Depth { visible: Some(60_000), ..Depth::default() }, 1);
        assert_eq!(monitor.desired_replicas(), None, "nobody knows how fast it can be");
        for _ in 0..3 {
            monitor.telemetry.turned(Occupancy { at_work: 60, slots_free: 4, ..Occupancy::default() });
            monitor.telemetry.deleted.add(2_000);
            monitor.sample(SAMPLE_EVERY);
        }
        assert_eq!(monitor.desired_replicas(), Some(5), "60,000 at 200 a second are five minutes");
        for state in [down(Duration::ZERO), FlowState::Limited, FlowState::Paused { ends_in: Duration::ZERO }] {
            monitor.telemetry.looked(vec![flow(FlowState::Flowing), flow(state)]);
            assert_eq!(monitor.desired_replicas(), None, "more of them would only be refused more often: {state:?}");
        }
        monitor.telemetry.looked(vec![flow(FlowState::Flowing); 2]);
        monitor.depth_was(Depth { visible: Some(0), ..Depth::default() }, 1);
        assert_eq!(monitor.desired_replicas(), Some(1));
        tokio::time::advance(DEPTH_GOOD_FOR).await;
        assert_eq!(monitor.desired_replicas(), None, "nobody has looked for long");
    }

    #[tokio::test(start_paused = true)]
    async fn only_an_old_poll_and_a_loop_that_stands_still_are_not_alive() {
        let monitor = monitor();
        let turn = |n: u64| {
            let monitor = monitor.clone();
            async move {
                for _ in 0..n {
                    tokio::time::advance(Duration::from_secs(1)).await;
                    // No free slot and a target that is down: no failures.
                    monitor.telemetry.turned(Occupancy { slots_free: 0, ..Occupancy::default() });
                    monitor.telemetry.looked(vec![flow(down(Duration::from_secs(9)))]);
                }
            }
        };
        turn(600).await;
        assert!(monitor.is_live());
        monitor.telemetry.poll_opened(1);
        turn(34).await;
        assert!(monitor.is_live(), "a poll may take its wait and 15 s");
        turn(1).await;
        assert!(!monitor.is_live());
        monitor.telemetry.poll_closed(1);
        assert!(monitor.is_live());
        tokio::time::advance(Duration::from_secs(15)).await;
        assert!(!monitor.is_live(), "the loop has not turned");
        monitor.telemetry.enter(Phase::Ended);
        assert!(monitor.is_live(), "and when the run is over it need not");
    }

    #[tokio::test(start_paused = true)]
    async fn a_kind_of_request_is_in_trouble_until_one_of_it_is_answered() {
        let monitor = monitor();
        for error in ["unreachable", "access_denied"] {
            monitor.telemetry.requested(Request::Receive, Err(error));
            tokio::time::advance(Duration::from_secs(5)).await;
        }
        monitor.telemetry.requested(Request::Delete, Ok(()));
        let since = Duration::from_secs(10);
        let trouble = Trouble { request: "receive", error: "access_denied", times: 2, since };
        assert_eq!(monitor.troubles(), [trouble]);
        monitor.telemetry.requested(Request::Receive, Ok(()));
        assert_eq!(monitor.troubles(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_told_of_a_target_goes_on_between_two_looks() {
        const SECOND: Duration = Duration::from_secs(1);
        let monitor = monitor();
        let paused = FlowState::Paused { ends_in: 3 * SECOND };
        let held = TargetFlow { returned_in: Some(9 * SECOND), ..flow(down(10 * SECOND)) };
        monitor.telemetry.looked(vec![flow(paused), held]);
        tokio::time::advance(4 * SECOND).await;
        let flows = monitor.flows();
        assert_eq!(flows[0].state, FlowState::Paused { ends_in: Duration::ZERO });
        assert_eq!((flows[1].state, flows[1].returned_in), (down(14 * SECOND), Some(5 * SECOND)));
    }

    #[tokio::test(start_paused = true)]
    async fn one_message_that_fails_alone_is_not_a_target_that_is_down() {
        let monitor = monitor();
        let lone = TargetFlow { only_one_fails: true, ..flow(down(Duration::ZERO)) };
        monitor.telemetry.looked(vec![flow(down(Duration::ZERO)), lone]);
        assert_eq!(monitor.snapshot().targets_down, ["message.*".into()]);
        let words: Vec<&str> = monitor.flows().iter().map(TargetFlow::word).collect();
        assert_eq!(words, ["down", "only one fails"]);
        assert!(words.iter().all(|word| TargetFlow::WORDS.contains(word)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_is_busy_when_its_handlers_can_do_no_more_at_a_time() {
        let monitor = monitor();
        let telemetry = &monitor.telemetry;
        let full = || telemetry.now().is_full(64);
        telemetry.turned(Occupancy { slots_free: 60, ..Occupancy::default() });
        let two_connections = TargetFlow { calls: 2, calls_limit: Some(2), ..TargetFlow::default() };
        telemetry.looked(vec![two_connections.clone()]);
        assert!(!full(), "nothing waits");
        telemetry.looked(vec![TargetFlow { waiting: 1, ..two_connections.clone() }]);
        assert!(full());
        telemetry.looked(vec![TargetFlow { waiting: 1, state: FlowState::Limited, ..two_connections }]);
        assert!(!full(), "the target is what holds it up");
    }

    #[tokio::test(start_paused = true)]
    async fn the_names_of_failing_types_are_cut() {
        let monitor = monitor();
        let types = vec!["x".repeat(1 << 20).into(), "message.new".into()];
        monitor.telemetry.looked(vec![TargetFlow { failing_types: types, ..TargetFlow::default() }]);
        let lengths: Vec<usize> = monitor.flows()[0].failing_types.iter().map(|kind| kind.len()).collect();
        assert_eq!(lengths, [FOREIGN_SHOWN, "message.new".len()]);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_counted_as_of_late_exactly_while_the_latest_is() {
        let telemetry = Arc::new(telemetry());
        let monitor = Monitor::new(telemetry.clone());
        let fail = |error| {
            telemetry.failed(Failed {
                kind: "panic",
                event_type: None,
                route: None,
                error,
                message_id: "m",
                receive_count: 1,
            });
        };
        let agree = |expected: u64| {
            let latest = monitor.failures().first().map(|failure| failure.age);
            assert_eq!(monitor.failed_lately(), expected, "{latest:?}");
            assert_eq!(expected > 0, latest.is_some_and(|age| age < LATELY), "{latest:?}");
        };
        agree(0);
        fail("first");
        // Before any sample.
        agree(1);
        for _ in 0..30 {
            tokio::time::advance(SAMPLE_EVERY).await;
            monitor.sample(SAMPLE_EVERY);
        }
        fail("second");
        agree(2);
        for _ in 0..59 {
            tokio::time::advance(SAMPLE_EVERY).await;
            monitor.sample(SAMPLE_EVERY);
            assert!(monitor.failed_lately() > 0);
        }
        agree(1);
        tokio::time::advance(SAMPLE_EVERY).await;
        agree(0);
    }
}
