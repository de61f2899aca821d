//! What can be observed of a relay: its counts, its metrics, and whether it is alive.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::count::Count;
use super::histogram::Histogram;
use super::label::words;
use super::metrics::BUILD_INFO;
use super::process::Process;
use super::prometheus::{Metric, Page, counter, gauge, histogram};
use super::throttle::{Cause, Throttle};

words! {
    /// How a request to the relay was answered.
    RelayOutcome {
        /// 200: SQS has it.
        Sent = "sent",
        /// 200: it is fsynced in the spool.
        Spooled = "spooled",
        /// 200: it was answered with 200 before.
        Repeated = "repeated",
        WrongPath = "wrong_path",
        WrongMethod = "wrong_method",
        WrongAddress = "wrong_address",
        UnknownKey = "unknown_api_key",
        WrongSignature = "wrong_signature",
        TooLarge = "too_large",
        WrongEncoding = "unsupported_encoding",
        /// The body broke off, or is damaged gzip. Nobody knows who has sent it.
        Damaged = "damaged",
        /// The signature is right, and the body is something else.
        NotAnEvent = "not_an_event",
        /// SQS will never take it.
        RefusedByQueue = "refused_by_queue",
        /// Its body did not come in time.
        TooSlow = "too_slow",
        /// Too many bytes or events are at work.
        Busy = "busy",
        QueueUnavailable = "queue_unavailable",
        SpoolFull = "spool_full",
        SpoolFailed = "spool_failed",
    }
}

const LIVE: Metric = gauge("stream_sqsd_relay_live", &[], "1 while the relay is alive, as /livez says.");
const READY: Metric = gauge("stream_sqsd_relay_ready", &[], "1 while connections are accepted, as /readyz says.");
const REQUESTS: Metric = counter(
    "stream_sqsd_relay_requests_total",
    &["outcome"],
    "Requests to the relay by how they were answered: with 200 (sent to the queue, spooled, repeated), never to be tried \
     again (wrong_path, wrong_method, wrong_address, unknown_api_key, wrong_signature, too_large, unsupported_encoding, \
     damaged, not_an_event although signed, refused_by_queue), or for Stream to try again (too_slow, busy, \
     queue_unavailable, spool_full, spool_failed).",
);
const DURATION: Metric = histogram(
    "stream_sqsd_relay_request_duration_seconds",
    &[],
    "How long events took from the head of their request to the answer.",
);
const BATCHES: Metric = counter(
    "stream_sqsd_relay_batches_total",
    &["outcome"],
    "Requests to the queue, each of which AWS bills: answered, or failed as a whole.",
);
const BYTES: Metric = gauge("stream_sqsd_relay_body_bytes", &[], "Bytes of bodies that are held.");
const CONNECTIONS: Metric = gauge("stream_sqsd_relay_connections", &[], "Connections that are open.");
const CONNECTIONS_LIMIT: Metric =
    gauge("stream_sqsd_relay_connections_limit", &[], "How many connections may be open at the same time.");
const CONNECTIONS_CLOSED: Metric = counter(
    "stream_sqsd_relay_connections_closed_total",
    &["reason"],
    "Connections that the relay closed: evicted (idle, to make room), refused (no room), timeout (of the TLS handshake, \
     the head or the idle time), tls (the handshake failed).",
);
const CERTIFICATE_FAILURES: Metric = counter(
    "stream_sqsd_relay_certificate_failures_total",
    &[],
    "How often the changed certificate or key could not be read; those from before stay in use.",
);
const SPOOL_EVENTS: Metric =
    gauge("stream_sqsd_relay_spool_events", &[], "Events in the spool; absent where there is no spool.");
const SPOOL_BYTES: Metric =
    gauge("stream_sqsd_relay_spool_bytes", &[], "Bytes on disk of the spool; absent where there is no spool.");
const SPOOL_LIMIT: Metric = gauge(
    "stream_sqsd_relay_spool_limit_bytes",
    &[],
    "How large the spool may become; absent where there is no spool.",
);
const SPOOL_AGE: Metric = gauge(
    "stream_sqsd_relay_spool_oldest_age_seconds",
    &[],
    "How long the spool has not been empty; 0 when it is, absent where there is no spool.",
);
const SPOOL_ERRORS: Metric =
    counter("stream_sqsd_relay_spool_errors_total", &[], "Writes and reads of the spool that the disk refused.");
const SET_ASIDE: Metric = counter(
    "stream_sqsd_relay_set_aside_total",
    &[],
    "Spooled events that the queue will never take, or that are damaged: they are in the file set-aside of the spool.",
);

/// How long answers take, in seconds: up to the time after which Stream gives up.
const BOUNDS: &[f64] = &[0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 6.0];

/// For how long the loop of the relay may stand still before it counts as dead.
const DEAD_AFTER: Duration = Duration::from_secs(15);

/// What is counted of one relay.
#[derive(Debug)]
pub(crate) struct RelayTelemetry {
    outcomes: [Count; RelayOutcome::ALL.len()],
    seconds: Histogram,
    pub(crate) batches: Count,
    pub(crate) batches_failed: Count,
    pub(crate) evicted: Count,
    pub(crate) refused: Count,
    pub(crate) timed_out: Count,
    pub(crate) tls_failed: Count,
    pub(crate) certificate_failures: Count,
    pub(crate) spool_errors: Count,
    pub(crate) set_aside: Count,
    pub(crate) connections: AtomicU64,
    pub(crate) connections_limit: AtomicU64,
    pub(crate) body_bytes: AtomicU64,
    pub(crate) ready: AtomicBool,
    spool: Mutex<Option<SpoolNow>>,
    beat: Mutex<Instant>,
    throttle: Mutex<Throttle>,
    began: Instant,
}

/// The spool at this moment.
#[derive(Clone, Copy, Debug)]
struct SpoolNow {
    events: u64,
    bytes: u64,
    limit: u64,
    in_use_since: Option<Instant>,
}

impl RelayTelemetry {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        RelayTelemetry {
            outcomes: std::array::from_fn(|_| Count::default()),
            seconds: Histogram::new(BOUNDS),
            batches: Count::default(),
            batches_failed: Count::default(),
            evicted: Count::default(),
            refused: Count::default(),
            timed_out: Count::default(),
            tls_failed: Count::default(),
            certificate_failures: Count::default(),
            spool_errors: Count::default(),
            set_aside: Count::default(),
            connections: AtomicU64::default(),
            connections_limit: AtomicU64::default(),
            body_bytes: AtomicU64::default(),
            ready: AtomicBool::default(),
            spool: Mutex::default(),
            beat: Mutex::new(now),
            throttle: Mutex::default(),
            began: now,
        }
    }

    /// A request was answered; `took` where it was an event whose fate was waited for.
    pub(crate) fn answered(&self, outcome: RelayOutcome, took: Option<Duration>) {
        self.outcomes[outcome as usize].add(1);
        if let Some(took) = took {
            self.seconds.observe(took.as_secs_f64());
        }
    }

    /// The loop has turned.
    pub(crate) fn beat(&self) {
        *self.beat.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// How much there is in the spool.
    pub(crate) fn spool_is(&self, events: u64, bytes: u64, limit: u64) {
        let mut spool = self.spool.lock().unwrap_or_else(PoisonError::into_inner);
        let since = spool.and_then(|before| before.in_use_since);
        let in_use_since = (events > 0).then(|| since.unwrap_or_else(Instant::now));
        *spool = Some(SpoolNow { events, bytes, limit, in_use_since });
    }

    /// Whether this is to be logged now, and how often it has happened since it last was.
    pub(crate) fn worth_logging<'a>(&self, cause: impl Into<Cause<'a>>) -> Option<u64> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner).worth_logging(cause.into())
    }

    fn is_live(&self) -> bool {
        self.beat.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < DEAD_AFTER
    }

    fn spool(&self) -> Option<SpoolNow> {
        *self.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, outcome: RelayOutcome) -> u64 {
        self.outcomes[outcome as usize].get()
    }

    fn page(&self) -> Page {
        let mut page = Page::new();
        page.one(&BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1);
        page.one(&LIVE, &[], u8::from(self.is_live()));
        page.one(&READY, &[], u8::from(self.ready.load(Ordering::Relaxed)));
        let mut requests = page.family(&REQUESTS);
        for outcome in RelayOutcome::ALL {
            requests.sample(&[outcome.label()], self.count(outcome));
        }
        page.family(&DURATION).histogram(&[], &self.seconds.read());
        let mut batches = page.family(&BATCHES);
        batches.sample(&["answered"], self.batches.get());
        batches.sample(&["failed"], self.batches_failed.get());
        page.one(&BYTES, &[], self.body_bytes.load(Ordering::Relaxed));
        page.one(&CONNECTIONS, &[], self.connections.load(Ordering::Relaxed));
        page.one(&CONNECTIONS_LIMIT, &[], self.connections_limit.load(Ordering::Relaxed));
        let mut closed = page.family(&CONNECTIONS_CLOSED);
        let reasons = [&self.evicted, &self.refused, &self.timed_out, &self.tls_failed];
        for (reason, count) in ["evicted", "refused", "timeout", "tls"].into_iter().zip(reasons) {
            closed.sample(&[reason], count.get());
        }
        page.one(&CERTIFICATE_FAILURES, &[], self.certificate_failures.get());
        let spool = self.spool();
        page.family(&SPOOL_EVENTS).sample_if_known(&[], spool.map(|spool| spool.events));
        page.family(&SPOOL_BYTES).sample_if_known(&[], spool.map(|spool| spool.bytes));
        page.family(&SPOOL_LIMIT).sample_if_known(&[], spool.map(|spool| spool.limit));
        page.family(&SPOOL_AGE).sample_if_known(&[], spool.map(SpoolNow::age).map(|age| age.as_secs_f64()));
        page.one(&SPOOL_ERRORS, &[], self.spool_errors.get());
        page.one(&SET_ASIDE, &[], self.set_aside.get());
        page.process(&Process::now());
        page
    }
}

impl SpoolNow {
    fn age(self) -> Duration {
        self.in_use_since.map(|since| since.elapsed()).unwrap_or_default()
    }
}

/// A view on a relay, for those who watch it. Cheap to clone; it changes nothing.
#[derive(Clone, Debug)]
pub struct RelayMonitor(Arc<RelayTelemetry>);

/// What a relay has done so far.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct RelaySnapshot {
    /// The version of this crate.
    pub version: &'static str,
    /// Whether it is alive.
    pub live: bool,
    /// Whether it accepts connections.
    pub ready: bool,
    /// How long it has been there, in seconds.
    pub uptime_seconds: f64,
    /// How many requests were answered how, by the words of the metric `stream_sqsd_relay_requests_total`.
    pub requests: Vec<(&'static str, u64)>,
    /// Requests to the queue that were answered.
    pub batches: u64,
    /// Requests to the queue that failed as a whole.
    pub batches_failed: u64,
    /// Connections that are open.
    pub connections: u64,
    /// How many connections may be open.
    pub connections_limit: u64,
    /// Spooled events that the queue will never take, or that are damaged.
    pub set_aside: u64,
    /// The spool, where there is one.
    pub spool: Option<SpoolSnapshot>,
}

/// The spool of a relay.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct SpoolSnapshot {
    /// How many events are in it.
    pub events: u64,
    /// Its size on disk, in bytes.
    pub bytes: u64,
    /// How large it may become, in bytes.
    pub limit: u64,
    /// How long it has not been empty, in seconds.
    pub in_use_seconds: f64,
}

impl RelayMonitor {
    pub(crate) fn new(telemetry: Arc<RelayTelemetry>) -> Self {
        RelayMonitor(telemetry)
    }

    /// Whether the relay is alive: false when its loop has stood still for 15 s.
    pub fn is_live(&self) -> bool {
        self.0.is_live()
    }

    /// Whether it accepts connections: from the start of [`serve`](crate::relay::Relay::serve) to its shutdown.
    pub fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::Relaxed)
    }

    /// The metrics in the text format of Prometheus.
    pub fn metrics(&self) -> String {
        self.0.page().text
    }

    /// What it has done so far.
    pub fn snapshot(&self) -> RelaySnapshot {
        let t = &self.0;
        RelaySnapshot {
            version: env!("CARGO_PKG_VERSION"),
            live: t.is_live(),
            ready: self.is_ready(),
            uptime_seconds: t.began.elapsed().as_secs_f64(),
            requests: RelayOutcome::ALL.map(|outcome| (outcome.label(), t.count(outcome))).to_vec(),
            batches: t.batches.get(),
            batches_failed: t.batches_failed.get(),
            connections: t.connections.load(Ordering::Relaxed),
            connections_limit: t.connections_limit.load(Ordering::Relaxed),
            set_aside: t.set_aside.get(),
            spool: t.spool().map(|spool| SpoolSnapshot {
                events: spool.events,
                bytes: spool.bytes,
                limit: spool.limit,
                in_use_seconds: spool.age().as_secs_f64(),
            }),
        }
    }
}

impl RelaySnapshot {
    /// How many requests were answered in the way of this word; 0 for an unknown one.
    pub fn answered(&self, word: &str) -> u64 {
        self.requests.iter().find(|(known, _)| *known == word).map_or(0, |(_, count)| *count)
    }
}

#[cfg(test)]
mod tests {
    use super::super::prometheus::{Kind, documented};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_spool_is_as_old_as_it_has_not_been_empty() {
        let telemetry = RelayTelemetry::new();
        telemetry.spool_is(1, 10, 100);
        tokio::time::advance(Duration::from_secs(30)).await;
        telemetry.spool_is(5, 50, 100);
        assert!(telemetry.page().text.contains("stream_sqsd_relay_spool_oldest_age_seconds 30\n"));
        telemetry.spool_is(0, 0, 100);
        assert!(telemetry.page().text.contains("stream_sqsd_relay_spool_oldest_age_seconds 0\n"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_stands_still_is_dead() {
        let telemetry = Arc::new(RelayTelemetry::new());
        let monitor = RelayMonitor::new(telemetry.clone());
        tokio::time::advance(Duration::from_secs(14)).await;
        assert!(monitor.is_live());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!monitor.is_live());
        telemetry.beat();
        assert!(monitor.is_live());
    }

    #[tokio::test(start_paused = true)]
    async fn the_page_of_the_relay_has_the_table_of_its_metrics() {
        let mut metrics = RelayTelemetry::new().page().metrics;
        metrics.retain(|metric| metric.name.starts_with("stream_sqsd_relay_"));
        for metric in &metrics {
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
            assert!(metric.help.ends_with('.') && !metric.help.contains(['\n', '\\', '|']), "{}", metric.help);
        }
        documented::in_page("relay.md", metrics);
    }
}
