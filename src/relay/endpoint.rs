//! One request, from its head to its answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Request, Response};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, error, warn};

use super::answer::{answer, is_stored};
use super::batch::{Job, Store};
use super::budget::Budget;
use super::message::{identity, message};
use super::remember::{Memory, Seen};
use super::request::{self, Head};
use super::settings::RelaySettings;
use crate::queue::Sender;
use crate::telemetry::{Cause, RelayOutcome, RelayTelemetry};

/// By when SQS must have an event, from the head of its request on. Stream gives up after 6 s.
pub(super) const SEND_LIMIT: Duration = Duration::from_secs(4);

/// By when a request is answered, from its head on: where SQS has not taken the event by then, the spool has had its time.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_millis(5_500);

/// Beyond this part of the connections that there may be, one is closed behind its answer: a connection that has spoken has
/// 16 KiB of buffers until it is closed, and one that has not has none.
const KEPT_OPEN: usize = 5;

/// What requests are answered with.
pub(super) struct Endpoint<S> {
    pub(super) settings: RelaySettings,
    pub(super) store: Store<S>,
    pub(super) memory: Memory,
    pub(super) budget: Budget,
    pub(super) telemetry: Arc<RelayTelemetry>,
}

impl<S: Sender> Endpoint<S> {
    /// Answers one request of this peer.
    pub(super) async fn answer<B: Body<Data = Bytes>>(
        &self,
        request: Request<B>,
        peer: IpAddr,
    ) -> Response<Full<Bytes>> {
        let began = Instant::now();
        let (parts, body) = request.into_parts();
        let outcome = match request::look(&self.settings, &parts, body.size_hint().exact(), peer) {
            Ok(head) => self.take(&head, body, began, peer).await,
            Err(refusal) => {
                let api_key = request::app(&self.settings, &parts).map_or("", |app| &app.api_key);
                self.say_refused(refusal, api_key, peer);
                refusal
            }
        };
        let waited = is_stored(outcome) || outcome == RelayOutcome::QueueUnavailable;
        self.telemetry.answered(outcome, waited.then(|| began.elapsed()));
        let mut answer = answer(outcome);
        // What is left of the body of a refused request is not waited for.
        let is_unread = matches!(outcome, RelayOutcome::TooLarge | RelayOutcome::TooSlow | RelayOutcome::Busy);
        let open = self.telemetry.connections.load(Ordering::Relaxed);
        if is_unread || open > (self.settings.connections / KEPT_OPEN) as u64 {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    /// Reads, verifies and stores what follows the head.
    async fn take<B: Body<Data = Bytes>>(
        &self,
        head: &Head<'_>,
        body: B,
        began: Instant,
        peer: IpAddr,
    ) -> RelayOutcome {
        let mut held = self.budget.begin();
        let opened = match request::read(body, &mut held).await {
            Ok(bytes) => request::open(head, bytes),
            Err(refusal) => Err(refusal),
        };
        let webhook = match opened {
            Ok(webhook) => webhook,
            Err(refusal) => {
                self.say_refused(refusal, &head.app.api_key, peer);
                return refusal;
            }
        };
        let identity = identity(head, &webhook);
        let waiter = match self.memory.see(format!("{}/{identity}", head.app.api_key)) {
            Seen::Stored => return RelayOutcome::Repeated,
            Seen::AtWork(waiter) => waiter,
            Seen::First(ticket, waiter) => {
                match message(head, webhook, &identity, self.store.keeps_order()) {
                    Ok(message) => self.store.store(Job { message, ticket, held, send_by: began + SEND_LIMIT }),
                    Err(refusal) => {
                        self.say_refused(refusal, &head.app.api_key, peer);
                        ticket.finish(refusal);
                        return refusal;
                    }
                }
                return self.outcome_by(began, waiter.outcome()).await;
            }
        };
        match self.outcome_by(began, waiter.outcome()).await {
            outcome if is_stored(outcome) => RelayOutcome::Repeated,
            outcome => outcome,
        }
    }

    /// What becomes of an event, or that it is not known in time. The event is stored all the same, if it can be, and a
    /// retry is told so.
    async fn outcome_by(&self, began: Instant, outcome: impl Future<Output = RelayOutcome>) -> RelayOutcome {
        timeout_at(began + ANSWER_LIMIT, outcome).await.unwrap_or(RelayOutcome::QueueUnavailable)
    }

    fn say_refused(&self, refusal: RelayOutcome, api_key: &str, peer: IpAddr) {
        debug!(%peer, outcome = refusal.label(), "a request was refused");
        // Stream does not send these again, so where it was Stream's, an event is lost.
        let lost = match refusal {
            RelayOutcome::WrongSignature => {
                "a signature is wrong, and Stream does not try again: where the API secret was rotated, events of this app are \
                 being lost; `api_secret` takes a list of both"
            }
            RelayOutcome::UnknownKey => {
                "a request names no API key of [relay], and Stream does not try again: where it is of an app of yours, its \
                 events are being lost; add it to `apps`"
            }
            RelayOutcome::WrongAddress => {
                "a request for an app of [relay] comes from an address that `allow` does not hold, and Stream does not try \
                 again: where it is Stream's, events are being lost; behind a load balancer `trusted_proxies` is needed"
            }
            // Strangers try paths all day, but they name no app.
            RelayOutcome::WrongPath if !api_key.is_empty() => {
                "a request for an app of [relay] comes to another path than `path`, and Stream does not try again: where it is \
                 Stream's, its events are being lost; put the URL of the hook right"
            }
            RelayOutcome::NotAnEvent => {
                "a request with a right signature holds no event, and Stream does not try again: the hooks that wait for an \
                 answer (before message send, custom commands) cannot go through a relay; give them a URL of their own"
            }
            RelayOutcome::TooLarge => {
                "a request for an app of [relay] is larger than 1 MiB, or than 4 MiB inflated, and Stream does not try again: \
                 where it is Stream's, this event is lost"
            }
            RelayOutcome::WrongEncoding => {
                "a request for an app of [relay] has a Content-Encoding other than gzip, and Stream does not try again: where \
                 it is Stream's, its events are being lost"
            }
            RelayOutcome::Busy => {
                if let Some(times) = self.telemetry.worth_logging(("relay", refusal.label())) {
                    warn!(%peer, times, "too much at once: a request was answered 503, and Stream tries again");
                }
                return;
            }
            _ => return,
        };
        let outcome = refusal.label();
        if let Some(times) = self.telemetry.worth_logging(Cause::new(("relay", outcome), api_key)) {
            error!(%peer, outcome, api_key, times, "{lost}");
        }
    }
}
