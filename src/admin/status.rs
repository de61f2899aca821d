//! `/status`: all that is known, as JSON. The page draws itself from it.
//!
//! Times are ages in seconds: anyone who reads them needs no clock that agrees with ours.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::telemetry::{
    DeadLetterGroup, DepthReading, FlowState, InSection, Monitor, QueueSeen, RecentFailure, SAMPLE_EVERY, Sample,
    Section, Snapshot, TargetFlow, Trouble,
};
#[cfg(feature = "relay")]
use crate::telemetry::{RelayMonitor, RelaySnapshot};

/// How many event types are listed, the most frequent first. The metrics have all that are known.
const TYPES_LISTED: usize = 60;

#[derive(Serialize)]
struct Status<'a> {
    version: &'static str,
    /// The queue as the daemon was told of it.
    queue: &'a str,
    found: Option<QueueSeen>,
    phase: &'static str,
    live: bool,
    ready: bool,
    uptime_seconds: f64,
    deliveries: Deliveries<'a>,
    failures: Failures<'a>,
    dropped: Dropped,
    in_flight: InFlight,
    polls: Polls<'a>,
    requests: Requests<'a>,
    /// The kinds of requests that fail at present.
    troubles: Vec<Trouble>,
    depth: Option<DepthReading>,
    desired_replicas: Option<u64>,
    routes: Vec<RouteStatus>,
    types: Vec<Type>,
    /// How many events were of types that are not listed.
    events_of_other_types: u64,
    receive_counts_at_success: Vec<ReceiveCount>,
    last_failures: Vec<RecentFailure>,
    /// What failed on its last receive here, in groups.
    dead_lettered: Vec<DeadLetterGroup>,
    history: History,
}

#[derive(Serialize)]
struct Deliveries<'a> {
    #[serde(flatten)]
    arrivals: InSection<'a>,
    #[serde(flatten)]
    settlements: InSection<'a>,
    #[serde(flatten)]
    unworked: InSection<'a>,
}

#[derive(Serialize)]
struct Failures<'a> {
    undecodable: u64,
    handler_errors: u64,
    time_limits: u64,
    panics: u64,
    #[serde(flatten)]
    counted: InSection<'a>,
    /// Those in `last_failures` of the last ten minutes, and those like them that it has no room for.
    last_ten_minutes: u64,
}

/// What is missing because nobody took it in time; null where it is not counted.
#[derive(Serialize)]
struct Dropped {
    log_lines: Option<u64>,
    dead_letter_records: Option<u64>,
}

#[derive(Serialize)]
struct InFlight {
    messages: usize,
    slots: usize,
    slots_free: usize,
    bytes: usize,
    bytes_limit: usize,
}

#[derive(Serialize)]
struct Polls<'a> {
    open: usize,
    oldest_seconds: Option<f64>,
    since_last_event_seconds: f64,
    #[serde(flatten)]
    counted: InSection<'a>,
}

#[derive(Serialize)]
struct Requests<'a> {
    #[serde(flatten)]
    counted: InSection<'a>,
    per_message: Option<f64>,
}

#[derive(Serialize)]
struct RouteStatus {
    name: String,
    handled: u64,
    failed: BTreeMap<&'static str, u64>,
    mean_call_seconds: Option<f64>,
    flow: Flow,
}

/// The flow to the target of a route.
#[derive(Serialize)]
struct Flow {
    /// flowing, limited, paused, only one fails, down or returning.
    state: &'static str,
    /// How long the target still asked to be left alone.
    pause_ends_seconds: Option<f64>,
    down_for_seconds: Option<f64>,
    next_probe_seconds: Option<f64>,
    /// Beyond SQS's 12 hours: when one message is received as the next probe.
    next_receive_seconds: Option<f64>,
    /// Calls that succeed, a second.
    rate: f64,
    rate_limit: Option<f64>,
    calls: usize,
    calls_limit: Option<usize>,
    refused_last_minute: u64,
    held: Held,
}

/// What is held until the target takes it.
#[derive(Serialize)]
struct Held {
    waiting: usize,
    retrying: usize,
    /// Held for other routes, and done on this one.
    done: usize,
    /// Of those that are retried.
    doubted: usize,
    on_last_receive: usize,
    failing_types: Vec<String>,
    /// When the first of them goes back to the queue.
    returned_in_seconds: Option<f64>,
}

#[derive(Serialize)]
struct Type {
    name: String,
    events: u64,
}

#[derive(Serialize)]
struct ReceiveCount {
    /// None: more often than any that is listed.
    received: Option<u32>,
    messages: u64,
}

/// The last hour, the oldest first: one list for each fact, of the same length.
#[derive(Serialize)]
struct History {
    every_seconds: u64,
    seconds: Vec<f64>,
    received: Vec<u64>,
    deleted: Vec<u64>,
    failed: Vec<u64>,
    oldest_seconds: Vec<f64>,
    in_flight: Vec<u64>,
    target_down: Vec<bool>,
}

/// The status of a relay.
#[cfg(feature = "relay")]
#[derive(Serialize)]
struct OfRelay<'a> {
    queue: &'a str,
    phase: &'static str,
    #[serde(flatten)]
    relay: RelaySnapshot,
}

/// The status of a relay into this queue.
#[cfg(feature = "relay")]
pub(super) fn of_relay(monitor: &RelayMonitor, queue: &str) -> String {
    let phase = if monitor.is_ready() { "relaying" } else { "not accepting connections" };
    // Texts and numbers.
    serde_json::to_string(&OfRelay { queue, phase, relay: monitor.snapshot() }).unwrap_or_default()
}

pub(super) fn json(monitor: &Monitor, queue: &str) -> String {
    let now = monitor.snapshot();
    let (types, events_of_other_types) = types(monitor);
    let status = Status {
        version: env!("CARGO_PKG_VERSION"),
        queue,
        found: monitor.queue(),
        phase: now.phase.name(),
        live: monitor.is_live(),
        ready: now.phase.is_ready(),
        uptime_seconds: monitor.uptime().as_secs_f64(),
        deliveries: Deliveries {
            arrivals: now.section(Section::Arrivals),
            settlements: now.section(Section::Settlements),
            unworked: now.section(Section::Unworked),
        },
        failures: Failures {
            undecodable: now.undecodable,
            handler_errors: now.handler_errors,
            time_limits: now.timeouts,
            panics: now.panics,
            counted: now.section(Section::Failures),
            last_ten_minutes: monitor.failed_lately(),
        },
        dropped: dropped(monitor),
        in_flight: InFlight {
            messages: now.at_work,
            slots: now.concurrency,
            slots_free: now.slots_free,
            bytes: now.in_flight_bytes,
            bytes_limit: now.max_in_flight_bytes,
        },
        polls: Polls {
            open: now.open_polls,
            oldest_seconds: now.oldest_poll.map(|age| age.as_secs_f64()),
            since_last_event_seconds: now.since_last_event.as_secs_f64(),
            counted: now.section(Section::Polls),
        },
        requests: requests(&now),
        troubles: monitor.troubles(),
        depth: monitor.depth(),
        desired_replicas: monitor.desired_replicas(),
        routes: routes(monitor),
        types,
        events_of_other_types,
        receive_counts_at_success: monitor
            .receive_counts()
            .into_iter()
            .map(|(received, messages)| ReceiveCount { received, messages })
            .collect(),
        last_failures: monitor.failures(),
        dead_lettered: monitor.dead_lettered(),
        history: history(&monitor.history()),
    };
    serde_json::to_string(&status).expect("strings and numbers, and every key is a string")
}

fn dropped(monitor: &Monitor) -> Dropped {
    Dropped { log_lines: monitor.log_lines_dropped(), dead_letter_records: monitor.dead_letter_records_dropped() }
}

fn requests(now: &Snapshot) -> Requests<'_> {
    let all = now.polls + now.delete_calls + now.change_visibility_calls + now.attributes_calls;
    Requests {
        counted: now.section(Section::Requests),
        per_message: (now.deleted > 0).then(|| all as f64 / now.deleted as f64),
    }
}

fn routes(monitor: &Monitor) -> Vec<RouteStatus> {
    let routes = monitor.routes().into_iter().map(|route| RouteStatus {
        name: route.name.to_string(),
        handled: route.handled,
        failed: route.failed.into_iter().collect(),
        mean_call_seconds: route.mean_call.map(|mean| mean.as_secs_f64()),
        flow: flow(route.flow),
    });
    routes.collect()
}

fn flow(flow: TargetFlow) -> Flow {
    let (pause, down, probe, receive) = match flow.state {
        FlowState::Paused { ends_in } => (Some(ends_in), None, None, None),
        FlowState::Down { lasts, next_probe_in, next_receive_in } => {
            (None, Some(lasts), next_probe_in, next_receive_in)
        }
        _ => (None, None, None, None),
    };
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    Flow {
        state: flow.word(),
        pause_ends_seconds: seconds(pause),
        down_for_seconds: seconds(down),
        next_probe_seconds: seconds(probe),
        next_receive_seconds: seconds(receive),
        rate: flow.rate,
        rate_limit: flow.rate_limit,
        calls: flow.calls,
        calls_limit: flow.calls_limit,
        refused_last_minute: flow.refused_last_minute,
        held: Held {
            waiting: flow.waiting,
            retrying: flow.retrying,
            done: flow.done,
            doubted: flow.doubted,
            on_last_receive: flow.on_last_receive,
            failing_types: flow.failing_types.iter().map(|kind| kind.to_string()).collect(),
            returned_in_seconds: seconds(flow.returned_in),
        },
    }
}

/// The most frequent types, and how many events were of others.
fn types(monitor: &Monitor) -> (Vec<Type>, u64) {
    let mut types: Vec<Type> =
        monitor.by_type().into_iter().map(|(name, events)| Type { name: name.to_string(), events }).collect();
    // They come by name, and stay so where they are as frequent.
    types.sort_by_key(|kind| std::cmp::Reverse(kind.events));
    let others = types.iter().skip(TYPES_LISTED).map(|kind| kind.events).sum();
    types.truncate(TYPES_LISTED);
    (types, others)
}

fn history(samples: &[Sample]) -> History {
    /// To the millisecond: nobody reads more, and an hour of it is sent every few seconds.
    fn short(seconds: f64) -> f64 {
        (seconds * 1e3).round() / 1e3
    }
    History {
        every_seconds: SAMPLE_EVERY.as_secs(),
        seconds: samples.iter().map(|sample| short(sample.seconds)).collect(),
        received: samples.iter().map(|sample| sample.received).collect(),
        deleted: samples.iter().map(|sample| sample.deleted).collect(),
        failed: samples.iter().map(|sample| sample.failed).collect(),
        oldest_seconds: samples.iter().map(|sample| short(sample.oldest)).collect(),
        in_flight: samples.iter().map(|sample| sample.at_work).collect(),
        target_down: samples.iter().map(|sample| sample.target_down).collect(),
    }
}
