//! The page of metrics: those of the table of [`counters`](super::counters), and all others, whose names stand here.
//!
//! The names follow Prometheus's conventions: base units, the unit in the name, `_total` on what only rises. Every label
//! has a known, bounded set of values, and a series is there from the start, at zero: the first failure of a kind is then
//! a rise that an alert can see.

use std::fmt::Display;

use super::counters::Counters;
use super::flow::TargetFlow;
use super::label::{CallEnd, OTHER, Request};
use super::process::Process;
use super::prometheus::{Metric, Page, counter, gauge, histogram};
use super::record::Telemetry;
use super::snapshot::DepthReading;

pub(super) const BUILD_INFO: Metric =
    gauge("stream_sqsd_build_info", &["version"], "Always 1, with the version of the daemon.");
const LIVE: Metric = gauge("stream_sqsd_live", &[], "1 while the daemon is alive, as /livez says.");
const READY: Metric = gauge("stream_sqsd_ready", &[], "1 while messages are received, as /readyz says.");

const EVENTS: Metric = counter(
    "stream_sqsd_events_total",
    &["type"],
    "Events decoded, by type; types that this version does not know, custom ones too, are `other`.",
);
const UNDECODABLE: Metric =
    counter("stream_sqsd_undecodable_total", &["error"], "Bodies that could not be decoded; they stay in the queue.");
const CALLS: Metric = counter(
    "stream_sqsd_handler_calls_total",
    &["route", "outcome"],
    "Calls of handlers, by route and by how they ended: handled, retry, bad message, target busy, target down, time \
     limit, panic, does not fit (its type), interrupted (lease lost, or shutdown). One delivery may be tried several times.",
);
const HANDLER_TIME: Metric = histogram(
    "stream_sqsd_handler_duration_seconds",
    &["route"],
    "How long calls of handlers took, however they ended.",
);
const TARGET_STATE: Metric = gauge(
    "stream_sqsd_target_state",
    &["route", "state"],
    "1 for the state that the flow to the target of a route is in: flowing, limited (to a rate or a number of calls), \
     paused (as the target asked), only one fails, down, returning (it was down or paused, and the rate grows).",
);
const TARGET_DOWN: Metric = gauge(
    "stream_sqsd_target_down",
    &["route"],
    "1 while the target of a route is down: nothing succeeds, and more than one message was tried.",
);
const ONLY_ONE_FAILS: Metric = gauge(
    "stream_sqsd_target_only_one_fails",
    &["route"],
    "1 while one message fails and nothing else was tried: it may be the message or the target.",
);
const RATE_LIMIT: Metric = gauge(
    "stream_sqsd_target_rate_limit",
    &["route"],
    "How many calls a second the target is found to take; absent where nothing limits them.",
);
const TARGET_CALLS: Metric = gauge("stream_sqsd_target_calls", &["route"], "Calls of the handler in flight.");
const CALLS_LIMIT: Metric = gauge(
    "stream_sqsd_target_calls_limit",
    &["route"],
    "How many calls at the same time the target is found to take, or the handler can make; absent where only the slots \
     limit them.",
);
const TARGET_HELD: Metric = gauge(
    "stream_sqsd_target_held",
    &["route", "reason"],
    "Messages held until the target takes them: waiting (never called, or only refused) and retrying (failed before); of \
     these doubted (failed while others succeeded) and last_receive (dead-lettered if given up).",
);

const TIME_IN_QUEUE: Metric = histogram(
    "stream_sqsd_time_in_queue_seconds",
    &[],
    "The time from the sending of a message to its arrival here, retries included.",
);
const LEASE_MARGIN: Metric = histogram(
    "stream_sqsd_lease_margin_seconds",
    &[],
    "What was left of the visibility timeout when the delete of a message was confirmed.",
);
const RECEIVE_COUNT: Metric = histogram(
    "stream_sqsd_receive_count_at_success",
    &[],
    "How often a message had been received when its handler succeeded.",
);

const SLOTS: Metric = gauge(
    "stream_sqsd_slots",
    &[],
    "How many handlers may be called at the same time. A message takes a slot until it is settled, or its target is found \
     busy or down; then it is held beyond the slots, up to ten times as many.",
);
const SLOTS_FREE: Metric =
    gauge("stream_sqsd_slots_free", &[], "Slots that are neither taken by a message nor claimed by an open receive.");
const IN_FLIGHT: Metric = gauge("stream_sqsd_in_flight", &[], "Messages held now, with and without a slot.");
const IN_FLIGHT_BYTES: Metric =
    gauge("stream_sqsd_in_flight_bytes", &[], "Bytes held by messages or reserved by open receives.");
const IN_FLIGHT_BYTES_LIMIT: Metric =
    gauge("stream_sqsd_in_flight_bytes_limit", &[], "How many bytes may be held at the same time.");

const REQUEST_ERRORS: Metric =
    counter("stream_sqsd_request_errors_total", &["call", "error"], "Requests to the queue that failed as a whole.");
const POLLS_OPEN: Metric = gauge("stream_sqsd_open_polls", &[], "Receives that wait for their answer.");
const POLL_AGE: Metric =
    gauge("stream_sqsd_oldest_poll_age_seconds", &[], "The age of the oldest open receive; 0 when none is open.");

const LAST_EVENT: Metric = gauge(
    "stream_sqsd_since_last_event_seconds",
    &[],
    "How long ago a message arrived that had not been received before, or the start where none has.",
);

const LOG_LINES_DROPPED: Metric = counter(
    "stream_sqsd_log_lines_dropped_total",
    &[],
    "Lines of the log that were dropped because standard error did not take them.",
);
const DEAD_LETTER_RECORDS_DROPPED: Metric = counter(
    "stream_sqsd_dead_letter_records_dropped_total",
    &[],
    "Records of failed last receives that are missing in the file of reasons, because its disk did not take them; absent \
     where no file is kept.",
);

const QUEUE_MESSAGES: Metric = gauge(
    "stream_sqsd_queue_messages",
    &["state"],
    "About how many messages the queue holds, visible or hidden; read at most once a minute, absent where it may not be.",
);
const DEAD_LETTERS: Metric = gauge(
    "stream_sqsd_dead_letter_messages",
    &[],
    "About how many messages wait in the dead-letter queue; absent where that may not be read.",
);
const DESIRED_REPLICAS: Metric = gauge(
    "stream_sqsd_desired_replicas",
    &[],
    "How many daemons like this one would handle the visible messages within a minute, at its speed when last busy; \
     absent until that is known, and while a target is down or limits the calls.",
);

// Of the process, by the names that every Prometheus client gives them; absent where the system does not tell.
const CPU_SECONDS: Metric =
    counter("process_cpu_seconds_total", &[], "CPU time of the process in user and kernel mode, in seconds.");
const OPEN_FDS: Metric = gauge("process_open_fds", &[], "File descriptors that are open.");
const MAX_FDS: Metric = gauge("process_max_fds", &[], "How many file descriptors may be open; absent without a limit.");
const VIRTUAL_MEMORY: Metric = gauge("process_virtual_memory_bytes", &[], "Memory that is mapped, in bytes.");
const VIRTUAL_MEMORY_MAX: Metric =
    gauge("process_virtual_memory_max_bytes", &[], "How many bytes of memory may be mapped; absent without a limit.");
const RESIDENT_MEMORY: Metric = gauge("process_resident_memory_bytes", &[], "Memory that is in use, in bytes.");
const START_TIME: Metric = gauge("process_start_time_seconds", &[], "When the process started, in seconds since 1970.");
const THREADS: Metric = gauge("process_threads", &[], "Threads of the process.");

/// All metrics now, in the text format of Prometheus (version 0.0.4).
pub(super) fn page(t: &Telemetry, live: bool) -> Page {
    let now = t.now().clone();
    let mut page = Page::new();

    page.one(&BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1);
    page.one(&LIVE, &[], u8::from(live));
    page.one(&READY, &[], u8::from(t.phase().is_ready()));

    page.counters(Counters::DELIVERIES, t);

    let mut events = page.family(&EVENTS);
    let mut other = 0;
    for (name, count) in t.types().iter() {
        if count.known { events.sample(&[name], count.seen) } else { other += count.seen }
    }
    events.sample(&[OTHER], other);
    let mut undecodable = page.family(&UNDECODABLE);
    for (label, count) in t.undecodable.each() {
        undecodable.sample(&[label], count);
    }
    page.counters(Counters::EVENTS, t);
    let mut calls = page.family(&CALLS);
    for route in &t.routes {
        for end in CallEnd::ALL {
            calls.sample(&[&route.name, end.label()], route.count(end));
        }
    }
    let mut times = page.family(&HANDLER_TIME);
    for route in &t.routes {
        times.histogram(&[&route.name], &route.seconds.read());
    }
    page.flows(&now.flows);

    page.family(&TIME_IN_QUEUE).histogram(&[], &t.time_in_queue.read());
    page.family(&LEASE_MARGIN).histogram(&[], &t.lease_margin.read());
    page.family(&RECEIVE_COUNT).histogram(&[], &t.receive_count_at_success.read());

    page.one(&SLOTS, &[], t.limits.concurrency);
    page.one(&SLOTS_FREE, &[], now.slots_free);
    page.one(&IN_FLIGHT, &[], now.at_work);
    page.one(&IN_FLIGHT_BYTES, &[], now.bytes);
    page.one(&IN_FLIGHT_BYTES_LIMIT, &[], t.limits.max_in_flight_bytes);

    page.counters(Counters::REQUESTS, t);
    let mut errors = page.family(&REQUEST_ERRORS);
    for request in Request::ALL {
        for (label, count) in t.request_errors[request as usize].each() {
            errors.sample(&[request.label(), label], count);
        }
    }
    page.counters(Counters::RECEIVES, t);
    page.one(&POLLS_OPEN, &[], now.polls.len());
    page.one(&POLL_AGE, &[], now.oldest_poll().unwrap_or_default().as_secs_f64());
    page.one(&LAST_EVENT, &[], t.since_last_event().as_secs_f64());

    page.family(&LOG_LINES_DROPPED).sample_if_known(&[], t.log_lines_dropped());
    page.family(&DEAD_LETTER_RECORDS_DROPPED).sample_if_known(&[], t.dead_letters.dropped());

    let depth = t.depth().unwrap_or_else(DepthReading::unknown).depth;
    let mut queue = page.family(&QUEUE_MESSAGES);
    queue.sample_if_known(&["visible"], depth.visible);
    queue.sample_if_known(&["hidden"], depth.hidden);
    page.family(&DEAD_LETTERS).sample_if_known(&[], depth.dead_letters);
    page.family(&DESIRED_REPLICAS).sample_if_known(&[], t.desired_replicas());
    page.process(&Process::now());
    page
}

impl Page {
    fn flows(&mut self, flows: &[TargetFlow]) {
        let mut states = self.family(&TARGET_STATE);
        for flow in flows {
            for word in TargetFlow::WORDS {
                states.sample(&[&flow.route, word], u8::from(flow.word() == word));
            }
        }
        self.each(&TARGET_DOWN, flows, |flow| Some(u8::from(flow.is_down())));
        self.each(&ONLY_ONE_FAILS, flows, |flow| Some(u8::from(flow.is_lone_failure())));
        self.each(&RATE_LIMIT, flows, |flow| flow.rate_limit);
        self.each(&TARGET_CALLS, flows, |flow| Some(flow.calls));
        self.each(&CALLS_LIMIT, flows, |flow| flow.calls_limit);
        let mut held = self.family(&TARGET_HELD);
        for flow in flows {
            held.sample(&[&flow.route, "waiting"], flow.waiting);
            held.sample(&[&flow.route, "retrying"], flow.retrying);
            held.sample(&[&flow.route, "doubted"], flow.doubted);
            held.sample(&[&flow.route, "last_receive"], flow.on_last_receive);
        }
    }

    pub(super) fn process(&mut self, process: &Process) {
        self.one(&CPU_SECONDS, &[], process.cpu_seconds);
        self.family(&OPEN_FDS).sample_if_known(&[], process.open_fds);
        self.family(&MAX_FDS).sample_if_known(&[], process.max_fds);
        self.family(&VIRTUAL_MEMORY).sample_if_known(&[], process.virtual_memory_bytes);
        self.family(&VIRTUAL_MEMORY_MAX).sample_if_known(&[], process.virtual_memory_max_bytes);
        self.family(&RESIDENT_MEMORY).sample_if_known(&[], process.resident_memory_bytes);
        self.family(&START_TIME).sample_if_known(&[], process.start_time_seconds);
        self.family(&THREADS).sample_if_known(&[], process.threads);
    }

    /// One value for each route, where it has one.
    fn each<T: Display>(
        &mut self,
        metric: &'static Metric,
        flows: &[TargetFlow],
        value: impl Fn(&TargetFlow) -> Option<T>,
    ) {
        let mut family = self.family(metric);
        for flow in flows {
            family.sample_if_known(&[&flow.route], value(flow));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::super::flow::FlowState;
    use super::super::prometheus::{Kind, documented};
    use super::super::record::tests::{down, flow, telemetry};
    use super::*;

    fn now(telemetry: &Telemetry) -> String {
        page(telemetry, true).text
    }

    #[tokio::test(start_paused = true)]
    async fn no_series_is_written_twice_even_for_routes_of_one_name() {
        let text = now(&telemetry());
        let mut known = BTreeSet::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (series, _) = line.rsplit_once(' ').expect("a value");
            assert!(known.insert(series), "{series} is there twice");
        }
        assert!(text.contains(r#"stream_sqsd_target_down{route="message.*"} 0"#));
        assert!(text.contains(r#"stream_sqsd_target_down{route="message.* (2)"} 0"#));
    }

    #[tokio::test(start_paused = true)]
    async fn one_state_of_a_target_is_1_and_limits_show_where_they_limit() {
        let telemetry = telemetry();
        let ours = |text: &str| {
            let ours = text.lines().filter(|line| line.starts_with("stream_sqsd_target_") && !line.ends_with(" 0"));
            ours.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(
            ours(&now(&telemetry)),
            [r#"{route="message.*",state="flowing"} 1"#, r#"{route="message.* (2)",state="flowing"} 1"#]
                .map(|line| format!("stream_sqsd_target_state{line}"))
        );
        let lone = TargetFlow { only_one_fails: true, retrying: 1, on_last_receive: 1, ..flow(down(Duration::ZERO)) };
        let limited = TargetFlow {
            route: "b".into(),
            rate_limit: Some(4.5),
            calls: 2,
            calls_limit: Some(3),
            waiting: 9,
            retrying: 8,
            doubted: 7,
            ..flow(FlowState::Limited)
        };
        telemetry.looked(vec![lone, limited]);
        assert_eq!(
            ours(&now(&telemetry)),
            [
                r#"state{route="message.*",state="only one fails"} 1"#,
                r#"state{route="b",state="limited"} 1"#,
                r#"only_one_fails{route="message.*"} 1"#,
                r#"rate_limit{route="b"} 4.5"#,
                r#"calls{route="b"} 2"#,
                r#"calls_limit{route="b"} 3"#,
                r#"held{route="message.*",reason="retrying"} 1"#,
                r#"held{route="message.*",reason="last_receive"} 1"#,
                r#"held{route="b",reason="waiting"} 9"#,
                r#"held{route="b",reason="retrying"} 8"#,
                r#"held{route="b",reason="doubted"} 7"#,
            ]
            .map(|line| format!("stream_sqsd_target_{line}"))
        );
        telemetry.looked(vec![flow(down(Duration::ZERO)), flow(FlowState::Returning)]);
        let text = now(&telemetry);
        assert!(text.contains(r#"stream_sqsd_target_down{route="message.*"} 1"#), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_histogram_ends_in_all_its_observations() {
        let telemetry = telemetry();
        telemetry.called(0, CallEnd::Handled, Duration::from_millis(30));
        telemetry.called(0, CallEnd::Handled, Duration::from_secs(1_000));
        let text = now(&telemetry);
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("stream_sqsd_handler_duration_seconds") && line.contains("message.*\""))
            .collect();
        assert!(lines.contains(&r#"stream_sqsd_handler_duration_seconds_bucket{route="message.*",le="0.025"} 0"#));
        assert!(lines.contains(&r#"stream_sqsd_handler_duration_seconds_bucket{route="message.*",le="0.05"} 1"#));
        assert!(lines.contains(&r#"stream_sqsd_handler_duration_seconds_bucket{route="message.*",le="+Inf"} 2"#));
        assert!(lines.contains(&r#"stream_sqsd_handler_duration_seconds_sum{route="message.*"} 1000.03"#));
        assert!(lines.contains(&r#"stream_sqsd_handler_duration_seconds_count{route="message.*"} 2"#));
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_type_is_other_and_never_a_label() {
        let telemetry = telemetry();
        telemetry.seen("message.new", true);
        telemetry.seen("evil\"} 1\n", false);
        telemetry.seen("custom", false);
        let text = now(&telemetry);
        let events: Vec<&str> = text.lines().filter(|line| line.starts_with("stream_sqsd_events_total")).collect();
        assert_eq!(
            events,
            [r#"stream_sqsd_events_total{type="message.new"} 1"#, r#"stream_sqsd_events_total{type="other"} 2"#]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn names_follow_the_conventions() {
        for metric in page(&telemetry(), true).metrics {
            let rest = metric.name.strip_prefix("stream_sqsd_").or(metric.name.strip_prefix("process_"));
            let rest = rest.expect("our prefix, or that of what every process has");
            assert!(rest.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{rest}");
            assert_eq!(rest.ends_with("_total"), metric.kind == Kind::Counter, "{rest}");
            assert!(metric.help.ends_with('.') && !metric.help.contains(['\n', '\\', '|']), "{rest}: {}", metric.help);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_monitoring_page_has_the_table_of_the_metrics() {
        documented::in_page("monitoring.md", page(&telemetry(), true).metrics);
    }
}
