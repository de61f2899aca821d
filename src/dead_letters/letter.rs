//! What one dead letter is: what its bytes say, what a record says of it, and what would become of it now.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use super::account::id_as_text;
use super::records::Records;
use crate::consumer::{UNROUTED, fit_for_log};
use crate::decode::{DEFAULT_LIMIT, Form, decode};
use crate::event::{Event, escape_controls};
use crate::queue::{Delivery, MessageId};
use crate::router::{Mark, Route, Router};
use crate::telemetry::{CallEnd, DeadLetter, ERROR_SHOWN, cut};

/// What one message in the dead-letter queue is. Its body is not in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Letter {
    /// The id that SQS gave to it: the same as in the queue that it came from.
    #[serde(serialize_with = "id_as_text")]
    pub message_id: MessageId,
    /// When it was first sent. SQS keeps no time of dead-lettering.
    #[serde(serialize_with = "time")]
    pub sent_at: Option<SystemTime>,
    /// How often it was received, this look included.
    pub receive_count: u32,
    /// The MessageGroupId, where it has one.
    pub group: Option<String>,
    /// How long its body is, in bytes.
    pub body_bytes: usize,
    /// The form of its body.
    #[serde(serialize_with = "as_text")]
    pub form: Form,
    /// The type of its event, with control characters escaped, cut to 120 bytes; None where it cannot be decoded.
    pub event_type: Option<String>,
    /// The channel that its event names, in the same way.
    pub cid: Option<String>,
    /// The name of the route that takes it now, of several the first that is not done with it; None where none takes it.
    pub route: Option<String>,
    /// The names of all routes that take it now, where these are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
    /// The names of those of them that are done with it, by the record: a retry does not call them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes_done: Vec<String>,
    /// Why it is here; None where nobody knows.
    pub reason: Option<Reason>,
    /// When the queue gives it up: its retention runs on from when it was first sent. On a FIFO queue that is the earliest
    /// possible time. None where either is not known.
    #[serde(serialize_with = "time")]
    pub lost_at: Option<SystemTime>,
}

/// Why a message is in the dead-letter queue. Shown as `outcome: error`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Reason {
    /// The stable word for it, as in [`DeadLetter::outcome`](crate::telemetry::DeadLetter::outcome).
    pub outcome: String,
    /// What went wrong.
    pub error: String,
    /// Where it is known from.
    pub known_from: KnownFrom,
    /// Of a record: when it failed, RFC 3339 in UTC.
    pub failed_at: Option<String>,
    /// Of a record: the name of the route on which it failed.
    pub failed_on: Option<String>,
}

/// Where a [`Reason`] is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KnownFrom {
    /// From its bytes and the routes: it would fail in the same way now.
    Body,
    /// From a record that was written when it failed.
    Record,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.error.is_empty() {
            true => f.write_str(&self.outcome),
            false => write!(f, "{}: {}", self.outcome, self.error),
        }
    }
}

impl Letter {
    /// Whether the route of this name takes it now, and is not done with it.
    pub(super) fn waits_for(&self, route: &str) -> bool {
        let is_named = |names: &[String]| names.iter().any(|name| name == route);
        self.route.as_deref() == Some(route) || (is_named(&self.routes) && !is_named(&self.routes_done))
    }
}

/// How letters are read: by which routes, with which records.
#[derive(Debug)]
#[non_exhaustive]
pub struct Reader {
    /// The routes that a retry calls, and that tell where a message would go.
    pub(super) router: Router,
    /// What is remembered of a success on each route.
    marks: Vec<Mark>,
    /// Why messages failed, where their bytes do not say it.
    pub(super) records: Records,
    /// How many bytes one body may decode to.
    pub(super) inflate_limit: usize,
}

impl Reader {
    /// Reads by these routes, without records, with [`DEFAULT_LIMIT`] bytes for a decoded body.
    pub fn new(router: Router) -> Self {
        Reader { marks: router.marks(), router, records: Records::new(), inflate_limit: DEFAULT_LIMIT }
    }

    /// The same with records of why messages failed.
    pub fn with_records(mut self, records: Records) -> Self {
        self.records = records;
        self
    }

    /// The same with another limit for a decoded body, in bytes: that of
    /// [`Settings::inflate_limit`](crate::consumer::Settings::inflate_limit).
    pub fn with_inflate_limit(mut self, bytes: usize) -> Self {
        self.inflate_limit = bytes;
        self
    }

    /// Reads one message; `retention` is how long its queue keeps it.
    pub fn read(&self, delivery: &Delivery, retention: Option<Duration>) -> Letter {
        let Delivery { receipt, body, receive_count, sent_at, group, .. } = delivery;
        let mut letter = Letter {
            message_id: receipt.message_id.clone(),
            sent_at: *sent_at,
            receive_count: *receive_count,
            group: group.as_deref().map(str::to_owned),
            body_bytes: body.len(),
            form: Form::of(body),
            event_type: None,
            cid: None,
            route: None,
            routes: Vec::new(),
            routes_done: Vec::new(),
            reason: None,
            lost_at: sent_at.zip(retention).and_then(|(sent_at, retention)| sent_at.checked_add(retention)),
        };
        let by_body = match decode(body, self.inflate_limit) {
            Ok(event) => self.route(&event, &mut letter),
            Err(error) => Some((error.label(), error.to_string())),
        };
        letter.reason = match by_body {
            Some((outcome, error)) => Some(Reason::by_body(outcome, error)),
            None => self.records.get(&receipt.message_id).map(Reason::by_record),
        };
        letter
    }

    /// What would become of an event now; why it would fail, where its bytes and the routes tell that.
    fn route(&self, event: &Event, letter: &mut Letter) -> Option<(&'static str, String)> {
        let [cid] = event.texts(["cid"]);
        letter.event_type = Some(fit_for_log(event.kind().name()));
        letter.cid = cid.map(|cid| fit_for_log(&cid));
        let takers: Vec<_> = self.router.takers(event).collect();
        let Some(first) = takers.first() else {
            let (outcome, error) = UNROUTED;
            return Some((outcome, error.to_owned()));
        };
        let known = self.records.done(&letter.message_id);
        let is_done = |(number, _): &&(usize, &Route)| self.marks.get(*number).is_some_and(|mark| known.contains(mark));
        letter.routes_done = takers.iter().filter(is_done).map(|(_, route)| route.name.to_string()).collect();
        letter.route = Some(takers.iter().find(|taker| !is_done(taker)).unwrap_or(first).1.name.to_string());
        if takers.len() > 1 {
            letter.routes = takers.iter().map(|(_, route)| route.name.to_string()).collect();
        }
        let fits = takers.iter().filter(|taker| !is_done(taker)).try_for_each(|(_, route)| route.fits(event));
        fits.err().map(|error| (CallEnd::DoesNotFit.label(), error))
    }
}

impl Reason {
    fn by_body(outcome: &str, error: String) -> Self {
        Reason { outcome: outcome.to_owned(), error, known_from: KnownFrom::Body, failed_at: None, failed_on: None }
    }

    /// A record is read from a file, in which anybody may have written.
    pub(super) fn by_record(record: &DeadLetter) -> Self {
        let fit = |text: &str, most| {
            let mut text = escape_controls(text).into_owned();
            text.truncate(cut(&text, most).len());
            text
        };
        Reason {
            outcome: fit_for_log(&record.outcome),
            error: fit(&record.error, ERROR_SHOWN),
            known_from: KnownFrom::Record,
            failed_at: Some(fit_for_log(&record.time)),
            failed_on: record.route.as_deref().map(fit_for_log),
        }
    }
}

/// RFC 3339 in UTC, to the millisecond as SQS tells it. None where the time has no name.
pub(super) fn rfc_3339(time: SystemTime) -> Option<String> {
    jiff::Timestamp::try_from(time).ok().map(|time| format!("{time:.3}"))
}

pub(super) fn time<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    time.and_then(rfc_3339).serialize(serializer)
}

fn as_text<T: fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
